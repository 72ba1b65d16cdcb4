"""What traces one component: a worker, which `attnfuse.tracing.server` forks.

The request holds a plan and a work folder; into the folder go `graph.mindir` and `trace.json`, which holds a
TracedComponent, or {"error": one sentence} with exit code 1. Of a model that is traced block by block the pieces are
left, and no graph; where that does not go, `trace.json` holds {"why_whole": why not}. With a share, the request is for
that of the model's blocks alone, which go into the cache, and `trace.json` holds {"blocks_made": how many}. Worker
side: imports, late, the modules that import mindspore, so that a missing MindSpore is an answer and not a traceback.
"""

from __future__ import annotations

import gc
import json
import re
import time
import traceback
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from attnfuse.errors import AttnfuseError, TraceError
from attnfuse.mindir import dtypes
from attnfuse.processes import die_with, peak_memory
from attnfuse.serialisation import from_json, to_json
from attnfuse.tracing.blocks.pieces import BEGUN_FILE, occurrences, write_pieces
from attnfuse.tracing.contract import DTYPES, BlockCache, ComponentPlan, TensorSpec, Traced, TracedComponent
from attnfuse.tracing.graph_weights import weights_of
from attnfuse.tracing.imports import by_name
from attnfuse.tracing.original import tensors_of

GRAPH_FILE = "graph.mindir"
RESULT_FILE = "trace.json"


def prepare() -> None:
    """Import what every trace needs of MindSpore and of mindone. Raises what the imports do."""
    by_name()
    for module in (
        "attnfuse.tracing.build",
        "attnfuse.tracing.weights",
        "attnfuse.tracing.blocks.tracer",
        "mindone.diffusers.models.modeling_utils",
        "mindone.transformers.modeling_utils",
    ):
        import_module(module)


class _NotInBlocksError(Exception):
    """The model was not traced block by block, though that was begun; the message says why."""


def main(arguments: list[str]) -> int:
    """Trace what the request file asks for; return 0, or 1 with the error in the result file."""
    request = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    die_with(request["parent"])
    work = Path(request["work"])
    try:
        plan = replace(from_json(ComponentPlan, request["plan"]), way=request["way"])
        cache = None if request["blocks"] is None else from_json(BlockCache, request["blocks"])
        if request["share"] is None:
            result: dict[str, Any] = to_json(_trace(plan, work, request["why_whole"], cache))
        else:
            result = {"blocks_made": _share(plan, cache, *request["share"])}
    except _NotInBlocksError as error:
        result = {"why_whole": str(error)}
    except AttnfuseError as error:
        result = {"error": str(error)}
    except Exception as error:
        traceback.print_exc()  # for the log
        result = {"error": f"component {request['plan']['name']} cannot be traced: {first_line(error)}"}
    temporary = work / f".{RESULT_FILE}"
    temporary.write_text(json.dumps(result, indent=1), encoding="utf-8")
    temporary.rename(work / RESULT_FILE)
    return 1 if "error" in result else 0


def _built(plan: ComponentPlan) -> tuple[Any, dict[str, Any]]:
    """The model without its weights, and the tensors of the checkpoint that has them."""
    # Before MindSpore, which takes seconds to import: a checkpoint that cannot be read is told at once.
    tensors = tensors_of(plan)
    by_name()
    try:
        import mindspore

        from attnfuse.tracing.build import build_skeleton
        from attnfuse.tracing.ip_adapter_weights import give_ip_adapter
    except ImportError as error:
        raise TraceError(
            f"tracing needs MindSpore and mindone, and importing them failed ({error}): install attnfuse[trace]."
        ) from error

    mindspore.set_device("CPU")
    model = build_skeleton(plan)
    added = {} if plan.ip_adapter is None else give_ip_adapter(model, plan)
    return model, {**tensors, **added}


def _trace(plan: ComponentPlan, work: Path, why_whole: str, cache: BlockCache | None) -> TracedComponent:
    started = time.monotonic()
    model, tensors = _built(plan)

    from attnfuse.tracing.build import output_names, trace
    from attnfuse.tracing.canonical import canonicalise
    from attnfuse.tracing.weights import find_sources

    sources = find_sources(plan, model, tensors, work)  # before the trace, which takes longer and seldom fails
    traced, blocks_made = Traced("whole", why_whole=why_whole), 0
    if plan.way == "blocks":
        traced, proto, blocks_made = _trace_in_blocks(plan, model, work, cache)
    if traced.how == "blocks":  # which weights the whole graph has, and in which order, shows when it is put together
        weights = tuple(sources.values())
    else:
        proto, _ = trace(plan, model)
        canonicalise(proto, plan.name)
        (work / GRAPH_FILE).write_bytes(proto.SerializeToString(deterministic=True))
        weights = weights_of(proto.graph, sources, plan)
    return TracedComponent(
        plan=plan,
        graph=work / GRAPH_FILE,
        weights=weights,
        outputs=read_outputs(proto.graph, output_names(plan)),
        versions={name: version(name) for name in ("mindspore", "mindone", "transformers")},
        seconds=time.monotonic() - started,
        peak_rss_bytes=peak_memory(),
        traced=traced,
        blocks_made=blocks_made,
    )


