"""How something in a graph is rewritten: raised to a form, decided upon, lowered. For attention, composites and rules.

A rewrite looks at the nodes of its `roots`. It *raises* what stands there to a form, a frozen value that names values
of the graph; it *decides*, over the complete list of candidates, each of which says why it cannot be before a node is
written; and the lowering of the chosen candidate *writes* it. Whoever drives rewrites gathers the edits.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import numpy as np

from attnfuse.decisions import Candidate, Decision, MatchFailure, Unsupported, cannot
from attnfuse.ir.builder import Builder, NotWritableError
from attnfuse.ir.effects import Effects, effective_uses
from attnfuse.ir.graph import Model, Node, NotALiteralError, short_name
from attnfuse.ir.questions import argument_name, takes_element
from attnfuse.ir.types import TensorType
from attnfuse.ir.values import Values
from attnfuse.mindir.schema import AttributeProto
from attnfuse.pass_manager import Context, Legalised
from attnfuse.targets import Refusal, Target
from attnfuse.targets.nodes import missing_kernel

Result: TypeAlias = "str | tuple[str | None, ...] | None"
"""What a lowering wrote, and so what takes the replaced node's place: the node it made last, or a value that was there
before; for a node of several results a node of as many, or a tuple of values, one for each (None for one that nothing
reads); None for a node that nothing reads but the order of effects."""

F = TypeVar("F")
F_contra = TypeVar("F_contra", contravariant=True)
C = TypeVar("C", bound=Candidate)
_NO_WORD = re.compile(r"\W+")
C_contra = TypeVar("C_contra", bound=Candidate, contravariant=True)


@dataclass(frozen=True, slots=True)
class RewriteContext:
    """The node a rewrite looks at, and what is known around it. All that reads an argument raises MatchFailure where it
    is not of that kind.

    `replaced` holds the values that another rewrite already stands for.
    """

    model: Model
    node: Node
    effects: Effects
    context: Context
    replaced: Container[str]

    @property
    def target(self) -> Target:
        return self.context.target

    @property
    def out(self) -> TensorType:
        """Type of the node's one tensor."""
        return self.tensor(self.node.name, "its output")

    @property
    def outs(self) -> tuple[TensorType, ...]:
        """Types of the node's several tensors."""
        kinds = self.model.types_of(self.node.name)
        known = (
            tuple(tensor_type for tensor_type in kinds if tensor_type is not None) if isinstance(kinds, tuple) else ()
        )
        if not isinstance(kinds, tuple) or len(known) != len(kinds):
            raise cannot("its outputs are not tensors of known types")
        return known

    def input(self, position: int) -> str:
        """Name of an input."""
        if position >= len(self.node.inputs):
            raise cannot(f"it has {len(self.node.inputs)} inputs")
        return self.node.inputs[position]

    def type(self, position: int) -> TensorType:
        """Type of an input that is a tensor."""
        return self.tensor(self.input(position), f"input {position}")

    def static(self, position: int) -> TensorType:
        """The same, of a shape that is known."""
        tensor_type = self.type(position)
        if not tensor_type.is_static:
            raise cannot(f"input {position} is {tensor_type}, of a size not known before run time")
        return tensor_type

    def literal(self, position: int) -> object:
        """A constant argument."""
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
        """Whole numbers that an attribute holds."""
        for found in self.model.primitives[self.node.proto.op_type].attribute:
            if found.name == name and found.values:
                return tuple(number for value in found.values for number in value.ints)
        raise cannot(f"its attribute {name} is missing")

    def integer(self, position: int) -> int:
        """A constant whole number."""
        literal = self.literal(position)
        if isinstance(literal, bool) or not isinstance(literal, int):
            raise cannot(f"its argument {argument_name(self.node, position)} is {literal!r}, no whole number")
        return literal

    def integers(self, position: int) -> tuple[int, ...]:
        """Constant whole numbers: one alone, a tuple or a tensor of them."""
        literal = self.literal(position)
        if isinstance(literal, np.ndarray) and literal.dtype.kind in "iu":
            return tuple(int(v) for v in literal.reshape(-1))
        if isinstance(literal, tuple) and all(isinstance(v, int) for v in literal):
            return tuple(v for v in literal if isinstance(v, int))
        return (self.integer(position),)

    def number(self, position: int) -> bool | int | float:
        """A constant number: a scalar, or a tensor of one element."""
        literal = self.literal(position)
        if isinstance(literal, np.ndarray) and literal.size == 1:
            literal = (
                literal.reshape(()).astype(np.float64 if literal.dtype.kind not in "biu" else literal.dtype).item()
            )
        if not isinstance(literal, bool | int | float):
            raise cannot(f"its argument {argument_name(self.node, position)} is {literal!r}, no number")
        return literal

    def flag(self, position: int) -> bool:
        """A constant truth value."""
        literal = self.literal(position)
        if not isinstance(literal, bool):
            raise cannot(f"its argument {argument_name(self.node, position)} is {literal!r}, no truth value")
        return literal

    def axis(self, position: int, rank: int) -> int:
        """A constant axis of a tensor of that rank, counted from the front."""
        return _from_front(self.integer(position), rank)

    def axes(self, position: int, rank: int) -> tuple[int, ...]:
        """Constant axes, counted from the front, in order; None and () are all of them."""
        given = () if self.literal(position) is None else self.integers(position)
        return tuple(sorted(_from_front(a, rank) for a in given)) or tuple(range(rank))

    def reads_item(self, reader: Node, index: int) -> bool:
        """Whether a TupleGetItem reads that element, by a constant."""
        try:
            return self.model.literal(reader.inputs[1]) == index
        except NotALiteralError:
            return False

    def missing_kernel(self, instead: Mapping[str, str] | None = None) -> Refusal | None:
        """Why the SoC has no AI Core kernel for the node, of its element types or of those that stand for them."""
        return missing_kernel(self.target, self.model.remembered(Values), self.node, instead)

    def only_first(self) -> None:
        """Raise MatchFailure where more than the first element of the node's tuple is read."""
        for use in effective_uses(self.model, self.node.name):
            reader = use.node
            if reader is None or not takes_element(reader) or not self.reads_item(reader, 0):
                raise cannot("its mean or deviation is read")

    def unshared(self) -> None:
        """Raise MatchFailure where something changes the node's first input or its result in place.

        Then a name more for the same memory, and a copy of it, are not the same thing.
        """
        if {self.node.name, self.input(0)} & self.effects.mutated:
            raise cannot("what it reads or gives is changed in place")

    def tensor(self, value: str, what: str) -> TensorType:
        """Type of a value that is a tensor; `what` names it in the failure."""
        tensor_type = self.model.type_of(value)
        if tensor_type is None:
            raise cannot(f"{what} is not a tensor of a known type")
        return tensor_type


