"""What a candidate is measured by, here or elsewhere: weights, and what is handed over of all else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from attnfuse.cache.digests import KnownDigests
from attnfuse.component import Component
from attnfuse.errors import SourceError
from attnfuse.ir.graph import Model
from attnfuse.mindir import codec, external
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.mindir.edits import Pad, WeightEdits
from attnfuse.mindir.low_rank import LowRank
from attnfuse.mindir.rows import Rows
from attnfuse.mindir.schema import TensorProto
from attnfuse.serialisation import parse_json
from attnfuse.store.entries import key_of
from attnfuse.tracing.contract import StoredWeight
from attnfuse.tuning.candidates import Source, Weights, handed_over, opened
from attnfuse.verify.limits import Limits
from attnfuse.verify.numbers.comparison import Side
from attnfuse.verify.numbers.measuring import Yardstick, inputs_of
from tests.support.graphs import GraphBuilder

LARGE = (300, 256)
"""More elements than are drawn or read anew each time."""


def streamed(name: str, value: float, folder: Path) -> Component:
    """A component with one weight, called as in any other, that lies in a checkpoint of its own, in float32."""
    g = GraphBuilder(name, weights=False)
    g.output(g.dense(g.input("x", (2, 256), FLOAT16), "proj", 300, bias=False))
    model = g.build()
    external.lay_out(model, f"{name}_variables/data_0")
    file = folder / f"{name}.safetensors"
    save_file({"key": np.full(LARGE, value, np.float32)}, file)
    weight = StoredWeight("proj.weight", file, "key", "float16", LARGE)
    return Component(
        name=name,
        owner=name,
        where=name,
        data=codec.serialise(model),
        graph_name=f"{name}.mindir",
        streamed_name=f"{name}_variables/data_0",
        weights={"proj.weight": weight},
    )


def declared(component: Component) -> TensorProto:
    (parameter,) = component.parse().graph.parameter
    return parameter


def test_two_components_have_their_own_weights_of_one_name(tmp_path: Path) -> None:
    for name, value, held in (("unet", 2.0, 2.0), ("vae", 3.0, 3.0), ("large", 1e6, np.inf)):
        component = streamed(name, value, tmp_path)
        weights = Weights.of(component, 0, tmp_path)
        for provider in (weights.original, weights.rewritten):
            found = provider(declared(component))
            assert found is not None
            assert (found.dtype.name, found.shape) == ("float16", LARGE)
            assert np.all(found == held)
        assert (weights.count, weights.drawn) == (1, 0)


def test_an_edited_weight_is_made_of_the_sources(tmp_path: Path) -> None:
    component = streamed("unet", 2.0, tmp_path)
    edits = WeightEdits(pads=(Pad(0, 3, 4),))
    padded = TensorProto(name=edits.name("proj.weight"), data_type=FLOAT16.wire, dims=edits.dims(LARGE))
    found = Weights.of(component, 0, tmp_path).rewritten(padded)
    assert found is not None
    groups = found.reshape(3, 104, 256)
    assert np.all(groups[:, :100] == 2)
    assert np.all(groups[:, 100:] == 0)


def test_a_checkpoint_that_is_not_the_graphs(tmp_path: Path) -> None:
    component = streamed("unet", 2.0, tmp_path)
    save_file({"key": np.zeros((3, 3), np.float32)}, tmp_path / "unet.safetensors")
    with pytest.raises(SourceError, match=r"has shape \[3, 3\]"):
        Weights.of(component, 0, tmp_path).original(declared(component))


class Contents:
    """What was put, and nobody who does anything."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def put(self, content: bytes) -> str:
        self.held[key_of(content)] = content
        return key_of(content)

    def perform(self, kind: str, requests: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        yield from ()


def yardstick_of(component: Component, folder: Path) -> Yardstick:
    folder.mkdir()
    model = Model(component.parse())
    return Yardstick(Side(model, Weights.of(component, 0, folder).original), inputs_of(model, (), 0))


def test_what_is_handed_over_measures_the_same(tmp_path: Path) -> None:
    component, held = streamed("unet", 0.37, tmp_path), Contents()
    here = yardstick_of(component, tmp_path / "here")
    told = handed_over(component, here, 0, KnownDigests(), held)
    assert told is not None
    (tmp_path / "there").mkdir()
    there = opened(held.held[told], held.held.__getitem__, KnownDigests(), tmp_path / "there")
    error = here.error(Side(Model(component.parse()), there.weights.rewritten))
    assert 0 < error < 1e-3
    assert there.error(component.data, None) == error
    for known in (here, there.yardstick):
        assert np.array_equal(known.exact(), here.exact())
    save_file({"key": np.zeros(LARGE, np.float32)}, tmp_path / "unet.safetensors")
    with pytest.raises(SourceError, match=r"unet\.safetensors holds other weights here"):
        opened(held.held[told], held.held.__getitem__, KnownDigests(), tmp_path / "there")
    (tmp_path / "unet.safetensors").unlink()
    with pytest.raises(SourceError, match=r"unet\.safetensors cannot be read"):
        opened(held.held[told], held.held.__getitem__, KnownDigests(), tmp_path / "there")
    assert handed_over(component, here, 0, KnownDigests(), held) is None


def test_what_is_added_to_weights_is_handed_over(tmp_path: Path) -> None:
    component, held = streamed("unet", 2.0, tmp_path), Contents()
    file = tmp_path / "lora.safetensors"
    save_file({"up": np.zeros((300, 2), np.float32), "down": np.zeros((2, 256), np.float32)}, file)
    added = {"proj.weight": (LowRank(file, "up", "down", 0.5), LowRank(file, "up", "down", 0.5, ((0, 1),), 3))}
    whole = replace(component, added={**added, "table.weight": (Rows(file, "up", 300),)})
    told = handed_over(whole, yardstick_of(component, tmp_path / "here"), 0, KnownDigests(), held)
    assert told is not None
    source = parse_json(Source, held.held[told])
    assert source.added == whole.added
    assert source.weights == whole.weights
    assert set(source.files) == {str(file), str(tmp_path / "unet.safetensors")}
    assert json.loads(held.held[told])["limits"] == {"weights": 2**28, "large": 2**26, "rows": 2**24, "most": None}
    assert source.limits == Limits()
