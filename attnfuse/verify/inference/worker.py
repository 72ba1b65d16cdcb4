"""The only code of verification that imports MindSpore: load graphs, infer them again, write what was inferred.

Runs as `python -m attnfuse.verify.inference.worker PARENT`, the id of the process that asks, one JSON request on stdin:
    {"graphs": [{"source": path, "target": path, "inputs": [[name of dtype, [dim, …]], …]}, …]}
and one JSON answer as the last line of stdout: {"mindspore": version, "errors": [message or null, …]}.
Nothing of the project that reads protobuf may be imported here (MindSpore registers the same schema).
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

from attnfuse.processes import die_with


def infer(source: Path, target: Path, inputs: list[tuple[str, list[int]]]) -> None:
    """Load the graph, run type and shape inference on inputs of those types, write the graph that comes out."""
    import mindspore  # late: it takes seconds, in which the process that asked may die
    from mindspore import nn
    from mindspore.common import api

    cell = nn.GraphCell(mindspore.load(str(source)))
    tensors = [
        mindspore.Tensor(
            shape=[None if d < 0 else d for d in dims], dtype=getattr(mindspore, "bool_" if name == "bool" else name)
        )
        for name, dims in inputs
    ]
    # What mindspore.export does before it adds the weights; it stops short of choosing kernels, of which the
    # host has none for the fused nodes.
    executor = api._cell_graph_executor
    phase, _ = executor.compile(cell, *tensors, phase="export.mindir", do_convert=False)
    target.write_bytes(executor._get_func_graph_proto(cell, phase, "mind_ir"))


def main() -> int:
    """Answer the request on stdin."""
    die_with(int(sys.argv[1]))
    import mindspore

    # MindSpore collects garbage before each graph. The hundreds of thousands of objects of its imports are none, and
    # walking them takes ten times as long as a small graph's inference.
    gc.freeze()
    request: dict[str, Any] = json.load(sys.stdin)
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    mindspore.set_device("CPU")
    errors: list[str | None] = []
    for job in request["graphs"]:
        try:
            infer(Path(job["source"]), Path(job["target"]), [(name, dims) for name, dims in job["inputs"]])
        except Exception as error:  # whatever MindSpore raises is the answer
            errors.append(f"{type(error).__name__}: {error}")
        else:
            errors.append(None)
    sys.stdout.write("\n" + json.dumps({"mindspore": mindspore.__version__, "errors": errors}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
