"""What a LoRA adds to a weight: scale · up · down, some rows at a time, the same numbers on every machine.

    delta[o, …] = scale · Σ_r up[o, r] · down[r, …]         (kohya-ss/sd-scripts, networks/lora.py; PEFT, lora/layer.py)

`up` is (out, rank) and `down` (rank, in), or of a convolution (out, rank, 1, 1) and (rank, in, height, width). How a
processor orders a product of matrices changes its last bits, so each factor is cut into two fixed-point halves of 23
bits, a row of `up` and a column of `down` at a time: products of halves are sums of whole numbers below 2^53, which
float64 holds whatever the order. What is left out, the product of both lower halves, is below 2^-44 of the largest
product of its row and column. The sums are added to the weight in float64, in one order, and the result is rounded
once, to the graph's type.

That takes three products where one would do, and in all but one of some hundred thousand numbers gives what the plain
product gives, in whatever order: `merged` computes that, knows how far the two can be apart, and goes the long way only
for the numbers that could be rounded otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from attnfuse.errors import SourceError
from attnfuse.mindir.dtypes import DType
from attnfuse.mindir.rounding import Floats, Indexes, rounded, rounded_within
from attnfuse.mindir.tensorfile import TensorFile

_BITS = 23
_RANKS = 2 ** (53 - 2 * _BITS)
"""Products of halves whose sum float64 holds."""


@dataclass(frozen=True, slots=True)
class LowRank:
    """Tensors `up` and `down` of the safetensors file `file`, and their scale.

    Of a layer that joins several, as of query, key and value, `rows` are the runs of `up`'s rows that belong to the
    weight, in parts of which all of it has `of`; none means all of it.
    """

    file: Path
    up: str
    down: str
    scale: float
    rows: tuple[tuple[int, int], ...] = ()
    of: int = 1

    @property
    def identity(self) -> list[Any]:
        """What it is beside its file, as JSON values."""
        return [self.up, self.down, self.scale, self.rows, self.of]


class Delta:
    """One of them, read.

    `largest` bounds what it adds to an element, `error` how far `add_to` and `near` are apart, but for what is lost
    where they add: in `sums` roundings. Of the products of `add_to`, what is left out is below 2^-44 of the largest; a
    sum of n products in float64, in whatever order, is less than n · 2^-52 of the sum of their magnitudes away.
    """

    def __init__(self, source: LowRank, file: TensorFile) -> None:
        """Raises SourceError where the tensors do not fit each other."""
        up, down = (file.values(key).astype(np.float64) for key in (source.up, source.down))
        if not (np.isfinite(up).all() and np.isfinite(down).all()):
            raise SourceError(f"{source.up!r} or {source.down!r} of {source.file} holds numbers that are not finite.")
        self.source = source
        self.shape = shape_of(source, file)
        if source.rows:
            part = len(up) // source.of
            up = np.concatenate([up[first * part : last * part] for first, last in source.rows])
        up = up.reshape(len(up), -1)
        with np.errstate(over="ignore"):
            down = down.reshape(len(down), -1) * source.scale
            largest = np.abs(up).max(initial=0.0) * np.abs(down).max(initial=0.0) * len(down)
        starts = range(0, len(down), _RANKS)
        self._up, self._down = up, down
        self.largest = float(largest)
        self.error = self.largest * (2.0**-44 + len(down) * 2.0**-52)
        self.sums = 2 * len(starts) + 1
        self._ups = [_halves(up[:, at : at + _RANKS], 1) for at in starts]
        self._downs = [_halves(down[at : at + _RANKS], 0) for at in starts]
        halves = (half for pair in (*self._ups, *self._downs) for half in pair)
        if not (np.isfinite(largest) and all(np.isfinite(half).all() for half in halves)):
            raise SourceError(
                f"{source.up!r} and {source.down!r} of {source.file} come to numbers that float64 does not hold:"
                " factors, alpha or scale are too large or too small."
            )

    def add_to(self, values: Floats, rows: Indexes, columns: Indexes) -> None:
        """Add it to the elements of the weight, as (rows, elements of a row), that stand there."""
        for (own_high, own_low), (high, low) in zip(self._ups, self._downs, strict=True):
            own_high, own_low, high, low = own_high[rows], own_low[rows], high.T[columns], low.T[columns]
            values += (own_high * high).sum(axis=1)
            # Both are multiples of the same power of two, and their sum is below 2^53 of them.
            values += (own_high * low + own_low * high).sum(axis=1)

    def near(self, first: int, last: int) -> Floats:
        """What it adds to these rows, but for the last bits, which depend on the processor."""
        product: Floats = self._up[first:last] @ self._down
        return product


def shape_of(source: LowRank, file: TensorFile) -> tuple[int, ...]:
    """The shape of the weight that it is added to. Raises SourceError where up and down do not fit each other."""
    up, down = file.entry(source.up).shape, file.entry(source.down).shape
    fits = len(up) == len(down) and len(up) in (2, 4) and up[1] == down[0] and prod(up[2:]) == 1
    if not fits or (source.rows and up[0] % source.of):
        raise SourceError(
            f"{source.up!r} of {source.file} has shape {list(up)} and {source.down!r} {list(down)}, which do not fit"
            " each other."
        )
    out = up[0] if not source.rows else sum(last - first for first, last in source.rows) * up[0] // source.of
    return (out, *down[1:])


def _halves(values: Floats, axis: int) -> tuple[Floats, Floats]:
    """The values as the sum of two: each is whole multiples, below 2^23, of one power of two along the axis."""
    largest = np.abs(values).max(axis=axis, keepdims=True, initial=0.0)
    _, exponent = np.frexp(largest)
    unit = np.ldexp(1.0, exponent - _BITS)
    finer = np.ldexp(unit, -_BITS)
    with np.errstate(divide="ignore", invalid="ignore"):  # of units below float64: no number comes of it, which is told
        high = np.rint(values / unit) * unit
        low: Floats = np.rint((values - high) / finer) * finer
    return high, low


def opened(sources: Sequence[LowRank], files: dict[Path, TensorFile]) -> list[Delta]:
    """All of them, read; `files` are those open."""
    deltas: list[Delta] = []
    for source in sources:
        if source.file not in files:
            files[source.file] = TensorFile(source.file)
        deltas.append(Delta(source, files[source.file]))
    return deltas


def merged(base: Floats, deltas: Sequence[Delta], first: int, dtype: DType) -> tuple[npt.NDArray[Any], float]:
    """Rows of a weight, from `first` on, with what is added to them, rounded to that type: the same bits on every
    machine. And the largest magnitude, but for its last bits."""
    near = deltas[0].near(first, first + len(base))
    near += base
    for delta in deltas[1:]:
        near += delta.near(first, first + len(base))
    # What float64 loses in sums, the comparison's own two included: at most 2^-53 of the largest number each.
    loss = (sum(delta.sums for delta in deltas) + 3) * 2.0**-53
    error = sum(delta.error for delta in deltas) + loss * sum(delta.largest for delta in deltas)
    made, doubtful, largest = rounded_within(near.reshape(-1), error, loss, dtype)
    if doubtful.size:
        exact = base.reshape(-1)[doubtful]
        rows, columns = np.divmod(doubtful, base.shape[1])
        for delta in deltas:
            delta.add_to(exact, rows + first, columns)
        made[doubtful] = rounded(exact, dtype)
    return made.reshape(base.shape), largest
