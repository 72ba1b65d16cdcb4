"""The stored corpus is what the tool traces today: some graphs traced again. Minutes; needs MindSpore.

With MindSpore 2.7.1, which the corpus is of, byte for byte; with another the graphs have other operators, and what must
be the same is what became of every site.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from attnfuse.targets import RUNTIMES
from tools.corpus import census, store
from tools.corpus.__main__ import entry, failure, trace

# A plain graph, one with an int64 mask, one with functions and closures, one as on an Ascend host; then those that
# MindSpore 2.10 writes with an addition in place, with views, and with copies of weights.
NAMES = [
    "unet_sd15-float16",
    "clip_text_mask-float32",
    "lumina2-float16",
    "ascend_pixart_mask-float16",
    "t5_encoder_mask-float32",
    "sd3-float16",
    "dit-float16",
]


@pytest.mark.slow
@pytest.mark.mindspore
def test_traced_anew_graphs_are_the_stored_ones(tmp_path: Path) -> None:
    assert sorted(trace(NAMES, tmp_path)) == sorted(NAMES)
    stored = census.stored()
    for name in NAMES:
        assert failure(name, tmp_path) is None
        data = (tmp_path / f"{name}.mindir").read_bytes()
        found, expected = entry(name, tmp_path, data), store.sites()[name]
        assert found.modules == expected.modules
        if version("mindspore") == "2.7.1":
            assert found == expected
            assert data == store.read(name)
        else:
            sites = {runtime: census.rewrite(data, runtime).sites for runtime in RUNTIMES}
            assert census.section(name, sites) == stored[name]
