"""The demo pipeline in mindone, and the runtime's loop: `python -m tests.support.demo_loops FOLDER OUT`.

FOLDER is the demo pipeline, OUT what it was compiled to in float32, with a UNet for two chunks of text. Prints, as its
last line, the largest differences of latents and of pictures for each case, as JSON, as `tests.support.loops` does: of
the loop over mindone's own models, and of the loop over the graphs. Latents of mindone and of the graphs are also held
to those of the graphs in float64. Models, tokenizer, scheduler and sizes are the demo's own, and a prompt is of 150
tokens. Where a CPU has no kernel for what mindone calls, the same is computed by those that there are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np
from PIL import Image

from attnfuse_runtime.backends import CpuBackend
from attnfuse_runtime.manifest import Component, Manifest, Tensor
from attnfuse_runtime.noise import Array
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.text_to_image import TextToImage

SEED, STEPS, LENGTH, WIDTH = 7, 2, 77, 64
LATENTS: Final = (4, 16, 16)
LONG: Final = "abcdefghij" * 15
"""150 tokens: a letter is one."""
_IMAGE: Final = Image.fromarray(np.random.default_rng(SEED).integers(0, 256, (128, 128, 3), np.uint8))
CASES: Final[Mapping[str, tuple[int, dict[str, Any]]]] = {
    "long": (2, {"prompt": LONG, "negative_prompt": "rain"}),
    "long-off": (2, {"prompt": LONG, "guidance_scale": 1.0}),
    "off": (1, {"prompt": "snow", "guidance_scale": 1.0}),
    "long-image": (2, {"prompt": LONG, "negative_prompt": "rain", "image": _IMAGE, "strength": 0.5}),
    "long-mask": (2, {"prompt": LONG, "guidance_scale": 1.0, "image": _IMAGE, "mask": _IMAGE.convert("L")}),
}
"""How many chunks the UNet takes, and arguments as the loop has them; mindone calls a mask a mask_image."""


@contextmanager
def kernels() -> Iterator[None]:
    """Stand-ins for the kernels that a UNet and a VAE need and a CPU lacks. MindSpore is in PyNative mode."""
    from mindone.diffusers.models import layers_compat
    from mindspore import Tensor, mint, ops

    from attnfuse.tracing.patches import cpu_patches

    def normed(value: Any, last: int, epsilon: float) -> Any:
        rows = value.reshape((*value.shape[: value.ndim - last], -1))
        apart = rows - rows.mean(axis=-1, keep_dims=True)
        return (apart / ops.sqrt((apart * apart).mean(axis=-1, keep_dims=True) + epsilon)).reshape(value.shape)

    def convolve(self: Any, value: Any) -> Any:
        (stride, _), (pad, _), (dilation, _) = self.stride, self.padding, self.dilation
        return ops.conv2d(value, self.weight, self.bias, stride, "pad", pad, dilation, self.groups)

    def layer_norm(self: Any, value: Any) -> Any:
        return normed(value, len(self.normalized_shape), self.eps) * self.weight + self.bias

    def group_norm(value: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
        found = normed(value.reshape((len(value), groups, -1)), 1, eps).reshape(value.shape)
        shape = (1, -1, *[1] * (value.ndim - 2))
        return found * weight.reshape(shape) + bias.reshape(shape)

    def gelu(value: Any, approximate: str = "none") -> Any:
        assert approximate == "none"
        return value * (ops.erf(value * 0.5**0.5) + 1) * 0.5

    def interpolate(value: Any, **options: Any) -> Any:
        assert options["mode"] == "nearest"
        return Tensor(value.asnumpy().repeat(2, axis=2).repeat(2, axis=3))

    with (
        cpu_patches(),
        mock.patch.object(mint.nn.Conv2d, "construct", convolve),
        mock.patch.object(mint.nn.LayerNorm, "construct", layer_norm),
        mock.patch.object(mint.nn.functional, "silu", lambda value, inplace=False: value * ops.sigmoid(value)),
        mock.patch.object(layers_compat, "group_norm", group_norm),
        mock.patch.object(mint.nn.functional, "interpolate", interpolate),
        mock.patch.object(mint.nn.functional, "gelu", gelu),
    ):
        yield


class _Mindones:
    """A backend: mindone's own models."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe

    def load(self, component: Component) -> Callable[[Mapping[str, Array]], list[Array]]:
        from mindspore import Tensor

        def run(given: Mapping[str, Array]) -> list[Array]:
            told = {name: Tensor(value) for name, value in given.items()}
            if component.name == "text_encoder":
                return [self._pipe.text_encoder(told["input_ids"])[0].asnumpy()]
            if component.name == "vae_encoder":
                return [self._pipe.vae.encode(told["image"])[0].asnumpy()]
            if component.name == "vae_decoder":
                return [self._pipe.vae.decode(told["latents"])[0].asnumpy()]
            sample, time = told.pop("sample"), told.pop("timestep")[0]
            return [self._pipe.unet(sample, time, **told)[0].asnumpy()]

        return run


