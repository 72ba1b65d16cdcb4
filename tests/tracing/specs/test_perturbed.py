"""Pipelines with perturbed attention guidance: as those without it, but for rows and processors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from attnfuse.tracing.contract import Processor
from attnfuse.tracing.plan import plan_all
from tests.support.small_models import SMALL
from tests.tracing.test_specs import planned, shapes_of


def test_perturbed_attention_is_the_base_with_other_rows_and_processors(tmp_path: Path) -> None:
    small = SMALL["pag_sd"]
    models = {**small.models, "vae": SMALL["sd_controlnet"].models["vae"]}
    found = planned(tmp_path / "in", replace(small, models=models))
    assert list(found) == ["unet", "vae_decoder", "vae_encoder"]
    assert shapes_of(found["unet"])["sample"] == (3, 4, 16, 24)
    assert found["unet"].processors == (Processor("PAGCFGIdentitySelfAttnProcessor2_0", ("mid",)),)
    assert found["vae_decoder"].processors == ()
    (alone,) = plan_all(tmp_path / "in", "float16", replace(small.shapes, guidance=False), ["unet"]).plans
    assert shapes_of(alone)["sample"] == (2, 4, 16, 24)
    assert alone.processors == (Processor("PAGIdentitySelfAttnProcessor2_0", ("mid",)),)
