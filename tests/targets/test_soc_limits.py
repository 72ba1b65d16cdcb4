"""Each limit of each runtime and SoC, asked in the one way: what lies on it is taken, what lies beyond is refused."""

from __future__ import annotations

from typing import Any

import pytest

from attnfuse.targets import SOCS, FusedNodeFacts, Target, TensorFacts, head_padding, refusals

LITE = ("lite", "ascend910b")
OLD = ("lite", "ascend310p")
MINDSPORE = ("mindspore", "ascend910b")


def node(
    batch: int = 1,
    heads: int = 8,
    kv_heads: int = 8,
    query_length: int = 256,
    key_length: int = 256,
    head_dim: int = 64,
    dtype: str = "float16",
    mask: int = 0,
    bias: bool = False,
    precise: int = 0,
) -> FusedNodeFacts:
    """A node in BNSD; `mask` is the number of heads that its mask has."""
    key = TensorFacts((batch, kv_heads, key_length, head_dim), dtype)
    return FusedNodeFacts(
        layout="BNSD",
        query=TensorFacts((batch, heads, query_length, head_dim), dtype),
        key=key,
        value=key,
        heads=heads,
        kv_heads=kv_heads,
        inner_precise=precise,
        mask=TensorFacts((batch, mask, query_length, key_length), "bool") if mask else None,
        pse_shift=TensorFacts((batch, heads, query_length, key_length), dtype) if bias else None,
    )


def codes(target: tuple[str, str], **changes: Any) -> list[str]:
    if target == OLD:
        changes = {"precise": 1} | changes
    return [refusal.code for refusal in refusals(Target(*target), node(**changes))]


@pytest.mark.parametrize(
    ("target", "code", "taken", "refused"),
    [
        # Atlas 300I: PromptFlashAttention in float16 and fast, without a bias.
        (OLD, "target.dtype", {"dtype": "float16"}, {"dtype": "bfloat16"}),
        (OLD, "target.inner_precise", {}, {"precise": 0}),
        (OLD, "target.bias", {"bias": False}, {"bias": True}),
        (OLD, "target.batch", {"batch": 128}, {"batch": 129}),
        (OLD, "target.sequence", {"key_length": 65536}, {"key_length": 65537}),
        (OLD, "target.sequence", {"query_length": 65536}, {"query_length": 65537}),
        (OLD, "target.grouped_heads", {"heads": 64, "kv_heads": 1}, {"heads": 65, "kv_heads": 1}),
        # There, a mask only where both sequences are one multiple of 16.
        (OLD, "target.mask_shape", {"mask": 1}, {"mask": 1, "query_length": 128}),
        (OLD, "target.mask_shape", {"query_length": 77}, {"mask": 1, "query_length": 77, "key_length": 77}),
        (OLD, "target.mask_per_head", {"mask": 1}, {"mask": 8}),
        (OLD, "target.heads", {"heads": 256, "kv_heads": 256}, {"heads": 257, "kv_heads": 257}),
        (OLD, "target.head_dim", {"head_dim": 512}, {"head_dim": 513}),
        # Atlas A2, PromptFlashAttention.
        (LITE, "target.dtype", {"dtype": "bfloat16"}, {"dtype": "float32"}),
        (LITE, "target.batch", {"batch": 65536}, {"batch": 65537}),
        (LITE, "target.heads", {"heads": 256, "kv_heads": 256}, {"heads": 257, "kv_heads": 257}),
        (LITE, "target.head_dim", {"head_dim": 512}, {"head_dim": 528}),
        (LITE, "target.head_multiple", {"head_dim": 40, "precise": 1}, {"head_dim": 40}),
        (LITE, "target.head_multiple", {"head_dim": 48, "dtype": "bfloat16"}, {"head_dim": 40, "dtype": "bfloat16"}),
        (LITE, "target.sequence", {"key_length": 20971520}, {"key_length": 20971521}),
        (LITE, "target.sequence", {"key_length": 1}, {"key_length": 0}),
        (LITE, "target.mask_per_head", {"mask": 1, "bias": True, "kv_heads": 2}, {"mask": 8}),
        # Atlas A2, FlashAttentionScore: a mask for each head too.
        (MINDSPORE, "target.dtype", {"dtype": "bfloat16"}, {"dtype": "float32"}),
        (MINDSPORE, "target.batch", {"batch": 2048, "mask": 8}, {"batch": 2049}),
        (MINDSPORE, "target.heads", {"heads": 256, "kv_heads": 64}, {"heads": 257, "kv_heads": 257}),
        (MINDSPORE, "target.grouped_heads", {"heads": 256, "kv_heads": 1}, {"heads": 256, "kv_heads": 3}),
        (MINDSPORE, "target.head_dim", {"head_dim": 512}, {"head_dim": 528}),
        (MINDSPORE, "target.head_multiple", {"head_dim": 48}, {"head_dim": 40}),
        (MINDSPORE, "target.sequence", {"query_length": 524288}, {"query_length": 524289}),
        (MINDSPORE, "target.sequence", {"query_length": 1}, {"query_length": 0}),
    ],
)
def test_a_limit(target: tuple[str, str], code: str, taken: dict[str, Any], refused: dict[str, Any]) -> None:
    assert codes(target, **taken) == []
    assert codes(target, **refused) == [code]


