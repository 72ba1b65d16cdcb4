"""Softmaxes written by hand, sums in place, and what leaves attention weights as they are: for random spellings."""

from __future__ import annotations

from random import Random

import numpy as np

from attnfuse.ir.types import TensorType
from attnfuse.mindir import dtypes
from tests.support.graphs import GraphBuilder


def softmax(g: GraphBuilder, random: Random, scores: str, axis: int) -> str:
    """As one operator, or by hand: less the largest number of each row, which gives the same numbers."""
    if random.random() < 0.6:
        return g.softmax(scores, axis)
    if random.random() < 0.3:
        logarithm = (
            g.op("LogSoftmax", scores, axis) if random.random() < 0.5 else g.op("LogSoftmaxExt", scores, axis, None)
        )
        return g.op("Exp", logarithm)
    match random.choice(["ReduceMax", "MaxDim", "ArgMaxWithValue"]):
        case "ReduceMax":
            largest = g.op("ReduceMax", scores, (axis,), True)
        case "MaxDim":
            largest = g.expand_dims(g.tuple_get_item(g.op("MaxDim", scores, axis, False), 0), axis)
        case _:
            largest = g.tuple_get_item(g.op("ArgMaxWithValue", scores, axis, True), 1)
    if random.random() < 0.3:
        largest = g.op("StopGradient", largest)
    shifted = g.sub(scores, largest)
    e = g.op("Exp", shifted)
    if random.random() < 0.2:
        length = g.op("LinalgVectorNorm", e, 1.0, (axis,), True, None)
        return g.div(e, g.broadcast_to(g.op("ClampScalar", length, 1e-12, None), g.dims(e)))
    if random.random() < 0.5:
        total = g.op("SumExt", e, (axis,), True, None)
    else:
        total = g.expand_dims(g.op("ReduceSum", e, (axis,), False, False), axis)
    return g.div(e, total) if random.random() < 0.7 else g.mul(g.op("Reciprocal", total), e)


def untouched(g: GraphBuilder, random: Random, weights: str) -> str:
    """Something done to the weights that leaves every number as it is."""
    match random.choice(["one", "ones", "dropout", "cut", "dropout of mint", "slices"]):
        case "one":
            return g.muls(weights, 1.0)
        case "ones":
            return g.mul(weights, g.op("OnesLike", weights))
        case "dropout of mint":
            state = g.constant(np.array([0]))
            return g.tuple_get_item(g.op("DropoutExt", weights, 0.0, state, state), 0)
        case "slices":
            axis, size = -1, g.dims(weights)[-1]
            at = random.randrange(size)
            pieces = [g.op("Narrow", weights, axis, 0, at)] if at else []
            return g.concat([*pieces, g.op("SliceExt", weights, axis, at, size, 1)], axis)
        case "dropout":
            return g.tuple_get_item(g.op("Dropout", weights, 1.0, 0, 0), 0)
        case _:
            axis = random.randrange(len(g.dims(weights)))
            sizes = (1, g.dims(weights)[axis] - 1) if g.dims(weights)[axis] > 1 else (1,)
            return g.concat(g.split_with_size(weights, sizes, axis), axis)


def nan_test(g: GraphBuilder, random: Random, value: str) -> str:
    """True where the value is not a number."""
    op = random.choice(["IsNan", "IsNaN", "NotEqual"])
    inputs = [value, value] if op == "NotEqual" else [value]
    return g.node(op, inputs, TensorType(g.dims(value), dtypes.BOOL))


def in_place(g: GraphBuilder, scores: str, term: str) -> str:
    """MindSpore 2.10's in-place addition: read back after the effect it has."""
    done = g.node("InplaceAddExt", [scores, term, g.constant(1)], g.type_of(scores))
    state = g.node("UpdateState", [g.monad(), done], None)
    return g.node("Load", [done, state], g.type_of(scores))
