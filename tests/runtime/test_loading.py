"""Loops over what compile plans: they feed every graph what it is traced with, by name, shape and type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from attnfuse.tracing.parts import Terms
from attnfuse.tracing.plan import survey
from attnfuse_runtime.families import FAMILIES
from attnfuse_runtime.manifest import Component, Manifest, Tensor
from attnfuse_runtime.noise import Array
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.text_to_image import TextToImage
from attnfuse_runtime.text_to_video import TextToVideo
from tests.support.film_pipelines import write_small

NAMES: Final = (
    "QwenImagePipeline",
    "WanPipeline",
    "WanPipeline of text and picture",
    "WanImageToVideoPipeline",
    "WanImageToVideoPipeline of first and last frame",
    "WanImageToVideoPipeline of text and picture",
    "LTXPipeline",
    "LTXPipeline with noise in its latents",
    "LTXImageToVideoPipeline",
)
PICTURE: Final = Image.new("RGB", (40, 30), "green")


class Ones:
    """A backend: ones of the shape that a graph gives. `ran` are the graphs that were run."""

    def __init__(self) -> None:
        self.ran: set[str] = set()

    def load(self, component: Component) -> Callable[[Mapping[str, Array]], list[Array]]:
        def run(given: Mapping[str, Array]) -> list[Array]:
            self.ran.add(component.name)
            return [np.ones(one.shape, np.float16) for one in component.outputs]

        return run


def planned(folder: Path, name: str) -> dict[str, Component]:
    """The graphs that a compile of the pipeline would write, with what shapes they give, which a trace tells."""
    shapes = write_small(folder, name)
    parts = survey(folder, "float16", shapes, terms=Terms(with_weights=False))
    plans = [plan for part in parts for plan in part.plans]
    inputs = {plan.name: {one.name: one for one in plan.inputs} for plan in plans}
    latents, states = inputs["vae_decoder"]["latents"].shape, inputs["transformer"]["encoder_hidden_states"].shape
    sample = inputs["transformer"]["hidden_states"].shape
    assert shapes.height is not None
    assert shapes.width is not None
    gives: dict[str, tuple[int, ...]] = {
        "text_encoder": (*inputs["text_encoder"]["input_ids"].shape, states[-1]),
        "transformer": sample if len(sample) == 3 else (sample[0], latents[1], *sample[2:]),
        "vae_decoder": (latents[0], 3, shapes.frames or 1, shapes.height, shapes.width),
    }
    gives["transformer_2"] = gives["transformer"]
    if "vae_encoder" in inputs:
        one = next(iter(inputs["vae_encoder"].values())).shape[2] == 1
        gives["vae_encoder"] = (latents[0], 2 * latents[1], 1 if one else latents[2], *latents[3:])
    if "encoder_hidden_states_image" in inputs["transformer"]:
        gives["image_encoder"] = inputs["transformer"]["encoder_hidden_states_image"].shape
    found = {}
    for plan in plans:
        assert plan.call is not None
        (output,) = (of for of, _ in plan.call.outputs)
        takes: Sequence[Tensor] = [Tensor(of.name, of.shape, of.dtype) for of in plan.inputs]
        told = Tensor(output, gives[plan.name], "float16")
        found[plan.name] = Component(plan.name, plan.model, Path(), (), tuple(takes), (told,))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_graphs_take_what_the_loop_feeds(tmp_path: Path, name: str) -> None:
    graphs, runs = planned(tmp_path, name), Ones()
    channels = graphs["vae_decoder"].inputs[0].shape[1]
    told = {"vae": {"latents_mean": [0.0] * channels, "latents_std": [1.0] * channels}}
    pipeline = Pipeline(Manifest(tmp_path, "lite", "", graphs, told), runs)
    given: dict[str, Any] = {"steps": 2, "seed": 1}
    if name.partition(" ")[0] in FAMILIES:
        TextToImage(pipeline)("snow", "rain", **given)
    else:
        if "ImageToVideo" in name:
            given["image"] = PICTURE
        if "last frame" in name:
            given["last_image"] = PICTURE
        TextToVideo(pipeline)("snow", "rain", **given)
    # Of other pipelines of the same parts are the encoders, where a pipeline begins with noise.
    assert runs.ran == {of for of in graphs if of != "vae_encoder" or "ImageToVideo" in name}
