"""A trained one-step consistency UNet of terrains, out of its ONNX file into a folder of diffusers' UNet2DModel.

The package adaptive-terrain-diffusion holds the network of OpenAI's consistency models as PyTorch exported it: names of
weights are those of guided-diffusion, and those of GroupNorm are lost, as the exporter wrote them as constants around
an InstanceNormalization; each is found by the convolution that it stands in front of. The names on the other side are
those that diffusers' own script gives (scripts/convert_consistency_to_diffusers.py).

The network takes a noisy terrain, times c_in; 250 · ln σ as its timestep; and the embedding of a difficulty, of a small
network of its own, which is added to that of the timestep: class_embed_type "identity". What it gives is weighed with
the noisy terrain (c_skip, c_out), and cut off at ±1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

Array = np.ndarray[Any, np.dtype[Any]]

FILE = "terrain_diffusion/weights/terrain_consistency_unet_difficulty100.onnx"
SIZE, LAYERS, LEVELS, ATTENDED = 128, 4, 5, 3
"""Pixels, layers of a level, levels, and how many of these attend: the last."""
SIGMA_DATA, SIGMA_MIN, SIGMA_MAX = 0.5, 0.002, 80.0
"""As `TerrainGenerator` has them."""
CONFIG: Mapping[str, Any] = {
    "_class_name": "UNet2DModel",
    "_diffusers_version": "0.35.1",
    "act_fn": "silu",
    "add_attention": True,
    "attention_head_dim": 32,
    "attn_norm_num_groups": 32,
    "block_out_channels": [32, 32, 64, 96, 128],
    "class_embed_type": "identity",
    "down_block_types": ["ResnetDownsampleBlock2D"] * 2 + ["AttnDownBlock2D"] * 3,
    "downsample_type": "resnet",
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 1,
    "layers_per_block": LAYERS,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 1,
    "resnet_time_scale_shift": "scale_shift",
    "sample_size": SIZE,
    "time_embedding_type": "positional",
    "up_block_types": ["AttnUpBlock2D"] * 3 + ["ResnetUpsampleBlock2D"] * 2,
    "upsample_type": "resnet",
}
INPUTS = f"""\
# What the UNet is called with: 250 times the logarithm of sigma, and the embedding of a difficulty.
[unet]
outputs = ["sample"]
inputs.sample = {{ shape = [1, 1, {SIZE}, {SIZE}] }}
inputs.timestep = {{ shape = [1], dtype = "float32" }}
inputs.class_labels = {{ shape = [1, 128] }}
fixed.return_dict = false
"""
_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_ATTENTION = {"norm": "group_norm", "proj_out": "to_out.0"}
_QKV = ("to_q", "to_k", "to_v")


@dataclass
class Network:
    """The ONNX file, and its weights by the names of guided-diffusion."""

    model: onnx.ModelProto
    weights: dict[str, Array] = field(init=False)

    def __post_init__(self) -> None:
        self.weights = {
            one.name.removeprefix("network."): numpy_helper.to_array(one)
            for one in self.model.graph.initializer
            if one.name.startswith("network.")
        }
        self.weights.update(_norms(self.model.graph))

    @classmethod
    def read(cls, packages: Path) -> Network:
        """The package's own file."""
        return cls(onnx.load(packages / FILE))

    def labels(self, difficulty: Array) -> Array:
        """The embedding of difficulties between 0 and 1, [batch] to [batch, 128], in float64."""
        hidden = difficulty.astype(np.float64)[:, None] @ self._double("label_emb.0.weight").T
        hidden = hidden + self._double("label_emb.0.bias")
        hidden = hidden / (1 + np.exp(-hidden))
        found: Array = hidden @ self._double("label_emb.2.weight").T + self._double("label_emb.2.bias")
        return found

    def _double(self, name: str) -> Array:
        return self.weights[name].astype(np.float64)


