"""What an entry of the table of input specifications may ask when it computes sizes.

Imports `contract` and `folder` of `attnfuse.tracing`, and `attnfuse.errors`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnfuse.errors import SourceError, UsageError
from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tracing.folder import Config, Configs, PipelineFolder, number_of, numbers_of, read_json

Sizes = Mapping[str, int]

#: Text length where neither tokenizer nor text encoder is there to say it: that of every CLIP text encoder published.
_CLIP_TOKENS = 77

#: Beyond it a tokenizer has no limit: transformers writes 10^30 (10^20 before) for that. No text encoder has as many.
_MOST_TOKENS = 10**6


@dataclass(frozen=True, slots=True)
class Guidance:
    """What the rows of a batch are for that one image has, in their order: with classifier-free guidance, and without.

    In words that follow "rows an image:".
    """

    guided: tuple[str, ...] = ("without the prompt", "with the prompt")
    alone: tuple[str, ...] = ("with the prompt",)


CLASSIFIER_FREE = Guidance()
"""What most pipelines do."""


@dataclass(frozen=True, slots=True)
class SpecContext:
    """Everything an entry may ask when it computes sizes: the pipeline, its configurations, what the user asked for.

    `model` is the attribute of the part in question ("unet"); `configs` are by attribute; `sizes` those of the family.
    `dtype` is the pipeline's type, with `exactly` that of every model in it; "auto" stands for the type of each part's
    checkpoint, and is replaced by it, with `dtype_from` as in `ComponentPlan`, before a part is planned. `guidance` is
    the family's.
    """

    pipeline: PipelineFolder
    configs: Configs
    shapes: ShapeOptions
    dtype: str
    exactly: bool = False
    model: str = ""
    dtype_from: str = ""
    sizes: Sizes = field(default_factory=dict)
    guidance: Guidance = CLASSIFIER_FREE

    def has(self, model: str) -> bool:
        """Whether the pipeline has such a part."""
        return model in self.configs

    def runs(self, *classes: str) -> bool:
        """Whether the pipeline is of one of these classes."""
        return self.pipeline.class_name in classes

    def option(self, key: str, default: Any = None, model: str = "") -> Any:
        """An option of a model's configuration, this one's unless another is named; `default` where it is absent."""
        return self.configs.get(model or self.model, {}).get(key, default)

    def numbers(self, key: str, model: str = "") -> list[int]:
        """A positive number, or a list of them, out of a configuration; SourceError for anything else."""
        name = model or self.model
        return numbers_of(self._config(name), key, self.path(name))

    def number(self, key: str, model: str = "", default: int | None = None) -> int:
        """One positive number out of a configuration; `default` where the option is absent or null."""
        name = model or self.model
        if default is not None and self.configs.get(name, {}).get(key) is None:
            return default
        return number_of(self._config(name), key, self.path(name))

    def _config(self, model: str) -> Config:
        """The configuration of a part that must have one; SourceError where it is of a class the table has not."""
        if not self.has(model):
            class_name = self.pipeline.classes.get(model, "none")
            raise SourceError(f"it depends on {model}, whose class, {class_name}, is not supported there.")
        return self.configs[model]

    def filled_up_to(self, tokenizer: str) -> int | None:
        """The tokens that a tokenizer fills a text up to where a pipeline leaves it to that.

        They are `model_max_length` of its tokenizer_config.json; None where there is no tokenizer, where it does not
        say, and where it says, with a huge number, that there is no limit. SourceError for what is no number.
        """
        if tokenizer not in self.pipeline.classes:
            return None
        path = self.pipeline.folders[tokenizer] / "tokenizer_config.json"
        if not path.is_file():
            return None
        value = read_json(path).get("model_max_length")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 1:
            raise SourceError(f"{path}: model_max_length is {json.dumps(value)}, not a positive number.")
        return int(value) if value <= _MOST_TOKENS else None

    def filled(self, *models: str, tokenizer: str = "", remedy: str = "fix it") -> int:
        """The tokens of a text for these text encoders: what their tokenizers fill it up to, else their positions.

        `tokenizer` names one for all where it is not each encoder's own ("tokenizer_2" of "text_encoder_2"). 77 where
        neither is there to say it. Raises SourceError where a tokenizer goes beyond its encoder's positions, or two
        encoders are to see texts of different lengths: the pipeline itself fails there. `remedy` ends what is told.
        """
        found: dict[str, int] = {}
        for model in models:
            tokenizer_name = tokenizer or model.replace("text_encoder", "tokenizer")
            filled, positions = self.filled_up_to(tokenizer_name), self._positions(model, needed=not found)
            if filled is not None and positions is not None and filled > positions:
                raise SourceError(
                    f"{self.path(model)}: {model} has {positions} positions, and {tokenizer_name} fills texts up to"
                    f" {filled} tokens (model_max_length in tokenizer_config.json), with which the pipeline itself"
                    f" fails; {remedy}."
                )
            if filled or positions:
                found[model] = filled or positions or 0
        if len(set(found.values())) > 1:
            several = ", ".join(f"{model} {tokens}" for model, tokens in found.items())
            raise SourceError(
                f"{self.pipeline.root}: its text encoders are to see texts of different lengths ({several} tokens),"
                f" which the pipeline puts side by side (model_max_length in tokenizer_config.json); {remedy}."
            )
        return next(iter(found.values()), _CLIP_TOKENS)

    def _positions(self, model: str, *, needed: bool) -> int | None:
        """A text encoder's positions, if it says them; a damaged configuration is told here only where it is needed."""
        try:
            is_given = self.option("max_position_embeddings", model=model) is not None
            return self.number("max_position_embeddings", model) if is_given else None
        except SourceError:
            if needed:
                raise
            return None

    def text_filled(self, *models: str) -> int:
        """Tokens of a text for these text encoders: what was asked for, else `filled`.

        Their positions bound what they themselves are traced for (`clip_tokens`), not what is made of several texts.
        """
        if self.shapes.sequence_length is None:
            return self.filled(*models, remedy="fix it, or give --sequence-length")
        return self.shapes.sequence_length

    def path(self, model: str = "") -> Path:
        """The configuration's file, for messages."""
        return self.pipeline.folders[model or self.model] / "config.json"

    def image(self, default: Callable[[], tuple[int, int]], multiple: int, message: str) -> tuple[int, int]:
        """Height and width in pixels: what was asked for, else the default. UsageError for what is no `multiple`.

        `told` says whose multiple it is. The default is only computed where it is needed: a configuration may have
        none.
        """
        height, width = self.shapes.height, self.shapes.width
        if height is None or width is None:
            given = default()
            height, width = height or given[0], width or given[1]
        for name, value in (("height", height), ("width", width)):
            if value % multiple:
                raise UsageError(f"{name} {value} is not a multiple of {multiple}, {message}.")
        return height, width

    def latent_frames(self, default: int, temporal: int) -> tuple[int, int]:
        """Frames of the video and of its latents: (frames − 1) / temporal + 1. UsageError where that leaves a rest."""
        frames = self.shapes.frames or default
        if (frames - 1) % temporal:
            raise UsageError(f"{frames} frames are not a multiple of {temporal}, and one.")
        return frames, (frames - 1) // temporal + 1

    def rows(self, *, guided: bool) -> int:
        """Rows of a batch: of each image as many as `guidance` has, with classifier-free guidance or without."""
        asked = self.shapes.guidance
        rows = self.guidance.guided if (guided if asked is None else asked) else self.guidance.alone
        return len(rows) * (self.shapes.batch or 1)

    def text(self, default: int, limit: int = 0, whose: str = "text encoder's") -> int:
        """Tokens of a text: what was asked for, else the default; UsageError beyond `limit`, if there is one."""
        asked = self.shapes.sequence_length
        if asked is None:
            return default
        if limit and asked > limit:
            raise UsageError(f"sequence length {asked} is more than the {whose} {limit} positions.")
        return asked
