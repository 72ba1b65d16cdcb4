"""The table of input specifications: which inputs a mindone pipeline hands to each of its models.

One module a kind of model, one entry a class; `families` says what sizes come from. `docs/components.md` is made from
it. Imports no MindSpore.
"""

from __future__ import annotations

from attnfuse.tracing.specs import controlnets, text_encoders, transformers, unets, vaes
from attnfuse.tracing.specs.record import Spec

SPECS: tuple[Spec, ...] = (
    *unets.SPECS,
    *transformers.SPECS,
    *controlnets.SPECS,
    *vaes.SPECS,
    *text_encoders.SPECS,
)
"""Every entry, in the order in which a pipeline's components are planned."""


def specs_of(class_name: str) -> tuple[Spec, ...]:
    """The entries of a class; none for one that is not known."""
    return tuple(spec for spec in SPECS if spec.class_name == class_name)
