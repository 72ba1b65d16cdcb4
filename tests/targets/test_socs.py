"""Every SoC that can be compiled for has figures, each with a source."""

from __future__ import annotations

import pytest

from attnfuse.targets import SOCS
from attnfuse.targets.limits import FLOATS
from attnfuse.targets.socs import SPECIFICATIONS, Figure


def test_every_soc_is_there() -> None:
    assert set(SPECIFICATIONS) == set(SOCS)


@pytest.mark.parametrize("name", SOCS)
def test_every_figure_has_a_source(name: str) -> None:
    soc = SPECIFICATIONS[name]
    figures: list[Figure] = [soc.bandwidth, *soc.arithmetic.values()]
    assert all(figure.source and figure.value > 0 for figure in figures)
    assert set(soc.arithmetic) <= set(FLOATS[name])
    assert "float16" in soc.arithmetic
