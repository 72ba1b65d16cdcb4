"""tools/realweights: two models with trained weights, compiled and held to their packages' own numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tools.realweights import __main__ as tool
from tools.realweights import page, pictures, terrain
from tools.realweights.compiling import POLICIES, Array, Error, Result, rounded
from tools.realweights.sites import SiteErrors, together
from tools.realweights.tuning import Tuned, Uniform, between

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "real-weights.md"


def result(site: float, output: float, *findings: str) -> Result:
    """A result whose attention and output are so many times their formulas' error."""
    sites, outputs = (Error("a", site * 1e-3, 1e-3, 1.01e-3),), (Error("b", output * 1e-3, 1e-3, 1.25e-3),)
    return Result("terrain", "float16", 1, 1, 2e-3, sites, outputs, findings, (), {"off by": 0.5})


@pytest.mark.parametrize(
    ("site", "output", "good"), [(1, 1.25, True), (1.01, 1, True), (1.02, 1, False), (1, 1.26, False)]
)
def test_what_is_asked_for(site: float, output: float, good: bool) -> None:
    assert page.holds(result(site, output)) == good


def test_tables_take_the_place_of_those_before(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    text = page.table([result(0.5, 1.0)])
    assert text.splitlines()[-1] == "| float16 | 1 of 1 | 2.0 ms | at most ×0.50 | 1.00e-03 | 1.00e-03 | 0.5 |"
    for _ in range(2):
        page.put(file, "terrain", text)
    assert file.read_text(encoding="utf-8").count(text) == 1
    with pytest.raises(ValueError, match="has no lines"):
        page.put(file, "unet", text)


def test_an_output_that_is_no_number_has_no_figures() -> None:
    one = Result("terrain", "float16", 28, 28, 2e-3, (), (), ("overflow",), (), {})
    assert page.table([one]).splitlines()[-1] == "| float16 | 28 of 28 | 2.0 ms | – | – | – |"
    assert not page.holds(one)


def scattered(shift: float, inputs: int = 64) -> SiteErrors:
    """A site whose errors scatter by 1 % about that share of its formula's, which differ from input to input."""
    generator = np.random.default_rng(1)
    own = generator.uniform(1, 3, inputs)
    return SiteErrors("a", tuple(own * generator.normal(shift, 0.01, inputs)), tuple(own))


def test_an_excess_over_many_inputs_is_told_from_chance() -> None:
    """0.2 % on each input are hidden by the scatter; over 64 inputs 1 % is eight standard errors."""
    same, above, below = scattered(1.0), scattered(1.01), scattered(0.9)
    assert same.standard_error == pytest.approx(0.01 / 8, rel=0.3)
    assert abs(same.above) < 3
    assert above.above > 4
    assert below.ratio == pytest.approx(0.9, abs=0.01)
    good, bad = (replace(result(0.5, 1.0), over_inputs=(one,)) for one in (same, above))
    assert page.holds(good)
    assert not page.holds(bad)
    assert together([same, below]).ratio == pytest.approx(((1 + 0.81) / 2) ** 0.5, abs=0.01)
    assert "float16, over 64 inputs: 1 of 1 site above the" in page.text([bad]).replace("\n  ", " ")


def test_an_attention_as_its_formula_has_no_excess() -> None:
    assert SiteErrors("a", (1.0, 2.0), (1.0, 2.0)).above == 0
    assert SiteErrors("a", (2.0, 4.0), (1.0, 2.0)).above == float("inf")


UNIFORM = (
    Uniform("formula", 1.3e-7, 5e-3),
    Uniform("float16, high precision; as compile decides by itself", 4.6e-6, 3e-3),
    Uniform("bfloat16", float("inf"), 3e-3),
)


def test_the_budget_leaves_a_quarter_of_what_float16_adds() -> None:
    assert between(UNIFORM) == "2.31e-06"  # √(1.3e-7² + (4.6e-6² − 1.3e-7²) / 4) is 2.3028e-6
    alike = (Uniform("formula", 4.003e-6, 5e-3), Uniform("float16, high precision", 3.9e-6, 3e-3))
    assert between(alike) == "4.01e-06"


def test_what_was_tuned_is_told_with_its_policy() -> None:
    tuned = Tuned(7.7e-7, 6e-7, 4e-3, 12, UNIFORM, UNIFORM[0], '[[rules]]\nmatch = "unet"\nflash = true\n')
    text = page.text([replace(result(0.5, 1.0), tuned=tuned)]).replace("\n", " ")
    for told in (
        "budget of 7.70e-07",
        "1.30e-07",
        "4.60e-06",
        "12 graphs",
        "4.0 ms",
        "formula, at 5.0 ms",
        "3.0 ms",
    ):
        assert told in text
    assert '```toml [[rules]] match = "unet" flash = true ```' in text


def test_each_module_of_the_unet_is_one_of_the_networks() -> None:
    theirs = [name for name, _, _ in terrain.modules()]
    ours = [name for _, name, _ in terrain.modules()]
    assert len(set(theirs)) == len(theirs) == len(set(ours)) == len(ours)
    assert sum("attentions" in name for name in ours) == 28
    assert sum("samplers" in name for name in ours) == 8


def test_what_is_left_over_is_told() -> None:
    weights = {f"{name}.{kind}": np.zeros((6, 2, 1, 1)) for name in ("input_blocks.11.1.qkv",) for kind in ("weight",)}
    with pytest.raises(KeyError):
        terrain.renamed(weights)


def test_numbers_are_fed_in_the_graphs_own_type() -> None:
    call: dict[str, Array] = {
        "sample": np.array([1 / 3], np.float32),
        "timestep": np.array([1095.5067], np.float32),
        "ids": np.array([3]),
    }
    assert rounded(call, "float16")["sample"].dtype == np.float16
    assert rounded(call, "bfloat16")["sample"] == np.float32(0.333984375)
    for dtype in ("float16", "bfloat16", "float32"):
        assert rounded(call, dtype)["timestep"] == call["timestep"]
        assert rounded(call, dtype)["ids"].dtype == np.int64


def test_slopes_to_the_light_are_bright(tmp_path: Path) -> None:
    height = np.tile(np.arange(16.0), (16, 1))  # falls to the left, where the light comes from
    assert pictures.shaded(height).mean() > pictures.shaded(np.zeros((16, 16))).mean()
    assert pictures.shaded(height[:, ::-1]).mean() < pictures.shaded(np.zeros((16, 16))).mean()
    pictures.sheet({"a": np.stack([height] * 3)}, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow  # a quarter of an hour of one core
@pytest.mark.mindspore
@pytest.mark.parametrize("model", ["bert", "terrain"])
def test_trained_weights(model: str, tmp_path: Path) -> None:
    assert tool.main([str(tmp_path), "--model", model]) == 0
    results = json.loads((tmp_path / model / "results.json").read_bytes())
    assert [one["policy"] for one in results] == [one.name for one in POLICIES]
    *uniform, tuned = results
    assert all(one["fused"] == one["sites"] for one in uniform)
    found = tuned["tuned"]
    assert found["error"] <= found["budget"]
    assert tuned["seconds"] == found["seconds"] <= found["cheapest"]["seconds"]
    without = [one["policy"] for one in results if one["findings"]]
    # The UNet's activations go beyond what float16 holds.
    assert without == (["float16"] if model == "terrain" else [])
