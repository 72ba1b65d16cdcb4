"""RmsNorm of any epsilon: as a primitive that is no function, with the epsilon as third input.

As a function it loses its epsilon on the way through MindSpore Lite, and CANN takes 1e-6. So is the norm written out,
x / √(mean of x² + epsilon) in float32, rounded to x's type, times a gain: CANN's kernel computes all of it in float32
and rounds once, at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from attnfuse.api import (
    Builder,
    Candidate,
    CompositeFacts,
    DType,
    Model,
    Node,
    Result,
    RewriteContext,
    TensorFacts,
    TensorType,
    dtypes,
    unsupported_reason,
)
from attnfuse_passes.composites.composite import Composite, CompositeLowering, CompositeRewrite, facts_of, refused
from attnfuse_passes.composites.matching import beside, is_number, only_reader


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


class RmsNormTensor(RmsNormPrimitive):
    """The first of the tuple, for a formula that makes a tensor."""

    def write(self, build: Builder, form: RmsNorm, candidate: Candidate) -> Result:
        made = super().write(build, form, candidate)
        assert isinstance(made, str)
        return build.op("TupleGetItem", made, build.constant(0))


class RmsNormFormula(CompositeRewrite[RmsNorm]):
    """The Rsqrt within: of the mean of squares and an epsilon. What it makes is read by the product with x alone."""

    roots = frozenset(("Rsqrt",))
    lowerings = (RmsNormTensor(),)

    def raise_(self, at: RewriteContext) -> RmsNorm | None:
        model, squared = at.model, _mean_of_squares(at.model, at.node.inputs[0])
        if squared is None:
            return None
        value, epsilon = squared
        x = _wide_of(model, value)
        scaled = only_reader(model, at.node.name)
        other = beside(scaled, ("Mul",), at.node.name)
        tensor_type = model.type_of(x)
        if scaled is None or other is None or _wide_of(model, other) != x or tensor_type is None:
            return None
        rounded = _rounded(model, scaled, tensor_type.dtype)
        anchor = None if rounded is None else only_reader(model, rounded.name)
        gain = None if rounded is None else beside(anchor, ("Mul",), rounded.name)
        if anchor is None or gain is None or model.type_of(anchor.name) != tensor_type:
            return None
        gain_type = model.type_of(gain)
        if gain_type is None or gain_type != TensorType(tensor_type.dims[-1:], tensor_type.dtype):
            return None
        if anchor.graph is not at.node.graph or {x, value, gain, scaled.name, anchor.name} & at.effects.mutated:
            return None
        return RmsNorm(
            anchor=anchor.name,
            x=x,
            tensor_type=tensor_type,
            gain=gain,
            gain_dims=gain_type.dims,
            parameters=gain_type.dtype,
            epsilon=epsilon,
        )


def _mean_of_squares(model: Model, value: str) -> tuple[str, float] | None:
    """What is squared, in float32, and the epsilon added to the mean of that over the last axis."""
    sum_ = model.producer(value)
    if sum_ is None or sum_.op != "Add":
        return None
    for mean, constant in (sum_.inputs[:2], sum_.inputs[1::-1]):
        node, epsilon = model.producer(mean), _number(model, constant)
        if node is not None and epsilon is not None and node.op in ("MeanExt", "ReduceMean"):
            squares = _squared(model, node)
            return None if squares is None else (squares, epsilon)
    return None


def _squared(model: Model, mean: Node) -> str | None:
    """What the mean is of the squares of; None where it is another mean, or the squares are read elsewhere."""
    node = model.producer(mean.inputs[0])
    before, made = model.type_of(mean.inputs[0]), model.type_of(mean.name)
    if node is None or before is None or before.dtype is not dtypes.FLOAT32 or before.rank == 0:
        return None
    if made != TensorType((*before.dims[:-1], 1), dtypes.FLOAT32) or only_reader(model, node.name) is not mean:
        return None
    axes = model.literal(mean.inputs[1]) if model.is_literal(mean.inputs[1]) else None
    if axes not in (-1, before.rank - 1, (-1,), (before.rank - 1,)):
        return None
    is_square = node.op == "Square" or (node.op == "Mul" and node.inputs[0] == node.inputs[1])
    if not is_square and not (node.op in ("Pow", "PowTensorScalar") and is_number(model, node.inputs[1], 2.0)):
        return None
    return node.inputs[0] if model.type_of(node.inputs[0]) == before else None


def _number(model: Model, value: str) -> float | None:
    literal = model.literal(value) if model.is_literal(value) else None
    if isinstance(literal, np.ndarray):
        literal = literal.item() if literal.size == 1 else None
    return float(literal) if isinstance(literal, int | float) and literal > 0 else None


def _wide_of(model: Model, value: str) -> str:
    """The value before it was cast to float32 from a type of fewer digits; else the value."""
    node = model.producer(value)
    before = model.type_of(node.inputs[0]) if node is not None and node.op == "Cast" else None
    return node.inputs[0] if node is not None and before is not None and before.dtype.is_low_precision else value


def _rounded(model: Model, scaled: Node, dtype: DType) -> Node | None:
    """What rounds the product to x's type, where that is another; it alone reads the product."""
    if dtype is dtypes.FLOAT32:
        return scaled
    node = only_reader(model, scaled.name)
    made = None if node is None else model.type_of(node.name)
    return node if node is not None and node.op == "Cast" and made is not None and made.dtype is dtype else None
