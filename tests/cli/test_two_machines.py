"""Two machines with one object store, at work on the same at the same time: one may die, and clocks may differ."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from attnfuse.store.entries import FORMAT
from attnfuse.store.store import Store
from tests.cli.conftest import tree
from tests.farm.conftest import write_pipeline
from tests.support.console import environment
from tests.support.waiting import PATIENCE, wait_for

NAMES, MODELS = ("one", "two"), ("a", "b")
AHEAD = {"one": 3600, "two": 0}
"""Seconds: an hour lies between their clocks."""


class Machines:
    """Two machines; each has sources, outputs and a state of its own, and all else in one bucket."""

    def __init__(self, place: Path, bucket: str) -> None:
        self.place, self.bucket = place, bucket
        for name in NAMES:
            text = f"cache-dir = '{bucket}'\n"
            for model in MODELS:
                folder = write_pipeline(place / name / model)
                (folder / "unet" / "another.json").write_text(f'"{model}"')  # else one trace is that of all
                text += f"[[compile]]\nsource = '{folder}'\noutput = '{self.out(name) / model}'\n"
            (place / name / "batch.toml").write_text(text)
            self.out(name).mkdir()

    def out(self, name: str) -> Path:
        return self.place / name / "out"

    def start(self, name: str, *, wait: bool = False) -> subprocess.Popen[str]:
        command = ["batch", str(self.place / name / "batch.toml"), "--json", "--progress", "never"]
        started = [sys.executable, "-m", "tests.support.machine", name, str(AHEAD[name]), str(self.place)]
        return subprocess.Popen(
            [*started, str(int(wait)), *command],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def traced(self, name: str) -> int:
        """How many traces it began."""
        return len(list(self.place.glob(f"{name}-*.traced")))

    def check(self) -> None:
        """Outputs are the same, entries whole, and nobody claims anything."""
        assert set(tree(self.out("one"))) >= {f"{model}/unet_graph.mindir" for model in MODELS}
        assert tree(self.out("one")) == tree(self.out("two"))
        assert all(Store(self.bucket).is_whole(one) for one in Store(self.bucket).listed())
        system = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
        assert not system.exists(f"{self.bucket}/{FORMAT}/claims") or not system.ls(f"{self.bucket}/{FORMAT}/claims")


def ended(process: subprocess.Popen[str]) -> int:
    """How many traces it made, as it says at its end, which is a good one."""
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    document = json.loads(out)
    assert [entry["exit_code"] for entry in document["entries"]] == [0] * len(MODELS)
    assert document["traces"]["failed"] == {}
    return int(document["traces"]["made"])


@pytest.fixture
def machines(tmp_path: Path, bucket: str) -> Machines:
    return Machines(tmp_path, bucket)


@pytest.mark.slow
def test_both_at_once(machines: Machines) -> None:
    """What one is at the other waits for: each trace is made once."""
    both = [machines.start(name) for name in NAMES]
    assert sum(map(ended, both)) == len(MODELS)
    assert sum(map(machines.traced, NAMES)) == len(MODELS)
    machines.check()


@pytest.mark.slow
def test_one_is_killed_while_the_other_waits_for_it(machines: Machines) -> None:
    one = machines.start("one", wait=True)
    wait_for(lambda: machines.traced("one") == 1 or one.poll() is not None)
    two = machines.start("two")
    os.kill(one.pid, signal.SIGKILL)
    one.communicate(timeout=PATIENCE)
    assert ended(two) == machines.traced("two") == len(MODELS)
    assert tree(machines.out("one")) == {}
    assert ended(machines.start("one")) == 0, "it finds all that the other one made"
    machines.check()
