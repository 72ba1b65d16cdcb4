"""Numbers of rows: what a reduction makes of each row of a tensor, kept so that it broadcasts over the row again.

No identities of their own: what a softmax written by hand is read through. A row runs along the axes reduced.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from attnfuse.api import Model, Node, NotALiteralError, takes_element
from attnfuse_passes.attention.axes import UNKNOWN, Axis, Space, View, keys
from attnfuse_passes.attention.identities.layout import integers
from attnfuse_passes.attention.identities.registry import MOVES, SitePart, read_back
from attnfuse_passes.attention.identities.steps import Convert, Layout, Same, Step
from attnfuse_passes.attention.uniform import uniform

Kind: TypeAlias = Literal["max", "sum", "log_sum"]
_KINDS: dict[str, Kind] = {
    "Max": "max",
    "ReduceMax": "max",
    "ReduceSum": "sum",
    "SumExt": "sum",
    "LogSumExp": "log_sum",
}
_OF_AXIS = {"MaxDim": 0, "ArgMaxWithValue": 1}
"""Operators that give the largest number of one axis, and which of their results it is."""

LOGARITHMS = {"Log": 1.0, "LogExt": 1.0, "Log2": math.log(2.0)}
"""The logarithm of each one's base."""

_MAX_STEPS = 8


@dataclass(frozen=True, slots=True)
class Reduction:
    """`kind` of `of` over `axes`, counted from the start; `keeps` them as axes of one element. `makers`: its nodes."""

    kind: Kind
    of: str
    axes: tuple[int, ...]
    keeps: bool
    makers: tuple[Node, ...]


def reduction(model: Model, value: str) -> Reduction | None:
    """The reduction that makes a value, where its arguments are literals."""
    node = model.producer(value)
    if node is None:
        return None
    nodes: tuple[Node, ...] = (node,)
    if takes_element(node):
        index, node = _literal(model, node.inputs[1]), model.producer(node.inputs[0])
        if node is None or node.op not in _OF_AXIS or index != _OF_AXIS[node.op]:
            return None
        nodes = (*nodes, node)
        kind: Kind = "max"
    elif node.op in _KINDS:
        kind = _KINDS[node.op]
    elif node.op == "LinalgVectorNorm":
        return _norm(model, node)
    else:
        return None
    of = node.inputs[0]
    tensor_type = model.type_of(of)
    if tensor_type is None or not tensor_type.dtype.is_float:
        return None
    axes = _axes(model, node, tensor_type.rank)
    keeps = node.op != "Max" and len(node.inputs) > 2 and _literal(model, node.inputs[2])
    return Reduction(kind, of, axes, keeps, nodes) if axes is not None and isinstance(keeps, bool) else None


_NOT_NEGATIVE = ("Exp", "Exp2")


def _norm(model: Model, node: Node) -> Reduction | None:
    """Σ|x|, where x is an exponential, and so |x| = x."""
    of, order, _, keeps, dtype = node.inputs
    made, tensor_type = model.producer(same_numbers(model, of)), model.type_of(of)
    if made is None or made.op not in _NOT_NEGATIVE or tensor_type is None or _literal(model, order) != 1.0:
        return None
    axes, is_kept = integers(model, node.inputs[2]), _literal(model, keeps)
    if not axes or not isinstance(is_kept, bool) or _literal(model, dtype) is not None:
        return None
    rank = tensor_type.rank
    if any(not -rank <= axis < rank for axis in axes):
        return None
    return Reduction("sum", of, tuple(sorted({axis % rank for axis in axes})), is_kept, (node,))


