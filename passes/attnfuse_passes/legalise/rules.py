"""The registry of legalisation rules, found by the operator they replace.

To legalise an operator, write one function in one file of this folder:

    @legalises("Muls")
    def muls(at: At) -> str:
        return at.build.node("Mul", (at.input(0), at.scalar(1)), at.out)

It appends nodes through `at.build` and returns the value that takes the replaced node's place: the node it made last,
or a value that was there before. Where it cannot, it raises NotLegalError with the reason: the node stays, and the
report tells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from attnfuse.api import Model, Node, NotALiteralError, TensorType
from attnfuse_passes.attention.effects import Effects
from attnfuse_passes.emit.builder import Builder

Rule: TypeAlias = "Callable[[At], str]"

RULES: dict[str, Rule] = {}


class NotLegalError(Exception):
    """Why a node cannot be written with operators that Lite takes; completes `… stays: `."""


@dataclass(frozen=True, slots=True)
class At:
    """The node a rule looks at, the model around it, and a builder of nodes to stand before it."""

    model: Model
    node: Node
    effects: Effects
    build: Builder

    @property
    def out(self) -> TensorType:
        """Type of the node's one tensor. Raises NotLegalError where it has several, or an unknown type."""
        return self._tensor(self.node.name, "its output")

    def input(self, position: int) -> str:
        """Name of an input. Raises NotLegalError where the node has fewer."""
        if position >= len(self.node.inputs):
            raise NotLegalError(f"it has {len(self.node.inputs)} inputs")
        return self.node.inputs[position]

    def type(self, position: int) -> TensorType:
        """Type of an input that is a tensor. Raises NotLegalError for anything else."""
        return self._tensor(self.input(position), f"input {position}")

    def static(self, position: int) -> TensorType:
        """The same, of a shape that is known. Raises NotLegalError for one that is not."""
        kind = self.type(position)
        if not kind.is_static:
            raise NotLegalError(f"input {position} is {kind}, of a size not known before run time")
        return kind

    def literal(self, position: int) -> object:
        """A constant argument. Raises NotLegalError where it is computed."""
        try:
            return self.model.literal(self.input(position))
        except NotALiteralError:
            raise NotLegalError(f"its argument {position} is not a constant") from None

    def _tensor(self, value: str, what: str) -> TensorType:
        kind = self.model.type_of(value)
        if kind is None:
            raise NotLegalError(f"{what} is not a tensor of a known type")
        return kind


def legalises(*ops: str) -> Callable[[Rule], Rule]:
    """Register a rule for operators of these names; each operator has one."""

    def register(rule: Rule) -> Rule:
        for op in ops:
            if op in RULES:
                raise ValueError(f"two rules legalise {op}")
            RULES[op] = rule
        return rule

    return register
