"""Pairs that differ: which findings are looked for, where the pair is cut, and what is no difference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from attnfuse.ir.graph import CONSTANT, Model
from attnfuse.mindir.schema import ModelProto
from attnfuse.reduction import differences
from attnfuse.reduction.layouts import with_fewer_reshapes, without_edge_layouts
from attnfuse.reduction.pairs import _alike, shrink
from attnfuse.reduction.search import Graphs, Search
from attnfuse.verify.numbers import full
from attnfuse.verify.numbers.comparison import problems
from attnfuse.verify.result import OutputFigures
from tests.support.graphs import GraphBuilder
from tests.verify import pairs
from tests.verify.rewritten import Attention, feed, pair
from tests.verify.test_mutants import SCALE

LITE = "lite"


def reduced(original: ModelProto, fused: ModelProto, folder: Path) -> tuple[Search, list[str], list[str]]:
    """The search at its end, what is found of its pair, and what was told."""
    told: list[str] = []
    begun = differences.begin(original, fused, 0, folder, told.append)
    assert begun is not None
    search, found = begun
    shrink(search)
    return search, found(search.best), told


def ops(graph: ModelProto) -> list[str]:
    return [node.op for node in Model(graph).nodes if node.op != CONSTANT]


@pytest.mark.parametrize("block", [Attention(head=40, apart=True), Attention(head=40)], ids=["plain", "padded weights"])
def test_a_wrong_scale(block: Attention, tmp_path: Path) -> None:
    original, fused = pair(block, LITE)
    feed(fused, SCALE[LITE], 0.5)
    search, found, _ = reduced(original.proto, fused.proto, tmp_path)
    assert ops(search.best[0]) == [
        *("Reshape", "Transpose"),  # the heads, once for query, key and value
        *("Transpose", "MatMulExt", "Muls", "Softmax", "MatMulExt"),
        *("Transpose", "Reshape"),
    ]
    assert ops(search.best[1]).count("PromptFlashAttention") == 1
    assert not {"Dense", "Load", "Neg"}.intersection(ops(search.best[0]) + ops(search.best[1]))
    assert any("the mathematics is another" in text for text in found)


def test_what_is_in_front_of_a_fault_is_cut_off(tmp_path: Path) -> None:
    g, h = (GraphBuilder("block") for _ in range(2))
    for made, wrong in ((g, False), (h, True)):
        x = made.input("x", (2, 8))
        total = made.add(made.dense(x, "a", 8, bias=False), made.dense(x, "b", 8, bias=False))
        made.output(made.muls(total, 2.0 if wrong else 1.0))
    search, _, told = reduced(g.build(), h.build(), tmp_path)
    assert ops(search.best[0]) == ["Muls"]
    assert "replaced operators" in told[0]


def test_a_finding_on_structure_is_looked_for_by_its_sentence(tmp_path: Path) -> None:
    original, fused = pair(Attention(masked=True), LITE)
    feed(fused, SCALE[LITE], 0.0)
    search, found, told = reduced(original.proto, fused.proto, tmp_path)
    assert told[0].startswith("structure: PromptFlashAttention ")
    assert [text for text in found if "has scale 0.0" in text]
    assert ops(search.best[1]).count("PromptFlashAttention") == 1
    assert len(ops(search.best[0])) < len(ops(original.proto)) - 3


def test_graphs_that_share_no_names_are_cut_whole(tmp_path: Path) -> None:
    block = pairs.Block(mistake=pairs.Mistake(scale=0.5))
    original, fused = block.original().build(), block.fused().build()
    search, found, told = reduced(original, fused, tmp_path)
    assert any("both graphs are run whole" in text for text in told)
    assert found
    assert "FlashAttentionScore" in ops(search.best[1])


@pytest.mark.parametrize("runtime", [LITE, "mindspore"])
def test_a_sound_rewrite_does_not_differ(runtime: str, tmp_path: Path) -> None:
    original, fused = pair(Attention(head=24, masked=True), runtime)
    assert differences.begin(original.proto, fused.proto, 0, tmp_path, lambda _: None) is None


def test_a_part_that_only_rounds_more_often_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound on an output at the graph's own types is one of the whole graph: a part has to be as far off."""
    original, fused = pair(Attention(head=16, apart=True), LITE)
    offs = {1: 3.0, 9: 2.0}

    def judged(graphs: Sequence[ModelProto], seed: int, work: Path) -> differences._Judged:
        off = next((off for most, off in offs.items() if len(ops(graphs[1])) <= most), 2.5)
        return differences._Judged([], [f"output is off by {off}"], off)

    monkeypatch.setattr(differences, "_numbers", judged)
    search, found, _ = reduced(original.proto, fused.proto, tmp_path)
    assert found == ["output is off by 3.0"]
    assert len(ops(search.best[1])) == 1


def test_nothing_that_could_not_be_compared_is_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = OutputFigures("x", (2,), 0.0, 1.0, 0.5, 0.0, 0.0, 0.0, 1.0, 0, undefined=2)
    texts = problems(figures, "output x")
    assert texts
    found = full.Found(findings=texts, outputs=[figures])
    monkeypatch.setattr(full, "check_numbers", lambda *_: found)
    original, fused = pair(Attention(), LITE)
    assert differences.begin(original.proto, fused.proto, 0, tmp_path, lambda _: None) is None


def test_the_bound_that_is_left_to_the_whole_graph_is_the_outputs(tmp_path: Path) -> None:
    figures = OutputFigures("x", (2,), 0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 1.0, 0)
    (text,) = problems(figures, "output x")
    assert differences._ROUNDING.search(text)
    assert differences._ROUNDING.search(f"on inputs drawn with seed 0, masks: {text}")
    (text,) = problems(figures, "site x (attn)")
    assert not differences._ROUNDING.search(text)


def layouts(factor: float) -> tuple[ModelProto, ModelProto]:
    """A product between layouts that undo each other, and the product of another factor alone, behind two reshapes."""
    g, h = GraphBuilder("block"), GraphBuilder("block", first=100)
    x = g.input("x", (2, 6, 4))
    heads = g.reshape(g.transpose(x, (1, 2, 0)), (6, 8))
    g.output(g.transpose(g.reshape(g.muls(heads, 2.0), (6, 4, 2)), (2, 0, 1)))
    y = h.muls(h.input("x", (2, 6, 4)), factor)
    h.output(h.reshape(h.reshape(y, (4, 12)), (2, 6, 4)))
    return g.build(), h.build()


def test_layouts_are_moved_to_the_rewrite(tmp_path: Path) -> None:
    """Both sides compute what they did: a sound pair stays one, and one that differs does so still."""
    for factor, differs in ((2.0, False), (3.0, True)):
        moved: Graphs = layouts(factor)
        for expected in ("Reshape", "Muls", "Muls", "Muls"):
            moved = next(_alike(without_edge_layouts(moved)))
            assert ops(moved[0])[0] == expected
            judged = differences._judged(moved, 0, tmp_path)
            assert judged is not None
            assert bool(judged.differences) == differs
        assert ops(moved[0]) == ["Muls"]
        assert sorted(ops(moved[1])) == ["Muls", *["Reshape"] * 4, *["Transpose"] * 2]
        fewer = list(_alike(with_fewer_reshapes(moved)))
        assert [len(ops(pair[1])) for pair in fewer] == [6]
        judged = differences._judged(fewer[0], 0, tmp_path)
        assert judged is not None
        assert bool(judged.differences) == differs
