"""Models for the loops of the runtime: small functions in numpy, and the components that a manifest would have of them.

Each tells apart all that goes into it, its order and its place, so that two loops over them agree only where they feed
the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from tokenizers import Tokenizer as Made
from tokenizers import models, pre_tokenizers, processors

from attnfuse.tracing.demo import SCHEDULER, write_json, write_tokenizer
from attnfuse_runtime.manifest import Component, Manifest, Tensor
from attnfuse_runtime.noise import Array
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.text_to_image import TextToImage

WIDTH, TOKENS, SEED, SCALE = 8, 16, 5, 0.75
T5_WIDTH, T5_TOKENS = 20, 12
SIZE: Final = (16, 8)
"""Height and width of a picture."""
LATENTS: Final = (4, 8, 4)
PACKED: Final = (8, 16)
SIDE: Final = 8
PATCHES: Final = 3 * SIDE**2 // WIDTH
"""Of a picture that is looked at: pixels along a side, and states."""
CLASSES: Final = {
    "sd": "StableDiffusionPipeline",
    "xl": "StableDiffusionXLPipeline",
    "sd3": "StableDiffusion3Pipeline",
    "flux": "FluxPipeline",
}
ENCODERS: Final = {
    "sd": ("text_encoder",),
    "xl": ("text_encoder", "text_encoder_2"),
    "sd3": ("text_encoder", "text_encoder_2", "text_encoder_3"),
    "flux": ("text_encoder", "text_encoder_2"),
}
T5: Final = {"sd3": "text_encoder_3", "flux": "text_encoder_2"}
FLOW: Final = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}


def components(
    kind: str = "sd", *, rows: int = 2, timestep: str = "int64", chunks: int = 1, without: str = "", looked: str = ""
) -> dict[str, Component]:
    """As a manifest has them, for one picture a run; `without` is a text encoder or an input that is not there,
    `looked` the output of the image encoder, where there is an IP-Adapter: "image_embeds" or "hidden_states"."""
    states = {
        "sd": (rows, TOKENS * chunks, WIDTH),
        "xl": (rows, TOKENS * chunks, 2 * WIDTH),
        "sd3": (rows, TOKENS * chunks + (TOKENS if without == "text_encoder_3" else T5_TOKENS), T5_WIDTH),
        "flux": (rows, T5_TOKENS, T5_WIDTH),
    }
    added: dict[str, dict[str, tuple[int, ...]]] = {
        "sd": {"timestep": (1,)},
        "xl": {"timestep": (1,), "text_embeds": (rows, WIDTH), "time_ids": (rows, 6)},
        "sd3": {"pooled_projections": (rows, 2 * WIDTH), "timestep": (rows,)},
        "flux": {
            "pooled_projections": (rows, WIDTH),
            "timestep": (rows,),
            "img_ids": (PACKED[0], 3),
            "txt_ids": (T5_TOKENS, 3),
            "guidance": (rows,),
        },
    }
    sample: tuple[int, ...] = (rows, *(PACKED if kind == "flux" else LATENTS))
    inputs: dict[str, tuple[int, ...]] = {
        "sample" if kind in ("sd", "xl") else "hidden_states": sample,
        "encoder_hidden_states": states[kind],
    }
    inputs |= {name: shape for name, shape in added[kind].items() if name != without}
    seen = {"image_embeds": (1, WIDTH), "hidden_states": (1, PATCHES, WIDTH)}.get(looked, ())
    inputs |= {"image_embeds": (rows, *seen), "ip_adapter_scale": (1,)} if looked else {}
    state = "penultimate_hidden_state" if kind in ("xl", "sd3") else "last_hidden_state"
    types = {"input_ids": "int64", "timestep": timestep}

    def component(name: str, takes: Mapping[str, tuple[int, ...]], gives: Mapping[str, tuple[int, ...]]) -> Component:
        inputs, outputs = (
            tuple(Tensor(of, shape, types.get(of, "float32")) for of, shape in side.items()) for side in (takes, gives)
        )
        fixed = {"ip_adapter": [{"scale": SCALE}]} if "ip_adapter_scale" in takes else {}
        return Component(name, name, Path(), (), inputs, outputs, fixed)

    gives: dict[str, tuple[int, ...]]
    found = []
    for name in ENCODERS[kind]:
        if name == T5.get(kind):
            ids, gives = T5_TOKENS, {"last_hidden_state": (1, T5_TOKENS, T5_WIDTH)}
        else:
            projected = kind == "sd3" or (kind == "xl" and name == "text_encoder_2")
            pooled = "text_embeds" if projected else "pooler_output"
            ids, gives = TOKENS, {state: (1, TOKENS, WIDTH), pooled: (1, WIDTH)}
        found.append(component(name, {"input_ids": (1, ids)}, gives))
    found.append(component("unet" if kind in ("sd", "xl") else "transformer", inputs, {"sample": sample}))
    if looked:
        found.append(component("image_encoder", {"pixel_values": (1, 3, SIDE, SIDE)}, {looked: seen}))
    found.append(component("vae_decoder", {"latents": (1, *LATENTS)}, {"image": (1, 3, *SIZE)}))
    return {one.name: one for one in found if one.name != without}


_DRAWN: Final = np.random.default_rng(SEED).standard_normal((514, T5_WIDTH)).astype(np.float32)


def _places(count: int) -> Array:
    return np.linspace(1, 2, count, dtype=np.float32)


def clip(ids: Array, *, second: bool) -> tuple[Array, Array]:
    """States and a pooled text."""
    states = _DRAWN[ids, :WIDTH] * _places(ids.shape[1])[:, None] * (-1 if second else 1)
    return states, states.sum(axis=1)


def t5(ids: Array) -> Array:
    """States."""
    return np.asarray(_DRAWN[ids] * _places(ids.shape[1])[:, None] / 2)


def looked_at(pixels: Array) -> dict[str, Array]:
    """What a picture is pooled to, and states, which are none of zeros where that is black."""
    states = pixels.reshape(len(pixels), PATCHES, WIDTH) + _places(PATCHES)[:, None]
    return {"image_embeds": states.mean(axis=1), "hidden_states": states}


def denoised(given: Mapping[str, Array]) -> Array:
    """What a denoiser makes of its inputs, by the names that its graph has for them: another number for each row."""
    sample = given["sample"] if "sample" in given else given["hidden_states"]
    states, time = given["encoder_hidden_states"], given["timestep"].reshape(-1).astype(np.float32)
    told = np.tanh((states * _places(states.shape[1])[:, None]).mean(axis=1)[:, :4])
    for name in ("text_embeds", "pooled_projections"):
        if name in given:
            told = told + np.tanh((given[name] * _places(given[name].shape[1]))[:, -4:])
    if "image_embeds" in given:
        seen = given["image_embeds"].reshape(len(sample), -1, WIDTH)
        told = told + np.tanh((seen * _places(seen.shape[1])[:, None]).mean(axis=1)[:, :4]) * given["ip_adapter_scale"]
    if "time_ids" in given:
        told = told + (given["time_ids"] @ _places(6))[:, None] / 100
    if "guidance" in given:
        told = told + given["guidance"][:, None] / 10
    if sample.ndim == 3:
        places = given["img_ids"] @ _places(3) + given["txt_ids"].sum()
        return np.asarray(
            np.tanh(sample + places[:, None] / 10) * (1 + time)[:, None, None] + told.repeat(4, 1)[:, None]
        )
    return np.asarray(np.tanh(sample) + told[:, :, None, None] * (1 + time / 1000)[:, None, None, None], np.float32)


def decoder(latents: Array) -> Array:
    """A picture of twice the size."""
    return np.asarray(np.tanh(latents[:, :3].repeat(2, axis=2).repeat(2, axis=3) / 8))


class Models:
    """The runtime's backend. `fed` is what each component was given, in its order."""

    def __init__(self) -> None:
        self.fed: list[tuple[str, Mapping[str, Array]]] = []

    def load(self, component: Component) -> Callable[[Mapping[str, Array]], list[Array]]:
        def run(given: Mapping[str, Array]) -> list[Array]:
            self.fed.append((component.name, given))
            if component.name in ("unet", "transformer"):
                return [denoised(given)]
            if component.name == "vae_decoder":
                return [decoder(given["latents"])]
            if component.name == "image_encoder":
                return [looked_at(given["pixel_values"])[component.outputs[0].name]]
            if len(component.outputs) == 1:
                return [t5(given["input_ids"])]
            return [*clip(given["input_ids"], second=component.name == "text_encoder_2")]

        return run


