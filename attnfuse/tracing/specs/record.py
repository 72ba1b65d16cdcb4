"""What an entry of the table of input specifications is made of.

A `Family` says how a group of mindone pipelines sizes things: the image, the rows of a batch, the tokens. A `Spec`
says how such a pipeline calls one class of model: every tensor it hands over, under which name of the call, in which
shape and type. Shapes are written in names of sizes ("rows", "latent_height"); what they stand for is looked up among
the sizes the spec computes, then those of the family, then the numbers of the model's own config.json.

Imports `contract` and `folder` of this room, `attnfuse.errors` and the standard library.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnfuse.errors import SourceError, TraceError, UsageError
from attnfuse.tracing.contract import Library, ShapeOptions
from attnfuse.tracing.folder import Config, Configs, PipelineFolder, number_of, numbers_of, read_json

FLOAT = "float"
"""Stands for the type the model is held in."""

FRAME_TIMESTEPS = "frame_timesteps"
"""The stand-in for timesteps of every frame: see `standins.TRACING`."""

MASKED_ATTENTION = "masked_attention"
"""The stand-in that every model needs in which mindone's `Attention` gets a mask: see `standins.TRACING`."""

DEVICE_CALLS = "device_calls"
"""The stand-in for calls of mindone's transformers that only Ascend takes as they are: see `standins.TRACING`."""

JOINT_SEQUENCE = "joint_sequence"
"""The stand-in for Lumina 2's transformer: see `standins.TRACING`."""

MASKED_TEXT = "masked_text"
"""The stand-in for attention of Mochi's transformer: see `standins.TRACING`."""

ONE_TILE = "one_tile"
"""The stand-in for Allegro's autoencoder: see `standins.TRACING`."""

NORMED_WEIGHTS = "normed_weights"
"""The stand-in for convolutions that write their weight anew: see `standins.TRACING`."""

PLAIN_RESULTS = "plain_results"
"""The stand-in for models that return or ask for records, Flux2's autoencoder among them: see `standins.TRACING`."""

QWEN_ROTARY = "qwen_rotary"
"""The stand-in for Qwen-Image's rotary tables: see `standins.TRACING`."""

REAL_ROTARY = "real_rotary"
"""The stand-in for rotary tables of complex numbers: see `standins.TRACING`."""

TOLD_TYPE = "told_type"
"""The stand-in for attention that has to be told its type: see `standins.TRACING`."""

UNCHUNKED = "unchunked"
"""The stand-in for Mochi's autoencoder: see `standins.TRACING`."""

WHOLE_VIDEO = "whole_video"
"""The stand-in for the autoencoders of Wan and Qwen-Image: see `standins.TRACING`."""

ASIDE = ("safety_checker", "image_encoder")
"""Parts that the image does not pass through unless more is loaded: a checker of results, an IP-Adapter's encoder."""

Sizes = Mapping[str, int]

#: Text length where neither tokenizer nor text encoder is there to say it: that of every CLIP text encoder published.
_CLIP_TOKENS = 77

