"""What the runtime's wheel does where it is alone: `python runtime_alone.py OUT SOURCE`, beside a stand-in for Lite.

OUT is what `tests.support.compiled` compiles, SOURCE what `loop_models` writes of a pipeline. For Python 3.9 and later,
with nothing of attnfuse. Ends with a line that says that all was as told.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import mindspore_lite
import numpy as np

import attnfuse_runtime
from attnfuse_runtime import schedulers
from attnfuse_runtime.backends import LiteBackend
from attnfuse_runtime.files import read_json
from attnfuse_runtime.manifest import Component, Manifest, Tensor
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.text_to_image import TextToImage
from attnfuse_runtime.tokenizer import Tokenizer

OTHERS = ("attnfuse", "attnfuse_passes", "mindone", "mindspore", "scipy", "torch", "transformers")
TOKENS, WIDTH, LATENTS, SIZE = 16, 8, (4, 8, 4), (16, 8)


def bound(out: Path) -> None:
    """A compiled folder, by name and in Lite's types."""
    mindspore_lite.inputs[:] = [("timestep", (1,), "int32"), ("sample", (2, 4), "float16")]
    mindspore_lite.computed = lambda values: [values["sample"] * 2, values["timestep"] + 1]
    product, total = Pipeline.from_folder(out)["toy"](sample=np.ones((2, 4)), timestep=np.asarray([7])).values()
    assert (product == 2).all()
    assert product.dtype == np.float16
    assert total.tolist() == [8]


def scheduled(source: Path) -> None:
    """The pipeline's scheduler, through to the last step."""
    scheduler = schedulers.from_config(read_json(source / "scheduler" / "scheduler_config.json"))
    scheduler.set_timesteps(5)
    sample = np.ones((1, 2))
    for timestep in scheduler.timesteps:
        sample = scheduler.step(sample / 2, timestep, sample)
    assert np.isfinite(sample).all()


def looped(out: Path, source: Path) -> None:
    """From a prompt to a picture, through Lite's stand-in."""
    tokens = Tokenizer.from_folder(source / "tokenizer")(["a cat"])
    assert tokens.ids.shape == (1, TOKENS)
    assert tokens.mask.sum() == 6
    graph = next(out.glob("*.mindir"))  # any file: what is computed is told below

    def component(name: str, takes: list[Tensor], gives: Tensor) -> Component:
        return Component(name, name, graph, (), tuple(takes), (gives,))

    sample, texts = Tensor("sample", (2, *LATENTS), "float32"), Tensor("encoder_hidden_states", (2, 16, 8), "float32")
    graphs = [
        component(
            "text_encoder",
            [Tensor("input_ids", (1, TOKENS), "int64")],
            Tensor("last_hidden_state", (1, TOKENS, WIDTH), "float32"),
        ),
        component("unet", [sample, Tensor("timestep", (1,), "int64"), texts], sample),
        component(
            "vae_decoder", [Tensor("latents", (1, *LATENTS), "float32")], Tensor("image", (1, 3, *SIZE), "float32")
        ),
    ]
    mindspore_lite.computed = computed
    pipeline = Pipeline(Manifest(out, "lite", "", {one.name: one for one in graphs}), LiteBackend())
    for one in graphs:
        whole = {"int64": "int32"}  # as Lite has it
        mindspore_lite.inputs[:] = [(of.name, of.shape, whole.get(of.dtype, of.dtype)) for of in one.inputs]
        pipeline[one.name]
    found = TextToImage(pipeline, source)("a (cat:1.2)", "rain", steps=3, seed=1, weighted=True)
    assert [(image.height, image.width) for image in found.images] == [SIZE]
    assert np.isfinite(found.latents).all()
    again = TextToImage(pipeline, source)("a (cat:1.2)", "rain", steps=3, seed=1, weighted=True)
    assert (again.latents == found.latents).all()


def computed(values: dict[str, Any]) -> list[Any]:
    """Something of what goes in."""
    if "input_ids" in values:
        return [np.tanh(values["input_ids"][..., None] * np.linspace(0, 1, WIDTH)).astype(np.float32)]
    if "latents" in values:
        return [np.tanh(values["latents"][:, :3].repeat(2, axis=2).repeat(2, axis=3))]
    return [np.tanh(values["sample"]) + values["encoder_hidden_states"].mean(axis=(1, 2))[:, None, None, None]]


if __name__ == "__main__":
    bound(Path(sys.argv[1]))
    scheduled(Path(sys.argv[2]))
    looped(Path(sys.argv[1]), Path(sys.argv[2]))
    assert "site-packages" in attnfuse_runtime.__file__
    assert not [name for name in OTHERS if name in sys.modules]
    sys.stdout.write("{}.{}: all as told\n".format(*sys.version_info))
