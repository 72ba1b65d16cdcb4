"""The names that models had where they were first published, in those of diffusers: LDM's and SGM's UNets, Flux's.

Sources: mindone's `loaders/single_file_utils.py` (`convert_ldm_unet_checkpoint`, `convert_ldm_vae_checkpoint`,
`convert_open_clip_checkpoint`, `convert_flux_transformer_checkpoint_to_diffusers`), diffusers' of the same names.
A name is that of a module, without ".weight"; where LoRA files write "_" for every ".", so do the names here.

Imports nothing of the project.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

Rows = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """A tensor under the name it has in diffusers, made of one under its original name.

    `rows` are runs of its first axis, one after the other, in parts of which all of it has `of`; none means all of it.
    With `transposed` its two axes are exchanged. `leaf` is what follows the module: "weight", "bias".
    """

    module: str
    leaf: str
    rows: Rows = ()
    of: int = 1
    transposed: bool = False


_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "emb_layers.1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}
_UNET_MODULES = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


def unet(module: str, leaf: str, config: Mapping[str, Any], separator: str = ".") -> Iterator[Piece]:
    """A module of a UNet of LDM or SGM; nothing where it is none. `config` is the model's config.json."""
    layers = config.get("layers_per_block", 2)
    name = _unet(module, layers if isinstance(layers, int) else 2, config, separator)
    if name:
        yield Piece(name, leaf)


def _unet(module: str, layers: int, config: Mapping[str, Any], separator: str) -> str:
    dotted = {key.replace(".", separator): value.replace(".", separator) for key, value in _UNET_MODULES.items()}
    embedding = "add_embedding" if config.get("addition_embed_type") == "text_time" else "class_embedding"
    for index, linear in (("0", "linear_1"), ("2", "linear_2")):
        dotted[separator.join(("label_emb", "0", index))] = f"{embedding}{separator}{linear}"
    if module in dotted:
        return dotted[module]
    s = re.escape(separator)
    found = re.fullmatch(rf"(input_blocks|middle_block|output_blocks){s}(\d+)(?:{s}(\d+))?{s}(.+)", module)
    if found is None:
        return ""
    where, inner, rest = found[1], found[3], found[4]
    place = int(found[2])
    if where == "middle_block":
        rest = f"{inner}{separator}{rest}" if inner is not None else rest
        kind, own = ("attentions", 0) if place == 1 else ("resnets", int(place > 0))
        return _joined(("mid_block", kind, str(own)), _resnet(rest, kind, separator), separator)
    if inner is None:
        return ""
    block, layer = divmod(place - (where == "input_blocks"), layers + 1)
    side = "down_blocks" if where == "input_blocks" else "up_blocks"
    if where == "input_blocks" and rest == "op":
        return _joined((side, str(block), "downsamplers", "0"), "conv", separator)
    if where == "output_blocks" and rest == "conv":
        return _joined((side, str(block), "upsamplers", "0"), "conv", separator)
    kind = "resnets" if inner == "0" else "attentions"
    return _joined((side, str(block), kind, str(layer)), _resnet(rest, kind, separator), separator)


def _joined(parts: tuple[str, ...], rest: str, separator: str) -> str:
    return separator.join((*parts, rest))


def _resnet(rest: str, kind: str, separator: str) -> str:
    if kind == "attentions":
        return rest
    return {key.replace(".", separator): value for key, value in _RESNET.items()}.get(rest, rest)


_QKV = ("q", "k", "v")
_THIRDS: tuple[Rows, ...] = (((0, 1),), ((1, 2),), ((2, 3),))
_SWAPPED: Rows = ((1, 2), (0, 1))

