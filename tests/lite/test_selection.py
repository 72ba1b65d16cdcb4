"""Where Lite is not installed its tests are left out, and the run says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lite.selection import VARIABLE, interpreter
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]


def test_the_variable_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/some/python")
    assert interpreter() == Path("/some/python")
    monkeypatch.setenv(VARIABLE, "")
    assert interpreter() is None


def test_a_run_without_lite_says_what_it_left_out() -> None:
    files = ["tests/lite/test_limits.py", "tests/lite/test_consumer.py", "tests/lite/test_selection.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not says_what_it_left_out", *files],
        cwd=ROOT,
        env={**os.environ, VARIABLE: ""},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    *_, said, counts = done.stdout.strip().splitlines()
    assert said.startswith("MindSpore Lite's tests are NOT run")
    assert counts.startswith("1 passed, ")
    assert "skipped" not in counts
