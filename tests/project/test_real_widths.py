"""docs/real-widths.md: every configuration of the matrix has a published model, and the page tells what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.small_models import SMALL
from tools.matrix.published import PUBLISHED
from tools.matrix.published.record import ALONE
from tools.matrix.published.rows import WideRow, wide_rows
from tools.matrix.published.table import Told, render, totals
from tools.matrix.rows import groups

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "real-widths.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[WideRow]:
    folder = tmp_path_factory.mktemp("widths")
    return [row for number, group in enumerate(groups()) for row in wide_rows(folder / str(number), group)]


def test_every_part_of_the_matrix_has_published_widths() -> None:
    assert PUBLISHED.keys() == groups().keys()
    for name, small in SMALL.items():
        assert PUBLISHED[name].configs.keys() == small.models.keys(), name
    assert all(set(one.configs) == {ALONE} for name, one in PUBLISHED.items() if name not in SMALL)


def test_every_configuration_can_be_planned(rows: list[WideRow]) -> None:
    unplanned = {row.name: row.problem for row in rows if row.plan is None}
    assert unplanned.keys() == {
        "easy_animate/vae_decoder",
        "easy_animate/vae_encoder",
        "hunyuan_video_picture/text_encoder",
    }
    assert all("cannot be traced" in problem for problem in unplanned.values())


def test_no_class_drops_a_width(rows: list[WideRow]) -> None:
    told = {row.name: row.plan.warnings for row in rows if row.plan is not None}
    assert not {name: said for name, said in told.items() if any("does not take" in text for text in said)}


def test_widths_are_the_published_and_layers_are_few(rows: list[WideRow], tmp_path: Path) -> None:
    plans = {row.name: row.plan for row in rows}
    flux = plans["flux/transformer"]
    assert flux is not None
    assert [(spec.name, spec.shape) for spec in flux.inputs[:2]] == [
        ("hidden_states", (1, 4096, 64)),
        ("encoder_hidden_states", (1, 512, 4096)),
    ]
    assert len(list(wide_rows(tmp_path / "flux", "flux"))) == 3
    config = json.loads((tmp_path / "flux" / "transformer" / "config.json").read_bytes())
    assert (config["num_attention_heads"], config["attention_head_dim"]) == (24, 128)
    assert (config["num_layers"], config["num_single_layers"]) == (2, 2)


def test_every_configuration_is_on_the_page(rows: list[WideRow]) -> None:
    told = {line.strip("|- ").partition(" |")[0].partition(" (")[0] for line in DOCUMENT.split("\n")}
    assert {row.name for row in rows} <= told, "run python -m tools.matrix.widths"


def site(status: str = "fused", **changes: Any) -> dict[str, Any]:
    return {
        "status": status,
        "code": status,
        "reason": "",
        "heads": 24,
        "head_dim": 128,
        "query": 4608,
        "key": 4608,
        "assumptions": [],
        **changes,
    }


def test_the_page_tells_what_is_left_and_why(rows: list[WideRow]) -> None:
    flux, sd3, wan, film = (
        next(row for row in rows if row.name == name)
        for name in ("flux/transformer", "sd3/transformer", "wan/transformer", "easy_animate/vae_decoder")
    )
    missed = site("missed", code="structure.soft_cap", reason="expected scores, found Tanh at Tanh_1:1")
    found = {
        "lite": {"sites": [site(), missed], "refused": {"Sort operator.unsupported": 2}},
        "mindspore": {"sites": [site(), site()], "refused": {}},
    }
    told: Told = [(flux, found), (sd3, {"error": "a | b"}), (wan, None), (film, None)]
    page = render(told)
    assert (
        "| flux/transformer | Flux.1 dev | 24 × 128 | 4608 × 4608 | 1 of 2 | 2 of 2 | 2 Sort operator.unsupported |"
        in page
    )
    assert "- missed structure.soft_cap: expected scores, found Tanh: flux/transformer (1 lite)" in page
    assert "| sd3/transformer | Stable Diffusion 3 medium | a \\| b |" in page
    assert "| easy_animate/vae_decoder | EasyAnimate 5.1 12B | AutoencoderKLMagvit cannot be traced" in page
    assert "- wan/transformer (Wan 2.2 A14B)" in page.partition("## Not run")[2]
    counted = totals(told)
    assert (counted["sites, lite"], counted["sites fused, lite"], counted["sites fused, mindspore"]) == (2, 1, 2)
    assert (counted["configurations"], counted["configurations deployable, lite"]) == (4, 0)
