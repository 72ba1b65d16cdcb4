"""`--data` as a user has it: what is refused before anything is run, and what is said of what was run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import attnfuse
from attnfuse import cli
from attnfuse.cli.outcome import say_verification
from attnfuse.errors import UsageError
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.verify import ComponentVerification, OutputFigures, SiteFigures, Verification
from tests.support.graphs import GraphBuilder, seeded

DIMS = (2, 4, 8, 16)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    g = GraphBuilder("g")
    q, k, v = (g.input(name, DIMS, FLOAT16) for name in "qkv")
    scores = g.muls(g.matmul_ext(q, g.transpose(k, (0, 1, 3, 2))), 0.25)
    g.output(g.matmul_ext(g.softmax(scores), v))
    return g.write(tmp_path / "m.mindir")


def save(folder: Path, name: str, keys: str = "qkv") -> Path:
    folder.mkdir(exist_ok=True)
    np.savez(folder / name, **{key: seeded(f"{name}{key}", DIMS, FLOAT16) for key in keys})
    return folder / name


def run(*arguments: object) -> int:
    return cli.run([*map(str, arguments)])


def test_what_does_not_fit_is_refused_with_nothing_written(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, good, bad = tmp_path / "out" / "m.mindir", save(tmp_path, "good.npz"), save(tmp_path, "bad.npz", "qk")
    sets = save(tmp_path / "sets", "a.npz").parent
    save(sets, "b.npz")
    (tmp_path / "text.npz").write_text("hello")
    refused = [
        (2, "--data feeds --verify full", ("compile", graph, "-o", out, "--data", good)),
        (2, "--data feeds --verify full", ("compile", graph, "-o", out, "--verify", "static", "--data", good)),
        (2, "--data feeds level full, or sampled", ("verify", graph, graph, "--level", "static", "--data", good)),
        (3, "does not exist", ("verify", graph, graph, "--data", tmp_path / "nowhere")),
        (3, "is no .npz file", ("compile", graph, "-o", out, "--verify", "full", "--data", tmp_path / "text.npz")),
        (2, "lacks v; the graph's inputs are q, k, v", ("verify", graph, graph, "--data", bad)),
        (
            2,
            "lacks v; the graph's inputs are q, k, v",
            ("compile", graph, "-o", out, "--verify", "full", "--data", bad),
        ),
        (2, "holds 2 sets of inputs", ("verify", graph, graph, "--measure-memory", "--data", sets)),
    ]
    for code, message, arguments in refused:
        assert run(*arguments) == code
        told = capsys.readouterr().err.strip().splitlines()[-1]
        assert told.startswith("error: ")
        assert message in told
    assert not out.exists()


@pytest.mark.mindspore
def test_the_certificate_names_what_was_run_on(graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = save(tmp_path / "sets", "a.npz").parent
    save(sets, "b.npz")
    out = tmp_path / "out" / "m.mindir"
    assert run("compile", graph, "-o", out, "--verify", "full", "--data", sets) == 0
    message = capsys.readouterr().err
    (component,) = json.loads((tmp_path / "out" / "m.verification.json").read_text())["components"]
    assert component["drawn"] == []
    assert [file["name"] for file in component["data"]] == ["a.npz", "b.npz"]
    (site,) = component["sites"]
    (record,) = json.loads((tmp_path / "out" / "m.report.json").read_text())["components"][0]["sites"]
    assert site["module"] == record["module"] == record["id"].removeprefix("m/")
    for file in component["data"]:
        assert f"run on {file['name']} (sha256 {file['sha256']})" in message


def test_results_of_one_site_are_counted_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    """A site may have several results, and is run at several batches."""
    figures = OutputFigures("a", (2,), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)
    sites = tuple(
        SiteFigures(module=module, compute_dtype="float16", largest_score=None, drawn={}, figures=of)
        for module in ("attn1", "attn2")
        for of in (figures, replace(figures, output="b"))
    )
    for some, said in ((sites[:2], "1 site:"), (sites, "2 sites:")):
        say_verification(Verification((ComponentVerification(name="m", level="full", seed=0, sites=some),)))
        assert f"m: per-site check of {said}" in capsys.readouterr().err


def test_in_python_it_is_the_same() -> None:
    with pytest.raises(UsageError, match='data feeds verify="full"'):
        attnfuse.compile(object(), "out", data="a.npz")
