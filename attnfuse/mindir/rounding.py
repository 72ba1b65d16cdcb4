"""float64 rounded once to the type of a weight, and which of the numbers a small error could round otherwise.

numpy takes 4 ns for a number from float64 to float16, and rounds it twice on the way to bfloat16. Nearly all numbers
are within the range of the type and not near the middle of two of its neighbours: of these the result is the float32
with half a unit added, its exponent moved, and the rest cut off. The others are found on the way.
"""

from __future__ import annotations

from math import frexp, isfinite
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType

Floats: TypeAlias = npt.NDArray[np.float64]
Indexes: TypeAlias = npt.NDArray[np.intp]

_BIAS, _FRACTION = 127, 23
"""Of float32: the bias of its exponent, and the bits of its fraction."""
_CUT = {dtypes.FLOAT16: (15, 10), dtypes.BFLOAT16: (127, 7)}
"""Types whose numbers are parts of one of float32: the bias of their exponent, and the bits of their fraction."""


def rounded(values: Floats, dtype: DType) -> npt.NDArray[Any]:
    """The nearest numbers of that type, of two the even one; what is too large becomes infinite."""
    with np.errstate(over="ignore", invalid="ignore"):  # of infinite ones, which stay
        return _rounded(values, dtype)


def rounded_within(values: Floats, error: float, loss: float, dtype: DType) -> tuple[npt.NDArray[Any], Indexes, float]:
    """`values`, in one axis, as `rounded` has them; the indexes of those for which it is not certain that a number at
    most `error` + `loss` · largest away is rounded to the same bits; and the largest magnitude, as float32 has it."""
    with np.errstate(over="ignore", invalid="ignore"):
        single = values.astype(np.float32)
        words = single.view(np.uint32).copy() if dtype in _CUT else None
        largest = float(np.abs(single, out=single).max(initial=0.0))
        margin = error + loss * largest
        if not isfinite(margin):
            return _rounded(values, dtype), np.arange(values.size), largest
        if words is None:
            lower, upper = _rounded(values - margin, dtype), _rounded(values + margin, dtype)
            return lower, np.flatnonzero(_bits(lower) != _bits(upper)), largest
        cut, rest = _cut(words, single, largest, margin, *_CUT[dtype])
        made = cut.view(dtype.numpy)
        some = values[rest]
        near = _rounded(np.concatenate([some, some - margin, some + margin]), dtype).reshape(3, -1)
        made[rest] = near[0]
        return made, rest[_bits(near[1]) != _bits(near[2])], largest


def _bits(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.view(f"u{values.itemsize}")


def _cut(
    words: npt.NDArray[np.uint32],
    magnitudes: npt.NDArray[np.float32],
    largest: float,
    margin: float,
    bias: int,
    fraction: int,
) -> tuple[npt.NDArray[np.uint16], Indexes]:
    """The bits of the rounded values, and the indexes of those for which they are not: what by float32 is within two of
    its units of the middle between two numbers, what the type has no normal number for, and what is so small that the
    margin is more than half of such a unit. `words` are the bits of float32, and are overwritten."""
    dropped = _FRACTION - fraction
    moved = (1 << dropped - 1) - (_BIAS - bias << _FRACTION)
    words += np.uint32(moved & 0xFFFFFFFF)
    spare = words + np.uint32(1)
    spare &= np.uint32((1 << dropped) - 1)
    rest = spare <= 2
    # Exponents from that whose unit in float32 is no less than twice the margin, to the largest of the type.
    least = max(1 - bias, frexp(margin)[1] + _FRACTION + 1)
    rest |= magnitudes < np.float32(2.0 ** min(least, bias))
    if not largest < 2.0**bias:  # seldom, and of the largest binade too
        rest |= ~(magnitudes < 2.0**bias)
    np.right_shift(words, np.uint32(16), out=spare)
    spare &= np.uint32(0x8000)
    words >>= np.uint32(dropped)
    words |= spare
    return words.astype(np.uint16), np.flatnonzero(rest)


def _rounded(values: Floats, dtype: DType) -> npt.NDArray[Any]:
    return (_to_odd(values) if dtype == dtypes.BFLOAT16 else values).astype(dtype.numpy)


def _to_odd(values: Floats) -> npt.NDArray[np.float32]:
    """The values in float32, where inexact the neighbour whose last bit is set (Boldo and Melquiond, "When double
    rounding is odd").

    ml_dtypes goes from float64 to bfloat16 by way of float32, and so rounds twice: from such a float32 that gives what
    one rounding does.
    """
    nearest = values.astype(np.float32)
    off = values - nearest
    is_even = np.isfinite(values) & (off != 0) & (nearest.view(np.uint32) & 1 == 0)
    return np.where(is_even, np.nextafter(nearest, np.copysign(np.inf, off).astype(np.float32)), nearest)
