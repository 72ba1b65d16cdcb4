"""Weights of checkpoints: safetensors files, shards and their index, and single files under original names."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from attnfuse.mindir.dtypes import FLOAT16, FLOAT32
from attnfuse.mindir.tensorfile import TensorFile
from attnfuse.names import some
from attnfuse.tracing.checkpoint import damage, find_files, has_weights, read_tensors, read_values, stored_tensors
from attnfuse.tracing.contract import FLOAT_DTYPES
from attnfuse.tracing.folder import read_json, read_pipeline
from attnfuse.tracing.layout import clip_text_tensors, vae_tensors
from attnfuse.tracing.original import original_tensors, parts_in, with_checkpoint
from attnfuse.tracing.quantisation import quantisation_of, quantised_tensors
from attnfuse.tracing.stored_types import choose_dtype, stored_in
from tests.support.checkpoints import SMALL_VAE, XL_TEXT_ENCODER
from tools.fuzz.cases import Kind, Seed
from tools.fuzz.documents import edit_json
from tools.fuzz.kinds.pipeline import configs_of
from tools.fuzz.tensor_files import edit_tensors, tensor_file

_STEM = "diffusion_pytorch_model"
_PART = "vae"
_SINGLE = "model.safetensors"
_TINY = {"block_out_channels": [4, 4], "latent_channels": 2, "norm_num_groups": 2}
_TEXT = {**XL_TEXT_ENCODER, "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "vocab_size": 8}


@cache
def _seeds() -> tuple[Seed, ...]:
    vae = {**SMALL_VAE, **_TINY}
    configs = configs_of("", "StableDiffusionPipeline", {_PART: vae, "text_encoder": _TEXT}, "DDIMScheduler", {})
    tensors = {name: ("F16", shape) for name, shape in vae_tensors(vae)}
    kinds = {"F32": ("F32", (2, 3)), "BF16": ("BF16", (3,)), "F8": ("F8_E4M3", (4,)), "I64": ("I64", (1,))}
    kinds |= {"weight": ("I8", (4, 2)), "weight.scale": ("F32", ()), "empty": ("F16", (0, 2))}
    several = {f"{key}.x": value for key, value in kinds.items()}
    whole = {f"{_PART}/{_STEM}.safetensors": tensor_file(several, metadata={"format": "pt"})}
    names = [f"{_STEM}-0000{at}-of-00002.safetensors" for at in (1, 2)]
    halves = [dict(list(several.items())[at::2]) for at in (0, 1)]
    index = {"metadata": {"total_size": 80}, "weight_map": {k: names[at] for at in (0, 1) for k in halves[at]}}
    shards = {f"{_PART}/{name}": tensor_file(half) for name, half in zip(names, halves, strict=True)}
    shards[f"{_PART}/{_STEM}.safetensors.index.json"] = json.dumps(index).encode()
    original = {f"first_stage_model.{_as_published(k)}": v for k, v in list(tensors.items())[:24]}
    texts = {f"cond_stage_model.transformer.{k}": ("F32", shape) for k, shape in clip_text_tensors(_TEXT)}
    single = {_SINGLE: tensor_file({**original, **texts, "alphas_cumprod": ("F32", (4,))})}
    return (
        Seed("one file", {**configs, **whole}),
        Seed("shards", {**configs, **shards}),
        Seed("a single file", {**configs, **single}),
    )


def _as_published(key: str) -> str:
    return key.replace(".resnets.", ".block.").replace("down_blocks", "down")


def _list(folder: Path) -> None:
    has_weights(folder / _PART)
    damage(folder / _PART, "diffusers")
    held = stored_tensors(folder / _PART, "diffusers")
    choose_dtype(held, {}, FLOAT_DTYPES)
    stored_in(held)
    quantised_tensors(held)
    pipeline = read_pipeline(folder)
    if _PART in pipeline.classes:
        quantisation_of(pipeline, _PART, held)
    read_tensors(find_files(folder / _PART, "diffusers"))


def _stream(folder: Path) -> None:
    """As weights are streamed into an output."""
    for file in find_files(folder / _PART, "diffusers"):
        held = TensorFile(file)
        for key, tensor in read_tensors((file,)).items():
            list(held.read(key, FLOAT16 if tensor.dtype != "float16" else FLOAT32, []))
            read_values(tensor)


def _single(folder: Path) -> None:
    file = folder / _SINGLE
    parts_in(file)
    pipeline = with_checkpoint(read_pipeline(folder), file)
    for part in pipeline.in_checkpoint:
        config = read_json(folder / part / "config.json")
        some(list(original_tensors(file, part, pipeline.classes[part], config)) or ["none"])


KIND = Kind(
    "safetensors",
    _seeds,
    {edit_tensors: 70, edit_json: 10},
    {"list": _list, "stream": _stream, "single": _single},
    (
        *("attnfuse.mindir.tensorfile", "attnfuse.mindir.foreign", "attnfuse.mindir.taken"),
        *("attnfuse.tracing.checkpoint", "attnfuse.tracing.original", "attnfuse.tracing.quantisation"),
    ),
)
