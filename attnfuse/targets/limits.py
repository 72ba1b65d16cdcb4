"""Runtimes and SoCs, the float types each SoC computes in, and the limits of the two fused operators on it.

Sources, cited by the key in `source`:
  FAS   MindSpore 2.7.1 docstring of ops.flash_attention_score (shapes, dtypes, head size, sizes)
  PFA   MindSpore 2.7.1 docstring of ops.operations.nn_ops.PromptFlashAttention, and its inference
  CANN  CANN operator documentation of PromptFlashAttention / FlashAttentionScore (per-product tables)
None of this was run on a device.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from attnfuse.targets.facts import Refusal

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


@dataclass(frozen=True, slots=True)
class NodeLimits:
    """What one operator accepts on one SoC. Sizes are inclusive upper bounds.

    `dtypes` are those it computes in. `head_multiple` is what head_dim must be a multiple of, `head_multiple_float16`
    the same in float16 where the batch is at most `unaligned_batch`: see `head_padding`. `bias` is whether it adds one
    to the scores, `per_head_mask` whether heads may have masks of their own, `grouped_heads` whether there may be fewer
    heads of key and value than of query. `source` is a key, or several, of the module's list.
    """

    dtypes: tuple[str, ...]
    head_multiple: int
    head_multiple_float16: int
    max_head_dim: int
    max_batch: int
    max_heads: int
    max_sequence: int
    unaligned_batch: int
    bias: bool
    per_head_mask: bool
    square_mask_multiple: int
    """0: any; n: a mask only where Sq = Skv and both are multiples of n."""
    grouped_heads: bool
    source: str


_FAS = NodeLimits(
    dtypes=("float16", "bfloat16"),
    head_multiple=16,
    head_multiple_float16=16,
    max_head_dim=512,
    max_batch=2048,
    max_heads=256,
    max_sequence=524288,
    unaligned_batch=2048,
    bias=True,
    per_head_mask=True,
    square_mask_multiple=0,
    grouped_heads=True,
    source="FAS",
)
_PFA = NodeLimits(
    dtypes=("float16", "bfloat16"),
    head_multiple=16,
    head_multiple_float16=1,
    max_head_dim=512,
    max_batch=65536,
    max_heads=256,
    max_sequence=20971520,
    unaligned_batch=128,
    bias=True,
    per_head_mask=False,
    square_mask_multiple=0,
    grouped_heads=True,
    source="PFA, CANN",
)
_PFA_310P = NodeLimits(
    dtypes=("float16",),
    head_multiple=16,
    head_multiple_float16=1,
    max_head_dim=512,
    max_batch=128,
    max_heads=256,
    max_sequence=65535,
    unaligned_batch=128,
    bias=False,
    per_head_mask=False,
    square_mask_multiple=128,
    grouped_heads=False,
    source="CANN (PromptFlashAttention, Atlas inference products)",
)

LIMITS: dict[tuple[str, NodeKind], NodeLimits] = {
    ("ascend310p", "PromptFlashAttention"): _PFA_310P,
    ("ascend910b", "PromptFlashAttention"): _PFA,
    ("ascend910b", "FlashAttentionScore"): _FAS,
    ("ascend910_93", "PromptFlashAttention"): _PFA,
    ("ascend910_93", "FlashAttentionScore"): _FAS,
}

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
    def limits(self) -> NodeLimits | None:
        """None where the SoC has no such operator."""
        return LIMITS.get((self.soc, self.node))

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
        if (self.soc, node) not in LIMITS:
            return Refusal("target.no_operator", f"a SoC with {node}", self.soc, "CANN (operator support tables)")
        if _is_too_old(mindspore):
            oldest = ".".join(map(str, OLDEST_MINDSPORE))
            source = "mindone 0.5.0, attention_processor.py"
            return Refusal("target.version", f"a graph of MindSpore {oldest} or later", mindspore, source)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedRequest:
    """A fused node one would like to write. A dimension of -1 is not known before run time.

    `mask` is None, "shared" (one mask for all heads) or "per_head"; `head_dim` is the larger of query's and value's,
    before padding.
    """

    batch: int
    heads: int
    kv_heads: int
    query_length: int
    key_length: int
    head_dim: int
    dtype: str
    mask: str | None
    bias: bool


def _is_too_old(mindspore: str) -> bool:
    """2.2.14 is, and so is 2.3.0rc1: a release candidate comes before its release, as in Python's version order."""
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?[.-]?(a|b|rc|dev)?", mindspore)
    if found is None:
        return False
    release = (int(found[1]), int(found[2]), int(found[3] or 0))
    return release < OLDEST_MINDSPORE or (release == OLDEST_MINDSPORE and found[4] is not None)


def head_padding(target: Target, request: FusedRequest) -> int:
    """How many zeros each head of query and key must be padded by for the target to take it."""
    limits = target.limits
    if limits is None:
        return 0
    multiple = limits.head_multiple
    if request.dtype == "float16":
        fits = request.batch <= limits.unaligned_batch and request.batch >= 0
        multiple = limits.head_multiple_float16 if fits else limits.head_multiple
    return -request.head_dim % multiple


def refusals(target: Target, request: FusedRequest, mindspore: str = "") -> tuple[Refusal, ...]:
    """Everything that keeps the target from taking the request, after padding of the head size.

    `mindspore` is the version that wrote the graph, "" where that is not known.
    """
    missing = target.missing_operator(target.node, mindspore)
    if missing is not None:
        return (missing,)
    limits = LIMITS[target.soc, target.node]
    found: list[Refusal] = []

    def at_most(code: str, what: str, bound: int, value: int) -> None:
        if value > bound:
            found.append(Refusal(code, f"{what} of at most {bound}", str(value), limits.source))

    if request.dtype not in limits.dtypes:
        found.append(Refusal("target.dtype", " or ".join(limits.dtypes), request.dtype, limits.source))
    widest = request.head_dim + head_padding(target, request)
    at_most("target.head_dim", "a head_dim", limits.max_head_dim, widest)
    at_most("target.batch", "a batch", limits.max_batch, request.batch)
    at_most("target.heads", "a number of heads", limits.max_heads, request.heads)
    at_most("target.sequence", "a sequence", limits.max_sequence, max(request.query_length, request.key_length))
    if 0 in (request.query_length, request.key_length):
        lengths = f"{request.query_length} and {request.key_length}"
        source = "MindSpore 2.7.1's shape inference"
        found.append(Refusal("target.sequence", "sequences that are not empty", lengths, source))
    if request.kv_heads != request.heads and not limits.grouped_heads:
        found.append(
            Refusal("target.grouped_heads", "as many key heads as query heads", str(request.kv_heads), limits.source)
        )
    if request.bias and not limits.bias:
        found.append(Refusal("target.bias", "attention without an additive bias", "attention with one", limits.source))
    if request.mask == "per_head" and not limits.per_head_mask:
        found.append(Refusal("target.mask_per_head", "one mask for all heads", "a mask per head", limits.source))
    n = limits.square_mask_multiple
    if request.mask is not None and n:
        square = request.query_length == request.key_length and request.query_length % n == 0
        if not square or request.query_length < 0:
            found.append(
                Refusal(
                    "target.mask_shape",
                    f"with a mask, query and key sequences equal and multiples of {n}",
                    f"{request.query_length} and {request.key_length}",
                    limits.source,
                )
            )
    return tuple(found)
