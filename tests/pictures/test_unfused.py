"""The source's graphs, written as they were traced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attnfuse.component import Component
from attnfuse.errors import UsageError
from attnfuse.mindir import codec, external
from attnfuse.pictures.unfused import check_same, write_unfused
from attnfuse.progress import Silent
from attnfuse.sources import open_source
from attnfuse.tracing.contract import ShapeOptions
from attnfuse_runtime.manifest import read_manifest
from tests.support.painter import Painted


def traced(painted: Painted, work: Path) -> Component:
    (work / "unet").mkdir(parents=True)
    with open_source(str(painted.source), ["unet"], None, ShapeOptions()).opened(work, 1) as load:
        return load("unet", Silent(), weights=True)


def test_graph_and_weights_are_the_sources(painted: Painted, tmp_path: Path) -> None:
    component = traced(painted, tmp_path / "work")
    compiled = read_manifest(painted.out).components["unet"]
    found = write_unfused(component, tmp_path, Silent())
    check_same(found, compiled)
    assert found.graph.read_bytes() == component.data
    assert b"Softmax" in component.data
    assert b"Softmax" not in compiled.graph.read_bytes()
    model = codec.parse(codec.read_bytes(found.graph), "unet")
    (weights,) = external.check_weights(model, found.graph, required=True).values()
    assert (weights,) == tuple(path.resolve() for path in found.variables)
    np.testing.assert_array_equal(np.fromfile(weights, np.float16), np.fromfile(compiled.variables[0], np.float16))


def test_other_inputs_or_outputs_are_refused(painted: Painted, tmp_path: Path) -> None:
    component = traced(painted, tmp_path / "work")
    compiled = read_manifest(painted.out).components["unet"]
    found = write_unfused(component, tmp_path, Silent())
    for other in (
        replace(compiled, inputs=(replace(compiled.inputs[0], dtype="float32"), *compiled.inputs[1:])),
        replace(compiled, outputs=(replace(compiled.outputs[0], shape=(2, 4, 8, 8)),)),
    ):
        with pytest.raises(UsageError, match=r"unet of the source has .*, and what was compiled has"):
            check_same(found, other)