def _from_front(axis: int, rank: int) -> int:
    if not -rank <= axis < max(rank, 1):
        raise cannot(f"axis {axis} is none of {rank}")
    return axis % max(rank, 1)


class Lowering(Protocol[F_contra, C_contra]):
    """Writes a form in one way. `form` is its name among those of the rewrite."""

    @property
    def form(self) -> str: ...

    def unsupported_reason(self, form: F_contra, candidate: C_contra, at: RewriteContext, /) -> Unsupported | None:
        """Why the candidate cannot be written, all of it asked before a node is; None where it can."""

    def write(self, build: Builder, form: F_contra, candidate: C_contra, /) -> Result:
        """Append the nodes; what stands in the anchor's place. Never raises MatchFailure for a supported candidate."""


@dataclass(frozen=True, slots=True)
class RewriteOutcome(Generic[F, C]):
    """What became of one root: the form it was raised to (None where that failed), what was decided, what was written.

    `ops` are the operators of the nodes written, constants aside, `casts` how many of them convert types, `absorbed`
    those of the nodes that go with the root (see `Legalised`).
    """

    node: Node
    form: F | None
    decision: Decision[C]
    ops: tuple[str, ...] = ()
    casts: int = 0
    absorbed: tuple[str, ...] = ()


class Rewrite(ABC, Generic[F, C]):
    """What is rewritten: the operators it begins at, how it is raised, decided and recorded, and its lowerings.

    A lowering may write some of the forms only: `decide` chooses it for no other.
    """

    roots: frozenset[str]
    lowerings: Sequence[Lowering[Any, C]]

    @abstractmethod
    def raise_(self, at: RewriteContext) -> F | None:
        """What stands at a root, as a form; None where there is nothing to rewrite and nothing to tell.

        Raises MatchFailure where it is not that form.
        """

    @abstractmethod
    def decide(self, form: F, at: RewriteContext) -> Decision[C]:
        """Which candidate is written."""

    @abstractmethod
    def name(self, form: F, at: RewriteContext) -> str:
        """What the written nodes are named after; made unique in the graph by whoever drives rewrites."""

    @abstractmethod
    def record(self, outcome: RewriteOutcome[F, C], at: RewriteContext) -> None:
        """Tell the pass's context what became of a root."""

    def failed(self, form: F | None, failure: MatchFailure | NotWritableError, at: RewriteContext) -> Decision[C]:
        """The decision where it could not be raised, or where the builder does not take what was to be written."""
        reason = failure.reason if isinstance(failure, MatchFailure) else None
        return Decision(code="" if reason is None else reason.code, reason=str(failure), failure=reason)


class OperatorRewrite(Rewrite[F, Candidate]):
    """One of operators: of its lowerings the first that is supported writes it, and it is told as legalised.

    Where none is, the reason waits in `Context.unsupported` for whoever writes the node otherwise.
    """

    def decide(self, form: F, at: RewriteContext) -> Decision[Candidate]:
        return first_supported(self.lowerings, form, at)

    def name(self, form: F, at: RewriteContext) -> str:
        """The root's own name, which only its graph need keep unique."""
        return _NO_WORD.sub("_", short_name(at.node.name))

    def record(self, outcome: RewriteOutcome[F, Candidate], at: RewriteContext) -> None:
        if outcome.decision.chosen is None:
            at.context.unsupported[outcome.node.name] = outcome.decision.reason
        else:
            refused = at.context.unsupported.pop(outcome.node.name, "")
            at.context.legalised.append(Legalised(outcome.node.op, outcome.ops, outcome.absorbed, refused))


def first_supported(
    lowerings: Sequence[Lowering[F, Candidate]], form: F, at: RewriteContext, anchor: str | None = None
) -> Decision[Candidate]:
    """The decision for the first lowering, in their order, that is supported; each is asked.

    `anchor` is the candidates', None for the root.
    """
    candidates = []
    for lowering in lowerings:
        candidate = Candidate(form=lowering.form, anchor=anchor or at.node.name)
        reason = lowering.unsupported_reason(form, candidate, at)
        candidates.append(candidate if reason is None else replace(candidate, unsupported=reason))
    chosen = next((candidate for candidate in candidates if candidate.unsupported is None), None)
    first = candidates[0].unsupported if chosen is None else None
    return Decision(
        chosen=chosen,
        others=tuple(candidate for candidate in candidates if candidate is not chosen),
        code="" if first is None else first.code,
        reason="" if first is None else first.reason,
        failure=None if first is None else first.failure,
    )
