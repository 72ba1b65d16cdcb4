"""Fused nodes of the source under the policy: carried over, recast, converted, restored to the formula; warnings."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from attnfuse.decisions import SiteRecord
from attnfuse.ir.graph import Model, attribute
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, DType
from attnfuse.pass_manager import Context
from attnfuse.policy import Policy, Rule
from attnfuse.targets import Target
from attnfuse_passes.fuse import Fuse
from tests.support.graphs import GraphBuilder, node_named, operators
from tests.support.oracle import run

B, N, S, T, D = 2, 4, 6, 5, 16
LAYOUTS: dict[str, Callable[[int, int, int], tuple[int, ...]]] = {
    "BNSD": lambda h, s, d: (B, h, s, d),
    "BSND": lambda h, s, d: (B, s, h, d),
    "BSH": lambda h, s, d: (B, s, h * d),
}
SCALE = 0.25


def source(
    *,
    layout: str = "BNSD",
    dtype: DType = FLOAT16,
    lifted: bool = False,
    kv: int = N,
    mask: tuple[int, ...] | None = None,
    mask_dtype: DType = BOOL,
    shift: bool = False,
    scale: float = SCALE,
    sparse_mode: int = 0,
    head_dim: int = D,
) -> Model:
    """One FlashAttentionScore; `lifted` puts it between casts from and to float32."""
    g = GraphBuilder("unet")
    outer = FLOAT32 if lifted else dtype
    operands = [
        g.input(name, LAYOUTS[layout](heads, length, head_dim), outer)
        for name, heads, length in (("q", N, S), ("k", kv, T), ("v", kv, T))
    ]
    if lifted:
        operands = [g.cast(x, dtype) for x in operands]
    fused = g.flash_attention_score(
        *operands,
        heads=N,
        scale=scale,
        layout=layout,
        attn_mask=g.input("mask", mask, mask_dtype) if mask is not None else None,
        real_shift=g.input("shift", (B, N, S, T), dtype) if shift else None,
        sparse_mode=sparse_mode,
    )
    g.output(g.cast(fused, FLOAT32) if lifted else fused)
    return g.model()


def compile_with(
    model: Model, runtime: str = "mindspore", soc: str = "ascend910b", **settings: object
) -> tuple[Model, SiteRecord]:
    """Fuse a copy under one rule of these settings; the copy and the site's record."""
    after = Model(type(model.proto).FromString(model.proto.SerializeToString()))
    rules = (Rule("*", "the rule", **settings),) if settings else ()  # type: ignore[arg-type]
    context = Context("unet", "unet", Policy(rules), Target(runtime, soc))
    Fuse().run(after, context)
    (record,) = context.sites
    return Model(after.proto), record


def assert_equal(before: Model, after: Model, tolerance: float = 1e-9) -> None:
    """The two graphs compute the same; every row of the masks leaves it a key."""
    rng = np.random.default_rng(7)
    values: dict[str, npt.NDArray[Any]] = {}
    for graph_input in before.proto.graph.input:
        name = graph_input.name.partition(":")[2]
        dims = tuple(graph_input.tensor[0].dims)
        if name == "mask":
            drawn = rng.random(dims) < 0.5
            drawn[..., 0] = False
            values[name] = drawn
        else:
            values[name] = rng.normal(size=dims)
    (one,), (other,) = run(before, values), run(after, values)
    np.testing.assert_allclose(other, one, rtol=tolerance, atol=tolerance)


CASES = [
    {},
    {"layout": "BSH"},
    {"layout": "BSND"},
    {"kv": 2},
    {"kv": 1, "layout": "BSH"},
    {"kv": 2, "layout": "BSND"},
    {"mask": (B, 1, S, T)},
    {"mask": (B, N, S, T)},
    {"mask": (S, T), "mask_dtype": dtypes.UINT8},
    {"shift": True},
    {"shift": True, "mask": (1, 1, S, T), "layout": "BSH", "dtype": BFLOAT16},
]


