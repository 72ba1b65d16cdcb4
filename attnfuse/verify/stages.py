"""How long each stage of a verification takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from attnfuse.verify.profile import staged


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the wall time of the block to what the stage took so far."""
    start = time.perf_counter()
    with staged(stage):
        yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
