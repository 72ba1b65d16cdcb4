"""A part without weights is nothing to compile, whatever its class."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from attnfuse.errors import TraceError
from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tracing.demo import write_json
from attnfuse.tracing.parts import Part, Terms
from attnfuse.tracing.plan import plan_all, survey
from tests.support.checkpoints import SMALL_VAE, write_pipeline
from tests.support.console import inside
from tests.support.stored import write_stored


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    return write_pipeline(tmp_path, "StableDiffusionPipeline", {"vae": SMALL_VAE}, "PNDMScheduler")


def add(folder: Path, name: str, library: str, class_name: str, *files: str) -> None:
    index = json.loads((folder / "model_index.json").read_bytes())
    write_json(folder / "model_index.json", {**index, name: [library, class_name]})
    (folder / name).mkdir(exist_ok=True)
    for file in files:
        (folder / name / file).write_text("{}")


def part(folder: Path, name: str, terms: Terms) -> Part:
    (found,) = (part for part in survey(folder, "auto", ShapeOptions(), (), terms) if part.model == name)
    return found


@pytest.mark.parametrize(
    ("name", "library", "class_name", "file"),
    [
        ("scheduler", "my_scheduler", "MySampler", "scheduler_config.json"),
        ("guider", "diffusers", "ClassifierFreeGuidance", "guider_config.json"),
        ("image_processor", "diffusers", "VaeImageStuff", "preprocessor_config.json"),
        ("normalizer", "mine", "Normalizer", "config.json"),
        ("noise", "mine", "NoiseSource", ""),
    ],
)
def test_settings_are_nothing_to_compile(pipeline: Path, name: str, library: str, class_name: str, file: str) -> None:
    add(pipeline, name, library, class_name, *filter(None, [file]))
    planned = plan_all(pipeline, "auto", ShapeOptions())
    assert [plan.name for plan in planned.plans] == ["vae_decoder", "vae_encoder"]
    assert planned.failures == {}
    assert not part(pipeline, name, Terms()).is_network


@pytest.mark.parametrize(
    "weights", ["model.safetensors", "diffusion_pytorch_model.bin", "model.ckpt", "model.pt", "weights.gguf"]
)
def test_with_weights_it_is_a_network(pipeline: Path, weights: str) -> None:
    add(pipeline, "guider", "diffusers", "NewestGuider", "config.json", weights)
    message = "class NewestGuider is not supported; say with --inputs what it is called with"
    assert plan_all(pipeline, "auto", ShapeOptions()).failures == {"guider": message}


def test_weights_that_are_missing_are_no_settings(pipeline: Path) -> None:
    # A part with a network's name and configuration, and one whose weights were never fetched.
    add(pipeline, "unet", "diffusers", "NewestUNet", "config.json")
    assert "unet" in plan_all(pipeline, "auto", ShapeOptions()).failures
    add(pipeline, "guider", "diffusers", "NewestGuider", "config.json")
    assert part(pipeline, "guider", Terms(with_weights=False)).is_network
    add(pipeline, "extra", "diffusers", "NewestExtra")
    add(pipeline, "text_encoder", "mine", "Words")
    (pipeline / "extra").rmdir()
    for gone in ("unet", "text_encoder"):  # a network's name, with or without a folder
        assert gone in plan_all(pipeline, "auto", ShapeOptions()).failures
        shutil.rmtree(pipeline / gone)
        assert gone in plan_all(pipeline, "auto", ShapeOptions()).failures


def test_weights_for_another_model_are_nothing_to_compile(pipeline: Path) -> None:
    add(pipeline, "motion_adapter", "diffusers", "MotionAdapter", "config.json", "diffusion_pytorch_model.safetensors")
    assert plan_all(pipeline, "auto", ShapeOptions()).failures == {}
    assert not part(pipeline, "motion_adapter", Terms()).is_network


def test_networks_that_no_result_passes_through_are_called_so(pipeline: Path) -> None:
    add(pipeline, "safety_checker", "stable_diffusion", "StableDiffusionSafetyChecker", "model.safetensors")
    assert plan_all(pipeline, "auto", ShapeOptions()).failures == {}
    said = inside("components", pipeline).stdout
    line = "safety_checker (StableDiffusionSafetyChecker): a network, but no result passes through it unless more is"
    assert line in said


@pytest.mark.parametrize(("class_name", "is_network"), [("Odd", False), ("OddTransformer2DModel", True)])
def test_a_part_without_a_folder(pipeline: Path, class_name: str, is_network: bool) -> None:
    add(pipeline, "sampler", "my", class_name)
    (pipeline / "sampler").rmdir()
    for terms in (Terms(), Terms(with_weights=False)):
        assert part(pipeline, "sampler", terms).is_network == is_network
    assert ("sampler" in plan_all(pipeline, "auto", ShapeOptions()).failures) == is_network


def test_a_checkpoint_that_is_truncated(pipeline: Path) -> None:
    path = pipeline / "vae" / "diffusion_pytorch_model.safetensors"
    write_stored(path, {"weight": ("F32", (4, 4))})
    assert part(pipeline, "vae", Terms()).problem == ""
    path.write_bytes(path.read_bytes()[:-9])
    found = part(pipeline, "vae", Terms())
    assert found.plans == ()
    assert found.problem.startswith("vae/diffusion_pytorch_model.safetensors is 9 bytes shorter than its header says (")
    assert found.problem in str(plan_all_error(pipeline))


def plan_all_error(folder: Path) -> TraceError:
    with pytest.raises(TraceError) as caught:
        plan_all(folder, "auto", ShapeOptions())
    return caught.value
