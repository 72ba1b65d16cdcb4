"""What an entry of the table of input specifications is made of.

A `PipelineFamily` says how a group of mindone pipelines sizes things: the image, the rows of a batch, the tokens. A
`Spec` says how such a pipeline calls one class of model: every tensor it hands over, under which name of the call, in
which shape and type. Shapes are written in names of sizes ("rows", "latent_height"); what they stand for is looked up
among the sizes the spec computes, then those of the family, then the numbers of the model's own config.json.

Imports `context`, `attnfuse.tracing.contract`, `attnfuse.errors` and the standard library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from attnfuse.errors import SourceError, TraceError
from attnfuse.tracing.contract import Library, Processor
from attnfuse.tracing.specs.context import CLASSIFIER_FREE, Guidance, Sizes, SpecContext

FLOAT = "float"
"""Stands for the type the model is held in."""

ASIDE = ("safety_checker", "image_encoder")
"""Parts that the image does not pass through unless more is loaded: a checker of results, an IP-Adapter's encoder."""

WEIGHTS_ONLY = ("ControlNetXSAdapter", "MotionAdapter", "StableUnCLIPImageNormalizer")
"""Classes that hold weights, and are never run: for another model, which has them when the pipeline is made, or mean
and deviation of an embedding, for whoever adds noise to it."""


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
    when: Callable[[SpecContext], bool] | None = None
    only: str = ""
    each: Callable[[SpecContext], Sequence[tuple[int, ...]]] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a graph: its name, and the expression that takes it from `result`, what the call returned.

    `each` makes as many as it returns, `{i}` standing for the number in both.
    """

    name: str
    of: str = "result[0]"
    each: Callable[[SpecContext], int] | None = None


SAMPLE = (Output("sample"),)
"""What most denoisers give."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An option of a configuration that adds inputs or branches which the spec's pipelines feed and it does not.

    Any value but one of `allowed` is refused by name. An absent option has its default in mindone, which is allowed.
    """

    option: str
    allowed: tuple[Any, ...] = (None,)


@dataclass(frozen=True, slots=True)
class FixedSetting:
    """Something a pipeline may set at run time and the graph of a spec has fixed: see `contract.FixedValue`.

    `value` is a JSON value; where a pipeline's folder may say another, `told` reads it there. `when` says for
    which configurations it is told, `only` the same in words.
    """

    name: str
    value: Any
    meaning: str
    when: Callable[[SpecContext], bool] | None = None
    only: str = ""
    told: Callable[[SpecContext], Any] | None = None


@dataclass(frozen=True, slots=True)
class Skip:
    """How pipelines take the state of an earlier layer from a text encoder, with their argument `clip_skip`.

    The output `output` is then the expression `of`, `{model}` standing for the model's attribute and `{back}` for the
    state's place from the end: `clip_skip` and `least` more. The states are those of the embedding and of each of the
    configuration's `num_hidden_layers`.
    """

    output: str
    of: str
    least: int


@dataclass(frozen=True, slots=True)
class PipelineFamily:
    """How a group of pipelines sizes what it hands to its models.

    `pipelines` are the classes whose calls were read, in `source` (below mindone/diffusers/pipelines/). `sizes`
    computes the sizes that specs refer to; its docstring tells the defaults, which are those of `__call__`. `aside` are
    parts that hold a network and are not compiled.

    A family with a `base` calls its models as the base does, but for those that specs name the family itself for.
    `guidance` says what the rows of a batch are for. `channels` are those that the denoiser may take, of so many of the
    latents, where it takes more than the base's: a picture, a mask.
    """

    name: str
    pipelines: tuple[str, ...]
    source: str
    sizes: Callable[[SpecContext], Sizes]
    aside: tuple[str, ...] = ASIDE
    base: PipelineFamily | None = None
    guidance: Guidance = CLASSIFIER_FREE
    channels: Callable[[int], tuple[int, ...]] | None = None

    @property
    def lineage(self) -> tuple[PipelineFamily, ...]:
        """The family, its base, and what that is based on."""
        return (self, *(() if self.base is None else self.base.lineage))

    def is_of(self, *families: PipelineFamily) -> bool:
        """Whether it is one of these, or based on one."""
        return any(family in families for family in self.lineage)

    def sized(self, context: SpecContext) -> SpecContext:
        """The context with the family's guidance and sizes."""
        context = replace(context, guidance=self.guidance)
        return replace(context, sizes=self.sizes(context))


def no_sizes(_context: SpecContext) -> Sizes:
    """None beyond the family's and the configuration's own."""
    return {}


def pipeline_dtype(context: SpecContext) -> str:
    """The type the whole pipeline is held in."""
    return context.dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """How the pipelines of some families call one class of model, and what graph comes of it.

    `models` are the attributes of a pipeline it may be ("unet"), the first being what a single model is taken for;
    `component` names the graph, "{model}" standing for the attribute. `method` is what is called, the model itself
    where empty; `fixed` are arguments that are no tensors, `constants` those that follow from the sizes. `check`
    returns why a configuration cannot be traced, or nothing. `dtype` is the type the model is held in. `patches` name
    those of `attnfuse.tracing.patches` that are in force while the model is traced. `source` is the mindone pipeline
    whose call is mirrored. `fixed_settings` are what the graph has fixed beside `fixed` and `constants`. `broken` says
    what in mindone keeps every such model from being traced. `doubt` returns what the user is to be told of the plan,
    or nothing. `skip` says what `clip_skip` does, of a text encoder whose pipelines have it. `processors` are those
    that the pipeline gives the model's attention before it calls it.
    """

    class_name: str
    library: Library
    families: tuple[PipelineFamily, ...]
    models: tuple[str, ...]
    source: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    component: str = "{model}"
    method: str = ""
    fixed: Mapping[str, Any] = field(default_factory=lambda: {"return_dict": False})
    constants: Callable[[SpecContext], Mapping[str, Any]] | None = None
    sizes: Callable[[SpecContext], Sizes] = no_sizes
    refuse: tuple[Refusal, ...] = ()
    check: Callable[[SpecContext], str] | None = None
    dtype: Callable[[SpecContext], str] = pipeline_dtype
    patches: tuple[str, ...] = ()
    fixed_settings: tuple[FixedSetting, ...] = ()
    broken: str = ""
    doubt: Callable[[SpecContext], str] | None = None
    skip: Skip | None = None
    processors: Callable[[SpecContext], tuple[Processor, ...]] | None = None

    def refusal(self, context: SpecContext) -> str:
        """Why this configuration cannot be traced, in words that follow "component NAME:", or nothing."""
        if self.broken:
            return f"{self.class_name} cannot be traced: {self.broken}"
        for refusal in self.refuse:
            value = context.option(refusal.option, refusal.allowed[0])
            if value not in refusal.allowed:
                return f"{refusal.option} = {value!r} is not supported"
        return self.check(context) if self.check is not None else ""


def measure(spec: Spec, context: SpecContext, size: int | str) -> int:
    """What one entry of a shape stands for. Raises SourceError where the configuration lacks the number."""
    if isinstance(size, int):
        return size
    own = spec.sizes(context)
    if size in own:
        return own[size]
    if size in context.sizes:
        return context.sizes[size]
    return context.number(size)


def divide(number: int, by: int, what: str, where: Path) -> int:
    """A division that leaves no rest; SourceError, naming the configuration, where it would."""
    if number % by:
        raise SourceError(f"{where}: {what} {number} is not a multiple of {by}.")
    return number // by


def unsupported(model: str, reason: str) -> TraceError:
    """The error for a part of a pipeline that cannot be traced."""
    return TraceError(f"component {model}: {reason}.")
