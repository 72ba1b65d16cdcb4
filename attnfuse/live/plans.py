"""Which graphs a live pipeline or model has, and the inputs of each.

The configurations that its parts carry are written out as a pipeline folder's, without weights, and planned as such
(`attnfuse.tracing.plan`). What is live then has the last word: the type of each part is the one it is held in.

Reads attributes of pipelines and models, and so imports no MindSpore.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from attnfuse.errors import AttnfuseError, TraceError, UsageError
from attnfuse.live.ip_adapter import held_adapter
from attnfuse.tracing.contract import DTYPES, FLOAT_DTYPES, ComponentPlan, FixedValue, Library, ShapeOptions, TensorSpec
from attnfuse.tracing.parts import Terms
from attnfuse.tracing.plan import plan_pipeline

MODEL = "model"
"""What a single model is called whose class has no name of its own in a pipeline."""


@dataclass(frozen=True, slots=True)
class LivePlan:
    """The graphs to trace and the live models they are traced from, by the plans' `model`.

    `cells` are all models of the pipeline by attribute, traced or not: settings made on it are read off them. `others`
    are the parts that are none: tokenizers, a scheduler, processors.
    """

    plans: tuple[ComponentPlan, ...]
    models: Mapping[str, Any]
    cells: Mapping[str, Any]
    prefix: str
    warnings: Mapping[str, tuple[str, ...]]
    others: Mapping[str, Any] = field(default_factory=dict)


def plan_live(
    source: Any, work: Path, shapes: ShapeOptions, components: Sequence[str], inputs: Sequence[Any] | None
) -> LivePlan:
    """Plan a live pipeline, or one model; with `inputs`, the call `model(*inputs)` of any cell.

    `work` is a folder to write configurations into. Raises UsageError for what is neither, TraceError for a class or
    an option that cannot be traced.
    """
    if inputs is not None:
        return _plan_call(source, shapes, components, inputs)
    parts = _parts(source)
    single = len(parts) == 1 and source in parts.values()
    _write_configs(source, parts, work, single=single)
    terms = Terms(with_weights=False, ip_adapter=held_adapter(parts))
    names = [plan.name for plan in _planned(work, "float32", shapes, components, terms)]
    plans: list[ComponentPlan] = []
    warnings: dict[str, tuple[str, ...]] = {}
    for name in names:
        (plan,) = _planned(work, "float32", shapes, [name], terms)
        model = parts[MODEL if single else plan.model]
        own_dtype = dtype_of(model, name)
        (wished,) = _planned(work, own_dtype, shapes, [name], terms)
        warnings[name] = wished.warnings
        if wished.dtype != own_dtype:
            message = f"its type is {own_dtype}, and the pipeline would run it in {wished.dtype}"
            warnings[name] += (
                f"{message}: convert it before compiling (pipe.upcast_vae()), or its numbers may overflow",
            )
        loras = _loras(model)
        if loras.loaded:
            warnings[name] += (_NOT_FUSED.format(", ".join(sorted({adapter for adapter, _ in loras.loaded}))),)
        exactly = _planned(work, own_dtype, shapes, [name], replace(terms, exactly=True))
        plans += (_with_lora(one, loras) for one in exactly)
    models = {plan.model: parts[MODEL if single else plan.model] for plan in plans}
    cells = models if single else models | {name: part for name, part in parts.items() if _is_cell(part)}
    others = {name: part for name, part in parts.items() if not _is_cell(part)}
    return LivePlan(tuple(plans), models, cells, "" if single else "pipe.", warnings, others)


def write_others(plan: LivePlan, folder: Path) -> list[str]:
    """Write what the parts that are no models say of themselves, as a pipeline's folder has it, beside the others'.

    Of one that cannot be written it is told why.
    """
    failed: list[str] = []
    for name, part in plan.others.items():
        try:
            if hasattr(part, "model_max_length"):
                part.save_pretrained(folder / name)
            elif hasattr(part, "to_json_string"):
                file = "scheduler_config.json" if hasattr(part, "timesteps") else "preprocessor_config.json"
                _write_settings(folder / name / file, json.loads(part.to_json_string()))
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            failed.append(f"{name} is not in the output: its {type(part).__name__} cannot be saved: {reason[:200]}")
    return failed


_NOT_FUSED = (
    "LoRA {} is loaded and not fused: its layers are in the graph, as they are now; without them, and as exact, it is"
    " compiled after fuse_lora() and unload_lora_weights()"
)


@dataclass(frozen=True, slots=True)
class _Loras:
    """The adapters in a model's layers, each with a scale: those that are computed with, and those that are merged."""

    loaded: frozenset[tuple[str, float]]
    merged: frozenset[tuple[str, float]]