#: Modules of Flux with the same tensors under another name; {i} is the number of a block.
_FLUX: Mapping[str, str] = {
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "txt_in": "context_embedder",
    "img_in": "x_embedder",
    "final_layer.linear": "proj_out",
    "double_blocks.{i}.img_mod.lin": "transformer_blocks.{i}.norm1.linear",
    "double_blocks.{i}.txt_mod.lin": "transformer_blocks.{i}.norm1_context.linear",
    "double_blocks.{i}.img_attn.norm.query_norm": "transformer_blocks.{i}.attn.norm_q",
    "double_blocks.{i}.img_attn.norm.key_norm": "transformer_blocks.{i}.attn.norm_k",
    "double_blocks.{i}.txt_attn.norm.query_norm": "transformer_blocks.{i}.attn.norm_added_q",
    "double_blocks.{i}.txt_attn.norm.key_norm": "transformer_blocks.{i}.attn.norm_added_k",
    "double_blocks.{i}.img_mlp.0": "transformer_blocks.{i}.ff.net.0.proj",
    "double_blocks.{i}.img_mlp.2": "transformer_blocks.{i}.ff.net.2",
    "double_blocks.{i}.txt_mlp.0": "transformer_blocks.{i}.ff_context.net.0.proj",
    "double_blocks.{i}.txt_mlp.2": "transformer_blocks.{i}.ff_context.net.2",
    "double_blocks.{i}.img_attn.proj": "transformer_blocks.{i}.attn.to_out.0",
    "double_blocks.{i}.txt_attn.proj": "transformer_blocks.{i}.attn.to_add_out",
    "single_blocks.{i}.modulation.lin": "single_transformer_blocks.{i}.norm.linear",
    "single_blocks.{i}.norm.query_norm": "single_transformer_blocks.{i}.attn.norm_q",
    "single_blocks.{i}.norm.key_norm": "single_transformer_blocks.{i}.attn.norm_k",
    "single_blocks.{i}.linear2": "single_transformer_blocks.{i}.proj_out",
}
#: Those that are cut into several, each with its rows.
_FLUX_PARTS: Mapping[str, tuple[Piece, ...]] = {
    "double_blocks.{i}.img_attn.qkv": tuple(
        Piece(f"transformer_blocks.{{i}}.attn.to_{name}", "", rows, 3) for name, rows in zip(_QKV, _THIRDS, strict=True)
    ),
    "double_blocks.{i}.txt_attn.qkv": tuple(
        Piece(f"transformer_blocks.{{i}}.attn.add_{name}_proj", "", rows, 3)
        for name, rows in zip(_QKV, _THIRDS, strict=True)
    ),
    # The hidden width is the same in all, that of the feed-forward layer four times as large.
    "single_blocks.{i}.linear1": (
        *(
            Piece(f"single_transformer_blocks.{{i}}.attn.to_{name}", "", rows, 7)
            for name, rows in zip(_QKV, _THIRDS, strict=True)
        ),
        Piece("single_transformer_blocks.{i}.proj_mlp", "", ((3, 7),), 7),
    ),
    "final_layer.adaLN_modulation.1": (Piece("norm_out.linear", "", _SWAPPED, 2),),
}


@cache
def _flux_patterns(separator: str) -> tuple[tuple[re.Pattern[str], tuple[Piece, ...]], ...]:
    whole = {original: (Piece(name, ""),) for original, name in _FLUX.items()}
    return tuple(
        (re.compile(re.escape(original.replace(".", separator)).replace(r"\{i\}", r"(\d+)")), pieces)
        for original, pieces in {**whole, **_FLUX_PARTS}.items()
    )


def flux(module: str, leaf: str, config: Mapping[str, Any], separator: str = ".") -> Iterator[Piece]:
    """A module of a transformer of Flux; nothing where it is none. A norm's `scale` is its weight."""
    for pattern, pieces in _flux_patterns(separator):
        found = pattern.fullmatch(module)
        if found is not None:
            number = found[1] if pattern.groups else ""
            for piece in pieces:
                name = piece.module.replace("{i}", number)
                yield replace(piece, module=name, leaf="weight" if leaf == "scale" else leaf)
            return


ORIGINALS = {"UNet2DConditionModel": unet, "FluxTransformer2DModel": flux}
"""The denoisers whose original names are known, by class."""
