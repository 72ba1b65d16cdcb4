"""The runtime's backend `lite` over a real MindSpore Lite, 2.0.0 for a CPU: down-levelled, nothing fused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import FLOAT32
from attnfuse.verify.numbers.weights import stored_weights
from attnfuse_runtime.backends import LiteBackend
from attnfuse_runtime.errors import BackendError
from attnfuse_runtime.pipeline import Pipeline
from tests.lite import forwarding
from tests.lite.downlevel import down_level
from tests.support.compiled import WEIGHT, toy

pytestmark = pytest.mark.lite

SAMPLE = np.linspace(-3, 3, 8).reshape(2, 4)


@pytest.fixture
def lite(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in forwarding.module():
        monkeypatch.setitem(sys.modules, "mindspore_lite", module)
        yield


def opened(folder: Path, rows: int = 2) -> Pipeline:
    """The toy that was compiled, its graph as 2.0.0 reads it."""
    out = toy(folder, dtype=FLOAT32, rows=rows)
    pipeline = Pipeline.from_folder(out, "lite")
    graph = pipeline.manifest.components["toy"].graph
    model = Model(codec.parse(codec.read_bytes(graph), graph.name))
    older = folder / "older.mindir"
    older.write_bytes(codec.serialise(down_level(model, stored_weights(model.proto, graph))))
    return Pipeline(pipeline.manifest, LiteBackend(files={"toy": older}, target="cpu"))


@pytest.mark.usefixtures("lite")
def test_bound_cast_and_run(tmp_path: Path) -> None:
    """By name, in float32 and in the int32 that Lite reports for an int64."""
    pipeline = opened(tmp_path)
    given: dict[str, Any] = {"timestep": np.asarray([7]), "sample": SAMPLE}
    product, total = pipeline["toy"](**given).values()
    np.testing.assert_array_equal(product, SAMPLE.astype(np.float32) * WEIGHT.astype(np.float32))
    assert (total.dtype.name, total.tolist()) == ("int32", [14])
    again, _ = pipeline["toy"](**{**given, "sample": 2 * SAMPLE}).values()
    np.testing.assert_array_equal(again, 2 * product)


@pytest.mark.usefixtures("lite")
def test_open_sizes_are_bound(tmp_path: Path) -> None:
    pipeline = opened(tmp_path, rows=-1)
    for rows in (1, 3):
        sample = np.linspace(-1, 1, 4 * rows, dtype=np.float32).reshape(rows, 4)
        product, _ = pipeline["toy"](timestep=np.asarray([7]), sample=sample).values()
        np.testing.assert_array_equal(product, sample * WEIGHT.astype(np.float32))


@pytest.mark.usefixtures("lite")
def test_what_it_does_not_build_is_told(tmp_path: Path) -> None:
    out = toy(tmp_path, dtype=FLOAT32)
    with pytest.raises(BackendError, match=r"MindSpore Lite does not build toy of .*\.mindir: "):
        Pipeline.from_folder(out, LiteBackend(target="cpu"))["toy"]
