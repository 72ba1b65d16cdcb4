"""What is told of a verification that takes long."""

from __future__ import annotations

import time

import pytest

from attnfuse.verify import watch


def test_time_left_is_by_the_work_done() -> None:
    made = watch.Watch(print)
    made.expect(100)
    made.done = 1
    assert made.sentence(10.0) == "verifying: 1% done"
    made.done = 25
    assert made.sentence(20.0) == "verifying: 25% done, about 60 s left"
    assert made.sentence(100.0) == "verifying: 25% done, about 5 min left"
    made.expect(100)  # float64 has to decide
    assert made.sentence(100.0) == "verifying: 12% done, about 12 min left"
    made.done = 300
    assert made.sentence(100.0) == "verifying: 99% done, about 1 s left"


def test_it_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    said: list[str] = []
    with watch.watched(said.append):
        watch.expect(60)
        for now[0] in range(1, 61):
            watch.did(1)
    assert said == [f"verifying: {n / 60:.0%} done, about {60 - n} s left" for n in (15, 30, 45)] + [
        "verifying: 99% done, about 1 s left"
    ]
    watch.did(1)  # nobody watches
    assert len(said) == 4
