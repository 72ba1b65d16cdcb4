"""What is told apart by a rule, what is alike, and the policy that an assignment is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from attnfuse import pass_manager
from attnfuse.component import Component
from attnfuse.decisions import SiteFacts, SiteRecord
from attnfuse.ir.graph import Model
from attnfuse.mindir.codec import serialise
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32
from attnfuse.policy import Policy, SiteQuery
from attnfuse.rewriting import rewrite
from attnfuse.targets import Target
from attnfuse.tuning.choices import BFLOAT16, CHOICES, FAST, FORMULA, HIGH, Choice
from attnfuse.tuning.units import Unit, groups_of, pattern, policy_for, uniform, units_of
from tests.support.graphs import GraphBuilder, self_attention, transformer


def component(g: GraphBuilder) -> Component:
    return Component(name="unet", owner="unet", where="unet", data=serialise(g.build()), graph_name="unet.mindir")


def census(one: Component, target: Target) -> tuple[tuple[Unit, ...], dict[Choice, Sequence[SiteRecord]]]:
    passes = pass_manager.discover()
    records: dict[Choice, Sequence[SiteRecord]] = {}
    for choice in CHOICES:
        records[choice] = rewrite(one, Policy((choice.rule("*"),)), target, passes)[0].sites
    return units_of(Model(one.parse()), records), records


LITE = Target("lite", "ascend910b")


def test_sites_that_are_alike_are_one_group() -> None:
    units, records = census(component(transformer(sites=5, dtype=FLOAT32)), LITE)
    assert [unit.module for unit in units] == [f"blocks.{n // 2}.attn{n % 2 + 1}" for n in range(5)]
    assert units[1].sites == ("unet/blocks.0.attn2",)
    groups = groups_of(units)
    assert [group.units for group in groups] == [(0, 2, 4), (1, 3)]  # self, and cross
    assert groups[0].options == (FORMULA, HIGH, BFLOAT16)  # heads of 16 have no zeros that fast precision would save
    for choice, sites in records.items():
        assert uniform(units, sites) == (choice,) * 5


def test_choices_of_one_form_are_one() -> None:
    units, records = census(component(transformer(sites=1, dtype=FLOAT16)), LITE)
    assert tuple(units[0].forms) == (FORMULA, HIGH, FAST)  # what is in float16 is never cast
    assert uniform(units, records[BFLOAT16]) == (HIGH,)
    units, _ = census(component(transformer(sites=1, length=32, dtype=FLOAT32)), Target("lite", "ascend310p"))
    assert tuple(units[0].forms) == (FORMULA, FAST)  # it has no other precision, and no bfloat16
    units, _ = census(component(transformer(sites=1, dtype=FLOAT32)), Target("mindspore", "ascend910b"))
    assert tuple(units[0].forms) == (FORMULA, HIGH, BFLOAT16)  # FlashAttentionScore has no fast precision
    assert [str(form) for forms in units[0].forms.values() for form in forms] == [
        *("the formula", "float16 in high precision", "bfloat16 in high precision"),
    ]


def test_another_formula_is_another_group() -> None:
    """The scale of the second is on the scores."""
    g = GraphBuilder("unet")
    x = g.input("x", (2, 32, 64), FLOAT32)
    for name, split in (("a", True), ("b", False), ("c", True)):
        g.scope = f"Default/{name}-Attention"
        x = g.add(x, self_attention(g, x, name, heads=4, split_scale=split))
    g.output(x)
    units, _ = census(component(g), LITE)
    assert [group.units for group in groups_of(units)] == [(0, 2), (1,)]


def made_up(*modules: str) -> list[SiteRecord]:
    return [
        SiteRecord(module=name, graph="g", anchor=f"v{n}", form="formula", status="fused", code="", reason="")
        for n, name in enumerate(modules)
    ]


def records_of(*modules: str) -> dict[Choice, list[SiteRecord]]:
    records = {
        choice: [replace(one, operator="PFA", compute_dtype=choice.name) for one in made_up(*modules)]
        for choice in CHOICES
    }
    return {**records, FORMULA: made_up(*modules)}


def test_a_rule_for_a_module_is_overruled_below_it() -> None:
    model = Model(transformer(sites=1).build())
    units = units_of(model, records_of("a.b", "a", "", "a.b.c", "ab"))
    assert [unit.module for unit in units] == ["", "a", "ab", "a.b", "a.b.c"]
    assignment = (FAST, FORMULA, HIGH, BFLOAT16, FORMULA)
    policy = policy_for("unet", units, assignment)
    for unit, choice in zip(units, assignment, strict=True):
        decision = policy.decide(SiteQuery("unet", "unet", unit.module, SiteFacts()))
        assert decision.flash == choice.flash
        if choice.flash:
            cast = decision.force_cast_dtype
            assert (None if cast is None else cast.name, decision.precision) == (
                choice.force_cast_dtype,
                choice.precision,
            )


def test_sites_of_one_module_have_one_choice() -> None:
    units = units_of(Model(transformer(sites=1).build()), records_of("a", "b", "a"))
    assert [(unit.module, len(unit.forms[HIGH])) for unit in units] == [("a", 2), ("b", 1)]
    assert len(groups_of(units)) == 2


def test_what_has_no_choice_is_in_no_group() -> None:
    records = {choice: made_up("a") for choice in CHOICES}
    (unit,) = units_of(Model(transformer(sites=1).build()), records)
    assert tuple(unit.forms) == (FORMULA,)
    assert groups_of([unit]) == ()


@pytest.mark.parametrize(("module", "text"), [("", "unet"), ("a.0", "unet.a.0"), ("a[0]", "unet.a[[]0]")])
def test_patterns_mean_the_name_itself(module: str, text: str) -> None:
    assert pattern("unet", module) == text
    query = SiteQuery("unet", "unet", module)
    assert HIGH.rule(pattern("unet", module)).matches(query)
