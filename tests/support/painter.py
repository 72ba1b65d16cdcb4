"""Stands in for the tracing of a pipeline that makes pictures: the demo's interfaces, and a graph of few nodes each.

The UNet has an attention over the text, which is fused. No MindSpore runs.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from attnfuse import compiler
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import FLOAT16, INT64, DType, from_name
from attnfuse.mindir.external import parameter_name, parameters
from attnfuse.mindir.schema import ModelProto
from attnfuse.tracing.contract import ComponentPlan, StoredWeight, TensorSpec, TracedComponent
from attnfuse.tracing.demo import SCHEDULER, TEXT_ENCODER, UNET, VAE, write_json, write_tokenizer
from tests.support.graphs import GraphBuilder, self_attention
from tests.support.tracer import stand_in

ROWS, TOKENS, WIDTH, LATENT, SIZE = 2, 77, 64, 16, 128
SCALE = SIZE // LATENT
_SHAPES: Mapping[str, tuple[int, ...]] = {
    "input_ids": (1, TOKENS),
    "sample": (ROWS, 4, LATENT, LATENT),
    "encoder_hidden_states": (ROWS, TOKENS, WIDTH),
    "latents": (1, 4, LATENT, LATENT),
    "image": (1, 3, SIZE, SIZE),
}
_FILES = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}


Shapes = Mapping[str, tuple[int, ...]]
"""Of a graph's inputs, by name."""


def _text_encoder(g: GraphBuilder, shapes: Shapes, dtype: DType = FLOAT16) -> tuple[str, ...]:
    ids = g.input("input_ids", shapes["input_ids"], INT64)
    states = g.op("Gather", g.weight("table", (514, WIDTH), dtype, 1.0), ids, 0, 0)
    return states, g.op("ReduceMean", states, (1,), False)


def _unet(g: GraphBuilder, shapes: Shapes) -> tuple[str, ...]:
    sample = g.input("sample", shapes["sample"], FLOAT16)
    rows, channels, height, width = shapes["sample"]
    time = g.muls(g.cast(g.input("timestep", (1,), INT64), FLOAT16), 0.001)
    states = g.input("encoder_hidden_states", shapes["encoder_hidden_states"], FLOAT16)
    tokens = g.transpose(g.reshape(sample, (rows, channels, height * width)), (0, 2, 1))
    g.scope = "Default/blocks-CellList/0-Block/attn2-Attention"
    x = g.dense(tokens, "proj_in", WIDTH)
    x = g.add(g.add(x, time), self_attention(g, x, "blocks.0.attn2", heads=4, context=states))
    g.scope = "Default"
    x = g.transpose(g.dense(x, "proj_out", channels), (0, 2, 1))
    return (g.reshape(x, (rows, channels, height, width)),)


def _vae_decoder(g: GraphBuilder, shapes: Shapes) -> tuple[str, ...]:
    count, channels, height, width = shapes["latents"]
    latents = g.input("latents", shapes["latents"], FLOAT16)
    latents = g.mul(latents, g.weight("post.weight", (1, channels, 1, 1), FLOAT16))
    wide = g.reshape(latents, (count, channels, height, 1, width, 1))
    wide = g.broadcast_to(wide, (count, channels, height, SCALE, width, SCALE))
    pixels = g.reshape(wide, (count, channels, height * SCALE, width * SCALE))
    return (g.op("Tanh", g.strided_slice(pixels, (0, 0, 0, 0), (count, 3, height * SCALE, width * SCALE))),)


