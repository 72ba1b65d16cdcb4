"""MindSpore's own inference over small graphs: what it makes of each, all in one process.

The graphs must not hold the answer: declare another type on the node asked about, since MindSpore carries the declared
one through where it has no inference of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from attnfuse.ir.graph import Model, tensor_type
from attnfuse.ir.types import ValueType
from attnfuse.ir.values import input_type
from attnfuse.mindir import codec
from tests.support import forks


@dataclass(frozen=True, slots=True)
class Answer:
    """The kind of the graph's one output; `error` is MindSpore's message where it takes the graph not at all."""

    value_type: ValueType
    error: str | None


def ask(models: Mapping[str, Model], work: Path) -> dict[str, Answer]:
    """What MindSpore infers for the output of each."""
    jobs = []
    for i, model in enumerate(models.values()):
        source = work / f"{i}.mindir"
        source.write_bytes(codec.serialise(model.proto))
        jobs.append({"source": str(source), "target": str(work / f"{i}.out"), "inputs": _inputs(model)})
    environment = {k: v for k, v in os.environ.items() if k != "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"}
    environment |= {"GLOG_v": "3", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = forks.run(
        [sys.executable, "-m", "attnfuse.verify.inference.worker", str(os.getpid())],
        said=json.dumps({"graphs": jobs}), env=environment, cwd=work,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    errors = json.loads(done.stdout.strip().rpartition("\n")[2])["errors"]
    answers = {}
    for i, (name, error) in enumerate(zip(models, errors, strict=True)):
        value_type = None
        if error is None:
            (output,) = codec.parse((work / f"{i}.out").read_bytes(), name).graph.output
            value_type = input_type(output)
        answers[name] = Answer(value_type, error)
    return answers


def _inputs(model: Model) -> list[list[object]]:
    inputs: list[list[object]] = []
    for value in model.proto.graph.input:
        kind = tensor_type(value.tensor[0])
        assert kind is not None
        inputs.append([kind.dtype.name, list(kind.dims)])
    return inputs
