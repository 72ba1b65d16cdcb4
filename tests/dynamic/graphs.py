"""Graphs of one model at several batches, made by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from attnfuse.dynamic import BatchFamily, family_of
from attnfuse.mindir import dtypes
from attnfuse.mindir.schema import ModelProto
from attnfuse.tracing.contract import DYNAMIC_BATCHES as BATCHES
from tests.support.graphs import GraphBuilder

Make = Callable[[GraphBuilder, int], str]


def graph(make: Make, batch: int) -> ModelProto:
    """The graph whose output `make` gives, called with a builder and the batch."""
    g = GraphBuilder("net")
    g.output(make(g, batch))
    return g.build()


def family(make: Make, batches: Sequence[int] = BATCHES) -> BatchFamily:
    """What the graphs at those batches come to."""
    return family_of("net", {batch: graph(make, batch) for batch in batches})


def attention(g: GraphBuilder, batch: int) -> str:
    """One layer, guided: two rows an image, heads folded into the batch, a timestep for all rows, a mask of ones."""
    rows, tokens, heads, size = 2 * batch, 6, 2, 4
    x = g.input("x", (rows, tokens, heads * size))
    time = g.tile(g.input("timestep", (1,), dtypes.INT64), (rows,))
    x = g.add(x, g.reshape(g.cast(time, dtypes.FLOAT32), (-1, 1, 1)))

    def split(name: str) -> str:
        y = g.dense(g.reshape(x, (rows * tokens, -1)), name, heads * size)
        y = g.transpose(g.reshape(y, (rows, -1, heads, size)), (0, 2, 1, 3))
        return g.reshape(y, (rows * heads, -1, size))

    scores = g.bmm(split("to_q"), g.transpose(split("to_k"), (0, 2, 1)))
    mask = g.reshape(g.constant(np.full((rows, tokens), 0.5, np.float32)), (rows, 1, tokens))
    weights = g.softmax(g.add(g.reshape(scores, (rows, heads, tokens, tokens)), g.expand_dims(mask, 1)))
    out = g.bmm(g.reshape(weights, (rows * heads, tokens, tokens)), split("to_v"))
    out = g.transpose(g.reshape(out, (rows, heads, tokens, size)), (0, 2, 1, 3))
    return g.reshape(out, (rows, tokens, heads * size))
