"""What the components of a pipeline were fed and gave, call by call."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from attnfuse.ir.types import Array
from attnfuse.output import OutputStage
from attnfuse_runtime.backends import Backend
from attnfuse_runtime.binding import Run
from attnfuse_runtime.manifest import Component

SUFFIX = ".npz"


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a component: arrays by the names of its inputs, and of its outputs."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


class Recording:
    """A backend that has another one run the graphs, and keeps in `calls`, by component, what went in and came out."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.calls: dict[str, list[Call]] = {}

    def load(self, component: Component) -> Run:
        """See `attnfuse_runtime.backends.Backend`."""
        run, calls = self._backend.load(component), self.calls.setdefault(component.name, [])
        names = [one.name for one in component.outputs]

        def recorded(inputs: Mapping[str, Array]) -> list[Array]:
            # Copies: a caller may write into what it gave, or was given.
            given = {name: np.array(value) for name, value in inputs.items()}
            results = list(run(inputs))
            calls.append(Call(given, {name: np.array(one) for name, one in zip(names, results, strict=False)}))
            return results

        return recorded


def write_inputs(calls: Mapping[str, list[Call]], stage: OutputStage) -> None:
    """Write what each component was fed into COMPONENT/0000.npz and on: what `--data` of verification takes.

    Raises OutputError where the disk refuses.
    """
    for name, of in calls.items():
        for number, call in enumerate(of):
            stage.write(f"{name}/{number:04}{SUFFIX}", [packed(call.inputs)])


def packed(arrays: Mapping[str, Array]) -> bytes:
    """Arrays by name as the bytes of an .npz file, the same for the same arrays."""
    content = io.BytesIO()
    np.savez(content, **dict(arrays))
    return content.getvalue()
