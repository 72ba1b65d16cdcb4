"""Rows without a key in which scores are larger than a report assumes.

What hides keys, −10⁴ in float16, is added to the scores, which are lost in it below 4 (`baseline.LOST`): the row is the
mean of value, and the report says that this was assumed. From there on the type rounds a score to the next multiple of
8, and the row is neither that mean nor attention to the keys that are hidden. What the fused node gives there is one of
the two, and the source at its own types is no measure of it. On masks that are drawn, such rows say nothing against a
rewrite; on inputs that are given they do, and nobody asks here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array
from attnfuse.verify.lowering import Arithmetic
from attnfuse.verify.numbers.baseline import LOST, lost_rows
from attnfuse.verify.numbers.comparison import Reference, Side, is_nearer, own_reading


@dataclass(frozen=True, slots=True)
class Spared:
    """An output's reference, and the original at its own types, which is not asked about `count` of its elements."""

    reference: Reference
    native: Array
    formula: Array
    count: int


def spared(
    original: Side,
    fused: Model,
    values: Mapping[str, Array],
    exact: Reference,
    native: Array,
    formula: Array,
    algebra: Array,
) -> Spared | None:
    """The same, where rows without a key have scores that are not assumed; None where there is no such row.

    There the reference is the nearer to the fused graph, `algebra`, of the mean and of `exact`, the original in
    float64; and the original's own error that of the mean at its own types, or none. Elsewhere all is as it was, read
    as `own_reading` reads it.
    """
    lost = lost_rows(original.model, fused)
    if not lost:
        return None
    (marked,) = original.run(Arithmetic.EXACT, values, lost_rows(original.model, fused, limit=LOST))
    where = np.isnan(marked) & ~np.isnan(exact.exact)
    if not where.any():
        return None
    (level,) = original.run(Arithmetic.EXACT, values, lost)
    row, own = exact.exact, exact.exact
    if is_nearer(algebra, np.where(where, level, np.nan), exact.exact):
        row, own = level, original.run(Arithmetic.NATIVE, values, lost)[0]
    rest = Reference(np.where(where, np.nan, exact.exact), exact.allowed)
    (read,) = own_reading(original, fused, values, [rest], [native], [algebra])
    return Spared(
        reference=Reference(np.where(where, row, read.exact), read.allowed),
        native=np.where(where, own, native),
        formula=np.where(where, own, formula),
        count=int(np.count_nonzero(where)),
    )