@pytest.mark.parametrize("lifted", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_formula_is_restored_where_flash_is_off(case: dict[str, object], lifted: bool) -> None:
    before = source(**case, lifted=lifted)  # type: ignore[arg-type]
    after, record = compile_with(before, flash=False)
    assert (record.status, record.code, record.rule) == ("kept", "policy.flash_off", "the rule")
    assert record.operator is None
    found = operators(after)
    assert "FlashAttentionScore" not in found
    assert "TupleGetItem" not in found
    assert found.count("Softmax") == 1
    assert_equal(before, after)
    if lifted:  # nothing of query, key and value was rounded to 16 bits
        types = {after.type_of(node.name).dtype for node in after.nodes if node.op in ("BatchMatMul", "Softmax")}  # type: ignore[union-attr]
        assert types == {FLOAT32}
        assert found.count("Cast") == sum(key in case for key in ("shift", "mask_dtype"))


@pytest.mark.parametrize("runtime", ["mindspore", "lite"])
def test_no_cast_restores_only_what_was_cast(runtime: str) -> None:
    lifted, native = source(lifted=True), source()
    after, record = compile_with(lifted, runtime, force_cast_dtype="none")
    assert (record.status, record.code, record.rule) == ("kept", "policy.no_cast", "the rule")
    assert (record.facts.dtype, record.output_dtype) == ("float32", "float32")
    assert_equal(lifted, after)
    after, record = compile_with(native, runtime, force_cast_dtype="none")
    assert record.status == "fused"
    assert_equal(native, after)


@pytest.mark.parametrize("runtime", ["mindspore", "lite"])
@pytest.mark.parametrize("case", [{}, {"layout": "BSH"}, {"layout": "BSND"}, {"mask": (B, 1, S, T)}])
def test_a_rule_casts_anew(runtime: str, case: dict[str, object]) -> None:
    before = source(lifted=True, **case)  # type: ignore[arg-type]
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
    recast = source(lifted=True, layout="BSND", shift=True)
    after, record = compile_with(recast, runtime, force_cast_dtype="bfloat16")
    assert (record.status, record.code, record.operator) == ("kept", "target.bias_rounded", None)
    assert_equal(recast, after)
    for scale, code in ((0.25, "fused.converted"), (0.3, "target.bias_rounded")):
        before = source(shift=True, scale=scale)
        after, record = compile_with(before, runtime)
        assert record.code == (code if runtime == "lite" else "fused.carried_over")
        assert_equal(before, after)


def test_the_default_does_not_speak_for_a_cast_that_is_there() -> None:
    before = source(lifted=True, dtype=BFLOAT16)
    after, record = compile_with(before)
    assert (record.code, record.compute_dtype) == ("fused.carried_over", "bfloat16")
    assert after.proto.SerializeToString() == before.proto.SerializeToString()


def test_a_head_size_that_bfloat16_has_padded() -> None:
    before = source(lifted=True, head_dim=24)
    after, record = compile_with(before, "lite", force_cast_dtype="bfloat16")
    assert record.head_dim_padding == 8
    assert_equal(before, after)


@pytest.mark.parametrize(("runtime", "soc"), [("mindspore", "ascend310p"), ("lite", "ascend910")])
def test_a_target_without_the_operator_gets_the_formula(runtime: str, soc: str) -> None:
    before = source(mask=(B, 1, S, T))
    after, record = compile_with(before, runtime, soc)
    assert (record.status, record.code) == ("kept", "target.no_operator")
    assert "FlashAttentionScore" not in operators(after)
    assert_equal(before, after)


def test_what_lite_cannot_say_it_gets_as_the_formula() -> None:
    before = source(mask=(B, N, S, T))
    after, record = compile_with(before, "lite")
    assert (record.status, record.code) == ("kept", "target.mask_per_head")
    assert "FlashAttentionScore" not in operators(after)
    assert_equal(before, after)


def test_what_is_no_plain_formula_stays_and_is_told() -> None:
    before = source(sparse_mode=3, mask=(S, T))
    for settings in ({"flash": False}, {}):
        for runtime in ("mindspore", "lite"):
            after, record = compile_with(before, runtime, **settings)  # type: ignore[arg-type]
            assert after.proto.SerializeToString() == before.proto.SerializeToString()
            if settings or runtime == "lite":
                assert (record.status, record.code) == ("missed", "structure.fused_arguments")
                assert "sparse_mode 0" in record.reason
            else:
                assert record.code == "fused.carried_over"


@pytest.mark.parametrize("dtypes_of", [(FLOAT32,) * 3, (FLOAT16, BFLOAT16, FLOAT16)])
def test_operands_that_the_node_does_not_take_stay_and_are_told(dtypes_of: tuple[DType, ...]) -> None:
    g = GraphBuilder("unet")
    q, k, v = (g.input(name, (B, N, S, D), dtype) for name, dtype in zip("qkv", dtypes_of, strict=True))
    g.output(g.flash_attention_score(q, k, v, heads=N, scale=SCALE))
    before = g.model()
    for runtime, settings in (("lite", {}), ("mindspore", {"flash": False})):
        after, record = compile_with(before, runtime, **settings)  # type: ignore[arg-type]
        assert after.proto == before.proto
        assert (record.status, record.code) == ("missed", "structure.fused_arguments")
        assert "float16 or bfloat16" in record.reason


def changed(position: int, value: object) -> Model:
    """FlashAttentionScore with another argument: a literal, or an input of that name."""
    g = GraphBuilder("unet")
    q, k, v = (g.input(name, (B, N, S, D), FLOAT16) for name in "qkv")
    argument = g.input(value, (B,), dtypes.INT64) if isinstance(value, str) else g.constant(value)  # type: ignore[arg-type]
    g.output(g.flash_attention_score(q, k, v, heads=N, scale=SCALE))
    proto = g.build()
    node_named(Model(proto), "FlashAttentionScore").input[position] = argument
    return Model(proto)


def one_argument_less() -> Model:
    proto = source().proto
    del node_named(Model(proto), "FlashAttentionScore").input[-1]
    return Model(proto)


def value_of_another_width() -> Model:
    g = GraphBuilder("unet")
    q, k, v = (g.input(name, (B, N, S, size), FLOAT16) for name, size in (("q", D), ("k", D), ("v", 2 * D)))
    g.output(g.flash_attention_score(q, k, v, heads=N, scale=SCALE))
    return g.model()


def of_unknown_batch() -> Model:
    g = GraphBuilder("unet")
    q, k, v = (g.input(name, (-1, N, S, D), FLOAT16) for name in "qkv")
    g.output(g.flash_attention_score(q, k, v, heads=N, scale=SCALE))
    return g.model()


def of_unknown_result() -> Model:
    """An element type that this project does not compute with."""
    proto = source().proto
    shape = attribute(node_named(Model(proto), "TupleGetItem"), "shape")
    assert shape is not None
    shape.tensors[0].data_type = 99
    return Model(proto)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (one_argument_less, "structure.fused_arguments"),
        (lambda: changed(4, "drop_mask"), "structure.fused_arguments"),
        (lambda: changed(5, "padding_mask"), "structure.fused_arguments"),
        (lambda: changed(7, "prefix"), "structure.fused_arguments"),
        (lambda: changed(8, "actual_seq_qlen"), "structure.fused_arguments"),
        (lambda: changed(9, "actual_seq_kvlen"), "structure.fused_arguments"),
        (lambda: changed(10, 0), "structure.fused_arguments"),
        (lambda: changed(10, math.inf), "structure.fused_arguments"),
        (lambda: changed(11, 0.9), "structure.fused_arguments"),
        (lambda: changed(12, math.nan), "structure.fused_arguments"),
        (lambda: changed(12, "scale"), "structure.fused_arguments"),
        (lambda: changed(13, 3), "structure.fused_arguments"),
        (lambda: changed(14, 3), "structure.fused_arguments"),
        (lambda: changed(16, 2), "structure.fused_arguments"),  # SBH
        (lambda: source(mask=(B, 1, S, T), mask_dtype=FLOAT16), "structure.fused_arguments"),
        (lambda: source(mask=(B, 1, S, T), mask_dtype=dtypes.INT8), "structure.fused_arguments"),
        (value_of_another_width, "structure.fused_arguments"),
        (of_unknown_batch, "facts.dynamic_layout"),
        (of_unknown_result, "facts.type"),
    ],
)
def test_what_cannot_be_written_out_stays_and_is_told(make: Callable[[], Model], code: str) -> None:
    before = make()
    after, record = compile_with(before, flash=False)
    assert after.proto == before.proto
    assert (record.status, record.code, record.operator) == ("missed", code, "FlashAttentionScore")


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
def test_casts_that_are_no_lift_stay(outer: DType, operands_cast: tuple[bool, ...]) -> None:
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


