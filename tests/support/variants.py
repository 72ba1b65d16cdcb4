"""Graphs of the corpus that are another of it with little changed: numbers of theirs are for the slow part."""

from __future__ import annotations

import pytest

VARIANTS = ("unet_motion", "unet_sd15_mask", "unet_sd21_upcast", "ascend_unet_sdxl", "controlnet")
"""How the names of variants of a UNet begin. What is structure is looked at in all of them."""


def slow_variant(name: str) -> tuple[pytest.MarkDecorator, ...]:
    """The marks of a test that computes a graph of the corpus."""
    return (pytest.mark.slow,) if name.startswith(VARIANTS) else ()
