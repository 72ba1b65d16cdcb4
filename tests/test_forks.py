"""Processes that tests fork from one with MindSpore end as processes do, and know nothing of each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from attnfuse.tracing.runner import environment
from tests.support import forks

pytestmark = pytest.mark.mindspore


def test_a_fork_is_as_python_run_with_its_arguments(tmp_path: Path) -> None:
    program = "import os, sys, mindspore as a; print(sys.argv, os.getcwd()); sys.stderr.write('x'); sys.exit(3)"
    done = forks.script("-c", program, "one", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (3, f"['-c', 'one'] {tmp_path}\n", "x")
    assert forks.script("-c", "import os; os.kill(os.getpid(), 9)").returncode == -9
    done = forks.script("-c", "raise ValueError(7)")
    assert done.returncode == 1
    assert done.stderr.endswith("ValueError: 7\n")


def test_nothing_goes_from_one_fork_to_the_next() -> None:
    program = (
        "import mindspore, os; assert mindspore.get_context('mode') == mindspore.PYNATIVE_MODE\n"
        "assert not hasattr(mindspore, 'left') and 'LEFT' not in os.environ\n"
        "mindspore.set_context(mode=mindspore.GRAPH_MODE); mindspore.left = os.environ['LEFT'] = 'x'"
    )
    for _ in range(2):
        done = forks.script("-c", program)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [*forks.WORKERS, "attnfuse.live.child"])
@pytest.mark.parametrize("setting", ["PYTHONHASHSEED", "PYTHONPATH", None])
def test_settings_of_its_own_make_a_process_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, setting: str | None
) -> None:
    def way(which: str) -> object:
        return lambda *_, **__: subprocess.CompletedProcess([], 0, which, "")

    monkeypatch.setattr(forks, "_plain", way("plain"))
    monkeypatch.setattr(forks, "_forked", way("forked"))
    if setting:
        monkeypatch.setenv(setting, str(tmp_path) if setting == "PYTHONPATH" else "1")
    done = forks.run([sys.executable, "-m", name, "x"], env=environment(), stdout=None, stderr=None)
    assert done.stdout == ("forked" if setting is None and name in forks.WORKERS else "plain")
    assert forks.run([os.devnull, "-m", name], env=environment(), stdout=None, stderr=None).stdout == "plain"


def test_what_takes_too_long_is_ended() -> None:
    program = "import time; time.sleep(600)"
    with pytest.raises(subprocess.TimeoutExpired):
        forks._forked([sys.executable, "-c", program], "", 0.2, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert forks.script("-c", "print(3)").stdout == "3\n"  # the next is served at once
