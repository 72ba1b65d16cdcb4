"""What is decided by the numbers of a weight: the same by every command, and made again when they change."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from attnfuse import incremental, pass_manager
from attnfuse.component import Component
from attnfuse.ir.graph import Model
from attnfuse.mindir import codec, external
from attnfuse.mindir.dtypes import FLOAT32
from attnfuse.mindir.external import parameter_name, parameters
from attnfuse.policy import Policy
from attnfuse.progress import Silent
from attnfuse.rewriting import at_batches, rewrite
from attnfuse.sources import MindirSource
from attnfuse.targets import Target
from attnfuse.tracing.contract import DYNAMIC_BATCHES, ShapeOptions, StoredWeight
from tests.cli.conftest import Answer, Command, tree
from tests.support.graphs import GraphBuilder, operators, seeded
from tests.support.oracle import Array
from tests.support.split import write_split

HEADS, LENGTH, SIZE = 2, 6, 16
SMALL: Array = seeded("small", (1, HEADS, 1, LENGTH))
LARGE: Array = (100 * SMALL).astype(np.float32)
LITE = Target("lite", "ascend910b")
PASSES = pass_manager.discover()


def attention(bias: Array | None, batch: int = 2) -> GraphBuilder:
    """One layer whose scores get a weight added, in float32; without a value of it the graph has none."""
    g = GraphBuilder("net", weights=bias is not None)
    x = g.input("x", (batch, LENGTH, HEADS * SIZE))

    def heads(name: str) -> str:
        y = g.dense(x, f"attn.{name}", HEADS * SIZE, bias=False)
        return g.transpose(g.reshape(y, (batch, LENGTH, HEADS, SIZE)), (0, 2, 1, 3))

    scores = g.batch_matmul(heads("to_q"), heads("to_k"), transpose_b=True)
    scores = g.add(scores, g.parameter("attn.table", SMALL if bias is None else bias))
    g.output(g.matmul_ext(g.softmax(scores), heads("to_v")))
    return g


@pytest.fixture(autouse=True)
def passes(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The passes that are installed, and sources that nobody edited since this process began."""
    monkeypatch.setattr(pass_manager, "discover", lambda: PASSES)
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "module.py").touch()
    os.utime(tmp_path / "sources" / "module.py", (0, 0))
    monkeypatch.setattr(incremental, "_places", lambda name: [tmp_path / "sources"])


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return write_split(tmp_path / "in", "net", attention(SMALL))


def hold(graph: Path, values: Mapping[str, Array]) -> None:
    """Write other values into the variables file beside the graph."""
    model = codec.parse(graph.read_bytes(), "the graph")
    path = graph.with_name("net_variables") / "data_0"
    data = bytearray(path.read_bytes())
    for parameter in parameters(model):
        if parameter_name(parameter) in values:
            at = parameter.external_data
            data[at.offset : at.offset + at.length] = values[parameter_name(parameter)].tobytes()
    path.write_bytes(data)


def is_shifted(graph: Path) -> bool:
    return "ReduceMax" in operators(Model(codec.parse(graph.read_bytes(), "the result")))


def compiled(command: Command, graph: Path, *options: str | Path) -> Answer:
    out = graph.parents[1] / "out"
    answer = command("compile", graph, "-o", out, *options)
    assert answer.code == 0, answer.err
    return answer


def test_a_weight_beside_the_graph_is_looked_at(command: Command, graph: Path, tmp_path: Path) -> None:
    compiled(command, graph)
    assert not is_shifted(tmp_path / "out" / graph.name)
    hold(graph, {"attn.table": LARGE})
    compiled(command, graph)
    assert is_shifted(tmp_path / "out" / graph.name)


def test_a_cache_knows_what_a_graph_was_decided_by(command: Command, graph: Path, tmp_path: Path) -> None:
    """Another table has the graph made again, another weight has not; the first table finds nothing of the second."""
    cache = ("--cache-dir", tmp_path / "cache")
    compiled(command, graph, *cache)
    assert "unchanged" in compiled(command, graph, *cache).err
    hold(graph, {"attn.to_q.weight": seeded("other", (HEADS * SIZE, HEADS * SIZE))})
    assert "unchanged" in compiled(command, graph, *cache).err
    for table in (LARGE, SMALL, (SMALL * 1.5).astype(np.float32), LARGE):
        hold(graph, {"attn.table": table})
        assert "unchanged" not in compiled(command, graph, *cache).err
        assert is_shifted(tmp_path / "out" / graph.name) == (table is LARGE)
        with_cache = tree(tmp_path / "out")
        compiled(command, graph)
        assert tree(tmp_path / "out") == with_cache
        assert "unchanged" in compiled(command, graph, *cache).err