def test_what_is_taken_and_what_is_not_make_a_sentence() -> None:
    """Callers put them into "takes EXPECTED, not FOUND": what is taken is something, never "no" something."""
    (bias,) = refusals(Target(*OLD), node(bias=True, precise=1))
    assert (bias.expected, bias.found) == ("attention without an additive bias", "attention with one")
    (type_,) = refusals(Target(*MINDSPORE), node(dtype="float32"))
    assert type_.message("FlashAttentionScore", "ascend910b") == (
        "FlashAttentionScore on ascend910b takes query, key and value all in float16 or bfloat16, not float32"
        " (MindSpore 2.7.1's docstring of flash_attention_score)"
    )


@pytest.mark.parametrize("runtime", ["lite", "mindspore"])
def test_the_first_910_has_neither_operator(runtime: str) -> None:
    assert codes((runtime, "ascend910")) == ["target.no_operator"]
    assert codes((runtime, "ascend910"), dtype="float32", batch=10**6) == ["target.no_operator"]


def test_the_310p_has_none_for_mindspore() -> None:
    assert codes(("mindspore", "ascend310p")) == ["target.no_operator"]


def test_all_socs_are_told_of() -> None:
    assert set(SOCS) == {"ascend310p", "ascend910", "ascend910b", "ascend910_93"}


@pytest.mark.parametrize(
    ("target", "changes", "zeros"),
    [
        (LITE, {"head_dim": 40}, 8),
        (LITE, {"head_dim": 40, "precise": 1}, 0),
        (LITE, {"head_dim": 40, "precise": 1, "bias": True}, 8),
        (LITE, {"head_dim": 40, "precise": 1, "batch": 128}, 0),
        (LITE, {"head_dim": 40, "precise": 1, "batch": 129}, 8),
        (LITE, {"head_dim": 40, "precise": 1, "batch": -1}, 8),
        (LITE, {"head_dim": 40, "precise": 1, "dtype": "bfloat16"}, 8),
        (LITE, {"head_dim": 64}, 0),
        (OLD, {"head_dim": 40, "precise": 1}, 0),
        (MINDSPORE, {"head_dim": 40}, 8),
        (MINDSPORE, {"head_dim": 64}, 0),
        (("lite", "ascend910"), {"head_dim": 40}, 0),
    ],
)
def test_head_sizes_are_padded_to_what_the_target_takes(
    target: tuple[str, str], changes: dict[str, Any], zeros: int
) -> None:
    width = changes["head_dim"]
    found = head_padding(Target(*target), width, lambda count: node(**changes | {"head_dim": width + count}))
    assert found == zeros
