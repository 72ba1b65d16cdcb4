"""MindSpore Lite on an Ascend: `mindspore_lite`, imported when the first graph is loaded.

Nothing of this was run on a device. The precision mode is that of the configuration that attnfuse wrote beside the
graphs: the context is told none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from attnfuse_runtime.binding import Run, cast
from attnfuse_runtime.errors import BackendError
from attnfuse_runtime.manifest import Component
from attnfuse_runtime.noise import Array

_TYPES: Final = frozenset({"bool", "int8", "uint8", "int16", "int32", "int64", "float16", "float32", "float64"})
"""Lite's types of which numpy has arrays, in its names."""


class LiteBackend:
    """Runs graphs that were compiled for Lite, as they lie or as its converter made them."""

    def __init__(
        self,
        devices: int | Mapping[str, int] | None = None,
        *,
        files: Mapping[str, Path] | None = None,
        target: str = "ascend",
        shares_weights: bool = False,
    ) -> None:
        """`devices` as `Devices`; `files` are converted graphs, by component; `target` is Lite's name of the device.

        With `shares_weights` the graphs of one component at several sizes hold their weights once, in a ModelGroup of
        Lite's. That is for its provider "ge" alone, which builds graphs as attnfuse wrote them when they are loaded,
        and which attnfuse's judgement of what Lite takes is not of.
        """
        self._devices = devices
        self._shares_weights = shares_weights
        self._grouped: dict[str, Any] = {}
        self._files = {} if files is None else files
        self._target = target

    def load(self, component: Component) -> Run:
        """Raises BackendError where Lite is not installed, or does not build the graph."""
        try:
            import mindspore_lite as lite
        except ImportError as error:
            raise BackendError(f"the backend 'lite' needs mindspore_lite, which cannot be imported: {error}.") from None
        path = self._files.get(component.name, component.graph)
        model = self._model(lite, component)
        config = {} if component.config is None else {"config_path": str(component.config)}
        try:
            model.build_from_file(str(path), lite.ModelType.MINDIR, self._context(lite, component), **config)
        except RuntimeError as error:
            raise BackendError(f"MindSpore Lite does not build {component.name} of {path}: {error}") from None
        return _Run(component, model)

    def _model(self, lite: Any, component: Component) -> Any:
        """A model to be built, in a group with those that share its weights: all of a group are named before one is
        built."""
        if not self._shares_weights or len(component.sharing) < 2:
            return lite.Model()
        if component.name not in self._grouped:
            self._grouped.update({name: lite.Model() for name in component.sharing})
            group = lite.ModelGroup(lite.ModelGroupFlag.SHARE_WEIGHT)
            group.add_model([self._grouped[name] for name in component.sharing])
        return self._grouped.pop(component.name)

    def _context(self, lite: Any, component: Component) -> Any:
        context = lite.Context()
        context.target = [self._target]
        device = self._devices
        if isinstance(device, Mapping):  # one of another size runs where the first does, if nothing else is said
            device = device.get(component.name, device.get(component.base or ""))
        if device is not None:
            getattr(context, self._target).device_id = device
        if self._shares_weights:
            context.ascend.provider = "ge"
        return context


class _Run:
    """A built model, fed by name in the types that it reports: an int64 input of a graph is int32 there."""

    def __init__(self, component: Component, model: Any) -> None:
        self._component = component
        self._model = model
        self._inputs = {_leaf(tensor.name): tensor for tensor in model.get_inputs()}
        wanted = {one.name for one in component.inputs}
        if self._inputs.keys() != wanted:
            raise BackendError(
                f"MindSpore Lite has {', '.join(sorted(self._inputs))} for inputs of {component.name}, and its graph "
                f"{', '.join(sorted(wanted))}; is the file that of the manifest?"
            )

    def __call__(self, inputs: Mapping[str, Array]) -> list[Array]:
        name = self._component.name
        try:
            shapes = [list(inputs[of].shape) for of in self._inputs]
            if shapes != [list(tensor.shape) for tensor in self._inputs.values()]:
                self._model.resize(list(self._inputs.values()), shapes)
            for of, tensor in self._inputs.items():
                tensor.set_data_from_numpy(cast(f"{name}'s input {of}", inputs[of], _numpy(name, of, tensor.dtype)))
            results = self._model.predict(list(self._inputs.values()))
            # Of a tensor of Lite's own memory, which the next run writes over.
            return [np.array(tensor.get_data_to_numpy()) for tensor in results]
        except RuntimeError as error:
            raise BackendError(f"MindSpore Lite cannot run {name}: {error}") from None


def _leaf(name: str) -> str:
    """`sample` of `12_11_construct_144:sample`."""
    return name.rpartition(":")[2]


def _numpy(component: str, name: str, dtype: Any) -> np.dtype[Any]:
    """Lite's type, DataType.INT32, as numpy has it."""
    found = str(dtype.name).lower()
    if found not in _TYPES:  # bfloat16, which numpy knows where somebody has taught it, and Lite's Python does not
        raise BackendError(
            f"MindSpore Lite takes {component}'s input {name} as {dtype.name}, which numpy does not have; compile with "
            "--dtype float16."
        )
    return np.dtype(found)
