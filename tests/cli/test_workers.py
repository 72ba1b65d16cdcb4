"""Workers of a command: who verifies makes no difference to what is written, and what cannot be meant is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attnfuse.verify.inference import inferred_types
from tests.cli.conftest import Command, tree
from tests.support.console import inside
from tests.support.graphs import transformer
from tests.support.split import write_split


@pytest.fixture
def uninferred(monkeypatch: pytest.MonkeyPatch) -> None:
    """MindSpore infers what the graph declares."""
    found = inferred_types.Inference((), 0, "2.7.1")
    monkeypatch.setattr(inferred_types, "infer", lambda *_: found)


@pytest.mark.usefixtures("uninferred")
def test_who_verifies_makes_no_difference(tmp_path: Path) -> None:
    graph = transformer("unet").write(tmp_path / "unet.mindir")
    for name, options in {"alone": (), "spread": ("--workers", "2", "--worker-memory", "6GiB")}.items():
        out = tmp_path / name / "unet.mindir"
        done = inside("compile", graph, "-o", out, "--verify", "full", "--progress", "never", *options)
        assert done.returncode == 0, done.stderr
        assert "done here" not in done.stderr
    (component,) = json.loads((tmp_path / "alone" / "unet.verification.json").read_text())["components"]
    assert len(component["sites"]) == 2
    assert tree(tmp_path / "spread") == tree(tmp_path / "alone")


REFUSED = {
    "compile without --verify": (("compile", "-o", "out"), "--workers is for --verify sampled or full; drop it"),
    "compile --verify static": (("compile", "-o", "out", "--verify", "static"), "is for --verify sampled or full"),
    "verify --level static": (("verify", "out", "--level", "static"), "--workers is for --level full or sampled"),
    "verify --profile": (("verify", "out", "--profile", "p"), "--workers has others run what --profile tells of"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_workers_that_would_have_nothing_to_do_are_refused(command: Command, tmp_path: Path, case: str) -> None:
    (name, *options), said = REFUSED[case]
    graph = write_split(tmp_path / "in")
    answer = command(name, graph, *options, "--workers", "2")
    assert (answer.code, said in answer.error) == (2, True), answer.err
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--scheduler", "tcp://127.0.0.1:1"), "--scheduler needs a cache that this machine and the workers reach"),
        (("--scheduler", "x", "--worker-memory", "8GiB"), "--worker-memory is for workers of this machine"),
        (("--scheduler", "x", "--workers", "2", "--cache-dir", "c"), "--scheduler for those of a cluster; drop one"),
        (("--worker-memory", "8GiB"), "--worker-memory is for --workers of two and more"),
        (("--workers", "2", "--tls-cert", "c.pem"), "are for --scheduler tls://"),
        (("--workers", "0"), "Invalid value for '--workers'"),
    ],
)
def test_options_that_exclude_each_other(command: Command, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    graph, out = write_split(tmp_path / "in"), tmp_path / "out.mindir"
    answer = command("compile", graph, "-o", out, "--verify", "full", *options)
    assert (answer.code, said in answer.err) == (2, True), answer.err
    assert not out.exists()


def test_verify_of_an_output_by_itself_runs_nothing(command: Command, tmp_path: Path) -> None:
    graph, out = write_split(tmp_path / "in"), tmp_path / "out"
    assert command("compile", graph, "-o", out).code == 0
    answer = command("verify", out, "--workers", "2")
    assert answer.code == 2
    assert "--workers is for attnfuse verify SOURCE OUT, and no source is named; drop it." in answer.error
