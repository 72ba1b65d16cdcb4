"""How much memory the fusing saves, measured: both graphs run in onnxruntime, each in a process of its own.

Everything is float32 there, whatever the graph's types, and fused nodes without mask and bias are onnxruntime's own
attention, which keeps no scores. So the figures tell whether the accounting of the report is right (which tensors are
alive together, and how large they are), not what an Ascend takes. What is predicted is what the largest fused site
takes less: scores and weights, two float32 matrices. That is a bound: where nothing stands between the product and the
softmax, onnxruntime may write the softmax over its input, and then one matrix is all there was. May import the reader
of fused nodes and the lowering.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from attnfuse.errors import VerificationError
from attnfuse.graph import Model
from attnfuse.mindir import codec
from attnfuse.verify.fused_nodes import MalformedError, Sizes, fused_nodes, read, sizes
from attnfuse.verify.lowering.fused import is_lean

TIMEOUT_SECONDS = 7200.0
_FLOAT32 = 4
_MATRICES = 2
"""Of scores and of weights: the softmax's input and result are alive together."""


@dataclass(frozen=True, slots=True)
class MemoryFigures:
    """Bytes. `predicted` is the most that the peaks should differ by; `kept` counts fused nodes that keep their scores
    here, because they have a mask or a bias."""

    original: int
    fused: int
    predicted: int
    kept: int

    @property
    def saved(self) -> int:
        return self.original - self.fused

    def to_json(self) -> dict[str, int]:
        """Plain values, ready for a JSON encoder."""
        return {
            "original_peak_bytes": self.original,
            "fused_peak_bytes": self.fused,
            "saved_bytes": self.saved,
            "predicted_saved_bytes_at_most": self.predicted,
            "fused_nodes_that_keep_scores": self.kept,
        }


def measure_memory(original: Path, fused: Path, seed: int) -> MemoryFigures:
    """Peaks of the two graphs. Raises SourceError for a file that cannot be read, VerificationError for a run that
    fails or does not end in two hours."""
    model = Model(codec.parse(codec.read_bytes(fused), str(fused)))
    predicted, kept = _predicted(model)
    return MemoryFigures(_peak(original, fused, seed), _peak(fused, original, seed), predicted, kept)


def _predicted(model: Model) -> tuple[int, int]:
    largest = kept = 0
    for node in fused_nodes(model):
        try:
            attention = read(model, node)
            kinds = [model.type_of(v) for v in (attention.query, attention.key, attention.value)]
            query, key, value = (kind for kind in kinds if kind is not None)
            of = sizes(attention, query, key, value)
        except MalformedError as error:
            raise VerificationError(f"{node.op} {error}; attnfuse verify tells more.") from None
        if is_lean(attention, of):
            largest = max(largest, _scores(of))
        else:
            kept += 1
    return largest * _MATRICES * _FLOAT32, kept


def _scores(of: Sizes) -> int:
    return of.batch * of.heads * of.query_length * of.key_length


def _peak(graph: Path, other: Path, seed: int) -> int:
    request = {"graph": str(graph.resolve()), "weights": str(other.resolve()), "seed": seed}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "attnfuse.verify.memory_worker"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
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
    return int(answer["peak"])
