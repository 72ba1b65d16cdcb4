"""Running a graph in MindSpore Lite 2.0.0."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from attnfuse.ir.types import Array
from attnfuse.mindir.codec import serialise
from attnfuse.mindir.schema import ModelProto
from attnfuse.verify.names import leaf_name
from tests.lite import worker
from tests.lite.selection import VARIABLE, interpreter
from tests.support.waiting import PATIENCE


class RefusedError(Exception):
    """Lite did not build or run the graph, or crashed; the text is its log."""


def run_lite(model: ModelProto, inputs: Mapping[str, Array]) -> list[Array]:
    """The outputs of a graph of version 1, in order; `inputs` are by MindIR name.

    Raises RefusedError where Lite does not take it.
    """
    python = interpreter()
    assert python is not None, f"no MindSpore Lite: run bash tools/test.sh, or set {VARIABLE}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "model.mindir"
        path.write_bytes(serialise(model))
        files = {leaf_name(value): f"in{index}.npy" for index, value in enumerate(inputs)}
        for file, value in zip(files.values(), inputs.values(), strict=True):
            np.save(folder / file, value)
        (folder / "inputs.json").write_text(json.dumps(list(files.items())), encoding="utf-8")
        # -I: what the caller's environment points Python 3.11 at is not for 3.7.
        done = subprocess.run(
            [python, "-I", worker.__file__, path, folder],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode == worker.REFUSED:
            raise RefusedError(done.stdout + done.stderr)
        if done.returncode < 0:
            raise RefusedError(f"crashed with signal {-done.returncode}")
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        results = [folder / f"out{index}.npy" for index in range(len(list(folder.glob("out*.npy"))))]
        return [np.load(result) for result in results]
