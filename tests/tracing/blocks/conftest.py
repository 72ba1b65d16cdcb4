"""What is traced both ways for this folder's tests, each model once in a test run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.support import forks
from tests.support.traces import locked, shared_folder

BothWays = Callable[[Sequence[str]], Path]


@pytest.fixture(scope="session")
def both_ways(tmp_path_factory: pytest.TempPathFactory) -> BothWays:
    """Return a function that has `tests.support.both_ways` trace what is not there yet, and returns its folder."""
    folder = shared_folder(tmp_path_factory) / "both_ways"

    def traced(names: Sequence[str]) -> Path:
        with locked(folder.with_suffix(".lock")):
            folder.mkdir(exist_ok=True)
            missing = [name for name in names if not list(folder.glob(f"{name.replace('/', '.')}*"))]
            if missing:
                done = forks.script("-m", "tests.support.both_ways", str(folder), *missing, cwd=folder.parent)
                assert done.returncode == 0, done.stderr[-4000:]
        return folder

    return traced
