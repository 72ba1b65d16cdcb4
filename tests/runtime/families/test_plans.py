"""The loops over the interfaces that a compile plans: each is fed all that its graphs take, in its shapes and kinds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attnfuse.tracing.contract import ComponentPlan, ShapeOptions
from attnfuse.tracing.demo import TEXT_ENCODER, write_json, write_tokenizer
from attnfuse.tracing.plan import plan_pipeline
from attnfuse_runtime.families import FAMILIES
from attnfuse_runtime.manifest import Component, Manifest, Tensor
from attnfuse_runtime.noise import Array
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.text_to_image import TextToImage
from tests.support.checkpoints import SD21_UNET, SMALL_VAE, XL_TEXT_ENCODER, XL_TEXT_ENCODER_2, XL_UNET
from tests.support.loop_models import write_t5_tokenizer
from tests.support.small_models import SMALL, Config, Small, write_configs
from tests.support.small_models.pictures import CONTROLNET, XL_CONTROLNET

HEIGHT, WIDTH = 20, 24
PICTURES = [name for name, kind in FAMILIES.items() if kind.TAKES or "PixArt" in name]


def small(name: str, *, beside: bool) -> Small:
    if "PixArt" in name:
        return SMALL["pixart_alpha"]
    xl = "XL" in name
    models: dict[str, Config] = {
        "unet": {**(XL_UNET if xl else SD21_UNET), "in_channels": 9 if beside else 4},
        "vae": SMALL_VAE,
        "text_encoder": XL_TEXT_ENCODER if xl else TEXT_ENCODER,
    }
    if xl:
        models["text_encoder_2"] = XL_TEXT_ENCODER_2
    if "ControlNet" in name:
        models["controlnet"] = XL_CONTROLNET if xl else CONTROLNET
    return Small(name, models, "DDIMScheduler", ShapeOptions(height=HEIGHT, width=WIDTH))


def component(plan: ComponentPlan, unet: Mapping[str, tuple[int, ...]]) -> Component:
    """As the manifest of its compile would have it; `unet` are the shapes of what the denoiser takes."""
    shapes = {one.name: one.shape for one in plan.inputs}
    rows = plan.inputs[0].shape[0]
    sample = next((unet[name] for name in ("sample", "hidden_states") if name in unet), (1,))
    scale = plan.sizes["height"] // plan.sizes["latent_height"]
    config = json.loads((plan.folder / "config.json").read_text())
    width = config.get("hidden_size", config.get("d_model"))
    given: dict[str, Any] = {
        **unet,
        "sample": (sample[0], 8 if "hidden_states" in unet else 4, *sample[2:]),
        "moments": lambda: (rows, 8, shapes["image"][2] // scale, shapes["image"][3] // scale),
        "image": lambda: (rows, 3, shapes["latents"][2] * scale, shapes["latents"][3] * scale),
        **dict.fromkeys(("last_hidden_state", "penultimate_hidden_state"), lambda: (*shapes["input_ids"], width)),
        "pooler_output": (rows, width),
        "text_embeds": (rows, config.get("projection_dim")),
    }
    outputs = []
    assert plan.call is not None
    for name, _ in plan.call.outputs:
        shape = given[name]() if callable(given[name]) else given[name]
        outputs.append(Tensor(name, shape, "float32"))
    inputs = tuple(Tensor(one.name, one.shape, one.dtype) for one in plan.inputs)
    return Component(plan.name, plan.model, Path(), (), inputs, tuple(outputs))


class Zeros:
    """A backend that gives zeros."""

    def __init__(self) -> None:
        self.ran: set[str] = set()

    def load(self, component: Component) -> Callable[[Mapping[str, Array]], list[Array]]:
        def run(given: Mapping[str, Array]) -> list[Array]:
            self.ran.add(component.name)
            return [np.zeros(one.shape, one.dtype) for one in component.outputs]

        return run


CASES = [(name, beside) for name in PICTURES for beside in (False, True) if not beside or "Inpaint" in name]


@pytest.mark.parametrize(("name", "beside"), CASES)
def test_graphs_are_fed_what_they_are_compiled_for(tmp_path: Path, name: str, beside: bool) -> None:
    made = small(name, beside=beside)
    write_configs(tmp_path, made)
    index = tmp_path / "model_index.json"
    index.write_text(index.read_text().replace(made.pipeline, name))
    plans = plan_pipeline(tmp_path, "float32", made.shapes)
    denoiser = next(plan for plan in plans if plan.name in ("unet", "transformer"))
    unet = {one.name: one.shape for one in denoiser.inputs}
    graphs = {plan.name: component(plan, unet) for plan in plans}
    (tmp_path / "scheduler").mkdir()
    write_json(tmp_path / "scheduler/scheduler_config.json", {"_class_name": made.scheduler})
    for encoder in FAMILIES[name].ENCODERS:
        folder = tmp_path / encoder.replace("text_encoder", "tokenizer")
        folder.mkdir()
        write_t5_tokenizer(folder) if "PixArt" in name else write_tokenizer(folder, 77)
    runs = Zeros()
    loop = TextToImage(Pipeline(Manifest(tmp_path, "lite", "", graphs), runs))
    size = (denoiser.sizes["width"], denoiser.sizes["height"])
    pictures: dict[str, Any] = {"image": Image.new("RGB", size), "mask": Image.new("L", size)}
    pictures["control_image"] = pictures["image"]
    given = {of: pictures[of] for of in FAMILIES[name].TAKES}
    found = loop("snow", **given, steps=4)
    assert [image.size for image in found.images] == [size]
    needed = {plan.name for plan in plans}
    assert runs.ran == (needed if "image" in given else needed - {"vae_encoder"})