def _axes(model: Model, node: Node, rank: int) -> tuple[int, ...] | None:
    """The axes reduced; none, or None, are all of them, but for a ReduceSum that is told to skip."""
    if node.op == "Max":
        return tuple(range(rank))
    literal = _literal(model, node.inputs[1]) if len(node.inputs) > 1 else ()
    given = () if literal is None else integers(model, node.inputs[1])
    if given is None or any(not -rank <= axis < rank for axis in given):
        return None
    if not given and node.op == "ReduceSum" and (len(node.inputs) < 4 or _literal(model, node.inputs[3]) is not False):
        return None
    return tuple(sorted({axis % rank for axis in given})) or tuple(range(rank))


def _literal(model: Model, value: str) -> object:
    try:
        return model.literal(value)
    except NotALiteralError:
        return NotImplemented


@dataclass(frozen=True, slots=True)
class RowValue:
    """A value that broadcasts, beside a tensor of `of`'s shape, one number to each row; as a reduction gives it.

    `bounded`: limits, or numbers put in place of infinite ones, lie between. `zero_for_infinite`: nothing but 0 put in
    place of an infinite number does. `epsilon` is added to it, and it is at least `floor`. `log` is the logarithm of
    the base to which its logarithm is taken; the largest number `plus` of each row is added to that.
    """

    reduction: Reduction
    makers: tuple[Node, ...]
    bounded: bool = False
    zero_for_infinite: bool = False
    epsilon: float = 0.0
    floor: float = 0.0
    log: float | None = None
    plus: RowValue | None = None

    @property
    def plain(self) -> bool:
        """Whether it is just what the reduction gives."""
        bare = not (self.bounded or self.zero_for_infinite or self.epsilon or self.floor)
        return bare and self.log is None and self.plus is None


def row_value(model: Model, value: str, behind: tuple[Step, ...] = ()) -> RowValue | None:
    """Read a value back to the reduction of rows that it is; None where it is none, or does not broadcast over them.

    `behind` are layouts that follow the value, last first, before it meets the tensor.
    """
    nodes: list[Node] = []
    layouts: list[Step] = list(behind)
    found = RowValue(Reduction("max", value, (), False, ()), ())
    at = value
    for _ in range(_MAX_STEPS):
        made = reduction(model, at)
        if made is not None:
            if not _broadcasts(model, made, layouts[::-1]):
                return None
            return replace(found, reduction=made, makers=(*nodes, *made.makers))
        node = model.producer(at)
        if node is None:
            return None
        step = read_back(model, at, SitePart.VALUE, MOVES)
        if step is not None and isinstance(step.effect, Same | Convert | Layout):
            layouts += [step] if isinstance(step.effect, Layout) else []
            nodes.append(node)
            at = step.input
            continue
        changed = _changed(model, node, found, tuple(layouts))
        if changed is None:
            return None
        found, at, others = changed
        nodes += [node, *others]
    return None


_Changed: TypeAlias = tuple[RowValue, str, tuple[Node, ...]]
"""What is found by now, the value to go on at, and nodes beside the one read."""


def _changed(model: Model, node: Node, found: RowValue, layouts: tuple[Step, ...]) -> _Changed | None:
    """What a node does to the number of a row beside handing it on."""
    inputs = node.inputs
    if node.op in ("Add", "AddExt"):
        return _added(model, node, found, layouts) if _alpha_is_one(model, node) else None
    if node.op in LOGARITHMS and found.log is None:
        return replace(found, log=LOGARITHMS[node.op]), inputs[0], ()
    if node.op in ("Maximum", "ClampScalar", "ClampTensor", "Minimum"):
        return _limited(model, node, found)
    if node.op in ("Select", "Where", "MaskedFill") and len(inputs) >= 3:
        at, condition, other = (
            (inputs[0], inputs[1], inputs[2]) if node.op == "MaskedFill" else (inputs[2], *inputs[:2])
        )
        test, number = model.producer(condition), uniform(model, other)
        tested = test is not None and test.op in ("IsInf", "Equal") and test.inputs[0] == at
        if test is None or not tested or number is None or not _keeps(model, node, at):
            return None
        if test.op == "Equal" and uniform(model, test.inputs[1]) != float("-inf"):
            return None
        maker = model.producer(other)
        others = (test,) if maker is None or model.is_literal(other) else (test, maker)
        return replace(found, bounded=found.bounded or number != 0.0, zero_for_infinite=True), at, others
    return None