def _components(chunks: int) -> dict[str, Component]:
    def component(name: str, takes: list[Tensor], gives: Tensor) -> Component:
        return Component(name, name, Path(), (), tuple(takes), (gives,))

    states = Tensor("last_hidden_state", (1, LENGTH, WIDTH), "float32")
    texts = Tensor("encoder_hidden_states", (2, LENGTH * chunks, WIDTH), "float32")
    sample = Tensor("sample", (2, *LATENTS), "float32")
    picture = Tensor("image", (1, 3, 8 * LATENTS[1], 8 * LATENTS[2]), "float32")
    found = [
        component("text_encoder", [Tensor("input_ids", (1, LENGTH), "int64")], states),
        component("unet", [sample, Tensor("timestep", (1,), "int64"), texts], sample),
        component("vae_decoder", [Tensor("latents", (1, *LATENTS), "float32")], picture),
        component("vae_encoder", [picture], Tensor("moments", (1, 2 * LATENTS[0], *LATENTS[1:]), "float32")),
    ]
    return {one.name: one for one in found}


def _embeddings(pipe: Any, text: str, chunks: int) -> Any:
    """States of a prompt in chunks, by mindone's own encoder and transformers' tokenizer."""
    from mindspore import Tensor, mint

    own, room = pipe.tokenizer, LENGTH - 2
    ids = own(text, add_special_tokens=False, verbose=False).input_ids
    found = []
    for at in range(chunks):
        row = [own.bos_token_id, *ids[at * room : (at + 1) * room], own.eos_token_id]
        found.append(pipe.text_encoder(Tensor([row + [own.pad_token_id] * (LENGTH - len(row))]))[0])
    return mint.cat(found, dim=1)


def main(folder: Path, out: Path) -> None:
    """Every case."""
    import mindspore as ms
    from mindone import diffusers

    with kernels():
        pipe = diffusers.StableDiffusionPipeline.from_pretrained(
            str(folder), mindspore_dtype=ms.float32, safety_checker=None
        )
        pipe.set_progress_bar_config(disable=True)
        found = {name: _apart(pipe, folder, out, *CASES[name]) for name in CASES}
    sys.stdout.write(json.dumps(found) + "\n")


def _taking(pipe: Any, given: Mapping[str, Any]) -> Any:
    """The pipeline with the same models that takes these."""
    from mindone import diffusers

    if "image" not in given:
        return pipe
    kind = diffusers.StableDiffusionInpaintPipeline if "mask" in given else diffusers.StableDiffusionImg2ImgPipeline
    made = kind(**pipe.components, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made


def _apart(pipe: Any, folder: Path, out: Path, chunks: int, given: dict[str, Any]) -> dict[str, float]:
    seen: list[Array] = []

    def note(pipe: Any, number: int, time: Any, values: dict[str, Any]) -> dict[str, Any]:
        seen.append(values["latents"].asnumpy())
        return {}

    texts = {f"{name}_embeds": _embeddings(pipe, given[name], chunks) for name in given if name.endswith("prompt")}
    rest = {name: value for name, value in given.items() if not name.endswith("prompt")}
    named = {"mask_image" if name == "mask" else name: value for name, value in rest.items()}
    named |= {"height": _IMAGE.height, "width": _IMAGE.width} if "mask" in rest else {}
    theirs = _taking(pipe, rest)(
        **{**(texts if chunks > 1 else given), **named, "num_inference_steps": STEPS, "output_type": "np"},
        generator=np.random.default_rng(SEED),
        callback_on_step_end=note,
    )[0]

    def run(pipeline: Pipeline) -> tuple[list[Array], Array]:
        """Latents after each step, and the levels of the picture."""
        mine: list[Array] = []
        made = TextToImage(pipeline)(
            given["prompt"],
            given.get("negative_prompt"),
            **rest,
            steps=STEPS,
            seed=SEED,
            callback=lambda number, time, latents: mine.append(latents),
        )
        return mine, np.stack([np.asarray(one) for one in made.images]) / 255

    mine, levels = run(Pipeline(Manifest(folder, "lite", "", _components(chunks)), _Mindones(pipe)))
    found = {"latents": _largest(mine, seen), "pictures": float(np.abs(levels - theirs).max())}
    if chunks > 1:
        graphs, levels = run(Pipeline.from_folder(out, "cpu"))
        exact, _ = run(Pipeline.from_folder(out, CpuBackend(exact=True)))
        found |= {"mindone off by": _largest(seen, exact), "graphs off by": _largest(graphs, exact)}
        found["pictures of graphs"] = float(np.abs(levels - theirs).max())
    return found


def _largest(found: list[Array], wanted: list[Array]) -> float:
    """The largest difference after any step, as a share of the largest number."""
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(found, wanted, strict=True))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
