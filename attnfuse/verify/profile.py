"""What a verification costs: CPU seconds and memory of its stages, and of the operators they run.

Recorded only where `recording` asks for it, as a run that tells of its operators is slower.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnfuse.processes import peak_memory


@dataclass(slots=True)
class Cost:
    """CPU seconds of all threads, how many times, and bytes: the most that was held, or the largest result."""

    seconds: float = 0.0
    wall: float = 0.0
    runs: int = 0
    bytes: int = 0

    def add(self, seconds: float, wall: float, held: int) -> None:
        """One run more."""
        self.seconds += seconds
        self.wall += wall
        self.runs += 1
        self.bytes = max(self.bytes, held)


@dataclass(slots=True)
class Profile:
    """Costs by stage, and by stage, kind of run and operator of MindIR."""

    stages: dict[str, Cost] = field(default_factory=dict)
    operators: dict[tuple[str, str, str], Cost] = field(default_factory=dict)
    stage: str = ""
    """The stage that runs."""

    def operator(self, lane: str, op: str) -> Cost:
        """What an operator costs in a kind of run, in the stage that runs."""
        return self.operators.setdefault((self.stage, lane, op), Cost())

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for a JSON encoder; what took longest first."""
        stages = {stage: _figures(cost) for stage, cost in self.stages.items()}
        rows = sorted(self.operators.items(), key=lambda item: -item[1].seconds)
        operators = [
            {"stage": stage, "run": lane, "operator": op, **_figures(cost)} for (stage, lane, op), cost in rows
        ]
        return {"schema": "attnfuse.verify-profile/1", "stages": stages, "operators": operators}

    def table(self, most: int = 30) -> list[str]:
        """Lines for people: every stage, and the operators that took longest."""
        lines = [f"{'stage':<24}{'CPU s':>9}{'wall s':>9}{'peak MB':>10}"]
        lines += [
            f"{stage:<24}{cost.seconds:>9.1f}{cost.wall:>9.1f}{cost.bytes / 2**20:>10.0f}"
            for stage, cost in self.stages.items()
        ]
        lines += ["", f"{'stage':<14}{'run':<10}{'operator':<28}{'CPU s':>9}{'runs':>8}{'largest MB':>12}"]
        rows = sorted(self.operators.items(), key=lambda item: -item[1].seconds)[:most]
        lines += [
            f"{stage:<14}{lane:<10}{op:<28}{cost.seconds:>9.1f}{cost.runs:>8}{cost.bytes / 2**20:>12.1f}"
            for (stage, lane, op), cost in rows
        ]
        return lines


def _figures(cost: Cost) -> dict[str, float | int]:
    return {
        "cpu_seconds": round(cost.seconds, 3),
        "wall_seconds": round(cost.wall, 3),
        "runs": cost.runs,
        "bytes": cost.bytes,
    }


_RUNNING: ContextVar[Profile | None] = ContextVar("profile", default=None)


@contextmanager
def recording() -> Iterator[Profile]:
    """Record what is run in the block."""
    profile = Profile()
    token = _RUNNING.set(profile)
    try:
        yield profile
    finally:
        _RUNNING.reset(token)


def running() -> Profile | None:
    """What is being recorded, if anything is."""
    return _RUNNING.get()


@contextmanager
def staged(stage: str) -> Iterator[None]:
    """Record what the block costs as that stage's."""
    profile = running()
    if profile is None:
        yield
        return
    outer, profile.stage = profile.stage, stage
    _forget_peak()
    cpu, wall = time.process_time(), time.perf_counter()
    try:
        yield
    finally:
        cost = profile.stages.setdefault(stage, Cost())
        cost.add(time.process_time() - cpu, time.perf_counter() - wall, peak_memory())
        profile.stage = outer


def _forget_peak() -> None:
    """Have the kernel measure this process's peak from here on, where it lets us (proc(5), clear_refs)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return
