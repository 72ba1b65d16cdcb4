"""Every code a site can end with: the smallest graph that gets it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from attnfuse.codes import CODES
from attnfuse.ir.graph import Model, attribute
from attnfuse.ir.types import TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, DType
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder, node_named
from tests.support.sites import Change, Site

LOWEST = np.array(-65504.0, np.float16)
UNKNOWN = -1


def code(case: Site, runtime: str = "mindspore") -> str:
    """The code of the case's first site."""
    _, sites = case.run(case.proto(), runtime)
    return sites[0].code


def code_of(g: GraphBuilder, runtime: str = "mindspore", soc: str = "ascend910b", **policy: Any) -> str:
    """The code of the first site of a graph."""
    return fuse(g.model(), runtime, soc, **policy)[0].code


def as_output(g: GraphBuilder, value: str) -> str:
    """Let the value be an output of the graph too, and go on with it."""
    g.output(value)
    return value


def mask(g: GraphBuilder, s: str) -> str:
    return g.masked_fill(s, g.input("mask", (1, 1, 4, 5), dtypes.BOOL), np.array(-np.inf, np.float16))


def bias(g: GraphBuilder, s: str) -> str:
    return g.add(s, g.input("bias", (4, 5), FLOAT16))


def quotient(g: GraphBuilder, s: str) -> str:
    """By hand, and divided by one more than the sum."""
    e = g.op("Exp", s)
    total = g.op("ReduceSum", e, (-1,), True, False)
    return g.div(e, g.add(total, np.array(1.0, np.float16)))


def group_of_open_sizes() -> str:
    """More query heads to a key head than the operator takes, and they could be repeated only by sizes not known."""
    g = GraphBuilder()
    kind = TensorType((UNKNOWN, 65, UNKNOWN, 16), FLOAT16)
    q, k, v = (g.input(name, (UNKNOWN, n, UNKNOWN, 16), FLOAT16) for name, n in (("q", 65), ("k", 1), ("v", 1)))
    k, v = (g.repeat_interleave(g.muls(value, 0.5), 65, 1) for value in (k, v))
    kt = g.node("Transpose", [k, g.constant((0, 1, 3, 2))], TensorType((UNKNOWN, 65, 16, UNKNOWN), FLOAT16))
    scores = g.node("BatchMatMulExt", [q, kt], TensorType((UNKNOWN, 65, UNKNOWN, UNKNOWN), FLOAT16))
    g.output(g.node("BatchMatMulExt", [g.softmax(scores), v], kind))
    return code_of(g, "lite")


def regrouped(first: tuple[int, ...], then: tuple[int, ...]) -> Change:
    """An operand from another input, which is of shape `first` and is reshaped."""
    return lambda g, value: g.reshape(g.input(f"other{value[-3:]}", first, FLOAT16), then)


def untyped_query() -> str:
    case = Site(query=lambda g, q: g.op("Neg", q))
    proto = case.proto()
    shape = attribute(node_named(Model(proto), "Neg"), "shape")
    assert shape is not None
    shape.tensors[0].data_type = 99
    _, sites = case.run(proto, "mindspore")
    return sites[0].code


def vector_query() -> str:
    g = GraphBuilder()
    q, k, v = g.input("q", (16,), FLOAT16), g.input("k", (16, 5), FLOAT16), g.input("v", (5, 16), FLOAT16)
    weights = g.softmax(g.node("MatMulExt", [q, k], TensorType((5,), FLOAT16)))
    g.output(g.node("MatMulExt", [weights, v], TensorType((16,), FLOAT16)))
    return code_of(g)


def folded_mask_of_another_batch() -> str:
    g = GraphBuilder()
    q, k, v = (g.input(n, d, FLOAT16) for n, d in (("q", (4, 4, 16)), ("k", (4, 16, 5)), ("v", (4, 5, 16))))
    scores = g.baddbmm(g.input("bias", (3, 1, 4, 5), FLOAT16), q, k)
    g.output(g.bmm(g.softmax(scores), v))
    return code_of(g)


