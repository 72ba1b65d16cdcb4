"""The formula of a fused node, written out again: what it computes, and when it cannot be had."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from attnfuse.ir.graph import Model, attribute
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32
from tests.support.fused_nodes import SCALE, B, D, N, S, T, assert_equal, compile_with, prompt_source, source
from tests.support.graphs import GraphBuilder, node_named, operators
from tests.support.oracle import run

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


@pytest.mark.parametrize("is_cast", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_formula_is_restored_where_flash_is_off(case: dict[str, object], is_cast: bool) -> None:
    before = source(**case, is_cast=is_cast)  # type: ignore[arg-type]
    after, record = compile_with(before, flash=False)
    assert (record.status, record.code, record.rule) == ("kept", "policy.flash_off", "the rule")
    assert record.operator is None
    found = operators(after)
    assert "FlashAttentionScore" not in found
    assert "TupleGetItem" not in found
    assert found.count("Softmax") == 1
    assert_equal(before, after)
    if is_cast:  # nothing of query, key and value was rounded to 16 bits
        types = {after.type_of(node.name).dtype for node in after.nodes if node.op in ("BatchMatMul", "Softmax")}  # type: ignore[union-attr]
        assert types == {FLOAT32}
        assert found.count("Cast") == sum(key in case for key in ("shift", "mask_dtype"))


@pytest.mark.parametrize("runtime", ["mindspore", "lite"])
def test_no_cast_restores_only_what_was_cast(runtime: str) -> None:
    cast_around, native = source(is_cast=True), source()
    after, record = compile_with(cast_around, runtime, force_cast_dtype="none")
    assert (record.status, record.code, record.rule) == ("kept", "policy.no_cast", "the rule")
    assert (record.facts.dtype, record.output_dtype) == ("float32", "float32")
    assert_equal(cast_around, after)
    after, record = compile_with(native, runtime, force_cast_dtype="none")
    assert record.status == "fused"
    assert_equal(native, after)


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


def test_a_fully_masked_row_is_a_mean_and_no_nan() -> None:
    before = source(mask=(B, 1, S, T))
    after, _ = compile_with(before, flash=False)
    rng = np.random.default_rng(3)
    values = {name: rng.normal(size=(B, N, length, D)) for name, length in (("q", S), ("k", T), ("v", T))}
    (out,) = run(after, {**values, "mask": np.ones((B, 1, S, T), bool)})
    np.testing.assert_allclose(out, np.broadcast_to(values["v"].mean(axis=2, keepdims=True), out.shape))


@pytest.mark.parametrize("runtime", ["lite", "mindspore"])
@pytest.mark.parametrize("is_cast", [False, True])
@pytest.mark.parametrize("case", PROMPT_CASES, ids=str)
def test_the_formula_of_a_prompt_flash_attention_is_restored(
    case: dict[str, object], is_cast: bool, runtime: str
) -> None:
    """Its bias is added after the scale, its mask may be one for all heads without saying so."""
    before = prompt_source(**case, is_cast=is_cast)  # type: ignore[arg-type]
    after, record = compile_with(before, runtime, flash=False)
    assert (record.status, record.code, record.rule, record.operator) == ("kept", "policy.flash_off", "the rule", None)
    found = operators(after)
    assert "PromptFlashAttention" not in found
    assert found.count("Softmax") == 1
    assert_equal(before, after)
    if is_cast:
        types = {after.type_of(node.name).dtype for node in after.nodes if node.op in ("BatchMatMul", "Softmax")}  # type: ignore[union-attr]
        assert types == {FLOAT32}


@pytest.mark.parametrize("case", [{"shift": (1, N, S, T)}, {"mask": (B, S, T)}], ids=str)
def test_a_node_beyond_the_targets_limits_is_the_formula_again(case: dict[str, object]) -> None:
    """310P launches none with a bias, and masks only over squares."""
    before = prompt_source(**case)  # type: ignore[arg-type]
    after, record = compile_with(before, "lite", "ascend310p")
    assert (record.status, record.operator) == ("kept", None)
    assert record.code.startswith("target.")
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


@pytest.mark.parametrize("runtime", ["lite", "mindspore"])
@pytest.mark.parametrize("make", [source, prompt_source])
def test_a_mindspore_without_the_operator_gets_the_formula(make: Callable[[], Model], runtime: str) -> None:
    before = make()
    before.proto.model_version = "2.2.14"
    after, record = compile_with(before, runtime)
    assert (record.status, record.code, record.operator) == ("kept", "target.version", None)
    assert "MindSpore 2.3.0 or later, not 2.2.14" in record.reason
    assert_equal(before, after)
