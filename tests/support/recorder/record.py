"""What a pipeline that is recorded is, and what several of them have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from attnfuse.tracing.contract import ShapeOptions
from tests.support.small_models.record import Config

Models = Mapping[str, Config]

PICTURE: Final = "a picture"
MASK: Final = "a picture of a mask"
PICTURES: Final = "a video"
"""Stand for pictures of the size asked for, or of `ShapeOptions` where they say none."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """Stands for a tensor of this shape that the caller gives."""

    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """A pipeline: its parts' configurations by attribute, its scheduler, and what it is called with beside a prompt.

    `call` are arguments of `__call__`, `options` of `__init__`. `scheduler_options` are the scheduler's, `tokens` what
    tokenizers fill texts up to, 77 else; where they are `counted`, they lie in the folder. `words` are those of the
    prompt, more than any pipeline takes. `before` is a method that is called first, with its arguments. `otherwise`
    says how differences begin that are no fault, with why.
    """

    models: Models
    scheduler: str
    shapes: ShapeOptions = field(default_factory=ShapeOptions)
    call: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    scheduler_options: Mapping[str, Any] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)
    otherwise: Mapping[str, str] = field(default_factory=dict)
    counted: bool = False
    words: int = 1200
    before: tuple[str, Mapping[str, Any]] = ("", {})


FLOW: Final = "FlowMatchEulerDiscreteScheduler"
WIDE: Final = ShapeOptions(height=64, width=96)
WIDE_AREA: Final = 64 * 96
SQUARE: Final = ShapeOptions(height=64, width=64)
"""For pipelines that take a picture's height for its width, in mindone itself."""

TINY: Final = ShapeOptions(height=16, width=24)
"""For pipelines that go through a mask pixel by pixel."""

WITHOUT_A_PROMPT: Final = (
    "texts that are not wanted have no instruction before them: filled up further behind, where nothing is seen, their"
    " states are the same"
)
CAST: Final = "the first thing the model does is to turn them into its own type"
SINGLE_VAE: Final = "published autoencoders are in float32, as this is not"
WRITTEN: Final = "an earlier call has less: it is the last with the rest masked"
TAKEN_APART: Final = "it returns a record, which a graph cannot: what it calls is traced"
ONE_SHAPE: Final = "the model takes the first of a list of lists, or the list"


def varied(
    base: Recording, models: Models | None = None, call: Mapping[str, Any] | None = None, **other: Any
) -> Recording:
    """A pipeline of the same kind with other parts, and called with more."""
    return replace(base, models={**base.models, **(models or {})}, call={**base.call, **(call or {})}, **other)
