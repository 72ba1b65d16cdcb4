"""`attnfuse compile` of a .mindir file: what it writes, what it says, what it leaves alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from attnfuse import staged_verification
from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.verify import ComponentVerification
from tests.cli.conftest import Command, tree
from tests.support.graphs import transformer
from tests.support.split import write_split
from tests.support.toy_pass import MARK, module_of

SITES = ["unet/blocks.0.attn1", "unet/blocks.0.attn2", "unet/blocks.1.attn1", "unet/blocks.1.attn2"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return transformer(sites=4).write(tmp_path / "in" / "unet.mindir")


FOR_THE_HOST = {"README.md", "convert.sh", "configs/unet.cfg"}
"""What the host that converts has of a graph called unet."""


def marked(graph: Path) -> list[str]:
    """The modules whose Softmax was changed."""
    nodes = Model(codec.parse(graph.read_bytes(), "x")).nodes
    return [module_of(n.scope) for n in nodes if n.proto.doc_string == MARK]


def test_a_folder_holds_graph_manifest_and_report(command: Command, model: Path, tmp_path: Path) -> None:
    before = model.read_bytes()
    answer = command("compile", model, "-o", tmp_path / "out", "--json")
    assert answer.code == 0
    assert set(tree(tmp_path / "out")) == {"unet.mindir", "manifest.json", "report.html", "report.json", *FOR_THE_HOST}
    assert answer.document == json.loads((tmp_path / "out" / "report.json").read_bytes())
    assert [s["id"] for s in answer.document["components"][0]["sites"]] == SITES
    assert answer.document["totals"]["fused"] == 4
    assert marked(tmp_path / "out" / "unet.mindir") == [s.removeprefix("unet/") for s in SITES]
    assert model.read_bytes() == before


def test_the_manifest_tells_what_was_made_from_what(command: Command, model: Path, tmp_path: Path) -> None:
    command("compile", model, "-o", tmp_path / "out", "--no-flash", "unet.blocks.0", "--soc", "ascend310p")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert manifest["inputs"]["unet.mindir"]["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    graph = (tmp_path / "out" / "unet.mindir").read_bytes()
    for name in FOR_THE_HOST:
        assert manifest["outputs"].pop(name)["bytes"] == (tmp_path / "out" / name).stat().st_size
    assert manifest["outputs"] == {"unet.mindir": {"sha256": hashlib.sha256(graph).hexdigest(), "bytes": len(graph)}}
    assert (manifest["runtime"], manifest["soc"]) == ("lite", "ascend310p")
    assert manifest["versions"] == {"attnfuse": "0.1.0", "mindspore": "2.7.1"}
    assert [rule["match"] for rule in manifest["policy"]] == ["unet.blocks.0"]
    (component,) = manifest["components"]
    assert component["inputs"] == [
        {"name": "sample", "shape": [2, 24, 64], "dtype": "float16", "converted_dtype": "float16"},
        {"name": "context", "shape": [2, 7, 64], "dtype": "float16", "converted_dtype": "float16"},
    ]
    assert [o["shape"] for o in component["outputs"]] == [[2, 24, 64]]
    text = (tmp_path / "out" / "manifest.json").read_text() + (tmp_path / "out" / "report.json").read_text()
    assert str(tmp_path) not in text


def test_a_mindir_path_gets_its_reports_beside_it(command: Command, model: Path, tmp_path: Path) -> None:
    answer = command("compile", model, "-o", tmp_path / "new" / "fused.mindir")
    assert answer.code == 0
    assert answer.out == ""
    written = {"fused.mindir", "fused.lite.cfg", "fused.manifest.json", "fused.report.html", "fused.report.json"}
    assert set(tree(tmp_path / "new")) == written
    assert "wrote" in answer.err


def test_beside_its_source(command: Command, model: Path) -> None:
    assert command("compile", model, "-o", model.parent / "fused.mindir").code == 0
    assert command("compile", model, "-o", model.parent / "fused").code == 0
    assert len(tree(model.parent)) == 1 + 5 + 4 + len(FOR_THE_HOST)


@pytest.mark.parametrize("out", ["out", "out.mindir", "in/fused.mindir"])
def test_variables_are_linked_and_found(command: Command, tmp_path: Path, out: str) -> None:
    graph = write_split(tmp_path / "in")
    answer = command("compile", graph, "-o", tmp_path / out)
    assert answer.code == 0, answer.err
    folder = (tmp_path / out).parent if out.endswith(".mindir") else tmp_path / out
    written = tmp_path / out if out.endswith(".mindir") else tmp_path / out / "unet_graph.mindir"
    variables = folder / "unet_variables" / "data_0"
    assert variables.stat().st_ino == (graph.parent / "unet_variables" / "data_0").stat().st_ino
    assert command("inspect", written).code == 0  # offsets, lengths and places still hold
    assert len(marked(written)) == 2
    manifest = json.loads(
        (folder / ("manifest.json" if out == "out" else f"{written.stem}.manifest.json")).read_bytes()
    )
    assert set(manifest["inputs"]) == {"unet_graph.mindir", "unet_variables/data_0"}
    assert manifest["outputs"]["unet_variables/data_0"] == manifest["inputs"]["unet_variables/data_0"]
    assert manifest["components"][0]["name"] == "unet"


def test_a_link_to_a_graph_is_that_graph(command: Command, tmp_path: Path) -> None:
    """Its weights lie beside the graph, not beside the link."""
    graph = write_split(tmp_path / "in")
    (tmp_path / "link_graph.mindir").symlink_to(graph)
    assert command("compile", tmp_path / "link_graph.mindir", "-o", tmp_path / "out").code == 0
    variables = graph.parent / "unet_variables" / "data_0"
    assert (tmp_path / "out" / "unet_variables" / "data_0").read_bytes() == variables.read_bytes()
    assert (tmp_path / "out" / "link_graph.mindir").exists()


def test_where_nothing_is_fused_the_bytes_are_the_same(command: Command, model: Path, tmp_path: Path) -> None:
    # A message may be written in several ways; this one is not the way that protobuf would choose.
    model.write_bytes(b"\x0a\x05first" + model.read_bytes())
    answer = command(
        "compile", model, "-o", tmp_path / "out", "--force-cast-dtype", "none", "--runtime", "mindspore", "--json"
    )
    assert (tmp_path / "out" / "unet.mindir").read_bytes() == model.read_bytes()
    assert {s["rule"] for s in answer.document["components"][0]["sites"]} == {"--force-cast-dtype none"}
    assert answer.document["totals"]["kept"] == 4


def test_a_rule_for_one_module_changes_that_module_only(command: Command, model: Path, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(
        '[defaults]\nflash = false\n[[rules]]\nmatch = "unet.blocks.1.attn1"\nflash = true\n'
        '[[rules]]\nmatch = "vae"\nflash = true\n'
    )
    answer = command("compile", model, "-o", tmp_path / "out", "--policy", tmp_path / "policy.toml", "--json")
    assert marked(tmp_path / "out" / "unet.mindir") == ["blocks.1.attn1"]
    sites = answer.document["components"][0]["sites"]
    assert {s["id"]: s["rule"] for s in sites if s["status"] == "fused"} == {
        "unet/blocks.1.attn1": 'policy.toml rules[0] (match = "unet.blocks.1.attn1")'
    }
    assert answer.document["warnings"] == ['the policy\'s policy.toml rules[1] (match = "vae") matches no site']


def test_progress_and_table_go_to_stderr(command: Command, model: Path, tmp_path: Path) -> None:
    answer = command("compile", model, "-o", tmp_path / "out", "--no-flash", "*.attn2")
    assert answer.out == ""
    assert "unet: reading" in answer.err
    assert "kept 2 (policy.off): the policy keeps the formula: unet/blocks.0.attn2, unet/blocks.1.attn2" in answer.err
    answer = command("compile", model, "-o", tmp_path / "out", "--progress", "never", "--json")
    assert answer.err.startswith("wrote ")


@pytest.mark.parametrize("where", ["in/unet.mindir", "out", "out/report.json"])
def test_the_report_never_lands_on_source_or_output(command: Command, model: Path, tmp_path: Path, where: str) -> None:
    before = model.read_bytes()
    answer = command("compile", model, "-o", tmp_path / "out", "--report", tmp_path / where)
    assert answer.code == 2
    assert "name another place for it" in answer.error
    assert model.read_bytes() == before
    assert not (tmp_path / "out").exists()


OWN = ["manifest.json", "report.json", "report.html", "verification.json", "lite.cfg"]


@pytest.mark.parametrize("name", [*(f"fused.{name}" for name in OWN), "unet_variables/data_0", "fused.mindir"])
def test_the_report_never_lands_on_what_lies_beside_a_graph(command: Command, tmp_path: Path, name: str) -> None:
    model, out = write_split(tmp_path / "in"), tmp_path / "p" / "fused.mindir"
    assert command("compile", model, "-o", out).code == 0
    seen = tree(tmp_path)
    for arguments in (["compile", model, "-o", out], ["compile", model, "-o", out, "--check"]):
        answer = command(*arguments, "--report", tmp_path / "p" / name)
        assert answer.code == 2
        assert "name another place" in answer.error
    answer = command("inspect", model, "--report", model.parent / "unet_variables" / "data_0")
    assert answer.code == 2
    assert tree(tmp_path) == seen
    assert command("compile", model, "-o", out, "--report", tmp_path / "p" / "other.manifest.json").code == 0


def test_the_report_goes_where_it_is_asked_for_too(command: Command, model: Path, tmp_path: Path) -> None:
    assert command("inspect", model, "--report", tmp_path / "r.json").code == 0
    assert json.loads((tmp_path / "r.json").read_bytes())["totals"]["sites"] == 4


def test_a_requirement_that_does_not_hold(command: Command, model: Path, tmp_path: Path) -> None:
    arguments = ["compile", model, "-o", tmp_path / "out", "--no-flash", "*.attn2", "--json"]
    answer = command(*arguments, "--require", "missed==0", "--require", "fused==sites", "--require", "kept < 2")
    assert answer.code == 1
    assert answer.document["totals"]["kept"] == 2
    assert "required fused==sites, but fused is 2 and sites is 4; nothing was written" in answer.err
    assert "required kept<2" in answer.err
    assert "missed" not in answer.err
    assert not (tmp_path / "out").exists()
    assert command(*arguments, "--require", "fused>=2").code == 0


def test_check_compares_and_writes_nothing(command: Command, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["compile", model, "-o", out]
    missing = command(*arguments, "--check")
    assert (missing.code, out.exists()) == (1, False)
    assert "is not up to date: it has no unet.mindir" in missing.error
    command(*arguments)
    seen = tree(tmp_path)
    assert command(*arguments, "--check").code == 0
    other = command(*arguments, "--check", "--no-flash", "*.attn2")
    assert other.code == 1
    assert "unet.mindir differs" in other.error
    assert tree(tmp_path) == seen
    for name in ("report.json", *sorted(FOR_THE_HOST)):
        kept = (out / name).read_bytes()
        (out / name).write_text("{}")
        assert f"{name} differs" in command(*arguments, "--check").error
        (out / name).write_bytes(kept)


@pytest.mark.parametrize("option", [("--again",), ("--max-memory", "1GiB"), ("--seed", "1")], ids=lambda o: o[0])
def test_an_option_of_verification_without_it_is_refused(
    command: Command, tmp_path: Path, option: tuple[str, ...]
) -> None:
    answer = command("compile", "m.mindir", "-o", tmp_path / "out", *option)
    assert answer.code == 2
    assert f"{option[0]} is for --verify static, sampled or full" in answer.error


def test_a_dry_run_writes_nothing(command: Command, model: Path, tmp_path: Path) -> None:
    seen = tree(tmp_path)
    answer = command("compile", model, "--dry-run", "--json", "--require", "fused==4")
    assert answer.code == 0
    assert answer.document["totals"]["fused"] == 4
    command("compile", model, "--dry-run", "-o", tmp_path / "out")
    assert tree(tmp_path) == seen


def test_a_graph_without_weights_is_inspected_and_not_compiled(command: Command, tmp_path: Path) -> None:
    bare = transformer(weights=False).write(tmp_path / "bare_graph.mindir")
    answer = command("inspect", bare, "--json")
    assert answer.code == 0
    assert [s["id"] for s in answer.document["components"][0]["sites"]] == [
        "bare/blocks.0.attn1",
        "bare/blocks.0.attn2",
    ]
    split = write_split(tmp_path / "split")
    (tmp_path / "split" / "unet_variables" / "data_0").unlink()
    assert command("inspect", split).code == 0
    answer = command("compile", bare, "-o", tmp_path / "out")
    assert answer.code == 3
    assert "parameter 'blocks.0.attn1.to_q.weight'" in answer.error
    assert "has no data" in answer.error
    assert not (tmp_path / "out").exists()


def test_a_verification_that_fails(
    command: Command, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*, name: str, original: Path, fused: Path, **_: object) -> ComponentVerification:
        assert original == model
        assert marked(fused) != []
        return ComponentVerification(name=name, level="static", seed=0, findings=("the mask is inverted",))

    monkeypatch.setattr(staged_verification, "verify_component", fail)
    answer = command("compile", model, "-o", tmp_path / "out", "--verify", "static", "--json")
    assert answer.code == 4
    assert "unet: DIFFERS: the mask is inverted" in answer.err
    assert "verification failed; nothing was written" in answer.error
    assert answer.document["verification"]["passed"] is False
    assert not (tmp_path / "out").exists()


def test_results_that_are_tuples_of_tuples(command: Command, tmp_path: Path) -> None:
    """A ControlNet gives a list of residuals and one more."""
    g = transformer()
    x = g.input("x", (2, 3))
    tensor_type = g.type_of(x)
    g.output(g.node("make_list", [x, x], (tensor_type, tensor_type)), g.op("ReLU", x))
    answer = command("compile", g.write(tmp_path / "control.mindir"), "-o", tmp_path / "out")
    assert answer.code == 0, answer.err
    (component,) = json.loads((tmp_path / "out" / "manifest.json").read_bytes())["components"]
    names = [o["name"].partition("[")[2] for o in component["outputs"]]
    assert names == ["0]", "1][0]", "1][1]", "2]"]
    assert component["outputs"][1]["shape"] == [2, 3]


@pytest.mark.mindspore
def test_a_verification_that_passes(command: Command, tmp_path: Path) -> None:
    graph = write_split(tmp_path / "in")
    answer = command("compile", graph, "-o", tmp_path / "out", "--verify", "static", "--json")
    assert answer.code == 0, answer.err
    assert json.loads((tmp_path / "out" / "verification.json").read_bytes()) == answer.document["verification"]
    assert "not verified: no Ascend kernel ran" in answer.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert set(manifest["outputs"]) == {"unet_graph.mindir", "unet_variables/data_0", *FOR_THE_HOST}
    # What was verified is up to date whether or not it is verified again.
    assert command("compile", graph, "-o", tmp_path / "out", "--check").code == 0


@pytest.mark.mindspore
def test_the_verify_command(command: Command, model: Path, tmp_path: Path) -> None:
    command("compile", model, "-o", tmp_path / "out")
    answer = command("verify", model, tmp_path / "out" / "unet.mindir", "--level", "static", "--json")
    assert answer.code == 0, answer.err
    assert answer.document["passed"] is True
    other = transformer(sites=4, length=25).write(tmp_path / "other.mindir")
    answer = command("verify", model, other, "--level", "static")
    assert answer.code == 4
    assert "DIFFERS" in answer.err


def test_passes_are_listed(command: Command) -> None:
    answer = command("passes")
    assert answer.code == 0
    assert answer.out.splitlines() == [
        "  10  toy: marks softmax nodes  (tests.support.toy_pass)",
        "        forget = 0",
    ]
