"""The state of an earlier layer of CLIP, as pipelines' `clip_skip` takes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from attnfuse.errors import UsageError
from attnfuse.tracing.contract import ComponentPlan, ShapeOptions
from attnfuse.tracing.plan import plan_all
from tests.support.small_models import SMALL, Small, encoders, write_configs


def planned(folder: Path, small: Small, shapes: ShapeOptions) -> dict[str, ComponentPlan]:
    return {plan.name: plan for plan in plan_all(write_configs(folder, small), "float16", shapes).plans}


@pytest.mark.parametrize(
    ("name", "part", "wanted"),
    [
        ("sdxl_controlnet", "text_encoder_2", {"penultimate_hidden_state": "result[2][-3]"}),
        ("sd3", "text_encoder", {"penultimate_hidden_state": "result[2][-3]"}),
        (
            "sd_texts",
            "text_encoder",
            {"last_hidden_state": "self.text_encoder.text_model.final_layer_norm(result[2][-2])"},
        ),
    ],
)
def test_layers_of_clip_are_skipped(tmp_path: Path, name: str, part: str, wanted: dict[str, str]) -> None:
    """As mindone's `encode_prompt` takes them: `hidden_states[-(clip_skip + 1)]`, of XL and 3 one earlier."""
    small = SMALL.get(name) or Small("StableDiffusionPipeline", {"text_encoder": encoders.CLIP_TEXT})
    before = planned(tmp_path / "before", small, small.shapes)[part]
    found = planned(tmp_path / "in", small, replace(small.shapes, clip_skip=1))[part]
    assert before.call is not None
    assert found.call is not None
    assert {name: of for name, of in found.call.outputs if (name, of) not in before.call.outputs} == wanted
    assert dict(found.call.arguments)["output_hidden_states"] == "True"
    told = [[one.value for one in plan.fixed if one.name == "clip_skip"] for plan in (before, found)]
    assert told == [[None], [1]]
    with pytest.raises(UsageError, match=rf"--clip-skip 40: {part[:12]}\w* has \d layers, of which at most \d can be"):
        plan_all(tmp_path / "in", "float16", replace(small.shapes, clip_skip=40))


def test_layers_are_skipped_where_pipelines_do(tmp_path: Path) -> None:
    folder = write_configs(tmp_path / "in", SMALL["flux"])
    with pytest.raises(UsageError, match="--clip-skip 2 is for text encoders of pipelines that have clip_skip, and th"):
        plan_all(folder, "float16", replace(SMALL["flux"].shapes, clip_skip=2))
