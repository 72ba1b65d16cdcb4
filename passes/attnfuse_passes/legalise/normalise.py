"""Normalisations. Those that have no operator of their own are written out in float32, as their kernels compute.

Argument orders: MindSpore 2.7.1's operator definitions (`mindspore/ops/op_def/yaml`). Only a node of which nothing but
the normalised tensor is read can be replaced: what else it gives (mean, deviation) differs between operators.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from attnfuse.api import Result, cannot, dtypes
from attnfuse_passes.legalise import nodes
from attnfuse_passes.legalise.rules import RuleContext, legalises


@legalises("LayerNormExt")
def layer_norm(at: RuleContext) -> Result:
    """(x, shape of the normalised axes, gain or None, bias or None, epsilon): LayerNorm wants all, and a first axis."""
    at.only_first()
    shape, tensor_type = at.integers(1), at.type(0)
    first = at.build.constant(tensor_type.rank - len(shape))
    gain, bias = (
        at.optional(position) or nodes.filled(at.build, shape, number, tensor_type.dtype)
        for position, number in ((2, 1.0), (3, 0.0))
    )
    epsilon = at.build.constant(float(at.number(4)))
    return at.build.op("LayerNorm", at.input(0), gain, bias, first, first, epsilon)


@legalises("GroupNorm")
def group_norm(at: RuleContext) -> Result:
    """(x [N, C, …], groups, gain [C] or None, bias [C] or None, epsilon)."""
    at.only_first()
    tensor_type, groups = at.static(0), at.integer(1)
    batch, channels = tensor_type.dims[:2]
    x = _in_float32(at, at.input(0))
    grouped = at.build.reshape(x, (batch, groups, math.prod(tensor_type.dims[1:]) // groups))
    y = at.build.reshape(_normalised(at, grouped, (2,), at.number(4), centred=True), tensor_type.dims)
    for op, position in (("Mul", 2), ("Add", 3)):
        operand = at.optional(position)
        if operand is not None:
            by_channel = at.build.reshape(_in_float32(at, operand), (channels, *(1,) * (tensor_type.rank - 2)))
            y = at.build.op(op, y, by_channel)
    return _first_of(at, y)


@legalises("RmsNorm")
def rms_norm(at: RuleContext) -> Result:
    """(x, gain of the last axes, epsilon): x / √(mean square + epsilon) · gain.

    RmsNorm itself is taken with one epsilon: Lite loses it on the way.
    """
    at.only_first()
    tensor_type, gain = at.type(0), at.type(1)
    y = _normalised(
        at,
        _in_float32(at, at.input(0)),
        range(tensor_type.rank - gain.rank, tensor_type.rank),
        at.number(2),
        centred=False,
    )
    y = at.build.op("Mul", y, _in_float32(at, at.input(1)))
    return _first_of(at, y)


def _normalised(at: RuleContext, x: str, axes: Sequence[int], epsilon: float, *, centred: bool) -> str:
    """(x − mean) / √(variance + epsilon) over those axes; without `centred`, the mean is taken to be 0."""
    dtype = at.build.type_of(x).dtype

    def mean(value: str) -> str:
        return nodes.reduce(at.build, "ReduceMean", value, axes, keep=True)

    if centred:
        x = at.build.op("Sub", x, mean(x))
    variance = mean(at.build.op("Square", x))
    raised = at.build.op("Add", variance, at.build.tensor(np.array(epsilon), dtype))
    return at.build.op("Mul", x, at.build.op("Rsqrt", raised))


def _in_float32(at: RuleContext, value: str) -> str:
    tensor_type = at.build.type_of(value)
    if not tensor_type.dtype.is_float:
        raise cannot(f"it normalises {tensor_type}")
    return at.build.cast(value, dtypes.FLOAT32) if tensor_type.dtype.is_low_precision else value


def _first_of(at: RuleContext, value: str) -> Result:
    """The tensor, in its type, for the first element of the node's tuple."""
    return (at.build.cast(value, at.outs[0].dtype), *(None,) * (len(at.outs) - 1))