def _vae_encoder(g: GraphBuilder, shapes: Shapes) -> tuple[str, ...]:
    count, channels, height, width = shapes["image"]
    image = g.mul(g.input("image", shapes["image"], FLOAT16), g.weight("quant.weight", (1, channels, 1, 1), FLOAT16))
    corner = g.strided_slice(image, (0, 0, 0, 0), (count, 2, height // SCALE, width // SCALE))
    return (g.concat([corner] * 4, 1),)


_GRAPHS: Mapping[str, Callable[[GraphBuilder, Shapes], tuple[str, ...]]] = {
    "text_encoder": _text_encoder,
    "unet": _unet,
    "vae_decoder": _vae_decoder,
    "vae_encoder": _vae_encoder,
}


def _built(
    name: str, shapes: Shapes = _SHAPES, *, weights: bool, dtype: DType = FLOAT16
) -> tuple[ModelProto, list[TensorType]]:
    """The graph, and the types of what it gives; `dtype` is the text encoder's."""
    g = GraphBuilder(name, weights=weights)
    values = _text_encoder(g, shapes, dtype) if name == "text_encoder" else _GRAPHS[name](g, shapes)
    g.output(*values)
    return g.build(), [g.type_of(value) for value in values]


def write_pipeline(folder: Path) -> None:
    """Write the folder of a Stable Diffusion pipeline, whose weights are those of the graphs here."""
    configs: dict[str, dict[str, Any]] = {"unet": UNET, "vae": VAE, "text_encoder": TEXT_ENCODER}
    index: dict[str, Any] = {"_class_name": "StableDiffusionPipeline", "scheduler": ["diffusers", "PNDMScheduler"]}
    index["tokenizer"] = ["transformers", "CLIPTokenizer"]
    for owner, config in configs.items():
        (folder / owner).mkdir(parents=True)
        write_json(folder / owner / "config.json", config)
        values: dict[str, Any] = {}
        for name in (name for name in _GRAPHS if name.partition("_")[0] == owner or name == owner):
            model, _ = _built(name, weights=True)
            values |= {
                parameter_name(p): np.frombuffer(p.raw_data, np.float16).reshape(p.dims) for p in parameters(model)
            }
        save_file(
            {name: value.copy() for name, value in values.items()}, folder / owner / f"{_FILES[owner]}.safetensors"
        )
        index[owner] = (
            ["diffusers", config["_class_name"]] if "_class_name" in config else ["transformers", "CLIPTextModel"]
        )
    write_json(folder / "model_index.json", index)
    (folder / "scheduler").mkdir()
    write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    (folder / "tokenizer").mkdir()
    write_tokenizer(folder / "tokenizer", TOKENS)


def trace(plan: ComponentPlan, work: Path) -> TracedComponent:
    """Stands for `runner.trace_component`."""
    shapes = {one.name: one.shape for one in plan.inputs}
    model, types = _built(plan.base or plan.name, shapes, weights=False, dtype=from_name(plan.dtype))
    graph = work.resolve() / "graph.mindir"
    graph.write_bytes(model.SerializeToString(deterministic=True))
    file = plan.folder.resolve() / f"{_FILES[plan.model]}.safetensors"
    weights = tuple(
        StoredWeight(parameter_name(p), file, parameter_name(p), plan.dtype, tuple(p.dims)) for p in parameters(model)
    )
    assert plan.call is not None
    specs = zip(plan.call.outputs, types, strict=True)
    outputs = tuple(TensorSpec(name, one.dims, one.dtype.name) for (name, _), one in specs)
    return TracedComponent(plan, graph, weights, outputs, {"mindspore": "2.7.1"}, 1.0, 2**20)


@dataclass(frozen=True)
class Painted:
    """A pipeline's folder, and what was compiled of it."""

    source: Path
    out: Path


@pytest.fixture(scope="session")
def painted_once(tmp_path_factory: pytest.TempPathFactory) -> Painted:
    """The pipeline, compiled; for `painted`, which copies it."""
    folder = tmp_path_factory.mktemp("painted")
    found = Painted(folder / "pipeline", folder / "out")
    write_pipeline(found.source)
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch, trace)
        outcome = compiler.compile(compiler.CompileRequest(source=str(found.source), output=found.out))
    assert outcome.written
    assert outcome.report.totals.fused == 1
    return found


@pytest.fixture
def painted(painted_once: Painted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Painted:
    """The pipeline, compiled; whoever traces it again has the stand-in."""
    stand_in(monkeypatch, trace)
    found = Painted(tmp_path / "pipeline", tmp_path / "out")
    shutil.copytree(painted_once.source, found.source)
    shutil.copytree(painted_once.out, found.out)
    return found


def spoil(file: Path, where: slice, factor: float) -> None:
    """Multiply some of the float16 numbers in a file of weights."""
    data = np.frombuffer(file.read_bytes(), np.float16).copy()
    data[where] *= np.float16(factor)
    file.write_bytes(data.tobytes())
