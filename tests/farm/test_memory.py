"""A worker's limit of memory, a real one: a trace that holds more is ended and told of, and the others go on."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from attnfuse.cli.batch_file import entries_of, read_batch
from attnfuse.farm import batch
from attnfuse.farm.batch import How, Outcome, run_batch
from attnfuse.farm.cluster import Cluster, Tls
from attnfuse.farm.local import Ended, LocalWorkers
from attnfuse.farm.state import BatchState
from tests.farm.conftest import write_pipeline
from tests.farm.test_cluster import farm
from tests.support.console import ROOT, environment, inside
from tests.support.split import write_split

LIMIT = 512 << 20
"""Bytes: more than a worker takes by itself, and less than what is not ended takes."""
HELD = re.compile(r"killed by SIGKILL; its last words were: it held more than the 0\.5 GiB it may")


@pytest.fixture
def settings() -> Mapping[str, str]:
    """Variables of workers that have no MindSpore, but what takes memory in its place."""
    return {"PYTHONPATH": f"{ROOT / 'tests' / 'support' / 'hungry'}{os.pathsep}{environment()['PYTHONPATH']}"}


@pytest.fixture
def only_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the compiles that follow only that of the graph is run: the others would trace by themselves."""

    def run(commands: Mapping[str, Sequence[str]], count: int, settings: object) -> Iterator[tuple[str, Ended]]:
        for name, command in commands.items():
            is_graph = command[-1].endswith(".mindir")
            ended = (
                inside(*command[3:]) if is_graph else subprocess.CompletedProcess(command, 3, "", "error: left out.")
            )
            yield name, Ended(ended.returncode, ended.stdout, ended.stderr, 1.0)

    monkeypatch.setattr(batch, "run_each", run)


def done(tmp_path: Path, workers: object) -> Outcome:
    """A batch of a pipeline that takes too much, of one that cannot be traced for another reason, and of a graph."""
    graph = write_split(tmp_path / "graph")
    text = ""
    for name in ("hungry", "modest"):
        folder = write_pipeline(tmp_path / name)
        (folder / "unet" / "another.json").write_text(f'"{name}"')  # else one trace is that of both
        text += f"[[compile]]\nsource = '{folder}'\noutput = '{tmp_path / name}-out'\n"
    text += f"[[compile]]\nsource = '{graph}'\noutput = '{tmp_path / 'out.mindir'}'\n"
    file = tmp_path / "batch.toml"
    file.write_text(text)
    entries = entries_of(read_batch(file), file, [f"--cache-dir={tmp_path / 'cache'}"])
    how = How(workers, 1, {}, "this", lambda done, total, what: None)  # type: ignore[arg-type]  # either kind
    return run_batch(entries, BatchState(tmp_path / "state"), how)


def check(outcome: Outcome) -> None:
    (hungry,) = (said for what, said in outcome.failed.items() if "hungry" in what)
    (modest,) = (said for what, said in outcome.failed.items() if "modest" in what)
    assert HELD.search(hungry), hungry
    assert "importing them failed (there is none)" in modest
    assert outcome.traced == 0


@pytest.mark.slow
@pytest.mark.mindspore
@pytest.mark.usefixtures("only_the_graph")
def test_of_workers_of_this_machine(tmp_path: Path, settings: Mapping[str, str]) -> None:
    outcome = done(tmp_path, lambda: LocalWorkers(2, LIMIT, settings))
    check(outcome)
    assert [result.code for result in outcome.results] == [3, 3, 0], "the graph, which needs no trace"
    assert (tmp_path / "out.mindir").is_file()


@pytest.mark.slow
@pytest.mark.mindspore
@pytest.mark.usefixtures("only_the_graph")
def test_of_a_cluster(tmp_path: Path, settings: Mapping[str, str]) -> None:
    """`dask worker --memory-limit`."""
    with farm(tmp_path, 1, None, "512MiB", **settings) as found:
        check(done(tmp_path, lambda: Cluster(found.address, Tls())))
        assert found.workers[0].poll() is None, "the worker lives on"
