"""Mistakes that the rewrite once made, to be planted again: verification has to find them, and so have the tests.

Each takes pytest's `monkeypatch`; what is fused while it holds is fused as it was then.
"""

from __future__ import annotations

import pytest

from attnfuse_passes.attention import masks
from attnfuse_passes.attention.mask_values import is_learned
from attnfuse_passes.attention.normal_form import Bias


def store_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cast every bias of known numbers to the compute type, however large, and shift none."""
    monkeypatch.setattr(masks, "survives", lambda *_: True)


def take_weights_for_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say of every bias made of weights that it is no mask: whatever it holds, and whether the graph writes to it."""
    read = masks._Sorter._bias

    def bias(self: masks._Sorter, term: Bias) -> None:
        if is_learned(self.model, term.value):
            self.biases.append(term)
        else:
            read(self, term)

    monkeypatch.setattr(masks._Sorter, "_bias", bias)
    monkeypatch.setattr(masks, "is_extreme", lambda known, term: False)