def write_t5_tokenizer(folder: Path) -> None:
    """A sentencepiece model of letters, as `tokenizer.json`, which ends a text as T5 does."""
    letters = [chr(code) for code in range(0x21, 0x7F)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0), *((letter, -2.0) for letter in letters)]
    made = Made(models.Unigram(pieces, 2))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    made.add_special_tokens(["<pad>", "</s>", "<unk>"])
    made.save(str(folder / "tokenizer.json"))
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    config = {**special, "model_max_length": 512, "extra_ids": 0, "tokenizer_class": "T5TokenizerFast"}
    write_json(folder / "tokenizer_config.json", config)


def write_pipeline(folder: Path, kind: str = "sd", *, without: str = "") -> None:
    """What a loop reads of a pipeline's folder."""
    encoders = [name for name in ENCODERS[kind] if name != without]
    for name in ("vae", "scheduler", *(one.replace("text_encoder", "tokenizer") for one in encoders)):
        (folder / name).mkdir()
    for name in encoders:
        if name == T5.get(kind):
            write_t5_tokenizer(folder / name.replace("text_encoder", "tokenizer"))
        else:
            write_tokenizer(folder / name.replace("text_encoder", "tokenizer"), TOKENS)
    shift = {"shift_factor": 0.25} if kind in T5 else {}
    write_json(folder / "vae/config.json", {"scaling_factor": 0.5, "block_out_channels": [1, 1], **shift})
    write_json(folder / "scheduler/scheduler_config.json", FLOW if kind in T5 else SCHEDULER)
    parts = {name: [None, None] if name == without else ["transformers", "Model"] for name in ENCODERS[kind]}
    write_json(folder / "model_index.json", {"_class_name": CLASSES[kind], **parts})


def loop(folder: Path, graphs: Mapping[str, Component], runs: Models | None = None) -> TextToImage:
    """The loop over these components."""
    return TextToImage(Pipeline(Manifest(folder, "lite", "", graphs), runs or Models()), folder)


def changed(path: Path, **values: Any) -> None:
    """Give a configuration other values."""
    write_json(path, {**json.loads(path.read_text()), **values})
