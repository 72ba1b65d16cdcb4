"""Choosing values: look-ups, masks, conditions."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, INT32, INT64, DType
from tests.passes.legalise.programs import In, Make, after, depend, gives, kind
from tests.passes.legalise.support import Case, cases, check_structure, legalise
from tests.support.graphs import GraphBuilder, seeded

MASK = np.array([[True, False, True], [False, False, True]])
PLACES = {"places": np.array([4, 0, 2])}
IDS = {"ids": np.array([[1, 4, 0], [4, 2, 2]])}


def embedding(
    ids: DType = INT64,
    weights: DType = FLOAT32,
    *,
    padding: int | None = None,
    norm: float | None = None,
    by_frequency: bool = False,
) -> Make:
    """A look-up that reads its weight itself, in its place in the order of effects."""

    def make(g: GraphBuilder) -> str:
        g.parameter("weight", seeded("weight", (5, 4), weights))
        arguments = [padding, norm, 2.0, by_frequency]
        inputs = [g.input("ids", (2, 3), ids), f"{g.prefix}:weight", *map(g.constant, arguments), g.monad()]
        rows = g.node("Embedding", inputs, kind(2, 3, 4, dtype=weights))
        return depend(g, g.op("Neg", rows), after(g, g.monad(), rows))

    return make


def embedding_of_a_tensor(g: GraphBuilder) -> str:
    """Not of a weight: of what an operator made."""
    table = g.op("Neg", g.input("table", (5, 4)))
    inputs = [g.input("ids", (2, 3), INT64), table, *map(g.constant, (None, None, 2.0, False)), g.monad()]
    return g.node("Embedding", inputs, kind(2, 3, 4))


def filled(x: In, number: object) -> Make:
    return gives("MaskedFill", x, In("mask", (2, 3), BOOL), number, out=kind(2, 3, dtype=x.dtype))


def selected(condition: tuple[int, ...], a: object, b: object, *dims: int, dtype: DType = FLOAT32) -> Make:
    return gives("Select", In("mask", condition, BOOL), a, b, out=kind(*dims, dtype=dtype))


cases(
    "choose",
    Case("Embedding", embedding(), ("Gather", "Neg"), inputs=IDS),
    Case(
        "Embedding in bfloat16, of int32",
        embedding(INT32, BFLOAT16),
        ("Gather", "Neg"),
        inputs={"ids": IDS["ids"].astype(np.int32)},
    ),
    Case("Embedding with padding", embedding(padding=0), ("Gather", "Neg"), inputs=IDS),
    Case("Embedding with gradients by frequency", embedding(by_frequency=True), ("Gather", "Neg"), inputs=IDS),
    Case("Embedding of what is no weight", embedding_of_a_tensor, ("Neg", "Gather"), inputs=IDS),
    Case(
        "IndexSelect",
        gives("IndexSelect", In("x", (5, 4)), 0, In("places", (3,), INT64), out=kind(3, 4)),
        ("Gather",),
        inputs=PLACES,
    ),
    Case(
        "IndexSelect of the last axis, in float16",
        gives("IndexSelect", In("x", (2, 5), FLOAT16), -1, In("places", (3,), INT64), out=kind(2, 3, dtype=FLOAT16)),
        ("Gather",),
        inputs=PLACES,
    ),
    Case("Embedding of bounded rows", embedding(norm=1.0), refused="a norm of at most max_norm"),
    Case(
        "MaskedFill with a constant in float16",
        filled(In("x", (2, 3)), np.array(-65504, np.float16)),
        ("MaskedFill",),
        inputs={"mask": MASK},
    ),
    Case(
        "MaskedFill of bfloat16 with a constant in float16",
        filled(In("x", (2, 3), BFLOAT16), np.array(-65504, np.float16)),
        ("MaskedFill",),
        inputs={"mask": MASK},
        exact=1e-2,  # that number is none of bfloat16
        native=1e-2,
    ),
    Case(
        "MaskedFill with a number",
        filled(In("x", (2, 3)), -1.5),
        ("MaskedFill",),
        inputs={"mask": MASK},
        newer=True,
    ),
    Case(
        "MaskedFill with what is computed in float16",
        filled(In("x", (2, 3)), In("number", (), FLOAT16)),
        ("Cast", "MaskedFill"),
        inputs={"mask": MASK, "number": np.array(0.1, np.float16)},
    ),
    Case(
        "MaskedFill of less than the mask",
        filled(In("x", (3,)), np.array(-1, np.float16)),
        ("BroadcastTo", "MaskedFill"),
        inputs={"mask": MASK},
    ),
    Case(
        "MaskedFill of unknown size",
        gives("MaskedFill", In("x", (3,)), In("mask", (-1, 3), BOOL), np.array(-1, np.float16), out=kind(-1, 3)),
        refused="of other shapes than its result",
    ),
    Case(
        "Select among scores",
        selected((1, 3), In("x", (2, 3)), np.array(-1.5, np.float32), 2, 3),
        ("BroadcastTo", "BroadcastTo", "Select"),
        inputs={"mask": MASK[:1]},
    ),
    Case(
        "Select by one truth",
        selected((), In("x", (1,), INT64), In("y", (1,), INT64), 1, dtype=INT64),
        ("BroadcastTo", "Select"),
        inputs={"mask": np.array(True)},
    ),
    Case(
        "Select with numbers",
        selected((2, 3), 0.5, -1, 2, 3),
        ("BroadcastTo", "BroadcastTo", "Select"),
        inputs={"mask": MASK},
        newer=True,
    ),
    Case(
        "Select of unknown size",
        selected((-1, 3), In("x", (-1, 3)), In("y", (3,)), -1, 3),
        refused="of other shapes than its result",
    ),
    Case(
        "BitwiseOr",
        gives("BitwiseOr", In("mask", (2, 3), BOOL), In("row", (3,), BOOL), out=kind(2, 3, dtype=BOOL)),
        ("LogicalOr",),
        inputs={"mask": MASK, "row": MASK[1]},
    ),
    Case(
        "BitwiseAnd",
        gives("BitwiseAnd", In("mask", (2, 3), BOOL), In("row", (3,), BOOL), out=kind(2, 3, dtype=BOOL)),
        ("LogicalAnd",),
        inputs={"mask": MASK, "row": MASK[1]},
    ),
    Case(
        "BitwiseOr of floats",
        gives("BitwiseOr", In("x", (2,)), In("y", (2,)), out=kind(2)),
        refused="float32",
    ),
)


def test_a_filling_of_several_numbers_is_refused() -> None:
    make = filled(In("x", (2, 3)), In("number", (1,), FLOAT16))
    check_structure(Case("several", make, refused="its number is a tensor float16"))


def test_a_filling_that_changes_the_type_is_refused() -> None:
    make = gives("MaskedFill", In("x", (2, 3), INT64), In("mask", (2, 3), BOOL), 0.5, out=kind(2, 3))
    check_structure(Case("another type", make, refused="it fills int64"))


def test_the_rows_are_read_where_the_weight_was() -> None:
    """Gather is given its weight by Load, in the state the look-up had, as MindSpore writes it."""
    model = Case("embedding", embedding()).model()
    assert legalise(model) == {}
    rows = next(node for node in model.nodes if node.op == "Gather")
    read = model.producer(rows.inputs[0])
    assert read is not None
    assert read.op == "Load"
    assert model.is_parameter(read.inputs[0])


@pytest.mark.parametrize("op", ["BitwiseOr", "MaskedFill", "Select"])
def test_what_is_taken_as_it_stands_stays(op: str) -> None:
    """The limits are the target's: within them no rule is asked."""
    x, y = In("x", (2, 3)), In("y", (2, 3))
    makes = {
        "BitwiseOr": gives(op, In("x", (2,), INT64), In("y", (2,), INT64), out=kind(2, dtype=INT64)),
        "MaskedFill": filled(x, np.array(1, np.float32)),
        "Select": selected((2, 3), x, y, 2, 3),
    }
    case = Case(op, makes[op])
    before, after_ = case.model(), case.model()
    assert legalise(after_) == {}
    assert codec.serialise(after_.proto) == codec.serialise(before.proto)
