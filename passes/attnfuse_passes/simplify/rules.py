"""The registry of rules that make a graph simpler, found by the operator they look at.

    @simplifies("Transpose")
    def still(at: RewriteContext) -> Simpler | None:
        order = at.integers(1)
        return Simpler("a permutation that moves nothing", at.input(0)) if order == tuple(sorted(order)) else None

A rule says what takes the node's place: a value that is there already, and the steps that make the node's of it. None,
and a MatchFailure, is that it has nothing to say. Of several rules for an operator the first that says something is
taken. A rule looks at one node and what stands before it; it need not look at memory that is changed in place, at the
graph's outputs or at types, which `Simplification` does for all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from attnfuse.api import (
    Builder,
    Candidate,
    Decision,
    MatchFailure,
    Model,
    Node,
    NotWritableError,
    Result,
    Rewrite,
    RewriteContext,
    RewriteOutcome,
    Simplified,
    Unsupported,
    aliased,
    reads_memory,
    short_name,
)


@dataclass(frozen=True, slots=True)
class Regroup:
    """Another shape of the same numbers in the same order."""

    dims: tuple[int, ...]

    def write(self, build: Builder, value: str) -> str:
        return build.reshape(value, self.dims)


@dataclass(frozen=True, slots=True)
class Permute:
    """Other axes: axis i of the result is axis `order[i]`."""

    order: tuple[int, ...]

    def write(self, build: Builder, value: str) -> str:
        return build.transpose(value, self.order)


@dataclass(frozen=True, slots=True)
class Again:
    """What `node` does to its first input, done to another value."""

    node: Node

    def write(self, build: Builder, value: str) -> str:
        return build.again(self.node.name, (value, *self.node.inputs[1:]))


class Step(Protocol):
    """One step."""

    def write(self, build: Builder, value: str) -> str:
        """Append the nodes; what they make of the value."""


@dataclass(frozen=True, slots=True)
class Simpler:
    """What stands for a node, and why: the steps, in order, applied to a value that is there already.

    `through` are the values between that value and the node, whose memory nobody may change either. `error` is how far
    a number is off because of it, at most: 0 where the numbers stay, bit by bit.
    """

    why: str
    value: str
    steps: tuple[Step, ...] = ()
    through: tuple[str, ...] = ()
    error: float = 0.0


_NO_WORD = re.compile(r"\W+")
Rule: TypeAlias = "Callable[[RewriteContext], Simpler | None]"

RULES: dict[str, list[Rule]] = {}


def simplifies(*ops: str) -> Callable[[Rule], Rule]:
    """Register a rule for operators of these names, behind those that each has already."""

    def register(rule: Rule) -> Rule:
        for op in ops:
            RULES.setdefault(op, []).append(rule)
        return rule

    return register


@dataclass(frozen=True, slots=True)
class _Steps:
    """Writes the steps."""

    form: str = "simpler"

    def unsupported_reason(self, form: Simpler, candidate: Candidate, at: RewriteContext) -> Unsupported | None:
        """Nothing: what may not be written is not raised."""

    def write(self, build: Builder, form: Simpler, candidate: Candidate) -> Result:
        value = form.value
        for step in form.steps:
            value = step.write(build, value)
        return value


class Simplification(Rewrite[Simpler, Candidate]):
    """Asks the rules at each node; what one says is told as simplified."""

    roots = frozenset[str]()
    lowerings: Sequence[_Steps] = (_Steps(),)

    def __init__(self) -> None:
        self.roots = frozenset(RULES)

    def raise_(self, at: RewriteContext) -> Simpler | None:
        """What stands for the node; None where it must stay."""
        for rule in RULES[at.node.op]:
            try:
                found = rule(at)
            except MatchFailure:
                continue
            if found is not None and _may_stand(at, found):
                return found
        return None

    def decide(self, form: Simpler, at: RewriteContext) -> Decision[Candidate]:
        return Decision(chosen=Candidate(form="simpler", anchor=at.node.name))

    def name(self, form: Simpler, at: RewriteContext) -> str:
        """The replaced node's own name."""
        return site_name(at.node)

    def failed(
        self, form: Simpler | None, failure: MatchFailure | NotWritableError, at: RewriteContext
    ) -> Decision[Candidate]:
        """Nothing is decided: the node stays as it is, and that is no fault of the graph."""
        return Decision()

    def record(self, outcome: RewriteOutcome[Simpler, Candidate], at: RewriteContext) -> None:
        if outcome.decision.chosen is not None and outcome.form is not None:
            at.context.simplified.append(Simplified(outcome.node.op, outcome.form.why, outcome.form.error))


def site_name(node: Node) -> str:
    """What the nodes written for a node are named after."""
    return _NO_WORD.sub("_", short_name(node.name)).removeprefix("attnfuse_")


def _may_stand(at: RewriteContext, found: Simpler) -> bool:
    """Whether the value may stand for the node: nobody changes the memory of either, and no output needs a node.

    An output is called after the node that makes it, and a graph that hands on an input is none that Lite takes.
    """
    if not found.steps and any(use.node is None for use in at.model.uses(at.node.name)):
        return False
    return all(is_fixed(at, value) for value in (at.node.name, *found.through, found.value))


def is_fixed(at: RewriteContext, value: str) -> bool:
    """Whether the value is the same whenever it is read: nothing changes its memory, under whatever name."""
    known = at.model.remembered(_known)
    pending, walked, is_chain = [value], list[str](), True
    fixed = True
    while pending and fixed:
        name = pending.pop()
        if name in known:
            fixed = known[name]
            continue
        walked.append(name)
        fixed = at.effects.is_never_mutated(at.model, name)
        node = at.model.producer(name)
        onward = [] if node is None else node.inputs[:1] if reads_memory(node) else aliased(node)
        is_chain = is_chain and len(onward) <= 1
        pending += onward
    known.update(dict.fromkeys(walked if fixed or is_chain else [value], fixed))
    return fixed


def _known(model: Model) -> dict[str, bool]:
    """Which values are fixed, as far as it was asked: long chains of names are gone through once."""
    return {}
