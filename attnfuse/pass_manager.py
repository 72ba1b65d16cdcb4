"""Passes and how they are run: found (see `attnfuse.plugins`), put in order, given their options, checked after each.

A pass is a frozen dataclass whose fields are its options. It may import `attnfuse.api` and nothing else of the
engine. The engine never imports the passes: built-in ones come in by the same door as a plugin's. What is wrong after
a pass is reported with the pass's name: a plugin's is its authors' to fix, one of attnfuse's a defect of attnfuse.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import networkx as nx

from attnfuse import collector, plugins
from attnfuse.decisions import SiteRecord
from attnfuse.errors import AttnfuseError, InternalError, PluginError, SourceError, UsageError
from attnfuse.ir.graph import Model, short_name
from attnfuse.ir.inline import inlinable
from attnfuse.ir.operators.columns import Role
from attnfuse.ir.questions import nodes_of
from attnfuse.ir.types import Array
from attnfuse.pass_options import configured, values
from attnfuse.policy import PassOption, Policy
from attnfuse.processes import Terminated
from attnfuse.targets import Target

UPDATE = "Update or uninstall the plugin, and report it to its authors."
_OUR_PACKAGES = ("attnfuse", "attnfuse_passes")


class Property(Enum):
    """What a pass may ask of the graph it is given, and promise of the one it leaves. Promises are checked."""

    DECIDED = "every attention of the source has its record"
    INLINED = "no function is called by name that could be nodes of its callers"


@dataclass(frozen=True, slots=True)
class Legalised:
    """A node that was written with other operators: its own operator, and those of the nodes that stand for it.

    `absorbed` are the operators of the nodes that went with it, as nothing else read them: of a formula that became one
    operator, all but its last. `refused` says why it was not written as the operator that would have come first; it is
    "" where it was, or there is none.
    """

    op: str
    into: tuple[str, ...]
    absorbed: tuple[str, ...] = ()
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Simplified:
    """A node that is gone, or computed in another type: its operator, and what it was.

    `error` is how far a number may be off because of that, before it is rounded to the type that is given: 0 where the
    numbers stay as they are.
    """

    op: str
    what: str
    error: float = 0.0


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
    and of operators, `simplified` what was simplified; `unsupported` tells, by the node's value, why one that the
    target does not take stays, or is not written as one operator. `unneeded` tells, by the node's value, why one that
    had an effect beside its value is gone, and nobody can tell. `weights` gives the value of a weight, where it is
    known. With `any_batch` the graph is one of several batches, which become one: the size of the batch is not known
    before run time.
    """

    component: str
    owner: str
    policy: Policy
    target: Target
    sites: list[SiteRecord] = field(default_factory=list)
    legalised: list[Legalised] = field(default_factory=list)
    simplified: list[Simplified] = field(default_factory=list)
    unsupported: dict[str, str] = field(default_factory=dict)
    unneeded: dict[str, str] = field(default_factory=dict)
    weights: WeightReader = no_weights
    any_batch: bool = False


@runtime_checkable
class Pass(Protocol):
    """One step over a model. `order` places it among the others; `summary` is its line in `attnfuse passes`.

    A pass may also have `requires` and `ensures`, frozen sets of `Property`: it then runs after every pass that
    ensures what it requires, whatever `order` says, and what it ensures is checked. Where plugins may extend it, it has
    `takes`: by the group of entry points, what is called with the extensions that are installed.
    """

    id: ClassVar[str]
    order: ClassVar[int]
    summary: ClassVar[str]

    def run(self, model: Model, context: Context) -> bool:
        """Change the model in place; tell whether anything changed."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A pass that has just run: the graph it left, indexed again, and how long both took, in seconds."""

    step: Pass
    model: Model
    seconds: float


Between: TypeAlias = Callable[[Ran], None]
"""Called after each pass, before the next."""


def requires(step: Pass) -> frozenset[Property]:
    """What the pass asks of the graph it is given."""
    return frozenset(getattr(step, "requires", ()))


def ensures(step: Pass) -> frozenset[Property]:
    """What the pass promises of the graph it leaves."""
    return frozenset(getattr(step, "ensures", ()))


def discover() -> tuple[Pass, ...]:
    """Every installed pass in the order it runs, with the options it has by itself.

    Raises UsageError for passes that cannot be put in order, PluginError for a plugin that cannot be loaded.
    """
    found = [
        plugins.made(extension, Pass, "id, order, summary or run", "id")  # type: ignore[type-abstract]
        for extension in plugins.load().of(plugins.PASSES)
    ]
    for extension, step in zip(plugins.load().of(plugins.PASSES), found, strict=True):
        _check_declared(extension, step)
    if not found:
        raise UsageError("no passes are installed: install attnfuse with pip; its folder alone is not enough.")
    extend(found)
    return in_order(found)


