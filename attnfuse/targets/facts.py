"""What is known of one tensor of a node, and why a target refuses the node: plain values, free of protobuf."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """Shape and element type of a tensor. A size of -1 is not known before run time."""

    dims: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join('?' if d < 0 else str(d) for d in self.dims)}]"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the target does not take a request: a code, what it accepts and what was asked, and the source.

    The two are read as "takes EXPECTED, not FOUND".
    """

    code: str
    expected: str
    found: str
    source: str

    def message(self, operator: str, soc: str) -> str:
        """The refusal as a sentence without its end, for reports."""
        return f"{operator} on {soc} takes {self.expected}, not {self.found} ({self.source})"
