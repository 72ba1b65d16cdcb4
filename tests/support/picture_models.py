"""Models of pipelines that take pictures, for their loops: functions in numpy as in `loop_models`, and components.

Beside those of Stable Diffusion there are a VAE's encoder, ControlNets, a UNet that takes what they give and a masked
picture, and the encoder and transformer of PixArt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from attnfuse.tracing.demo import SCHEDULER, write_json
from attnfuse_runtime.manifest import Component, Manifest, Tensor
from attnfuse_runtime.noise import Array
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.text_to_image import TextToImage
from tests.support import loop_models
from tests.support.loop_models import LATENTS, SEED, SIZE, T5_TOKENS, T5_WIDTH, WIDTH, Models, denoised, t5

RESIDUALS: Final = {"down_block_residual_0": (WIDTH, 8, 4), "mid_block_residual": (2 * WIDTH, 4, 2)}
MOMENTS: Final = (2 * LATENTS[0], *LATENTS[1:])

_RANDOM: Final = np.random.default_rng(SEED)


def _picture(*channels: int) -> Image.Image:
    return Image.fromarray(_RANDOM.integers(0, 256, (*SIZE, *channels), np.uint8))


IMAGES: Final = (_picture(3), _picture(3))
MASKS: Final = (_picture(), _picture())
CONTROLS: Final = (_picture(3), _picture(3))


def components(
    base: str, *, controls: int = 0, beside: bool = False, ids: int = 6, **options: Any
) -> dict[str, Component]:
    """Those of `loop_models` for Stable Diffusion or XL with an encoder, and with so many ControlNets.

    With `beside` the UNet takes a mask and the latents of a masked picture too; XL takes so many numbers of sizes.
    """
    found = loop_models.components(base, **options)
    image, moments = _float("image", 1, 3, *SIZE), _float("moments", 1, *MOMENTS)
    encoder = Component("vae_encoder", "vae", Path(), (), (image,), (moments,))
    unet = found["unet"]
    rows = unet.inputs[0].shape[0]
    inputs = [replace(one, shape=(rows, ids)) if one.name == "time_ids" else one for one in unet.inputs]
    residuals = tuple(_float(name, rows, *shape) for name, shape in RESIDUALS.items())
    taken = (*inputs, _float("controlnet_cond", rows, 3, *SIZE), _float("conditioning_scale", 1))
    nets = ["controlnet", "controlnet_1"][:controls]
    if beside:
        inputs[0] = replace(inputs[0], shape=(rows, 2 * LATENTS[0] + 1, *LATENTS[1:]))
    found["unet"] = replace(unet, inputs=(*inputs, *(residuals if controls else ())))
    return {
        **found,
        **{name: Component(name, name, Path(), (), taken, residuals) for name in nets},
        "vae_encoder": encoder,
    }


def pixart(*, rows: int = 2, sized: bool = False, timestep: str = "int64") -> dict[str, Component]:
    """Those of PixArt, whose transformer learned a variance; a larger one takes the picture's size."""
    ids = tuple(Tensor(name, (1, T5_TOKENS), "int64") for name in ("input_ids", "attention_mask"))
    inputs = [
        _float("hidden_states", rows, *LATENTS),
        _float("encoder_hidden_states", rows, T5_TOKENS, T5_WIDTH),
        Tensor("timestep", (rows,), timestep),
        Tensor("encoder_attention_mask", (rows, T5_TOKENS), "int64"),
    ]
    inputs += [_float("resolution", rows, 2), _float("aspect_ratio", rows, 1)] if sized else []
    found = (
        Component("text_encoder", "", Path(), (), ids, (_float("last_hidden_state", 1, T5_TOKENS, T5_WIDTH),)),
        Component("transformer", "", Path(), (), tuple(inputs), (_float("sample", rows, *MOMENTS),)),
        loop_models.components()["vae_decoder"],
    )
    return {one.name: one for one in found}


def opened(component: Component) -> Component:
    """The same of any height and width."""

    def each(tensor: Tensor) -> Tensor:
        return replace(tensor, shape=(*tensor.shape[:2], -1, -1)) if len(tensor.shape) == 4 else tensor

    return replace(component, inputs=tuple(map(each, component.inputs)), outputs=tuple(map(each, component.outputs)))


def _float(name: str, *shape: int) -> Tensor:
    return Tensor(name, shape, "float32")


