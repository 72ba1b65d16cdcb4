"""Traces the cells of a live pipeline and saves their weights, in the user's process.

The only module of this package that imports MindSpore, which the user's process holds already. Leaves behind what the
tracing worker leaves (`TracedComponent`s), for the subprocess to compile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mindspore

from attnfuse.errors import AttnfuseError, TraceError
from attnfuse.live.state import untouched
from attnfuse.mindir import dtypes, tensorfile
from attnfuse.tracing.build import trace, trace_call
from attnfuse.tracing.canonical import canonicalise
from attnfuse.tracing.contract import DTYPES, ComponentPlan, StoredWeight, Traced, TracedComponent
from attnfuse.tracing.quantisation import REMEDY
from attnfuse.tracing.worker import first_line, read_outputs


def capture(plan: ComponentPlan, model: Any, folder: Path, weights: Path | None) -> TracedComponent:
    """Trace one graph of `model` into `folder`; `weights` is the file that holds (or will hold) its values, if any.

    The model and MindSpore's context are as they were afterwards, whatever happens. Raises TraceError where MindSpore
    cannot trace it.
    """
    folder.mkdir()
    try:
        with names_apart(model) as named, _as_formula(model), _dumps_in(folder):
            if plan.call is None:
                proto = trace_call(model, plan.inputs)
                output = proto.graph.output[0]
                count = len(output.attr_info.values) if output.denotation == "Tuple" else 1
                names = tuple(f"output_{i}" for i in range(count))
            else:
                proto, names = trace(plan, model)
        outputs = read_outputs(proto.graph, names)
    except AttnfuseError:
        raise
    except Exception as error:
        raise TraceError(f"component {plan.name} cannot be traced: {first_line(error)}") from error
    canonicalise(proto, plan.name)
    graph = folder / "graph.mindir"
    graph.write_bytes(proto.SerializeToString(deterministic=True))
    used = [parameter.name.partition(":")[2] for parameter in proto.graph.parameter]
    sources = () if weights is None else tuple(_source(name, named, weights) for name in used)
    return TracedComponent(
        plan=plan,
        graph=graph,
        weights=sources,
        outputs=outputs,
        versions={name: version(name) for name in ("mindspore", "mindone", "transformers")},
        seconds=0.0,
        peak_rss_bytes=0,
        traced=Traced("whole", why_whole="the cells of a live model are not changed, be it for a moment"),
    )


@contextmanager
def names_apart(model: Any) -> Iterator[dict[str, Any]]:
    """The parameters of a model by name; as long as this lasts, no two have the same.

    `unload_lora_weights` of mindone leaves cells that never were told where they are: all their parameters are called
    "to_q.weight". Where names are given twice, each parameter gets its path in the model.
    """
    parameters = list(model.get_parameters())
    before = [parameter.name for parameter in parameters]
    try:
        if len(set(before)) < len(before):
            for path, parameter in list(model.parameters_and_names()):
                parameter.name = path
        yield {parameter.name: parameter for parameter in parameters}
    finally:
        for parameter, name in zip(parameters, before, strict=True):
            if parameter.name != name:
                parameter.name = name


@contextmanager
def _as_formula(model: Any) -> Iterator[None]:
    """Trace what the model means: on an Ascend host too, attention as its formula, whose casts and masks are exact."""
    cells = [model, *(cell for _, cell in model.cells_and_names())]
    mode = mindspore.get_context("mode")
    with untouched({id(cell): cell for cell in cells}.values()):
        available = [cell for cell in cells if getattr(cell, "fa_op_available", False)]
        for cell in available:
            cell.fa_op_available = False
        try:
            yield
        finally:
            for cell in available:
                cell.fa_op_available = True
            mindspore.set_context(mode=mode)


@contextmanager
def _dumps_in(folder: Path) -> Iterator[None]:
    """Have what MindSpore dumps of a trace that fails (rank_0/om/analyze_fail.ir) put there, not where the user is."""
    before = os.environ.get("MS_OM_PATH")
    os.environ["MS_OM_PATH"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MS_OM_PATH"]
        else:
            os.environ["MS_OM_PATH"] = before


def _source(name: str, named: dict[str, Any], weights: Path) -> StoredWeight:
    if name not in named:
        raise TraceError(f"the graph reads parameter {name}, which the model does not own.")
    parameter = named[name]
    return StoredWeight(name, weights, name, _dtype_name(parameter), tuple(parameter.shape))


def save_weights(model: Any, path: Path, progress: Callable[[int, int], None]) -> None:
    """Write every parameter of `model` to the safetensors file `path`, as it is and one at a time.

    `progress` is called with the bytes done and their total. Raises TraceError, naming it, for a parameter without a
    value (a model that was built but not loaded) or of a type that cannot be written.
    """
    with names_apart(model) as parameters:
        _save(parameters, path, progress)


def _save(parameters: Mapping[str, Any], path: Path, progress: Callable[[int, int], None]) -> None:
    """What `save_weights` does, with the parameters by name."""
    for name, parameter in parameters.items():
        if parameter.has_init:
            raise TraceError(f"parameter {name} has no value yet; load the model's weights before compiling it.")
    header, end = tensorfile.write_header(
        (name, dtypes.from_name(_dtype_name(parameter)), tuple(int(n) for n in parameter.shape))
        for name, parameter in parameters.items()
    )
    with path.open("wb") as file:
        file.write(header)
        done = 0
        for parameter in parameters.values():
            done += file.write(parameter.get_bytes())
            progress(done, end)


def _dtype_name(parameter: Any) -> str:
    name = str(parameter.dtype).lower()
    if name not in DTYPES:
        raise TraceError(
            f"parameter {parameter.name} is of type {parameter.dtype}, in which no model computes: its weights are"
            f" quantised; {REMEDY}."
        )
    return name