def _trace_in_blocks(plan: ComponentPlan, model: Any, work: Path, cache: BlockCache | None) -> tuple[Traced, Any, int]:
    """Write the pieces; return how it went, the message of what is around the blocks, and how many the cache got.

    Where there is nothing to gain, nothing was traced. Raises _NotInBlocksError where something was, in vain: what is
    traced in this process later would be numbered otherwise.
    """
    from attnfuse.tracing.blocks.tracer import NoBlocksError, Tracer
    from attnfuse.tracing.build import Entry, compile_again, entered

    gc.collect()
    gc.freeze()  # a skeleton is many objects, and all of them stay
    (work / BEGUN_FILE).touch()  # who finds it knows what the process was at when it died
    with entered(plan, model) as cell:
        tracer = Tracer(compile_again, Entry, cache=cache, patches=plan.patches)
        try:
            pieces, message = tracer.pieces(cell, plan.inputs, work)
        except NoBlocksError as error:
            if not tracer.began:
                return Traced("whole", why_whole=str(error)), None, 0
            raise _NotInBlocksError(str(error)) from error
        except Exception as error:
            traceback.print_exc()  # for the log
            raise _NotInBlocksError(first_line(error)) from error
        finally:
            (work / BEGUN_FILE).unlink()
    write_pieces(work, pieces)
    return Traced("blocks", len(pieces) - 1, occurrences(pieces)), message, tracer.kept


def _share(plan: ComponentPlan, cache: BlockCache | None, number: int, of: int) -> int:
    """Trace a share of the blocks for the cache; how many it got."""
    model, _ = _built(plan)

    from attnfuse.tracing.blocks.tracer import Tracer
    from attnfuse.tracing.build import Entry, compile_again, entered

    gc.collect()
    gc.freeze()
    with entered(plan, model) as cell:
        tracer = Tracer(compile_again, Entry, cache=cache, patches=plan.patches)
        tracer.share(cell, plan.inputs, number, of)
    return tracer.kept


def read_outputs(graph: Any, names: tuple[str, ...]) -> tuple[TensorSpec, ...]:
    """Read the outputs' abstracts: one tensor, or one tuple of tensors.

    TraceError where there are not `names` many, or one is no tensor.
    """
    (output,) = graph.output
    if output.denotation == "Tuple":
        found = output.attr_info.values
        for position, value in enumerate(found):
            if len(value.tensors) != 1:
                message = names[position] if len(names) == len(found) else str(position)
                raise TraceError(f"the model's output {message} is no tensor, but a tuple or nothing.")
        tensors = [value.tensors[0] for value in found]
    else:
        tensors = list(output.tensor)
    if len(tensors) != len(names):
        raise TraceError(f"the model returned {len(tensors)} tensors, and the outputs are {', '.join(names)}.")
    return tuple(
        TensorSpec(name, tuple(tensor.dims), _dtype_of(name, tensor.data_type))
        for name, tensor in zip(names, tensors, strict=True)
    )


def _dtype_of(output: str, number: int) -> str:
    dtype = dtypes.from_wire(number)
    if dtype is None or dtype.name not in DTYPES:
        found = f"of type {number} (TensorProto.DataType)" if dtype is None else str(dtype)
        raise TraceError(f"the model's output {output} is {found}; it must be one of {', '.join(DTYPES)}.")
    return dtype.name


def first_line(error: Exception) -> str:
    """Return MindSpore's message without the call stacks that follow it.

    A cell that the message begins with, which is printed with all that is in it, is told by its class. Where an object
    lies in memory is left out: the message goes into the report, which is the same in every run.
    """
    said = re.sub(r" at 0x[0-9a-f]+", "", str(error))
    lines = [line.rstrip() for line in said.splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    first = lines[0].strip()
    if first.endswith("("):
        after = next((line for line in lines[1:] if line.startswith(")")), None)
        if after is not None:
            return first[:-1] + after[1:]
    return first
