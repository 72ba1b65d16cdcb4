"""Operators that only move values: copies, regroupings, repetitions, borders.

Argument orders: MindSpore 2.7.1's operator definitions (`mindspore/ops/op_def/yaml`).
"""

from __future__ import annotations

import numpy as np

from attnfuse.api import UNKNOWN_DIM, Result, TensorType, cannot
from attnfuse_passes.legalise import nodes
from attnfuse_passes.legalise.rules import RuleContext, legalises


@legalises("Contiguous", "Clone")
def copy(at: RuleContext) -> Result:
    """(x): the value itself, unless one of the two is changed in place."""
    at.unshared()
    return at.input(0)


@legalises("FlattenExt")
def flatten(at: RuleContext) -> Result:
    """(x, first axis, last axis): those axes as one. A single unknown size is left to Reshape."""
    dims = at.out.dims
    if dims.count(UNKNOWN_DIM) > 1:
        raise cannot(f"{at.out} has sizes that are not known before run time")
    return at.build.reshape(at.input(0), dims)


@legalises("TransposeView")
def transpose(at: RuleContext) -> Result:
    """(x, order of the axes [, state])."""
    at.unshared()
    rank = at.type(0).rank
    order = [axis % rank for axis in at.integers(1)]
    return at.build.transpose(at.input(0), order)


@legalises("RepeatInterleaveInt")
def repeat(at: RuleContext) -> Result:
    """(x, times, axis or None, size of the result): each element `times` times in a row; None flattens first.

    A new axis after the repeated one is tiled, then both are regrouped.
    """
    times, x, tensor_type = at.integer(1), at.input(0), at.type(0)
    if times < 1:
        raise cannot(f"it repeats {times} times")
    if at.literal(2) is None:
        axis, tensor_type = 0, TensorType((at.static(0).size,), tensor_type.dtype)
        x = at.build.reshape(x, tensor_type.dims)
    else:
        axis = at.axis(2, tensor_type.rank)
    if times == 1:
        return x
    if tensor_type.dims[axis] == 1:
        return nodes.tile(at.build, x, axis, times)
    if at.out.dims.count(UNKNOWN_DIM) > 1:
        raise cannot(f"{at.out} has sizes that are not known before run time")
    apart = nodes.expand(at.build, x, axis + 1)
    return at.build.reshape(nodes.tile(at.build, apart, axis + 1, times), at.out.dims)


@legalises("ConstantPadND", "PadV3")
def pad(at: RuleContext) -> Result:
    """(x, (before, after) of each axis from the last on, number): constants joined to x, an axis at a time.

    PadV3 says the same; it has an adapter, but without a pass that only MindSpore runs CANN reads its padding from the
    first axis on.
    """
    if at.node.op == "PadV3" and (at.attribute("mode"), at.attribute("paddings_contiguous")) != ("constant", True):
        raise cannot("it does not pad with a constant, by pairs of an axis")
    padding = at.integers(1)
    if min(padding, default=0) < 0:
        raise cannot(f"it cuts off: its padding is {padding}")
    if not at.type(0).is_static and any(padding):
        raise cannot(f"it pads {at.type(0)}, of a size not known before run time")
    value, number = at.input(0), 0 if at.optional(2) is None else at.number(2)
    for i in range(len(padding) // 2):
        before, after = padding[2 * i : 2 * i + 2]
        if before or after:
            value = nodes.border(at.build, value, at.out.rank - 1 - i, before, after, number)
    return value


@legalises(
    "ReflectionPad1D", "ReflectionPad2D", "ReflectionPad3D", "ReplicationPad1D", "ReplicationPad2D", "ReplicationPad3D"
)
def extend(at: RuleContext) -> Result:
    """(x, (before, after) of each axis from the last on): what lies at the edge of x joined to it, an axis at a time.

    Reflected it is what lies next to the outermost element, backwards; else the outermost element again. A border is
    looked up by itself, so that only as many elements are picked one by one.
    """
    padding, value, dims = at.integers(1), at.input(0), at.static(0).dims
    if min(padding) < 0:
        raise cannot(f"it cuts off: its padding is {padding}")
    for i in range(len(padding) // 2):
        before, after = padding[2 * i : 2 * i + 2]
        axis = at.out.rank - 1 - i
        places = nodes.places(at.build, value, dims[axis])
        if not nodes.is_written(at.build, before + after) or places.size == 0:
            raise cannot(f"its padding is {padding}, more than is written out, or there is nothing to extend")
        whole = np.pad(places, (before, after), mode="reflect" if at.node.op.startswith("Reflection") else "edge")
        front, behind = whole[:before], whole[before + places.size :]
        edges = [nodes.look_up(at.build, value, axis, border) if border.size else "" for border in (front, behind)]
        if any(edges):
            value = nodes.concat(at.build, [part for part in (edges[0], value, edges[1]) if part], axis)
    return value


@legalises("Repeat")
def tile(at: RuleContext) -> Result:
    """(x, times of each axis of the result): the whole of an axis again and again, axes of one element put first.

    No times it is a constant without elements.
    """
    times = at.integers(1)
    if 0 in at.out.dims and at.out.is_static:
        return at.build.tensor(np.zeros(at.out.dims), at.out.dtype)
    rank = max(len(times), at.type(0).rank)
    x = at.build.reshape(at.input(0), (*(1,) * (rank - at.type(0).rank), *at.type(0).dims))
    counts = at.build.constant((*(1,) * (rank - len(times)), *times))
    return at.build.op("Tile", x, counts)


@legalises("TrilExt")
def lower_triangle(at: RuleContext) -> Result:
    """(x, diagonal): Tril keeps the diagonal as an attribute."""
    diagonal = nodes.whole("diagonal", at.integer(1))
    return at.build.op("Tril", at.input(0), prim_type=at.build.PRIMITIVE, attributes=(diagonal,))


@legalises("BroadcastTo", "BroadcastToView")
def broadcast(at: RuleContext) -> Result:
    """(x, shape): with the whole shape written out, of which MindSpore lets sizes stand as -1."""
    if at.node.op != "BroadcastTo":
        at.unshared()
    if not at.out.is_static:
        raise cannot(f"{at.out} has sizes that are not known before run time")
    return at.build.broadcast(at.input(0), at.out.dims)