def _loras(model: Any) -> _Loras:
    """What PEFT's layers tell (mindone/peft/tuners/tuners_utils.py, `BaseTunerLayer`); what is switched off is none."""
    loaded: set[tuple[str, float]] = set()
    merged: set[tuple[str, float]] = set()
    for _, cell in model.cells_and_names():
        scaling = getattr(cell, "scaling", None)
        if not hasattr(cell, "lora_A") or not isinstance(scaling, Mapping):
            continue
        fused = set(getattr(cell, "merged_adapters", ()))
        active = () if getattr(cell, "disable_adapters", False) else getattr(cell, "active_adapters", scaling)
        merged |= {(str(adapter), float(scale)) for adapter, scale in scaling.items() if adapter in fused}
        if not fused:  # where one is merged, no layer is computed with
            loaded |= {(str(adapter), float(scaling[adapter])) for adapter in active if adapter in scaling}
    return _Loras(frozenset(loaded), frozenset(merged))


def _with_lora(plan: ComponentPlan, loras: _Loras) -> ComponentPlan:
    """The plan, telling of a LoRA that is loaded in the model: unlike a checkpoint's, a live graph has it."""
    entries: list[FixedValue] = []
    if loras.loaded:
        meaning = (
            "of each LoRA that is loaded: the graph has its present value; for another scale set it and compile again"
        )
        entries.append(FixedValue("lora_scale", [list(one) for one in sorted(loras.loaded)], meaning))
    if loras.merged:
        meaning = "of each LoRA that is fused into the weights; for another scale fuse it anew and compile again"
        entries.append(FixedValue("lora_scale", [list(one) for one in sorted(loras.merged)], meaning))
    if not entries:
        return plan
    return replace(plan, fixed=(*entries, *(one for one in plan.fixed if one.name != "lora_scale")))


def _plan_call(source: Any, shapes: ShapeOptions, components: Sequence[str], inputs: Sequence[Any]) -> LivePlan:
    if not _is_cell(source):
        raise UsageError(f"inputs are for the call of one cell, and the source is of type {type(source).__name__}.")
    if components or shapes != ShapeOptions():
        raise UsageError(
            "inputs say all about the shapes of one call: drop them, or components, batch, height and so on."
        )
    specs = tuple(spec for position, value in enumerate(inputs) for spec in _specs((position,), value))
    floats = {spec.dtype for spec in specs if spec.dtype in FLOAT_DTYPES}
    dtype = min(floats, default="float32")
    plan = ComponentPlan(
        MODEL,
        MODEL,
        type(source).__name__,
        "diffusers",
        Path(),
        None,
        dtype,
        specs,
        patches=(),
        package="",
        variant="",
        checkpoint=None,
        processors=(),
        ip_adapter=None,
        fixed=(),
    )
    return LivePlan((plan,), {MODEL: source}, {MODEL: source}, "", {})


def _specs(place: tuple[int, ...], value: Any) -> Iterator[TensorSpec]:
    """The tensors of one argument, which may be a tuple or a list of such: `input_1_0` is the first of the second's."""
    called = f"input {place[0]}" + "".join(f"[{number}]" for number in place[1:])
    if isinstance(value, tuple | list):
        if not value:
            raise UsageError(
                f"{called} is an empty {type(value).__name__}; give the tensors it holds, or leave it out."
            )
        for number, element in enumerate(value):
            yield from _specs((*place, number), element)
        return
    shape, dtype = getattr(value, "shape", None), _dtype_name(getattr(value, "dtype", None))
    if shape is None or dtype not in DTYPES:
        kinds = f"{', '.join(DTYPES)}, and no tuple or list of such"
        raise UsageError(f"{called} is no tensor of {kinds}; it is a {type(value).__name__}.")
    yield TensorSpec("_".join(["input", *map(str, place)]), tuple(int(n) for n in shape), dtype)


