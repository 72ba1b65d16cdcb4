"""A graph with open sizes runs at some that fit, or at those of given inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from attnfuse import cli
from attnfuse.errors import VerificationError
from attnfuse.ir.graph import Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import BOOL, FLOAT16, INT64
from attnfuse.mindir.schema import AttributeProto
from attnfuse.verify import measure_memory
from attnfuse.verify.inference import inferred_types
from attnfuse.verify.inference.binding import bind, is_open
from attnfuse.verify.lowering import Arithmetic, lower
from attnfuse.verify.numbers.execution import run
from attnfuse.verify.numbers.inputs import draw_inputs
from attnfuse.verify.numbers.weights import drawn_weights
from tests.support.graphs import GraphBuilder

pytestmark = pytest.mark.mindspore

OPEN = (-1, 4, -1, 16)


def whole(g: GraphBuilder, op: str, operands: list[str], count: int | None = None) -> str:
    """A node that gives a whole number, or a tuple of them, with its type as MindSpore writes it."""
    tensor_type = TensorType((0,), INT64)
    value = g.node(op, operands, tensor_type if count is None else (tensor_type,) * count)
    (shape,) = (a for a in g.graph.node[-1].attribute if a.name == "shape")
    for told in [shape] if count is None else shape.values:
        told.type = AttributeProto.SCALAR
    return value


def attention(*, by_length: bool = False) -> GraphBuilder:
    """Rows and tokens are open; the heads' results are joined by a shape that the graph computes of its own input."""
    g = GraphBuilder("g")
    q, k, v = (g.input(name, OPEN, FLOAT16) for name in "qkv")
    keys = g.op("Transpose", k, (0, 1, 3, 2), dims=(-1, 4, 16, -1))
    scores = g.muls(g.node("MatMulExt", [q, keys], TensorType((-1, 4, -1, -1), FLOAT16)), 0.25)
    shape = whole(g, "Shape", [q], 4)
    rows, tokens = (whole(g, "TupleGetItem", [shape, g.constant(axis)]) for axis in (0, 2))
    if by_length:
        n = g.input("n", (-1, 1, 1, 1), INT64)
        counted = [g.constant(0), tokens, g.constant(1), g.constant(None)]
        positions = g.node("Arange", counted, TensorType((-1,), INT64))
        hide = g.node("GreaterEqual", [positions, n], TensorType((-1, 1, 1, -1), BOOL))
        filled = [scores, hide, g.constant(np.array(-65504, np.float16))]
        scores = g.node("MaskedFill", filled, TensorType((-1, 4, -1, -1), FLOAT16))
    out = g.node("MatMulExt", [g.softmax(scores), v], TensorType(OPEN, FLOAT16))
    out = g.op("Transpose", out, (0, 2, 1, 3), dims=(-1, -1, 4, 16))
    target = whole(g, "MakeTuple", [rows, tokens, g.constant(64)], 3)
    g.output(g.node("Reshape", [out, target], TensorType((-1, -1, 64), FLOAT16)))
    return g


def outputs(model: Model) -> np.ndarray:  # type: ignore[type-arg]
    (made,) = run(lower(model, Arithmetic.EXACT), draw_inputs(model, 0), drawn_weights(0))
    return made


def test_sizes_that_fit_are_found(tmp_path: Path) -> None:
    """One row and two, other sizes each time; the plan where the first input differs does not fit. Types follow."""
    model = attention(by_length=True).model()
    assert is_open(model)
    bound = bind(model, model, [], "m", tmp_path)
    assert [b.label.partition(", n")[0] for b in bound] == [
        "q [1, 4, 8, 16], k [1, 4, 8, 16], v [1, 4, 8, 16]",
        "q [2, 4, 16, 16], k [2, 4, 16, 16], v [2, 4, 16, 16]",
    ]
    for one, (rows, tokens) in zip(bound, [(1, 8), (2, 16)], strict=True):
        before, after = one.graphs()
        assert not is_open(before)
        assert outputs(before).shape == (rows, tokens, 64)
        np.testing.assert_array_equal(outputs(before), outputs(after))
    assert is_open(model)


def test_sizes_are_those_of_given_inputs(tmp_path: Path) -> None:
    model = attention().model()
    sets = [{v.name: np.zeros((3, 4, size, 16)) for v in model.proto.graph.input} for size in (5, 7, 5)]
    bound = bind(model, model, sets, "m", tmp_path)
    assert [b.sets for b in bound] == [(0, 2), (1,)]
    assert [outputs(b.graphs()[0]).shape for b in bound] == [(3, 5, 64), (3, 7, 64)]


def test_where_no_size_fits_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked twice in all: MindSpore takes seconds to start."""
    asked: list[int] = []

    def reject(models: Mapping[str, Model], name: str, work: Path) -> dict[str, str]:
        asked.append(len(models) // 2)
        return dict.fromkeys(models, "7 tokens are needed")

    monkeypatch.setattr(inferred_types, "types_of_all", reject)
    model = attention().model()
    with pytest.raises(VerificationError, match=r"m leaves sizes.*give inputs with --data, or use --verify static"):
        bind(model, model, [], "m", tmp_path)
    assert asked == [3, 10]
    given = [{v.name: np.zeros((1, 4, 5, 16)) for v in model.proto.graph.input}]
    with pytest.raises(
        VerificationError, match=r"rejects the original of m at q \[1, 4, 5, 16\].*: 7 tokens are needed"
    ):
        bind(model, model, given, "m", tmp_path)


def test_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What was a defect: negative dimensions."""
    graph = attention().write(tmp_path / "m.mindir")
    assert cli.run(["verify", str(graph), str(graph), "--json"]) == 0
    (component,) = json.loads(capfd.readouterr().out)["components"]
    # Rows and tokens of query and keys may differ as far as the graph says; so they do in the last plan.
    assert [figures["shape"] for figures in component["outputs"]] == [[1, 8, 64], [2, 16, 64], [2, 12, 64]]
    assert component["drawn"][0].startswith("masks, if any, hide and show keys in each row at q [1, 4, 8, 16]")
    np.savez(tmp_path / "a.npz", **{name: np.ones((3, 4, 6, 16), np.float16) for name in "qkv"})
    figures = measure_memory(graph, graph, 0, tmp_path / "a.npz")
    assert figures["original_peak_bytes"] > 0
