"""Means of windows of an image: by sums and means over axes that hold one window each.

Argument orders: MindSpore 2.7.1's operator definitions (`mindspore/ops/op_def/yaml`).
"""

from __future__ import annotations

import numpy as np

from attnfuse.api import Result, cannot, dtypes
from attnfuse_passes.legalise import nodes
from attnfuse_passes.legalise.rules import RuleContext, legalises


@legalises("AvgPool2D")
def average(at: RuleContext) -> Result:
    """(x, kernel, stride, padding, whether windows may go beyond the edge, whether padding counts, divisor).

    Only where the windows lie side by side inside x: then each is two axes of a regrouped x. What no window reaches is
    cut off.
    """
    kernel, stride = _pair(at, 1), _pair(at, 2)
    if stride != kernel or any(_pair(at, 3)) or at.optional(6) is not None:
        raise cannot(f"its windows of {kernel}, {stride} apart, are not side by side, or padded, or divided")
    size = tuple(n * k for n, k in zip(at.out.dims[-2:], kernel, strict=True))
    x = at.static(0)
    if any(n > dim for n, dim in zip(size, x.dims[-2:], strict=True)):
        raise cannot(f"its last windows of {kernel} go beyond {x}")
    value = at.input(0)
    for axis, n in zip((x.rank - 2, x.rank - 1), size, strict=True):
        if n != x.dims[axis]:
            value = nodes.part(at.build, value, axis, 0, n)
    return _mean_of_blocks(at, value)


@legalises("AdaptiveAvgPool2DExt")
def adaptive_average(at: RuleContext) -> Result:
    """(x, size): of n places, mean i of m is that of those from ⌊i · n / m⌋ up to, without, ⌈(i + 1) · n / m⌉.

    Where m divides n, windows lie side by side. Elsewhere they overlap, or differ in length: the places of each are
    looked up, with zeros in the shorter ones, summed in float32 and divided by their number.
    """
    x, out = at.static(0), at.out
    if not out.is_static or 0 in (*x.dims, *out.dims):
        raise cannot(f"it makes {out} of {x}: of a size not known before run time, or nothing")
    if all(n % m == 0 for n, m in zip(x.dims[-2:], out.dims[-2:], strict=True)):
        return _mean_of_blocks(at, at.input(0))
    if not nodes.is_written(at.build, out.dims[-2] * out.dims[-1]):
        raise cannot(f"it makes {out}, of more windows than are written out")
    value, lengths = at.build.cast(at.input(0), dtypes.FLOAT32), []
    for axis in (x.rank - 2, x.rank - 1):
        n, m = x.dims[axis], out.dims[axis]
        each = nodes.places(at.build, value, m)
        first = each * n // m
        length = -(-(each + 1) * n // m) - first
        inside = nodes.places(at.build, value, int(length.max()) * m)[: length.max()]
        places = np.where(inside < length[:, None], first[:, None] + inside, n)  # n is the zero behind the last
        value = nodes.border(at.build, value, axis, 0, 1, 0)
        value = nodes.look_up(at.build, value, axis, places.reshape(-1))
        lengths.append(length)
    total = _over_blocks(at, "ReduceSum", value)
    count = at.build.tensor(np.outer(*lengths), dtypes.FLOAT32)
    return at.build.cast(at.build.op("Div", total, count), out.dtype)


def _mean_of_blocks(at: RuleContext, value: str) -> str:
    return _over_blocks(at, "ReduceMean", value)


def _over_blocks(at: RuleContext, op: str, value: str) -> str:
    """A sum or mean over blocks of the last two axes, as many as the result has elements there."""
    *lead, height, width = at.build.type_of(value).dims
    down, across = at.out.dims[-2:]
    blocks = at.build.reshape(value, (*lead, down, height // down, across, width // across))
    return nodes.reduce(at.build, op, blocks, (len(lead) + 1, len(lead) + 3), keep=False)


def _pair(at: RuleContext, position: int) -> tuple[int, ...]:
    """An argument of one number for each of the two axes, or for both."""
    numbers = at.integers(position)
    if len(numbers) not in (1, 2):
        raise cannot(f"its argument {position} has {len(numbers)} numbers for two axes")
    return numbers * 2 if len(numbers) == 1 else numbers
