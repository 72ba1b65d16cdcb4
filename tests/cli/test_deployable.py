"""What MindSpore Lite takes: what `inspect` tells of operators, `--require deployable`, the configuration beside."""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from attnfuse import cli
from attnfuse.ir.graph import CONSTANT, Model
from attnfuse.ir.text import parse_program
from attnfuse.ir.values import Values
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import BFLOAT16
from attnfuse.mindir.external import parameter_name, parameters
from attnfuse.targets import OPERATORS, Target
from attnfuse.targets.nodes import deployment_refusals
from attnfuse.tracing.contract import ComponentPlan, TracedComponent
from tests.cli.conftest import tree
from tests.support.graphs import transformer
from tests.support.small_models import SMALL, write_configs
from tests.support.tracer import stand_in
from tests.support.traces import TracedDemo

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def attnfuse(capfd: pytest.CaptureFixture[str]) -> Run:
    """The command in this process, with the installed passes: its exit code and what it says."""

    def run(*arguments: str | Path) -> tuple[int, str]:
        capfd.readouterr()
        code = cli.run([*(str(a) for a in arguments), "--progress", "never"])
        said = capfd.readouterr()
        return code, said.out + said.err

    return run


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A transformer, whose mint products are legalised."""
    return transformer(sites=2).write(tmp_path / "unet.mindir")


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """The same with an operator that nobody knows, twice."""
    g = transformer(sites=2)
    x = g.input("x", (2, 3))
    g.output(g.op("Fancy", g.op("Fancy", x)))
    return g.write(tmp_path / "odd.mindir")


def test_inspect_tells_what_is_legalised(attnfuse: Run, plain: Path) -> None:
    code, said = attnfuse("inspect", plain)
    assert code == 0
    assert "legalised 8 nodes of 1 operator" in said
    (line,) = (line for line in said.splitlines() if line.startswith("  "))
    assert line.startswith("  Dense 8: ")
    assert "MatMul" in line
    assert "deployable: MindSpore Lite takes every node of the result" in said
    code, said = attnfuse("inspect", plain, "--runtime", "mindspore")
    assert code == 0
    assert "legalised" not in said
    assert "deployable" not in said


def test_inspect_tells_what_is_left_and_where(attnfuse: Run, odd: Path) -> None:
    code, said = attnfuse("inspect", odd)
    assert code == 0
    (line,) = (line for line in said.splitlines() if line.startswith("unsupported"))
    assert line.startswith("unsupported 2 (Fancy): ")
    assert "deployable" not in said
    code, said = attnfuse("inspect", odd, "--json")
    (component,) = json.loads(said)["components"]
    (entry,) = component["unsupported"]
    assert (entry["op"], entry["count"], len(entry["nodes"])) == ("Fancy", 2, 2)
    (dense,) = component["legalised"]
    assert (dense["op"], dense["count"]) == ("Dense", 8)
    assert {"MatMul"} < set(dense["into"]) <= set(OPERATORS)
    assert (component["totals"]["unsupported"], component["totals"]["legalised"]) == (2, 8)


def test_deployable_is_required(attnfuse: Run, plain: Path, odd: Path, tmp_path: Path) -> None:
    arguments = ("-o", tmp_path / "out", "--require", "deployable")
    code, said = attnfuse("compile", odd, *arguments)
    assert code == 1
    assert "error: required deployable (unsupported==0), but unsupported is 2; nothing was written." in said
    assert "unsupported 2 (Fancy)" in said
    assert not (tmp_path / "out").exists()
    code, said = attnfuse("inspect", odd, "--require", "deployable")
    assert (code, "written" in said) == (1, False)
    assert "error: required deployable (unsupported==0), but unsupported is 2." in said
    assert attnfuse("compile", odd, *arguments, "--runtime", "mindspore")[0] == 0  # MindSpore takes all of its own
    assert attnfuse("compile", plain, *arguments[2:], "-o", tmp_path / "plain")[0] == 0
    assert unsupported(tmp_path / "plain" / "unet.mindir") == []


@pytest.mark.parametrize(
    ("program", "code", "reason"),
    [
        (
            "GeGluV2(x: float16[2, 8]; dim=-1, activate_left=False) -> (float16[2, 4], float16[2, 4])[0]",
            "converter.attribute",
            "GeGluV2 on ascend910b takes a value for GeGluV2's attribute approximate, not none",
        ),
        (
            "RotaryPositionEmbedding(x: float16[2, 7, 8, 64], c: float16[2, 7, 1, 64], s: float16[2, 7, 1, 64], 1)",
            "composite.shape",
            "RotaryPositionEmbedding on ascend910b takes cosines of [1, S, 1, D], [1, 1, S, D] or [S, 1, 1, D], not ",
        ),
    ],
)
def test_a_node_that_loses_something_or_is_not_launched_is_not_deployable(
    attnfuse: Run, tmp_path: Path, program: str, code: str, reason: str
) -> None:
    """Its operator is one that MindSpore Lite takes."""
    graph = tmp_path / "gate.mindir"
    graph.write_bytes(codec.serialise(parse_program(program)))
    exit_code, said = attnfuse("compile", graph, "-o", tmp_path / "out", "--require", "deployable")
    assert exit_code == 1
    assert "error: required deployable (unsupported==0), but unsupported is 1; nothing was written." in said
    assert reason in " ".join(said.split())
    (component,) = json.loads(attnfuse("inspect", graph, "--json")[1])["components"]
    (entry,) = component["unsupported"]
    assert (entry["op"], entry["code"], len(entry["nodes"])) == (program.partition("(")[0], code, 1)
    assert entry["reason"].startswith(reason)


def test_the_manifest_tells_types_after_conversion_and_what_the_result_was_judged_by(
    attnfuse: Run, tmp_path: Path
) -> None:
    graph = tmp_path / "sum.mindir"
    graph.write_bytes(codec.serialise(parse_program("Add(Cast(n: int64[2], 42), x: float16[2])")))
    for runtime, types, judged in (("lite", ["int32", "float16"], True), ("mindspore", [None, None], False)):
        assert attnfuse("compile", graph, "-o", tmp_path / runtime, "--runtime", runtime)[0] == 0
        manifest, report = (json.loads((tmp_path / runtime / f"{n}.json").read_bytes()) for n in ("manifest", "report"))
        given = manifest["components"][0]["inputs"]
        assert [(one["name"], one["dtype"]) for one in given] == [("n", "int64"), ("x", "float16")]
        assert [one["converted_dtype"] for one in given] == types
        assert manifest["judged_by"] == report["judged_by"]
        assert (manifest["judged_by"].get("kernels") == "CANN 8.1.RC1, aic-*-ops-info.json") == judged


def test_what_two_layers_have_alike_is_written_once(attnfuse: Run, plain: Path, tmp_path: Path) -> None:
    assert attnfuse("compile", plain, "-o", tmp_path / "out")[0] == 0
    nodes = Model(codec.parse((tmp_path / "out" / "unet.mindir").read_bytes(), "x")).nodes
    made = [n.proto.attribute[0].SerializeToString() for n in nodes if n.op == CONSTANT and "attnfuse" in n.name]
    assert made
    assert len(set(made)) == len(made)


def test_a_result_compiled_again_stays_as_it_is(attnfuse: Run, plain: Path, tmp_path: Path) -> None:
    for source, out in ((plain, "once"), (tmp_path / "once" / "unet.mindir", "twice")):
        assert attnfuse("compile", source, "-o", tmp_path / out)[0] == 0
    once, twice = (tmp_path / out / "unet.mindir" for out in ("once", "twice"))
    assert once.read_bytes() == twice.read_bytes() != plain.read_bytes()


def test_the_configuration_is_written_for_lite_alone(attnfuse: Run, plain: Path, tmp_path: Path) -> None:
    assert attnfuse("compile", plain, "-o", tmp_path / "out")[0] == 0
    text = (tmp_path / "out" / "configs" / "unet.cfg").read_text(encoding="ascii")
    # As MindSpore Lite's two parsers read it: a comment opens its line, a key and a value are parted by one sign.
    assert all(line.startswith(("#", "[")) or line.count("=") == 1 for line in text.splitlines() if line)
    parser = configparser.ConfigParser()
    parser.read_string(text)
    assert {section: dict(parser[section]) for section in parser.sections()} == {
        "ascend_context": {"precision_mode": "enforce_origin"},
        "ge_global_options": {"ge.exec.precision_mode": "must_keep_origin_dtype"},
    }
    assert attnfuse("compile", plain, "-o", tmp_path / "out", "--check")[0] == 0
    assert attnfuse("compile", plain, "-o", tmp_path / "out", "--runtime", "mindspore")[0] == 0
    written = {"unet.mindir", "manifest.json", "report.html", "report.json", "README.md"}
    assert set(tree(tmp_path / "out")) == written


def test_the_configuration_of_one_file_lies_beside_it(attnfuse: Run, plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "fused.mindir"
    assert attnfuse("compile", plain, "-o", out)[0] == 0
    assert "fused.lite.cfg" in tree(out.parent)
    assert "fused.lite.cfg" in json.loads((out.parent / "fused.manifest.json").read_bytes())["outputs"]
    assert attnfuse("compile", plain, "-o", out, "--runtime", "mindspore")[0] == 0
    assert set(tree(out.parent)) == {"fused.mindir", "fused.manifest.json", "fused.report.html", "fused.report.json"}


def unsupported(graph: Path) -> list[str]:
    """The nodes of a written graph that the converter does not carry over whole, or no device launches."""
    model, target = Model(codec.parse(graph.read_bytes(), "x")), Target("lite", "ascend910b")
    values = Values(model)
    nodes = [node for node in model.nodes if node.op != CONSTANT]
    assert len(nodes) > 10
    return [repr(node) for node in nodes if deployment_refusals(target, values, node)]


def tables_of_the_readme() -> list[str]:
    """The rows of what it shows of the demo's compile, and how much was legalised."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    shown = text[text.index("    estimate for ") : text.index("    deployable: ")].splitlines()
    names = ("unet ", "vae_decoder ", "vae_encoder ", "text_encoder ", "total ", "legalised ")
    rows = [row for line in shown if (row := line.strip()).startswith(names)]
    assert len(rows) == 4 + 5 + 1
    return [without_errors(row) for row in rows]