def _dtype_name(dtype: object) -> str:
    """MindSpore's types and numpy's under numpy's names: BFloat16, Float32, Bool, float32, …"""
    return str(dtype).lower()


def dtype_of(model: Any, name: str) -> str:
    """The float type most of a model's numbers are held in. Raises TraceError where it has none that is known."""
    counts: dict[str, int] = {}
    for parameter in model.get_parameters():
        dtype = _dtype_name(parameter.dtype)
        if dtype in FLOAT_DTYPES:
            counts[dtype] = counts.get(dtype, 0) + int(parameter.size)
    if not counts:
        raise TraceError(f"component {name}: it has no parameter of {', '.join(FLOAT_DTYPES)}.")
    return max(sorted(counts), key=lambda dtype: counts[dtype])


def _is_cell(source: Any) -> bool:
    return all(hasattr(source, name) for name in ("construct", "cells_and_names", "get_parameters"))


def _parts(source: Any) -> dict[str, Any]:
    """The models of a pipeline by attribute, or the one model."""
    if _is_cell(source):
        return {MODEL: source}
    components = getattr(source, "components", None)
    if not isinstance(components, Mapping):
        raise UsageError(
            f"the source, of type {type(source).__name__}, is no mindone pipeline or model; give what from_pretrained"
            " returned."
        )
    return {name: part for name, part in components.items() if part is not None}


def _write_configs(source: Any, parts: Mapping[str, Any], work: Path, *, single: bool) -> None:
    if single:
        _write_config(source, work)
        return
    # A class of the user's own calls its models as the mindone pipeline it derives from, as far as can be known.
    classes = [kind for kind in type(source).__mro__ if kind.__module__.startswith("mindone.")]
    class_name = (classes or [type(source)])[0].__name__
    index: dict[str, Any] = {"_class_name": class_name}
    options = getattr(source, "config", None)
    if isinstance(options, Mapping):  # what model_index.json holds beside the parts
        index |= {key: value for key, value in options.items() if isinstance(value, bool | int | float | str)}
        index["_class_name"] = class_name
    for name, part in parts.items():
        index[name] = [_library(part), type(part).__name__]
        (work / name).mkdir()
        if _is_cell(part):
            _write_config(part, work / name)
        elif isinstance(length := getattr(part, "model_max_length", None), int):  # a tokenizer's
            settings = json.dumps({"model_max_length": length})
            (work / name / "tokenizer_config.json").write_text(settings, encoding="utf-8")
    _write_settings(work / "model_index.json", index)


def _write_config(model: Any, folder: Path) -> None:
    config: Any = getattr(model, "config", None)
    if hasattr(model, "to_json_string"):  # diffusers: the model tells its own
        content = json.loads(model.to_json_string())
    elif hasattr(config, "to_json_string"):
        content = json.loads(config.to_json_string(use_diff=False))
        content["architectures"] = [type(model).__name__]
    else:
        raise TraceError(f"model class {type(model).__name__} is not supported; give the inputs of its call.")
    _write_settings(folder / "config.json", content)


def _write_settings(path: Path, content: Any) -> None:
    """As diffusers and transformers write them, without the place that they were loaded from.

    Raises TraceError where it is no table.
    """
    if not isinstance(content, dict):
        raise TraceError(f"the configuration of {path.parent.name} is no table, but a {type(content).__name__}.")
    kept = {name: value for name, value in content.items() if name != "_name_or_path"}
    path.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _library(part: Any) -> Library:
    return "transformers" if ".transformers." in f"{type(part).__module__}." else "diffusers"


def _planned(
    work: Path, dtype: str, shapes: ShapeOptions, components: Sequence[str], terms: Terms
) -> tuple[ComponentPlan, ...]:
    """Plan the folder; in what goes wrong the folder, of which the user knows nothing, is called what it stands for."""
    try:
        return plan_pipeline(work, dtype, shapes, components, terms)
    except AttnfuseError as error:
        raise type(error)(str(error).replace(f"{work}/", "").replace(str(work), "the pipeline")) from None
