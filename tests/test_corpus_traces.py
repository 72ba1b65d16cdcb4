"""The stored corpus is what the tool traces today: some graphs traced anew, byte for byte. Minutes; needs MindSpore."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.corpus import store
from tools.corpus.__main__ import entry, failure, trace

# A plain graph, one with an int64 mask, one with functions and closures, one as on an Ascend host.
NAMES = ["unet_sd15-float16", "clip_text_mask-float32", "lumina2-float16", "ascend_pixart_mask-float16"]


@pytest.mark.slow
@pytest.mark.mindspore
def test_traced_anew_graphs_are_the_stored_ones(tmp_path: Path) -> None:
    assert sorted(trace(NAMES, tmp_path)) == sorted(NAMES)
    for name in NAMES:
        assert failure(name, tmp_path) is None
        data = (tmp_path / f"{name}.mindir").read_bytes()
        assert entry(name, tmp_path, data) == store.sites()[name]
        assert data == store.read(name)
