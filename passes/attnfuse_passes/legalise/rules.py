"""The registry of legalisation rules, found by the operator they replace.

To legalise an operator, write one function in one file of this folder:

    @legalises("Outer")
    def outer(at: At) -> Result:
        column = at.build.reshape(at.input(0), (*at.type(0).dims, 1))
        return at.build.op("Mul", column, at.input(1))

It appends nodes through `at.build` and returns what takes the replaced node's place: the node it made last, or a value
that was there before; for a node of several results a node of as many, or a tuple of values, one for each (None for one
that nothing reads); None for a node that nothing reads but the order of effects. Where it cannot, it raises
MatchFailure (`cannot` makes one) with the reason: the node stays, and the report tells.

A rule is asked for the nodes that the target objects to: all of an operator it does not take, and of one that it takes
within limits (`attnfuse/targets/operators.py`) those beyond them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from attnfuse.api import (
    AttributeProto,
    Builder,
    Effects,
    Extension,
    MatchFailure,
    Model,
    Node,
    NotALiteralError,
    TensorType,
    argument_name,
    makes_tuple,
)
from attnfuse_passes.legalise import nodes

Result: TypeAlias = "str | tuple[str | None, ...] | None"
Rule: TypeAlias = "Callable[[At], Result]"

RULES: dict[str, Rule] = {}
_PLUGGED: dict[str, Rule] = {}
"""Those of plugins."""


def rule_of(op: str) -> Rule | None:
    """The rule that writes the operator with others, where there is one."""
    return RULES.get(op) or _PLUGGED.get(op)


def extend(extensions: Iterable[Extension]) -> None:
    """Legalise by these rules of plugins too, each for the operator it is named after, and by no others of before.

    Raises PluginError for what is no rule, and for an operator that has one already.
    """
    _PLUGGED.clear()
    for extension in extensions:
        if not callable(extension.value):
            raise extension.refused("is no function")
        if extension.name in RULES:
            raise extension.refused("is of an operator that attnfuse legalises itself")
        _PLUGGED[extension.name] = extension.value


def cannot(reason: str) -> MatchFailure:
    """The failure of a node that cannot be written with operators that Lite takes; `reason` completes `… stays: `."""
    return MatchFailure("operator.unsupported", "", "", reason)


@dataclass(frozen=True, slots=True)
class At:
    """The node a rule looks at, the model around it, and a builder of nodes to stand before it."""

    model: Model
    node: Node
    effects: Effects
    build: Builder

    @property
    def out(self) -> TensorType:
        """Type of the node's one tensor. Raises MatchFailure where it has several, or an unknown type."""
        return self._tensor(self.node.name, "its output")

    @property
    def outs(self) -> tuple[TensorType, ...]:
        """Types of the node's several tensors. Raises MatchFailure where one is unknown."""
        kinds = self.model.types_of(self.node.name)
        known = tuple(kind for kind in kinds if kind is not None) if isinstance(kinds, tuple) else ()
        if not isinstance(kinds, tuple) or len(known) != len(kinds):
            raise cannot("its outputs are not tensors of known types")
        return known

    def input(self, position: int) -> str:
        """Name of an input. Raises MatchFailure where the node has fewer."""
        if position >= len(self.node.inputs):
            raise cannot(f"it has {len(self.node.inputs)} inputs")
        return self.node.inputs[position]

    def type(self, position: int) -> TensorType:
        """Type of an input that is a tensor. Raises MatchFailure for anything else."""
        return self._tensor(self.input(position), f"input {position}")

    def static(self, position: int) -> TensorType:
        """The same, of a shape that is known. Raises MatchFailure for one that is not."""
        kind = self.type(position)
        if not kind.is_static:
            raise cannot(f"input {position} is {kind}, of a size not known before run time")
        return kind

    def literal(self, position: int) -> object:
        """A constant argument. Raises MatchFailure where it is computed."""
        try:
            return self.model.literal(self.input(position))
        except NotALiteralError:
            raise cannot(f"its argument {argument_name(self.node, position)} is not a constant") from None

    def optional(self, position: int) -> str | None:
        """Name of an input, or None where None is given for it."""
        value = self.input(position)
        return None if self.model.is_literal(value) and self.model.literal(value) is None else value

    def attribute(self, name: str) -> str | bool | int | None:
        """A plain attribute of the node's primitive, where operators that are no primitive functions keep arguments."""
        for found in self.model.primitives[self.node.proto.op_type].attribute:
            if found.name == name:
                plain = bool(found.i) if found.type == AttributeProto.BOOL else found.i
                return found.s.decode("utf-8", "replace") if found.type == AttributeProto.STRING else plain
        return None

    def attributes(self, name: str) -> tuple[int, ...]:
        """Whole numbers that an attribute holds. Raises MatchFailure where it has none."""
        for found in self.model.primitives[self.node.proto.op_type].attribute:
            if found.name == name and found.values:
                return tuple(number for value in found.values for number in value.ints)
        raise cannot(f"its attribute {name} is missing")

    def integer(self, position: int) -> int:
        """A constant whole number. Raises MatchFailure for anything else."""
        literal = self.literal(position)
        if isinstance(literal, bool) or not isinstance(literal, int):
            raise cannot(f"its argument {argument_name(self.node, position)} is {literal!r}, no whole number")
        return literal

    def integers(self, position: int) -> tuple[int, ...]:
        """Constant whole numbers: one alone, a tuple or a tensor of them. Raises MatchFailure for anything else."""
        literal = self.literal(position)
        if isinstance(literal, np.ndarray) and literal.dtype.kind in "iu":
            return tuple(int(v) for v in literal.reshape(-1))
        if isinstance(literal, tuple) and all(isinstance(v, int) for v in literal):
            return tuple(v for v in literal if isinstance(v, int))
        return (self.integer(position),)

    def number(self, position: int) -> bool | int | float:
        """A constant number: a scalar, or a tensor of one element. Raises MatchFailure for anything else."""
        literal = self.literal(position)
        if isinstance(literal, np.ndarray) and literal.size == 1:
            literal = (
                literal.reshape(()).astype(np.float64 if literal.dtype.kind not in "biu" else literal.dtype).item()
            )
        if not isinstance(literal, bool | int | float):
            raise cannot(f"its argument {argument_name(self.node, position)} is {literal!r}, no number")
        return literal

    def flag(self, position: int) -> bool:
        """A constant truth value. Raises MatchFailure for anything else."""
        literal = self.literal(position)
        if not isinstance(literal, bool):
            raise cannot(f"its argument {argument_name(self.node, position)} is {literal!r}, no truth value")
        return literal

    def axis(self, position: int, rank: int) -> int:
        """A constant axis of a tensor of that rank, counted from the front. Raises MatchFailure for anything else."""
        return _from_front(self.integer(position), rank)

    def axes(self, position: int, rank: int) -> tuple[int, ...]:
        """Constant axes, counted from the front, in order; None and () are all of them."""
        given = () if self.literal(position) is None else self.integers(position)
        return tuple(sorted(_from_front(a, rank) for a in given)) or tuple(range(rank))

    def elements(self, position: int) -> tuple[str, ...]:
        """The tensors of a tuple input, whoever makes it. Raises MatchFailure where one is of an unknown type."""
        value = self.input(position)
        kinds = self.model.types_of(value)
        producer = self.model.producer(value)
        if producer is not None and makes_tuple(producer):
            for element in producer.inputs:
                self._tensor(element, f"an element of input {position}")
            return tuple(producer.inputs)
        if isinstance(kinds, tuple) and all(kinds):
            return tuple(nodes.element(self.build, value, i) for i in range(len(kinds)))
        literal = self.literal(position)
        if not isinstance(literal, tuple) or not all(isinstance(element, np.ndarray) for element in literal):
            raise cannot(f"input {position} is no tuple of tensors")
        return tuple(nodes.array(self.build, element) for element in literal if isinstance(element, np.ndarray))

    def reads_item(self, reader: Node, index: int) -> bool:
        """Whether a TupleGetItem reads that element, by a constant."""
        try:
            return self.model.literal(reader.inputs[1]) == index
        except NotALiteralError:
            return False

    def unshared(self) -> None:
        """Raise MatchFailure where something changes the node's first input or its result in place.

        Then a name more for the same memory, and a copy of it, are not the same thing.
        """
        if {self.node.name, self.input(0)} & self.effects.mutated:
            raise cannot("what it reads or gives is changed in place")

    def _tensor(self, value: str, what: str) -> TensorType:
        kind = self.model.type_of(value)
        if kind is None:
            raise cannot(f"{what} is not a tensor of a known type")
        return kind


def _from_front(axis: int, rank: int) -> int:
    if not -rank <= axis < max(rank, 1):
        raise cannot(f"axis {axis} is none of {rank}")
    return axis % max(rank, 1)


def legalises(*ops: str) -> Callable[[Rule], Rule]:
    """Register a rule for operators of these names; each operator has one."""

    def register(rule: Rule) -> Rule:
        for op in ops:
            if op in RULES:
                raise ValueError(f"two rules legalise {op}")
            RULES[op] = rule
        return rule

    return register
