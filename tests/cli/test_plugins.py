"""The command with plugins installed: options of their passes, their reporters, and what is told of them."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from attnfuse import cli, incremental, plugins
from attnfuse.mindir import codec
from attnfuse.processes import Terminated
from tests.cli.conftest import Answer, Command, tree
from tests.support.graphs import transformer
from tests.support.installed import Install, plugin
from tests.support.sites import Site

__all__ = ["plugin"]

MARKS = """
from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True)
class Marks:
    id: ClassVar[str] = "marks"
    order: ClassVar[int] = 400
    summary: ClassVar[str] = "writes a remark on every node"
    text: str = "none"

    def run(self, model, context):
        for node in model.nodes:
            node.proto.doc_string = self.text
        return True
"""
LINES = """
class Lines:
    name, file, summary = "lines", "lines.txt", "one line a component"

    def render(self, report):
        return "".join(f"{c['name']} {c['totals']['fused']}\\n" for c in report["components"]).encode()
"""
IDENTITY = """
from attnfuse_passes.api import Identity, Same, Scale
Own = Identity("own", ("Neg",), "x", (), (), lambda model, node: ({}))
"""
REWRITE = """
from attnfuse.api import OperatorRewrite
class Lowering:
    form = "own"
    def unsupported_reason(self, form, candidate, at): return None
    def write(self, build, form, candidate): return {}
class Own(OperatorRewrite):
    roots, lowerings = frozenset(("Add",)), (Lowering(),)
    def raise_(self, at): return at
    def name(self, form, at): return "own"
