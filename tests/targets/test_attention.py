"""PromptFlashAttention's limits, held to CANN's own verdicts case by case: never looser, and stricter for a reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from attnfuse.targets.attention import (
    KERNELS,
    LAUNCH_LIMITS,
    ONE_HEAD,
    SHAPES,
    TILING,
    FusedNodeFacts,
    launch_refusals,
)
from attnfuse.targets.facts import Refusal, TensorFacts
from attnfuse.targets.limits import Target
from tests.targets import verdicts
from tests.targets.verdicts import Verdict, tensor

CODES = {
    "#P not support Qs or KVs": "target.sequence",
    "ascend#p platform do not support batch size": "target.batch",
    "attenMask batch": "target.mask_shape",
    "attenMask shape": "target.mask_shape",
    "attenMask should not be null": "target.sparse_mode",
    "attention mask must be NULL": "target.mask_shape",
    "batch size": "target.batch",
    "d should <=": "target.head_dim",
    "d should be align": "target.head_multiple",
    "invalid maskType": "target.mask_dtype",
    "no kernel for this mode": "target.inner_precise",
    "not support #P when pse": "target.bias",
    "numHeads / numKeyValueHeads": "target.grouped_heads",
    "numHeads(#) must be divisible": "target.grouped_heads",
    "pse shift shape": "target.bias_shape",
    "q type is": "target.bias_dtype",
    "the query's heads num": "target.heads",
    "when D axis size": "target.head_multiple",
}
"""By the beginning of CANN's reason, the code under which it is told here."""


def node_of(verdict: Verdict) -> tuple[Target, FusedNodeFacts]:
    layout, query, key, heads, mode, mask, bias = verdict.line
    soc, dtype, precise = verdict.column
    q, k = tensor(query, dtype), tensor(key, dtype)
    assert q is not None
    assert k is not None
    mask_type, _, mask_dims = mask.rpartition(":")
    bias_type, _, bias_dims = bias.rpartition(":")
    node = FusedNodeFacts(
        layout=layout,
        query=q,
        key=k,
        value=k,
        heads=int(heads.split("/")[0]),
        kv_heads=int(heads.split("/")[1]),
        sparse_mode=int(mode),
        inner_precise=int(precise),
        mask=tensor(mask_dims, mask_type),
        pse_shift=tensor(bias_dims, bias_type),
    )
    return Target("lite", f"ascend{soc}"), node


@pytest.fixture(scope="module")
def judged() -> list[tuple[Verdict, tuple[Refusal, ...]]]:
    """Each case with what is said of it here."""
    (section,) = verdicts.sections("prompt_flash_attention.txt")
    return [(verdict, launch_refusals(*node_of(verdict))) for verdict in section.verdicts]


Judged = list[tuple[Verdict, tuple[Refusal, ...]]]


def test_all_of_the_verdicts_are_there(judged: Judged) -> None:
    reasons = {verdict.why for verdict, _ in judged}
    assert (len(judged), len(reasons)) == (6440, 27)


def test_nothing_is_taken_that_cann_refuses_and_it_is_refused_for_the_same_reason(judged: Judged) -> None:
    for verdict, refusals in judged:
        if verdict.why:
            code = next(code for start, code in CODES.items() if verdict.why.startswith(start))
            assert code in {refusal.code for refusal in refusals}, verdict


def test_what_is_refused_beyond_that_says_on_whose_word(judged: Judged) -> None:
    stricter = [(verdict, refusals) for verdict, refusals in judged if refusals and not verdict.why]
    assert all({refusal.source for refusal in refusals} != {TILING} for _, refusals in stricter)
    told = Counter(next((r.code, r.source) for r in refusals if r.source != TILING) for _, refusals in stricter)
    assert told == {
        ("target.dtype", KERNELS): 528,  # bfloat16 on the 310P
        ("target.head_multiple", SHAPES): 484,  # bfloat16
        ("target.mask_per_head", ONE_HEAD): 54,
        ("target.mask_dtype", SHAPES): 24,  # float16
        ("target.sequence", SHAPES): 8,
    }


QUERY = TensorFacts((2, 8, 256, 64), "float16")
PLAIN = FusedNodeFacts(layout="BNSD", query=QUERY, key=QUERY, value=QUERY, heads=8)
B, P = Target("lite", "ascend910b"), Target("lite", "ascend310p")


def wide(*dims: int, dtype: str = "float16") -> dict[str, TensorFacts]:
    return dict.fromkeys(("query", "key", "value"), TensorFacts(dims, dtype))