#: Beyond it a tokenizer has no limit: transformers writes 10^30 (10^20 before) for that. No text encoder has as many.
_MOST_TOKENS = 10**6


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything an entry may ask when it computes sizes: the pipeline, its configurations, what the user asked for.

    `model` is the attribute of the part in question ("unet"); `configs` are by attribute; `sizes` those of the family.
    `dtype` is the pipeline's type, with `exactly` that of every model in it; "auto" stands for the type of each part's
    checkpoint, and is replaced by it, with `dtype_from` as in `ComponentPlan`, before a part is planned.
    """

    pipeline: PipelineFolder
    configs: Configs
    shapes: ShapeOptions
    dtype: str
    exactly: bool = False
    model: str = ""
    dtype_from: str = ""
    sizes: Sizes = field(default_factory=dict)

    def has(self, model: str) -> bool:
        """Whether the pipeline has such a part."""
        return model in self.configs

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

    def filled(self, *models: str, tokenizer: str = "", remedy: str = "mend it") -> int:
        """The tokens of a text for these text encoders: what their tokenizers fill it up to, else their positions.

        `tokenizer` names one for all where it is not each encoder's own ("tokenizer_2" of "text_encoder_2"). 77 where
        neither is there to say it. Raises SourceError where a tokenizer goes beyond its encoder's positions, or two
        encoders are to see texts of different lengths: the pipeline itself fails there. `remedy` ends what is told.
        """
        found: dict[str, int] = {}
        for model in models:
            told_by = tokenizer or model.replace("text_encoder", "tokenizer")
            filled, positions = self.filled_up_to(told_by), self._positions(model, needed=not found)
            if filled is not None and positions is not None and filled > positions:
                raise SourceError(
                    f"{self.path(model)}: {model} has {positions} positions, and {told_by} fills texts up to {filled}"
                    " tokens (model_max_length in tokenizer_config.json), with which the pipeline itself fails;"
                    f" {remedy}."
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
            told = self.option("max_position_embeddings", model=model) is not None
            return self.number("max_position_embeddings", model) if told else None
        except SourceError:
            if needed:
                raise
            return None

    def text_filled(self, *models: str) -> int:
        """Tokens of a text for these text encoders: what was asked for, else `filled`; UsageError beyond positions."""
        if self.shapes.sequence_length is None:
            return self.filled(*models, remedy="mend it, or give --sequence-length")
        places = [self.number("max_position_embeddings", model, 0) for model in models]
        return self.text(0, min(filter(None, places), default=0))

    def path(self, model: str = "") -> Path:
        """The configuration's file, for messages."""
        return self.pipeline.folders[model or self.model] / "config.json"

    def image(self, default: Callable[[], tuple[int, int]], multiple: int, told: str) -> tuple[int, int]:
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
                raise UsageError(f"{name} {value} is not a multiple of {multiple}, {told}.")
        return height, width

    def latent_frames(self, default: int, temporal: int) -> tuple[int, int]:
        """Frames of the video and of its latents: (frames − 1) / temporal + 1. UsageError where that leaves a rest."""
        frames = self.shapes.frames or default
        if (frames - 1) % temporal:
            raise UsageError(f"{frames} frames are not a multiple of {temporal}, and one.")
        return frames, (frames - 1) // temporal + 1

    def rows(self, *, guided: bool) -> int:
        """Rows of a batch: twice the images where the pipeline guides (or is asked to), once where it does not."""
        batch = self.shapes.batch or 1
        asked = self.shapes.guidance
        return 2 * batch if (guided if asked is None else asked) else batch

    def text(self, default: int, limit: int = 0, whose: str = "text encoder's") -> int:
        """Tokens of a text: what was asked for, else the default; UsageError beyond `limit`, if there is one."""
        asked = self.shapes.sequence_length
        if asked is None:
            return default
        if limit and asked > limit:
            raise UsageError(f"sequence length {asked} is more than the {whose} {limit} positions.")
        return asked


