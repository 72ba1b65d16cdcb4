"""Open sizes follow the batch: the batches that a graph is converted for are in rows of its own inputs."""

from __future__ import annotations

from attnfuse.deployment.gears import Gears, gears_of
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.tracing.contract import TensorSpec
from tests.support.graphs import GraphBuilder


def batches(**shapes: tuple[int | str, ...]) -> dict[int, bytes]:
    """Graphs at three batches; `3n+1` in a shape is three times the batch and one."""
    made = {}
    for batch in (13, 19, 23):
        g = GraphBuilder("g")
        for name, shape in shapes.items():
            sizes = tuple(one if isinstance(one, int) else eval(one.replace("n", f"*{batch}")) for one in shape)
            g.output(g.input(name, sizes, FLOAT16))
        made[batch] = codec.serialise(g.model().proto)
    return made


def specs(**shapes: tuple[int, ...]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, shape, "float16") for name, shape in shapes.items())


def test_a_graph_of_known_sizes_has_none() -> None:
    assert gears_of(specs(sample=(2, 4, 8, 8)), {}, "here") is None


def test_rows() -> None:
    inputs = specs(sample=(-1, 4, 8), timestep=(1,), states=(-1, 77))
    found = gears_of(inputs, batches(sample=("2n", 4, 8), timestep=(1,), states=("2n", 77)), "here")
    assert found == Gears("sample:-1,4,8;timestep:1;states:-1,77", rows=(2, 4, 8))
    assert found.lines == ("input_shape=sample:-1,4,8;timestep:1;states:-1,77", "dynamic_batch_size=2,4,8")


def test_inputs_that_follow_otherwise() -> None:
    inputs = specs(sample=(-1, 4), states=(-1, 77), ids=(3, -1))
    found = gears_of(inputs, batches(sample=("2n", 4), states=("32n", 77), ids=(3, "1n+1")), "here")
    assert found == Gears("sample:-1,4;states:-1,77;ids:3,-1", dims=((2, 32, 2), (4, 64, 3), (8, 128, 5)))
    assert found.lines[1] == "dynamic_dims=2,32,2;4,64,3;8,128,5"
    # The rows of all are alike, and not all that is open are rows.
    found = gears_of(specs(sample=(4, -1)), batches(sample=(4, "1n")), "here")
    assert found == Gears("sample:4,-1", dims=((1,), (2,), (4,)))


def test_sizes_of_which_nothing_is_known() -> None:
    assert gears_of(specs(sample=(-1, 4)), {}, "here") == Gears("sample:-1,4")
    assert gears_of(specs(sample=(-1, 4)), batches(sample=("1n//3", 4)), "here") == Gears("sample:-1,4")