def dynamic(
    lead: tuple[int, ...] = (UNKNOWN, 2),
    lengths: tuple[int, int] = (4, 5),
    *,
    product: str = "BatchMatMulExt",
    head_dim: int = 16,
    masked: bool = False,
    other_lead: tuple[int, ...] | None = None,
    across: bool = False,
) -> str:
    """Attention with sizes that are not known before run time."""
    g = GraphBuilder()
    rows, columns = lengths

    def kind(*dims: int, dtype: DType = FLOAT16) -> TensorType:
        return TensorType((*lead, *dims), dtype)

    def operand(name: str, *dims: int) -> str:
        if not across:
            return g.input(name, (*(other_lead or lead), *dims), FLOAT16)
        value = g.input(name, (lead[0], dims[0], lead[1], dims[1]), FLOAT16)
        return g.node("Transpose", [g.muls(value, 0.5), g.constant((0, 2, 1, 3))], kind(*dims))

    q, k = g.input("q", (*lead, rows, head_dim), FLOAT16), operand("k", columns, head_dim)
    v = g.input("v", (*lead, columns, head_dim), FLOAT16)
    kt = g.node("Transpose", [k, g.constant((0, 1, 3, 2))], TensorType((*g.dims(k)[:2], head_dim, columns), FLOAT16))
    scores = g.node(product, [q, kt], kind(rows, columns))
    if masked:
        scores = g.node("Add", [scores, g.input("mask", (lead[0], 1, 1, columns), FLOAT16)], kind(rows, columns))
    g.output(g.node(product, [g.softmax(scores), v], kind(rows, head_dim)))
    return code_of(g)


def already_fused(runtime: str, soc: str = "ascend910b", item: int = 3, **arguments: Any) -> str:
    g = GraphBuilder()
    q, k, v = (g.input(name, (2, 2, 4, 16), FLOAT16) for name in "qkv")
    shape = arguments.pop("bias", None)
    bias = None if shape is None else g.input("bias", shape, FLOAT16)
    arguments = {"scale": 0.25, **arguments}
    g.output(g.flash_attention_score(q, k, v, heads=2, item=item, real_shift=bias, **arguments))
    return code_of(g, runtime, soc)


def laid_out() -> str:
    g = GraphBuilder()
    q, k, v = (g.transpose(g.input(name, (2, 4, 2, 16), FLOAT16), (0, 2, 1, 3)) for name in "qkv")
    g.output(g.transpose(g.flash_attention_score(q, k, v, heads=2, scale=0.25), (0, 2, 1, 3)))
    return code_of(g)


def prompt(
    soc: str = "ascend910b",
    *,
    mask: tuple[tuple[int, ...], DType] | None = None,
    bias: tuple[tuple[int, ...], DType] | None = None,
) -> str:
    """Of a PromptFlashAttention of the source, in high precision."""
    g = GraphBuilder()
    q, k, v = (g.input(name, (2, 2, 4, 16), FLOAT16) for name in "qkv")
    discarded = None if mask is None else g.input("mask", *mask)
    added = None if bias is None else g.input("bias", *bias)
    g.output(g.prompt_flash_attention(q, k, v, heads=2, scale=0.25, attn_mask=discarded, pse_shift=added))
    return code_of(g, "lite", soc)


def recast() -> str:
    g = GraphBuilder()
    q, k, v = (g.cast(g.input(name, (2, 2, 4, 16), FLOAT32), FLOAT16) for name in "qkv")
    g.output(g.cast(g.flash_attention_score(q, k, v, heads=2, scale=0.25), FLOAT32))
    return code_of(g, cast="bfloat16")


def of_version(mindspore: str) -> str:
    case = Site()
    proto = case.proto()
    proto.model_version = mindspore
    _, sites = case.run(proto, "mindspore")
    return sites[0].code


def gate() -> str:
    """Similarities that gate another value, element by element."""
    g = GraphBuilder()
    x, y, z = (g.input(name, (2, 4, 4), FLOAT16) for name in "xyz")
    g.output(g.mul(z, g.softmax(g.bmm(x, y))))
    return code_of(g)


def in_place_query() -> str:
    """The buffer of query is changed after its last read, which nothing here can tell."""

    def change(g: GraphBuilder, q: str) -> str:
        g.node("InplaceMul", [q, g.constant(2.0)], g.type_of(q))
        return q

    return code(Site(query=change))


def two_softmaxes_one_product() -> str:
    """Both contracted over the product's inner axis: each may take the other for value, only one can have both."""
    g = GraphBuilder()

    def weights(a: str, b: str, rows: int, columns: int, axis: int) -> str:
        left, right = g.input(a, (2, rows, 16), FLOAT16), g.input(b, (2, columns, 16), FLOAT16)
        return g.softmax(g.muls(g.batch_matmul(left, right, transpose_b=True), 0.25), axis)

    g.output(g.bmm(weights("a", "b", 4, 5, axis=2), weights("c", "d", 5, 6, axis=1)))
    return fuse(g.model())[1].code