@dataclass(frozen=True, slots=True)
class Input:
    """One tensor that a pipeline hands to a model, and the graph's input of that name.

    `shape` is in names of sizes and numbers. `dtype` is FLOAT, "timestep" (the scheduler's) or one of
    `contract.DTYPES`. `to` is where in the call it goes, the argument of its own name by default: "kwargs.key" is
    an element of a dictionary, "pair.0" of a list, which are made in the order of the inputs. `when` says for which
    configurations it exists, `only` the same in words. `each` makes one input of every shape it returns, `{i}` in
    `name` and `to` standing for the number; `shape` is then what their documentation shows. `note` is for that
    documentation too.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str = FLOAT
    to: str = ""
    when: Callable[[Scene], bool] | None = None
    only: str = ""
    each: Callable[[Scene], Sequence[tuple[int, ...]]] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a graph: its name, and the expression that takes it from `result`, what the call returned.

    `each` makes as many as it returns, `{i}` standing for the number in both.
    """

    name: str
    of: str = "result[0]"
    each: Callable[[Scene], int] | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An option of a configuration that adds inputs or branches which the spec's pipelines feed and it does not.

    Any value but one of `allowed` is refused by name. An absent option has its default in mindone, which is allowed.
    """

    option: str
    allowed: tuple[Any, ...] = (None,)


@dataclass(frozen=True, slots=True)
class Told:
    """Something a pipeline may set at run time and the graph of a spec has fixed: see `contract.FixedValue`.

    `when` says for which configurations it is told, `only` the same in words.
    """

    name: str
    value: Any
    meaning: str
    when: Callable[[Scene], bool] | None = None
    only: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """How a group of pipelines sizes what it hands to its models.

    `pipelines` are the classes whose calls were read, in `source` (below mindone/diffusers/pipelines/). `sizes`
    computes the sizes that specs refer to; its docstring tells the defaults, which are those of `__call__`. `aside` are
    parts that hold a network and are not compiled.
    """

    name: str
    pipelines: tuple[str, ...]
    source: str
    sizes: Callable[[Scene], Sizes]
    aside: tuple[str, ...] = ASIDE


def no_sizes(_scene: Scene) -> Sizes:
    """None beyond the family's and the configuration's own."""
    return {}


def pipeline_dtype(scene: Scene) -> str:
    """The type the whole pipeline is held in."""
    return scene.dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """How the pipelines of some families call one class of model, and what graph comes of it.

    `models` are the attributes of a pipeline it may be ("unet"), the first being what a single model is taken for;
    `component` names the graph, "{model}" standing for the attribute. `method` is what is called, the model itself
    where empty; `fixed` are arguments that are no tensors, `constants` those that follow from the sizes. `check`
    returns why a configuration cannot be traced, or nothing. `held` is the type the model is held in. `stand_ins` name
    those of `standins.TRACING` that are in force while the model is traced. `source` is the mindone pipeline whose call
    is mirrored. `told` is what the graph has fixed beside `fixed` and `constants`. `broken` says what in mindone keeps
    every such model from being traced.
    """

    class_name: str
    library: Library
    families: tuple[Family, ...]
    models: tuple[str, ...]
    source: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    component: str = "{model}"
    method: str = ""
    fixed: Mapping[str, Any] = field(default_factory=lambda: {"return_dict": False})
    constants: Callable[[Scene], Mapping[str, Any]] | None = None
    sizes: Callable[[Scene], Sizes] = no_sizes
    refuse: tuple[Refusal, ...] = ()
    check: Callable[[Scene], str] | None = None
    held: Callable[[Scene], str] = pipeline_dtype
    stand_ins: tuple[str, ...] = ()
    told: tuple[Told, ...] = ()
    broken: str = ""

    def refusal(self, scene: Scene) -> str:
        """Why this configuration cannot be traced, in words that follow "component NAME:", or nothing."""
        if self.broken:
            return f"{self.class_name} cannot be traced: {self.broken}"
        for refusal in self.refuse:
            value = scene.option(refusal.option, refusal.allowed[0])
            if value not in refusal.allowed:
                return f"{refusal.option} = {value!r} is not supported"
        return self.check(scene) if self.check is not None else ""


def measure(spec: Spec, scene: Scene, size: int | str) -> int:
    """What one entry of a shape stands for. Raises SourceError where the configuration lacks the number."""
    if isinstance(size, int):
        return size
    own = spec.sizes(scene)
    if size in own:
        return own[size]
    if size in scene.sizes:
        return scene.sizes[size]
    return scene.number(size)


def divide(number: int, by: int, what: str, where: Path) -> int:
    """A division that leaves no rest; SourceError, naming the configuration, where it would."""
    if number % by:
        raise SourceError(f"{where}: {what} {number} is not a multiple of {by}.")
    return number // by


def unsupported(model: str, reason: str) -> TraceError:
    """The error for a part of a pipeline that cannot be traced."""
    return TraceError(f"component {model}: {reason}.")
