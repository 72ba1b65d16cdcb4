"""A stand-in for `mindspore_lite` whose models run in MindSpore Lite 2.0.0, each in a process of its own: `remote`."""

from __future__ import annotations

import enum
import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from attnfuse.ir.types import Array
from tests.lite import remote
from tests.lite.selection import VARIABLE, interpreter

ModelType = enum.Enum("ModelType", {"MINDIR": 0, "MINDIR_LITE": 4})


class Context:
    def __init__(self) -> None:
        self.target = ["cpu"]
        self.cpu, self.ascend = SimpleNamespace(), SimpleNamespace()


class Tensor:
    """An input, as Lite reports it, or an output."""

    def __init__(self, name: str, shape: Sequence[int], dtype: str) -> None:
        self.name, self.shape, self.dtype = name, list(shape), SimpleNamespace(name=dtype)
        self.value: Array | None = None

    def set_data_from_numpy(self, numpy_obj: Array) -> None:
        self.value = numpy_obj

    def get_data_to_numpy(self) -> Array:
        assert self.value is not None
        return self.value


class Model:
    """What 2.0.0 raises is raised here."""

    def __init__(self) -> None:
        python = interpreter()
        assert python is not None, f"no MindSpore Lite: run bash tools/test.sh, or set {VARIABLE}"
        self._folder = tempfile.TemporaryDirectory()
        # -I: what the caller's environment points Python 3.11 at is not for 3.7.
        command = [str(python), "-I", remote.__file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._inputs: list[Tensor] = []

    def _ask(self, **question: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "MindSpore Lite 2.0.0 is gone"
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise RuntimeError(found["error"])
        return found

    def build_from_file(self, model_path: str, model_type: Any, context: Context, config_path: str = "") -> None:
        found = self._ask(do="build", path=model_path, target=context.target[0], config=config_path)
        self._inputs = [Tensor(*one) for one in found["inputs"]]

    def get_inputs(self) -> list[Tensor]:
        return self._inputs

    def resize(self, inputs: Sequence[Tensor], dims: Sequence[Sequence[int]]) -> None:
        for tensor, (_, shape, _) in zip(inputs, self._ask(do="resize", shapes=dims)["inputs"], strict=True):
            tensor.shape = shape

    def predict(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        files = {}
        for number, tensor in enumerate(inputs):
            files[tensor.name] = str(Path(self._folder.name, f"in{number}.npy"))
            np.save(files[tensor.name], tensor.get_data_to_numpy())
        found = self._ask(do="predict", inputs=files, folder=self._folder.name)
        results = []
        for file in found["outputs"]:
            value = np.load(file)
            results.append(Tensor("", value.shape, value.dtype.name.upper()))
            results[-1].set_data_from_numpy(value)
        return results

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()


def module() -> Iterator[Any]:
    """The stand-in, and then the end of all its processes."""
    made: list[Model] = []

    def model() -> Model:
        made.append(Model())
        return made[-1]

    yield SimpleNamespace(Context=Context, Model=model, ModelType=ModelType)
    for one in made:
        one.close()