def _norms(graph: onnx.GraphProto) -> Iterator[tuple[str, Array]]:
    """Weight and bias of each GroupNorm, by the name of its module."""
    constants = {one.name: one for one in graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for node in graph.node:
        if node.op_type != "InstanceNormalization":
            continue
        (reshape,) = readers[node.output[0]]
        (scaled,) = readers[reshape.output[0]]
        (shifted,) = readers[scaled.output[0]]
        module = _module_behind(shifted, readers)
        for part, one in (("weight", scaled), ("bias", shifted)):
            (constant,) = (constants[name] for name in one.input if name in constants)
            yield f"{module}.{part}", numpy_helper.to_array(constant).reshape(-1)


def _module_behind(node: onnx.NodeProto, readers: Mapping[str, list[onnx.NodeProto]]) -> str:
    """The GroupNorm in front of the first convolution behind a node."""
    todo = [node]
    for one in todo:
        weight = next((name for name in one.input if name.startswith("network.") and name.endswith(".weight")), None)
        if one.op_type == "Conv" and weight is not None:
            owner, _, last = weight.removeprefix("network.").removesuffix(".weight").rpartition(".")
            before = {"2": "0", "3": "0", "qkv": "norm"}[last]
            return f"{owner}.{before}"
        todo += [reader for output in one.output for reader in readers.get(output, ())]
    raise ValueError(f"no convolution stands behind {node.name}")


def modules() -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """A module of guided-diffusion, the module of diffusers that it is, and what its parts are called there."""
    yield "time_embed.0", "time_embedding.linear_1", {}
    yield "time_embed.2", "time_embedding.linear_2", {}
    yield "input_blocks.0.0", "conv_in", {}
    at = 1
    for level in range(LEVELS):
        block, attends = f"down_blocks.{level}", level >= LEVELS - ATTENDED
        for layer in range(LAYERS):
            yield f"input_blocks.{at}.0", f"{block}.resnets.{layer}", _RESNET
            if attends:
                yield f"input_blocks.{at}.1", f"{block}.attentions.{layer}", _ATTENTION
            at += 1
        if level < LEVELS - 1:
            yield f"input_blocks.{at}.0", f"{block}.downsamplers.0", _RESNET
            at += 1
    yield "middle_block.0", "mid_block.resnets.0", _RESNET
    yield "middle_block.1", "mid_block.attentions.0", _ATTENTION
    yield "middle_block.2", "mid_block.resnets.1", _RESNET
    for number in range(LEVELS * (LAYERS + 1)):
        level, layer = divmod(number, LAYERS + 1)
        block, attends = f"up_blocks.{level}", level < ATTENDED
        yield f"output_blocks.{number}.0", f"{block}.resnets.{layer}", _RESNET
        if attends:
            yield f"output_blocks.{number}.1", f"{block}.attentions.{layer}", _ATTENTION
        if layer == LAYERS and level < LEVELS - 1:
            yield f"output_blocks.{number}.{2 if attends else 1}", f"{block}.upsamplers.0", _RESNET
    yield "out.0", "conv_norm_out", {}
    yield "out.2", "conv_out", {}


def renamed(weights: Mapping[str, Array]) -> dict[str, Array]:
    """The weights as diffusers names and shapes them. Raises ValueError where one is left over."""
    found: dict[str, Array] = {}
    used = {name for name in weights if name.startswith("label_emb.")}
    for theirs, ours, parts in modules():
        for part, name in (parts or {"": ""}).items():
            for kind in ("weight", "bias"):
                key = ".".join(filter(None, (theirs, part, kind)))
                if key in weights:
                    used.add(key)
                    value = weights[key]
                    value = value[:, :, 0, 0] if part == "proj_out" and kind == "weight" else value
                    found[".".join(filter(None, (ours, name, kind)))] = value
        if parts is _ATTENTION:
            for kind in ("weight", "bias"):
                key = f"{theirs}.qkv.{kind}"
                used.add(key)
                whole = weights[key][:, :, 0, 0] if kind == "weight" else weights[key]
                found |= {f"{ours}.{q}.{kind}": part for q, part in zip(_QKV, np.split(whole, 3), strict=True)}
    left = weights.keys() - used
    if left:
        raise ValueError(f"no module of UNet2DModel takes {min(left)}")
    return {name: np.ascontiguousarray(value) for name, value in found.items()}


def write(network: Network, folder: Path) -> None:
    """Write the folder of a pipeline with this UNet, and inputs.toml beside it."""
    (folder / "unet").mkdir(parents=True)
    index = {"_class_name": "ConsistencyModelPipeline", "_diffusers_version": "0.35.1"}
    _write_json(folder / "model_index.json", index | {"unet": ["diffusers", "UNet2DModel"]})
    _write_json(folder / "unet" / "config.json", CONFIG)
    save_file(renamed(network.weights), folder / "unet" / "diffusion_pytorch_model.safetensors")
    folder.with_name("inputs.toml").write_text(INPUTS, encoding="utf-8")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def fed(network: Network, feeds: Mapping[str, Array], row: int) -> dict[str, Array]:
    """What the network is called with for one row of what the package's file is: float32, batch 1."""
    sigma = feeds["sigma"][row : row + 1].astype(np.float64)
    scaled = feeds["noisy"][row : row + 1] / np.sqrt(sigma**2 + SIGMA_DATA**2)[:, None, None, None]
    return {
        "sample": scaled.astype(np.float32),
        "timestep": (250 * np.log(sigma)).astype(np.float32),
        "class_labels": network.labels(feeds["difficulty"][row : row + 1]).astype(np.float32),
    }


def denoised(network_gave: Array, noisy: Array, sigma: Array) -> Array:
    """The terrain that the network's result stands for, [batch, 1, height, width] between -1 and 1."""
    above = (sigma.astype(np.float64) - SIGMA_MIN)[:, None, None, None]
    skip = SIGMA_DATA**2 / (above**2 + SIGMA_DATA**2)
    out = SIGMA_DATA * above / np.sqrt(sigma.astype(np.float64)[:, None, None, None] ** 2 + SIGMA_DATA**2)
    found: Array = np.clip(skip * noisy + out * network_gave, -1, 1).astype(np.float32)
    return found


class Session:
    """Stands for onnxruntime's session in the package's own `TerrainGenerator`: `run` is a call of the network."""

    def __init__(self, network: Network, run: Callable[[Mapping[str, Array]], Array]) -> None:
        self.network, self.call = network, run

    def run(self, names: list[str], feeds: Mapping[str, Array]) -> list[Array]:
        """As onnxruntime's: the denoised terrains, one at a time."""
        assert names == ["denoised"]
        gave = [self.call(fed(self.network, feeds, row)) for row in range(len(feeds["sigma"]))]
        return [denoised(np.concatenate(gave), feeds["noisy"], feeds["sigma"])]


@dataclass
class Recorded:
    """The package's own session, and what it was called with."""

    session: Any
    feeds: list[Mapping[str, Array]] = field(default_factory=list)

    def run(self, names: list[str], feeds: Mapping[str, Array]) -> Any:
        """As onnxruntime's."""
        self.feeds.append(dict(feeds))
        return self.session.run(names, feeds)
