"""Fused nodes that are known to be wrong where they were made: each is told by name."""

from __future__ import annotations

import pytest

from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import BOOL, FLOAT16, FLOAT32, DType
from tests.support.fused_nodes import SCALE, B, D, N, S, compile_with, source
from tests.support.graphs import GraphBuilder


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
