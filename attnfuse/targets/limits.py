"""Runtimes and SoCs, the float types each SoC computes in, and which of the two fused operators it has.

What a fused operator takes is asked of `refusals` (fused.py). None of this was run on a device.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from attnfuse.targets.facts import NO_OPERATOR, Refusal

NodeKind: TypeAlias = Literal["FlashAttentionScore", "PromptFlashAttention"]
RUNTIMES: tuple[str, ...] = ("lite", "mindspore")
SOCS: tuple[str, ...] = ("ascend310p", "ascend910", "ascend910b", "ascend910_93")

FLOATS: dict[str, tuple[str, ...]] = {
    "ascend310p": ("float16", "float32"),
    "ascend910": ("float16", "float32"),
    "ascend910b": ("float16", "bfloat16", "float32"),
    "ascend910_93": ("float16", "bfloat16", "float32"),
}
"""The float types, of those a component can be traced in, that each SoC computes in.

Source: CANN's operator information for ascend310p (opp/…/config/ascend310p/aic-ascend310p-ops-info.json) names bfloat16
for no operator, not even Cast; its operator documentation has BFLOAT16 unsupported on Atlas inference products
(ascend310p) and on the first Atlas training products (ascend910). A graph in bfloat16 has no kernels there.
"""


SOCS_OF: dict[NodeKind, tuple[str, ...]] = {
    "PromptFlashAttention": ("ascend310p", "ascend910b", "ascend910_93"),
    "FlashAttentionScore": ("ascend910b", "ascend910_93"),
}
"""The SoCs that have each fused operator (CANN's tables of support)."""

# Before this version mindone 0.5.0 computes the formula on any host (attention_processor.py, `fa_op_available`).
OLDEST_MINDSPORE = (2, 3, 0)

_NODE_OF: dict[str, NodeKind] = {"lite": "PromptFlashAttention", "mindspore": "FlashAttentionScore"}


@dataclass(frozen=True, slots=True)
class Target:
    """A runtime on a SoC: where the graph will be loaded and what will execute it."""

    runtime: str
    soc: str

    @property
    def node(self) -> NodeKind:
        """The fused operator of this runtime. MindSpore Lite restores the arguments of PromptFlashAttention only."""
        return _NODE_OF[self.runtime]

    @property
    def floats(self) -> tuple[str, ...]:
        """The float types the SoC computes in: see `FLOATS`."""
        return FLOATS[self.soc]

    def lacks(self, dtype: str) -> bool:
        """Whether a component can be traced in that float type, and the SoC has none of it."""
        return dtype in FLOATS["ascend910b"] and dtype not in self.floats

    def missing_type(self, dtype: str) -> str:
        """That it lacks the type, as a sentence without its end."""
        return f"{dtype} is not on {self.soc}"

    def cure_of(self, dtype: str) -> str:
        """The same, with what to do about it."""
        return f"{self.missing_type(dtype)}: compute in {' or '.join(self.floats)}"

    def missing_operator(self, node: NodeKind, mindspore: str) -> Refusal | None:
        """Why there is no such operator, on this SoC or in the MindSpore that wrote the graph; None where there is.

        MindSpore reads graphs of its own version, and of a version that nobody can read nothing is said.
        """
        if self.soc not in SOCS_OF[node]:
            return Refusal(NO_OPERATOR, listed(SOCS_OF[node]), self.soc, "CANN (operator support tables)")
        if _is_too_old(mindspore):
            oldest = ".".join(map(str, OLDEST_MINDSPORE))
            source = "mindone 0.5.0, attention_processor.py"
            return Refusal("target.version", f"a graph of MindSpore {oldest} or later", mindspore, source)
        return None


def listed(socs: tuple[str, ...]) -> str:
    """Two or more names in a sentence."""
    return f"{', '.join(socs[:-1])} and {socs[-1]}"


def _is_too_old(mindspore: str) -> bool:
    """2.2.14 is, and so is 2.3.0rc1: a release candidate comes before its release, as in Python's version order."""
    found = re.match(r"v?(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?[.-]?(a|b|rc|dev)?", mindspore)
    if found is None:
        return False
    release = (int(found[1]), int(found[2]), int(found[3] or 0))
    return release < OLDEST_MINDSPORE or (release == OLDEST_MINDSPORE and found[4] is not None)
