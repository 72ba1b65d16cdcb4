"""Traced graphs for tests: the demo pipeline's components, each traced once per test run however many tests ask.

`from tests.support.traces import demo_folder, traced_demo` in a conftest.py makes the fixtures known there.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from attnfuse.serialisation import from_json, to_json
from attnfuse.tracing.contract import ComponentPlan, ShapeOptions, TracedComponent
from attnfuse.tracing.demo import write_demo
from attnfuse.tracing.plan import plan_pipeline
from attnfuse.tracing.runner import trace_component

TracedDemo = Callable[..., Mapping[str, TracedComponent]]


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that every worker of this test run shares, and no other run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `path` as a lock between processes and threads."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def trace_once(plan: ComponentPlan, work: Path) -> TracedComponent:
    """Trace `plan` into `work`, or return what is there from an earlier call of this test run."""
    done = work / "done.json"
    with locked(work.with_name(work.name + ".lock")):
        if not done.exists():
            work.mkdir()
            done.write_text(json.dumps(to_json(trace_component(plan, work))))
    return from_json(TracedComponent, json.loads(done.read_text()))


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the demo pipeline's folder. Not to be written to."""
    shared = shared_folder(tmp_path_factory)
    folder = shared / "demo"
    with locked(shared / "demo.lock"):
        if not folder.exists():
            writing = shared / "demo-writing"
            writing.mkdir()
            write_demo(writing)
            writing.rename(folder)
    return folder


@pytest.fixture(scope="session")
def traced_demo(demo_folder: Path) -> TracedDemo:
    """Return a function: traced_demo(dtype, *components) traces those of the demo (all four if none is named)."""

    def traced(dtype: str, *components: str) -> Mapping[str, TracedComponent]:
        plans = plan_pipeline(demo_folder, dtype, ShapeOptions(), components)
        # In this thread, which may have the server of traces already (`forks.workers`): another would wait for it.
        return {plan.name: trace_once(plan, demo_folder.parent / f"{dtype}-{plan.name}") for plan in plans}

    return traced