def test_check_decides_by_the_weights_that_are_there(command: Command, graph: Path, tmp_path: Path) -> None:
    options = ("-o", tmp_path / "out", "--cache-dir", tmp_path / "cache", "--check")
    compiled(command, graph, "--cache-dir", tmp_path / "cache")
    assert command("compile", graph, *options).code == 0
    hold(graph, {"attn.table": LARGE})
    answer = command("compile", graph, *options)
    assert answer.code != 0
    assert "net_graph.mindir differs" in answer.error


def test_the_census_says_what_a_compile_does(command: Command, graph: Path) -> None:
    """With the weights there the table is a mask; without, it may be anything, and is added."""
    hold(graph, {"attn.table": np.where(SMALL > 0.5, np.finfo(np.float32).min, np.zeros_like(SMALL))})

    def mask(*arguments: str) -> str:
        answer = command(arguments[0], graph, "--json", *arguments[1:])
        assert answer.code == 0, answer.err
        (site,) = answer.document["components"][0]["sites"]
        return str(site["mask"])

    assert (mask("inspect", "--runtime", "mindspore"), mask("compile", "--dry-run", "--runtime", "mindspore")) == (
        "bool",
        "bool",
    )
    graph.with_name("net_variables").rename(graph.with_name("elsewhere"))
    assert mask("inspect", "--runtime", "mindspore") == "additive"


# --- weights that are streamed


def streamed(folder: Path, table: Array, batches: tuple[int, ...] = ()) -> Component:
    """A traced component, its weights in a checkpoint; for any batch, the graphs at several."""
    model = attention(SMALL).build()
    values = {parameter_name(p): np.frombuffer(p.raw_data, np.float32).reshape(p.dims) for p in parameters(model)}
    values["attn.table"] = table
    file = folder / "model.safetensors"
    save_file({name: value.copy() for name, value in values.items()}, file)
    sources = {n: StoredWeight(n, file, n, FLOAT32.name, tuple(v.shape)) for n, v in values.items()}
    graphs = {}
    for batch in batches or (2,):
        proto = attention(None, batch).build()
        external.lay_out(proto, "net_variables/data_0")
        graphs[batch] = codec.serialise(proto)
    data = next(iter(graphs.values()))
    return Component(
        name="net", owner="net", where="net", data=data, graph_name="net_graph.mindir", weights=sources,
        streamed_name="net_variables/data_0", batches=graphs if batches else {},
    )  # fmt: skip


@pytest.mark.parametrize("batches", [(), DYNAMIC_BATCHES], ids=["one batch", "any batch"])
@pytest.mark.parametrize(("table", "shifted"), [(SMALL, False), (LARGE, True)], ids=["small", "large"])
def test_a_weight_of_a_checkpoint_is_looked_at(
    table: Array, shifted: bool, batches: tuple[int, ...], tmp_path: Path
) -> None:
    component = streamed(tmp_path, table, batches)
    rewritten, data = rewrite(component, Policy(), LITE, PASSES)
    assert ("ReduceMax" in operators(Model(codec.parse(data, "the result")))) == shifted
    assert [name for name, digest in rewritten.weights if digest] == ["attn.table"]
    if batches:
        at = at_batches(component, Policy(), LITE, PASSES)
        for batch in (1, 2):
            _, made = at(batch)
            assert ("ReduceMax" in operators(Model(codec.parse(made, "the result")))) == shifted


def test_a_graph_with_its_weights_inside(tmp_path: Path) -> None:
    path = attention(LARGE).write(tmp_path / "net.mindir")
    source = MindirSource.open(path, (), None, ShapeOptions())
    with source.opened(tmp_path, 1) as load:
        component = load("net", Silent(), weights=True)
    rewritten, data = rewrite(component, Policy(), LITE, PASSES)
    assert "ReduceMax" in operators(Model(codec.parse(data, "the result")))
    assert [name for name, _ in rewritten.weights] == ["attn.table"]
