"""A batch: what is traced, what is compiled, and what is told of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from attnfuse.cli.batch_file import BatchFile, entries_of
from attnfuse.errors import TraceError
from attnfuse.farm import batch
from attnfuse.farm.batch import How, Outcome, Result, run_batch
from attnfuse.farm.local import Ended
from attnfuse.farm.state import BatchState
from attnfuse.farm.units import Answer
from attnfuse.tracing import runner
from attnfuse.tracing.contract import ComponentPlan, TracedComponent
from tests.cli.conftest import tree
from tests.farm.conftest import Here, write_pipeline
from tests.support.console import inside
from tests.support.split import write_split
from tests.support.tracer import Tracer, stand_in

pytestmark = pytest.mark.usefixtures("tracer", "compiles_here")


class Run:
    """Batches in one folder, and what the last one told as it went on."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.said: list[tuple[int, int, str]] = []

    def __call__(
        self,
        *compiles: Mapping[str, object],
        tool: str = "this",
        cache: str = "cache",
        workers: type[Here] = Here,
        of_cluster: Sequence[str] = (),
    ) -> Outcome:
        self.said.clear()
        shared = [f"--cache-dir={self.place / cache}"]
        entries = entries_of(BatchFile(tuple(enumerate(compiles, 1)), None), self.place / "batch.toml", shared)
        how = How(workers, 1, {}, tool, lambda done, total, what: self.said.append((done, total, what)), of_cluster)
        return run_batch(entries, BatchState(self.place / "state"), how)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def compile_(place: Path, source: str, output: str, **options: object) -> Mapping[str, object]:
    return {"source": str(place / source), "output": str(place / output), **options}


def test_what_compiles_share_is_traced_once(run: Run, tracer: Tracer) -> None:
    for name in ("a", "b"):
        write_pipeline(run.place / name)
    compiles = [
        compile_(run.place, source, f"{source}-{soc}", soc=soc) for source in ("a", "b") for soc in ("910B4", "310P3")
    ]
    outcome = run(*compiles)
    assert [result.errors for result in outcome.results] == [()] * 4
    assert (outcome.code, outcome.traced, outcome.kept) == (0, 1, 0), "the pipelines are the same but for their place"
    assert tracer.traced == ["unet"]
    assert [result.code for result in outcome.results] == [0, 0, 0, 0]
    assert outcome.results[0].totals["sites"] == 2
    assert [(done, total) for done, total, _ in run.said] == [(n + 1, 5) for n in range(5)]
    assert tree(run.place / "a-910B4").keys() == tree(run.place / "b-910B4").keys()
    for source in ("a", "b"):
        assert inside("compile", run.place / source, "-o", run.place / "alone", "--soc", "910B4").returncode == 0
        (run.place / "alone").rename(run.place / f"{source}-alone")
        assert tree(run.place / f"{source}-alone") == tree(run.place / f"{source}-910B4")


class More(Here):
    """Four workers, of whom the last are asked first."""

    count = 4

    def perform(self, texts: Mapping[str, str]) -> Iterator[tuple[str, Answer]]:
        yield from super().perform(dict([*texts.items()][::-1]))


