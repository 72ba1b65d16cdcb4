"""However the worker ends, the caller gets a result or one sentence, and no process stays behind."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from attnfuse.errors import TraceError
from attnfuse.serialisation import to_json
from attnfuse.tracing.runner import trace_blocks, trace_component, workers
from tests.support.checkpoints import SMALL_VAE, write_model
from tests.support.waiting import PATIENCE, alive, wait_for
from tests.tracing.test_contract import PLAN, TRACED

SERVER = """\
import json, os, subprocess, sys
for line in sys.stdin:
    asked = json.loads(line)
    with open(asked["log"], "wb") as log:
        folder = os.path.dirname(asked["request"])
        code = subprocess.call(["/bin/sh", {script!r}, asked["request"]], stdout=log, stderr=log, cwd=folder)
    print(asked["number"], code, flush=True)
"""


def pretend_worker(monkeypatch: pytest.MonkeyPatch, folder: Path, body: str) -> None:
    """Have the server run a shell script with `body` for each request, which is "$1"; one at a time."""
    script, server = folder / "worker", folder / "python"
    script.write_text(textwrap.dedent(body))
    server.write_text(f"#!{sys.executable}\n" + SERVER.format(script=str(script)))
    server.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(server))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def test_result_is_read_back(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "answer").write_text(json.dumps(to_json(TRACED)))
    pretend_worker(monkeypatch, tmp_path, f"cp {tmp_path / 'answer'} trace.json; echo hello; echo bye >&2")
    assert trace_component(PLAN, work) == TRACED
    assert (work / "trace.log").read_text() == "hello\nbye\n"


def test_request_has_absolute_paths(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_worker(monkeypatch, tmp_path, "exit 3")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TraceError):
        trace_component(PLAN, Path("work"))
    request = json.loads((work / "request.json").read_text())
    assert request.pop("parent") != os.getpid()  # but the server's
    asked = {"plan": to_json(PLAN), "way": PLAN.way, "why_whole": "", "work": str(work), "blocks": None, "share": None}
    assert request == asked


def test_a_share_of_the_blocks(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_worker(monkeypatch, tmp_path, """echo '{"blocks_made": 3}' > trace.json""")
    with workers(1) as among:
        assert trace_blocks(PLAN, work, among, 1, 4) == 3
        assert json.loads((work / "request.json").read_text())["share"] == [1, 4]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("""echo '{"error": "it cannot be."}' > trace.json; exit 1""", r"^it cannot be\.$"),
        ("kill -9 $$", "was killed by SIGKILL"),
    ],
)
def test_a_share_that_fails(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str) -> None:
    pretend_worker(monkeypatch, tmp_path, body)
    with workers(1) as among, pytest.raises(TraceError, match=said):
        trace_blocks(PLAN, work, among, 1, 4)


def test_error_of_the_worker(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_worker(monkeypatch, tmp_path, """echo '{"error": "parameter x has no weight."}' > trace.json; exit 1""")
    with pytest.raises(TraceError, match=r"^parameter x has no weight\.$"):
        trace_component(PLAN, work)


IN_VAIN = """\
    if grep -q '"way": "whole"' "$1"; then cp {answer} trace.json; cp "$1" second.json; exit 0; fi
    touch piece_0.mindir
    {first}