def region_in_two_functions() -> str:
    """The softmax in a function, its scores made by the caller."""
    g = GraphBuilder()
    q, k, v = (g.input(name, (2, 4, 16), FLOAT16) for name in "qkv")
    scores = g.batch_matmul(q, k, transpose_b=True)
    g.output(g.matmul_ext(g.softmax(scores), v))
    proto = g.build()
    function = proto.functions.add(name="body")
    moved = [node for node in proto.graph.node if "Softmax" in node.op_type or "MatMulExt" in node.op_type]
    function.node.extend(moved)
    for node in moved:
        proto.graph.node.remove(node)
    function.output.add(name=moved[-1].output[0])
    proto.graph.output[0].name = q
    return fuse(Model(proto))[0].code


def key_of_two_factorings(first: tuple[int, ...], second: tuple[int, ...]) -> Site:
    """Key and value of 6 positions, which come from axes that have no common refinement."""
    shapes = ((2, 2, *first, 16), (2, 2, *second, 16))
    key, value = (regrouped(shape, (2, 2, 6, 16)) for shape in shapes)
    return Site(key_length=6, key=key, value=value)


CASES: dict[str, Callable[[], str]] = {
    "fused": lambda: code(Site()),
    "fused.carried_over": lambda: already_fused("mindspore"),
    "fused.converted": lambda: already_fused("lite"),
    "fused.laid_out": laid_out,
    "fused.recast": recast,
    "fused.rewritten": lambda: prompt("ascend310p"),
    "anchor.no_product": gate,
    "anchor.key_is_weight": lambda: code(Site(key=lambda g, k: g.weight("codes", (2, 2, 5, 16), FLOAT16))),
    "structure.scores": lambda: code(Site(scores=lambda g, s: g.op("Sigmoid", s))),
    "structure.soft_cap": lambda: code(Site(scores=lambda g, s: bias(g, g.muls(g.op("Tanh", g.muls(s, 0.02)), 50.0)))),
    "structure.softmax": lambda: code(Site(softmax=quotient)),
    "structure.softmax_axis": lambda: code(Site(softmax=lambda g, s: g.softmax(s, 1))),
    "structure.weights_changed": lambda: code(Site(weights=lambda g, p: g.muls(p, 0.5))),
    "structure.rank": vector_query,
    "structure.contraction": lambda: code(
        Site(
            head_dim=6,
            query=regrouped((2, 2, 4, 2, 3), (2, 2, 4, 6)),
            key=regrouped((2, 2, 5, 3, 2), (2, 2, 5, 6)),
        )
    ),
    "structure.batch": lambda: code(
        Site(
            batch=6,
            query=regrouped((2, 3, 2, 4, 16), (6, 2, 4, 16)),
            key=regrouped((3, 2, 2, 5, 16), (6, 2, 5, 16)),
        )
    ),
    "structure.mask": folded_mask_of_another_batch,
    "structure.scores_layout": lambda: code(
        Site(scores=lambda g, s: g.transpose(g.reshape(s, (2, 2, 5, 4)), (0, 1, 3, 2)))
    ),
    "structure.weights_layout": lambda: code(
        Site(weights=lambda g, p: g.transpose(g.reshape(p, (2, 2, 5, 4)), (0, 1, 3, 2)))
    ),
    "structure.value_axis": lambda: code(Site(query_length=5, weights=lambda g, p: g.transpose(p, (0, 1, 3, 2)))),
    "structure.value_length": lambda: code(key_of_two_factorings((2, 3), (3, 2))),
    "structure.value_batch": lambda: code(Site(batch=1, value=lambda g, v: g.input("other", (3, 2, 5, 16), FLOAT16))),
    "structure.outputs": lambda: already_fused("lite", item=0),
    "structure.fused_arguments": lambda: already_fused("lite", sparse_mode=2),
    "facts.type": untyped_query,
    "facts.softmax_axis": lambda: code(Site(softmax=lambda g, s: g.op("Softmax", s, (-1, -2)))),
    "facts.scale": lambda: code(Site(query=lambda g, q: g.muls(q, 0.0))),
    "facts.condition": lambda: code(
        Site(scores=lambda g, s: g.select(g.input("mask", (4, 5), FLOAT16), s, np.array(-np.inf, np.float16)))
    ),
    "facts.fill": lambda: code(
        Site(scores=lambda g, s: g.masked_fill(s, g.input("m", (4, 5), dtypes.BOOL), np.array(-9.0, np.float16)))
    ),
    "facts.bias_too_large": lambda: code(Site(scores=lambda g, s: g.add(s, np.full((4, 5), 1e4, np.float16)))),
    "facts.bias_not_finite": lambda: code(Site(scores=lambda g, s: g.add(s, np.full((4, 5), np.nan, np.float16)))),
    "facts.fully_masked_rows": lambda: code(
        Site(scores=lambda g, s: g.muls(g.masked_fill(bias(g, s), g.input("m", (4, 5), dtypes.BOOL), LOWEST), 0.5))
    ),
    "facts.dynamic_batch": lambda: dynamic(product="MatMulExt", other_lead=(1, UNKNOWN)),
    "facts.dynamic_mask": lambda: dynamic(masked=True),
    "facts.dynamic_head_dim": lambda: dynamic(lengths=(UNKNOWN, 5), head_dim=12),
    "facts.dynamic_layout": lambda: dynamic((UNKNOWN, 2), (UNKNOWN, UNKNOWN), across=True),
    "safety.weights_escape": lambda: code(Site(weights=as_output)),
    "safety.scores_escape": lambda: code(Site(scores=as_output)),
    "safety.mutated": in_place_query,
    "safety.shared_product": two_softmaxes_one_product,
    "safety.two_graphs": region_in_two_functions,
    "policy.flash_off": lambda: fuse(Model(Site().proto()), flash=False)[0].code,
    "policy.no_cast": lambda: code(Site(dtype=FLOAT32, cast="none")),
    "target.no_operator": lambda: code(Site(soc="ascend910")),
    "target.version": lambda: of_version("2.2.14"),
    "target.dtype": lambda: code(Site(soc="ascend310p", dtype=BFLOAT16), "lite"),
    "target.head_dim": lambda: code(Site(head_dim=528, value_head_dim=528)),
    "target.batch": lambda: code(Site(soc="ascend310p", batch=129), "lite"),
    "target.heads": lambda: code(Site(heads=257)),
    "target.sequence": lambda: code(Site(soc="ascend310p", key_length=65537), "lite"),
    "target.grouped_heads": group_of_open_sizes,
    "target.inner_precise": lambda: code(Site(soc="ascend310p", precision="high"), "lite"),
    "target.bias": lambda: code(Site(soc="ascend310p", scores=bias), "lite"),
    "target.bias_rounded": lambda: already_fused("lite", scale=0.3, bias=(2, 2, 4, 4)),
    "target.mask_per_head": lambda: code(
        Site(
            scores=lambda g, s: g.masked_fill(s, g.input("m", (1, 2, 4, 5), dtypes.BOOL), np.array(-np.inf, np.float16))
        ),
        "lite",
    ),
    "target.bias_dtype": lambda: prompt(bias=((2, 2, 4, 4), BFLOAT16)),
    "target.bias_shape": lambda: prompt(bias=((2, 1, 4, 4), FLOAT16)),
    "target.mask_dtype": lambda: prompt("ascend310p", mask=((2, 1, 4, 4), dtypes.UINT8)),
    "target.mask_shape": lambda: code(Site(soc="ascend310p", scores=mask), "lite"),
}