def _check_declared(extension: plugins.Extension, step: Pass) -> None:
    """Raise PluginError where what places the pass among the others is of another type than `Pass` says."""
    promised: dict[str, frozenset[object]] = {
        "requires": frozenset(requires(step)),
        "ensures": frozenset(ensures(step)),
    }
    for name, kind in (("order", int), ("summary", str)):
        if not isinstance(getattr(step, name), kind):
            raise extension.refused(f"has {getattr(step, name)!r} as its {name}, which is a {kind.__name__}")
    for name, properties in promised.items():
        if wrong := [each for each in properties if not isinstance(each, Property)]:
            raise extension.refused(f"{name} {wrong[0]!r}, which is no Property of attnfuse.api")


def extend(passes: Iterable[Pass], plugged: Container[str] | None = None) -> None:
    """Have the passes work with what plugins bring; with `plugged`, only those of these names.

    Raises PluginError for an extension that its pass does not take.
    """
    for step in passes:
        takes: Mapping[str, plugins.TakeExtensions] = getattr(step, "takes", {})
        for group, take in takes.items():
            take(plugins.load().brought(group, plugged))


def chosen(options: Iterable[PassOption]) -> tuple[Pass, ...]:
    """Every installed pass in the order it runs, with these options; of one that is given twice the last counts.

    Raises as `discover` does, and PolicyError for an option that no pass has, or that does not take the value.
    """
    return configured({step.id: step for step in discover()}, options)


def options_of(passes: Iterable[Pass]) -> dict[str, Any]:
    """The options of all passes, as plain JSON values: {"fuse.largest_constant": 67108864, …}."""
    return {f"{step.id}.{name}": value for step in passes for name, value in values(step).items()}


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
    for extension in plugins.load().of(plugins.PASSES):
        if extension.value is type(step):
            return None if extension.plugin is None else extension.plugin.name
    package = type(step).__module__.partition(".")[0]
    return None if package in _OUR_PACKAGES else package


def blame(step: Pass, component: str, what: str, plugin: str | None = None) -> AttnfuseError:
    """The error that says what the pass did wrong: a plugin's, or a defect of ours.

    `plugin` is the one whose extension of the pass did it, where that is known.
    """
    own = plugin_of(step)
    if (guilty := plugin or own) is None:
        return InternalError(f"pass {step.id} left component {component} broken: {what}")
    who = f"pass {step.id!r} of" if own == guilty else f"pass {step.id!r}, with"
    return PluginError(f"{who} the plugin {guilty!r} left component {component} broken: {what} {UPDATE}")


def run(model: Model, context: Context, passes: Sequence[Pass], between: Between | None = None) -> bool:
    """Run the passes over the model, each followed by `between`; tell whether anything changed.

    Raises InternalError, naming the pass, where one of ours leaves the graph inconsistent, PluginError where a plugin's
    does or fails.
    """
    changed = False
    with collector.paused():
        for step in passes:
            began = time.perf_counter()
            changed |= _run_one(step, model, context)
            if between is not None:
                between(Ran(step, model, time.perf_counter() - began))
            _check_promises(step, model, context)
    return changed


def _run_one(step: Pass, model: Model, context: Context) -> bool:
    try:
        changed = step.run(model, context)
        if not isinstance(changed, bool):
            raise blame(step, context.component, f"its run returned {changed!r}, not whether anything changed.")
        if plugin_of(step) is not None or plugins.load().plugins:
            model.index()  # what others wrote may have changed the message itself
    except SourceError as error:
        raise blame(step, context.component, str(error)) from error
    except (AttnfuseError, Terminated):
        raise
    except (Exception, SystemExit) as error:
        raiser = plugins.load().raiser(error)
        plugin = plugin_of(step) if raiser is None else raiser.name
        if plugin is None:
            raise
        raise blame(step, context.component, f"{type(error).__name__}: {error}.", plugin) from error
    return changed


def _check_promises(step: Pass, model: Model, context: Context) -> None:
    for promise in sorted(ensures(step), key=lambda p: p.name):
        message = _BROKEN[promise](model, context)
        if message is not None:
            raise blame(step, context.component, f"it ensures that {promise.value}, but {message}.")


def _undecided(model: Model, context: Context) -> str | None:
    """Each softmax that is left, or came back where a fused node was written out, belongs to a record."""
    left, recorded = len(nodes_of(model, lambda row: row.role is Role.SOFTMAX)), len(context.sites)
    return f"{left} softmax nodes are left, and {recorded} sites are on record" if left > recorded else None


def _not_inlined(model: Model, _: Context) -> str | None:
    functions = inlinable(model)
    called = (use.node for name in functions for use in model.uses(name))
    node = next((node for node in called if node is not None), None)
    return None if node is None else f"{short_name(node.name)} calls {node.proto.op_type.removeprefix('REF::')}"


_BROKEN: dict[Property, Callable[[Model, Context], str | None]] = {
    Property.DECIDED: _undecided,
    Property.INLINED: _not_inlined,
}
