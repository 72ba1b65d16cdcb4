"""How long stages take, and how far the steps are: for people, on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TextIO

_WIDTH: Final = 30


@dataclass
class Clock:
    """What each stage took, all its runs together: `with clock("unet"): …`."""

    milliseconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time of what is done within to this stage."""
        begun = time.perf_counter()
        yield
        self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + 1000 * (time.perf_counter() - begun)


class Progress:
    """A bar of steps on a terminal; nothing where `stream` (default: stderr, where it is a terminal) is None."""

    def __init__(self, steps: int, wanted: bool | None = None, stream: TextIO | None = None) -> None:
        """`wanted` shows it, or hides it, whatever the stream is."""
        stream = sys.stderr if stream is None else stream
        shown = stream.isatty() if wanted is None else wanted
        self._stream = stream if shown else None
        self._steps = steps
        self._begun = time.perf_counter()

    def step(self, done: int) -> None:
        """Say that so many steps are done."""
        if self._stream is None:
            return
        full = _WIDTH * done // self._steps
        bar, each = "#" * full + "." * (_WIDTH - full), (time.perf_counter() - self._begun) / done
        end = "\n" if done == self._steps else ""
        self._stream.write(f"\r[{bar}] {done}/{self._steps}, {each:.2f} s a step{end}")
        self._stream.flush()
