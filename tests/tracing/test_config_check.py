"""Options of a config.json that the class does not take are told, and versions beyond mindone's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from attnfuse.tracing.class_options import counterpart, options_of
from attnfuse.tracing.config_check import HARMLESS, check_config
from attnfuse.tracing.contract import Library, ShapeOptions
from attnfuse.tracing.demo import SCHEDULER, TEXT_ENCODER, UNET, VAE, write_json
from attnfuse.tracing.inputs import GivenCall, GivenInput
from attnfuse.tracing.parts import Terms
from attnfuse.tracing.plan import plan_all
from attnfuse.tracing.specs import SPECS
from tests.support.checkpoints import class_of
from tests.support.small_models import SMALL
from tests.tracing.test_plan import SD, pipeline

STRICT = Terms(strict_config=True)

#: Classes by their library, configurations that they take, and keys of newer ones that they do not.
CASES: dict[str, tuple[Library, dict[str, Any]]] = {
    "UNet2DConditionModel": ("diffusers", UNET),
    "AutoencoderKL": ("diffusers", VAE),
    "CLIPTextModel": ("transformers", TEXT_ENCODER),
    "CLIPTextModelWithProjection": ("transformers", TEXT_ENCODER),
    "PNDMScheduler": ("diffusers", SCHEDULER),
}


def test_the_class_of_every_spec_is_found() -> None:
    lost = {spec.class_name for spec in SPECS if options_of(spec.class_name, spec.library) is None}
    assert lost == set()
    assert (counterpart("diffusers"), counterpart("transformers")) == ("0.35.1", "4.57.1")


def test_a_class_is_read_where_it_is_and_not_where_old_imports_find_it() -> None:
    # models/controlnet_sd3.py has one of that name, which takes what it took in an older version.
    found = options_of("SD3ControlNetModel", "diffusers")
    assert found is not None
    assert {"qk_norm", "dual_attention_layers", "force_zeros_for_pooled_projection"} <= found.names


@pytest.mark.mindspore
@pytest.mark.slow  # it starts MindSpore
def test_what_is_read_is_what_mindone_takes() -> None:
    names = ["UNet2DConditionModel", "AutoencoderKL", "SD3Transformer2DModel", "ControlNetModel", "SD3ControlNetModel"]
    script = (
        "import json, sys, mindone.diffusers as library\n"
        "classes = {name: getattr(library, name) for name in sys.argv[1:]}\n"
        "print(json.dumps({name: sorted(one._get_init_keys(one) - {'self'}) for name, one in classes.items()}))\n"
    )
    said = subprocess.run([sys.executable, "-c", script, *names], capture_output=True, text=True, check=True).stdout
    for name, keys in json.loads(said.splitlines()[-1]).items():
        found = options_of(name, "diffusers")
        assert found is not None
        assert sorted(found.names) == keys


def test_no_configuration_of_the_small_models_is_doubted() -> None:
    doubted = {}
    for name, small in SMALL.items():
        for config in small.models.values():
            library: Library = "diffusers" if "_class_name" in config else "transformers"
            said = check_config(class_of(config), library, config)
            if said:
                doubted[name] = said
    # Made of Stable Diffusion's, whose factor it keeps in its normalisation.
    assert doubted.keys() == {"flux2"}
    assert "them: scaling_factor (" in doubted["flux2"]


@pytest.mark.parametrize("class_name", CASES)
def test_keys_that_are_not_taken(class_name: str) -> None:
    library, config = CASES[class_name]
    version = {"diffusers": "_diffusers_version", "transformers": "transformers_version"}[library]
    assert check_config(class_name, library, config) == ""
    newer = {**config, version: "9.40.0", "zero_cond_t": True, "gated_attention": "sigmoid", "_private": 1}
    ours = counterpart(library)
    assert check_config(class_name, library, newer) == (
        f"config.json has keys that mindone's {class_name} does not take, so that the model is built without them:"
        f" gated_attention, zero_cond_t (written by {library} 9.40.0; mindone's counterpart is {ours})"
    )


@pytest.mark.parametrize("class_name", CASES)
def test_a_newer_version_alone(class_name: str) -> None:
    library, config = CASES[class_name]
    version = {"diffusers": "_diffusers_version", "transformers": "transformers_version"}[library]
    for same in ("0.1", "0.35.1" if library == "diffusers" else "4.57.1", None):
        assert check_config(class_name, library, {**config, version: same}) == ""
    for newer in ("0.36.0.dev0", "0.35.2", "1.0") if library == "diffusers" else ("4.58.0.dev0", "5.0.0rc1"):
        said = check_config(class_name, library, {**config, version: newer})
        assert said.startswith(f"config.json was written by {library} {newer}, and mindone's counterpart is ")


@pytest.mark.parametrize("class_name", CASES)
@pytest.mark.parametrize("odd", [7, 0, 0.36, True, "", "unknown", ["0.36.0"]])
def test_what_is_no_version_is_told(class_name: str, odd: object) -> None:
    library, config = CASES[class_name]
    version = {"diffusers": "_diffusers_version", "transformers": "transformers_version"}[library]
    assert f"says {version} is {json.dumps(odd)}, which is no version" in check_config(
        class_name, library, {**config, version: odd}
    )
    assert f"its {version} is {json.dumps(odd)}, which" in check_config(
        class_name, library, {**config, version: odd, "gated": 1}
    )


def test_what_is_harmless_has_a_reason() -> None:
    assert all(HARMLESS.values())
    ema = dict.fromkeys(("decay", "optimization_step", "use_ema_warmup"), 1)
    assert check_config("UNet2DConditionModel", "diffusers", {**UNET, **ema}) == ""
    assert check_config("CLIPTextModel", "transformers", {**TEXT_ENCODER, "dropout": 0.0}) == ""
    t5 = {**SMALL["flux"].models.get("text_encoder_2", {}), "output_past": True, "n_positions": 512}
    assert check_config("T5EncoderModel", "transformers", t5) == ""


def test_nested_configurations() -> None:
    qwen = SMALL["qwen_image_qwen"].models["text_encoder"]
    nested = {**qwen, "text_config": {**qwen.get("text_config", {}), "gated": True}, "vision_config": {"swirl": 1}}
    said = check_config("Qwen2_5_VLForConditionalGeneration", "transformers", nested)
    assert "text_config.gated, vision_config.swirl" in said
    # Each of these is of the text's, and stood at the top before there were two.
    assert check_config("Qwen2_5_VLForConditionalGeneration", "transformers", {**qwen, "rms_norm_eps": 1e-6}) == ""
    # A configuration of both sides of CLIP, of which the text encoder reads its own.
    both = {"model_type": "clip", "vision_config": {"other": 1}, "text_config": {**TEXT_ENCODER, "gated": True}}
    assert "them: text_config.gated (" in check_config("CLIPTextModel", "transformers", both)


def test_a_class_that_is_not_found_is_not_judged() -> None:
    assert check_config("NewestTransformer", "diffusers", {"anything": 1}) == ""


def test_a_scheduler_takes_what_its_compatibles_do() -> None:
    euler = {**SCHEDULER, "use_karras_sigmas": True, "timestep_type": "discrete"}
    assert check_config("PNDMScheduler", "diffusers", euler) == ""


def add(folder: Path, model: str, **options: Any) -> None:
    path = folder / model / ("scheduler_config.json" if model == "scheduler" else "config.json")
    path.parent.mkdir(exist_ok=True)
    write_json(path, {**(json.loads(path.read_bytes()) if path.is_file() else {}), **options})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return pipeline(tmp_path, SD, scheduler=["diffusers", "PNDMScheduler"])


def test_each_component_is_told_of_its_own(folder: Path) -> None:
    add(folder, "vae", zero_cond_t=True)
    add(folder, "scheduler", **SCHEDULER, swirl=1)
    warnings = {plan.name: plan.warnings for plan in plan_all(folder, "float16", ShapeOptions()).plans}
    for name in ("vae_decoder", "vae_encoder"):
        (said,) = warnings[name]
        assert "AutoencoderKL does not take, so that the model is built without them: zero_cond_t" in said
    (said,) = warnings["unet"]
    assert said.startswith("scheduler/scheduler_config.json has keys that mindone's PNDMScheduler does not take")
    assert warnings["text_encoder"] == ()


def test_a_version_that_the_pipeline_tells(folder: Path) -> None:
    config = {key: value for key, value in UNET.items() if key != "_diffusers_version"}
    write_json(folder / "unet" / "config.json", config)
    index = json.loads((folder / "model_index.json").read_bytes())
    write_json(folder / "model_index.json", {**index, "_diffusers_version": "0.99.0"})
    warnings = {plan.name: plan.warnings for plan in plan_all(folder, "float16", ShapeOptions()).plans}
    assert "written by diffusers 0.99.0" in warnings["unet"][0]
    assert warnings["vae_decoder"] == warnings["text_encoder"] == ()


def test_strictly_it_is_an_error(folder: Path) -> None:
    add(folder, "text_encoder", gated=True)
    assert plan_all(folder, "float16", ShapeOptions(), (), (), Terms()).failures == {}
    planned = plan_all(folder, "float16", ShapeOptions(), (), (), STRICT)
    assert [plan.name for plan in planned.plans] == ["unet", "vae_decoder", "vae_encoder"]
    assert planned.failures["text_encoder"].endswith("; refused, --strict-config being given")
    assert "gated" in planned.failures["text_encoder"]


def test_a_call_of_the_users_own_is_told_too(folder: Path) -> None:
    add(folder, "text_encoder", gated=True)
    ids = GivenInput("input_ids", (1, 7), "int64", "")
    given = (GivenCall("mine", "text_encoder", "", (ids,), {}, (("output", ""),)),)
    (plan,) = plan_all(folder, "float16", ShapeOptions(), ["mine"], given).plans
    assert "gated" in plan.warnings[0]
    assert "gated" in plan_all(folder, "float16", ShapeOptions(), (), given, STRICT).failures["mine"]
