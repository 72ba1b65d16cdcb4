"""Numbers for people: bytes and seconds with units, and what changed.

Imports nothing of the project.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

Units: TypeAlias = Sequence[tuple[str, float]]

BYTES: Units = (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10), ("B", 1.0))
SECONDS: Units = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))


def human_bytes(count: int) -> str:
    """A number of bytes with a binary unit: `640.0 MiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def human_seconds(seconds: float) -> str:
    """A time with its unit: `55.2 µs`."""
    unit, size = next((one for one in SECONDS if seconds >= one[1]), SECONDS[-1])
    return f"{seconds / size:.1f} {unit}"


def both(before: float, after: float, units: Units = ()) -> str:
    """Both in the unit that the first fills, to three digits: `172 → 92.4 MiB`."""
    if not units:
        return f"{before} → {after}"
    unit, size = next((one for one in units if before >= one[1]), units[-1])
    return f"{three_digits(before / size)} → {three_digits(after / size)} {unit}"


def three_digits(value: float) -> str:
    """`172`, `92.4`, `1.10`."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def ratio(before: float, after: float) -> str:
    """The second by the first, `×0.57`; empty where the first is nothing."""
    return f"×{after / before:.2f}" if before else ""
