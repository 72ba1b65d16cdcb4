"""Composites of CANN that are no normalisation and no attention: gates of a feed-forward, and rotations of positions.

In NATIVE arithmetic they round where CANN's kernels do (their sources, read and not run). GeGluV2's polynomial for erf
is off by at most 5.8e-7 absolutely, which no rounding to 16 bits shows, so the exact erf stands for it.
"""

from __future__ import annotations

from attnfuse.ir.types import Literal
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.verify.lowering.context import LoweringContext, Result, lowers
from attnfuse.verify.lowering.elementwise import gelu_of_erf, gelu_of_tanh

_HALVES, _PAIRS = 0, 1
"""Modes of a rotation: what is rotated against what."""


@lowers("GeGluV2")
def _gelu_gate(at: LoweringContext) -> Result:
    """x; the halved axis, 0 for erf or 1 for tanh, whether the first half is the activated one: the product, and GELU.

    GELU is computed in float32 and rounded to the type of x; so is its product with the other half.
    """
    dim, approximate, left = (at.attributes.get(name) for name in ("dim", "approximate", "activate_left"))
    if not isinstance(dim, int) or approximate not in (0, 1) or not isinstance(left, bool):
        raise at.unsupported("an attribute is left to CANN")
    first, second = _halves(at, at.tensor(0), dim)
    half, other = (first, second) if left else (second, first)
    dtype = at.tensor_type(0).dtype
    gelu = gelu_of_tanh(at, half, dtype) if approximate else gelu_of_erf(at, half, dtype)
    gelu = at.writer.round_to(gelu, dtype, at.writer.arithmetic.carry(dtype))
    return [at.emit("Mul", other, gelu), gelu]


@lowers("Custom")
def _of_ge(at: LoweringContext) -> Result:
    """GE's SwiGlu: the SiLU of the first half, unrounded, times the second. Of other operators no meaning is known."""
    name, dim = at.attributes.get("reg_op_name"), at.attributes.get("dim")
    if name != "SwiGlu" or not isinstance(dim, int):
        raise at.unsupported(f"{name!r} of GE, or its dim {dim!r}")
    first, second = _halves(at, at.tensor(0), dim)
    return at.emit("Mul", at.emit("Mul", first, at.emit("Sigmoid", first)), second)


@lowers("RotaryPositionEmbedding")
def _rotation(at: LoweringContext) -> Result:
    """x [B, S, N, D] or with other axes before the last, cos and sin that broadcast to it, the mode: x cos + r(x) sin.

    Mode 0 rotates the halves of the last axis, r(a, b) = (−b, a), mode 1 each pair of neighbours. In float32, but mode
    0 of float16, where each product and the sum are rounded.
    """
    mode: Literal = at.literal(3) if len(at.operands) > 3 else _HALVES  # what CANN takes where none is given
    if mode not in (_HALVES, _PAIRS):
        raise at.unsupported(f"the mode {mode!r}")
    w, dims, dtype = at.writer, at.dims(0), at.out.dtype
    x, cos, sin = (at.converted(i, dtype) for i in range(3))
    apart = [*dims[:-1], 2, dims[-1] // 2] if mode == _HALVES else [*dims[:-1], dims[-1] // 2, 2]
    axis = len(dims) - 1 if mode == _HALVES else len(dims)
    first, second = at.writer.emit_many("Split", w.reshape(x, apart), outputs=2, axis=axis, num_outputs=2)
    turned = w.reshape(at.emit("Concat", at.emit("Neg", second), first, axis=axis), dims)
    products = [at.emit("Mul", x, cos), at.emit("Mul", turned, sin)]
    if mode == _HALVES and dtype is FLOAT16:
        products = [w.round_to(product, dtype, w.arithmetic.carry(dtype)) for product in products]
    return at.emit("Add", *products)


def _halves(at: LoweringContext, x: str, dim: int) -> tuple[str, str]:
    """The two halves of an axis."""
    axis = dim % len(at.dims(0))
    half = at.writer.integers([at.dims(0)[axis] // 2] * 2)
    first, second = at.writer.emit_many("Split", x, half, outputs=2, axis=axis)
    return first, second
