"""Each limit of each SoC: what lies on it is taken, what lies beyond is refused with its code, bound and source."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from attnfuse.targets import SOCS, FusedRequest, Target, head_padding, refusals

PLAIN = FusedRequest(
    batch=1,
    heads=8,
    kv_heads=8,
    query_length=256,
    key_length=256,
    head_dim=64,
    dtype="float16",
    mask=None,
    bias=False,
)
LITE = ("lite", "ascend910b")
OLD = ("lite", "ascend310p")
MINDSPORE = ("mindspore", "ascend910b")


def codes(target: tuple[str, str], **changes: Any) -> list[str]:
    return [refusal.code for refusal in refusals(Target(*target), dataclasses.replace(PLAIN, **changes))]


@pytest.mark.parametrize(
    ("target", "code", "taken", "refused"),
    [
        # Atlas 300I: PromptFlashAttention in float16, without a bias.
        (OLD, "target.dtype", {"dtype": "float16"}, {"dtype": "bfloat16"}),
        (OLD, "target.bias", {"bias": False}, {"bias": True}),
        (OLD, "target.batch", {"batch": 128}, {"batch": 129}),
        (OLD, "target.sequence", {"key_length": 65535}, {"key_length": 65536}),
        (OLD, "target.sequence", {"query_length": 65535}, {"query_length": 65536}),
        (OLD, "target.grouped_heads", {"kv_heads": 8}, {"kv_heads": 4}),
        # There, a mask only where both sequences are one multiple of 128.
        (OLD, "target.mask_shape", {"mask": "shared"}, {"mask": "shared", "query_length": 128}),
        (OLD, "target.mask_shape", {"query_length": 77}, {"mask": "shared", "query_length": 77, "key_length": 77}),
        (OLD, "target.mask_shape", {"query_length": -1}, {"mask": "shared", "query_length": -1, "key_length": -1}),
        (OLD, "target.mask_per_head", {"mask": "shared"}, {"mask": "per_head"}),
        (OLD, "target.heads", {"heads": 256, "kv_heads": 256}, {"heads": 257, "kv_heads": 257}),
        (OLD, "target.head_dim", {"head_dim": 512}, {"head_dim": 513}),
        # Atlas A2, PromptFlashAttention.
        (LITE, "target.dtype", {"dtype": "bfloat16"}, {"dtype": "float32"}),
        (LITE, "target.batch", {"batch": 65536}, {"batch": 65537}),
        (LITE, "target.heads", {"heads": 256, "kv_heads": 256}, {"heads": 257, "kv_heads": 257}),
        (LITE, "target.head_dim", {"head_dim": 512}, {"head_dim": 528}),
        (LITE, "target.sequence", {"key_length": 20971520}, {"key_length": 20971521}),
        (LITE, "target.sequence", {"key_length": 1}, {"key_length": 0}),
        (LITE, "target.mask_per_head", {"mask": "shared", "bias": True, "kv_heads": 2}, {"mask": "per_head"}),
        # Atlas A2, FlashAttentionScore: a mask for each head too.
        (MINDSPORE, "target.dtype", {"dtype": "bfloat16"}, {"dtype": "float32"}),
        (MINDSPORE, "target.batch", {"batch": 2048, "mask": "per_head"}, {"batch": 2049}),
        (MINDSPORE, "target.heads", {"heads": 256, "kv_heads": 64}, {"heads": 257, "kv_heads": 257}),
        (MINDSPORE, "target.head_dim", {"head_dim": 512}, {"head_dim": 513}),
        (MINDSPORE, "target.sequence", {"query_length": 524288}, {"query_length": 524289}),
        (MINDSPORE, "target.sequence", {"query_length": 1}, {"query_length": 0}),
    ],
)
def test_a_limit(target: tuple[str, str], code: str, taken: dict[str, Any], refused: dict[str, Any]) -> None:
    assert codes(target, **taken) == []
    assert codes(target, **refused) == [code]
    (told,) = refusals(Target(*target), dataclasses.replace(PLAIN, **refused))
    assert told.expected
    assert told.found
    assert told.source


def test_what_is_taken_and_what_is_not_make_a_sentence() -> None:
    """Callers put them into "takes EXPECTED, not FOUND": what is taken is something, never "no" something."""
    (bias,) = refusals(Target(*OLD), dataclasses.replace(PLAIN, bias=True))
    assert (bias.expected, bias.found) == ("attention without an additive bias", "attention with one")


@pytest.mark.parametrize("runtime", ["lite", "mindspore"])
def test_the_first_910_has_neither_operator(runtime: str) -> None:
    assert codes((runtime, "ascend910")) == ["target.no_operator"]
    assert codes((runtime, "ascend910"), dtype="float32", batch=10**6) == ["target.no_operator"]


def test_the_310p_has_none_for_mindspore() -> None:
    assert codes(("mindspore", "ascend310p")) == ["target.no_operator"]


def test_the_910_93_takes_what_the_910b_takes() -> None:
    for runtime in ("lite", "mindspore"):
        assert Target(runtime, "ascend910_93").limits == Target(runtime, "ascend910b").limits is not None
    assert set(SOCS) == {"ascend310p", "ascend910", "ascend910b", "ascend910_93"}


@pytest.mark.parametrize(
    ("target", "changes", "zeros"),
    [
        (LITE, {"head_dim": 40}, 0),
        (LITE, {"head_dim": 40, "batch": 128}, 0),
        (LITE, {"head_dim": 40, "batch": 129}, 8),
        (LITE, {"head_dim": 40, "batch": -1}, 8),
        (LITE, {"head_dim": 40, "dtype": "bfloat16"}, 8),
        (OLD, {"head_dim": 40}, 0),
        (MINDSPORE, {"head_dim": 40}, 8),
        (MINDSPORE, {"head_dim": 64}, 0),
        (("lite", "ascend910"), {"head_dim": 40}, 0),
    ],
)
def test_head_sizes_are_padded_to_what_the_target_takes(
    target: tuple[str, str], changes: dict[str, Any], zeros: int
) -> None:
    assert head_padding(Target(*target), dataclasses.replace(PLAIN, **changes)) == zeros
