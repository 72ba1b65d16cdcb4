"""Passes and how they are run: found through the entry-point group `attnfuse.passes`, in order, checked after each.

A pass is a frozen dataclass whose fields are its options. It may import `attnfuse.api` and nothing else of the
engine. The engine never imports the passes: built-in ones come in by the same door as a plugin's. What is wrong after
a pass is told with the pass's name: a plugin's is its authors' to mend, one of attnfuse's a defect of attnfuse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

import networkx as nx

from attnfuse import collector
from attnfuse.decisions import SiteRecord
from attnfuse.errors import AttnfuseError, InternalError, PluginError, SourceError, UsageError
from attnfuse.ir.graph import CALL, Model, short_name
from attnfuse.ir.operators.columns import Role
from attnfuse.ir.questions import role
from attnfuse.ir.types import Array
from attnfuse.policy import Policy
from attnfuse.targets import Target

GROUP = "attnfuse.passes"
_OURS = "attnfuse"
_OUR_PACKAGES = (_OURS, "attnfuse_passes")


class Property(Enum):
    """What a pass may ask of the graph it is given, and promise of the one it leaves. Promises are checked."""

    DECIDED = "every attention of the source has its record"
    INLINED = "for MindSpore Lite, no function is called that one call of the top graph alone refers to"


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
    and of operators; `illegal` tells, by the node's value, why one that the target does not take stays. `unneeded`
    tells, by the node's value, why one that had an effect beside its value is gone, and nobody can tell. `weights`
    gives the value of a weight, where it is known.
    """

    component: str
    owner: str
    policy: Policy
    target: Target
    sites: list[SiteRecord] = field(default_factory=list)
    legalised: list[Legalised] = field(default_factory=list)
    illegal: dict[str, str] = field(default_factory=dict)
    unneeded: dict[str, str] = field(default_factory=dict)
    weights: WeightReader = no_weights


@runtime_checkable
class Pass(Protocol):
    """One step over a model. `order` places it among the others; `summary` is its line in `attnfuse passes`.

    A pass may also have `requires` and `ensures`, frozen sets of `Property`: it then runs after every pass that
    ensures what it requires, whatever `order` says, and what it ensures is checked.
    """

    id: ClassVar[str]
    order: ClassVar[int]
    summary: ClassVar[str]

    def run(self, model: Model, context: Context) -> bool:
        """Change the model in place; tell whether anything changed."""


After: TypeAlias = Callable[[Pass, Model], None]
"""Called after each pass, with the graph indexed anew."""


def requires(step: Pass) -> frozenset[Property]:
    """What the pass asks of the graph it is given."""
    return frozenset(getattr(step, "requires", ()))


def ensures(step: Pass) -> frozenset[Property]:
    """What the pass promises of the graph it leaves."""
    return frozenset(getattr(step, "ensures", ()))


def _load(entry: EntryPoint) -> Pass:
    try:
        loaded = entry.load()()
    except Exception as error:
        raise UsageError(f"the pass {entry.name!r} ({entry.value}) cannot be loaded: {error}.") from error
    if not isinstance(loaded, Pass):
        raise UsageError(f"the pass {entry.name!r} ({entry.value}) has no id, order, summary or run.")
    return loaded


def discover() -> tuple[Pass, ...]:
    """Every installed pass in the order it runs. Raises UsageError for a plugin that cannot be loaded or placed."""
    found = [_load(entry) for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name)]
    if not found:
        raise UsageError("no passes are installed: install attnfuse with pip; its folder alone is not enough.")
    return in_order(found)


