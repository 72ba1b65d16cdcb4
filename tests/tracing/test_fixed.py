"""What graphs have fixed that pipelines set at run time: told for every component that has such a thing."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from attnfuse.report.parts import render_parts
from attnfuse.tracing.contract import FixedValue, ShapeOptions, TensorSpec
from attnfuse.tracing.demo import write_json
from attnfuse.tracing.inputs import read_inputs
from attnfuse.tracing.plan import plan_all, survey
from attnfuse.tracing.specs import SPECS
from tests.support.small_models import SMALL, write_configs


def fixed(folder: Path, component: str, **shapes: Any) -> dict[str, FixedValue]:
    (plan,) = plan_all(folder, "float16", ShapeOptions(**shapes), [component]).plans
    assert len({one.name for one in plan.fixed}) == len(plan.fixed)
    return {one.name: one for one in plan.fixed}


@pytest.mark.parametrize("name", [name for name, small in SMALL.items() if "controlnet" in small.models])
def test_every_controlnet_takes_its_scale(tmp_path: Path, name: str) -> None:
    write_configs(tmp_path / "in", SMALL[name])
    small = SMALL[name].shapes
    shapes = {n: getattr(small, n) for n in ("batch", "height", "width", "sequence_length", "frames")}
    (plan,) = plan_all(tmp_path / "in", "bfloat16", ShapeOptions(**shapes), ["controlnet"]).plans
    assert [one for one in plan.inputs if one.name == "conditioning_scale"] == [
        TensorSpec("conditioning_scale", (1,), "bfloat16")
    ]
    (told,) = [one for one in plan.fixed if one.name == "controlnet"]
    assert "lists are not supported" in told.meaning


def test_no_entry_for_a_controlnet_or_adapter_is_silent() -> None:
    for spec in SPECS:
        if "controlnet" in spec.models:
            assert any(one.name == "conditioning_scale" for one in spec.inputs), spec.class_name
        if "adapter" in spec.models:
            assert any(one.name == "adapter_conditioning_scale" for one in spec.fixed_settings), spec.class_name
        for one in spec.fixed_settings:
            assert (one.when is None) == (one.only == "")
            json.dumps(one.value)


def test_a_stable_diffusion_with_an_adapter(tmp_path: Path) -> None:
    folder = write_configs(tmp_path / "in", SMALL["sd_adapter"])
    assert fixed(folder, "adapter")["adapter_conditioning_scale"].value == 1
    unet = fixed(folder, "unet")
    assert {name: one.value for name, one in unet.items()} == {
        "lora_scale": None,
        "ip_adapter_scale": None,
        "guidance_rows": 2,
        "timestep_dtype": "int64",
    }
    assert "as DDIMScheduler has it" in unet["timestep_dtype"].meaning
    assert fixed(folder, "unet", guidance=False)["guidance_rows"].value == 1
    assert fixed(folder, "unet", batch=3)["guidance_rows"].value == 2
    assert "guidance_rows" not in fixed(folder, "vae_decoder")
    index = json.loads((folder / "model_index.json").read_bytes())
    write_json(folder / "model_index.json", {**index, "scheduler": ["diffusers", "EulerDiscreteScheduler"]})
    assert fixed(folder, "unet")["timestep_dtype"].value == "float32"
    del index["scheduler"]
    write_json(folder / "model_index.json", index)
    assert "assumed: no scheduler" in fixed(folder, "unet")["timestep_dtype"].meaning


@pytest.mark.parametrize(
    ("name", "component", "expected"),
    [
        ("ltx", "transformer", {"num_frames", "height", "width", "rope_interpolation_scale"}),
        ("cosmos", "transformer", {"fps"}),
        ("qwen_image", "transformer", {"img_shapes", "txt_seq_lens"}),
        ("stable_video", "vae_decoder", {"num_frames"}),
        ("lumina", "transformer", {"base_sequence_length"}),
        ("flux_controlnet", "transformer", {"controlnet_blocks_repeat"}),
        ("latte", "transformer", {"enable_temporal_attentions"}),
    ],
)
def test_arguments_that_the_table_fixes(tmp_path: Path, name: str, component: str, expected: set[str]) -> None:
    folder, small = write_configs(tmp_path / "in", SMALL[name]), SMALL[name].shapes
    shapes = {n: getattr(small, n) for n in ("batch", "height", "width", "sequence_length", "frames")}
    found = fixed(folder, component, **shapes)
    assert expected <= found.keys()
    assert all(found[name].meaning != "an argument of the call" for name in expected)
    assert not {"return_dict", "output_hidden_states"} & found.keys()


def test_what_the_user_fixes(tmp_path: Path) -> None:
    folder = write_configs(tmp_path / "in", SMALL["sd_adapter"])
    (tmp_path / "i.toml").write_text(
        '[vae]\nmethod = "decode"\noutputs = ["image"]\ninputs.z = { shape = [1, 4, 8, 8] }\nfixed.strength = 0.5\n'
    )
    parts = survey(folder, "float16", ShapeOptions(), read_inputs(tmp_path / "i.toml"))
    (plan,) = next(part.plans for part in parts if part.model == "vae")
    assert [(one.name, one.value) for one in plan.fixed] == [("strength", 0.5)]
    assert "    fixed: strength = 0.5: an argument of the call\n" in render_parts(parts)


def test_a_light_adapter_has_one_feature_more_than_channels(tmp_path: Path) -> None:
    """Its last block is one of its own (mindone/diffusers/models/adapter.py, LightAdapter): the UNet waits for it."""
    folder = write_configs(tmp_path / "in", SMALL["sd_adapter"])
    path = folder / "adapter" / "config.json"
    config = json.loads(path.read_bytes())
    write_json(path, {**config, "adapter_type": "light_adapter"})
    adapter, unet = (plan_all(folder, "float16", ShapeOptions(), [name]).plans[0] for name in ("adapter", "unet"))
    assert adapter.call is not None
    assert len(adapter.call.outputs) == len(config["channels"]) + 1
    features = [spec.shape for spec in unet.inputs if spec.name.startswith("adapter_feature")]
    assert [shape[1] for shape in features] == [*config["channels"], config["channels"][-1]]
    assert all(a[2] == 2 * b[2] for a, b in pairwise(features))


def test_rows_that_are_no_halves_of_guidance_say_what_they_are_for(tmp_path: Path) -> None:
    folder = write_configs(tmp_path / "in", SMALL["pag_sd"])
    guided, alone = (fixed(folder, "unet", guidance=guidance) for guidance in (None, False))
    assert guided["guidance_rows"] == FixedValue(
        "guidance_rows",
        3,
        "rows an image, in one run and in this order: without the prompt; with the prompt; with the prompt, attention"
        " perturbed; --no-guidance traces for 2",
    )
    assert alone["guidance_rows"].value == 2
    assert alone["guidance_rows"].meaning.endswith("with the prompt, attention perturbed; --guidance traces for 3")
    assert guided["pag_applied_layers"].value == ["mid"]
    index = json.loads((folder / "model_index.json").read_text())
    write_json(folder / "model_index.json", {**index, "pag_applied_layers": ["mid", "up"]})
    assert fixed(folder, "unet")["pag_applied_layers"].value == ["mid", "up"]
