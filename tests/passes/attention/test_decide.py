"""What is done with an attention is known, with all that speaks against the other forms, before a node is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from attnfuse.api import Builder, Candidate, Context, Decision, Effects, NotTaken, RewriteContext, no_weights
from attnfuse.ir.graph import Model
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32
from attnfuse.policy import Policy, Rule
from attnfuse.targets import Target
from attnfuse_passes import rewrite
from attnfuse_passes.attention.decide import AttentionRewrite, Sites
from attnfuse_passes.attention.formulas import FormulaOfAttention
from attnfuse_passes.attention.fused_node import FusedNodeOfSource
from tests.passes.test_codes import CASES
from tests.support.graphs import GraphBuilder
from tests.support.sites import Site

WRITTEN = {
    "fused",
    "fused.converted",
    "fused.laid_out",
    "fused.recast",
    "fused.rewritten",
    "target.bias_dtype",
    "target.bias_rounded",
    "target.bias_shape",
    "target.mask_dtype",
}
"""Codes of sites in whose place something is written: the fused node, or the formula."""


class NoBuilder(Builder):
    """Whoever makes one has begun to write."""

    def __init__(self, *_: object) -> None:
        raise AssertionError("a node is about to be written")


@pytest.mark.parametrize("code", sorted(set(CASES) - WRITTEN))
def test_a_site_that_stays_is_refused_before_anything_is_written(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A graph with another site that is fused.
    if code != "safety.shared_product":
        monkeypatch.setattr(rewrite, "Builder", NoBuilder)
    assert CASES[code]() == code


@pytest.mark.parametrize("code", sorted(WRITTEN))
def test_a_site_that_does_not_is_written(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the test above would say nothing."""
    monkeypatch.setattr(rewrite, "Builder", NoBuilder)
    with pytest.raises(AssertionError, match="about to be written"):
        CASES[code]()


def decided(
    model: Model, runtime: str = "mindspore", soc: str = "ascend910b", **settings: Any
) -> Iterator[Decision[Any]]:
    """The decision for each site of a graph, which is only read."""
    rules = (Rule("*", "the rule", **settings),) if settings else ()
    effects = Effects.of(model)
    context = Context("unet", "unet", Policy(rules), Target(runtime, soc))
    sites = Sites.of(model, effects, no_weights)
    rewrites: tuple[AttentionRewrite, ...] = (FormulaOfAttention(sites), FusedNodeOfSource(sites))
    for node in model.nodes:
        for each in rewrites:
            if node.op in each.roots:
                at = RewriteContext(model, node, effects, context, {})
                form = each.raise_(at)
                if form is not None:
                    yield each.decide(form, at)


def reasons(decision: Decision[Any]) -> dict[str, str]:
    """The code of each form that was not taken; empty where only another was preferred."""
    return {other.form: "" if other.unsupported is None else other.unsupported.code for other in decision.others}


def formula(**changes: Any) -> Model:
    return Model(Site(**changes).proto())


def fused_node(*, cast: bool = False, **arguments: Any) -> Model:
    """One FlashAttentionScore, with `cast` between casts from and to float32."""
    g = GraphBuilder()
    operands = [g.input(name, (2, 2, 4, 16), FLOAT32 if cast else FLOAT16) for name in "qkv"]
    operands = [g.cast(x, FLOAT16) for x in operands] if cast else operands
    fused = g.flash_attention_score(*operands, heads=2, scale=0.25, **arguments)
    g.output(g.cast(fused, FLOAT32) if cast else fused)
    return g.model()


@pytest.mark.parametrize(
    ("runtime", "node", "other"),
    [
        ("mindspore", "FlashAttentionScore", "PromptFlashAttention"),
        ("lite", "PromptFlashAttention", "FlashAttentionScore"),
    ],
)
def test_a_formula_becomes_the_runtimes_node(runtime: str, node: str, other: str) -> None:
    (decision,) = decided(formula(), runtime)
    assert decision.chosen is not None
    assert (decision.chosen.form, decision.chosen.layout, decision.chosen.dtype) == (node, "BNSD", FLOAT16)
    assert (decision.status, decision.node, decision.failure) == ("fused", node, None)
    assert reasons(decision) == {other: "target.no_operator"}