@pytest.mark.parametrize("copy", ["Clone", "Contiguous", "Identity", "TensorMove", "StopGradient"])
def test_a_copy_of_a_weight_is_no_computed_key(copy: str) -> None:
    site = Site(key=lambda g, k: g.op(copy, g.weight("codes", (2, 2, 5, 16), FLOAT16)))
    assert code(site) == "anchor.key_is_weight"


@pytest.mark.parametrize("name", CODES)
def test_each_code_is_given(name: str) -> None:
    assert CASES[name]() == name


def test_there_is_no_case_for_a_code_that_is_not_listed() -> None:
    assert set(CASES) == set(CODES)


def test_refused_sites_leave_the_graph_as_it_was() -> None:
    """Byte for byte, whatever the reason."""
    for case in (Site(scores=as_output), Site(soc="ascend910"), Site(weights=lambda g, p: g.muls(p, 0.5))):
        proto = case.proto()
        before = proto.SerializeToString(deterministic=True)
        model, _ = case.run(proto, "mindspore")
        assert model.proto.SerializeToString(deterministic=True) == before


def test_an_unknown_head_size_is_never_padded() -> None:
    assert dynamic((2, 2), head_dim=UNKNOWN) == "facts.dynamic_head_dim"


def test_fused_dynamic_sizes() -> None:
    """What the codes of unknown sizes leave over: sizes that are only moved."""
    assert dynamic() == "fused"
