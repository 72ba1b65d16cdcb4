"""Sizes that are not known before run time: what is supported is written, and nothing is found out while writing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32
from attnfuse.mindir.schema import ModelProto
from attnfuse.verify.graph.structure import check_fused_nodes
from attnfuse_passes.attention.decide import AttentionRewrite
from tests.support.costs import graph
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder
from tests.support.masks import added, filled, guarded, selected
from tests.support.sites import Site

B, N, S, T, D, PADDED = 3, 2, 7, 5, 16, 12
"""Each of another size, so that an axis is found by it; FlashAttentionScore has heads of 12 padded."""
AXES = {"batch": {B}, "heads": {N, N * D, N * PADDED}, "query": {S}, "key": {T}}
AXES["head size"] = {D, PADDED, N * D, N * PADDED}


def site(head: int = D, **changes: Any) -> ModelProto:
    return Site(batch=B, heads=N, query_length=S, key_length=T, head_dim=head, value_head_dim=head, **changes).proto()


def fused(layout: str, *, is_cast: bool = False, head: int = D) -> ModelProto:
    """A FlashAttentionScore, with `is_cast` between casts."""
    g = GraphBuilder()

    def dims(length: int) -> tuple[int, ...]:
        return {"BNSD": (B, N, length, head), "BSND": (B, length, N, head)}.get(layout, (B, length, N * head))

    dtype = FLOAT32 if is_cast else FLOAT16
    operands = [g.input(name, dims(length), dtype) for name, length in (("q", S), ("k", T), ("v", T))]
    operands = [g.cast(x, FLOAT16) for x in operands] if is_cast else operands
    result = g.flash_attention_score(*operands, heads=N, scale=0.25, layout=layout)
    g.output(g.cast(result, FLOAT32) if is_cast else result)
    return g.build()


LOWEST = float(np.finfo(np.float16).min)
CASES: Mapping[str, ModelProto] = {
    "plain": site(),
    "padded": site(PADDED),
    "padded and masked": site(PADDED, scores=filled(LOWEST, (1, 1, S, T))),
    "cast": site(dtype=FLOAT32),
    "sequence first": site(query=lambda g, q: g.transpose(g.muls(g.transpose(q, (0, 2, 1, 3)), 2.0), (0, 2, 1, 3))),
    "a mask of −∞ for keys": site(scores=filled(-np.inf, (1, 1, 1, T))),
    "a mask of −∞ for all": site(scores=filled(-np.inf, (1, 1, S, T))),
    "a mask of −∞ of each batch": site(scores=filled(-np.inf, (B, 1, 1, T))),
    "a mask of the lowest number": site(scores=filled(LOWEST, (1, 1, S, T))),
    "a guarded mask": site(scores=filled(-np.inf, (1, 1, S, T)), weights=guarded),
    "an added mask": site(scores=selected(-np.inf, (1, 1, S, T), FLOAT16)),
    "a bias": site(scores=added((1, N, S, T))),
    "a bias in float32": site(dtype=FLOAT32, scores=added((1, 1, S, T), FLOAT32)),
    "a boolean mask per head": site(
        scores=lambda g, s: g.masked_fill(s, g.input("mask", (1, N, S, T), dtypes.BOOL), np.array(-np.inf, np.float16))
    ),
    **{f"fused in {layout}": fused(layout) for layout in ("BNSD", "BSND", "BSH")},
    **{f"fused in {layout}, padded": fused(layout, head=PADDED, is_cast=True) for layout in ("BNSD", "BSH")},
    **{f"fused in {layout}, cast": fused(layout, is_cast=True) for layout in ("BNSD", "BSH")},
}


def opened(proto: ModelProto, axes: tuple[str, ...]) -> Model:
    """The graph with the sizes of these axes unknown, wherever they are declared."""
    unknown = set().union(*(AXES[name] for name in axes))
    copy = ModelProto()
    copy.CopyFrom(proto)
    for tensor in _declared(copy):
        for position, size in enumerate(tensor.dims):
            if size in unknown:
                tensor.dims[position] = -1
    return Model(copy)


def _declared(proto: ModelProto) -> Iterator[Any]:
    for value in (*proto.graph.input, *proto.graph.output):
        yield from value.tensor
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.name == "shape":
                yield from attribute.tensors
                for element in attribute.values:
                    yield from element.tensors


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is refused once a form is decided upon was found out while writing."""
    failed = AttentionRewrite.failed

    def fail(self: AttentionRewrite, form: Any, failure: Exception, at: Any) -> Any:
        assert form is None, f"found out while writing: {failure}"
        return failed(self, form, failure, at)  # type: ignore[arg-type]

    monkeypatch.setattr(AttentionRewrite, "failed", fail)


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("case", CASES)
def test_nothing_is_found_out_while_writing(case: str) -> None:
    statuses = set()
    for count in range(3):
        for axes in combinations(AXES, count):
            for runtime in ("mindspore", "lite"):
                for settings in ({}, {"flash": False}, {"cast": "bfloat16"}):
                    for record in fuse(opened(CASES[case], axes), runtime, **settings):
                        statuses.add(record.status)
    assert statuses >= {"fused", "kept"}


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("runtime", ["mindspore", "lite"])
@pytest.mark.parametrize(
    ("key", "value", "is_fused"),
    [
        ("2, 3, ?, 16", "2, 3, 5, 16", True),
        ("2, 3, 5, ?", "2, 3, 5, 16", True),
        ("2, 3, 5, 16", "2, 3, ?, 16", True),
        ("2, 3, ?, ?", "2, 3, ?, 16", True),
        ("2, 3, 5, 16", "2, 3, ?, ?", False),
        ("2, 3, ?, ?", "2, 3, 5, ?", False),
    ],
)
def test_a_size_that_another_operand_tells_is_stated(key: str, value: str, is_fused: bool, runtime: str) -> None:
    """The node has operands that agree: a Reshape says of the one what is known of the other."""
    model = graph(
        f"q: float16[2, 3, 7, 16]; k: float16[{key}]; v: float16[{value}]; kt = Transpose(k, (0, 1, 3, 2))\n"
        "MatMulExt(Softmax(Muls(MatMulExt(q, kt), 0.25), (-1,)), v)"
    )
    (record,) = fuse(model, runtime)
    assert (record.status == "fused") is is_fused
    assert list(check_fused_nodes(model)) == []


@pytest.mark.usefixtures("strict")
def test_sizes_that_no_reshape_can_state_are_not_written() -> None:
    """Batch and length are unknown everywhere, and of the key the head size too, which the query tells."""
    model = graph(
        "q: float16[?, ?, 16]; k: float16[?, ?, ?]; v: float16[?, ?, 16]; kt = Transpose(k, (0, 2, 1))\n"
        "BatchMatMulExt(Softmax(Muls(BatchMatMulExt(q, kt), 0.25), (-1,)), v)"
    )
    (record,) = fuse(model, "mindspore")
    assert (record.status, record.code) == ("missed", "facts.dynamic_layout")
    assert list(check_fused_nodes(model)) == []
