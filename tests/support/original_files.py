"""Writes a pipeline's weights as one file, under the names that its models were first published with.

The way there, of which attnfuse has the way back: after diffusers' `convert_diffusers_to_original_stable_diffusion.py`
and `convert_diffusers_to_original_sdxl.py`, and Black Forest Labs' `model.py` for Flux. Shares nothing with
`attnfuse.original_names`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

Tensors = dict[str, Any]

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}


def unet(tensors: Tensors, config: Mapping[str, Any]) -> Tensors:
    """LDM's and SGM's names of a UNet."""
    step = config["layers_per_block"] + 1
    made = {}
    for key, value in tensors.items():
        module, leaf = key.rsplit(".", 1)
        if module in _UNET:
            name = _UNET[module]
        elif found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", module):
            resnet = found[1] == "resnets"
            name = f"middle_block.{2 * int(found[2]) if resnet else 1}.{_RESNET[found[3]] if resnet else found[3]}"
        else:
            side, number, kind, layer, rest = re.fullmatch(r"(\w+)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", module).groups()  # type: ignore[union-attr]
            block, at = int(number) * step, int(layer)
            if kind == "downsamplers":
                name = f"input_blocks.{block + step}.0.op"
            elif kind == "upsamplers":
                attends = any(one.startswith(f"up_blocks.{number}.attentions") for one in tensors)
                name = f"output_blocks.{block + step - 1}.{2 if attends else 1}.conv"
            else:
                inner = f"0.{_RESNET[rest]}" if kind == "resnets" else f"1.{rest}"
                name = (
                    f"input_blocks.{block + at + 1}.{inner}"
                    if side == "down"
                    else f"output_blocks.{block + at}.{inner}"
                )
        made[f"{name}.{leaf}"] = value
    return made


def vae(tensors: Tensors, config: Mapping[str, Any]) -> Tensors:
    """LDM's names of a VAE, whose attention projects with convolutions."""
    levels = len(config["block_out_channels"])
    made = {}
    for key, value in tensors.items():
        name = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        name = re.sub(r"up_blocks\.(\d)", lambda m: f"up.{levels - 1 - int(m[1])}", name)
        name = name.replace("down_blocks.", "down.").replace("samplers.0.", "sample.").replace(".resnets.", ".block.")
        if "mid_block.attentions.0" in name:
            name = name.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm", "norm")
            name = name.replace("to_out.0", "proj_out").replace(".to_", ".")
            value = value.reshape(*value.shape, 1, 1) if value.ndim == 2 else value
        made[name] = value
    return made


_OPEN_CLIP = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm": "ln_final",
    "text_model.encoder.layers.": "transformer.resblocks.",
    "layer_norm": "ln_",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def open_clip(tensors: Tensors, config: Mapping[str, Any]) -> Tensors:
    """OpenCLIP's names of a text encoder: one tensor for query, key and value, and the projection the other way."""
    made: Tensors = {"logit_scale": np.float32(4.6)}
    for key, value in tensors.items():
        name = key
        for ours, theirs in _OPEN_CLIP.items():
            name = name.replace(ours, theirs)
        if name == "text_projection.weight":
            made["text_projection"] = value.T
        elif found := re.fullmatch(r"(.+)\.self_attn\.q_proj\.(weight|bias)", name):
            parts = [tensors[key.replace("q_proj", f"{one}_proj")] for one in "qkv"]
            made[f"{found[1]}.attn.in_proj_{found[2]}"] = np.concatenate(parts)
        elif ".self_attn." not in name:
            made[name] = value
    return made


def clip(tensors: Tensors, config: Mapping[str, Any]) -> Tensors:
    """OpenAI's CLIP as transformers has it, with the buffer that it had then."""
    positions = np.arange(config["max_position_embeddings"])[None]
    return {**tensors, "text_model.embeddings.position_ids": positions}


