"""What the worker says of its pieces comes back as it was, and goes when it is of no more use."""

from __future__ import annotations

from pathlib import Path

from attnfuse.tracing.blocks.pieces import BEGUN_FILE, Piece, clear, occurrences, read_pieces, write_pieces
from tests.support.pieces import call

TAKES, GIVES = call(2, {}, arguments=[["tensor", None]]), call(2, {}, result=["tensor", ["tensor", None]])
PIECES = (
    Piece("piece_0.mindir", "Model", {"0": call(1, {"a": "b"}), "1": TAKES}, "Default", {"a": "Default/b"}),
    Piece("piece_1.mindir", "Outer", {"0": call(2, {}), "1": GIVES}, "Default/a", {}),
    Piece("piece_2.mindir", "Inner", {}, "Default/a/b", {}),
)


def test_round_trip(tmp_path: Path) -> None:
    write_pieces(tmp_path, PIECES)
    assert read_pieces(tmp_path) == PIECES


def test_blocks_within_blocks_are_counted_where_they_stand() -> None:
    assert occurrences(PIECES) == 4  # the outer with its two inner ones, and an inner one


def test_nothing_else_is_removed(tmp_path: Path) -> None:
    write_pieces(tmp_path, PIECES)
    for name in (BEGUN_FILE, "piece_0.mindir", "graph.mindir", "trace.log"):
        (tmp_path / name).touch()
    clear(tmp_path)
    clear(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"graph.mindir", "trace.log"}
