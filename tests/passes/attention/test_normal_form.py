"""A formula and a fused node that say the same are raised to the same normal form."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest

from attnfuse.api import Effects, FusedNodeFacts, Node, Role, role
from attnfuse.ir.graph import Model
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32
from attnfuse_passes.attention.axes import product
from attnfuse_passes.attention.formulas import raise_formula
from attnfuse_passes.attention.fused_node import raise_fused_node
from attnfuse_passes.attention.mask_values import ConstantFolder
from attnfuse_passes.attention.normal_form import (
    Attention,
    AttentionAxes,
    Bias,
    BooleanMask,
    Fill,
    UnreadFusedNode,
)
from attnfuse_passes.attention.softmax import read_root
from attnfuse_passes.naming import SiteNames
from tests.support.graphs import GraphBuilder

B, N, S, T, D = 2, 4, 6, 5, 16
SIZES = (B, N, N, S, T, D, D)


def raised(model: Model) -> Attention:
    """The one site of a graph, whatever its form."""
    (node,) = [node for node in model.nodes if role(node) in (Role.SOFTMAX, Role.FUSED_ATTENTION)]
    found = _raised(model, node)
    assert isinstance(found, Attention)
    return found


def _raised(model: Model, node: Node) -> Attention | UnreadFusedNode:
    names = SiteNames(model)
    if role(node) is Role.SOFTMAX:
        root = read_root(model, node)
        assert root is not None
        return raise_formula(model, root, Effects.of(model), names)
    return raise_fused_node(model, node, Effects.of(model), names, ConstantFolder(model, Effects.of(model)))


def operands(g: GraphBuilder, kv_heads: int = N, dtype: dtypes.DType = FLOAT16) -> tuple[str, str, str]:
    q = g.input("q", (B, N, S, D), dtype)
    return q, g.input("k", (B, kv_heads, T, D), dtype), g.input("v", (B, kv_heads, T, D), dtype)


def formula(kv_heads: int = N) -> Model:
    g = GraphBuilder()
    q, k, v = operands(g, kv_heads)
    if kv_heads != N:
        k, v = (g.repeat_interleave(x, N // kv_heads, 1) for x in (k, v))
    g.output(g.matmul_ext(g.softmax(g.muls(g.batch_matmul(q, k, transpose_b=True), 0.25)), v))
    return g.model()


def fused(kv_heads: int = N, **arguments: Any) -> Model:
    g = GraphBuilder()
    g.output(g.flash_attention_score(*operands(g, kv_heads), heads=N, scale=0.25, **arguments))
    return g.model()


@pytest.mark.parametrize("kv_heads", [N, N // 2])
def test_sizes_scale_and_types_are_those_of_either_source(kv_heads: int) -> None:
    one, other = raised(formula(kv_heads)), raised(fused(kv_heads))
    assert one.sizes == other.sizes == (B, N, kv_heads, S, T, D, D)
    assert one.scale == other.scale == 0.25
    assert (one.output_dtype, one.query.dtype) == (other.output_dtype, other.query.dtype) == (FLOAT16, FLOAT16)
    assert [product(axis) for axis in one.output] == [product(axis) for axis in other.output] == [B, N, S, D]
    assert (one.terms, one.casts, one.nan_guard) == (other.terms, other.casts, other.nan_guard) == ((), None, False)
    assert (one.origin.form, other.origin.form) == ("formula", "fused")
    assert (one.layout, other.layout) == (None, "BNSD")


@pytest.mark.parametrize("model", [formula(N // 2), fused(N // 2)], ids=["formula", "fused"])
def test_key_heads_are_the_leading_atoms_of_the_heads(model: Model) -> None:
    axes = raised(model).axes
    assert axes.heads[: len(axes.kv_heads)] == axes.kv_heads
    assert product(axes.kv_heads) == N // 2


@pytest.mark.parametrize("layout", ["BNSD", "BSND", "BSH"])
def test_a_fused_node_is_read_in_each_layout(layout: str) -> None:
    def dims(length: int) -> tuple[int, ...]:
        apart = {"BNSD": (B, N, length, D), "BSND": (B, length, N, D)}
        return apart.get(layout, (B, length, N * D))

    g = GraphBuilder()
    q, k, v = (g.input(name, dims(length), FLOAT16) for name, length in (("q", S), ("k", T), ("v", T)))
    g.output(g.flash_attention_score(q, k, v, heads=N, scale=0.25, layout=layout))
    found = raised(g.model())
    assert (found.sizes, found.layout) == (SIZES, layout)
    assert tuple(product(axis) for axis in found.output) == dims(S)


def test_terms_keep_their_order_their_factor_and_the_type_they_are_added_in() -> None:
    g = GraphBuilder()
    q, k, v = operands(g)
    scores = g.add(g.batch_matmul(q, k, transpose_b=True), g.input("bias", (S, T), FLOAT16))
    mask = g.input("mask", (B, 1, 1, T), dtypes.BOOL)
    scores = g.masked_fill(g.muls(scores, 0.25), mask, np.array(-np.inf, np.float16))
    g.output(g.matmul_ext(g.softmax(scores), v))
    found = raised(g.model())
    bias, fill = found.terms
    assert isinstance(bias, Bias)
    assert isinstance(fill, Fill)
    assert (bias.factor, bias.added_in, bias.before_scale) == (0.25, FLOAT16, False)
    assert (fill.fill, fill.when, fill.added_in) == (-np.inf, True, FLOAT16)
    axes = found.axes
    assert bias.source == (*axes.query_length, *axes.key_length)
    assert fill.source == (*axes.batch, *axes.key_length)


def test_the_terms_of_a_fused_node_are_its_own() -> None:
    g = GraphBuilder()
    mask, bias = g.input("mask", (B, 1, S, T), dtypes.BOOL), g.input("bias", (B, N, S, T), FLOAT16)
    g.output(g.flash_attention_score(*operands(g), heads=N, scale=0.25, attn_mask=mask, real_shift=bias))
    found = raised(g.model())
    own, hidden = found.terms
    assert isinstance(own, Bias)
    assert (own.value, own.source, own.factor, own.before_scale) == (bias, None, 1.0, True)
    assert hidden == BooleanMask(mask, None, per_head=False)


def test_with_the_surrounding_casts_inside_it_goes_from_what_they_were_given_to_their_result() -> None:
    g = GraphBuilder()
    q, k, v = operands(g, dtype=FLOAT32)
    node = g.flash_attention_score(*(g.cast(x, FLOAT16) for x in (q, k, v)), heads=N, scale=0.25)
    result = g.cast(node, FLOAT32)
    g.output(result)
    found = raised(g.model())
    assert (found.query.dtype, found.output_dtype, found.origin.facts.dtype) == (FLOAT16, FLOAT16, "float32")
    outside = found.outside_casts()
    assert [operand.value for operand in outside.operands] == [q, k, v]
    assert {operand.dtype for operand in outside.operands} == {outside.output_dtype} == {FLOAT32}
    assert (outside.origin.anchor, outside.casts, outside.axes) == (result, None, found.axes)
    assert outside.outside_casts() == outside


def test_a_fused_node_that_says_more_is_not_raised_but_known() -> None:
    model = fused(sparse_mode=3)
    (node,) = [node for node in model.nodes if role(node) is Role.FUSED_ATTENTION]
    found = _raised(model, node)
    assert isinstance(found, UnreadFusedNode)
    assert found.failure.code == "structure.fused_arguments"
    assert isinstance(found.given, FusedNodeFacts)
    assert found.origin.facts.query_length == S


def test_no_heads_are_told_from_the_batch_where_no_layout_shows_them() -> None:
    g = GraphBuilder()
    q, k, v = (g.input(name, (B * N, length, D), FLOAT16) for name, length in (("q", S), ("k", T), ("v", T)))
    g.output(g.bmm(g.softmax(g.bmm(q, g.transpose(k, (0, 2, 1)))), v))
    found = raised(g.model())
    assert not found.axes.heads_known
    assert found.sizes == (B * N, 1, 1, S, T, D, D)


def test_it_names_values_and_holds_no_node() -> None:
    """So that what is decided of one may be remembered."""

    def held(value: object) -> set[type]:
        if is_dataclass(value):
            return {type(value)}.union(*(held(getattr(value, field.name)) for field in fields(value)))
        return set().union(*map(held, value)) if isinstance(value, tuple) else {type(value)}

    for model in (formula(), fused()):
        assert Node not in held(raised(model))
        assert hash(raised(model)) == hash(raised(model))
        assert AttentionAxes in held(raised(model))
