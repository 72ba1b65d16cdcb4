"""One component from two files: levels, findings, notes, JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

import attnfuse.verify as verify_package
from attnfuse import cli, compiler
from attnfuse.compiler import CompileRequest
from attnfuse.errors import SourceError, UsageError, VerificationError
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16
from attnfuse.verify import ComponentVerification, Level, Verification, verify_component
from tests.support.graphs import GraphBuilder
from tests.verify.pairs import SCALE, Block, Mistake

pytestmark = pytest.mark.mindspore


def verify(folder: Path, original: GraphBuilder, fused: GraphBuilder, level: Level = "full") -> ComponentVerification:
    for name, graph in (("original", original), ("fused", fused)):
        graph.write(folder / f"{name}.mindir")
    return verify_component(
        name="block",
        original=folder / "original.mindir",
        fused=folder / "fused.mindir",
        level=level,
        seed=7,
        work=folder,
    )


def test_full(tmp_path: Path) -> None:
    block = Block(masked=True)
    result = verify(tmp_path, block.original(), block.fused())
    assert result.passed
    assert result.fused_nodes == 1
    assert len(result.outputs) == 1
    assert {e.split()[0] for e in result.executors} == {"mindspore", "onnxruntime", "onnx"}
    assert set(result.seconds) == {"structure", "inference", "numbers", "sites", "restated"}
    message = json.dumps(Verification((result,)).to_json())
    assert json.loads(message)["passed"] is True
    assert "no Ascend kernel ran" in message
    assert str(tmp_path) not in message
    # A second run says the same, to the byte.
    again = verify(tmp_path, block.original(), block.fused())
    assert json.dumps(Verification((again,)).to_json()) == message


def test_an_original_that_mindspore_rejects_cannot_be_verified(tmp_path: Path) -> None:
    """The result is then not called wrong for it, unless it is wrong in something else too."""
    rejected = Block(mistake=Mistake(restore=False))
    with pytest.raises(VerificationError, match=r"rejects its original graph.*TypeError.*use --verify none"):
        verify(tmp_path, rejected.fused(), rejected.fused(), "static")
    other = replace(rejected, dtype=FLOAT16, compute=BFLOAT16)
    result = verify(tmp_path, rejected.fused(), other.fused(), "static")
    assert any("MindSpore rejects the graph" in finding for finding in result.findings)
    assert len(result.findings) > 1


def test_a_fused_node_recast_is_held_to_its_new_type(tmp_path: Path) -> None:
    """float16 in the source, bfloat16 by the policy: the yardstick is the source's node in bfloat16."""
    before, after = (Block(compute=compute).fused() for compute in (FLOAT16, BFLOAT16))
    result = verify(tmp_path, before, after)
    assert result.passed, result.findings
    wrong = Block(compute=BFLOAT16, mistake=Mistake(scale=SCALE * 1.05)).fused()
    assert not verify(tmp_path, before, wrong).passed


@pytest.mark.parametrize(
    ("names", "dims", "outputs", "message"),
    [
        (("x", "y"), (2, 3), 1, "the graph has 2 inputs (x, y), the original 1 input (x)."),
        (("x",), (2, 4), 1, "input x was float32[2, 3] and is float32[2, 4]."),
        (("x",), (2, 3), 2, "output CNode_2:2 was float32[2, 3] and is (float32[2, 3], float32[2, 3])."),
    ],
)
def test_graphs_of_other_inputs_or_outputs_are_not_run(
    tmp_path: Path, names: tuple[str, ...], dims: tuple[int, ...], outputs: int, message: str
) -> None:
    def graph(names: tuple[str, ...], dims: tuple[int, ...], outputs: int) -> GraphBuilder:
        g = GraphBuilder("block")
        values = [g.input(name, dims) for name in names]
        total = g.op("Abs", values[0])
        for value in values[1:]:
            total = g.add(total, value)
        g.output(*(g.op("Neg", total) for _ in range(outputs)))
        return g

    result = verify(tmp_path, graph(("x",), (2, 3), 1), graph(names, dims, outputs))
    assert result.findings[0] == message
    assert not any("onnxruntime" in finding for finding in result.findings)
    assert "neither graph was run: their inputs or outputs differ" in result.notes
    assert result.outputs == ()