def without_errors(text: str) -> str:
    """Words alone, and of the figures of a verification none: they are of a run."""
    return re.sub(r" +\d\.\d\de-\d\d| +", lambda found: " " if found[0].isspace() else "", text)


@pytest.mark.mindspore
def test_every_graph_of_the_demo_is_deployable(
    attnfuse: Run, demo_folder: Path, traced_demo: TracedDemo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def traced_before(plan: ComponentPlan, work: Path) -> TracedComponent:
        return traced_demo("float16", plan.name)[plan.name]

    stand_in(monkeypatch, traced_before)
    out = tmp_path / "out"
    code, said = attnfuse("compile", demo_folder, "-o", out, "--require", "deployable", "--require", "fused==sites")
    assert code == 0, said
    manifest = json.loads((out / "manifest.json").read_bytes())
    names = [component["name"] for component in manifest["components"]]
    assert names == ["unet", "vae_decoder", "vae_encoder", "text_encoder"]
    for name in names:
        assert unsupported(out / f"{name}_graph.mindir") == []
    if manifest["versions"]["mindspore"] == "2.7.1":  # as in README.md
        assert [row for row in tables_of_the_readme() if row not in without_errors(said)] == []
    # No component carries a weight of another.
    held: dict[str, set[str]] = {
        name: {parameter_name(p) for p in parameters(codec.parse((out / f"{name}_graph.mindir").read_bytes(), name))}
        for name in ("vae_decoder", "vae_encoder")
    }
    assert held["vae_decoder"]
    assert held["vae_encoder"]
    assert not held["vae_decoder"] & held["vae_encoder"]


@pytest.mark.parametrize(
    ("soc", "runtime"), [("ascend310p", "lite"), ("ascend910", "lite"), ("ascend910", "mindspore")]
)
def test_a_graph_in_a_type_that_the_soc_lacks(attnfuse: Run, tmp_path: Path, soc: str, runtime: str) -> None:
    """All of it is of bfloat16: nothing may call that deployable, whatever runs it."""
    graph = transformer(sites=2, dtype=BFLOAT16).write(tmp_path / "unet.mindir")
    options = ["--soc", soc, "--runtime", runtime]
    code, said = attnfuse("compile", graph, "-o", tmp_path / "out", *options, "--require", "deployable")
    assert code == 1
    assert f"not deployable: bfloat16 is not on {soc}: compute in float16 or float32" in said
    assert "deployable: MindSpore" not in said
    assert not (tmp_path / "out").exists()
    _, said = attnfuse("inspect", graph, *options, "--json")
    report, _ = json.JSONDecoder().raw_decode(said)  # warnings follow, on stderr
    (component,) = report["components"]
    assert {entry["reason"] for entry in component["unsupported"]} == {
        f"bfloat16 is not on {soc}: compute in float16 or float32"
    }
    assert attnfuse("inspect", graph, "--soc", "ascend910b", "--runtime", runtime, "--require", "deployable")[0] == 0
    plain = transformer(sites=2).write(tmp_path / "plain.mindir")
    assert attnfuse("inspect", plain, *options, "--require", "deployable")[0] == 0


@pytest.mark.parametrize("option", ["--dtype", "--force-cast-dtype"])
def test_a_type_that_the_soc_lacks_is_refused_before_tracing(attnfuse: Run, tmp_path: Path, option: str) -> None:
    source = write_configs(tmp_path / "source", SMALL["sd_controlnet"])  # no weights: a trace would end in an error
    for command in (["compile", source, "-o", tmp_path / "out"], ["inspect", source]):
        code, said = attnfuse(*command, option, "bfloat16", "--soc", "ascend310p")
        assert code == 2
        (line,) = said.splitlines()
        assert line.startswith("error: bfloat16 is not on ascend310p")
        assert "float16" in line.partition(":")[2].partition(":")[2]
    assert not (tmp_path / "out").exists()
