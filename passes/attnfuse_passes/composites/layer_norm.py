"""LayerNorm in 16 bits as LayerNormV3 with its statistics in float32.

CANN's LayerNorm of 16-bit gain and offset rounds mean and variance to that type before it uses them: above a standard
deviation of 256 a float16 variance is infinite. With float32 gain and offset beside a 16-bit x nothing is rounded but
the result. The kernel offers that only where the second last size is no multiple of 16 or rows are long, so it is
given [rows, 1, width] always: one rule, and a Reshape that moves nothing. In float32 LayerNorm itself does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from attnfuse.api import (
    UNKNOWN_DIM,
    Builder,
    Candidate,
    CompositeFacts,
    Result,
    RewriteContext,
    TensorFacts,
    TensorType,
    cannot,
    dtypes,
)
from attnfuse_passes.composites.composite import Composite, CompositeLowering, CompositeRewrite
from attnfuse_passes.legalise import nodes

ROOTS = frozenset(("LayerNorm", "LayerNormExt"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNorm(Composite):
    """x, normalised over its axes from `first` on, times gain plus offset, which have these axes. Without gain it is 1,
    without offset 0. `outputs` is how many tensors the norm gives, the normalised one first.
    """

    x: str
    tensor_type: TensorType
    first: int
    gain: str | None
    offset: str | None
    epsilon: float
    outputs: int

    @property
    def width(self) -> int:
        """Elements that are normalised together."""
        return math.prod(self.tensor_type.dims[self.first :])

    @property
    def rows(self) -> int:
        """How many times that is done; -1 where it is not known before run time."""
        before = self.tensor_type.dims[: self.first]
        return UNKNOWN_DIM if UNKNOWN_DIM in before else math.prod(before)

    def result(self, value: str) -> Result:
        """The normalised tensor in the place of the norm's tuple."""
        return (value, *(None,) * (self.outputs - 1))


def read(at: RewriteContext) -> LayerNorm:
    """The norm at a root. Raises MatchFailure where more than the normalised tensor is read, or sizes are not known."""
    at.only_first()
    tensor_type = at.type(0)
    if at.node.op == "LayerNorm":
        first, parameters, epsilon = at.axis(3, tensor_type.rank), (1, 2), at.number(5)
        if at.axis(4, tensor_type.rank) != first:
            raise cannot("its gain and offset have other axes than it normalises")
    else:
        first, parameters, epsilon = tensor_type.rank - len(at.integers(1)), (2, 3), at.number(4)
    tail = tensor_type.dims[first:]
    if UNKNOWN_DIM in tail:
        raise cannot(f"it normalises {tensor_type} by rows of a size not known before run time")
    gain, offset = (_parameter(at, position, left_out) for position, left_out in zip(parameters, (1, 0), strict=True))
    if any(at.model.type_of(value) is None for value in (gain, offset) if value is not None):
        raise cannot("its gain or offset is of no known type")
    return LayerNorm(
        anchor=at.node.name,
        x=at.input(0),
        tensor_type=tensor_type,
        first=first,
        gain=gain,
        offset=offset,
        epsilon=float(epsilon),
        outputs=len(at.outs),
    )


def _parameter(at: RewriteContext, position: int, left_out: int) -> str | None:
    """A gain or offset; None where there is none, and where tracing wrote it out: constants of that number alone."""
    value = at.optional(position)
    literal = at.model.literal(value) if value is not None and at.model.is_literal(value) else None
    return None if isinstance(literal, np.ndarray) and bool((literal == left_out).all()) else value


class LayerNormV3(CompositeLowering[LayerNorm]):
    """(x [rows, 1, width], gamma, beta, axis, axis, epsilon), gamma and beta in float32."""

    form: ClassVar[str] = "LayerNormV3"

    def facts(self, form: LayerNorm, at: RewriteContext) -> CompositeFacts:
        x = TensorFacts((form.rows, 1, form.width), form.tensor_type.dtype.name)
        parameter = TensorFacts((form.width,), dtypes.FLOAT32.name)
        return CompositeFacts(self.form, (x, parameter, parameter), {})

    def write(self, build: Builder, form: LayerNorm, candidate: Candidate) -> Result:
        flat = build.reshape(form.x, (form.rows, 1, form.width))
        gain, offset = (
            nodes.filled(build, (form.width,), number, dtypes.FLOAT32)
            if value is None
            else build.cast(build.reshape(value, (form.width,)), dtypes.FLOAT32)
            for value, number in ((form.gain, 1.0), (form.offset, 0.0))
        )
        axis, epsilon = build.constant(2), build.constant(form.epsilon)
        y = nodes.element(build, build.op("LayerNormV3", flat, gain, offset, axis, axis, epsilon), 0)
        return form.result(build.reshape(y, form.tensor_type.dims))


class LayerNormRewrite(CompositeRewrite[LayerNorm]):
    """(x, gain, offset, axis, axis, epsilon), or (x, shape of the last axes, gain or None, offset or None, epsilon)."""

    roots = ROOTS
    lowerings = (LayerNormV3(),)

    def raise_(self, at: RewriteContext) -> LayerNorm | None:
        if not at.type(0).dtype.is_low_precision:
            return None
        form = read(at)
        if form.tensor_type.dims[: form.first].count(UNKNOWN_DIM) > 1:
            raise cannot(f"no Reshape makes {form.tensor_type} again, of which several sizes are not known")
        return form
