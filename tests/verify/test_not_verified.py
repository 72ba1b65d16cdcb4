"""What the command line says where an operator is not known: an exit code of its own, in JSON, text and certificate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attnfuse import cli
from attnfuse.ir.graph import Model
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.verify.inference import inferred_types
from tests.support.graphs import GraphBuilder
from tests.verify.numbers.test_gaps import DIMS, KIND, attends


def graph() -> GraphBuilder:
    g = GraphBuilder("between")
    x = g.input("x", DIMS, FLOAT16)
    made = g.node("Invented", [attends(g, x, "first"), g.constant(3)], KIND)
    g.output(g.add(attends(g, made, "second"), x))
    return g


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The graph's file; MindSpore, which is not run, rejects what it does not know."""

    def infer(model: Model, name: str, work: Path) -> inferred_types.Inference:
        knows = all(node.op != "Invented" for node in model.nodes)
        findings = () if knows else ("MindSpore rejects the graph: Invented.",)
        return inferred_types.Inference(findings, 0, "not run", None if knows else "Invented")

    monkeypatch.setattr(inferred_types, "infer", infer)
    return graph().write(tmp_path / "between.mindir")


def test_compile_writes_what_was_verified_in_part(source: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = source.parent / "out"
    assert cli.run(["compile", str(source), "-o", str(out), "--verify", "full", "--json"]) == 5
    said = capfd.readouterr()
    document = json.loads((out / "verification.json").read_bytes())
    assert (document["passed"], document["complete"]) == (True, False)
    (component,) = document["components"]
    assert [text.partition(":")[0] for text in component["not_verified"]] == ["Invented CNode_8"] * 2
    assert "its types were not inferred" in component["not_verified"][0]
    assert "taken for the same in both graphs" in component["not_verified"][1]
    assert component["passed"] is True
    assert json.loads(said.out)["verification"]["complete"] is False
    assert "between: verified in part (full;" in said.err
    assert "between: NOT VERIFIED: Invented CNode_8:8: no rule for this operator" in said.err

    fused = out / "between.mindir"
    assert cli.run(["verify", str(source), str(fused), "--json"]) == 5
    assert json.loads(capfd.readouterr().out)["components"][0]["not_verified"] == component["not_verified"]
    assert cli.run(["verify", "--certificate", str(out / "verification.json")]) == 5


def test_the_static_level_tells_what_was_not_inferred(source: Path) -> None:
    assert cli.run(["verify", str(source), str(source), "--level", "static"]) == 5
