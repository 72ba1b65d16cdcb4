"""The subprocess that traces: `python -m tools.corpus.worker FOLDER [NAME...]`, NAME being CASE or CASE-DTYPE.

Imports MindSpore once, then forks a child for each graph, so that every graph is the first of its process: names that
MindSpore counts up do not depend on what was traced before. A child writes `CASE-DTYPE.mindir`, a graph without
weights, and `CASE-DTYPE.json`, which holds what is known of the model without looking at its graph, or the error.
Worker side.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
from mindspore.common.api import _cell_graph_executor
from mindspore.nn.utils import no_init_parameters
from mindspore.train import mind_ir_pb2

from attnfuse.tracing.build import hold_in
from attnfuse.tracing.canonical import canonicalise
from attnfuse.tracing.patches import cpu_patches
from tools.corpus.exports import exportable, pretend_ascend
from tools.corpus.models import CASES, FLOAT, Case
from tools.corpus.real import REAL_SIZE

DONE = "corpus: "
"""Begins the lines on stdout that tell of a finished graph; MindSpore prints others."""


def main(arguments: list[str]) -> int:
    """Trace each of the named graphs (all of `CASES` if none is) into the folder, and print how each went.

    Returns 2, having traced nothing, for a name there is no case for.
    """
    folder, *asked = arguments
    everything = {**CASES, **REAL_SIZE}
    known = [f"{case}-{dtype}" for case, entry in everything.items() for dtype in entry.dtypes]
    asked = asked or list(CASES)
    names = [name for name in known if name in asked or name.rpartition("-")[0] in asked]
    unknown = [name for name in asked if name not in known and name not in everything]
    if unknown:
        print(f"no such case: {', '.join(unknown)}", file=sys.stderr)
        return 2
    for name in names:
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = _trace_one(name, Path(folder))
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(f"{DONE}{name}: {'traced' if status == 0 else f'failed ({status})'}, {time.monotonic() - started:.1f} s")
        sys.stdout.flush()
    return 0


def _trace_one(name: str, folder: Path) -> int:
    case_name, _, dtype = name.rpartition("-")
    case = CASES.get(case_name) or REAL_SIZE[case_name]
    try:
        model = _build(case, dtype)
        proto = _trace(case_name, case, model, dtype)
        (folder / f"{name}.mindir").write_bytes(proto.SerializeToString(deterministic=True))
        used = [parameter.name.partition(":")[2] for parameter in proto.graph.parameter]
        result: dict[str, Any] = {"family": case.family, "modules": _attention_modules(model, used)}
    except Exception as error:
        traceback.print_exc()
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        result = {"error": lines[0] if lines else type(error).__name__}
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    return 1 if "error" in result else 0


def _build(case: Case, dtype: str) -> Any:
    mindspore.set_device("CPU")
    with no_init_parameters(), cpu_patches():
        model = case.build()
        hold_in(model, getattr(mindspore, dtype))
    if case.on_ascend:
        pretend_ascend(model)
    return model


def _trace(name: str, case: Case, model: Any, dtype: str) -> Any:
    inputs = [
        mindspore.Tensor(np.zeros(shape, np.float32), dtype=getattr(mindspore, dtype if kind == FLOAT else kind))
        for _, shape, kind in case.inputs
    ]
    cell = case.cell(model)
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    with exportable():
        graph_id, _ = _cell_graph_executor.compile(cell, *inputs, phase="export.mindir", do_convert=False)
        data = _cell_graph_executor._get_func_graph_proto(cell, graph_id, "mind_ir")
    proto = mind_ir_pb2.ModelProto()
    proto.ParseFromString(data)
    canonicalise(proto, name)
    for parameter in proto.graph.parameter:
        parameter.ClearField("raw_data")
        parameter.ClearField("external_data")
    return proto


def _attention_modules(model: Any, used: list[str]) -> list[str]:
    """Names of the cells whose class is called some kind of attention and of which the graph uses a parameter.

    Linear attention has no softmax and is none. Innermost only: one that only holds another (BertAttention around
    BertSelfAttention) is no site of its own.
    """
    names = [
        name
        for name, cell in model.cells_and_names()
        if "Attention" in type(cell).__name__ and "Linear" not in type(getattr(cell, "processor", None)).__name__
    ]
    inner = [name for name in names if not any(other.startswith(f"{name}.") for other in names)]
    return sorted(name for name in inner if any(parameter.startswith(f"{name}.") for parameter in used))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
