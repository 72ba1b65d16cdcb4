"""Small IP-Adapters, under the names that h94/IP-Adapter has, and the image encoder beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attnfuse.tracing.demo import write_json
from attnfuse.tracing.layout import unet_tensors
from attnfuse.tracing.random_weights import write_random
from tests.support.small_models.encoders import CLIP_VISION

Tensors = Iterator[tuple[str, tuple[int, ...]]]

WIDTH = {"plain": CLIP_VISION["projection_dim"], "full": CLIP_VISION["hidden_size"], "plus": CLIP_VISION["hidden_size"]}
"""How wide what each kind takes of the encoder is."""

_ORDER = ("down_blocks", "up_blocks", "mid_block")


def write_ip_adapter(file: Path, unet: Mapping[str, Any], kind: str = "plain", dtype: str = "float16") -> Path:
    """Write the file of an adapter for a UNet of that configuration, with random weights."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_random(file, adapter_tensors(unet, kind), dtype, file.name)
    return file


def adapter_tensors(unet: Mapping[str, Any], kind: str = "plain") -> Tensors:
    """Name and shape of each of its tensors."""
    context = unet["cross_attention_dim"]
    for name, shape in _PROJECTIONS[kind](WIDTH[kind], context):
        yield f"image_proj.{name}", shape
    keys = [(name, shape) for name, shape in unet_tensors(unet) if name.endswith("attn2.to_k.weight")]
    # Self-attention has the even numbers; diffusers makes the block in the middle last.
    for number, (_, shape) in enumerate(sorted(keys, key=lambda one: _place(one[0]))):
        for which in "kv":
            yield f"ip_adapter.{2 * number + 1}.to_{which}_ip.weight", shape


def _place(name: str) -> tuple[int, ...]:
    return (_ORDER.index(name.partition(".")[0]), *map(int, re.findall(r"\.(\d+)", name)))


def _plain(width: int, context: int) -> Tensors:
    yield "proj.weight", (4 * context, width)
    yield "proj.bias", (4 * context,)
    yield from _norm("norm", context)


def _full(width: int, context: int) -> Tensors:
    for name, rows, columns in (("proj.0", width, width), ("proj.2", context, width)):
        yield f"{name}.weight", (rows, columns)
        yield f"{name}.bias", (rows,)
    yield from _norm("proj.3", context)


def _plus(width: int, context: int, tokens: int = 8, hidden: int = 32, head_dim: int = 64) -> Tensors:
    yield "latents", (1, tokens, hidden)
    for name, rows, columns in (("proj_in", hidden, width), ("proj_out", context, hidden)):
        yield f"{name}.weight", (rows, columns)
        yield f"{name}.bias", (rows,)
    yield from _norm("norm_out", context)
    for layer in range(4):
        for name in ("0.norm1", "0.norm2", "1.0"):
            yield from _norm(f"layers.{layer}.{name}", hidden)
        shapes = {"0.to_q": (head_dim, hidden), "0.to_kv": (2 * head_dim, hidden), "0.to_out": (hidden, head_dim)}
        for name, shape in {**shapes, "1.1": (4 * hidden, hidden), "1.3": (hidden, 4 * hidden)}.items():
            yield f"layers.{layer}.{name}.weight", shape


def _norm(name: str, width: int) -> Tensors:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


_PROJECTIONS = {"plain": _plain, "full": _full, "plus": _plus}


def write_image_encoder(folder: Path, dtype: str = "float16", config: Mapping[str, Any] = CLIP_VISION) -> Path:
    """Write an image encoder's folder, with random weights."""
    folder.mkdir(parents=True)
    write_json(folder / "config.json", dict(config))
    write_random(folder / "model.safetensors", _vision(config), dtype, "image_encoder")
    return folder


def _vision(config: Mapping[str, Any]) -> Tensors:
    width, inner = config["hidden_size"], config["intermediate_size"]
    states = (config["image_size"] // config["patch_size"]) ** 2 + 1
    yield "vision_model.embeddings.class_embedding", (width,)
    yield "vision_model.embeddings.patch_embedding.weight", (width, 3, config["patch_size"], config["patch_size"])
    yield "vision_model.embeddings.position_embedding.weight", (states, width)
    for name in ("pre_layrnorm", "post_layernorm"):
        yield from _norm(f"vision_model.{name}", width)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"vision_model.encoder.layers.{layer}"
        for name in ("layer_norm1", "layer_norm2"):
            yield from _norm(f"{prefix}.{name}", width)
        shapes = {f"self_attn.{name}_proj": (width, width) for name in ("q", "k", "v", "out")}
        for name, shape in {**shapes, "mlp.fc1": (inner, width), "mlp.fc2": (width, inner)}.items():
            yield f"{prefix}.{name}.weight", shape
            yield f"{prefix}.{name}.bias", shape[:1]
    yield "visual_projection.weight", (config["projection_dim"], width)
