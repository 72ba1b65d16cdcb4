"""Weights of what is measured: each component's own, in the types of its graph, and edited ones made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from attnfuse.component import Component
from attnfuse.errors import SourceError
from attnfuse.mindir import codec, external
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.mindir.edits import Pad, WeightEdits
from attnfuse.mindir.schema import TensorProto
from attnfuse.tracing.contract import StoredWeight
from attnfuse.tuning.laboratory import Weights
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
