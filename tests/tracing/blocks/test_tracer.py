"""Models traced in blocks and whole: the same graph, and the same report; or the reason why not."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from attnfuse import compiler
from attnfuse.compiler import CompileRequest
from attnfuse.ir.canonical import canonical_hash
from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.mindir.schema import ModelProto
from attnfuse.tracing.blocks.drafts import NotPutTogetherError
from attnfuse.tracing.blocks.pieces import occurrences, read_pieces
from attnfuse.tracing.blocks.stitching import Stitcher
from attnfuse.tracing.blocks.writing import write
from attnfuse.tracing.canonical import canonicalise
from tests.tracing.blocks.conftest import BothWays
from tools.matrix.rows import groups, rows_of, write_group

pytestmark = pytest.mark.mindspore

NONE = "no block occurs often enough"
CELLS: dict[str, tuple[int, int] | str] = {
    "plain": (1, 4),
    "nested": (2, 9),
    "structures": (1, 3),
    "shapes": (2, 4),
    "sizes": (3, 6),
    "named": (1, 3),
    "misnamed": (2, 4),
    "lazy": (1, 3),
    "told": (1, 3),
    "shared": (1, 3),
    "by number": NONE,
    "by tensor": (2, 4),
    "hooked": NONE,
    "typed": (1, 2),
    "adapted": (1, 2),
    "unknown": NONE,
    "writes": "AssignAdd may change what is read elsewhere",
}
"""Models of `tests.support.block_cells`: how many kinds of block in how many places, or why they are traced whole."""

AGAIN = ("wan/transformer-float16", "flux/text_encoder-float16")  # as `tests.support.both_ways` has it
ROWS = (
    "flux/text_encoder-float16",
    "alone/llama_4dmask/model-float16",
    "wan/transformer-float16",
)
"""Rows of the matrix for the default run: cheap ones, of several kinds of block within each other."""


def put_together(place: Path) -> ModelProto:
    pieces = read_pieces(place)
    models = [codec.parse((place / piece.file).read_bytes(), piece.kind) for piece in pieces]
    made: ModelProto = write(Stitcher(pieces, models).wanted(), models[0])
    canonicalise(made, "model")
    Model(made)  # consistent
    return made


def whole(place: Path) -> ModelProto:
    return codec.parse((place / "whole.mindir").read_bytes(), str(place))


def why_whole(place: Path) -> str:
    """Why the model is traced whole; empty where it is not."""
    if (place / "why.txt").exists():
        return (place / "why.txt").read_text()
    try:
        put_together(place)
    except NotPutTogetherError as error:
        return str(error)
    return ""


def parameters(message: ModelProto) -> list[str]:
    return [parameter.name for parameter in message.graph.parameter]


@pytest.mark.parametrize("name", CELLS)
def test_cells(both_ways: BothWays, name: str) -> None:
    place = both_ways([f"cells/{one}" for one in CELLS]) / f"cells.{name}"
    expected = CELLS[name]
    why = place / "why.txt"
    if isinstance(expected, str):
        assert expected in why_whole(place)
        return
    assert not why.exists(), why.read_text()
    pieces = read_pieces(place)
    assert (len(pieces) - 1, occurrences(pieces)) == expected
    made = put_together(place)
    assert canonical_hash(made) == canonical_hash(whole(place))
    assert parameters(made) == parameters(whole(place))


def test_a_block_that_gives_what_its_source_says_is_no_reason_to_begin_again(both_ways: BothWays) -> None:
    """One trace of what is around the blocks and one of each block; one more where what is guessed is wrong."""
    place = both_ways([f"cells/{one}" for one in CELLS])
    assert (place / "cells.named" / "begun.txt").read_text() == "2"
    assert (place / "cells.misnamed" / "begun.txt").read_text() == "4"


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_the_matrix(both_ways: BothWays, name: str, tmp_path: Path) -> None:
    place = both_ways(ROWS) / name.replace("/", ".")
    made = put_together(place)
    assert canonical_hash(made) == canonical_hash(whole(place))
    assert parameters(made) == parameters(whole(place))
    assert report(made, tmp_path / "blocks") == report(whole(place), tmp_path / "whole")
    assert not out_of_place(made)


@pytest.mark.parametrize("name", AGAIN)
def test_blocks_of_another_process_are_not_traced_again(both_ways: BothWays, name: str) -> None:
    place = both_ways(ROWS) / name.replace("/", ".")
    again = place / "again"
    assert int((place / "kept.txt").read_text()) >= len(read_pieces(place)) - 1 > 0
    assert (again / "kept.txt").read_text() == "0"
    begun = int((again / "begun.txt").read_text())
    assert begun < int((place / "begun.txt").read_text()), "what is around them, again where a guess is wrong"
    assert begun <= 2
    made = put_together(again)
    assert codec.serialise(made) == codec.serialise(put_together(place))
    assert canonical_hash(made) == canonical_hash(whole(place))


def out_of_place(message: ModelProto) -> list[str]:
    """Nodes that read a weight, and are not scoped in the cell that holds it."""
    model = Model(message)
    found = []
    for node in model.nodes:
        for value in node.inputs if node.op not in ("UpdateState", "MakeTuple") else ():
            load = model.producer(value)
            if load is not None and load.op == "Load":
                owner = load.inputs[0].partition(":")[2].rpartition(".")[0]
                path = ".".join(part.partition("-")[0] for part in node.scope.split("/")[2:-1])
                found += [f"{node.scope} reads a weight of {owner}"] if path != owner else []
    return found


def test_a_block_is_scoped_alike_wherever_it_stands(both_ways: BothWays) -> None:
    """In the whole trace, what both attentions of a block compute in functions is all in the first block."""
    made = Model(put_together(both_ways(ROWS) / "wan.transformer-float16"))
    blocks = [f"Default/transformer-WanTransformer3DModel/blocks-CellList/{n}-WanTransformerBlock" for n in range(2)]
    counts = [
        Counter(node.scope.removeprefix(block) for node in made.nodes if node.scope.startswith(f"{block}/attn"))
        for block in blocks
    ]
    assert counts[0] == counts[1]
    assert len(counts[0]) > 60


def report(message: ModelProto, folder: Path) -> dict[str, Any]:
    """The report of a graph, without the numbers of nodes in names: what differs between the two ways."""
    folder.mkdir()
    file = folder / "model.mindir"
    file.write_bytes(codec.serialise(message))
    text = json.dumps(compiler.inspect(CompileRequest(source=str(file))).report.to_json())
    found: dict[str, Any] = json.loads(re.sub(r"(_\d+)+(:\d+)?", "_N", text))
    for component in found["components"]:
        assert component["sites"]
        del component["nodes"]  # constants and states are fewer
    return found


def every_row(folder: Path) -> list[str]:
    names = []
    for number, group in enumerate(groups()):
        write_group(folder / str(number), group)
        names += [row.name for _, row in rows_of(folder / str(number), group, ("float16",))]
    return names


@pytest.mark.slow  # an hour of one core: each configuration twice
def test_the_whole_matrix(both_ways: BothWays, tmp_path: Path) -> None:
    names = every_row(tmp_path)
    folder = both_ways(names)
    different, whole_ones = [], {}
    for name in names:
        place = folder / name.replace("/", ".")
        if not (place / "whole.mindir").exists():
            continue  # it cannot be traced at all
        why = why_whole(place)
        if why:
            whole_ones[name] = why
        elif canonical_hash(put_together(place)) != canonical_hash(whole(place)):
            different.append(name)
    assert not different
    assert len([name for name, why in whole_ones.items() if why != NONE]) <= 5, whole_ones
