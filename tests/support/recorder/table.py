"""The pipelines that are recorded: every one that attnfuse knows, small, with all of its networks.

Sizes are those of `tests.support.small_models`, and the pipelines' own defaults where a recording says none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attnfuse.tracing.specs import FAMILIES
from tests.support.recorder import animated, edits, newer_pictures, perturbed, pictures, prompted, videos
from tests.support.recorder.record import Recording

RECORDINGS: Final[Mapping[str, Recording]] = {
    **pictures.RECORDINGS,
    **newer_pictures.RECORDINGS,
    **videos.RECORDINGS,
    **perturbed.RECORDINGS,
    **edits.RECORDINGS,
    **animated.RECORDINGS,
    **prompted.RECORDINGS,
}
"""By the pipeline's class, and what is peculiar to it where a class has several."""

NOT_RECORDED: Final = {
    "StableDiffusionAttendAndExcitePipeline": "it differentiates through its UNet, which is told to be none to compile"
}
"""Pipelines that stubs cannot take the place of models in, and why."""

assert {name.partition(" ")[0] for name in (*RECORDINGS, *NOT_RECORDED)} == {
    name for family in FAMILIES for name in family.pipelines
}
