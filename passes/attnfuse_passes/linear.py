"""Linear layers: a product with a weight, and with a bias where there is one, as MindSpore spells them.

Read where weights are edited in place of what they give (see `Builder.weight`): zeros behind the heads of a projection
are zeros in its weight and bias, and zeros behind those of what it takes are met by zeros in its weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from attnfuse.api import (
    Builder,
    Edit,
    Effects,
    Hands,
    Model,
    Node,
    NotEditableError,
    Pad,
    WeightEdits,
    factor_positions,
    hands,
    inputs_of,
    reads_memory,
)

_ADDS = frozenset({"Add", "AddExt", "BiasAdd"})
"""Those that add a bias behind a product. AddExt multiplies one of both before: zeros stay zeros."""


@dataclass(frozen=True, slots=True)
class Application:
    """A node, by the name of its value, and its inputs."""

    value: str
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Linear:
    """A product of its input `operand` and the weight `weight`, [in, out] or, where it is `turned`, [out, in].

    `turning` is a Transpose of the weight before the product. `adding` adds a bias behind it, where it has none itself.
    `biases` are weights, each with its last axis, which is as long as the result's.
    """

    product: Application
    operand: int
    weight: str
    turned: bool
    turning: Application | None = None
    biases: tuple[tuple[str, int], ...] = ()
    adding: Application | None = None

    @property
    def value(self) -> str:
        """What it gives."""
        return (self.product if self.adding is None else self.adding).value

    @property
    def values(self) -> frozenset[str]:
        """What it makes on the way, and the weights as they are read."""
        weights = (self.weight, *(bias for bias, _ in self.biases))
        applied = (part for part in (self.product, self.turning, self.adding) if part is not None)
        return frozenset((*weights, *(part.value for part in applied)))


def read_linear(model: Model, value: str, effects: Effects) -> Linear | None:
    """The linear layer of the top graph that makes the value, with its bias; None where there is none whose weights may
    be edited: they are what a file holds, as it holds them."""
    node = model.producer(value)
    if node is None or node.graph is not model.graphs[0] or value in effects.mutated:
        return None
    return _biased(model, node, effects) if node.op in _ADDS else read_product(model, node, effects)


def read_product(model: Model, node: Node, effects: Effects) -> Linear | None:
    """The same of the product alone."""
    positions = factor_positions(node)
    if positions is None or node.graph is not model.graphs[0] or node.name in effects.mutated:
        return None
    left, right = positions
    turning = _turning(model, node.inputs[right])
    read = node.inputs[right] if turning is None else turning.inputs[0]
    weight = _weight_dims(model, read, effects)
    names = [parameter.name for parameter in inputs_of(node.op)][: len(node.inputs)]
    flags = [_flag(model, node, names, name) for name in ("transpose_a", "transpose_b")]
    if weight is None or len(weight) != 2 or flags[0] is not False or flags[1] is None:
        return None
    # What an operator calls its weight, as Dense does, is [out, in].
    turned = (flags[1] or names[right] == "weight") != (turning is not None)
    biases = list[tuple[str, int]]()
    for position, name in enumerate(node.inputs):
        if names[position] != "bias" and position >= left:
            continue
        if model.is_literal(name) and model.literal(name) is None:
            continue
        dims = _weight_dims(model, name, effects)
        if dims is None or dims[-1:] != (weight[0] if turned else weight[1],):
            return None
        biases.append((name, len(dims) - 1))
    return Linear(Application(node.name, tuple(node.inputs)), left, read, turned, turning, tuple(biases))


def _turning(model: Model, value: str) -> Application | None:
    """The Transpose that makes a matrix of another, where that is what makes it."""
    node = model.producer(value)
    if node is None or hands(node) is not Hands.MOVED or len(node.inputs) != 2 or not model.is_literal(node.inputs[1]):
        return None
    order = model.literal(node.inputs[1])
    is_turned = order in ((1, 0), (-1, 0), (1, -2), (-1, -2))
    return Application(node.name, tuple(node.inputs)) if is_turned else None


def _biased(model: Model, node: Node, effects: Effects) -> Linear | None:
    """A product to which a weight as long as its last axis is added, and which nothing else reads."""
    tensor_type = model.type_of(node.name)
    for bias, other in (node.inputs[1::-1], node.inputs[:2]):
        made, dims = model.producer(other), _weight_dims(model, bias, effects)
        if made is None or dims is None or tensor_type is None or model.type_of(other) != tensor_type:
            continue
        linear = read_product(model, made, effects)
        is_last = node.op != "BiasAdd" or tensor_type.rank == 2
        if linear is None or linear.biases or not is_last or dims[-1:] != tensor_type.dims[-1:]:
            continue
        if len(model.uses(other)) != 1:
            continue
        adding = Application(node.name, tuple(node.inputs))
        return replace(linear, biases=((bias, len(dims) - 1),), adding=adding)
    return None


def _flag(model: Model, node: Node, names: list[str], name: str) -> bool | None:
    """A constant truth value, False where the operator has no such argument; None where it is no constant."""
    if name not in names:
        return False
    value = node.inputs[names.index(name)]
    literal = model.literal(value) if model.is_literal(value) else None
    return literal if isinstance(literal, bool) else None


def _weight_dims(model: Model, value: str, effects: Effects) -> tuple[int, ...] | None:
    """The shape of a weight that nothing writes to, read as it is; None for any other value."""
    load = model.producer(value)
    if load is not None and not reads_memory(load):
        return None
    parameter, tensor_type = value if load is None else load.inputs[0], model.type_of(value)
    if not model.is_parameter(parameter) or tensor_type is None or parameter in effects.written:
        return None
    return None if {value, parameter} & effects.mutated else tensor_type.dims


@dataclass(frozen=True, slots=True)
class PaddedLinear:
    """A linear layer that gives `count` zeros behind each of `groups` parts of its last axis.

    With `of_input` it takes them there, and is its product alone.
    """

    linear: Linear
    groups: int
    count: int
    of_input: bool = False

    @property
    def value(self) -> str:
        """What stands in the graph for what is written."""
        return self.linear.product.value if self.of_input else self.linear.value

    def is_editable(self, model: Model) -> bool:
        """Whether all its weights take the zeros."""
        edit = Edit(model)
        try:
            for value, edits in self._edits():
                load = model.producer(value)
                edit.weight(value if load is None else load.inputs[0], edits)
        except NotEditableError:
            return False
        return True

    def _edits(self) -> Iterator[tuple[str, WeightEdits]]:
        """Each weight, and what is done to it."""
        last = 0 if self.linear.turned else 1
        yield self.linear.weight, self._pad(1 - last if self.of_input else last)
        for bias, axis in () if self.of_input else self.linear.biases:
            yield bias, self._pad(axis)

    def _pad(self, axis: int) -> WeightEdits:
        return WeightEdits(pads=(Pad(axis, self.groups, self.count),))

    def write(self, b: Builder, operand: str | None = None) -> str:
        """The layer with the zeros in its weights, of its own operand or of another."""
        linear, edits = self.linear, dict(self._edits())

        def edited(application: Application, instead: dict[str, str]) -> str:
            inputs = [
                instead.get(name) or (b.weight(name, edits[name]) if name in edits else name)
                for name in application.inputs
            ]
            return b.again(application.value, inputs)

        instead = {} if operand is None else {linear.product.inputs[linear.operand]: operand}
        if linear.turning is not None:
            instead[linear.turning.value] = edited(linear.turning, {})
        value = edited(linear.product, instead)
        if linear.adding is None or self.of_input:
            return value
        return edited(linear.adding, {linear.product.value: value})
