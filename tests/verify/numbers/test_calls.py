"""An original that calls its blocks: sites in them are run alone, in the original without its calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.inline import inlined
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.mindir.schema import ModelProto
from attnfuse.verify.numbers import full
from attnfuse.verify.numbers.full import Found, Request, check_numbers
from tests.support.functions import DIMS, attends, call, function
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder, fill_literal


def blocks() -> Model:
    """Two blocks that share one function."""
    g = GraphBuilder("blocks")
    value = g.input("x", DIMS, FLOAT16)
    function(g, "9_block", attends, "layers.0", 100)
    for number in range(2):
        weight = g.weight(f"layers.{number}.attn.to_q.weight", (2, 4, 16, 16), FLOAT16)
        value = call(g, "9_block", number, value, weight)
    g.output(value)
    return g.model()


def checked(after: Model, folder: Path) -> Found:
    where = folder / "m.mindir"
    return check_numbers(blocks(), after, Request(name="m", original=where, fused=where, seed=0, work=folder), {})


def rewritten() -> Model:
    model = blocks()
    assert [site.status for site in fuse(model)] == ["fused", "fused"]
    return model


def test_each_call_is_a_site_that_is_run_alone(tmp_path: Path) -> None:
    found = checked(rewritten(), tmp_path)
    assert found.findings == []
    assert [site.module for site in found.sites] == ["layers.0.attn.to_q", "layers.1.attn.to_q"]
    assert not [note for note in found.notes if "was not run alone" in note]


def test_a_mistake_in_one_of_the_calls_is_found(tmp_path: Path) -> None:
    after = rewritten()
    second = [node for node in after.nodes if node.op == "FlashAttentionScore"][1]
    position = next(i for i, name in enumerate(second.inputs) if after.is_literal(name) and after.literal(name) == 0.25)
    wrong = after.proto.graph.node.add(name="wrong", op_type="Constant")
    wrong.output.append("wrong")
    fill_literal(wrong.attribute.add(name="value"), 0.125)
    after.proto.graph.node.insert(0, wrong)
    del after.proto.graph.node[-1]
    second.proto.input[position] = "wrong"
    found = checked(Model(after.proto), tmp_path)
    assert any("layers.1.attn" in finding for finding in found.findings)
    assert not any("layers.0.attn" in finding for finding in found.findings)


def test_calls_that_are_inlined_wrongly_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the second call was given the first one's weights."""

    def wrongly(model: Model) -> Model:
        proto = ModelProto()
        proto.CopyFrom(model.proto)
        first, second = (node for node in proto.graph.node if node.op_type == "REF::9_block")
        second.input[1] = first.input[1]
        return inlined(Model(proto))

    monkeypatch.setattr(full, "inlined", wrongly)
    found = checked(rewritten(), tmp_path)
    assert "the original without its calls gives other numbers than with them." in found.findings
