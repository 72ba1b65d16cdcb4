"""A stand-in for `mindspore_lite` with the names and signatures of 2.7: what it checks, Lite's own Python checks too.

`made` are the models, for a test to look at; `computed` what a model's run comes to, from its inputs by name. It runs
where the runtime does, in Python 3.9 too.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attnfuse_runtime.noise import Array

DataType = enum.Enum("DataType", {"INT32": 34, "INT64": 35, "FLOAT16": 42, "BFLOAT16": 45, "FLOAT32": 43})
ModelType = enum.Enum("ModelType", {"MINDIR": 0, "MINDIR_LITE": 4})

made: list[Model] = []
inputs: list[tuple[str, tuple[int, ...], str]] = []
"""Name, shape and type of each input of the next models, as Lite reports them."""
computed: Callable[[dict[str, Array]], Sequence[Array]] = lambda values: list(values.values())  # noqa: E731


class Tensor:
    def __init__(self, name: str, shape: Sequence[int], dtype: str) -> None:
        self.name, self.shape, self.dtype = name, list(shape), DataType[dtype.upper()]
        self._value: Array | None = None

    def set_data_from_numpy(self, numpy_obj: Array) -> None:
        if not isinstance(numpy_obj, np.ndarray):
            raise TypeError(f"numpy_obj must be numpy.ndarray, but got {type(numpy_obj)}.")
        if numpy_obj.dtype.name.upper() != self.dtype.name:
            raise RuntimeError(f"data type not equal! Numpy type: {numpy_obj.dtype}, Tensor type: {self.dtype}")
        if list(numpy_obj.shape) != self.shape:
            raise RuntimeError(f"data size not equal! Numpy size: {numpy_obj.nbytes}")
        self._value = numpy_obj.copy()

    def get_data_to_numpy(self) -> Array:
        assert self._value is not None
        return self._value


ModelGroupFlag = enum.Enum("ModelGroupFlag", {"SHARE_WEIGHT": 0, "SHARE_WORKSPACE": 1})


class ModelGroup:
    def __init__(self, flags: ModelGroupFlag = ModelGroupFlag.SHARE_WORKSPACE) -> None:
        self.flags = flags

    def add_model(self, models: Sequence[Model]) -> None:
        assert all(model.context is None for model in models)  # before one is built
        for model in models:
            model.group = self


class _Device:
    device_id: int | None = None
    precision_mode: str | None = None
    provider: str = ""


class Context:
    def __init__(self) -> None:
        self.ascend, self.cpu, self.target = _Device(), _Device(), ["cpu"]


class Model:
    def __init__(self) -> None:
        made.append(self)
        self.context: Context | None = None
        self.config_path = ""
        self.group: ModelGroup | None = None
        self.resized: list[list[int]] = []
        self._inputs = [Tensor(*one) for one in inputs]
        self._results: list[Tensor] = []

    def build_from_file(
        self, model_path: Any, model_type: Any, context: Any = None, config_path: Any = "", config_dict: Any = None
    ) -> None:
        if not isinstance(model_path, str) or not isinstance(config_path, str):
            raise TypeError("model_path must be str")
        if not isinstance(model_type, ModelType) or not isinstance(context, Context):
            raise TypeError("model_type must be ModelType")
        if not Path(model_path).exists() or (config_path and not Path(config_path).exists()):
            raise RuntimeError("build_from_file failed, model_path does not exist!")
        self.context, self.config_path = context, config_path

    def get_inputs(self) -> list[Tensor]:
        return list(self._inputs)

    def resize(self, inputs: list[Tensor], dims: list[list[int]]) -> None:
        assert len(inputs) == len(dims)
        for at, tensor in enumerate(inputs):
            tensor.shape = dims[at]
        self.resized = dims

    def predict(self, inputs: Any, outputs: Any = None) -> list[Tensor]:
        if not isinstance(inputs, list) or [one.name for one in inputs] != [one.name for one in self._inputs]:
            raise RuntimeError("predict failed!")
        values = computed({one.name: one.get_data_to_numpy() for one in inputs})
        # The memory of results is Lite's: the next run writes there.
        if not self._results:
            self._results = [Tensor(f"out{i}", one.shape, one.dtype.name) for i, one in enumerate(values)]
            for at, tensor in enumerate(self._results):
                tensor.set_data_from_numpy(values[at])
        for at, tensor in enumerate(self._results):
            tensor.get_data_to_numpy()[...] = values[at]
        return self._results