def test_a_row_without_keys_is_a_mean_and_no_nan() -> None:
    before = source(mask=(B, 1, S, T))
    after, _ = compile_with(before, flash=False)
    rng = np.random.default_rng(3)
    values = {name: rng.normal(size=(B, N, length, D)) for name, length in (("q", S), ("k", T), ("v", T))}
    (out,) = run(after, {**values, "mask": np.ones((B, 1, S, T), bool)})
    np.testing.assert_allclose(out, np.broadcast_to(values["v"].mean(axis=2, keepdims=True), out.shape))


# --- PromptFlashAttention


def prompt_source(
    *,
    layout: str = "BNSD",
    dtype: DType = FLOAT16,
    lifted: bool = False,
    kv: int = N,
    mask: tuple[int, ...] | None = None,
    mask_dtype: DType = BOOL,
    shift: tuple[int, ...] | None = None,
    change: dict[int, str | int] | None = None,
) -> Model:
    """One PromptFlashAttention; `change` puts numbers or inputs of that name at argument positions."""
    g = GraphBuilder("unet")
    outer = FLOAT32 if lifted else dtype
    operands = [
        g.input(name, LAYOUTS[layout](heads, length, D), outer)
        for name, heads, length in zip("qkv", (N, kv, kv), (S, T, T), strict=True)
    ]
    if lifted:
        operands = [g.cast(x, dtype) for x in operands]
    arguments = {
        position: g.input(value, (B,), dtypes.INT64) if isinstance(value, str) else g.constant(value)
        for position, value in (change or {}).items()
    }
    fused = g.prompt_flash_attention(
        *operands,
        heads=N,
        scale=SCALE,
        layout=layout,
        kv_heads=0 if kv == N else kv,
        attn_mask=g.input("mask", mask, mask_dtype) if mask is not None else None,
        pse_shift=g.input("shift", shift, dtype) if shift is not None else None,
    )
    for position, argument in arguments.items():
        node_named(Model(g.proto), "PromptFlashAttention").input[position] = argument
    g.output(g.cast(fused, FLOAT32) if lifted else fused)
    return g.model()