def test_the_policys_no_is_said_of_every_fused_node() -> None:
    for model, settings, code in (
        (formula(), {"flash": False}, "policy.flash_off"),
        (formula(dtype=FLOAT32), {"force_cast_dtype": "none"}, "policy.no_cast"),
    ):
        (decision,) = decided(model, **settings)
        assert (decision.status, decision.code, decision.rule, decision.chosen) == ("kept", code, "the rule", None)
        assert reasons(decision) == {"FlashAttentionScore": code, "PromptFlashAttention": code}


def filled(number: float, *dims: int) -> Model:
    """A formula whose scores get a number where a mask of those sizes says so."""

    def fill(g: GraphBuilder, scores: str) -> str:
        return g.masked_fill(scores, g.input("mask", dims, dtypes.BOOL), np.array(number, np.float16))

    return formula(scores=fill)


def test_what_cannot_be_stated_is_a_failure_and_what_the_target_refuses_is_none() -> None:
    (decision,) = decided(filled(-np.inf, 1, 2, 4, 5), "lite")
    assert (decision.status, decision.code, decision.failure) == ("kept", "target.mask_per_head", None)
    (decision,) = decided(filled(-9.0, 4, 5))
    assert (decision.status, decision.code) == ("missed", "facts.fill")
    assert decision.failure is not None
    assert reasons(decision)["FlashAttentionScore"] == "facts.fill"


def test_a_fused_node_of_the_source_stays_becomes_the_targets_or_the_formula() -> None:
    (stays,) = decided(fused_node())
    assert (stays.code, stays.chosen, stays.node) == ("fused.carried_over", None, "FlashAttentionScore")
    assert reasons(stays) == {"formula": ""}
    (converted,) = decided(fused_node(), "lite")
    assert (converted.code, converted.chosen and converted.chosen.form) == ("fused.converted", "PromptFlashAttention")
    (restored,) = decided(fused_node(), flash=False)
    assert (restored.code, restored.chosen and restored.chosen.form) == ("policy.flash_off", "formula")
    assert (restored.status, restored.node) == ("kept", None)
    assert reasons(restored) == {"FlashAttentionScore": "policy.flash_off"}


def test_a_node_that_says_more_than_the_formula_has_both_other_forms_refused() -> None:
    (decision,) = decided(fused_node(sparse_mode=3), "lite")
    assert (decision.status, decision.code, decision.chosen) == ("missed", "structure.fused_arguments", None)
    refused = "structure.fused_arguments"
    assert reasons(decision) == {"PromptFlashAttention": refused, "formula": refused}


@pytest.mark.parametrize(("settings", "recast"), [({"flash": False}, True), ({"force_cast_dtype": "bfloat16"}, True)])
def test_the_surrounding_casts_are_replaced_with_what_is_decided_anew(settings: dict[str, Any], recast: bool) -> None:
    model = fused_node(cast=True)
    (decision,) = decided(model, **settings)
    assert decision.chosen is not None
    assert decision.chosen.recast is recast
    assert decision.chosen.anchor == model.proto.graph.output[0].name


def test_they_stay_around_a_node_that_is_converted() -> None:
    model = fused_node(cast=True)
    (decision,) = decided(model, "lite")
    assert decision.chosen is not None
    assert not decision.chosen.recast
    assert decision.chosen.anchor != model.proto.graph.output[0].name


def test_the_record_carries_what_was_not_taken() -> None:
    _, (site,) = Site().run(Site().proto(), "lite")
    assert site.not_taken == (
        NotTaken("FlashAttentionScore", "target.no_operator", "the runtime lite takes PromptFlashAttention"),
    )


def test_candidates_are_values() -> None:
    """Equal graphs give equal decisions, and nothing can change them afterwards."""
    (one,), (other,) = decided(formula()), decided(formula())
    assert one == other
    assert hash(Candidate(form="a", anchor="b")) == hash(Candidate(form="a", anchor="b"))
    with pytest.raises(AttributeError):
        one.status = "kept"  # type: ignore[misc]
