"""The layouts around an attention: the values its operands are made from, and those made of its result.

Whatever only moves and regroups axes need not be done where the fused node takes and gives another layout.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from attnfuse.api import Model
from attnfuse_passes.attention.axes import Axis, Space, View, keys
from attnfuse_passes.attention.identities.product import MAX_CHAIN
from attnfuse_passes.attention.identities.registry import SitePart, read_back
from attnfuse_passes.attention.identities.steps import Convert, Effect, Layout, Same, Step
from attnfuse_passes.attention.normal_form import ResultView, flat


def read_behind(model: Model, space: Space, result: ResultView, mutated: Collection[str]) -> tuple[ResultView, ...]:
    """What is made of a result by moving and regrouping its axes, and by casts, as long as nothing else reads it.

    The axes of the result are in the space. A layout that would split one of their atoms, or repeat the result, is
    where reading ends.
    """
    found: list[ResultView] = []
    last, graph = result, model.producer(result.value)
    while len(found) < MAX_CHAIN:
        uses = model.uses(last.value)
        node = uses[0].node if len(uses) == 1 else None
        step = None if node is None else read_back(model, node.name, SitePart.VALUE)
        if node is None or step is None or step.input != last.value or {node.name, last.value} & set(mutated):
            break
        axes = _after(space, last.axes, step.effect)
        if axes is None or graph is None or node.graph.name != graph.graph.name:
            break
        dtypes = (*last.dtypes, step.effect.target) if isinstance(step.effect, Convert) else last.dtypes
        last = ResultView(node.name, axes, dtypes)
        found.append(last)
    return tuple(found)


def _after(space: Space, axes: tuple[Axis, ...], effect: Effect) -> tuple[Axis, ...] | None:
    """The axes behind an effect; None where they are not the same atoms."""
    if not isinstance(effect, Layout):
        return axes
    trial = space.branch()
    trial.put("behind", View((), axes))
    if not effect.apply(trial, "behind"):
        return None
    after = trial["behind"].axes
    return after if sorted(keys(flat(after))) == sorted(keys(flat(axes))) else None


def read_operand(
    model: Model, space: Space, name: str, value: str, axes: str, mutated: Collection[str]
) -> list[tuple[str, str]]:
    """The values that an operand of a fused node is made from by moving and regrouping axes, and the operand, last.

    Each with the name of its view in the space. `axes` is the name of the view of the operand's own axes, with which
    those read are paired: an atom of theirs may be split.
    """
    steps: list[Step] = []
    at = value
    while len(steps) < MAX_CHAIN:
        step = read_back(model, at, SitePart.VALUE)
        if step is None or not isinstance(step.effect, Layout | Same) or {at, step.input} & set(mutated):
            break
        steps.append(step)
        at = step.input
    while steps and not _replay(model, space.branch(), name, axes, steps):
        steps.pop()
    found = _replay(model, space, name, axes, steps) if steps else []
    return [*found, (value, axes)]


def _replay(model: Model, space: Space, name: str, axes: str, steps: list[Step]) -> list[tuple[str, str]]:
    """The values before each step, from the source of them all on; none where a layout cannot be expressed."""
    tensor_type = model.type_of(steps[-1].input)
    if tensor_type is None:
        return []
    space.identity(name, tensor_type.dims)
    found: list[tuple[str, str]] = []
    for step in reversed(steps):
        kept = f"{name}/{len(found)}"
        space.put(kept, space[name])
        found.append((step.input, kept))
        if isinstance(step.effect, Layout) and not step.effect.apply(space, name):
            return []
    rank = len(space[axes].axes)
    if space[name].repeated or len(space[name].axes) != rank:
        return []
    pairs = (space.pair(axes, axis, name, axis, broadcast=False) for axis in range(rank))
    return found if all(pairs) else []


def shared_values(model: Model, values: Iterable[str], inside: Collection[str]) -> frozenset[str]:
    """Those of the values that are made whatever becomes of the nodes that are inside: others read them too."""
    return frozenset(
        value for value in values if any(use.node is None or use.node.name not in inside for use in model.uses(value))
    )