PROMPT_CASES = [
    {},
    {"layout": "BSH"},
    {"kv": 2},
    {"kv": 1, "layout": "BSH"},
    {"mask": (S, T)},
    {"mask": (1, S, T)},
    {"mask": (B, S, T), "mask_dtype": dtypes.INT8},
    {"mask": (B, 1, S, T), "mask_dtype": dtypes.UINT8},
    {"shift": (B, N, S, T)},
    {"shift": (1, N, S, T), "mask": (B, S, T), "layout": "BSH", "dtype": BFLOAT16, "kv": 2},
]


@pytest.mark.parametrize("runtime", ["lite", "mindspore"])
@pytest.mark.parametrize("lifted", [False, True])
@pytest.mark.parametrize("case", PROMPT_CASES, ids=str)
def test_the_formula_of_a_prompt_flash_attention_is_restored(
    case: dict[str, object], lifted: bool, runtime: str
) -> None:
    """Its bias is added after the scale, its mask may be one for all heads without saying so."""
    before = prompt_source(**case, lifted=lifted)  # type: ignore[arg-type]
    after, record = compile_with(before, runtime, flash=False)
    assert (record.status, record.code, record.rule, record.operator) == ("kept", "policy.flash_off", "the rule", None)
    found = operators(after)
    assert "PromptFlashAttention" not in found
    assert found.count("Softmax") == 1
    assert_equal(before, after)
    if lifted:
        types = {after.type_of(node.name).dtype for node in after.nodes if node.op in ("BatchMatMul", "Softmax")}  # type: ignore[union-attr]
        assert types == {FLOAT32}


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