_FLUX = {
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "context_embedder": "txt_in",
    "x_embedder": "img_in",
    "proj_out": "final_layer.linear",
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "attn.norm_q": "img_attn.norm.query_norm",
    "attn.norm_k": "img_attn.norm.key_norm",
    "attn.norm_added_q": "txt_attn.norm.query_norm",
    "attn.norm_added_k": "txt_attn.norm.key_norm",
}
_FLUX_SINGLE = {
    "norm.linear": "modulation.lin",
    "attn.norm_q": "norm.query_norm",
    "attn.norm_k": "norm.key_norm",
    "proj_out": "linear2",
}
_JOINED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "transformer_blocks": {
        "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
        "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    },
    "single_transformer_blocks": {"linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")},
}


def flux(tensors: Tensors, config: Mapping[str, Any]) -> Tensors:
    """Black Forest Labs' names of Flux's transformer."""
    made: Tensors = {}
    for key, value in tensors.items():
        module, leaf = key.rsplit(".", 1)
        found = re.fullmatch(r"(single_)?transformer_blocks\.(\d+)\.(.+)", module)
        if found is None and module == "norm_out.linear":
            scale, shift = np.split(value, 2)
            made[f"final_layer.adaLN_modulation.1.{leaf}"] = np.concatenate([shift, scale])
        elif found is None:
            made[f"{_FLUX[module]}.{leaf}"] = value
        else:
            single, number, rest = found.groups()
            block = f"{'single' if single else 'double'}_blocks.{number}"
            before = module.removesuffix(rest)
            for joined, parts in _JOINED[f"{single or ''}transformer_blocks"].items():
                if rest == parts[0]:
                    values = [tensors[f"{before}{part}.{leaf}"] for part in parts]
                    made[f"{block}.{joined}.{leaf}"] = np.concatenate(values)
            name = (_FLUX_SINGLE if single else _FLUX).get(rest)
            if name is not None:
                made[f"{block}.{name}.{'scale' if name.endswith('_norm') else leaf}"] = value
    return made


Names = Callable[[Tensors, Mapping[str, Any]], Tensors]

SD15: Mapping[str, tuple[str, Names]] = {
    "unet": ("model.diffusion_model.", unet),
    "vae": ("first_stage_model.", vae),
    "text_encoder": ("cond_stage_model.transformer.", clip),
}
SDXL: Mapping[str, tuple[str, Names]] = {
    "unet": ("model.diffusion_model.", unet),
    "vae": ("first_stage_model.", vae),
    "text_encoder": ("conditioner.embedders.0.transformer.", clip),
    "text_encoder_2": ("conditioner.embedders.1.model.", open_clip),
}
FLUX: Mapping[str, tuple[str, Names]] = {"transformer": ("", flux)}

#: Of training, and of the scheduler: every file of Stable Diffusion 1 has such.
_BESIDE: Tensors = {
    "alphas_cumprod": np.linspace(1, 0, 1000, dtype=np.float32),
    "model_ema.decay": np.float32(0.9999),
    "model_ema.diffusion_modelout2bias": np.zeros(4, np.float32),
}


def write_original(folder: Path, file: Path, kind: Mapping[str, tuple[str, Names]], **beside: Any) -> Path:
    """Write the weights of the pipeline in `folder` into one file, and return it; `beside` are more tensors."""
    made: Tensors = dict(_BESIDE) if "vae" in kind else {}
    for part, (prefix, names) in kind.items():
        (weights,) = (folder / part).glob("*.safetensors")
        config = json.loads((folder / part / "config.json").read_text())
        made |= {f"{prefix}{name}": value for name, value in names(load_file(weights), config).items()}
    save_file({name: np.ascontiguousarray(value) for name, value in {**made, **beside}.items()}, file)
    return file


def without_weights(folder: Path) -> Path:
    """Take the weights of the parts away, and return the folder."""
    for weights in folder.glob("*/*.safetensors"):
        weights.unlink()
    return folder
