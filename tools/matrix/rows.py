"""What the matrix is made of: groups (a small pipeline, or a model alone) and their rows (a component in a type).

Pipelines are those of `tests.support.small_models`; models alone are those of `tools.matrix.alone`, which are compiled
with `--inputs`. Imports no MindSpore.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeAlias

from attnfuse.serialisation import to_json
from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tracing.inputs import GivenCall, read_inputs
from attnfuse.tracing.plan import survey
from tests.support.small_models import SMALL, Config, Small, write_configs
from tools.matrix.alone import ALONE
from tools.matrix.alone.record import SPEC, Alone, write_alone

DTYPES = ("float16", "float32", "bfloat16")

Group: TypeAlias = Small | Alone

REPEATED = frozenset(
    {
        "depth",
        "layers_per_block",
        "mmdit_layers",
        "num_hidden_layers",
        "num_layers",
        "num_mmdit_layers",
        "num_refiner_layers",
        "num_single_dit_layers",
        "num_single_layers",
        "num_text_blocks",
        "num_visual_blocks",
    }
)
"""Keys of configurations that say how often something is built one behind the other."""

#: Rows that are made in other types too, besides float16: where the graph differs by type, or the cast is of interest.
WIDER: Mapping[str, tuple[str, ...]] = {
    "float32": (
        "alone/unet_mask/*",
        "alone/llama_4dmask/*",
        "alone/gpt2/*",
        "flux/transformer",
        "hunyuan_dit/*",
        "pixart_alpha/*",
        "sd3/*",
        "sd_controlnet/unet",
        "wan/transformer",
    ),
    "bfloat16": ("alone/llama_4dmask/*", "flux/transformer", "pixart_alpha/*", "sd3/transformer", "sd3/text_encoder*"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One component of one group in one type; `class_name` is its model's."""

    group: str
    component: str
    class_name: str
    dtype: str

    @property
    def configuration(self) -> str:
        """What is traced, whatever its type."""
        return f"{self.group}/{self.component}"

    @property
    def name(self) -> str:
        return f"{self.configuration}-{self.dtype}"


def groups() -> dict[str, Group]:
    """Every group by name, pipelines first."""
    return {**SMALL, **{f"alone/{name}": alone for name, alone in ALONE.items()}}


def write_group(folder: Path, name: str) -> None:
    """Write a group's configurations into a new folder, with two at least of everything that repeats."""
    group = groups()[name]
    if isinstance(group, Small):
        folder.mkdir(parents=True)
        models = {part: deepened(config) for part, config in group.models.items()}
        write_configs(folder, replace(group, models=models))
    else:
        write_alone(folder, replace(group, config=deepened(group.config)))


def deepened(config: Config) -> Config:
    """The configuration with two layers where it has one: a block that stands once shows nothing of what MindSpore
    makes of blocks that are built alike, such as one function that each of them calls."""

    def deep(key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return deepened(value)
        return 2 if key in REPEATED and value == 1 and not isinstance(value, bool) else value

    return {key: deep(key, value) for key, value in config.items()}


def shapes_of(name: str) -> ShapeOptions:
    """The shapes a group is traced in."""
    group = groups()[name]
    return group.shapes if isinstance(group, Small) else ShapeOptions()


def cause_of(name: str) -> str:
    """Why a group is known not to be traced; empty where it is, or says so itself."""
    group = groups()[name]
    return "" if isinstance(group, Small) else group.cause


def given_of(folder: Path) -> tuple[GivenCall, ...]:
    """What the model in a group's folder is called with, where the group says so."""
    spec = folder / SPEC
    return read_inputs(spec) if spec.is_file() else ()


def rows_of(folder: Path, name: str, dtypes: tuple[str, ...]) -> Iterator[tuple[str, Row]]:
    """The rows of a group whose configurations are in `folder`, each with a text of what is traced.

    Those that cannot be traced are among them. Where two texts are equal, so are the traces.
    """
    for part in survey(folder, "float16", shapes_of(name), given_of(folder)):
        where = folder if name.startswith("alone/") else folder / part.model
        config = (where / "config.json").read_text(encoding="utf-8") if part.is_network else ""
        for i, component in enumerate(part.components if part.is_network else ()):
            told = to_json(part.plans[i]) if part.plans else {"problem": part.problem}
            called = {key: value for key, value in told.items() if key not in ("name", "model", "folder")}
            for dtype in dtypes:
                row = Row(name, component, part.class_name, dtype)
                if dtype == "float16" or any(fnmatchcase(row.configuration, glob) for glob in WIDER[dtype]):
                    yield json.dumps([part.class_name, config, called, dtype]), row
