"""In which precision a fused node is written, and why: as the report tells it."""

from __future__ import annotations

from typing import Any

import pytest

from attnfuse.decisions import SiteRecord
from attnfuse.ir.graph import Model
from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32
from tests.passes.test_codes import bias
from tests.support.fused_nodes import assert_equal, compile_with, prompt_source
from tests.support.graphs import GraphBuilder
from tests.support.sites import Site

WIDE: dict[str, Any] = {"query_length": 64, "key_length": 512, "head_dim": 40, "value_head_dim": 40}
"""Heads that want zeros, which cost less than the scores."""
FEW: dict[str, Any] = WIDE | {"key_length": 16}
"""The same, where they cost more."""


def record(runtime: str = "lite", **case: Any) -> SiteRecord:
    site = Site(**case)
    _, (made,) = site.run(site.proto(), runtime)
    assert made.status == "fused", (made.code, made.reason)
    return made


@pytest.mark.parametrize(
    ("case", "precision", "zeros", "reason"),
    [
        ({}, "high", 0, "the default"),
        (WIDE, "high", 8, "the default; 8 zeros a head move"),
        (FEW, "fast", 0, "8 zeros a head move"),
        # Scores that the formula has in float32 may be larger than float16 holds.
        (FEW | {"dtype": FLOAT32}, "high", 8, "the default; 8 zeros a head move"),
        (FEW | {"precision": "high"}, "high", 8, "test"),
        (WIDE | {"precision": "fast"}, "fast", 0, "test"),
        (FEW | {"dtype": BFLOAT16}, "high", 8, "bfloat16 is computed in no other"),
        (FEW | {"dtype": BFLOAT16, "precision": "fast"}, "high", 8, "bfloat16 is computed in no other"),
        (
            {"scores": bias, "head_dim": 40, "value_head_dim": 40, "precision": "fast"},
            "high",
            8,
            "a bias in float16 is computed",
        ),
        (WIDE | {"batch": 129, "precision": "fast"}, "fast", 8, "test"),
        (WIDE | {"soc": "ascend310p"}, "fast", 0, "ascend310p has no other"),
        # Value's own zeros are put there in any precision, and say nothing for either.
        ({"head_dim": 16, "value_head_dim": 8}, "high", 0, "the default"),
    ],
)
def test_the_precision_and_why(case: dict[str, Any], precision: str, zeros: int, reason: str) -> None:
    made = record(**case)
    assert (made.precision, made.head_dim_padding) == (precision, zeros)
    assert made.precision_reason.startswith(reason)


def test_flash_attention_score_is_written_in_high_precision() -> None:
    made = record("mindspore", **FEW, precision="fast")
    assert (made.precision, made.precision_reason) == ("high", "FlashAttentionScore is written in no other")


def test_zeros_beside_a_size_of_run_time() -> None:
    """What they move is not known then, and high precision is the default."""
    g = GraphBuilder()
    q, k, v = (g.input(name, (2, 2, -1 if name == "q" else 512, 40), FLOAT16) for name in "qkv")
    g.output(g.matmul_ext(g.softmax(g.muls(g.batch_matmul(q, k, transpose_b=True), 0.25)), v))
    _, made = compile_with(g.model(), "lite")
    assert (made.status, made.precision, made.head_dim_padding) == ("fused", "high", 8)
    assert made.precision_reason == "the default"


def test_a_node_of_the_source_that_is_not_launched_is_written_anew() -> None:
    before = prompt_source()
    after, made = compile_with(before, "lite", "ascend310p")
    assert (made.code, made.precision) == ("fused.rewritten", "fast")
    assert "inner_precise of 1, not 0" in made.reason
    assert_equal(before, after)


def of_source(inner_precise: int, **terms: tuple[int, ...]) -> Model:
    """A PromptFlashAttention with heads of 24, which high precision does not take."""
    g = GraphBuilder("unet")
    operands = [g.input(name, (2, 2, 8, 24), FLOAT16) for name in "qkv"]
    mask, shift = terms.get("attn_mask"), terms.get("pse_shift")
    node = g.prompt_flash_attention(
        *operands,
        heads=2,
        kv_heads=2,
        scale=0.25,
        inner_precise=inner_precise,
        attn_mask=None if mask is None else g.input("mask", mask, BOOL),
        pse_shift=None if shift is None else g.input("shift", shift, FLOAT16),
    )
    g.output(node)
    return g.model()


@pytest.mark.parametrize("inner_precise", [0, 1, 2, 3])
def test_a_node_that_is_written_anew_mends_rows_as_before(inner_precise: int) -> None:
    before = of_source(inner_precise)
    after, made = compile_with(before, "lite", precision="high")
    if inner_precise & 1:
        assert made.code == "fused.carried_over"  # high performance takes any head
        return
    (node,) = (node for node in after.nodes if node.op == "PromptFlashAttention")
    assert made.head_dim_padding == 8
    assert after.literal(node.inputs[19]) == inner_precise
    assert_equal(before, after)


@pytest.mark.parametrize("term", [{"attn_mask": (2, 1, 8, 8)}, {"pse_shift": (2, 2, 8, 8)}])
def test_a_node_that_mends_rows_which_may_have_no_key_stays(term: dict[str, tuple[int, ...]]) -> None:
    """The formula has nothing to put there."""
    after, made = compile_with(of_source(2, **term), "lite")
    assert made.code == "structure.fused_arguments"
    (node,) = (node for node in after.nodes if node.op == "PromptFlashAttention")
    assert after.literal(node.inputs[19]) == 2