"""
ENTRIES = {"attnfuse.passes:marks": "Marks", "attnfuse.reporters:lines": "Lines"}


@pytest.fixture
def run(plugin: Install, capfd: pytest.CaptureFixture[str]) -> Command:
    plugin("attnfuse-marks", MARKS + LINES, ENTRIES, "1.2")

    def answer(*arguments: str | Path) -> Answer:
        capfd.readouterr()
        code = cli.run([str(a) for a in arguments])
        said = capfd.readouterr()
        return Answer(code, said.out, said.err)

    return answer


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return transformer().write(tmp_path / "in" / "unet.mindir")


def document(folder: Path, name: str = "report.json") -> Any:
    return json.loads((folder / name).read_bytes())


def test_an_option_changes_the_graph_and_is_told(run: Command, graph: Path, tmp_path: Path) -> None:
    policy = tmp_path / "p.toml"
    policy.write_text('[pass.marks]\ntext = "from the file"\n')
    out = tmp_path / "out"
    assert run("compile", graph, "-o", out, "--policy", policy).code == 0
    assert b"from the file" in (out / "unet.mindir").read_bytes()
    (component,) = document(out)["components"]
    own = {"composites.gelu_gate": "operator", "composites.swiglu": "off", "fuse.largest_constant": 1 << 26}
    assert component["options"] == own | {"marks.text": "from the file"}
    assert component["plugins"] == {"attnfuse-marks": "1.2"}
    assert document(out, "manifest.json")["versions"]["attnfuse-marks"] == "1.2"
    again = run("compile", graph, "-o", out, "--policy", policy, "--pass", "marks.text=from the line", "--check")
    assert again.code == 1
    assert "is not up to date: unet.mindir differs" in again.error


def test_a_cache_knows_options_and_versions(
    plugin: Install, run: Command, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "old.py"  # in place of sources, which somebody may edit meanwhile
    old.write_text("")
    os.utime(old, (0, 0))
    monkeypatch.setattr(incremental, "_places", lambda name: [old])

    def is_made_again(*options: str) -> bool:
        answer = run("compile", graph, "-o", tmp_path / "out", "--cache-dir", tmp_path / "cache", *options)
        assert answer.code == 0
        return "unet: unchanged" not in answer.err.splitlines()

    assert is_made_again("--pass", "marks.text=one")
    assert not is_made_again("--pass", "marks.text=one")
    assert is_made_again("--pass", "marks.text=two")
    assert b"two" in (tmp_path / "out" / "unet.mindir").read_bytes()
    assert not is_made_again("--pass", "marks.text=two", "--reporter", "lines")
    shutil.rmtree(tmp_path / "site-packages")
    (tmp_path / "site-packages").mkdir()
    plugin("attnfuse-marks", MARKS + LINES, ENTRIES, "1.3")
    plugins.load.cache_clear()
    assert is_made_again("--pass", "marks.text=two")
    assert document(tmp_path / "out")["components"][0]["plugins"] == {"attnfuse-marks": "1.3"}


def test_an_option_of_no_pass_is_refused_before_anything_is_written(run: Command, graph: Path, tmp_path: Path) -> None:
    answer = run("compile", graph, "-o", tmp_path / "out", "--pass", "mark.text=x")
    assert answer.code == 2
    known = "fuse, composites, legalise, simplify, deduplicate_constants, marks"
    assert f"there is no pass 'mark'; did you mean 'marks'? Known: {known}." in answer.error
    assert not (tmp_path / "out").exists()


def test_a_reporter_writes_a_file_of_the_output(run: Command, graph: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("compile", graph, "-o", out, "--reporter", "lines").code == 0
    assert (out / "lines.txt").read_bytes() == b"unet 2\n"
    assert document(out, "manifest.json")["outputs"]["lines.txt"]["bytes"] == 7
    assert run("compile", graph, "-o", out, "--reporter", "lines", "--check").code == 0
    (out / "lines.txt").write_bytes(b"unet 3\n")
    assert "lines.txt differs" in run("compile", graph, "-o", out, "--reporter", "lines", "--check").error
    assert run("compile", graph, "-o", out).code == 0  # without it, the file goes
    assert not (out / "lines.txt").exists()


def test_a_reporter_beside_a_graph_overwrites_nothing_of_others(run: Command, graph: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.mindir"
    (tmp_path / "a.lines.txt").write_bytes(b"mine")
    answer = run("compile", graph, "-o", out, "--reporter", "lines")
    assert answer.code == 2
    assert "a.lines.txt exists already; move it" in answer.error
    assert (tmp_path / "a.lines.txt").read_bytes() == b"mine"
    (tmp_path / "a.lines.txt").unlink()
    for _ in range(2):
        assert run("compile", graph, "-o", out, "--reporter", "lines").code == 0
        assert (tmp_path / "a.lines.txt").read_bytes() == b"unet 2\n"


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ("'name'", "'nam'", 3, "the reporter 'lines' of the plugin 'attnfuse-marks' failed (KeyError: 'nam')"),
        ("lines.txt", "manifest.json", 2, "a reporter would write manifest.json, which attnfuse writes itself"),
        ("lines.txt", "unet.mindir", 3, "would write unet.mindir, which is another file of this output"),
    ],
)
def test_a_reporter_that_is_wrong_leaves_nothing(
    plugin: Install, command: Command, graph: Path, tmp_path: Path, old: str, new: str, code: int, message: str
) -> None:
    plugin("attnfuse-marks", LINES.replace(old, new), {"attnfuse.reporters:lines": "Lines"})
    before = tree(tmp_path)
    answer = command("compile", graph, "-o", tmp_path / "out", "--reporter", "lines")
    assert answer.code == code
    assert message in answer.error
    assert tree(tmp_path).keys() - {name for name in tree(tmp_path) if "__pycache__" in name} == before.keys()


def test_a_dry_run_has_no_place_for_a_reporter(run: Command, graph: Path) -> None:
    answer = run("compile", graph, "--dry-run", "--reporter", "lines")
    assert answer.code == 2
    assert "--dry-run writes nothing, and a reporter writes into the output; drop one." in answer.error


def test_the_time_of_passes_is_told_and_kept_nowhere(run: Command, graph: Path, tmp_path: Path) -> None:
    first = run("compile", graph, "-o", tmp_path / "out", "--time-passes")
    lines = first.err[first.err.index("time of passes") :].splitlines()
    assert [line.split()[:2] for line in lines[2:9]] == [
        ["fuse", "1"],
        ["composites", "1"],
        ["legalise", "1"],
        ["simplify", "1"],
        ["deduplicate_constants", "1"],
        ["marks", "1"],
        ["total", "6"],
    ]
    assert not first.out
    before = tree(tmp_path / "out")
    assert run("compile", graph, "-o", tmp_path / "out").code == 0
    assert tree(tmp_path / "out") == before


def test_that_none_is_installed_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["plugins"]) == 0
    assert capfd.readouterr() == ("", "no plugin is installed (docs/plugins.md).\n")


def test_what_is_installed_is_listed(run: Command) -> None:
    assert run("plugins").out.splitlines() == [
        "attnfuse-marks 1.2: pass marks",
        "attnfuse-marks 1.2: reporter lines",
    ]
    assert '        text = "none"' in run("passes").out.splitlines()


def test_a_plugin_that_cannot_be_imported_is_refused_by_name(
    plugin: Install, run: Command, graph: Path, tmp_path: Path
) -> None:
    plugin("attnfuse-broken", "import no_such_module", {"attnfuse.identities:any": "ANY"})
    answer = run("compile", graph, "-o", tmp_path / "out")
    assert answer.code == 3
    assert (
        "the identity 'any' of the plugin 'attnfuse-broken' cannot be loaded (the_module_of_attnfuse_broken:ANY"
        in answer.error
    )
    assert not (tmp_path / "out").exists()


WRONG = {
    "a pass that says nothing": (
        "class Own:\n    id, order, summary = 'own', 150, 'x'\n    def run(self, model, context): pass",
        "attnfuse.passes:own",
        "the pass 'own'|pass 'own' of the plugin 'attnfuse-own' .*returned None, not whether anything changed",
    ),
    "a pass that ends the process": (
        "class Own:\n    id, order, summary = 'own', 150, 'x'\n    def run(self, model, context): raise SystemExit(5)",
        "attnfuse.passes:own",
        "pass 'own' of the plugin 'attnfuse-own' .*SystemExit: 5",
    ),
    "an identity by a factor that is no number": (
        IDENTITY.format("node.inputs[0], Scale('two')"),
        "attnfuse.identities:own",
        "the identity 'own' of the plugin 'attnfuse-own' gave .*which is not a value and an effect",
    ),
    "an identity that goes on nowhere": (
        IDENTITY.format("'nowhere', Same()"),
        "attnfuse.identities:own",
        "the identity 'own' of the plugin 'attnfuse-own' goes on at 'nowhere', which is no value of the graph",
    ),
    "a rewrite whose lowering writes a number": (
        REWRITE.format("5"),
        "attnfuse.rewrites:own",
        "with the plugin 'attnfuse-own', TypeError",
    ),
}


def test_sigterm_while_its_pass_runs_is_no_fault_of_its(plugin: Install, graph: Path, tmp_path: Path) -> None:
    module, entry, _ = WRONG["a pass that ends the process"]
    ends = module.replace("SystemExit(5)", "Terminated(143)")
    plugin("attnfuse-own", f"from attnfuse.processes import Terminated\n{ends}", {entry: "Own"})
    with pytest.raises(Terminated, match="143"):
        cli.run(["compile", str(graph), "-o", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", WRONG)
def test_what_a_plugin_does_wrong_is_its_own(
    plugin: Install, graph: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    """Also where the exception comes out of our own code, which was given something that is no answer."""
    module, entry, message = WRONG[name]
    if "identity" in name:
        graph.write_bytes(codec.serialise(Site(scores=lambda g, scores: g.op("Neg", scores)).proto()))
    plugin("attnfuse-own", module, {entry: "Own"})
    code = cli.run(["compile", str(graph), "-o", str(tmp_path / "out")])
    assert re.search(message, capfd.readouterr().err)
    assert code == 3
    assert not (tmp_path / "out").exists()


def test_a_rewrite_that_writes_nothing_for_what_is_read_says_so(
    plugin: Install, graph: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The node stays, and nothing is told of as legalised."""
    plugin("attnfuse-own", REWRITE.format("None"), {"attnfuse.rewrites:own": "Own"})
    assert cli.run(["compile", str(graph), "-o", str(tmp_path / "out")]) == 0
    (component,) = document(tmp_path / "out")["components"]
    assert [entry for entry in component["legalised"] if entry["op"] == "Add"] == []
    (entry,) = component["not_rewritten"]
    assert (entry["op"], entry["reason"]) == ("Add", "nothing is written for it, and it is read")
    assert component["unsupported"] == []  # MindSpore Lite takes it
    capfd.readouterr()
    assert cli.run(["inspect", str(graph)]) == 0
    told = f"not rewritten {entry['count']} (Add): nothing is written for it, and it is read: unet/"
    assert told in capfd.readouterr().err
