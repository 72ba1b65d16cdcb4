"""Rows go through a graph in as many runs as it takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attnfuse_runtime.binding import BoundComponent
from attnfuse_runtime.manifest import Component, Tensor
from attnfuse_runtime.rows import run_rows


@pytest.mark.parametrize(
    ("size", "runs"),
    [
        (1, [[0], [1], [2], [3], [4]]),
        (2, [[0, 1], [2, 3], [4, 4]]),
        (8, [[0, 1, 2, 3, 4, 4, 4, 4]]),
        (-1, [[0, 1, 2, 3, 4]]),
    ],
)
@pytest.mark.parametrize("timestep", [(), (1,), ("rows",)])
def test_in_as_many_runs_as_it_takes(size: int, runs: list[list[int]], timestep: tuple[object, ...]) -> None:
    shape = tuple(size if one == "rows" else 1 for one in timestep)
    inputs = (Tensor("sample", (size, 1), "float32"), Tensor("timestep", shape, "int64"))
    seen = []

    def run(given: object) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
        assert isinstance(given, dict)
        seen.append(given["sample"].ravel().astype(int).tolist())
        return [given["sample"] + given["timestep"].max()]

    component = Component("unet", "unet", Path(), (), inputs, (Tensor("sample", (size, 1), "float32"),))
    rows = np.arange(5, dtype=np.float32)[:, None]
    found = run_rows(BoundComponent(component, run), {"sample": rows}, timestep=np.asarray(10))
    assert seen == runs
    np.testing.assert_array_equal(found["sample"], rows + 10)
