"""The table of input specifications: which inputs a mindone pipeline hands to each of its models.

One module a kind of model, one entry a class; `families` says what sizes come from. `docs/components.md` is made from
it. Imports no MindSpore.
"""

from __future__ import annotations

from attnfuse.tracing.specs import (
    audio,
    controlnets,
    decoder_encoders,
    families,
    image_encoders,
    newer_video_transformers,
    other_families,
    text_encoders,
    transformers,
    unets,
    vaes,
    video_families,
    video_transformers,
)
from attnfuse.tracing.specs.record import Family, Spec

SPECS: tuple[Spec, ...] = (
    *unets.SPECS,
    *transformers.SPECS,
    *video_transformers.SPECS,
    *newer_video_transformers.SPECS,
    *controlnets.SPECS,
    *vaes.SPECS,
    *text_encoders.SPECS,
    *decoder_encoders.SPECS,
    *image_encoders.SPECS,
    *audio.SPECS,
)
"""Every entry, in the order in which a pipeline's components are planned."""


FAMILIES: tuple[Family, ...] = (*families.PICTURES, *video_families.VIDEOS, *other_families.OTHERS)
"""Every family of pipelines."""


def family_of(pipeline_class: str) -> Family | None:
    """The family a pipeline class belongs to, if its calls are known."""
    return next((family for family in FAMILIES if pipeline_class in family.pipelines), None)


def specs_of(class_name: str) -> tuple[Spec, ...]:
    """The entries of a class; none for one that is not known."""
    return tuple(spec for spec in SPECS if spec.class_name == class_name)
