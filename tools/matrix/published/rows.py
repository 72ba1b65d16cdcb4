"""The matrix's configurations in published widths, as folders, and what is traced of them. Imports no MindSpore."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attnfuse.errors import AttnfuseError
from attnfuse.tracing.contract import ComponentPlan, ShapeOptions
from attnfuse.tracing.plan import survey
from tests.support.checkpoints import class_of
from tests.support.small_models import Small, write_configs
from tools.matrix.alone.record import Alone, Tensor, write_alone
from tools.matrix.published import PUBLISHED
from tools.matrix.published.record import ALONE, Config, Published
from tools.matrix.rows import REPEATED, given_of, groups

LAYERS = 2
"""Of each kind of block that repeats, where the entry does not say another number."""


@dataclass(frozen=True, slots=True)
class WideRow:
    """One configuration: what is traced of it, or why there is nothing to trace.

    `traced` is equal where the traces are.
    """

    name: str
    class_name: str
    model: str
    traced: str
    plan: ComponentPlan | None
    problem: str = ""


def wide_rows(folder: Path, name: str) -> Iterator[WideRow]:
    """Write the group's configurations into a new folder; its rows in float16."""
    group, published = groups()[name], PUBLISHED[name]
    if isinstance(group, Small):
        write_configs(folder, replace(group, models=_models(group, published)))
    else:
        write_alone(folder, _alone(group, published))
    for shapes in dict.fromkeys((published.shapes, published.vae or published.shapes)):
        yield from _rows(folder, name, published, shapes)


def _rows(folder: Path, name: str, published: Published, shapes: ShapeOptions) -> Iterator[WideRow]:
    alone = name.startswith("alone/")
    for part in survey(folder, "float16", shapes, given_of(folder)):
        of_vae = published.vae if part.model in ("vae", "movq") and published.vae is not None else published.shapes
        if not part.is_network or of_vae != shapes:
            continue
        config = ((folder if alone else folder / part.model) / "config.json").read_text(encoding="utf-8")
        for i, component in enumerate(part.components):
            plan = part.plans[i] if part.plans else None
            called = plan and (plan.call, plan.dtype, plan.inputs, plan.patches)
            told = json.dumps([part.class_name, config, repr(called)])
            traced = hashlib.sha256(told.encode()).hexdigest()
            title = name if alone else f"{name}/{component}"
            yield WideRow(title, part.class_name, published.model, traced, plan, part.problem)


def _models(group: Small, published: Published) -> dict[str, Config]:
    if group.models.keys() != published.configs.keys():
        raise AttnfuseError(f"{published.model}: its parts are not those of the matrix: {sorted(group.models)}.")
    return {part: _config(config, published.configs[part]) for part, config in group.models.items()}


def _alone(group: Alone, published: Published) -> Alone:
    unknown = published.inputs.keys() - group.inputs.keys()
    if unknown:
        raise AttnfuseError(f"{published.model}: the matrix has no inputs {sorted(unknown)}.")
    inputs: dict[str, Tensor] = {
        key: replace(tensor, shape=published.inputs.get(key, tensor.shape)) for key, tensor in group.inputs.items()
    }
    config = _config(group.config, published.configs[ALONE])
    return replace(group, config=config, inputs=inputs, fixed={**group.fixed, **published.fixed})


def _config(small: Config, changes: Mapping[str, Any]) -> Config:
    """What the model's class has by default, with few layers, and what the published one has otherwise."""
    identity: Config = {key: small[key] for key in ("_class_name", "architectures", "model_type") if key in small}
    return {**_defaults(class_of(small)), **identity, **changes}


_MODEL = re.compile(r"^class (\w+)\([^)]*\bModelMixin\b", re.MULTILINE)


@functools.cache
def _sources() -> Mapping[str, Path]:
    """The files of mindone's diffusers, by the models that they define."""
    spec = importlib.util.find_spec("mindone")
    assert spec is not None
    assert spec.submodule_search_locations
    files = sorted((Path(spec.submodule_search_locations[0]) / "diffusers").rglob("*.py"))
    return {name: path for path in files for name in _MODEL.findall(path.read_text(encoding="utf-8"))}


@functools.cache
def _defaults(class_name: str) -> Config:
    """What mindone's class takes where nothing is said; nothing of one that has a configuration of transformers'."""
    if class_name not in _sources():
        return {}
    body = ast.parse(_sources()[class_name].read_text(encoding="utf-8")).body
    (found,) = (node for node in body if isinstance(node, ast.ClassDef) and node.name == class_name)
    return _shallow(_arguments(found))


def _arguments(found: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    (made,) = (node for node in found.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    arguments = made.args.args[len(made.args.args) - len(made.args.defaults) :]
    for argument, default in zip(arguments, made.args.defaults, strict=True):
        try:
            yield argument.arg, ast.literal_eval(default)
        except ValueError:  # a name: mindone's class knows it
            continue


def _shallow(options: Iterator[tuple[str, Any]]) -> Config:
    """The options with two layers where there are more; how many a level of a UNet has is as published."""
    counts = REPEATED - {"layers_per_block"}
    return {
        key: LAYERS if key in counts and isinstance(value, int) and value > LAYERS else value for key, value in options
    }


def file_of(name: str) -> str:
    """The name of the file that a row's result is in."""
    return f"{name.replace('/', '-')}.json"


def group_of(name: str) -> str:
    """The group of a row."""
    return name if name.startswith("alone/") else name.partition("/")[0]
