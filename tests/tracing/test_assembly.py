"""Pieces in a folder become the graph, and the weights that it has, in its order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from attnfuse.errors import TraceError
from attnfuse.ir.canonical import canonical_hash
from attnfuse.mindir import codec
from attnfuse.tracing.assembly import assemble
from attnfuse.tracing.blocks.drafts import NotPutTogetherError
from attnfuse.tracing.blocks.pieces import Piece, PieceCall, write_pieces
from attnfuse.tracing.contract import StoredWeight, Traced, TracedComponent
from tests.tracing.blocks.test_stitching import around, calls, one_block, whole
from tests.tracing.test_contract import TRACED

NAMES = ["last.bias", "last.weight", *(f"blocks.{n}.fc.{kind}" for n in (1, 0) for kind in ("bias", "weight"))]


def left_behind(work: Path, called: dict[str, PieceCall], names: list[str]) -> TracedComponent:
    """What the worker leaves: the pieces in `work`, and the weights of the whole model in any order."""
    for number, message in enumerate((around(), one_block())):
        (work / f"piece_{number}.mindir").write_bytes(codec.serialise(message))
    pieces = [
        Piece("piece_0.mindir", "Model", called, "Default", {}),
        Piece("piece_1.mindir", "Block", {}, "Default/model-Model/0-Block", {}),
    ]
    write_pieces(work, pieces)
    weights = tuple(StoredWeight(name, Path("/w.safetensors"), name, "float32", ()) for name in names)
    return replace(TRACED, graph=work / "graph.mindir", weights=weights, traced=Traced("blocks", 1, 2))


def test_graph_and_weights(tmp_path: Path) -> None:
    made = assemble(left_behind(tmp_path, calls(), ["nobody.reads.it", *NAMES]), tmp_path)
    message = codec.parse(made.graph.read_bytes(), "graph")
    assert canonical_hash(message) == canonical_hash(whole())
    assert message.graph.name == TRACED.plan.name
    assert [parameter.name.partition(":")[2] for parameter in message.graph.parameter] == [
        weight.parameter for weight in made.weights
    ]
    assert {weight.parameter for weight in made.weights} == set(NAMES)


def test_a_weight_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"^component vae_decoder: parameter last.weight has no weight in /"):
        assemble(left_behind(tmp_path, calls(), [name for name in NAMES if name != "last.weight"]), tmp_path)
    assert not (tmp_path / "graph.mindir").exists()


def test_pieces_that_do_not_fit_leave_nothing(tmp_path: Path) -> None:
    wrong = {key: replace(call, parameters={}) for key, call in calls().items()}
    with pytest.raises(NotPutTogetherError, match="which is not its own"):
        assemble(left_behind(tmp_path, wrong, NAMES), tmp_path)
    assert not (tmp_path / "graph.mindir").exists()
