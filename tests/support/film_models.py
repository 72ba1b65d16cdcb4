"""Models for the loops of films, and of Qwen-Image: small functions in numpy, and the components of a manifest.

As `loop_models` has them for pictures: each tells apart all that goes into it, its order and its place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from tokenizers import AddedToken, models, pre_tokenizers
from tokenizers import Tokenizer as Made

from attnfuse.tracing.demo import write_json
from attnfuse_runtime.manifest import SCHEMA, Component, Manifest, Tensor
from attnfuse_runtime.noise import Array
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.text_to_image import TextToImage
from attnfuse_runtime.text_to_video import TextToVideo
from tests.support.loop_models import write_t5_tokenizer

WIDTH, TOKENS, QWEN_TOKENS, SIDE = 24, 12, 230, 20
SEEN: Final = (3, 24)
"""Tokens that an image encoder makes of a picture, and their width."""
UNIPC: Final = {
    "_class_name": "UniPCMultistepScheduler",
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "flow_shift": 3.0,
}
FLOW: Final = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "use_dynamic_shifting": True,
    "base_shift": 0.95,
    "max_shift": 2.05,
    "base_image_seq_len": 1024,
    "shift_terminal": 0.1,
}


@dataclass(frozen=True)
class Kind:
    """A pipeline of films.

    `factors` are the frames and pixels of a latent, `latents` its channels, frames, height and width. `given` are
    pictures that a transformer sees. `index` is what `model_index.json` says beside parts, `vae` the VAE's
    configuration.
    """

    name: str
    factors: tuple[int, int]
    latents: tuple[int, int, int, int]
    scheduler: Mapping[str, Any]
    pictures: bool = False
    given: int = 0
    index: Mapping[str, Any] = field(default_factory=dict)
    vae: Mapping[str, Any] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """Of a film."""
        return (self.latents[1] - 1) * self.factors[0] + 1

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.latents[2] * self.factors[1], self.latents[3] * self.factors[1]

    @property
    def packed(self) -> bool:
        """Whether latents are tokens."""
        return not self.name.startswith("Wan")

    @property
    def apart(self) -> bool:
        """Whether patches have timesteps of their own."""
        return bool(self.index.get("expand_timesteps"))

    @property
    def second(self) -> bool:
        """Whether there are two transformers."""
        return "boundary_ratio" in self.index

    @property
    def tokens(self) -> int:
        """Of latents, packed."""
        return int(np.prod(self.latents[1:]))


_MEANS: Final = {"latents_mean": [0.25, -0.5, 0.75, 0.125], "latents_std": [1.5, 0.75, 2.0, 1.25]}
_WAN_VAE: Final = {**_MEANS, "z_dim": 4}
_WAN: Final[dict[str, Any]] = {"factors": (4, 8), "latents": (4, 2, 2, 4), "scheduler": UNIPC, "vae": _WAN_VAE}
_LTX: Final[dict[str, Any]] = {
    "factors": (8, 32),
    "latents": (4, 2, 1, 2),
    "scheduler": FLOW,
    "vae": {"latent_channels": 4, "scaling_factor": 0.5},
}
_TWO: Final = {"boundary_ratio": 0.9}
_APART: Final = {"expand_timesteps": True}
KINDS: Final[Mapping[str, Kind]] = {
    "wan": Kind("WanPipeline", **_WAN),
    "wan_two": Kind("WanPipeline", **_WAN, index=_TWO),
    "wan_apart": Kind("WanPipeline", **_WAN, index=_APART),
    "wan_image": Kind("WanImageToVideoPipeline", **_WAN, pictures=True, given=1),
    "wan_last": Kind("WanImageToVideoPipeline", **_WAN, pictures=True, given=2),
    "wan_image_two": Kind("WanImageToVideoPipeline", **_WAN, pictures=True, index=_TWO),
    "wan_image_apart": Kind("WanImageToVideoPipeline", **_WAN, pictures=True, index=_APART),
    "ltx": Kind("LTXPipeline", **_LTX),
    "ltx_noise": Kind("LTXPipeline", **{**_LTX, "vae": {**_LTX["vae"], "timestep_conditioning": True}}),
    "ltx_image": Kind("LTXImageToVideoPipeline", **_LTX, pictures=True),
    "qwen": Kind(
        "QwenImagePipeline",
        factors=(4, 8),
        latents=(4, 1, 4, 2),
        scheduler={**FLOW, "max_shift": 0.9, "shift_terminal": 0.02},
        vae={**_WAN_VAE, "temperal_downsample": [False, True, True]},
    ),
}


def tensors(shapes: Mapping[str, tuple[int, ...]], types: Mapping[str, str]) -> tuple[Tensor, ...]:
    """Of these shapes, float32 where no type is told."""
    return tuple(Tensor(name, shape, types.get(name, "float32")) for name, shape in shapes.items())


def components(kind: str, *, rows: int = 1, whole: bool = True, without: str = "") -> dict[str, Component]:
    """As a manifest has them, for one film a run; timesteps are whole numbers where the scheduler's are."""
    of = KINDS[kind]
    qwen = kind == "qwen"
    channels, deep, high, wide = of.latents
    types = dict.fromkeys(("input_ids", "attention_mask", "encoder_hidden_states_mask"), "int64")
    types["encoder_attention_mask"] = "bool"
    types |= {"timestep": "int64"} if whole and not of.packed else {}
    found: list[Component] = []

    def add(name: str, takes: Mapping[str, tuple[int, ...]], gives: Mapping[str, tuple[int, ...]]) -> None:
        found.append(Component(name, name, Path(), (), tensors(takes, types), tensors(gives, types)))

    tokens = QWEN_TOKENS if qwen else TOKENS
    ids = (1, tokens + 34 if qwen else tokens)
    masked = {} if kind.startswith("ltx") else {"attention_mask": ids}
    add("text_encoder", {"input_ids": ids, **masked}, {"last_hidden_state": (1, ids[1], WIDTH)})
    if of.given:
        add("image_encoder", {"pixel_values": (of.given, 3, SIDE, SIDE)}, {"image_embeds": (of.given, *SEEN)})
    if of.packed:
        side = 2 if qwen else 1
        sample: tuple[int, ...] = (rows, of.tokens // side**2, channels * side**2)
    else:
        sample = (rows, channels, deep, high, wide)
    inputs: dict[str, tuple[int, ...]] = {"hidden_states": sample, "encoder_hidden_states": (rows, tokens, WIDTH)}
    if of.pictures and not of.packed and not of.apart:
        inputs["hidden_states"] = (rows, 2 * channels + of.factors[0], deep, high, wide)
    if of.apart:
        inputs["patch_timesteps"] = (rows, deep * high * wide // 4)
    elif kind == "ltx_image":
        inputs["token_timesteps"] = sample[:2]
    else:
        inputs["timestep"] = (rows,)
    if kind.startswith("ltx"):
        inputs["encoder_attention_mask"] = (rows, tokens)
    if qwen:
        inputs["encoder_hidden_states_mask"] = (rows, tokens)
    if of.given:
        inputs["encoder_hidden_states_image"] = (rows * of.given, *SEEN)
    inputs = {name: shape for name, shape in inputs.items() if name != without}
    for name in ("transformer", "transformer_2")[: 1 + of.second]:
        add(name, inputs, {"sample": sample})
    noisy = {"timestep": (1,)} if of.vae.get("timestep_conditioning") else {}
    film = (1, 3, of.frames, *of.size)
    types.pop("timestep", None)
    add("vae_decoder", {"latents": (1, *of.latents), **noisy}, {"video": film})
    if of.pictures:
        seen = (1, 3, 1 if of.apart or of.packed else of.frames, *of.size)
        add("vae_encoder", {"video": seen}, {"moments": (1, 2 * channels, 1 if seen[2] == 1 else deep, high, wide)})
    return {one.name: one for one in found}


_DRAWN: Final = np.random.default_rng(7).standard_normal((514, WIDTH)).astype(np.float32)


def _places(count: int) -> Array:
    """Weights that tell places apart, whatever is behind them."""
    return np.asarray(1 + np.arange(count, dtype=np.float32) / 64)


def text_states(ids: Array, mask: Array | None = None) -> Array:
    """States, which tell what is filled up."""
    states = _DRAWN[ids % len(_DRAWN)] * _places(ids.shape[1])[:, None]
    return np.asarray(states if mask is None else states * (1 + mask[:, :, None].astype(np.float32)))


def picture_states(values: Array) -> Array:
    """Of each picture."""
    sums = (values * _places(values.shape[-1])).mean(axis=(2, 3))
    return np.asarray(np.tanh(sums.repeat(8, axis=1))[:, None] * _places(SEEN[0])[:, None], np.float32)


def _told(given: Mapping[str, Array]) -> Array:
    """Four numbers for each row, of its texts and pictures."""
    states = given["encoder_hidden_states"]
    seen = np.ones(states.shape[:2], np.float32)
    if "encoder_attention_mask" in given:
        seen = 1 + given["encoder_attention_mask"].astype(np.float32)
    if "encoder_hidden_states_mask" in given:
        seen = given["encoder_hidden_states_mask"].astype(np.float32)
    # One after the other: more that is not seen leaves the sums as they are.
    sums = np.cumsum(states * (seen * _places(states.shape[1]))[:, :, None], axis=1, dtype=np.float64)[:, -1, :4]
    # A token counts though its state is zero, as it does for a key of attention.
    told = np.tanh((sums + seen.sum(axis=1)[:, None] / 8) / 64)
    if "encoder_hidden_states_image" in given:
        pictures = given["encoder_hidden_states_image"].reshape(len(told), -1)
        told = told + np.tanh(pictures @ _places(pictures.shape[1]))[:, None]
    return np.asarray(told, np.float32)


def denoised(given: Mapping[str, Array], *, second: bool = False) -> Array:
    """What a transformer makes of its inputs, by the names that its graph has for them."""
    sample, told = given["hidden_states"], _told(given)
    time = next(given[name] for name in ("timestep", "patch_timesteps", "token_timesteps") if name in given)
    time = time.astype(np.float32) / 1000
    if sample.ndim == 3:
        time = time.reshape(len(sample), -1, 1)
        return np.asarray(np.tanh(sample) * (1 + time) + np.tile(told, sample.shape[2] // 4)[:, None], np.float32)
    rows, channels, deep, high, wide = sample.shape
    if time.ndim == 2:
        time = time.reshape(rows, 1, deep, high // 2, wide // 2).repeat(2, axis=3).repeat(2, axis=4)
    else:
        time = time.reshape(rows, 1, 1, 1, 1)
    more = sample[:, 4:] * _places(channels - 4)[:, None, None, None]
    own = np.tanh(sample[:, :4] + more.sum(axis=1, keepdims=True) / 8)
    made = own * (1 + time) + told[:, :, None, None, None]
    return np.asarray(-made if second else made, np.float32)


def decoded(latents: Array, factors: tuple[int, int], timestep: Array | None = None) -> Array:
    """A film."""
    films = np.tanh(latents[:, :3] / 8 if timestep is None else latents[:, :3] / 8 + timestep.reshape(-1, 1, 1, 1, 1))
    films = films.repeat([1, *[factors[0]] * (films.shape[2] - 1)], axis=2)
    return np.asarray(films.repeat(factors[1], axis=3).repeat(factors[1], axis=4), np.float32)


def encoded(video: Array, factors: tuple[int, int], channels: int) -> Array:
    """Mean and log-variance of its latents."""
    rows, _, frames, high, _ = video.shape
    every = np.concatenate([video[:, :, :1].repeat(factors[0], axis=2), video[:, :, 1:]], axis=2)
    shape = (rows, 3, (frames - 1) // factors[0] + 1, factors[0], high // factors[1], factors[1], -1, factors[1])
    sums = np.einsum("bcfthiwj,t,i,j->bcfhw", every.reshape(shape), *map(_places, (factors[0], *[factors[1]] * 2)))
    mixed = np.linspace(-1, 1, 6 * channels).reshape(2 * channels, 3)
    return np.asarray(np.einsum("kc,bcfhw->bkfhw", mixed, np.tanh(sums / factors[1] ** 2)), np.float32)


class Models:
    """The runtime's backend. `fed` is what each component was given, in its order."""

    def __init__(self, kind: str) -> None:
        self.kind = KINDS[kind]
        self.fed: list[tuple[str, Mapping[str, Array]]] = []

    def load(self, component: Component) -> Callable[[Mapping[str, Array]], list[Array]]:
        def run(given: Mapping[str, Array]) -> list[Array]:
            self.fed.append((component.name, given))
            if component.name.startswith("transformer"):
                return [denoised(given, second=component.name == "transformer_2")]
            if component.name == "vae_decoder":
                return [decoded(given["latents"], self.kind.factors, given.get("timestep"))]
            if component.name == "vae_encoder":
                return [encoded(given["video"], self.kind.factors, self.kind.latents[0])]
            if component.name == "image_encoder":
                return [picture_states(given["pixel_values"])]
            return [text_states(given["input_ids"], given.get("attention_mask"))]

        return run


def write_byte_tokenizer(folder: Path) -> None:
    """A tokenizer of bytes that knows Qwen's marks."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Made(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.add_special_tokens([AddedToken(one, normalized=False) for one in special])
    made.save(str(folder / "tokenizer.json"))
    config = {"pad_token": special[0], "eos_token": special[2], "model_max_length": 131072}
    write_json(folder / "tokenizer_config.json", {**config, "tokenizer_class": "PreTrainedTokenizerFast"})


def write_pipeline(folder: Path, kind: str) -> None:
    """What a loop reads of a pipeline's folder."""
    of = KINDS[kind]
    parts = ["text_encoder", "tokenizer", "transformer", "vae", "scheduler"]
    parts += ["transformer_2"] if of.second else []
    parts += ["image_encoder", "image_processor"] if of.given else []
    for name in parts:
        (folder / name).mkdir()
    index = {"_class_name": of.name, **of.index, **{name: ["diffusers", "Model"] for name in parts}}
    write_json(folder / "model_index.json", index)
    write_json(folder / "vae/config.json", of.vae)
    write_json(folder / "scheduler/scheduler_config.json", of.scheduler)
    if of.given:
        processor = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}, "resample": 3}
        means = {"image_mean": [0.4815, 0.4578, 0.4082], "image_std": [0.2686, 0.2613, 0.2758]}
        write_json(folder / "image_processor/preprocessor_config.json", {**processor, **means})
    (write_byte_tokenizer if kind == "qwen" else write_t5_tokenizer)(folder / "tokenizer")


def _pipeline(folder: Path, kind: str, graphs: Mapping[str, Component], runs: Models | None) -> Pipeline:
    # LTX's means are among its VAE's weights, which a compile reads.
    told = {"vae": _MEANS} if kind.startswith("ltx") else {}
    return Pipeline(Manifest(folder, "lite", "", graphs, told), runs or Models(kind))


def manifest_of(kind: str) -> dict[str, Any]:
    """The document of a manifest of these components, whose graphs are empty files."""

    def told(tensor: Tensor) -> dict[str, Any]:
        return {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}

    entries = [
        {
            "name": name,
            "owner": name,
            "base": None,
            "graph": f"{name}_graph.mindir",
            "variables": [],
            "config": None,
            "inputs": list(map(told, one.inputs)),
            "outputs": list(map(told, one.outputs)),
            "fixed": [],
        }
        for name, one in components(kind).items()
    ]
    empty = {"bytes": 0, "sha256": hashlib.sha256().hexdigest()}
    return {
        "schema": SCHEMA,
        "runtime": "lite",
        "soc": "ascend910b",
        "components": entries,
        "pipeline": None,
        "outputs": {entry["graph"]: empty for entry in entries},
    }


def loop(folder: Path, kind: str, graphs: Mapping[str, Component], runs: Models | None = None) -> TextToVideo:
    """The loop over these components."""
    return TextToVideo(_pipeline(folder, kind, graphs, runs), folder)


def picture_loop(folder: Path, graphs: Mapping[str, Component], runs: Models | None = None) -> TextToImage:
    """That of Qwen-Image."""
    return TextToImage(_pipeline(folder, "qwen", graphs, runs), folder)
