"""Arrays bound to a graph's inputs by name, in the types it takes, and its results by the names of its outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from attnfuse_runtime.errors import BackendError, InputError
from attnfuse_runtime.manifest import Component, Tensor
from attnfuse_runtime.noise import Array

Run = Callable[[Mapping[str, Array]], Sequence[Array]]
"""Runs a graph: takes arrays by the names of inputs, gives them in the order of outputs."""

_KINDS: Final = {"f": "floating-point", "i": "whole", "u": "whole", "b": "true or false"}


class BoundComponent:
    """A graph that can be called: `unet(sample=…, timestep=…, encoder_hidden_states=…)["sample"]`."""

    def __init__(self, component: Component, run: Run) -> None:
        self.component = component
        self._run = run

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """Its outputs by name.

        Raises InputError where an input is missing, unknown, or of another shape or kind of number; BackendError where
        the graph cannot be run, or gives other outputs than it said.
        """
        results, outputs = self._run(bind(self.component, inputs)), self.component.outputs
        if len(results) != len(outputs) or not all(told.takes(one.shape) for told, one in zip(outputs, results)):
            given = ", ".join(f"{one.dtype}{list(one.shape)}" for one in results)
            raise BackendError(
                f"{self.component.name} gave {given or 'nothing'}, and its outputs are "
                f"{', '.join(map(str, outputs))}; is the graph that of the manifest?"
            )
        return {told.name: one for told, one in zip(outputs, results)}


def bind(component: Component, inputs: Mapping[str, Any]) -> dict[str, Array]:
    """The arrays by name, in the types that the graph takes; for bfloat16, which numpy lacks, float32.

    Raises InputError as `BoundComponent` does.
    """
    wanted = {one.name: one for one in component.inputs}
    missing, extra = [name for name in wanted if name not in inputs], [name for name in inputs if name not in wanted]
    if missing or extra:
        told = [f"was not given {', '.join(missing)}"] if missing else []
        told += [f"has no {', '.join(extra)}"] if extra else []
        raise InputError(f"{component.name} {' and '.join(told)}; it takes {', '.join(map(str, component.inputs))}.")
    return {name: _bound(component, one, np.asarray(inputs[name])) for name, one in wanted.items()}


def _bound(component: Component, wanted: Tensor, value: Array) -> Array:
    if not wanted.takes(value.shape):
        raise InputError(
            f"{component.name} takes {wanted}, and was given one of {list(value.shape)}; give that shape, or compile "
            "for another."
        )
    dtype = np.dtype("float32" if wanted.dtype == "bfloat16" else wanted.dtype)
    if _KINDS.get(value.dtype.kind) != _KINDS[dtype.kind]:
        raise InputError(
            f"{component.name} takes {wanted}, and was given {value.dtype}; give {_KINDS[dtype.kind]} numbers, or "
            "compile for another scheduler."
        )
    return cast(f"{component.name}'s input {wanted.name}", value, dtype)


def cast(name: str, value: Array, dtype: np.dtype[Any]) -> Array:
    """The array in this type, in one piece. Raises InputError where a number is too large for it."""
    if dtype.kind in "iu" and value.size:
        limits = np.iinfo(dtype)
        fits = limits.min <= value.min() and value.max() <= limits.max
    else:
        with np.errstate(over="ignore"):
            fits = bool(np.isfinite(value.astype(dtype)).all()) or not np.isfinite(value).all()
    if not fits:
        raise InputError(f"{name} has numbers that {dtype} does not hold; give smaller ones.")
    return np.ascontiguousarray(value, dtype).reshape(value.shape)
