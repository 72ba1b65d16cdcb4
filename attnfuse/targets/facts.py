"""What is known of one tensor of a node, and why a target refuses the node: plain values, free of protobuf."""

from __future__ import annotations

from dataclasses import dataclass

NO_OPERATOR = "target.no_operator"
"""The code of a refusal where the SoC does not have the operator at all."""


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

    The two are read as "takes EXPECTED, not FOUND"; where the operator is missing, as "is on EXPECTED, not on FOUND".
    """

    code: str
    expected: str
    found: str
    source: str

    def message(self, operator: str, soc: str) -> str:
        """The refusal as a sentence without its end, for reports."""
        if self.code == NO_OPERATOR:
            return f"{operator} is on {self.expected}, not on {self.found} ({self.source})"
        return f"{operator} on {soc} takes {self.expected}, not {self.found} ({self.source})"
