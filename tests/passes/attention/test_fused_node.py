"""Fused nodes of the source under policy and target: carried over, recast, converted."""

from __future__ import annotations

import pytest

from attnfuse.ir.graph import attribute
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, DType
from tests.support.fused_nodes import SCALE, B, D, N, S, T, assert_equal, compile_with, prompt_source, source
from tests.support.graphs import GraphBuilder, node_named, operators


@pytest.mark.parametrize("runtime", ["mindspore", "lite"])
@pytest.mark.parametrize("case", [{}, {"layout": "BSH"}, {"layout": "BSND"}, {"mask": (B, 1, S, T)}])
def test_a_rule_casts_anew(runtime: str, case: dict[str, object]) -> None:
    before = source(is_cast=True, **case)  # type: ignore[arg-type]
    after, record = compile_with(before, runtime, force_cast_dtype="bfloat16")
    node = "FlashAttentionScore" if runtime == "mindspore" else "PromptFlashAttention"
    assert (record.status, record.operator, record.rule) == ("fused", node, "the rule")
    assert record.code == ("fused.recast" if runtime == "mindspore" else "fused.converted")
    assert (record.facts.dtype, record.compute_dtype, record.output_dtype) == ("float32", "bfloat16", "float32")
    (fused,) = (n for n in after.nodes if n.op == node)
    assert {after.type_of(name).dtype for name in fused.inputs[:3]} == {BFLOAT16}  # type: ignore[union-attr]
    assert FLOAT16 not in {k.dtype for n in after.nodes if (k := after.type_of(n.name)) is not None}
    assert_equal(before, after)


@pytest.mark.parametrize("runtime", ["mindspore", "lite"])
def test_a_bias_that_would_be_rounded_anew_is_left_to_the_formula(runtime: str) -> None:
    """In another 16-bit type, or times a scale that is no power of two."""
    recast = source(is_cast=True, layout="BSND", shift=True)
    after, record = compile_with(recast, runtime, force_cast_dtype="bfloat16")
    assert (record.status, record.code, record.operator) == ("kept", "target.bias_rounded", None)
    assert_equal(recast, after)
    for scale, code in ((0.25, "fused.converted"), (0.3, "target.bias_rounded")):
        before = source(shift=True, scale=scale)
        after, record = compile_with(before, runtime)
        assert record.code == (code if runtime == "lite" else "fused.carried_over")
        assert_equal(before, after)


def test_the_default_does_not_speak_for_a_cast_that_is_there() -> None:
    before = source(is_cast=True, dtype=BFLOAT16)
    after, record = compile_with(before)
    assert (record.code, record.compute_dtype) == ("fused.carried_over", "bfloat16")
    assert after.proto.SerializeToString() == before.proto.SerializeToString()


def test_a_head_size_that_bfloat16_has_padded() -> None:
    before = source(is_cast=True, head_dim=24)
    after, record = compile_with(before, "lite", force_cast_dtype="bfloat16")
    assert record.head_dim_padding == 8
    assert_equal(before, after)


@pytest.mark.parametrize("dtypes_of", [(FLOAT32, FLOAT32, FLOAT16), (FLOAT16, BFLOAT16, FLOAT16)])
def test_operands_that_the_node_does_not_take_stay_and_are_told(dtypes_of: tuple[DType, ...]) -> None:
    g = GraphBuilder("unet")
    q, k, v = (g.input(name, (B, N, S, D), dtype) for name, dtype in zip("qkv", dtypes_of, strict=True))
    g.output(g.flash_attention_score(q, k, v, heads=N, scale=SCALE))
    before = g.model()
    for runtime, settings in (("lite", {}), ("mindspore", {"flash": False})):
        after, record = compile_with(before, runtime, **settings)  # type: ignore[arg-type]
        assert after.proto == before.proto
        assert (record.status, record.code) == ("missed", "structure.fused_arguments")
        assert "all in float16, in bfloat16 or in float32" in record.reason


@pytest.mark.parametrize("scale", [0.0, 1e-39, 1e39, -1e39])
def test_a_scale_that_float32_does_not_hold_is_not_written(scale: float) -> None:
    """A literal may be a float64, and 0 as well: the new node's argument would be 0 or infinite."""
    before = source()
    argument = before.producer(node_named(before, "FlashAttentionScore").input[12])
    assert argument is not None
    value = attribute(argument.proto, "value")
    assert value is not None
    value.type, value.d = value.DOUBLE, scale
    after, record = compile_with(before, "lite")
    assert after.proto == before.proto
    assert (record.status, record.code) == ("missed", "facts.scale")


@pytest.mark.parametrize(
    ("outer", "operands_cast"),
    [(FLOAT32, (True, False, True)), (FLOAT32, (False, False, False)), (BFLOAT16, (True, True, True))],
)
def test_casts_that_are_not_for_the_nodes_sake_stay(outer: DType, operands_cast: tuple[bool, ...]) -> None:
    """Casts between 16-bit types, or not around all of it, were not put there for the node's sake."""
    g = GraphBuilder("unet")
    operands = [
        g.cast(g.input(name, (B, N, S, D), outer), FLOAT16) if cast else g.input(name, (B, N, S, D), FLOAT16)
        for name, cast in zip("qkv", operands_cast, strict=True)
    ]
    g.output(g.cast(g.flash_attention_score(*operands, heads=N, scale=SCALE), outer))
    before = g.model()
    after, record = compile_with(before, force_cast_dtype="none")
    assert after.proto == before.proto
    assert (record.code, record.facts.dtype, record.output_dtype) == ("fused.carried_over", "float16", "float16")


def test_prompt_flash_attention_of_the_source() -> None:
    before = prompt_source()
    for runtime, soc, expected in (
        ("lite", "ascend910b", ("fused", "fused.carried_over", "PromptFlashAttention")),
        ("mindspore", "ascend910b", ("kept", "structure.fused_arguments", "PromptFlashAttention")),
        # There the other operator is missing, this one is not.
        ("mindspore", "ascend310p", ("kept", "structure.fused_arguments", "PromptFlashAttention")),
        ("lite", "ascend910", ("kept", "target.no_operator", None)),
        ("mindspore", "ascend910", ("kept", "target.no_operator", None)),
    ):
        after, record = compile_with(before, runtime, soc)
        assert (record.status, record.code, record.operator) == expected
        assert (after.proto == before.proto) == (record.operator is not None)
        assert_equal(before, after)


@pytest.mark.parametrize("runtime", ["mindspore", "lite"])
@pytest.mark.parametrize("flash", [True, False])
def test_a_result_may_be_the_source_of_another_compile(runtime: str, flash: bool) -> None:
    """Its nodes have the names that a second run would give."""
    after, record = compile_with(source(), "lite")
    assert record.code == "fused.converted"
    again, record = compile_with(after, runtime, flash=flash)
    assert record.status == ("kept" if not flash or runtime == "mindspore" else "fused")
    assert_equal(source(), again)


def test_casts_around_a_prompt_flash_attention_are_the_policys() -> None:
    before = prompt_source(is_cast=True, mask=(B, S, T))
    after, record = compile_with(before, "lite", force_cast_dtype="bfloat16")
    assert (record.code, record.facts.dtype, record.compute_dtype) == ("fused.recast", "float32", "bfloat16")
    assert "PromptFlashAttention of the source" in record.reason
    assert operators(after).count("PromptFlashAttention") == 1
    assert_equal(before, after)
    after, record = compile_with(before, "lite", force_cast_dtype="none")
    assert (record.status, record.code) == ("kept", "policy.no_cast")
    assert "PromptFlashAttention" not in operators(after)
    assert_equal(before, after)
