"""The registry of legalisation rules, found by the operator they replace.

To legalise an operator, write one function in one file of this folder:

    @legalises("Outer")
    def outer(at: RuleContext) -> Result:
        column = at.build.reshape(at.input(0), (*at.type(0).dims, 1))
        return at.build.op("Mul", column, at.input(1))

It appends nodes through `at.build` and returns what takes the replaced node's place: the node it made last, or a value
that was there before; for a node of several results a node of as many, or a tuple of values, one for each (None for one
that nothing reads); None for a node that nothing reads but the order of effects. Where it cannot, it raises
MatchFailure (`cannot` makes one) with the reason: the node stays, and the report tells.

A rule is the short form of a rewrite with one root and one lowering, which finds out while it writes. It is asked for
the nodes that the target does not take: all of an operator it does not take, and of one that it takes within limits
(`attnfuse/targets/operators.py`) those beyond them. `SAY_NOTHING` are taken and asked for all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from attnfuse.api import (
    Builder,
    Candidate,
    Extension,
    OperatorRewrite,
    Result,
    Rewrite,
    RewriteContext,
    Unsupported,
    cannot,
    makes_tuple,
    unsupported_reason,
)
from attnfuse_passes.legalise import nodes

LegalisationRule: TypeAlias = "Callable[[RuleContext], Result]"

RULES: dict[str, LegalisationRule] = {}
SAY_NOTHING = frozenset({"Contiguous"})
"""A copy that the target takes, and that says no more than its argument."""
_PLUGGED: list[Rewrite[Any, Any]] = []
"""What plugins bring."""


def plugged() -> tuple[Rewrite[Any, Any], ...]:
    """The rewrites of plugins, for every runtime."""
    return tuple(_PLUGGED)


def extend(extensions: Iterable[Extension]) -> None:
    """Take these rewrites of plugins too, and no others that were taken before.

    Raises PluginError for what is no rewrite, and where one begins at an operator that another is for: two would write
    one node.
    """
    _PLUGGED.clear()
    owners = dict.fromkeys(RULES, "attnfuse")
    for extension in extensions:
        made = extension.made()
        if not isinstance(made, Rewrite):
            raise extension.refused("is no Rewrite of attnfuse.api")
        for op in sorted(made.roots):
            if op in owners:
                raise extension.refused(f"begins at {op}, for which {owners[op]} has a rewrite")
            owners[op] = extension.plugin.name if extension.plugin is not None else "attnfuse"
        _PLUGGED.append(made)


@dataclass(frozen=True, slots=True)
class RuleContext(RewriteContext):
    """The node a rule looks at, the model around it, and a builder of nodes to stand before it."""

    build: Builder

    def elements(self, position: int) -> tuple[str, ...]:
        """The tensors of a tuple input, whoever makes it. Raises MatchFailure where one is of an unknown type."""
        value = self.input(position)
        types = self.model.types_of(value)
        producer = self.model.producer(value)
        if producer is not None and makes_tuple(producer):
            for element in producer.inputs:
                self.tensor(element, f"an element of input {position}")
            return tuple(producer.inputs)
        if isinstance(types, tuple) and all(types):
            return tuple(nodes.element(self.build, value, i) for i in range(len(types)))
        literal = self.literal(position)
        if not isinstance(literal, tuple) or not all(isinstance(element, np.ndarray) for element in literal):
            raise cannot(f"input {position} is no tuple of tensors")
        return tuple(nodes.array(self.build, element) for element in literal if isinstance(element, np.ndarray))


def legalises(*ops: str) -> Callable[[LegalisationRule], LegalisationRule]:
    """Register a rule for operators of these names; each operator has one."""

    def register(rule: LegalisationRule) -> LegalisationRule:
        for op in ops:
            if op in RULES:
                raise ValueError(f"two rules legalise {op}")
            RULES[op] = rule
        return rule

    return register


@dataclass(frozen=True, slots=True)
class _Application:
    """The one lowering of a rule: the rule itself."""

    form: str
    rule: LegalisationRule

    def unsupported_reason(self, at: RewriteContext, candidate: Candidate, _: RewriteContext) -> Unsupported | None:
        """Nothing: a rule finds out while it writes, and what it wrote by then is dropped."""

    def write(self, build: Builder, at: RewriteContext, candidate: Candidate) -> Result:
        """What the rule writes. Raises MatchFailure where it cannot."""
        return self.rule(RuleContext(at.model, at.node, at.effects, at.context, at.replaced, build))


class RuleRewrite(OperatorRewrite[RewriteContext]):
    """One operator that the target does not take, written by its rule."""

    def __init__(self, op: str, rule: LegalisationRule) -> None:
        self.roots = frozenset((op,))
        self.lowerings = (_Application(op, rule),)

    def raise_(self, at: RewriteContext) -> RewriteContext | None:
        """The node itself, where the target does not take it as it is, or it says nothing."""
        is_taken = unsupported_reason(at.target, at.model, at.node) is None
        return None if is_taken and at.node.op not in SAY_NOTHING else at
