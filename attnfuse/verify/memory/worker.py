"""Run one graph once and tell how much memory that took: a process of its own, so that its peak is its own.

Runs as `python -m attnfuse.verify.memory.worker PARENT`, the id of the process that asks, one JSON request on stdin:
    {"graph": path, "weights": path of the graph to take missing weights from, "at_sizes": path of the same graph with
     known sizes, "seed": n, "data": .npz file or null}
(`memory.Job`) and one JSON answer as the last line of stdout: {"predicted": bytes, "peak": bytes} or
{"error": sentence}. `predicted` is what the process held before it ran anything, its weights as they are stored, which
are mapped and become resident when they are read, and what is alive together of what the graph computes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from attnfuse import processes
from attnfuse.errors import AttnfuseError
from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array
from attnfuse.mindir import codec
from attnfuse.serialisation import parse_json
from attnfuse.verify.limits import WHOLE, limited
from attnfuse.verify.lowering import Arithmetic, UnsupportedOpError, lower
from attnfuse.verify.memory.liveness import peak_bytes
from attnfuse.verify.memory.measurement import Job
from attnfuse.verify.numbers.data import read_sets
from attnfuse.verify.numbers.execution import run
from attnfuse.verify.numbers.inputs import draw_inputs
from attnfuse.verify.numbers.weights import both_sides


def measure(job: Job) -> dict[str, int]:
    """Peak resident memory of one run, predicted and measured, mapped weights included."""
    model, second = (Model(codec.parse(codec.read_bytes(path), str(path))) for path in (job.at_sizes, job.weights))
    (weights, _), _ = both_sides(model.proto, job.graph, second.proto, job.weights, job.seed)
    lowered = lower(model, Arithmetic.PLAIN)
    inputs = draw_inputs(model, job.seed) if job.data is None else _given(model, job.data)
    del second
    stored = sum(
        feed.tensor_type.size * feed.tensor_type.dtype.itemsize for feed in lowered.feeds if feed.parameter is not None
    )
    computed = peak_bytes(lowered)
    predicted = processes.peak_memory() + stored + computed
    with limited(WHOLE):
        run(lowered, inputs, weights)
    return {"predicted": predicted, "peak": processes.peak_memory()}


def _given(model: Model, data: Path) -> dict[str, Array]:
    """The inputs of the file, by the names of this graph, whichever of the two it is."""
    (found,) = read_sets(model, [data])
    return found.inputs


def main() -> None:
    """Answer the request on stdin."""
    processes.die_with(int(sys.argv[1]))
    job = parse_json(Job, sys.stdin.read())
    try:
        answer: dict[str, int] | dict[str, str] = measure(job)
    except (AttnfuseError, UnsupportedOpError) as error:
        answer = {"error": str(error)}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
