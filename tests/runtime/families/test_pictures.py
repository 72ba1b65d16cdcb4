"""Image to image and inpainting: what is refused, and what mindone's numbers are not asked of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attnfuse_runtime import AttnfuseRuntimeError
from tests.support import picture_models
from tests.support.loop_models import LATENTS, SEED, SIZE, changed
from tests.support.picture_models import IMAGES, MASKS, PictureModels, components, loop, opened, write_pipeline

IMAGE, MASK = IMAGES[0], MASKS[0]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_pipeline(tmp_path, "StableDiffusionPipeline")
    return tmp_path


def of_class(source: Path, name: str, **options: Any) -> Any:
    changed(source / "model_index.json", _class_name=name)
    return loop(source, components("sd", **options))


@pytest.mark.parametrize(
    ("given", "name"), [({"image": IMAGE}, "Img2Img"), ({"image": IMAGE, "mask": MASK, "strength": 0.8}, "Inpaint")]
)
def test_a_text_to_image_pipeline_that_is_given_a_picture(source: Path, given: dict[str, Any], name: str) -> None:
    """It has all graphs of the class of mindone that takes one."""
    ran = [
        of_class(source, f"StableDiffusion{of}Pipeline")("snow", **given, steps=4, seed=SEED).latents
        for of in ("", name)
    ]
    np.testing.assert_array_equal(ran[0], ran[1])
    with pytest.raises(AttnfuseRuntimeError, match=f"StableDiffusion{name}Pipeline needs image"):
        of_class(source, f"StableDiffusion{name}Pipeline")("snow")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"image": IMAGE.resize((20, 16))}, "the image is 20x16 pixels, and the pictures that are made of it 8x16"),
        ({"image": IMAGE, "mask": MASK.resize((8, 8))}, "the mask is 8x8 pixels, and the pictures"),
        ({"image": IMAGE, "strength": 0.2}, "strength is 0.2, of which 4 steps leave none; give at least 0.25"),
        ({"image": IMAGE, "strength": 0.0}, "strength is 0.0, of which 4 steps leave none"),
        ({"image": IMAGE, "latents": np.zeros((1, *LATENTS))}, "latents were given, and those of the image"),
        ({"control_image": IMAGE}, "StableDiffusionPipeline takes no control_image; leave it out"),
    ],
)
def test_arguments_that_do_not_fit(source: Path, given: dict[str, Any], said: str) -> None:
    runs = PictureModels()
    with pytest.raises(AttnfuseRuntimeError, match=r"^[^\n]*\.$") as raised:
        loop(source, components("sd"), runs)("snow", steps=4, **given)
    assert said in str(raised.value)
    assert "unet" not in {name for name, _ in runs.fed}


def test_graphs_that_do_not_fit(source: Path) -> None:
    graphs = components("sd")
    del graphs["vae_encoder"]
    with pytest.raises(AttnfuseRuntimeError, match="lacks vae_encoder; compile"):
        loop(source, graphs)("snow", image=IMAGE)
    graphs = components("sd")
    one = graphs["vae_encoder"]
    graphs["vae_encoder"] = replace(one, outputs=(replace(one.outputs[0], name="latents"),))
    with pytest.raises(AttnfuseRuntimeError, match="the graph vae_encoder gives latents, and no moments"):
        loop(source, graphs)("snow", image=IMAGE)
    graphs = components("sd")
    unet = graphs["unet"]
    inputs = (replace(unet.inputs[0], shape=(2, 5, *LATENTS[1:])), *unet.inputs[1:])
    with pytest.raises(AttnfuseRuntimeError, match="unet takes 5 channels, and inpainting is for 4 or 9"):
        loop(source, {**graphs, "unet": replace(unet, inputs=inputs)})("snow", image=IMAGE, mask=MASK)


def test_a_generator_for_each_picture(source: Path) -> None:
    """Each is then as by itself: the picture's own noise, that of the run and that of the scheduler."""
    picture_models.scheduler(source, _class_name="EulerAncestralDiscreteScheduler")
    made = loop(source, components("sd", timestep="float32"))
    given: dict[str, Any] = {"image": IMAGE, "mask": MASK, "steps": 3, "strength": 0.7}
    both = made(["snow", "rain"], **given, generator=[np.random.default_rng(seed) for seed in (1, 2)]).latents
    for row, (prompt, seed) in enumerate((("snow", 1), ("rain", 2))):
        np.testing.assert_allclose(both[row], made(prompt, **given, seed=seed).latents[0], rtol=1e-5, atol=1e-5)


def test_the_pictures_size_is_taken_where_graphs_take_any(source: Path) -> None:
    graphs = components("sd")
    for name in ("unet", "vae_encoder", "vae_decoder"):
        graphs[name] = opened(graphs[name])
    made = loop(source, graphs)
    assert made("snow", image=Image.new("RGB", (12, 8)), steps=2).images[0].size == (12, 8)
    with pytest.raises(
        AttnfuseRuntimeError, match="the image is 12x8 pixels, and the pictures that are made of it 8x16"
    ):
        made("snow", image=Image.new("RGB", (12, 8)), height=SIZE[0], width=SIZE[1])


def test_what_stays_of_a_picture_stays(source: Path) -> None:
    """With a black mask the latents are the picture's own after the last step."""
    made = loop(source, components("sd"))
    nothing = made("snow", image=IMAGE, mask=Image.new("L", IMAGE.size), steps=2, seed=SEED, strength=0.5)
    known = picture_models.encoder(2 * np.asarray(IMAGE, np.float32).transpose(2, 0, 1)[None] / 255 - 1)
    mean, spread = np.split(known, 2, axis=1)
    drawn = np.random.default_rng(SEED).standard_normal(mean.shape)
    wanted = 0.5 * (mean + np.exp(np.maximum(spread, -30) / 2) * drawn)  # the VAE's scale
    np.testing.assert_allclose(nothing.latents, wanted, rtol=1e-5, atol=1e-6)
