"""The names that models had where they were first published, in those of diffusers.

LDM's and SGM's UNets and VAEs (Stable Diffusion 1, 2, XL), OpenCLIP's text encoders, Flux's transformers.

Sources: mindone's `loaders/single_file_utils.py` (`convert_ldm_unet_checkpoint`, `convert_ldm_vae_checkpoint`,
`convert_open_clip_checkpoint`, `convert_flux_transformer_checkpoint_to_diffusers`), diffusers' of the same names.
A name is that of a module, without ".weight"; where LoRA files write "_" for every ".", so do the names here.

Imports nothing of the project.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeAlias

Rows = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """A tensor under the name it has in diffusers, made of one under its original name.

    `rows` are runs of its first axis, one after the other, in parts of which all of it has `of`; none means all of it.
    With `transposed` its two axes are exchanged; `flat` leaves out those of size 1 behind the second. `leaf` is what
    follows the module: "weight", "bias".
    """

    module: str
    leaf: str
    rows: Rows = ()
    of: int = 1
    transposed: bool = False
    flat: bool = False


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
    "label_emb": "class_embedding",
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
    found = re.fullmatch(rf"(input_blocks|middle_block|output_blocks){s}(\d{{1,9}})(?:{s}(\d{{1,9}}))?{s}(.+)", module)
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


_Table: TypeAlias = tuple[tuple[re.Pattern[str], tuple[Piece, ...]], ...]


def _table(whole: Mapping[str, str], parts: Mapping[str, tuple[Piece, ...]], separator: str = ".") -> _Table:
    """Patterns of original names, with what each becomes; {i} is a number."""
    pieces = {**{original: (Piece(name, ""),) for original, name in whole.items()}, **parts}
    return tuple(
        (re.compile(re.escape(original.replace(".", separator)).replace(r"\{i\}", r"(\d{1,9})")), made)
        for original, made in pieces.items()
    )


def _looked_up(table: _Table, name: str) -> Iterator[Piece]:
    for pattern, pieces in table:
        if (found := pattern.fullmatch(name)) is not None:
            number = found[1] if pattern.groups else ""
            yield from (replace(piece, module=piece.module.replace("{i}", number)) for piece in pieces)
            return


@cache
def _flux_table(separator: str) -> _Table:
    return _table(_FLUX, _FLUX_PARTS, separator)


def flux(module: str, leaf: str, config: Mapping[str, Any], separator: str = ".") -> Iterator[Piece]:
    """A module of a transformer of Flux; nothing where it is none. A norm's `scale` is its weight."""
    for piece in _looked_up(_flux_table(separator), module):
        yield replace(piece, leaf="weight" if leaf == "scale" else leaf)


_VAE_MODULES = {
    **{name: name for name in ("quant_conv", "post_quant_conv")},
    **{f"{half}.{name}": f"{half}.{name}" for half in ("encoder", "decoder") for name in ("conv_in", "conv_out")},
    **{f"{half}.norm_out": f"{half}.conv_norm_out" for half in ("encoder", "decoder")},
}
_VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_VAE_MIDDLE = re.compile(r"(encoder|decoder)\.mid\.(?:block_([12])|(attn_1))\.(\w+)")
_VAE_LEVEL = re.compile(
    r"(?:(encoder)\.down|(decoder)\.up)\.(\d{1,9})\.(?:block\.(\d{1,9})\.(\w+)|(down|up)sample\.conv)"
)


def vae(module: str, leaf: str, config: Mapping[str, Any]) -> Iterator[Piece]:
    """A module of a VAE of LDM; nothing where it is none. Projections of its attention are convolutions there."""
    if module in _VAE_MODULES:
        yield Piece(_VAE_MODULES[module], leaf)
    elif (found := _VAE_MIDDLE.fullmatch(module)) is not None:
        half, number, attention, rest = found.groups()
        if attention and rest in _VAE_ATTENTION:
            name = f"{half}.mid_block.attentions.0.{_VAE_ATTENTION[rest]}"
            yield Piece(name, leaf, flat=rest != "norm" and leaf == "weight")
        elif number:
            yield Piece(f"{half}.mid_block.resnets.{int(number) - 1}.{_vae_resnet(rest)}", leaf)
    elif (found := _VAE_LEVEL.fullmatch(module)) is not None:
        encoder, _, level, layer, rest, side = found.groups()
        levels = config.get("block_out_channels")
        # The decoder's levels are counted from the picture up.
        count = len(levels) if isinstance(levels, list) else 0
        block = f"encoder.down_blocks.{level}" if encoder else f"decoder.up_blocks.{count - 1 - int(level)}"
        yield Piece(f"{block}.resnets.{layer}.{_vae_resnet(rest)}" if layer else f"{block}.{side}samplers.0.conv", leaf)


def _vae_resnet(rest: str) -> str:
    return "conv_shortcut" if rest == "nin_shortcut" else rest


_LAYER = "text_model.encoder.layers.{i}"
_OPEN_CLIP = _table(
    {
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        **{f"ln_final.{leaf}": f"text_model.final_layer_norm.{leaf}" for leaf in ("weight", "bias")},
        **{
            f"transformer.resblocks.{{i}}.{original}.{leaf}": f"{_LAYER}.{name}.{leaf}"
            for original, name in {
                "ln_1": "layer_norm1",
                "ln_2": "layer_norm2",
                "mlp.c_fc": "mlp.fc1",
                "mlp.c_proj": "mlp.fc2",
                "attn.out_proj": "self_attn.out_proj",
            }.items()
            for leaf in ("weight", "bias")
        },
    },
    {
        "text_projection": (Piece("text_projection.weight", "", transposed=True),),
        **{
            f"transformer.resblocks.{{i}}.attn.in_proj_{leaf}": tuple(
                Piece(f"{_LAYER}.self_attn.{name}_proj.{leaf}", "", rows, 3)
                for name, rows in zip(_QKV, _THIRDS, strict=True)
            )
            for leaf in ("weight", "bias")
        },
    },
)


def open_clip(key: str) -> Iterator[Piece]:
    """A tensor of a text encoder of OpenCLIP, by its whole name; nothing where it is none."""
    for piece in _looked_up(_OPEN_CLIP, key):
        module, _, leaf = piece.module.rpartition(".")
        yield replace(piece, module=module, leaf=leaf)


ORIGINALS = {"UNet2DConditionModel": unet, "FluxTransformer2DModel": flux}
"""The denoisers whose original names are known, by class."""


OF_DENOISER = "model.diffusion_model."
"""What single files have before the names of the denoiser's tensors, if anything."""

BARE = {
    **dict.fromkeys(("input_blocks", "middle_block", "output_blocks", "time_embed", "out", "label_emb"), OF_DENOISER),
    **dict.fromkeys(("double_blocks", "single_blocks", "img_in", "txt_in", "time_in", "vector_in"), OF_DENOISER),
    **dict.fromkeys(("guidance_in", "final_layer"), OF_DENOISER),
}
"""How names begin that have nothing before them, and what they would have."""


def is_original(keys: Iterable[str]) -> bool:
    """Whether tensors of these names are a denoiser's under its original ones."""
    known = ("input_blocks.0.0.weight", "double_blocks.0.img_attn.qkv.weight")
    return not {name for key in known for name in (key, OF_DENOISER + key)}.isdisjoint(keys)
