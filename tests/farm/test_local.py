"""Worker processes: answers come from whoever is alive, and none is left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from attnfuse.farm.local import LocalWorkers, run_each
from attnfuse.farm.units import TRIES, Answer
from attnfuse.serialisation import to_json
from tests.support.waiting import alive, wait_for

# Does what a unit says: answers with its number, dies as often as it says, or waits.
WORKER = """
import json, os, pathlib, sys, time
place = pathlib.Path(sys.argv[1])
(place / f"{os.getpid()}.worker").touch()
for line in sys.stdin:
    unit = json.loads(line)
    mark = place / f"{unit['number']}.died"
    died = int(mark.read_text()) if mark.exists() else 0
    if died < unit["dies"]:
        mark.write_text(str(died + 1))
        os._exit(1)
    held = b"x" * unit["holds"]
    time.sleep(unit["waits"])
    print(json.dumps({**json.loads(sys.argv[2]), "result": unit["number"]}), flush=True)
"""


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalWorkers:
    plain = subprocess.Popen

    def started(command: list[str], **options: Any) -> Any:
        assert command[1:3] == ["-m", "attnfuse.farm.worker"]
        return plain([sys.executable, "-S", "-c", WORKER, str(tmp_path), json.dumps(to_json(Answer()))], **options)

    monkeypatch.setattr(subprocess, "Popen", started)
    return LocalWorkers(2)


def unit(number: int, dies: int = 0, waits: float = 0.0, holds: int = 0) -> str:
    return json.dumps({"number": number, "dies": dies, "waits": waits, "holds": holds})


def test_a_unit_whose_worker_dies_is_given_to_another(workers: LocalWorkers, tmp_path: Path) -> None:
    texts = {"a": unit(1), "b": unit(2, dies=1), "c": unit(3, dies=TRIES), "d": unit(4)}
    with workers:
        answers = dict(workers.perform(texts))
    assert {name: answer.result for name, answer in answers.items()} == {"a": 1, "b": 2, "c": None, "d": 4}
    assert answers["c"].error == f"the workers that were at it died, {TRIES} times"
    assert not any(answer.error for name, answer in answers.items() if name != "c")
    assert not any(alive(int(path.stem)) for path in tmp_path.glob("*.worker"))


def test_a_worker_that_holds_more_than_it_may_is_ended(workers: LocalWorkers, tmp_path: Path) -> None:
    few = LocalWorkers(2, 2**27)
    with few:
        answers = dict(few.perform({"a": unit(1, holds=2**28, waits=600), "b": unit(2), "c": unit(3, holds=2**20)}))
    assert {name: answer.result for name, answer in answers.items()} == {"a": None, "b": 2, "c": 3}
    assert answers["a"].error == "it held more than the 0.12 GiB that a worker may"
    assert not any(alive(int(path.stem)) for path in tmp_path.glob("*.worker"))


def test_none_is_left_by_whoever_stops(workers: LocalWorkers, tmp_path: Path) -> None:
    with workers:
        _, answer = next(workers.perform({"a": unit(1), "b": unit(2, waits=600)}))
        assert answer.result == 1
    assert not any(alive(int(path.stem)) for path in tmp_path.glob("*.worker"))


def test_commands_are_run_so_many_at_a_time(tmp_path: Path) -> None:
    program = "import os, sys; print(os.environ['SAID']); print('err', file=sys.stderr); sys.exit(int(sys.argv[1]))"
    commands = {str(code): [sys.executable, "-S", "-c", program, str(code)] for code in (0, 3)}
    ended = dict(run_each(commands, 2, {"SAID": "out"}))
    assert {name: (one.code, one.out, one.err) for name, one in ended.items()} == {
        name: (int(name), "out\n", "err\n") for name in commands
    }


def test_commands_are_asked_to_stop(tmp_path: Path) -> None:
    program = f"import os, pathlib, time; pathlib.Path({str(tmp_path)!r}, str(os.getpid())).touch(); time.sleep(600)"
    commands = {"quick": [sys.executable, "-S", "-c", ""], "slow": [sys.executable, "-S", "-c", program]}
    running = run_each(commands, 2, {})
    assert next(running)[0] == "quick"
    wait_for(lambda: list(tmp_path.iterdir()))
    running.close()
    (left,) = tmp_path.iterdir()
    assert not alive(int(left.name))