def encoder(image: Array) -> Array:
    """Mean and log-variance of half the size, some beyond where it is cut off."""
    small = image.reshape(len(image), 3, *(part for size in image.shape[2:] for part in (size // 2, 2))).mean(
        axis=(3, 5)
    )
    small = np.concatenate([small, small[:, :1] * small[:, 1:2]], axis=1)
    spread = np.tanh(small[:, ::-1] * 3) - 1
    spread[:, 0, 0], spread[:, 1, 0] = -40, 0.5
    return np.asarray(np.concatenate([small, spread], axis=1), np.float32)


def controlnet(given: Mapping[str, Array], *, second: bool = False) -> list[Array]:
    """What a ControlNet adds to a UNet: all that goes in, times the scale."""
    told = denoised(given)
    picture = given["controlnet_cond"].mean(axis=1, keepdims=True)
    scale = given["conditioning_scale"] * np.float32(-0.5 if second else 1)
    found = []
    for channels, height, width in RESIDUALS.values():
        small, shown = (
            one.reshape(len(one), one.shape[1], height, -1, width, one.shape[3] // width).mean(axis=(3, 5))
            for one in (told, picture)
        )
        places = np.linspace(0.1, 1, channels, dtype=np.float32).reshape(-1, 1, 1)
        found.append((scale * (small.mean(axis=1, keepdims=True) * places + shown * places[::-1])).astype(np.float32))
    return found


def unet(given: Mapping[str, Array]) -> Array:
    """A UNet that takes more than `loop_models.denoised`."""
    latents, beside = np.split(given["sample"], [LATENTS[0]], axis=1)
    found = denoised({**given, "sample": latents, **({"time_ids": _six(given)} if "time_ids" in given else {})})
    if beside.shape[1]:
        found = found + beside[:, :1] / 3 + np.tanh(beside[:, 1:] * 2) / 4
    if "mid_block_residual" in given:
        down = given["down_block_residual_0"] * np.linspace(1, 2, WIDTH, dtype=np.float32).reshape(-1, 1, 1)
        found = found + np.tanh(down.mean(axis=1, keepdims=True))
        found = found + np.tanh(given["mid_block_residual"].mean(axis=(1, 2, 3), keepdims=True))
    return np.asarray(found, np.float32)


def _six(given: Mapping[str, Array]) -> Array:
    """A refiner's five numbers as six."""
    return np.pad(given["time_ids"], ((0, 0), (0, 6 - given["time_ids"].shape[1])))


def masked_t5(ids: Array, mask: Array) -> Array:
    """T5's states, which the mask changes."""
    return np.asarray(t5(ids) * (1 + mask[:, :, None]) / 2, np.float32)


def transformer(given: Mapping[str, Array]) -> Array:
    """PixArt's: a prediction, and beside it a variance."""
    mask = given["encoder_attention_mask"].astype(np.float32)
    found = denoised({**given, "timestep": given["timestep"][:1]})
    told = np.tanh((mask * np.linspace(1, 2, mask.shape[1], dtype=np.float32)).mean(axis=1))
    found = found + told[:, None, None, None]
    if "resolution" in given:
        size = given["resolution"] @ np.asarray([[1], [2]], np.float32) / 50 + given["aspect_ratio"]
        found = found + size[:, :, None, None]
    return np.asarray(np.concatenate([found, found * 7], axis=1), np.float32)


class PictureModels(Models):
    """The runtime's backend."""

    def load(self, component: Component) -> Callable[[Mapping[str, Array]], list[Array]]:
        other = super().load(component)

        def run(given: Mapping[str, Array]) -> list[Array]:
            if component.name == "vae_encoder":
                made = [encoder(given["image"])]
            elif component.name.startswith("controlnet"):
                made = controlnet(given, second=component.name != "controlnet")
            elif component.name == "unet":
                made = [unet(given)]
            elif component.name == "transformer":
                made = [transformer(given)]
            elif "attention_mask" in given:
                made = [masked_t5(given["input_ids"], given["attention_mask"])]
            else:
                return other(given)
            self.fed.append((component.name, given))
            return made

        return run


def write_pipeline(folder: Path, name: str, **index: Any) -> None:
    """What a loop reads of a pipeline of this class; `index` are further parts of model_index.json."""
    loop_models.write_pipeline(folder, "xl" if "XL" in name else "sd")
    loop_models.changed(folder / "model_index.json", _class_name=name, **index)
    if "PixArt" in name:
        for file in (folder / "tokenizer").iterdir():
            file.unlink()
        loop_models.write_t5_tokenizer(folder / "tokenizer")


def loop(folder: Path, graphs: Mapping[str, Component], runs: Models | None = None) -> TextToImage:
    """The loop over these components."""
    return TextToImage(Pipeline(Manifest(folder, "lite", "", graphs), runs or PictureModels()), folder)


def scheduler(folder: Path, **options: Any) -> None:
    """Give a pipeline's folder another scheduler."""
    write_json(folder / "scheduler/scheduler_config.json", options or SCHEDULER)
