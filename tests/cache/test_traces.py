"""Which sources make a trace, and which a result. What follows from it is tested in tests/cli/test_incremental.py."""

from __future__ import annotations

from pathlib import Path

import pytest

import attnfuse
import attnfuse.tracing
from attnfuse import incremental, pass_manager
from attnfuse.cache import traces

ROOT = Path(attnfuse.__file__).parent


@pytest.mark.mindspore
def test_a_trace_is_made_by_our_tracing_and_mindone() -> None:
    tracing, mindone = traces._sources()
    assert tracing == ROOT / "tracing"
    assert (mindone / "diffusers").is_dir()


def test_a_result_is_made_by_attnfuse_and_the_passes() -> None:
    assert incremental._places("attnfuse") == [ROOT]
    packages = {type(step).__module__.partition(".")[0] for step in pass_manager.discover()}
    assert packages == {"attnfuse_passes"}
    (passes,) = incremental._places("attnfuse_passes")
    assert (passes / "fuse.py").is_file()
    (single,) = incremental._places("typing_extensions")
    assert single.name == "typing_extensions.py", "a plugin that is one module"
