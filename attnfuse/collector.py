"""Python's collector of cycles, paused where much is made and kept."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Pause the collector: each of its rounds walks the whole index of a graph, again and again as it grows, so that
    time per node grew with the graph. What is dropped meanwhile is freed by reference counts."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
