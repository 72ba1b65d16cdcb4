"""Pictures as prompts: what the UNet is fed, with ControlNets beside it too, and what does not fit."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attnfuse.tracing.demo import write_json
from attnfuse_runtime import AttnfuseRuntimeError
from attnfuse_runtime.families.picture_prompts import pixels
from attnfuse_runtime.manifest import Component, Tensor
from tests.support import picture_models
from tests.support.loop_models import SCALE, SIDE, WIDTH, Models, components, looked_at, loop, write_pipeline
from tests.support.loops import PICTURE


def test_the_rows_and_the_scale(tmp_path: Path) -> None:
    write_pipeline(tmp_path)
    runs = Models()
    made = loop(tmp_path, components(looked="hidden_states"), runs)
    found = made(["snow", "rain"], steps=1, seed=1, ip_adapter_image=PICTURE)
    seen = looked_at(pixels(PICTURE, SIDE, {}))["hidden_states"]
    black = looked_at(np.zeros((1, 3, SIDE, SIDE), np.float32))["hidden_states"]
    fed = [given for name, given in runs.fed if name == "unet"]
    rows = np.concatenate([given["image_embeds"] for given in fed[:2]])
    np.testing.assert_array_equal(rows, np.stack([black, black, seen, seen]))
    assert {given["ip_adapter_scale"].item() for given in fed} == {SCALE}
    assert found.milliseconds["image_encoder"] > 0
    runs.fed.clear()
    made("snow", steps=1, ip_adapter_image=PICTURE, ip_adapter_scale=0.0)
    assert {given["ip_adapter_scale"].item() for name, given in runs.fed if name == "unet"} == {0.0}


def test_with_a_controlnet_beside(tmp_path: Path) -> None:
    """Which takes nothing of it."""
    picture_models.write_pipeline(tmp_path, "StableDiffusionControlNetPipeline")
    graphs = picture_models.components("sd", controls=1)
    unet, looked = graphs["unet"], components(looked="image_embeds")
    rows = unet.inputs[0].shape[0]
    more = (Tensor("image_embeds", (rows, 1, WIDTH), "float32"), Tensor("ip_adapter_scale", (1,), "float32"))
    graphs |= {"unet": replace(unet, inputs=(*unet.inputs, *more)), "image_encoder": looked["image_encoder"]}
    runs = _Both()
    made = picture_models.loop(tmp_path, graphs, runs)
    made("snow", control_image=picture_models.CONTROLS[0], ip_adapter_image=PICTURE, steps=1)
    assert {"controlnet", "unet"} <= {name for name, _ in runs.fed}


class _Both(picture_models.PictureModels):
    """The models of pictures, and an image encoder."""

    def load(self, component: Component) -> Any:
        return Models().load(component) if component.name == "image_encoder" else super().load(component)


def test_what_does_not_fit(tmp_path: Path) -> None:
    write_pipeline(tmp_path)
    graphs = components(looked="image_embeds")
    made = loop(tmp_path, graphs)
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "unet has an IP-Adapter, which looks at a picture; give ip_adapter_image"),
        ({"ip_adapter_image": PICTURE, "ip_adapter_scale": math.nan}, "ip_adapter_scale is nan; give a number"),
    ]
    for given, said in cases:
        with pytest.raises(AttnfuseRuntimeError, match=said):
            made("snow", steps=1, **given)
    plain = loop(tmp_path, components())
    others: list[dict[str, Any]] = [{"ip_adapter_image": PICTURE}, {"ip_adapter_scale": 0.5}]
    for other in others:
        with pytest.raises(
            AttnfuseRuntimeError, match=f"{next(iter(other))} was given, and unet has no IP-Adapter; compile"
        ):
            plain("snow", steps=1, **other)
    without = {name: one for name, one in graphs.items() if name != "image_encoder"}
    with pytest.raises(AttnfuseRuntimeError, match="has no image_encoder for the IP-Adapter"):
        loop(tmp_path, without)("snow", steps=1, ip_adapter_image=PICTURE)
    unet = graphs["unet"]
    fixed = replace(unet, inputs=tuple(one for one in unet.inputs if one.name != "ip_adapter_scale"))
    with pytest.raises(AttnfuseRuntimeError, match="unet has the scale of each attention fixed; leave it out"):
        loop(tmp_path, {**graphs, "unet": fixed})("snow", steps=1, ip_adapter_image=PICTURE, ip_adapter_scale=1.0)


def test_pixels_as_the_image_processor_says(tmp_path: Path) -> None:
    grey = Image.new("L", (30, 20), 51)
    settings = {"size": {"shortest_edge": 10}, "image_mean": [0.1] * 3, "image_std": [0.5] * 3}
    np.testing.assert_allclose(pixels(grey, 8, settings), np.full((1, 3, 8, 8), 0.2), atol=1e-6)
    with pytest.raises(AttnfuseRuntimeError, match="the image processor makes pictures of 4, and image_encoder takes"):
        pixels(grey, 8, {"size": 4})
    write_pipeline(tmp_path)
    (tmp_path / "feature_extractor").mkdir()
    write_json(tmp_path / "feature_extractor" / "preprocessor_config.json", settings | {"size": SIDE})
    runs = Models()
    loop(tmp_path, components(looked="image_embeds"), runs)("snow", steps=1, ip_adapter_image=grey)
    (seen,) = [given["pixel_values"] for name, given in runs.fed if name == "image_encoder"]
    np.testing.assert_allclose(seen, np.full((1, 3, SIDE, SIDE), 0.2), atol=1e-6)
