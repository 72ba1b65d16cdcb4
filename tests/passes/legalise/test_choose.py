"""Look-ups of a weight, which they read themselves: the text form of fixtures reads every weight by Load."""

from __future__ import annotations

import numpy as np

from attnfuse.mindir.dtypes import BFLOAT16, FLOAT32, INT32, INT64, DType
from tests.passes.legalise.programs import after, depend, kind
from tests.passes.legalise.support import Case, Make, cases, legalise
from tests.support.graphs import GraphBuilder, seeded

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
    Case("Embedding of bounded rows", embedding(norm=1.0), refused="a norm of at most max_norm"),
)


def test_the_rows_are_read_where_the_weight_was() -> None:
    """Gather is given its weight by Load, in the state the look-up had, as MindSpore writes it."""
    model = Case("embedding", embedding()).model()
    assert legalise(model) == {}
    rows = next(node for node in model.nodes if node.op == "Gather")
    read = model.producer(rows.inputs[0])
    assert read is not None
    assert read.op == "Load"
    assert model.is_parameter(read.inputs[0])
