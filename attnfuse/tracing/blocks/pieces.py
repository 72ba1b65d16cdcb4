"""What the worker leaves behind of a model that it traced in pieces, for those who put them together.

Imports nothing but the project's JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

PIECES_FILE = "pieces.json"
BEGUN_FILE = "blocks.begun"
"""Is there as long as the worker traces pieces."""

#: Operators that stand for a block, and behind what a block gives; and what begins the name of the parameter that each
#: stand-in reads, which shows where the block's parameters belong among the others.
BLOCK, RESULT, MARK = "AttnfuseBlock", "AttnfuseResult", "attnfuse_block."

LEAF = "tensor"
Tree: TypeAlias = Any
"""A structure: `LEAF`, None for what is no input or output of a graph, or a list of structures."""


@dataclass(frozen=True, slots=True)
class PieceCall:
    """One occurrence of a block.

    `piece` is the number of what was traced of it, `parameters` has, for each parameter of that, the name of this
    block's own. `arguments` and `result` are the structures of what it takes and gives, `scope` is where it stands in
    the cell that was traced with it.
    """

    piece: int
    parameters: dict[str, str]
    arguments: list[Tree]
    result: Tree
    scope: str


@dataclass(frozen=True, slots=True)
class Piece:
    """One traced graph: a MindIR file, the class of the cell, and the blocks that stand-ins in it are for, by mark.

    `scope` is that of the cell in the model, `owners` are those of the cells that hold its parameters, by name, where
    one cell alone does.
    """

    file: str
    kind: str
    calls: dict[str, PieceCall]
    scope: str
    owners: dict[str, str]


def write_pieces(folder: Path, pieces: Sequence[Piece]) -> None:
    """Write down the pieces; the first is what is around all others."""
    content = [
        {**_fields(piece), "calls": {key: _fields(call) for key, call in piece.calls.items()}} for piece in pieces
    ]
    (folder / PIECES_FILE).write_text(json.dumps(content), encoding="utf-8")


def read_pieces(folder: Path) -> tuple[Piece, ...]:
    """Read them again."""
    content = json.loads((folder / PIECES_FILE).read_text(encoding="utf-8"))
    return tuple(
        Piece(**{**one, "calls": {key: PieceCall(**call) for key, call in one["calls"].items()}}) for one in content
    )


def clear(folder: Path) -> None:
    """Remove what a worker left behind of a trace in pieces."""
    for path in (folder / PIECES_FILE, folder / BEGUN_FILE, *folder.glob("piece_*.mindir")):
        path.unlink(missing_ok=True)


def _fields(record: Piece | PieceCall) -> dict[str, Any]:
    return {name: getattr(record, name) for name in type(record).__slots__}


def plain_name(name: str) -> str:
    """A value's name without the graph's."""
    return name.partition(":")[2]


def occurrences(pieces: Sequence[Piece]) -> int:
    """How many blocks stand in the whole graph, those within others too."""

    def within(piece: Piece) -> int:
        return sum(1 + within(pieces[call.piece]) for call in piece.calls.values())

    return within(pieces[0])
