"""A verification that is asked to stop, at any moment, leaves nothing."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from attnfuse.targets import Target
from tools.bench.interrupt import SIGNALS, interrupted
from tools.bench.verify import rewritten
from tools.corpus import store

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


@pytest.mark.slow  # it verifies fifty times
@pytest.mark.mindspore
def test_at_fifty_moments(tmp_path: Path) -> None:
    graph = tmp_path / "clip_text.mindir"
    graph.write_bytes(store.read("clip_text-float16"))
    (tmp_path / "made").mkdir()
    original, fused = rewritten(graph, tmp_path / "made", Target("lite", "ascend910b"))
    command = [sys.executable, "-m", "attnfuse", "verify", str(original), str(fused)]
    (tmp_path / "temporary").mkdir()
    found = interrupted(command, tmp_path / "temporary", 50, seed=18)
    assert {ended.signal for ended in found} == set(SIGNALS)
    for ended in found:
        assert ended.files == ()
        assert ended.processes == ()
        assert "Traceback" not in ended.said
        # Before its first line Python has no handler, and SIGTERM ends it as it ends any process.
        assert ended.code in (CODES[ended.signal], -signal.SIGTERM)
