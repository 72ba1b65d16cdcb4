"""How much work something is, in calls of Python functions: time would depend on the machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

from attnfuse.ir.graph import Model


def calls(ask: Callable[[Model], object], model: Model) -> int:
    """How many functions are called."""
    counted = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal counted
        counted += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        ask(model)
    finally:
        sys.setprofile(before)
    return counted
