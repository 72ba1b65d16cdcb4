"""What the maker of nodes refuses: mistakes of the author of a site, which must not reach a file."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse.ir.builder import Builder, Literal, NotWritableError, broadcast_dims
from attnfuse.ir.edit import Edit
from attnfuse.ir.types import TensorType, ValueType
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32, INT32
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


def test_constants_are_shared_where_python_writes_them_alike() -> None:
    b, _, _ = builder()
    values: list[Literal] = [0.0, -0.0, 0, False, 1, 1.0, True, (1,), None]
    names = [b.constant(value) for value in values]
    assert len(set(names)) == len(values)
    assert [b.constant(value) for value in values] == names


def test_a_type_is_inferred_anew_for_other_constants_and_types() -> None:
    b, x, _ = builder()
    dims = b.type_of(x).dims
    for number in range(2):  # the second time it is known
        wide, narrow = b.op("ExpandDims", x, b.constant(0)), b.op("ExpandDims", x, b.constant(-1))
        assert (b.type_of(wide).dims, b.type_of(narrow).dims) == ((1, *dims), (*dims, 1)), number
        cast = b.op("ExpandDims", b.cast(x, INT32), b.constant(0))
        assert b.type_of(cast).dtype is INT32


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


def test_a_factor_that_16_bits_do_not_hold_is_applied_in_32() -> None:
    b, x, _ = builder()
    half = b.cast(x, FLOAT16)
    for factor in (0.1, 1e6, 1e-9):
        before = len(b.ops)
        assert b.type_of(b.scaled(half, factor)).dtype == FLOAT16
        assert b.ops[before:] == ["Cast", "Mul", "Cast"]


@pytest.mark.parametrize("factor", [0.5, float("-inf"), 1e30])
def test_a_factor_that_whole_numbers_do_not_hold_is_not_applied(factor: float) -> None:
    b, x, _ = builder()
    whole = b.cast(x, INT32)
    with pytest.raises(NotWritableError, match="times int32"):
        b.scaled(whole, factor)
    assert b.type_of(b.scaled(whole, 2.0)).dtype == INT32


def test_constants_of_numbers_that_their_type_does_not_have_are_not_written() -> None:
    """What a conversion makes of them differs between processors."""
    b, _, _ = builder()
    for number in (float("inf"), float("nan"), 2.0**31, -(2**31) - 1):
        with pytest.raises(NotWritableError, match="which int32 does not have"):
            b.tensor(np.asarray(number), INT32)
    with pytest.raises(NotWritableError, match="given 9223372036854775808, which int64 does not have"):
        b.constant(2**63)
    assert b.type_of(b.tensor(np.asarray([2.0**31 - 1, -(2**31)]), INT32)) == TensorType((2,), INT32)


def test_tensors_that_do_not_go_together_are_not_written() -> None:
    b, x, _ = builder()
    wide = b.tensor(np.zeros((2, 4)), FLOAT32)
    with pytest.raises(NotWritableError, match="do not broadcast") as caught:
        b.op("Add", x, wide)
    assert str(caught.value) == (
        "Add(float32[2, 3], float32[2, 4]) has operands of [2, 3] and [2, 4], which do not broadcast"
    )
    assert (caught.value.op, caught.value.arguments) == ("Add", ("float32[2, 3]", "float32[2, 4]"))
    assert b.ops == []


def test_a_type_is_inferred_through_what_was_made_before() -> None:
    b, x, _ = builder()
    both = b.op("MakeTuple", x, b.cast(x, FLOAT16), prim_type=b.PRIMITIVE)
    second = b.op("TupleGetItem", both, b.constant(1), prim_type=b.PRIMITIVE)
    assert b.type_of(second) == TensorType((2, 3), FLOAT16)
    assert b.type_of(b.reshape(second, (3, -1))) == TensorType((3, 2), FLOAT16)
    with pytest.raises(NotWritableError, match="no tensor of a known type"):
        b.type_of(both)
    assert b.ops == ["Cast", "MakeTuple", "TupleGetItem", "Reshape"]


@pytest.mark.parametrize(
    ("op", "count", "declare", "message"),
    [
        ("Mul", 1, None, r"Mul\(float32\[2, 3\]\) lacks its argument other"),
        ("Mul", 2, TensorType((2, 3), FLOAT16), r"is declared float16\[2, 3\] and gives float32\[2, 3\]"),
        ("Mul", 2, (TensorType((2, 3), FLOAT32),), r"is declared \(float32\[2, 3\]\) and gives float32\[2, 3\]"),
        ("Nameless", 1, None, r"Nameless\(float32\[2, 3\]\) leaves its type open"),
        ("Shape", 1, None, r"gives \(int64, int64\), which is neither a tensor nor a tuple of tensors"),
    ],
)
def test_a_node_of_no_type_or_another_is_not_written(op: str, count: int, declare: ValueType, message: str) -> None:
    b, x, _ = builder()
    with pytest.raises(NotWritableError, match=message):
        b.op(op, *[x] * count, declare=declare)
    assert not b.ops


def test_what_a_row_leaves_open_is_declared() -> None:
    b, x, _ = builder()
    tensor_type = TensorType((4,), FLOAT16)
    assert b.type_of(b.op("Nameless", x, declare=tensor_type)) == tensor_type
    open_rows = TensorType((-1, 3), FLOAT32)
    assert b.type_of(b.op("Abs", x, declare=open_rows)) == open_rows


def test_what_stands_for_a_value_is_of_its_type() -> None:
    b, x, _ = builder()
    half = b.cast(x, FLOAT16)
    with pytest.raises(NotWritableError, match=r"is float32\[2, 3\], and its replacement is float16\[2, 3\]"):
        b.finish(half)
    b.finish(b.cast(half, FLOAT32))


def test_what_stands_for_another_value_is_of_its_type_too() -> None:
    b, x, _ = builder()
    with pytest.raises(NotWritableError, match=r"float32\[2, 3\], and what was to stand for it float16\[2, 3\]"):
        b.take_over(x, b.cast(x, FLOAT16))
    made = b.op("Abs", x)
    b.take_over(x, made)
    assert b.others == {x: made}


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
