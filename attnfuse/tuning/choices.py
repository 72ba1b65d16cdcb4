"""The forms that an attention site may be given by a policy: the formula, or a fused node in one of three ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from attnfuse.decisions import Precision, SiteRecord
from attnfuse.policy import CastName, Rule

_LABEL = "attnfuse tune"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a rule of a policy says; None is not said. `name` tells it from others."""

    name: str
    flash: bool
    force_cast_dtype: CastName | None = None
    precision: Precision | None = None

    def rule(self, match: str) -> Rule:
        """The rule that says so of what the pattern matches."""
        return Rule(
            match,
            _LABEL,
            flash=self.flash,
            force_cast_dtype=self.force_cast_dtype,
            precision=self.precision,
        )

    @property
    def settings(self) -> dict[str, bool | str]:
        """What is said, by the policy's keys."""
        said = {"flash": self.flash, "force_cast_dtype": self.force_cast_dtype, "precision": self.precision}
        return {key: value for key, value in said.items() if value is not None}


FORMULA = Choice("formula", flash=False)
HIGH = Choice("float16, high precision", flash=True, force_cast_dtype="float16", precision="high")
BFLOAT16 = Choice("bfloat16", flash=True, force_cast_dtype="bfloat16", precision="high")
FAST = Choice("float16, fast precision", flash=True, force_cast_dtype="float16", precision="fast")
CHOICES = (FORMULA, HIGH, BFLOAT16, FAST)
"""The more exact first, as far as nothing overflows."""

Assignment: TypeAlias = tuple[Choice, ...]
"""A choice for each unit."""


@dataclass(frozen=True, slots=True)
class Form:
    """What became of one site: two choices of one form are the same.

    `operator` is the fused operator, None for the formula; `dtype` what it computes in, `zeros` those behind each head,
    `free` the operands that have theirs in weights.
    """

    operator: str | None
    dtype: str | None = None
    precision: Precision | None = None
    zeros: int = 0
    free: tuple[str, ...] = ()

    @classmethod
    def of(cls, record: SiteRecord) -> Form:
        """The form that a record tells of."""
        if record.operator is None:
            return cls(None)
        return cls(
            record.operator, record.compute_dtype, record.precision, record.head_dim_padding, record.padded_by_weights
        )

    def __str__(self) -> str:
        if self.operator is None:
            return "the formula"
        if self.precision is None:
            return f"{self.operator} as the source has it"
        zeros = f", {self.zeros} zeros behind each head" if self.zeros else ""
        return f"{self.dtype} in {self.precision} precision{zeros}"


def said(forms: Sequence[Form]) -> str:
    """What became of several sites, for people."""
    return " and ".join(dict.fromkeys(map(str, forms)))
