"""What every pass together replaced is found, site by site and operator by operator, with what enters each."""

from __future__ import annotations

import functools

import pytest

from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.pass_manager import Context, chosen, run
from attnfuse.policy import Policy
from attnfuse.targets import Target
from attnfuse.verify.graph.sites import Found, cut, cut_replaced, find
from attnfuse.verify.numbers.replaced_operators import compare_replaced
from tests.support.graphs import GraphBuilder
from tests.support.sides import drawn_sides
from tools.corpus import store


@functools.cache
def rewritten(name: str) -> tuple[Model, Model, Found, list[str]]:
    """A graph of the corpus, the same after all passes, what was found of them, and what the report calls its sites."""
    before, after = (Model(codec.parse(store.read(name), name)) for _ in range(2))
    context = Context("corpus", "corpus", Policy(), Target("lite", "ascend910b"))
    run(after, context, chosen(()))
    fused = [site.module for site in context.sites if site.status == "fused" and site.code != "fused.carried_over"]
    return before, after, find(before, after), fused


@pytest.mark.parametrize("name", ["unet_sd15-float16", "pixart_mask-float32", "llama-bfloat16"])
def test_a_site_is_found_whatever_was_made_of_what_stands_before_it(name: str) -> None:
    """A norm is written anew and its result read under another shape, and weights have zeros: the values that both
    graphs have lie before it. Nothing else of the graph enters."""
    before, after, found, fused = rewritten(name)
    assert found.notes == ()
    assert [site.module for site in found.sites] == fused
    for site in found.sites:
        part = cut(before, after, site)
        assert part is not None
        assert part.entries_are_all
        assert len(part.original.nodes) < 120


DIMS = (2, 2, 8, 16)


def in_two_parts(*, is_fused: bool) -> Model:
    """Two attentions whose tokens are told apart again, as those of pictures and text; the graphs share the parts."""
    g = GraphBuilder("g")
    x = g.input("x", (2, 8, 32), FLOAT16)
    operands = [
        [g.transpose(g.reshape(g.dense(x, f"{layer}.to_{n}", 32), (2, 8, 2, 16)), (0, 2, 1, 3)) for n in "qkv"]
        for layer in "ab"
    ]
    g.prefix = "fused" if is_fused else "formula"
    for q, k, v in operands:
        if is_fused:
            made = g.prompt_flash_attention(q, k, v, heads=2, scale=0.25)
        else:
            made = g.matmul_ext(g.softmax(g.muls(g.matmul_ext(q, g.transpose(k, (0, 1, 3, 2))), 0.25)), v)
        for at in (0, 4):
            g.output(g.strided_slice(made, (0, 0, at, 0), (*DIMS[:2], at + 4, DIMS[3])))
    proto = g.build()
    parts = [node.name for node in proto.graph.node if "StridedSlice" in node.op_type]
    names = {name: f"g:part:{number}" for number, name in enumerate(parts)}
    for node in proto.graph.node:
        node.input[:] = [names.get(value, value) for value in node.input]
        node.output[0] = node.name = names.get(node.output[0], node.output[0])
    return Model(proto)


def test_two_results_of_one_attention_are_of_one_site() -> None:
    """Of a graph that does not say what its nodes were written for the projection is told."""
    found = find(in_two_parts(is_fused=False), in_two_parts(is_fused=True))
    assert [site.module for site in found.sites] == ["a.to_q", "a.to_q", "b.to_q", "b.to_q"]


def test_what_enters_a_replaced_operator_is_no_value_and_a_view_of_it() -> None:
    """The norm before Dense_256 reads a Reshape in the source, and in the result what the Reshape is of."""
    before, after, found, _ = rewritten("unet_sd15-float16")
    (replaced,) = (each for each in found.replaced if each.value.endswith("Dense_256:256"))
    part = cut_replaced(before, after, replaced)
    assert part is not None
    assert compare_replaced(*drawn_sides(before, after), [(replaced, part)], seed=0)[0] == []
