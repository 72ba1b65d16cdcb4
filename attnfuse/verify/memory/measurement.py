"""How much memory the fusing saves, measured: both graphs run in onnxruntime, each in a process of its own.

Everything is float32 there, whatever the graph's types, and fused nodes without mask and bias are onnxruntime's own
attention, which keeps no scores. So the figures tell whether the accounting is right (which tensors are alive together,
and how large they are), not what an Ascend takes. Beside each peak stands what `liveness` predicts of it, by the rules
of that executor: a softmax is written over its operand, so that one matrix of scores is all there is where nothing
stands between the product and the softmax. `score_bytes_saved` of a report counts two, as is right for the target: the
graph engine of an Ascend lets an operator write over its operand only where the operator's definition says so, and that
of SoftmaxV2 does not (read in their sources, not run).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from attnfuse import processes
from attnfuse.errors import VerificationError
from attnfuse.ir.graph import Model, Node
from attnfuse.mindir import codec
from attnfuse.serialisation import to_json
from attnfuse.verify.graph.fused_nodes import MalformedError, fused_nodes, read, sizes
from attnfuse.verify.inference import binding
from attnfuse.verify.lowering.fused import is_lean
from attnfuse.verify.numbers.data import read_sets

TIMEOUT_SECONDS = 7200.0
_GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}
"""glibc raises the size from which memory is given back when freed to 32 MiB; smaller tensors would then add up."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The most memory one process held, in bytes, and what was predicted of it."""

    measured: int
    predicted: int


@dataclass(frozen=True, slots=True)
class MemoryFigures:
    """Of both graphs. `kept` counts fused nodes that keep their scores here, because they have a mask or a bias."""

    original: Peak
    fused: Peak
    kept: int

    def to_json(self) -> dict[str, int]:
        """Plain values, ready for a JSON encoder."""
        return {
            "original_peak_bytes": self.original.measured,
            "original_predicted_bytes": self.original.predicted,
            "fused_peak_bytes": self.fused.measured,
            "fused_predicted_bytes": self.fused.predicted,
            "saved_bytes": self.original.measured - self.fused.measured,
            "saved_predicted_bytes": self.original.predicted - self.fused.predicted,
            "fused_nodes_that_keep_scores": self.kept,
        }


def measure_memory(original: Path, fused: Path, seed: int, data: Path | None = None) -> MemoryFigures:
    """Peaks of the two graphs. Raises SourceError for a file that cannot be read, UsageError for `data` that does not
    fit the graph, VerificationError for a run that fails or does not end in two hours."""
    before, after = (Model(codec.parse(codec.read_bytes(path), str(path))) for path in (original, fused))
    sets = read_sets(before, [] if data is None else [data])
    with tempfile.TemporaryDirectory(prefix="attnfuse-", ignore_cleanup_errors=True) as folder:
        work, bound = Path(folder), {}
        if binding.is_open(before):
            (sizes,) = binding.bind(before, after, [given.inputs for given in sets], original.stem, work, most=1)
            bound = dict(zip(("original", "fused"), sizes.graphs(), strict=True))
            after = bound["fused"]
            for name, model in bound.items():
                (work / name).write_bytes(codec.serialise(model.proto))
        kept = sum(not _is_lean(after, node) for node in fused_nodes(after))
        peaks = [
            _peak(_job(graph, other, work / side if side in bound else graph, seed, data))
            for side, graph, other in (("original", original, fused), ("fused", fused, original))
        ]
    return MemoryFigures(peaks[0], peaks[1], kept)


@dataclass(frozen=True, slots=True)
class Job:
    """What the worker is asked for: to run a graph.

    `graph` and, for what it lacks, `weights` are where its weights are from, `at_sizes` is the file of the same graph
    whose sizes are known.
    """

    graph: Path
    weights: Path
    at_sizes: Path
    seed: int
    data: Path | None


def _job(graph: Path, weights: Path, at_sizes: Path, seed: int, data: Path | None) -> Job:
    return Job(graph.resolve(), weights.resolve(), at_sizes.resolve(), seed, None if data is None else data.resolve())


def _is_lean(model: Model, node: Node) -> bool:
    try:
        attention = read(model, node)
        types = [model.type_of(v) for v in (attention.query, attention.key, attention.value)]
        query, key, value = (tensor_type for tensor_type in types if tensor_type is not None)
        return is_lean(attention, sizes(attention, query, key, value))
    except MalformedError as error:
        raise VerificationError(f"{node.op} {error}; attnfuse verify says more.") from None


def _peak(job: Job) -> Peak:
    graph = job.graph
    try:
        done = processes.run(
            [sys.executable, "-m", "attnfuse.verify.memory.worker", str(os.getpid())],
            said=json.dumps(to_json(job)),
            seconds=TIMEOUT_SECONDS,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **_GIVE_BACK},
        )
    except subprocess.TimeoutExpired:
        raise VerificationError(f"running {graph} took more than {TIMEOUT_SECONDS:.0f} s.") from None
    lines = done.stdout.strip().splitlines()
    try:
        answer = json.loads(lines[-1]) if done.returncode == 0 and lines else {}
    except ValueError:
        answer = {}
    if "error" in answer:
        raise VerificationError(answer["error"])
    if "peak" not in answer:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1][:200]
        raise VerificationError(f"the process that runs {graph} died with exit code {done.returncode}: {last}.")
    return Peak(int(answer["peak"]), int(answer["predicted"]))