"""


@pytest.mark.parametrize(
    ("first", "why"),
    [
        ("""echo '{"why_whole": "it draws numbers"}' > trace.json; exit 1""", "it draws numbers"),
        ("touch blocks.begun; kill -SEGV $$", "the tracing process was killed by SIGSEGV"),
    ],
)
def test_a_trace_in_blocks_that_came_to_nothing_is_followed_by_the_whole(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch, first: str, why: str
) -> None:
    (tmp_path / "answer").write_text(json.dumps(to_json(TRACED)))
    pretend_worker(monkeypatch, tmp_path, IN_VAIN.format(answer=tmp_path / "answer", first=first))
    plan = replace(PLAN, way="blocks")
    assert trace_component(plan, work) == replace(TRACED, plan=plan)
    assert json.loads((work / "second.json").read_text())["why_whole"] == why
    assert not [path.name for path in work.iterdir() if path.name.startswith(("piece", "blocks"))]


def test_crash(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_worker(monkeypatch, tmp_path, "echo out of luck; echo; kill -SEGV $$")
    with pytest.raises(TraceError, match=r"component vae_decoder: .* was killed by SIGSEGV; .*: out of luck$"):
        trace_component(PLAN, work)


def test_silent_end(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_worker(monkeypatch, tmp_path, "exit 3")
    with pytest.raises(TraceError, match=r"ended with code 3 and no result; it said nothing\."):
        trace_component(PLAN, work)


def test_what_transformers_always_says_is_no_last_word(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    banner = "None of PyTorch, TensorFlow >= 2.0, or Flax have been found. Models won't be available."
    pretend_worker(monkeypatch, tmp_path, f'echo "{banner}"; kill -KILL $$')
    with pytest.raises(TraceError, match=r"was killed by SIGKILL; it said nothing\.$"):
        trace_component(PLAN, work)


def test_result_of_an_earlier_trace_is_not_taken(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "trace.json").write_text(json.dumps(to_json(TRACED)))
    pretend_worker(monkeypatch, tmp_path, "exit 3")
    with pytest.raises(TraceError):
        trace_component(PLAN, work)


def test_environment(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "upb")
    monkeypatch.setenv("MS_COMPILER_CACHE_ENABLE", "1")
    monkeypatch.setenv("PYTHONPATH", "/some/where")
    monkeypatch.setenv("OF_THE_USER", "kept")
    pretend_worker(monkeypatch, tmp_path, "env; exit 1")
    with pytest.raises(TraceError):
        trace_component(PLAN, work)
    lines = (work / "trace.log").read_text().splitlines()
    environment = dict(line.split("=", 1) for line in lines if "=" in line)
    assert environment["OF_THE_USER"] == "kept"
    assert environment["PYTHONPATH"].split(":")[-1] == "/some/where"
    assert not {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "MS_COMPILER_CACHE_ENABLE"} & environment.keys()


@pytest.mark.parametrize("module", ["mindspore", "mindone"])
def test_not_installed(work: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else find_spec(name))
    with pytest.raises(TraceError, match=rf"needs {module}, .* install attnfuse\[trace\]"):
        trace_component(PLAN, work)
    assert not list(work.iterdir())


@pytest.mark.parametrize(
    ("sent", "slow_worker"), [(signal.SIGINT, "shell"), (signal.SIGINT, "python"), (signal.SIGKILL, "python")]
)
def test_the_server_dies_with_its_parent(tmp_path: Path, work: Path, sent: signal.Signals, slow_worker: str) -> None:
    """Ctrl-C is handed on by the runner, whatever the server does; after `kill -9` the kernel ends the server."""
    if slow_worker == "shell":
        code = f"trap '' INT; echo $$ > {work / 'pid'}; while :; do sleep 0.05; done"
        (tmp_path / "python").write_text(f"#!/bin/sh\n{code}\n")
    else:
        # The true server, held up where it would import MindSpore.
        held = "import os, pathlib, time; pathlib.Path('pid').write_text(f'{os.getpid()}\\n'); time.sleep(600)"
        (tmp_path / "mindspore.py").write_text(held)
        (tmp_path / "python").write_text(
            f'#!/bin/sh\nexport PYTHONPATH={tmp_path}:$PYTHONPATH\nexec {sys.executable} "$@"\n'
        )
    (tmp_path / "python").chmod(0o755)
    write_model(tmp_path / "vae", SMALL_VAE)
    # It says when it waits. A signal in the middle of starting a process leaves one that the runner does not know of:
    # the true server finds out by itself, a shell does not.
    caller = (
        "import dataclasses, sys, pathlib; from attnfuse.tracing.runner import trace_component\n"
        "from attnfuse.tracing.workers import Workers; from tests.tracing.test_contract import PLAN\n"
        "wait = Workers.wait\n"
        "def waits(*arguments):\n"
        f"    pathlib.Path({str(work / 'waits')!r}).touch(); return wait(*arguments)\n"
        "Workers.wait = waits\n"
        f"sys.executable = {str(tmp_path / 'python')!r}\n"
        f"plan = dataclasses.replace(PLAN, folder=pathlib.Path({str(tmp_path / 'vae')!r}))\n"
        f"trace_component(plan, pathlib.Path({str(work)!r}))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", caller], cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL
    ) as parent:
        pid = None
        try:
            pid = int(wait_for(lambda: (work / "pid").exists() and (work / "pid").read_text().strip()))
            wait_for((work / "waits").exists)
            parent.send_signal(sent)  # to it alone, as `kill` does; a terminal would tell both
            parent.wait(timeout=PATIENCE)
            wait_for(lambda: not alive(pid))
        finally:
            parent.kill()
            if pid and alive(pid):
                os.kill(pid, signal.SIGKILL)
