"""The policy that is written says what was chosen, of every module, and the document is what it was."""

from __future__ import annotations

import json
import math
import tomllib

import pytest

from attnfuse.decisions import SiteFacts
from attnfuse.policy import SiteQuery, parse_policy
from attnfuse.targets import Target
from attnfuse.tuning.choices import BFLOAT16, FAST, FORMULA, HIGH, Choice
from attnfuse.tuning.result import FIRST, Block, Fixed, Option, TunedComponent, Tuning, Uniform


def block(choice: Choice, *modules: str, error: float | None = 1e-4) -> Block:
    return Block(
        settings=choice.settings,
        chosen=Option(choice.name, error, 1e-3),
        others=(Option("the formula", 1e-7, 0.0), Option("bfloat16 in high precision", math.inf, 2e-6)),
        modules=modules,
        sites=tuple(f"unet/{module}" for module in modules),
        alike=len(modules),
        facts=SiteFacts(4096, 77, 64, "float32", "cross"),
    )


def tuning(*blocks: Block, name: str = "unet") -> Tuning:
    uniform = (Uniform("formula", 1e-7, 5e-3), Uniform("bfloat16", math.inf, 2e-3))
    component = TunedComponent(
        name=name,
        error=7e-4,
        seconds=1e-3,
        inputs=("drawn with seed 0",),
        weights=10,
        drawn_weights=2,
        measured=7,
        uniform=uniform,
        blocks=blocks,
        fixed=(Fixed("the formula", ("odd",)),),
    )
    return Tuning(Target("lite", "ascend910b"), 1e-3, 0, (component,), ("vae_encoder",))


def settings_of(policy: str, module: str) -> Choice:
    decision = parse_policy(policy, "p").decide(SiteQuery("unet", "unet", module))
    if not decision.flash:
        return FORMULA
    cast = decision.force_cast_dtype
    return next(
        one
        for one in (HIGH, BFLOAT16, FAST)
        if (one.force_cast_dtype, one.precision) == (cast and cast.name, decision.precision)
    )


@pytest.mark.parametrize(
    "blocks",
    [
        {FAST: ("a", "b.c"), FORMULA: ("d",)},
        {FORMULA: ("a", "b.c", "e"), HIGH: ("a.b", "d"), BFLOAT16: ("a.b.c",)},
        {HIGH: ("", "a.b"), FORMULA: ("a",), FAST: ("a.b.c", "ab")},
        {FAST: ("x[0].y", "x")},
    ],
)
def test_each_module_is_given_what_was_chosen(blocks: dict[Choice, tuple[str, ...]]) -> None:
    text = tuning(*(block(choice, *modules) for choice, modules in blocks.items())).to_toml()
    for choice, modules in blocks.items():
        for module in modules:
            assert settings_of(text, module) == choice
    assert len(tomllib.loads(text)["rules"]) <= 1 + sum(map(len, blocks.values()))


def test_the_figures_stand_in_comments() -> None:
    text = tuning(block(FAST, "a", "b"), block(FORMULA, "c", error=None)).to_toml()
    assert text.startswith(FIRST)
    comments = "\n".join(line for line in text.splitlines() if line.startswith("#")).replace("\n#   ", " ")
    for told in (
        "error 7.00e-04 of a budget of 1.00e-03, 1.0 ms; 3 sites to choose for",
        "on inputs drawn with seed 0",
        "2 of 10 weights have no values",
        " 1.00e-07     5.0 ms   formula",
        "not finite     2.0 ms   bfloat16",
        "2 sites, cross, 4096 x 77, head_dim 64, float32: float16, fast precision",
        "alone is off by 1.00e-04",
        "bfloat16 in high precision, which saves 2.0 µs and alone overflows",
        "the formula by any of them: odd",
    ):
        assert told in comments
    assert max(map(len, text.splitlines())) <= 120
    rules = tomllib.loads(text)["rules"]
    assert [rule["match"] for rule in rules] == ["unet", "unet.c"]  # the usual form needs no rule of its own


def test_of_as_many_sites_the_more_exact_form_is_the_usual_one() -> None:
    rules = tomllib.loads(tuning(block(FAST, "a"), block(HIGH, "b")).to_toml())["rules"]
    assert (rules[0]["match"], rules[0]["precision"]) == ("unet", "high")


def test_the_document() -> None:
    document = json.loads(json.dumps(tuning(block(FAST, "a")).to_json(), allow_nan=False))
    assert document["schema"] == "attnfuse.tuning/1"
    assert document["without_a_choice"] == ["vae_encoder"]
    (component,) = document["components"]
    assert component["uniform"][1] == {"policy": "bfloat16", "error": "inf", "seconds": 2e-3}
    assert component["blocks"][0]["settings"] == FAST.settings
    assert component["blocks"][0]["others"][1]["error_alone"] == "inf"
    assert component["blocks"][0]["sites"] == ["unet/a"]


def test_the_cheapest_uniform_policy_that_keeps_the_budget() -> None:
    (component,) = tuning(block(FAST, "a")).components
    kept = component.cheapest(1e-3)
    assert kept is not None
    assert kept.policy == "formula"
    assert component.cheapest(1e-9) is None
