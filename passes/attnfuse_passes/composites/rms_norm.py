"""RmsNorm of any epsilon: as a primitive that is no function, with the epsilon as third input.

As a function it loses its epsilon on the way through MindSpore Lite, and CANN takes 1e-6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnfuse.api import (
    Builder,
    Candidate,
    CompositeFacts,
    DType,
    Result,
    RewriteContext,
    TensorFacts,
    TensorType,
    unsupported_reason,
)
from attnfuse_passes.composites.composite import Composite, CompositeLowering, CompositeRewrite, facts_of, refused


@dataclass(frozen=True, slots=True, kw_only=True)
class RmsNorm(Composite):
    """x / √(mean square + epsilon) · gain over the last axes, those of gain; gain is given in `parameters`."""

    x: str
    tensor_type: TensorType
    gain: str
    gain_dims: tuple[int, ...]
    parameters: DType
    epsilon: float


class RmsNormPrimitive(CompositeLowering[RmsNorm]):
    """(x, gamma, epsilon): a tuple, the normalised tensor first."""

    form: ClassVar[str] = "RmsNorm"

    def facts(self, form: RmsNorm, at: RewriteContext) -> CompositeFacts:
        return CompositeFacts(
            self.form, (facts_of(form.tensor_type), TensorFacts(form.gain_dims, form.parameters.name)), {}
        )

    def write(self, build: Builder, form: RmsNorm, candidate: Candidate) -> Result:
        gain = build.cast(form.gain, form.parameters)
        return build.op("RmsNorm", form.x, gain, build.constant(form.epsilon), prim_type=build.PRIMITIVE)


class RmsNormRewrite(CompositeRewrite[RmsNorm]):
    """(x, gain of the last axes, epsilon), where the target does not take the function as it is."""

    roots = frozenset(("RmsNorm",))
    lowerings = (RmsNormPrimitive(),)

    def raise_(self, at: RewriteContext) -> RmsNorm | None:
        x, gain = facts_of(at.type(0)), facts_of(at.type(1))
        launched = refused(at.target, CompositeFacts("RmsNorm", (x, gain), {})) is None
        if launched and unsupported_reason(at.target, at.model, at.node) is None:
            return None
        at.only_first()
        return RmsNorm(
            anchor=at.node.name,
            x=at.input(0),
            tensor_type=at.type(0),
            gain=at.input(1),
            gain_dims=gain.dims,
            # Where the kernel has no gain of another type, in x's: rounded no more than the result is.
            parameters=at.type(1).dtype if launched else at.type(0).dtype,
            epsilon=float(at.number(2)),
        )
