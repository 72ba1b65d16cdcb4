"""What every pass together replaced is found, site by site and operator by operator, with what enters each."""

from __future__ import annotations

import functools

import pytest

from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.pass_manager import Context, chosen, run
from attnfuse.policy import Policy
from attnfuse.targets import Target
from attnfuse.verify.graph.sites import Found, cut, cut_replaced, find
from attnfuse.verify.numbers.replaced_operators import compare_replaced
from tests.support.sides import drawn_sides
from tools.corpus import store


@functools.cache
def rewritten(name: str) -> tuple[Model, Model, Found, int]:
    """A graph of the corpus, the same after all passes, what was found of them, and how many sites were fused."""
    before, after = (Model(codec.parse(store.read(name), name)) for _ in range(2))
    context = Context("corpus", "corpus", Policy(), Target("lite", "ascend910b"))
    run(after, context, chosen(()))
    fused = sum(site.status == "fused" and site.code != "fused.carried_over" for site in context.sites)
    return before, after, find(before, after), fused


@pytest.mark.parametrize("name", ["unet_sd15-float16", "pixart_mask-float32", "llama-bfloat16"])
def test_a_site_is_found_whatever_was_made_of_what_stands_before_it(name: str) -> None:
    """A norm is written anew and its result read under another shape, and weights have zeros: the values that both
    graphs have lie before it. Nothing else of the graph enters."""
    before, after, found, fused = rewritten(name)
    assert found.notes == ()
    assert len(found.sites) == fused
    for site in found.sites:
        part = cut(before, after, site)
        assert part is not None
        assert part.entries_are_all
        assert len(part.original.nodes) < 120


def test_what_enters_a_replaced_operator_is_no_value_and_a_view_of_it() -> None:
    """The norm before Dense_256 reads a Reshape in the source, and in the result what the Reshape is of."""
    before, after, found, _ = rewritten("unet_sd15-float16")
    (replaced,) = (each for each in found.replaced if each.value.endswith("Dense_256:256"))
    part = cut_replaced(before, after, replaced)
    assert part is not None
    assert compare_replaced(*drawn_sides(before, after), [(replaced, part)], seed=0)[0] == []
