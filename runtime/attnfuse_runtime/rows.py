"""Any number of rows through a graph that takes a fixed number of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from attnfuse_runtime.binding import BoundComponent
from attnfuse_runtime.errors import PipelineError
from attnfuse_runtime.noise import Array

_MOST_ROWS = 1 << 16
"""Of one run, which is filled up to as many: a manifest that says more was damaged."""


class _Outputs(dict[str, Array]):
    """By name; one that is missing is told of."""

    def __init__(self, graph: str, made: Mapping[str, Array]) -> None:
        super().__init__(made)
        self._graph = graph

    def __missing__(self, name: str) -> Array:
        raise PipelineError(
            f"the graph {self._graph} gives no {name}, but {', '.join(self) or 'nothing'}; compile it for this"
            " pipeline."
        )


def run_rows(component: BoundComponent, rows: Mapping[str, Array], **same: Array) -> dict[str, Array]:
    """The outputs for all rows, from as many runs as it takes.

    `rows` are inputs by name with as many rows each; the last run is filled up with the last row. `same` is what all
    rows share: arrays as they are, and scalars each in the shape that the graph has for it. Raises as the component
    does, and PipelineError for an output that has no rows, or is asked for by a name that none has.
    """
    shapes = {one.name: one.shape for one in component.component.inputs}
    total = len(next(iter(rows.values())))
    at_once = next((shapes[name][0] for name in rows if shapes.get(name)), -1)
    at_once = total if at_once < 1 else at_once
    if at_once > _MOST_ROWS:
        raise PipelineError(
            f"the graph {component.component.name} takes {at_once} rows at once, by its manifest; compile it for fewer."
        )
    parts = []
    for start in range(0, total, at_once):
        taken = np.minimum(np.arange(start, start + at_once), total - 1)
        shared = {
            name: value
            if value.ndim
            else np.broadcast_to(value, [at_once if size == -1 else size for size in shapes.get(name, ())])
            for name, value in same.items()
        }
        parts.append(component(**{name: value[taken] for name, value in rows.items()}, **shared))
    for name, value in parts[0].items():
        if not value.ndim:
            graph = component.component.name
            raise PipelineError(
                f"the graph {graph} gives {name} without rows, one number; compile it for this pipeline."
            )
    made = {name: np.concatenate([part[name] for part in parts])[:total] for name in parts[0]}
    return _Outputs(component.component.name, made)