def test_workers_that_would_have_nothing_to_do_trace_blocks(
    run: Run, tracer: Tracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def blocks(plan: ComponentPlan, work: Path, among: object, number: int, of: int) -> int:
        if number == 3:
            raise TraceError("it cannot be traced so.")
        asked.append((plan.name, number, of))
        return 10 * number

    monkeypatch.setattr(runner, "trace_blocks", blocks)
    write_pipeline(run.place / "a")
    outcome = run(compile_(run.place, "a", "out"), workers=More)
    assert (outcome.code, outcome.failed, outcome.traced, outcome.blocks) == (0, {}, 1, 30)
    assert asked == [("unet", 2, 4), ("unet", 1, 4)]
    assert [(done, total) for done, total, _ in run.said] == [(1, 2), (2, 2)]
    run(compile_(run.place, "a", "whole", trace="whole"), workers=More)
    assert tracer.traced == ["unet", "unet"]
    assert len(asked) == 2


def outputs(place: Path) -> dict[str, bytes]:
    """All but the cache, which learns the digests of sources once they are two seconds old."""
    return {name: content for name, content in tree(place).items() if not name.startswith("cache/")}


def test_what_is_finished_is_not_done_again(run: Run, tracer: Tracer) -> None:
    write_pipeline(run.place / "a")
    graph = write_split(run.place / "g")
    compiles = [compile_(run.place, "a", "out"), compile_(run.place, f"g/{graph.name}", "out.mindir")]
    assert not any(result.before for result in run(*compiles).results)
    before = outputs(run.place)
    again = run(*compiles)
    assert [result.before for result in again.results] == [True, True]
    assert (again.code, again.traced, run.said) == (0, 0, [])
    assert outputs(run.place) == before
    (run.place / "out" / "convert.sh").write_text("edited")
    assert [result.before for result in run(*compiles).results] == [False, True]
    assert [result.before for result in run(*compiles, cache="another").results] == [True, True]
    assert [result.before for result in run(*compiles, tool="another").results] == [False, False]
    assert tracer.traced == ["unet"]


def test_one_that_fails_keeps_none_of_the_others(run: Run, tracer: Tracer, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pipeline(run.place / "a")
    write_pipeline(run.place / "b")
    config = run.place / "b" / "unet" / "config.json"
    config.write_text(config.read_text().replace("{", '{\n "sample_size": 32,', 1))

    def trace(plan: ComponentPlan, work: Path) -> TracedComponent:
        if plan.folder.parent.name == "b":
            raise TraceError("component unet cannot be traced: not today.")
        return tracer(plan, work)

    stand_in(monkeypatch, trace)
    compiles = [compile_(run.place, source, f"out-{source}") for source in ("none", "b", "a")]
    outcome = run(*compiles)
    assert [result.code for result in outcome.results] == [3, 3, 0]
    assert outcome.code == 3
    assert "does not exist" in outcome.results[0].errors[0]
    assert "cannot be traced: not today" in outcome.results[1].errors[0]
    assert list(outcome.failed.values()) == ["component unet cannot be traced: not today"]
    assert [result.before for result in run(*compiles).results] == [False, False, True]


@pytest.mark.parametrize(
    ("codes", "code"), [((0, 0), 0), ((0, 5, 1), 1), ((2, 3, 1), 3), ((3, 4), 4), ((4, 70), 70), ((139,), 139)]
)
def test_the_exit_code_is_that_of_the_worst(run: Run, codes: Sequence[int], code: int) -> None:
    graph = write_split(run.place / "g")
    shared = {"source": str(graph), "output": str(run.place / "out.mindir")}
    (entry,) = entries_of(BatchFile(((1, shared),), None), run.place / "batch.toml", [])
    outcome = Outcome([Result(entry, found) for found in codes])
    assert outcome.code == outcome.to_json()["exit_code"] == code
    assert Answer() == Answer("")


def test_compiles_that_verify_numbers_are_told_of_the_cluster(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = write_split(run.place / "g")
    asked: dict[str, list[str]] = {}

    def note(commands: Mapping[str, list[str]], *_: object) -> Iterator[tuple[str, Ended]]:
        asked.update(commands)
        yield from ((name, Ended(0, "", "", 1.0)) for name in commands)

    monkeypatch.setattr(batch, "run_each", note)
    levels = ("none", "static", "sampled", "full")
    compiles = [compile_(run.place, f"g/{graph.name}", f"{level}.mindir", verify=level) for level in levels]
    run(*compiles, of_cluster=["--scheduler=tcp://farm:8786"])
    told = [level for level in levels if "--scheduler=tcp://farm:8786" in asked[str(run.place / f"{level}.mindir")]]
    assert told == ["sampled", "full"]


@pytest.mark.parametrize(("ended_by", "code"), [(signal.SIGKILL, 3), (signal.SIGSEGV, 70)])
def test_a_compile_that_a_signal_ends_has_a_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, ended_by: signal.Signals, code: int
) -> None:
    graph = write_split(run.place / "g")
    ended = Ended(-ended_by, "", "", 1.0)
    monkeypatch.setattr(batch, "run_each", lambda commands, *_: ((name, ended) for name in commands))
    outcome = run(compile_(run.place, f"g/{graph.name}", "out.mindir"))
    assert outcome.code == code
    assert "its process was ended by a signal" in outcome.results[0].errors[0]
    assert ("memory runs out" in outcome.results[0].errors[0]) == (code == 3)
