"""What the maker of nodes refuses: slips of whoever writes a site, which must not reach a file."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse.api import Edit
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import FLOAT32
from attnfuse_passes.emit.builder import Builder, NotWritableError, broadcast_dims
from tests.support.graphs import GraphBuilder


def builder() -> tuple[Builder, str, str]:
    """In place of a node that doubles an input: the builder, the input, and a literal."""
    g = GraphBuilder()
    x = g.input("x", (2, 3))
    doubled = g.muls(x, 2.0)
    g.output(doubled)
    model = g.model()
    anchor = model.producer(doubled)
    assert anchor is not None
    return Builder(Edit(model), anchor, "site"), x, anchor.inputs[1]


def test_a_value_that_is_no_tensor_has_no_type() -> None:
    b, x, literal = builder()
    assert b.type_of(x).dims == (2, 3)
    with pytest.raises(NotWritableError, match="no tensor of a known type"):
        b.type_of(literal)


def test_a_site_ends_with_the_node_made_last() -> None:
    b, x, _ = builder()
    early = b.scaled(x, 3.0)
    b.scaled(early, 4.0)
    with pytest.raises(ValueError, match="is not the last node of site site"):
        b.finish(early)


def test_tensors_that_do_not_go_together_are_not_written() -> None:
    b, x, _ = builder()
    wide = b.tensor(np.zeros((2, 4)), FLOAT32)
    with pytest.raises(NotWritableError, match=r"float32\[2, 4\], which does not go with \[2, 3\]"):
        b.elementwise("Add", x, wide)


@pytest.mark.parametrize(
    ("left", "right", "together"),
    [
        ((2, 1), (3,), (2, 3)),
        ((-1, 3), (1, 1), (-1, 3)),
        ((-1,), (4,), (4,)),
        ((4,), (-1,), (4,)),
        ((0,), (1,), (0,)),
        ((), (2,), (2,)),
        ((2,), (3,), None),
        ((0,), (2,), None),
    ],
)
def test_shapes_that_broadcast(left: tuple[int, ...], right: tuple[int, ...], together: tuple[int, ...] | None) -> None:
    assert broadcast_dims(left, right) == together == broadcast_dims(right, left)


def test_what_contradicts_its_operator_is_not_written() -> None:
    b, x, _ = builder()
    with pytest.raises(
        NotWritableError, match=r"to be written with Mul, which gives float32\[2, 3\], not float32\[3\]"
    ):
        b.node("Mul", (x, x), TensorType((3,), FLOAT32))
    with pytest.raises(NotWritableError, match="to be written with Reshape, which reshapes"):
        b.reshape(x, (5,))


def test_what_stands_in_is_of_the_declared_type() -> None:
    b, x, _ = builder()
    with pytest.raises(NotWritableError, match="written as what it is not declared to give"):
        b.finish(b.reshape(x, (6,)))


def test_a_refused_node_leaves_no_entry_in_the_table_of_primitives() -> None:
    g = GraphBuilder()
    doubled = g.muls(g.input("x", (2, 3)), 2.0)
    g.output(doubled)
    model = g.model()
    anchor = model.producer(doubled)
    assert anchor is not None
    before = [entry.name for entry in model.proto.primitives]
    edit = Edit(model)
    b = Builder(edit, anchor, "site")
    b.node("Neg", (anchor.inputs[0],), TensorType((2, 3), FLOAT32))
    edit.rename[doubled] = anchor.inputs[0]
    edit.remove.add(doubled)
    edit.apply()
    assert [entry.name for entry in model.proto.primitives] == before