@pytest.mark.parametrize(
    ("target", "changes", "codes"),
    [
        (B, {}, []),
        (P, {}, []),
        (B, {"layout": "TND"}, ["target.layout"]),
        (B, {"heads": 0}, ["target.heads"]),
        (B, {"heads": 4}, ["target.operands"]),
        (B, {"layout": "BSH"}, ["target.operands"]),
        (B, {"layout": "BSH"} | wide(2, 256, 500), ["target.operands"]),
        (B, {"value": TensorFacts((2, 8, 256, 80), "float16")}, ["target.operands"]),
        (B, {"key": TensorFacts((1, 8, 256, 64), "float16")}, ["target.operands"]),
        (B, wide(2, 8, 0, 64), ["target.sequence"]),
        (B, {"layout": "BSND"} | wide(2, 256, 8, 64), []),
        (B, {"inner_precise": 4}, ["target.inner_precise"]),
        (B, {"inner_precise": 3}, []),
        (P, {"inner_precise": 3}, ["target.inner_precise"]),
        (B, {"sparse_mode": 5}, ["target.sparse_mode"]),
        (B, {"mask": TensorFacts((256,), "bool")}, ["target.mask_shape"]),
        (B, {"pse_shift": TensorFacts((8, 256, 256), "float16")}, ["target.bias_shape"]),
        (B, {"key": TensorFacts((2, 8, 256, 64), "bfloat16")}, ["target.dtype"]),
        # A size not known before run time goes beyond no bound, and is no multiple of anything.
        (B, wide(-1, 8, -1, 64), []),
        (B, {"inner_precise": 1} | wide(-1, 8, 256, 40), ["target.head_multiple"]),
        (B, {"inner_precise": 0} | wide(2, 8, 256, -1), ["target.head_multiple"]),
        (B, {"layout": "BSH"} | wide(2, 256, -1), []),
        (B, {"mask": TensorFacts((-1, 1, -1, -1), "bool")} | wide(-1, 8, -1, 64), []),
        (B, {"mask": TensorFacts((2, 1, 1, -1), "bool")} | wide(2, 8, -1, 64), ["target.mask_shape"]),
        (P, {"mask": TensorFacts((-1, -1), "bool")} | wide(2, 8, -1, 64), ["target.mask_shape"]),
    ],
)
def test_nodes_that_cann_was_not_asked_about(target: Target, changes: dict[str, Any], codes: list[str]) -> None:
    assert [refusal.code for refusal in launch_refusals(target, replace(PLAIN, **changes))] == codes


def attention(
    head_dim: int,
    *,
    dtype: str = "float16",
    precise: int = 0,
    bias: bool = False,
    kv_heads: int = 8,
    mask: bool = False,
) -> FusedNodeFacts:
    """A node of batch 2, 8 heads and 256 tokens."""
    query, key = TensorFacts((2, 8, 256, head_dim), dtype), TensorFacts((2, kv_heads, 256, head_dim), dtype)
    return FusedNodeFacts(
        layout="BNSD",
        query=query,
        key=key,
        value=key,
        heads=8,
        kv_heads=kv_heads,
        inner_precise=precise,
        mask=TensorFacts((2, 1, 256, 256), "bool") if mask else None,
        pse_shift=TensorFacts((1, 8, 256, 256), dtype) if bias else None,
    )


@pytest.mark.parametrize(
    ("model", "node", "on_b", "on_p"),
    [
        ("SD 1.5, in high precision", attention(40), False, False),
        ("SD 1.5, padded", attention(48), True, False),
        ("SD 1.5, in high performance", attention(40, precise=1), True, True),
        ("SD 1.5, bfloat16", attention(40, dtype="bfloat16"), False, False),
        ("SD 1.5, bfloat16, padded", attention(48, dtype="bfloat16"), True, False),
        ("PixArt and DiT, padded", attention(80, mask=True), True, False),
        ("PixArt and DiT, in high performance", attention(72, precise=1, mask=True), True, True),
        ("HunyuanDiT, padded", attention(96), True, False),
        ("HunyuanDiT, in high performance", attention(88, precise=1), True, True),
        ("SDXL and SD3", attention(64), True, False),
        ("SDXL and SD3, in high performance", attention(64, precise=1), True, True),
        ("Flux", attention(128), True, False),
        ("CLIP, with its bias", attention(64, bias=True), True, False),
        ("CLIP, with its bias, in high performance", attention(64, bias=True, precise=1), True, False),
        ("a bias of a head that is no multiple of 16", attention(40, bias=True, precise=1), False, False),
        ("T5, with its bias", attention(64, dtype="bfloat16", bias=True), True, False),
        ("Llama, grouped", attention(128, kv_heads=2, mask=True), True, False),
        ("Llama, grouped, in high performance", attention(128, kv_heads=2, mask=True, precise=1), True, True),
        ("the middle of a VAE", attention(512, precise=1), True, True),
    ],
)
def test_what_models_may_be_given(model: str, node: FusedNodeFacts, on_b: bool, on_p: bool) -> None:
    assert (launch_refusals(B, node) == (), launch_refusals(P, node) == ()) == (on_b, on_p), model


def test_a_soc_without_the_operator() -> None:
    (refusal,) = launch_refusals(Target("lite", "ascend910"), PLAIN)
    assert refusal.code == "target.no_operator"
    known = "PromptFlashAttention is on ascend310p, ascend910b and ascend910_93, not on ascend910"
    assert refusal.message("PromptFlashAttention", "ascend910").startswith(known)


def test_the_a3_is_judged_as_the_a2() -> None:
    """It has the same kernels; its platform figures were not run."""
    assert LAUNCH_LIMITS["ascend910_93"] is LAUNCH_LIMITS["ascend910b"]


def test_a_refusal_is_a_sentence() -> None:
    narrow = TensorFacts((2, 8, 256, 40), "float16")
    (refusal,) = launch_refusals(B, replace(PLAIN, query=narrow, key=narrow, value=narrow, inner_precise=0))
    assert refusal.message("PromptFlashAttention", "ascend910b") == (
        "PromptFlashAttention on ascend910b takes a head_dim that is a multiple of 16 with float16 in high precision,"
        " not 40 (CANN's tiling, November 2025)"
    )
