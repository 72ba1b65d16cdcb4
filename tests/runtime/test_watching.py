"""Times of stages, and a bar for people."""

from __future__ import annotations

import io

import pytest

from attnfuse_runtime.watching import Clock, Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_times_are_added_up() -> None:
    clock = Clock()
    with clock("a"):
        pass
    first = clock.milliseconds["a"]
    with clock("b"), clock("a"):
        pass
    assert list(clock.milliseconds) == ["a", "b"]
    assert clock.milliseconds["a"] > first > 0


def test_a_bar_on_a_terminal() -> None:
    stream = Terminal()
    progress = Progress(3, stream=stream)
    for done in (1, 2, 3):
        progress.step(done)
    first, *_, last = stream.getvalue().split("\r")[1:]
    assert first.startswith(f"[{'#' * 10}{'.' * 20}] 1/3, ")
    assert last.startswith(f"[{'#' * 30}] 3/3, ")
    assert last.endswith(" s a step\n")


@pytest.mark.parametrize(
    ("stream", "wanted", "shown"), [(io.StringIO, None, False), (Terminal, False, False), (io.StringIO, True, True)]
)
def test_where_there_is_one(stream: type[io.StringIO], wanted: bool | None, shown: bool) -> None:
    to = stream()
    Progress(1, wanted, to).step(1)
    assert bool(to.getvalue()) == shown
