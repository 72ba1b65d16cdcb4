"""When a bias may be stored in the node's type as it is, and what it is shifted by where it may not.

Let the node compute in a type c of unit roundoff u (2⁻¹¹ for float16, 2⁻⁸ for bfloat16), and let a bias x be stored as
x + d(x), |d(x)| ≤ u·|x|. A softmax does not see what all keys of a row have in common: only differences of d between
two keys of one row count, and a difference of 2ε moves the result, to first order, by no more than ε times the spread
of value. Narrowing is harmless where, for all numbers x and y that may meet in a row,

    |d(x) − d(y)|  ≤  max(4u,  u_s·(|x| + |y|),  u·|x − y|).

* 4u, that is ε = 2u: the formula with operands of type c rounds the attention weights before they meet value, and its
  result: two roundings of relative size u. Biases below 4 always pass where the scale is a power of two.
* u_s·(|x| + |y|): the formula adds the bias in a type s, and rounds the sums itself.
* u·|x − y|: what a bias shifted row by row has. With m the largest of a row, softmax(s + b) = softmax(s + (b − m)), and
  b − m is off by u·|b − m|: most where the weight is least, exp(b − m) of the largest. No closer can it be stored.

A bias of other numbers is shifted: ALiBi over 512 keys reaches 361, of which float16 keeps a quarter and bfloat16 two.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from attnfuse.api import DType

Reals = npt.NDArray[np.float64]

FINE = 4.0
"""Biases whose magnitudes add up to less are stored, and summed, to within 2u."""

MAX_PAIRED = 4096
"""As many different numbers are compared with each other one by one; of more, each must be fine by itself."""

_CHUNK = 256


def roundoff(dtype: DType) -> float:
    """Unit roundoff: half of the distance between 1 and the next number."""
    return dtype.unit_roundoff


def survives(numbers: Reals, stored: DType, factor: float, added: DType) -> bool:
    """Whether biases from `numbers` may go in unshifted: stored as `factor` times each, added in the type `added`.

    What is beyond the range of `added` is infinite in the formula, and has to be in the node.
    """
    numbers = np.unique(numbers)
    limit = added.largest
    numbers = np.where(np.abs(numbers) > limit, np.copysign(np.inf, numbers), numbers)
    lost = lost_by(numbers, stored, factor)
    if not np.isfinite(lost).all():
        return False
    unit, own = roundoff(stored), roundoff(added) * np.abs(numbers)
    if (np.abs(lost) <= np.maximum(2 * unit, own)).all():
        return True
    if numbers.size > MAX_PAIRED:
        return False
    for start in range(0, numbers.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        apart = np.abs(lost[part, None] - lost)
        with np.errstate(invalid="ignore"):  # two infinities are no distance apart
            may = np.maximum(4 * unit, np.maximum(own[part, None] + own, unit * np.abs(numbers[part, None] - numbers)))
        if (apart > may).any():
            return False
    return True


def lost_by(numbers: Reals, stored: DType, factor: float) -> Reals:
    """What is added to each number by storing `factor` times it, seen through the same factor."""
    with np.errstate(all="ignore"):
        rounded = (numbers * factor).astype(stored.numpy).astype(np.float64) / factor
        found: Reals = np.where(rounded == numbers, 0.0, rounded - numbers)
    return found


def shifted(bias: Reals, hidden: npt.NDArray[np.bool_] | None) -> Reals:
    """The bias less its largest number in each row among the keys that are not hidden; 0 for those that are."""
    if hidden is None:
        result: Reals = bias - bias.max(axis=-1, keepdims=True)
        return result
    bias, hidden = np.broadcast_arrays(bias, hidden)
    largest = np.where(hidden, -np.inf, bias).max(axis=-1, keepdims=True)
    return np.where(hidden, 0.0, bias - np.where(np.isfinite(largest), largest, 0.0))
