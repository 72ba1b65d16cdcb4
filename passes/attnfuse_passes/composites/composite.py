"""What the rewrites of this package have in common: a form that names its values, and a target that is asked first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, TypeVar

from attnfuse.api import (
    AttributeProto,
    Builder,
    Candidate,
    CompositeFacts,
    Decision,
    OperatorRewrite,
    Result,
    RewriteContext,
    Target,
    TensorFacts,
    TensorType,
    Unsupported,
    composite_refusals,
    first_supported,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Composite:
    """A form of this package: at least the value that the composite stands for.

    `interior` are values that the source makes on the way and names to order effects: without purpose when it is gone.
    """

    anchor: str
    interior: tuple[str, ...] = ()


F = TypeVar("F", bound=Composite)


class CompositeRewrite(OperatorRewrite[F]):
    """A rewrite to composites; what they stand for need not be its root, but may be behind it."""

    def decide(self, form: F, at: RewriteContext) -> Decision[Candidate]:
        decision = first_supported(self.lowerings, form, at, form.anchor)
        chosen = decision.chosen
        return decision if chosen is None else replace(decision, chosen=replace(chosen, removes=form.interior))


class CompositeLowering(ABC, Generic[F]):
    """Writes one composite operator, where the target launches it as it would be written."""

    form: ClassVar[str]
    """The operator's name."""

    def unsupported_reason(self, form: F, candidate: Candidate, at: RewriteContext) -> Unsupported | None:
        """What the target has against the node."""
        return refused(at.target, self.facts(form, at))

    @abstractmethod
    def facts(self, form: F, at: RewriteContext) -> CompositeFacts:
        """The node as `write` would write it."""

    @abstractmethod
    def write(self, build: Builder, form: F, candidate: Candidate) -> Result:
        """Append the nodes; what stands in the anchor's place."""


def refused(target: Target, node: CompositeFacts) -> Unsupported | None:
    """All that keeps a device from launching the node, or its result from being right, as one reason."""
    refusals = composite_refusals(target, node)
    if not refusals:
        return None
    message = "; ".join(refusal.message(node.operator, target.soc) for refusal in refusals)
    return Unsupported(refusals[0].code, message)


def facts_of(tensor_type: TensorType) -> TensorFacts:
    """A tensor as the target's tables ask about it."""
    return TensorFacts(tensor_type.dims, tensor_type.dtype.name)


def number(name: str, value: float) -> AttributeProto:
    """A number as an attribute of a primitive: adapters take FLOAT and no DOUBLE."""
    return AttributeProto(name=name, type=AttributeProto.FLOAT, f=value)
