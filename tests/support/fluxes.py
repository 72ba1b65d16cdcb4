"""Small pipelines of Flux that differ in how many equal blocks they have: what traces of them share are the blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attnfuse.tracing.demo import write_json
from attnfuse.tracing.layout import flux_tensors
from attnfuse.tracing.random_weights import write_random
from tests.support.small_models.pictures import FLUX

LAYERS = {"a": 7, "b": 8, "c": 9}
"""Enough of them for a block to be traced by itself."""


def write_fluxes(folder: Path) -> None:
    """Write them all, each in a folder of its name."""
    for name, layers in LAYERS.items():
        write_flux(folder / name, num_single_layers=layers)


def write_flux(folder: Path, **changes: int) -> None:
    """Write one, with these changes of the configuration."""
    config: dict[str, Any] = {**FLUX, **changes}
    model = folder / "transformer"
    model.mkdir(parents=True)
    write_json(model / "config.json", config)
    write_random(model / "diffusion_pytorch_model.safetensors", flux_tensors(config), "float16", folder.name)
    index = {"_class_name": "FluxPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"]}
    write_json(folder / "model_index.json", index)
