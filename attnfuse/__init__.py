"""attnfuse: an ahead-of-time compiler that puts fused attention into MindSpore graphs.

    import attnfuse

    outcome = attnfuse.compile(pipe, "out", runtime="lite", soc="ascend910b")

`compile`, `tune` and what they return come from `attnfuse.live` when they are first asked for: importing this package
stays light.
From then on, attention settings made on mindone's pipelines are taken note of: see `attnfuse.calls`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from attnfuse.calls import watch
from attnfuse.version import __version__

if TYPE_CHECKING:
    from attnfuse.live import Outcome, Tuned, compile, tune  # noqa: A004  # it is what it does

__all__ = ["Outcome", "Tuned", "__version__", "compile", "tune"]


def __getattr__(name: str) -> Any:
    if name in ("Outcome", "Tuned", "compile", "tune"):
        return getattr(importlib.import_module("attnfuse.live"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


watch()