def in_order(passes: Sequence[Pass]) -> tuple[Pass, ...]:
    """The passes, each after those that ensure what it requires; among what is left open, by `order` and then `id`.

    Raises UsageError where two have one id, where nothing ensures what a pass requires, or where passes wait for each
    other.
    """
    by_id = {step.id: step for step in passes}
    if len(by_id) != len(passes):
        twice = next(step.id for step in passes if by_id[step.id] is not step)
        raise UsageError(f"two installed passes are called {twice!r}; uninstall one of their packages.")
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(by_id)
    for step in passes:
        for wanted in requires(step):
            makers = [other.id for other in passes if wanted in ensures(other) and other is not step]
            if not makers:
                raise UsageError(f"the pass {step.id!r} requires that {wanted.value}, and no installed one ensures it.")
            graph.add_edges_from((maker, step.id) for maker in makers)
    try:
        ordered = list(nx.lexicographical_topological_sort(graph, key=lambda name: (by_id[name].order, name)))
    except nx.NetworkXUnfeasible:
        circle = " and ".join(sorted({name for edge in nx.find_cycle(graph) for name in edge}))
        raise UsageError(f"the passes {circle} each require what another ensures; none of them can be first.") from None
    return tuple(by_id[name] for name in ordered)


def plugin_of(step: Pass) -> str | None:
    """The distribution that a plugin's pass was installed with (its package, where none is known); None for our own."""
    kind = type(step)
    for entry in entry_points(group=GROUP):
        if entry.value == f"{kind.__module__}:{kind.__qualname__}" and entry.dist is not None:
            return None if entry.dist.name == _OURS else entry.dist.name
    package = kind.__module__.partition(".")[0]
    return None if package in _OUR_PACKAGES else package


def blame(step: Pass, component: str, what: str) -> AttnfuseError:
    """The error that says what the pass did wrong: a plugin's, or a defect of ours."""
    plugin = plugin_of(step)
    if plugin is None:
        return InternalError(f"pass {step.id} left component {component} broken: {what}")
    return PluginError(
        f"pass {step.id!r} of the plugin {plugin!r} left component {component} broken: {what} "
        "Update or uninstall the plugin, and report it to its authors."
    )


def run(model: Model, context: Context, passes: Sequence[Pass], after: Sequence[After] = ()) -> bool:
    """Run the passes over the model, each followed by what `after` lists; tell whether anything changed.

    Raises InternalError, naming the pass, where one of ours leaves the graph inconsistent, PluginError where a plugin's
    does or fails.
    """
    changed = False
    with collector.paused():
        for step in passes:
            changed |= _run_one(step, model, context)
            for callback in after:
                callback(step, model)
            _check_promises(step, model, context)
    return changed


def _run_one(step: Pass, model: Model, context: Context) -> bool:
    try:
        changed = step.run(model, context)
        model.index()
    except SourceError as error:
        raise blame(step, context.component, str(error)) from error
    except AttnfuseError:
        raise
    except Exception as error:
        if plugin_of(step) is None:
            raise
        raise blame(step, context.component, f"{type(error).__name__}: {error}.") from error
    return changed


def _check_promises(step: Pass, model: Model, context: Context) -> None:
    for promise in sorted(ensures(step), key=lambda p: p.name):
        told = _BROKEN[promise](model, context)
        if told is not None:
            raise blame(step, context.component, f"it ensures that {promise.value}, but {told}.")


def _undecided(model: Model, context: Context) -> str | None:
    """Each softmax that is left, or came back where a fused node was written out, belongs to a record."""
    left, told = sum(role(node) is Role.SOFTMAX for node in model.nodes), len(context.sites)
    return f"{left} softmax nodes are left, and {told} sites are on record" if left > told else None


def _not_inlined(model: Model, context: Context) -> str | None:
    if context.target.runtime != "lite":
        return None
    functions = {function.name: function for function in model.proto.functions}
    for node in model.nodes:
        callee = functions.get(node.proto.op_type.removeprefix("REF::")) if node.op == CALL else None
        if callee is None or node.graph is not model.proto.graph or len(callee.output) != 1:
            continue
        if len(model.uses(callee.name)) == 1:
            return f"{short_name(node.name)} calls {callee.name}"
    return None


_BROKEN: dict[Property, Callable[[Model, Context], str | None]] = {
    Property.DECIDED: _undecided,
    Property.INLINED: _not_inlined,
}
