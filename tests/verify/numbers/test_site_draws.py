"""What is drawn for a site gives scores of the size that is asked for, whatever makes query and key of it."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.mindir.schema import TensorProto
from attnfuse.pass_manager import Context, chosen, run
from attnfuse.policy import Policy
from attnfuse.targets import Target
from attnfuse.verify.graph.sites import Cut, Site, cut, find
from attnfuse.verify.lowering import Arithmetic
from attnfuse.verify.numbers import site_draws
from attnfuse.verify.numbers.baseline import LOST
from attnfuse.verify.numbers.comparison import Part, Side
from attnfuse.verify.numbers.inputs import draw_inputs
from attnfuse.verify.numbers.scores import scores_of
from attnfuse.verify.numbers.site_draws import SCORES, operands
from attnfuse.verify.numbers.site_numbers import SiteResult, compare_sites
from attnfuse.verify.numbers.weights import drawn_weights
from tests.support.graphs import GraphBuilder
from tests.support.sides import drawn_sides

HEADS, HEAD = 2, 24
WIDTH = HEADS * HEAD


def cross_attention() -> Model:
    """Of a text that is projected first, and is smaller than the weights; −10⁴ hides its padding, in float16.

    A head of 24 is padded in the weights of the projections, which are in the site's own part then.
    """
    g = GraphBuilder("g")
    x, text = g.input("x", (2, 12, WIDTH), FLOAT16), g.input("text", (2, 1, 5, 20), FLOAT16)
    mask = g.input("mask", (2, 1, 1, 5), FLOAT16)
    caption = g.dense(g.op("GeluExt", g.dense(text, "caption.first", WIDTH), 1), "caption.second", WIDTH)
    caption = g.reshape(caption, (2, 5, WIDTH))

    def heads(value: str, name: str, tokens: int) -> str:
        return g.transpose(g.reshape(g.dense(value, f"attn.{name}", WIDTH), (2, tokens, HEADS, HEAD)), (0, 2, 1, 3))

    q, k, v = heads(x, "to_q", 12), heads(caption, "to_k", 5), heads(caption, "to_v", 5)
    scores = g.muls(g.matmul_ext(q, g.transpose(k, (0, 1, 3, 2))), HEAD**-0.5)
    hidden = g.muls(g.sub(np.array(1.0, np.float16), mask), -1e4)
    made = g.matmul_ext(g.softmax(g.add(scores, hidden)), v)
    g.output(g.dense(g.reshape(g.transpose(made, (0, 2, 1, 3)), (2, 12, WIDTH)), "attn.to_out", WIDTH))
    return g.model()


def three_times(parameter: TensorProto) -> Array:
    """Matrices of which scores are nine times as large, and more."""
    values = drawn_weights(0)(parameter)
    assert values is not None
    return (3 * values.astype(np.float64)).astype(values.dtype) if values.ndim > 1 else values


@functools.cache
def rewritten() -> tuple[Site, Cut, tuple[Side, Side]]:
    before, after = cross_attention(), cross_attention()
    context = Context("m", "m", Policy(), Target("lite", "ascend910b"))
    run(after, context, chosen(()))
    assert [site.status for site in context.sites] == ["fused"]
    (site,) = find(before, after).sites
    part = cut(before, after, site)
    assert part is not None
    assert part.entries_are_all
    return site, part, drawn_sides(before, after, three_times)


def test_what_a_weight_multiplies_enters_the_site_however_small_it_is() -> None:
    site, part, _ = rewritten()
    made = {name: part.leaves[value].dims for name, value in site.entries.items()}
    assert made == {"query": (2, 12, WIDTH), "key": (2, 1, 5, WIDTH), "value": (2, 1, 5, WIDTH)}


def test_scores_are_of_the_size_that_was_asked_for() -> None:
    site, part, sides = rewritten()
    original = Part(part.original, sides[0].weights)
    scores = scores_of(part.original)
    for made in operands(site, part, original, 0, no_fully_masked_rows=False):
        largest = float(original.run(Arithmetic.EXACT, made.values, peaks=scores)[-1])
        spread = SCORES.get(made.label, SCORES["mixed"])
        assert spread <= largest <= LOST * spread, made.label


def test_rows_without_a_key_are_what_the_report_assumes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores below 4 are lost in −10⁴; drawn as if nothing stood before query and key they are not."""
    site, part, sides = rewritten()
    met = draw_inputs(part.original, 0)
    for name in {site.entries["query"], site.entries["key"]}:
        met[name] = (met[name].astype(np.float64) / 4).astype(np.float16)
    (result,) = compare_sites(*sides, [(site, part)], met, seed=0)
    assert (result.findings, told(result)) == ((), [])
    monkeypatch.setattr(site_draws, "_TRIALS", 0)
    (result,) = compare_sites(*sides, [(site, part)], met, seed=0)
    assert (result.findings, len(told(result))) == ((), 1)


def told(result: SiteResult) -> list[str]:
    return [note for note in result.notes if "scores reach 4 in rows without a key" in note]
