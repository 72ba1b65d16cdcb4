"""A model alone, as the matrix compiles it: a folder of one model, and what it is called with, as `--inputs` takes it.

Imports no MindSpore.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnfuse.tracing.demo import write_json

Config = dict[str, Any]

SPEC = "spec.toml"
"""The file of inputs beside a model alone."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input: its shape, its type (see `attnfuse.tracing.inputs`), and its argument if that has another name."""

    shape: tuple[int, ...]
    dtype: str = "float"
    to: str = ""


@dataclass(frozen=True, slots=True)
class Alone:
    """One model: its config.json, and its call, outputs as `--inputs` takes them.

    `cause` is why it is known not to be traced, as far as it was found.
    """

    config: Config
    inputs: Mapping[str, Tensor]
    method: str = ""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[str, ...] | Mapping[str, str] = ("output",)
    cause: str = ""


def write_alone(folder: Path, alone: Alone) -> None:
    """Write the configuration and the inputs of a model into a new folder."""
    folder.mkdir(parents=True)
    write_json(folder / "config.json", alone.config)
    lines = ["[model]"]
    if isinstance(alone.outputs, Mapping):
        lines += [f"outputs.{key} = {json.dumps(place)}" for key, place in alone.outputs.items()]
    else:
        lines.append(f"outputs = {json.dumps(alone.outputs)}")
    if alone.method:
        lines.append(f"method = {json.dumps(alone.method)}")
    for key, tensor in alone.inputs.items():
        to = f", to = {json.dumps(tensor.to)}" if tensor.to else ""
        lines.append(f'inputs.{key} = {{ shape = {list(tensor.shape)}, dtype = "{tensor.dtype}"{to} }}')
    lines += [f"fixed.{key} = {json.dumps(value)}" for key, value in alone.fixed.items()]
    (folder / SPEC).write_text("\n".join(lines) + "\n", encoding="utf-8")
