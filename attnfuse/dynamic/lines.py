"""How one whole number follows the batch. Imports nothing of the project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """slope × batch + offset."""

    slope: int
    offset: int

    def at(self, batch: int) -> int:
        """The number at that batch."""
        return self.slope * batch + self.offset


def line_through(values: Sequence[int], batches: Sequence[int]) -> Line | None:
    """The line that has these values at these batches, two or more; None where there is none in whole numbers."""
    slope, rest = divmod(values[1] - values[0], batches[1] - batches[0])
    line = Line(slope, values[0] - slope * batches[0])
    return line if not rest and all(line.at(b) == v for b, v in zip(batches, values, strict=True)) else None
