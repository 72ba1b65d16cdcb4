"""How much memory the fusing saves, measured: both graphs run in onnxruntime, each in a process of its own.

Everything is float32 there, whatever the graph's types, and fused nodes without mask and bias are onnxruntime's own
attention, which keeps no scores. So the figures tell whether the accounting is right (which tensors are alive together,
and how large they are), not what an Ascend takes. Beside each peak stands what `liveness` predicts of it, by the rules
of that executor: a softmax is written over its operand, so that one matrix of scores is all there is where nothing
stands between the product and the softmax. `score_bytes_saved` of a report counts two, as is right for the target: the
graph engine of an Ascend lets an operator write over its operand only where the operator's definition says so, and that
of SoftmaxV2 does not (read in their sources, not run). May import the reader of fused nodes and the lowering.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from attnfuse import processes
from attnfuse.errors import VerificationError
from attnfuse.graph import Model, Node
from attnfuse.mindir import codec
from attnfuse.verify.fused_nodes import MalformedError, fused_nodes, read, sizes
from attnfuse.verify.lowering.fused import is_lean

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


def measure_memory(original: Path, fused: Path, seed: int) -> MemoryFigures:
    """Peaks of the two graphs. Raises SourceError for a file that cannot be read, VerificationError for a run that
    fails or does not end in two hours."""
    model = Model(codec.parse(codec.read_bytes(fused), str(fused)))
    kept = sum(not _is_lean(model, node) for node in fused_nodes(model))
    return MemoryFigures(_peak(original, fused, seed), _peak(fused, original, seed), kept)


def _is_lean(model: Model, node: Node) -> bool:
    try:
        attention = read(model, node)
        kinds = [model.type_of(v) for v in (attention.query, attention.key, attention.value)]
        query, key, value = (kind for kind in kinds if kind is not None)
        return is_lean(attention, sizes(attention, query, key, value))
    except MalformedError as error:
        raise VerificationError(f"{node.op} {error}; attnfuse verify tells more.") from None


def _peak(graph: Path, other: Path, seed: int) -> Peak:
    request = {"graph": str(graph.resolve()), "weights": str(other.resolve()), "seed": seed}
    try:
        done = processes.run(
            [sys.executable, "-m", "attnfuse.verify.memory_worker", str(os.getpid())],
            said=json.dumps(request),
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
