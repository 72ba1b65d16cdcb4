"""Workers come from one server, so many at a time, and none outlives those that wanted them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from attnfuse.serialisation import to_json
from attnfuse.tracing.runner import environment
from attnfuse.tracing.workers import LOG_FILE, Workers, affordable
from tests.support.checkpoints import SMALL_VAE, write_model
from tests.support.waiting import alive, wait_for
from tests.tracing.test_contract import PLAN

# In the place of MindSpore: the server, which the caller started, goes on without; a worker says that it is there, and
# waits until it may go on.
HELD = """\
import os, pathlib, tempfile, time
if os.getppid() == int(os.environ["CALLER"]):
    raise ImportError("the server needs none")
place = pathlib.Path(os.environ["PLACE"])
(place / f"{os.getpid()}.works").write_text(tempfile.gettempdir())
while not (place / "go").exists():
    time.sleep(0.02)
raise ImportError("there is none")
"""


class Held:
    """Requests that wait where MindSpore would be imported."""

    def __init__(self, folder: Path, jobs: int) -> None:
        (folder / "mindspore.py").write_text(HELD)
        write_model(folder / "vae", SMALL_VAE)
        paths = f"{folder}{os.pathsep}{environment()['PYTHONPATH']}"
        settings = {"PYTHONPATH": paths, "CALLER": str(os.getpid()), "PLACE": str(folder)}
        self.workers = Workers(jobs, {**environment(), **settings})
        self._folder = folder

    def begin(self, name: str) -> Path:
        work = self._folder / name
        work.mkdir()
        plan = {**to_json(PLAN), "folder": str(self._folder / "vae"), "name": name}
        content = {"plan": plan, "way": "whole", "why_whole": "", "work": str(work), "blocks": None, "share": None}
        self.workers.begin(work / "request.json", content)
        return work / "request.json"

    def at_work(self, number: int) -> list[int]:
        """The processes of the workers, when there are so many."""
        return wait_for(lambda: found if len(found := self.found()) >= number else [])

    def found(self) -> list[int]:
        return [int(path.stem) for path in self._folder.glob("*.works")]

    def go(self) -> None:
        (self._folder / "go").touch()


def gone(processes: list[int]) -> None:
    """Those processes end, and are at it: they hold no file any more."""
    wait_for(lambda: not any(map(alive, processes)))


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    made = Held(tmp_path, jobs=2)
    with made.workers:
        yield made


def test_some_at_a_time_and_each_with_its_own_answer(held: Held) -> None:
    requests = [held.begin(name) for name in ("one", "two", "three")]
    first = held.at_work(2)
    assert all(map(alive, first))
    held.go()
    for request in reversed(requests):
        assert held.workers.begun(request)
        assert held.workers.wait(request) == 1
        answer = json.loads((request.parent / "trace.json").read_text())
        assert answer == {
            "error": "tracing needs MindSpore and mindone, and importing them failed (there is none): install"
            " attnfuse[trace]."
        }
    assert len(held.found()) == 3
    assert not held.workers.busy


def test_one_at_a_time(tmp_path: Path) -> None:
    held = Held(tmp_path, jobs=1)
    with held.workers:
        requests = [held.begin(name) for name in ("one", "two")]
        (first,) = held.at_work(1)
        os.kill(first, signal.SIGSEGV)
        assert held.workers.wait(requests[0]) == -signal.SIGSEGV
        held.go()
        assert held.workers.wait(requests[1]) == 1


def test_what_a_killed_worker_leaves_is_in_its_folder(held: Held, tmp_path: Path) -> None:
    request = held.begin("one")
    held.at_work(1)
    (seen,) = wait_for(lambda: [text for path in tmp_path.glob("*.works") if (text := path.read_text())])
    assert seen == str(request.parent)


def test_none_outlives_the_context(tmp_path: Path) -> None:
    held = Held(tmp_path, jobs=2)
    with held.workers:
        for name in ("one", "two", "three"):
            held.begin(name)
        found = held.at_work(2)
    gone(found)


def test_a_server_that_dies_takes_its_workers_with_it(held: Held) -> None:
    requests = [held.begin(name) for name in ("one", "two", "three")]
    found = held.at_work(2)
    server = json.loads(requests[0].read_text())["parent"]
    os.kill(server, signal.SIGKILL)
    for request in requests:
        assert held.workers.wait(request) == -signal.SIGKILL
        assert (request.parent / LOG_FILE).exists()
    gone(found)
    held.go()
    assert held.workers.wait(held.begin("four")) == 1  # from another server


def test_a_server_that_died_with_nothing_to_do_is_followed_by_another(held: Held) -> None:
    held.go()
    request = held.begin("one")
    assert held.workers.wait(request) == 1
    server = json.loads(request.read_text())["parent"]
    os.kill(server, signal.SIGKILL)
    wait_for(lambda: not alive(server))
    assert held.workers.wait(held.begin("two")) == 1


def test_how_many() -> None:
    gib = 1 << 30
    assert affordable(8, 100 * gib) == 8
    assert affordable(8, 7 * gib) == 2
    assert affordable(8, 0) == 1
