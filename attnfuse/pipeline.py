"""Passes and how they are run: found through the entry-point group `attnfuse.passes`, in order, checked after each.

A pass is a frozen dataclass whose fields are its options. It may import `attnfuse.api` and nothing else of the
engine. The engine never imports the passes: built-in ones come in by the same door as a plugin's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar, Protocol, runtime_checkable

from attnfuse import collector
from attnfuse.errors import InternalError, SourceError, UsageError
from attnfuse.graph import Array, Model
from attnfuse.match import SiteRecord
from attnfuse.policy import Policy
from attnfuse.targets import Target

GROUP = "attnfuse.passes"


@dataclass(frozen=True, slots=True)
class Legalised:
    """A node that was written with other operators: its own operator, and those of the nodes that stand for it."""

    op: str
    into: tuple[str, ...]


class WeightReader(Protocol):
    """Gives the value of a weight by its full name in the graph, of the shape and type it has there.

    None where it is not known: the graph has no weights, or this one is too large to be looked at. Whoever decides
    something by a value must be right without it too; the caller remembers what was asked for.
    """

    def __call__(self, name: str, /) -> Array | None: ...


def no_weights(_name: str, /) -> Array | None:
    """The reader of a graph whose weights nobody knows."""
    return None


@dataclass(slots=True)
class Context:
    """What a pass may know and say beside the graph.

    `component` is the part of the pipeline ("unet", "vae_decoder"), `owner` the attribute of the pipeline that it
    is made from ("unet", "vae"); both name it in policy rules. `sites` and `legalised` are what became of attention
    and of operators; `illegal` tells, by the node's value, why one that the target does not take stays. `weights`
    gives the value of a weight, where it is known.
    """

    component: str
    owner: str
    policy: Policy
    target: Target
    sites: list[SiteRecord] = field(default_factory=list)
    legalised: list[Legalised] = field(default_factory=list)
    illegal: dict[str, str] = field(default_factory=dict)
    weights: WeightReader = no_weights


@runtime_checkable
class Pass(Protocol):
    """One step over a model. `order` places it among the others; `summary` is its line in `attnfuse passes`."""

    id: ClassVar[str]
    order: ClassVar[int]
    summary: ClassVar[str]

    def run(self, model: Model, context: Context) -> bool:
        """Change the model in place; tell whether anything changed."""


def _load(entry: EntryPoint) -> Pass:
    try:
        loaded = entry.load()()
    except Exception as error:
        raise UsageError(f"the pass {entry.name!r} ({entry.value}) cannot be loaded: {error}.") from error
    if not isinstance(loaded, Pass):
        raise UsageError(f"the pass {entry.name!r} ({entry.value}) has no id, order, summary or run.")
    return loaded


def discover() -> tuple[Pass, ...]:
    """Every installed pass in the order it runs. Raises UsageError for a plugin that cannot be loaded."""
    found = [_load(entry) for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name)]
    if not found:
        raise UsageError("no passes are installed: install attnfuse with pip; its folder alone is not enough.")
    return tuple(sorted(found, key=lambda p: (p.order, p.id)))


def run(
    model: Model, context: Context, passes: Sequence[Pass], after: Callable[[Pass, Model], None] | None = None
) -> bool:
    """Run the passes over the model; tell whether anything changed.

    `after` is called with each pass that has run and the graph it left.
    Raises InternalError, naming the pass, where one leaves the graph inconsistent.
    """
    changed = False
    with collector.paused():
        for step in passes:
            try:
                changed |= step.run(model, context)
                Model(model.proto)
            except SourceError as error:
                raise InternalError(f"pass {step.id} left component {context.component} broken: {error}") from error
            if after is not None:
                after(step, model)
    return changed