@pytest.mark.parametrize("case", [{"shift": (1, N, S, T)}, {"kv": N // 2}, {"mask": (B, S, T)}], ids=str)
def test_a_node_beyond_the_targets_limits_is_the_formula_again(case: dict[str, object]) -> None:
    """310P documents no bias, no grouped heads, and masks only over squares."""
    before = prompt_source(**case)  # type: ignore[arg-type]
    after, record = compile_with(before, "lite", "ascend310p")
    assert (record.status, record.operator) == ("kept", None)
    assert record.code.startswith("target.")
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
    before = prompt_source(lifted=True, mask=(B, S, T))
    after, record = compile_with(before, "lite", force_cast_dtype="bfloat16")
    assert (record.code, record.facts.dtype, record.compute_dtype) == ("fused.recast", "float32", "bfloat16")
    assert "PromptFlashAttention of the source" in record.reason
    assert operators(after).count("PromptFlashAttention") == 1
    assert_equal(before, after)
    after, record = compile_with(before, "lite", force_cast_dtype="none")
    assert (record.status, record.code) == ("kept", "policy.no_cast")
    assert "PromptFlashAttention" not in operators(after)
    assert_equal(before, after)


@pytest.mark.parametrize(
    "case",
    [
        {"change": {4: "actual_seq_lengths"}},
        {"change": {5: "actual_seq_lengths_kv"}},
        {"change": {10: "quant_scale2"}},
        {"change": {13: "scale"}},
        {"change": {17: 2}},  # key heads, of which key has 4
        {"shift": (1, N, 8, 8)},
        {"mask": (B, 1, S, T), "mask_dtype": FLOAT16},
    ],
    ids=str,
)
def test_a_prompt_flash_attention_that_is_no_plain_formula_stays(case: dict[str, object]) -> None:
    """A bias of more rows or columns than the scores is read in part, lengths are known at run time only."""
    before = prompt_source(**case)  # type: ignore[arg-type]
    after, record = compile_with(before, "lite", flash=False)
    assert after.proto == before.proto
    assert (record.status, record.code, record.operator) == (
        "missed",
        "structure.fused_arguments",
        "PromptFlashAttention",
    )
    assert "left as it is" in record.reason


# --- the version


@pytest.mark.parametrize("runtime", ["lite", "mindspore"])
@pytest.mark.parametrize("make", [source, prompt_source])
def test_a_mindspore_without_the_operator_gets_the_formula(make: Callable[[], Model], runtime: str) -> None:
    before = make()
    before.proto.model_version = "2.2.14"
    after, record = compile_with(before, runtime)
    assert (record.status, record.code, record.operator) == ("kept", "target.version", None)
    assert "MindSpore 2.3.0 or later, not 2.2.14" in record.reason
    assert_equal(before, after)


# --- known-wrong producers


def test_wan_without_a_scale() -> None:
    _, record = compile_with(source(scale=1.0))
    assert any("scale is 1.0 with a head size of 16" in text for text in record.warnings)
    assert record.scale == 1.0
    assert not compile_with(source())[1].warnings


def test_a_scale_of_one_is_right_for_a_head_of_one() -> None:
    _, record = compile_with(source(scale=1.0, head_dim=1), "lite")
    assert not record.warnings


def test_float32_into_the_operator() -> None:
    _, record = compile_with(source(dtype=FLOAT32))
    assert any("query is float32" in text for text in record.warnings)


def test_causal_without_its_triangle() -> None:
    assert any("2048 × 2048" in text for text in compile_with(source(sparse_mode=2))[1].warnings)
    assert not any("2048" in text for text in compile_with(source(sparse_mode=2, mask=(2048, 2048)))[1].warnings)


@pytest.mark.parametrize("repeat", ["interleave", "broadcast", "other"])
def test_one_mask_repeated_for_all_heads_loses_nothing(repeat: str) -> None:
    g = GraphBuilder("unet")
    q, k, v = (g.input(name, (B, N, S, D), FLOAT16) for name in "qkv")
    if repeat == "broadcast":
        mask = g.broadcast_to(g.input("mask", (B, 1, 1, S), BOOL), (B, N, 1, S))
    else:
        whole = g.input("mask", (B, 1, S) if repeat == "interleave" else (B, N, S), BOOL)
        mask = g.reshape(g.repeat_interleave(whole, N, 0) if repeat == "interleave" else whole, (B, N, 1, S))
    mask = g.strided_slice(g.logical_not(g.broadcast_to(mask, (B, N, S, S))), (0, 0, 0, 0), (B, 1, S, S))
    g.output(g.flash_attention_score(q, k, v, heads=N, scale=SCALE, attn_mask=mask))
    _, record = compile_with(g.model())
    assert len(record.warnings) == (repeat == "other")


@pytest.mark.parametrize("copy", ["Contiguous", "Clone", "Identity"])
def test_a_copy_hides_no_lost_head(copy: str) -> None:
    g = GraphBuilder("unet")
    q, k, v = (g.input(name, (B, N, S, D), FLOAT16) for name in "qkv")
    whole = g.op(copy, g.logical_not(g.input("mask", (B, N, S, S), BOOL)))
    first = g.op("Narrow", whole, 1, 0, 1, dims=(B, 1, S, S))
    g.output(g.flash_attention_score(q, k, v, heads=N, scale=SCALE, attn_mask=g.op(copy, first)))
    assert ["first of 4 heads" in text for text in compile_with(g.model())[1].warnings] == [True]


@pytest.mark.parametrize(
    ("origin", "heads", "expected"),
    [
        (FLOAT16, N, ("turned to bool", "first of 4 heads")),
        (FLOAT16, 1, ("turned to bool",)),
        (BOOL, 1, ()),
        (dtypes.INT64, 1, ()),
    ],
)
def test_a_bias_that_became_a_mask(origin: DType, heads: int, expected: tuple[str, ...]) -> None:
    g = GraphBuilder("unet")
    q, k, v = (g.input(name, (B, N, S, D), FLOAT16) for name in "qkv")
    mask = g.input("bias", (B, heads, 1, S), origin)
    mask = g.cast(mask, BOOL) if origin is not BOOL else g.logical_not(mask)
    mask = g.strided_slice(g.broadcast_to(mask, (B, heads, S, S)), (0, 0, 0, 0), (B, 1, S, S))
    g.output(g.flash_attention_score(q, k, v, heads=N, scale=SCALE, attn_mask=mask))
    before = g.model()
    for runtime in ("mindspore", "lite"):
        _, record = compile_with(before, runtime)
        assert len(record.warnings) == len(expected)
        assert all(any(part in text for text in record.warnings) for part in expected)
        assert record.status == "fused"