def test_static_runs_no_numbers(tmp_path: Path) -> None:
    block = Block(mistake=Mistake(scale=9.0))
    result = verify(tmp_path, block.original(), block.fused(), "static")
    assert result.passed
    assert result.outputs == ()
    assert all("onnx" not in e for e in result.executors)


def test_every_layer_of_checks_reports(tmp_path: Path) -> None:
    block = Block(mistake=Mistake(restore=False))
    result = verify(tmp_path, block.original(), block.fused())
    assert not result.passed
    assert any(f.startswith("output CNode") for f in result.findings)
    assert any(f.startswith("MindSpore's inference: MindSpore rejects") for f in result.findings)
    told = Verification((result,))
    assert not told.passed
    assert all(f.startswith("block: ") for f in told.findings)


def test_the_mathematics(tmp_path: Path) -> None:
    block = Block(mistake=Mistake(scale=0.3))
    result = verify(tmp_path, block.original(), block.fused())
    assert any("the mathematics is another" in f for f in result.findings)
    assert result.to_json()["outputs"][0]["passed"] is False


def test_what_was_so_before_is_a_note(tmp_path: Path) -> None:
    """A node of the source that breaks a limit is not the rewrite's doing."""
    g = [GraphBuilder("old"), GraphBuilder("old")]
    for builder in g:
        q = builder.input("q", (2, 4, 24, 8), FLOAT16)
        builder.output(builder.prompt_flash_attention(q, q, q, heads=4, scale=0.0))
    result = verify(tmp_path, g[0], g[1], "static")
    assert any(n.startswith("already so in the original: PromptFlashAttention") for n in result.notes)
    assert result.passed, result.findings


def test_weights_of_a_graph_without_any_are_drawn_and_said_so(tmp_path: Path) -> None:
    block = Block()
    original, fused = block.original(), block.fused()
    for g in (original, fused):
        for p in g.graph.parameter:
            p.ClearField("raw_data")
    result = verify(tmp_path, original, fused)
    assert result.passed
    assert "4 of 4 weights have no values in either file and were drawn" in result.notes


def test_a_missing_file_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        verify_component(name="x", original=tmp_path / "a", fused=tmp_path / "b", level="static", seed=0, work=tmp_path)


@pytest.mark.parametrize(
    ("level", "module", "extra"), [("full", "onnxruntime", "verify"), ("static", "mindspore", "trace")]
)
def test_what_is_not_installed_is_told_as_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: Level, module: str, extra: str
) -> None:
    """Before anything is read."""
    monkeypatch.setattr(verify_package, "find_spec", lambda name: None if name == module else find_spec(name))
    with pytest.raises(UsageError, match=rf"needs {module}, not installed here: pip install 'attnfuse\[{extra}\]'"):
        verify_component(name="x", original=tmp_path, fused=tmp_path, level=level, seed=0, work=tmp_path)
    with pytest.raises(UsageError, match=module):
        compiler.compile(CompileRequest(source="nowhere", output=tmp_path / "out", verify=level))


def test_measuring_memory_needs_onnxruntime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verify_package, "find_spec", lambda name: None)
    graphs = [str(tmp_path / name) for name in ("source.mindir", "fused.mindir")]
    assert cli.run(["verify", *graphs, "--measure-memory"]) == 2
    assert "attnfuse[" in capsys.readouterr().err


def test_importing_the_package_imports_neither_protobuf_nor_onnx() -> None:
    """The worker is a module of the package: with protobuf loaded before it, MindSpore cannot be imported."""
    code = """
import sys
import attnfuse.verify
print([m for m in sys.modules if m.partition('.')[0] in ('google', 'onnx', 'onnxruntime', 'mindspore')])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