def _added(model: Model, node: Node, found: RowValue, layouts: tuple[Step, ...]) -> _Changed | None:
    """A constant, or the row's largest number."""
    first, second = node.inputs[:2]
    for at, other in ((first, second), (second, first)):
        if not _keeps(model, node, at):
            continue
        number = uniform(model, other)
        if number is not None and found.floor == 0.0:
            return replace(found, epsilon=found.epsilon + number), at, ()
        row = row_value(model, other, layouts) if number is None and found.plus is None else None
        if row is not None and row.plain and row.reduction.kind == "max":
            return replace(found, plus=row), at, ()
    return None


def _limited(model: Model, node: Node, found: RowValue) -> _Changed | None:
    """max(number, x), or a clamp that has a least number only; any other limit is one."""
    inputs = node.inputs
    sides = (inputs[:2], inputs[1::-1]) if node.op in ("Maximum", "Minimum") else ((inputs[0], inputs[1]),)
    for at, other in sides:
        low = uniform(model, other)
        if not _keeps(model, node, at):
            continue
        is_floor = node.op == "Maximum" or (node.op != "Minimum" and len(inputs) > 2 and _is_none(model, inputs[2]))
        if is_floor and low is not None:
            return replace(found, bounded=True, floor=max(found.floor, low)), at, ()
        others = inputs[1:] if node.op not in ("Maximum", "Minimum") else [other]
        if all(_is_none(model, name) or uniform(model, name) is not None for name in others):
            return replace(found, bounded=True, floor=float("inf")), at, ()
    return None


def _is_none(model: Model, value: str) -> bool:
    return _literal(model, value) is None


def _alpha_is_one(model: Model, node: Node) -> bool:
    return node.op == "Add" or (len(node.inputs) > 2 and uniform(model, node.inputs[2]) == 1.0)


def _keeps(model: Model, node: Node, value: str) -> bool:
    tensor_type = model.type_of(value)
    return tensor_type is not None and tensor_type == model.type_of(node.name)


def _broadcasts(model: Model, made: Reduction, layouts: list[Step]) -> bool:
    """Whether the number of each row meets all of its row, and nothing else, beside a tensor of the shape reduced.

    The layouts are applied in the algebra of `axes.py`: what is left of an axis that was reduced has none of its atoms,
    and each other axis stands where it stood.
    """
    tensor_type = model.type_of(made.of)
    if tensor_type is None:
        return False
    space = Space()
    space.identity("of", tensor_type.dims)
    whole = space["of"].axes
    left: list[Axis] = [() if i in made.axes else axis for i, axis in enumerate(whole)]
    if not made.keeps:
        left = [axis for i, axis in enumerate(left) if i not in made.axes]
    space.put("row", View(tuple(atom for axis in left for atom in axis), tuple(left)))
    for step in layouts:
        if not isinstance(step.effect, Layout) or not step.effect.apply(space, "row"):
            return False
    whole, own = space["of"].axes, space["row"].axes
    if len(own) > len(whole):
        return False
    own = ((),) * (len(whole) - len(own)) + own
    known = set(keys([atom for axis in whole for atom in axis]))
    for i, (axis, of) in enumerate(zip(own, whole, strict=True)):
        if i in made.axes and any(atom.key in known or atom.size == UNKNOWN for atom in axis):
            return False
        if i not in made.axes and keys(axis) != keys(of):
            return False
    return True


def same_numbers(model: Model, value: str) -> str:
    """The value behind casts between float types and nodes that hand it on."""
    for _ in range(_MAX_STEPS):
        step = read_back(model, value, SitePart.RESULT, MOVES)
        if step is None or not isinstance(step.effect, Same | Convert):
            break
        value = step.input
    return value
