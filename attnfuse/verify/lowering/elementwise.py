"""Arithmetic, comparisons, activations, casts. One value in, one out, shapes broadcast.

Argument orders: MindSpore 2.7.1's operator definitions.
"""

from __future__ import annotations

import math

import numpy as np

from attnfuse.ir.types import Array
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.verify.lowering.arithmetic import onnx_type
from attnfuse.verify.lowering.context import Constant, LoweringContext, Result, lowers

_BINARY = {
    "Add": "Add", "Adds": "Add", "AddExt": "Add", "AddScalar": "Add", "InplaceAddExt": "Add", "InplaceAddsExt": "Add",
    "Sub": "Sub", "Subs": "Sub", "SubExt": "Sub", "SubScalar": "Sub", "InplaceSubExt": "Sub",
    "Mul": "Mul", "Muls": "Mul", "InplaceMul": "Mul", "InplaceMuls": "Mul",
    "Div": "Div", "Divs": "Div", "RealDiv": "Div", "InplaceDiv": "Div", "InplaceDivs": "Div",
    "Maximum": "Max", "Minimum": "Min", "Pow": "Pow",
}  # fmt: skip
_WITH_ALPHA = ("AddExt", "SubExt", "AddScalar", "SubScalar", "InplaceAddExt", "InplaceSubExt", "InplaceAddsExt")
_COMPARISONS = {
    "Less": "Less", "LessScalar": "Less", "Greater": "Greater", "GreaterScalar": "Greater", "Equal": "Equal",
    "EqScalar": "Equal", "LessEqual": "LessOrEqual", "GreaterEqual": "GreaterOrEqual",
    "GreaterEqualScalar": "GreaterOrEqual", "LessEqualScalar": "LessOrEqual",
}  # fmt: skip
_UNARY = {
    "Exp": "Exp", "Sin": "Sin", "Cos": "Cos", "Tanh": "Tanh", "Sigmoid": "Sigmoid", "Sqrt": "Sqrt", "Neg": "Neg",
    "Abs": "Abs", "ReLU": "Relu", "Reciprocal": "Reciprocal", "LogExt": "Log", "Floor": "Floor", "Ceil": "Ceil",
    "Sign": "Sign",
}  # fmt: skip

_BASES = {"Log2": 2.0, "Log10": 10.0}


@lowers(*_BINARY)
def _binary(at: LoweringContext) -> Result:
    dtype = at.out.dtype
    a, b = at.converted(0, dtype), at.converted(1, dtype)
    if at.op in _WITH_ALPHA and len(at.operands) > 2 and at.number(2) != 1.0:
        b = at.emit("Mul", b, at.scalar(at.number(2)))
    return at.emit(_BINARY[at.op], a, b)


@lowers("PowTensorScalar")
def _power(at: LoweringContext) -> Result:
    exponent = at.number(1)
    x = at.converted(0, at.out.dtype)
    return at.emit("Mul", x, x) if exponent == 2.0 else at.emit("Pow", x, at.scalar(exponent))


def _common(at: LoweringContext) -> DType:
    """The type two compared operands are brought to; a scalar takes the tensor's, if that holds it."""
    types: list[DType] = []
    fraction = False
    for i, operand in enumerate(at.operands[:2]):
        if isinstance(operand, Constant) and isinstance(operand.value, bool | int | float):
            fraction |= not float(operand.value).is_integer()
        else:
            types.append(at.tensor_type(i).dtype)
    floats = [k for k in types if k.is_float]
    if fraction and not floats:
        return dtypes.FLOAT64
    return max(floats or types, key=lambda k: (k is not dtypes.BOOL, k.itemsize))


@lowers(*_COMPARISONS, moves=True)
def _compare(at: LoweringContext) -> Result:
    dtype = _common(at)
    return at.emit(_COMPARISONS[at.op], at.converted(0, dtype), at.converted(1, dtype))


@lowers("NotEqual", "NeScalar", "NotEqualScalar", moves=True)
def _not_equal(at: LoweringContext) -> Result:
    dtype = _common(at)
    return at.emit("Not", at.emit("Equal", at.converted(0, dtype), at.converted(1, dtype)))


@lowers("PowScalarTensor")
def _power_of_scalar(at: LoweringContext) -> Result:
    """(number, x)."""
    return at.emit("Pow", at.scalar(at.number(0)), at.converted(1, at.out.dtype))


@lowers("FloorMod", "RemainderTensorTensor", "RemainderTensorScalar", "RemainderScalarTensor")
def _remainder(at: LoweringContext) -> Result:
    """What is left of x, of the sign of the divisor."""
    dtype = at.out.dtype
    x, y = at.converted(0, dtype), at.converted(1, dtype)
    if not dtype.is_float:
        return at.emit("Mod", x, y, fmod=0)
    return at.emit("Sub", x, at.emit("Mul", at.emit("Floor", at.emit("Div", x, y)), y))


@lowers("Mod")
def _signed_remainder(at: LoweringContext) -> Result:
    """What is left of x, of the sign of x."""
    return at.emit("Mod", at.converted(0, at.out.dtype), at.converted(1, at.out.dtype), fmod=1)


@lowers("FloorDiv", "FloorDivScalar")
def _floor_div(at: LoweringContext) -> Result:
    """Downwards; whole numbers in float64, which holds those of up to 53 bits, for ONNX divides them towards zero."""
    if at.out.dtype.is_float:
        x, y = (at.converted(i, at.out.dtype) for i in (0, 1))
        return at.emit("Floor", at.emit("Div", x, y))
    x, y = (at.emit("Cast", at.converted(i, dtypes.INT64), to=onnx_type(dtypes.FLOAT64)) for i in (0, 1))
    return at.emit("Cast", at.emit("Floor", at.emit("Div", x, y)), to=onnx_type(at.out.dtype))


@lowers("LogicalNot", moves=True)
def _not(at: LoweringContext) -> Result:
    return at.emit("Not", at.converted(0, dtypes.BOOL))


@lowers("LogicalAnd", "LogicalOr", "BitwiseAnd", "BitwiseOr", moves=True)
def _logical(at: LoweringContext) -> Result:
    if at.out.dtype is not dtypes.BOOL:
        raise at.unsupported("bits of numbers")
    return at.emit("And" if at.op.endswith("And") else "Or", at.converted(0, dtypes.BOOL), at.converted(1, dtypes.BOOL))


@lowers("LogicalXor", moves=True)
def _either(at: LoweringContext) -> Result:
    return at.emit("Xor", at.converted(0, dtypes.BOOL), at.converted(1, dtypes.BOOL))


@lowers("IsInf", "IsNan", "IsNaN", "IsFinite", moves=True)
def _is(at: LoweringContext) -> Result:
    x = at.tensor(0)
    if at.op == "IsFinite":
        return at.emit("Not", at.emit("Or", at.emit("IsInf", x), at.emit("IsNaN", x)))
    return at.emit("IsInf" if at.op == "IsInf" else "IsNaN", x)


@lowers("Select", "Where", moves=True)
def _select(at: LoweringContext) -> Result:
    return _chosen(at, at.converted(0, dtypes.BOOL), at.placed(1, at.out.dtype), at.placed(2, at.out.dtype))


def _chosen(at: LoweringContext, condition: str, x: str, y: str) -> str:
    """x where the condition holds, else y; onnxruntime has no Where of truths."""
    if at.out.dtype is not dtypes.BOOL:
        return at.emit("Where", condition, x, y)
    return at.emit("Or", at.emit("And", condition, x), at.emit("And", at.emit("Not", condition), y))


@lowers("MaskedFill", "MaskedFillScalar", moves=True)
def _masked_fill(at: LoweringContext) -> Result:
    return _chosen(at, at.converted(1, dtypes.BOOL), at.placed(2, at.out.dtype), at.placed(0, at.out.dtype))


@lowers(*_UNARY)
def _unary(at: LoweringContext) -> Result:
    return at.emit(_UNARY[at.op], at.converted(0, at.out.dtype))


@lowers("Square")
def _square(at: LoweringContext) -> Result:
    x = at.tensor(0)
    return at.emit("Mul", x, x)


@lowers("Log")
def _log(at: LoweringContext) -> Result:
    if (at.attributes.get("base", -1.0), at.attributes.get("scale", 1.0), at.attributes.get("shift", 0.0)) != (
        -1,
        1,
        0,
    ):
        raise at.unsupported("a logarithm of another base, scale or shift")
    return at.emit("Log", at.converted(0, at.out.dtype))


@lowers(*_BASES)
def _log_of_base(at: LoweringContext) -> Result:
    return at.emit("Div", at.emit("Log", at.converted(0, at.out.dtype)), at.scalar(math.log(_BASES[at.op])))


@lowers("Log1p")
def _log_of_more(at: LoweringContext) -> Result:
    """log(1 + x) = x · log(1 + x) / ((1 + x) − 1): what is lost in the sum is lost in the divisor too (Kahan)."""
    x = at.converted(0, at.out.dtype)
    one = at.scalar(1.0)
    more = at.emit("Add", x, one)
    off = at.emit("Sub", more, one)
    usual = at.emit("Mul", x, at.emit("Div", at.emit("Log", more), off))
    is_small, is_infinite = at.emit("Equal", off, at.scalar(0.0)), at.emit("IsInf", more)
    return at.emit("Where", at.emit("Or", is_small, is_infinite), x, usual)


@lowers("Softplus")
def _softplus(at: LoweringContext) -> Result:
    return _soft(at, at.converted(0, at.out.dtype))


@lowers("SoftplusExt")
def _softplus_ext(at: LoweringContext) -> Result:
    """(x, beta, threshold): log(1 + exp(beta x)) / beta; x itself where beta x is more than the threshold."""
    x, beta = at.converted(0, at.out.dtype), at.scalar(at.number(1))
    scaled = at.emit("Mul", x, beta)
    above = at.emit("Greater", scaled, at.scalar(at.number(2)))
    return at.emit("Where", above, x, at.emit("Div", _soft(at, scaled), beta))


def _soft(at: LoweringContext, x: str) -> str:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(−|x|)), in which nothing overflows."""
    small = at.emit("Exp", at.emit("Neg", at.emit("Abs", x)))
    return at.emit("Add", at.emit("Max", x, at.scalar(0.0)), at.emit("Log", at.emit("Add", small, at.scalar(1.0))))


@lowers("Mish")
def _mish(at: LoweringContext) -> Result:
    x = at.converted(0, at.out.dtype)
    return at.emit("Mul", x, at.emit("Tanh", _soft(at, x)))


@lowers("HSwish")
def _hard_swish(at: LoweringContext) -> Result:
    """x · min(max(x + 3, 0), 6) / 6."""
    x = at.converted(0, at.out.dtype)
    share = at.emit("Min", at.emit("Max", at.emit("Add", x, at.scalar(3.0)), at.scalar(0.0)), at.scalar(6.0))
    return at.emit("Div", at.emit("Mul", x, share), at.scalar(6.0))


@lowers("Exp2")
def _exp2(at: LoweringContext) -> Result:
    return at.emit("Exp", at.emit("Mul", at.converted(0, at.out.dtype), at.scalar(math.log(2.0))))


@lowers("NanToNum")
def _nan_to_num(at: LoweringContext) -> Result:
    """Operand, and what stands for NaN (0), +∞ and −∞ (the type's extremes)."""
    x, dtype = at.tensor(0), at.out.dtype
    nan, high, low = (
        instead if at.is_absent(position) else at.number(position)
        for position, instead in ((1, 0.0), (2, dtype.largest), (3, -dtype.largest))
    )
    for sign, number in (({"detect_negative": 0}, high), ({"detect_positive": 0}, low)):
        x = at.emit("Where", at.emit("IsInf", x, **sign), at.scalar(number), x)
    return at.emit("Where", at.emit("IsNaN", at.tensor(0)), at.scalar(nan), x)


@lowers("DropoutExt", moves=True)
def _dropout_ext(at: LoweringContext) -> Result:
    """With a probability of 0 every element stays; which ones did is told in bits."""
    if at.number(1) != 0.0:
        raise at.unsupported(f"dropout at random, with a probability of {at.number(1)}")
    return [at.tensor(0), None]


@lowers("Dropout", moves=True)
def _dropout(at: LoweringContext) -> Result:
    """With keep_prob 1 every element stays."""
    if at.number(1) != 1.0:
        raise at.unsupported(f"dropout at random, with keep_prob {at.number(1)}")
    kept = at.emit("Equal", at.tensor(0), at.tensor(0))
    return [at.tensor(0), at.emit("Cast", kept, to=onnx_type(at.writer.arithmetic.carry(at.outs[1].dtype)))]


@lowers("Rsqrt")
def _rsqrt(at: LoweringContext) -> Result:
    return at.emit("Reciprocal", at.emit("Sqrt", at.converted(0, at.out.dtype)))


@lowers("SiLU")
def _silu(at: LoweringContext) -> Result:
    x = at.tensor(0)
    return at.emit("Mul", x, at.emit("Sigmoid", x))


@lowers("Erf")
def _erf_node(at: LoweringContext) -> Result:
    return erf(at, at.converted(0, at.out.dtype), at.out.dtype)


@lowers("GeLU")
def _gelu(at: LoweringContext) -> Result:
    return gelu_of_tanh(at, at.tensor(0), at.out.dtype)


@lowers("GeluExt")
def _gelu_ext(at: LoweringContext) -> Result:
    """The argument says which form: 0 exact, 1 tanh."""
    x = at.tensor(0)
    if at.literal(1) in (0, "none"):
        return gelu_of_erf(at, x, at.out.dtype)
    inner = at.emit("Tanh", at.emit("Mul", _bent(at, x, at.out.dtype), at.scalar(math.sqrt(2 / math.pi))))
    return at.emit("Mul", at.emit("Mul", x, at.scalar(0.5)), at.emit("Add", inner, at.scalar(1.0)))


def gelu_of_erf(at: LoweringContext, x: str, dtype: DType) -> str:
    """x / 2 · (1 + erf(x / √2)), x of that type."""

    def number(value: float) -> str:
        return at.writer.number(value, dtype)

    grown = at.emit("Add", erf(at, at.emit("Mul", x, number(math.sqrt(0.5))), dtype), number(1.0))
    return at.emit("Mul", at.emit("Mul", x, number(0.5)), grown)


def gelu_of_tanh(at: LoweringContext, x: str, dtype: DType) -> str:
    """x · σ(2 √(2/π) (x + 0.044715 x³)): the form with tanh, as CANN's kernels compute it."""
    bent = at.emit("Mul", _bent(at, x, dtype), at.writer.number(math.sqrt(8 / math.pi), dtype))
    return at.emit("Mul", x, at.emit("Sigmoid", bent))


def _bent(at: LoweringContext, x: str, dtype: DType) -> str:
    """x + 0.044715 x³."""
    cube = at.emit("Mul", at.emit("Mul", x, x), x)
    return at.emit("Add", x, at.emit("Mul", cube, at.writer.number(0.044715, dtype)))


@lowers("ClampScalar", "ClampTensor")
def _clamp(at: LoweringContext) -> Result:
    x = at.converted(0, at.out.dtype)
    if not at.is_absent(1):
        x = at.emit("Max", x, at.converted(1, at.out.dtype))
    return x if at.is_absent(2) else at.emit("Min", x, at.converted(2, at.out.dtype))


@lowers("Outer")
def _outer(at: LoweringContext) -> Result:
    dtype = at.out.dtype
    rows = at.emit("Unsqueeze", at.converted(0, dtype), at.writer.integers([1]))
    return at.emit("Mul", rows, at.emit("Unsqueeze", at.converted(1, dtype), at.writer.integers([0])))


@lowers("Cast")
def _cast(at: LoweringContext) -> Result:
    return at.converted(0, at.out.dtype)


# --- erf, which onnxruntime has for float32 only

_STEP = 1.0 / 64
_FAR = 6.0
"""erf(6) is 1 but for 2e-17."""
_ORDER = 6


def _erf_tables() -> list[Array]:
    """erf at multiples of _STEP from −_FAR to _FAR, and its derivatives there, each over its factorial.

    The n-th derivative is that of order n − 1 of 2/√π e^(−x²): a Hermite polynomial times it, with alternating sign.
    """
    points = np.arange(-round(_FAR / _STEP), round(_FAR / _STEP) + 1) * _STEP
    tables: list[Array] = [np.array([math.erf(x) for x in points])]
    slope = 2 / math.sqrt(math.pi) * np.exp(-points * points)
    older, newer = np.zeros_like(points), np.ones_like(points)  # H₋₁, which counts for nothing, and H₀
    for n in range(1, _ORDER + 1):
        tables.append((-1) ** (n - 1) * newer * slope / math.factorial(n))
        older, newer = newer, 2 * points * newer - 2 * (n - 1) * older
    return tables


def erf(at: LoweringContext, x: str, dtype: DType) -> str:
    """The error function of a value of that type: onnxruntime's in float32.

    In float64 a table, and its Taylor series of _ORDER terms between: |x − point| ≤ _STEP / 2, and the next term is at
    most 2e-16 there.
    """
    if at.writer.arithmetic.carry(dtype) is not dtypes.FLOAT64:
        return at.emit("Erf", x)

    def number(value: float) -> str:
        return at.writer.number(value, dtypes.FLOAT64)

    near = at.emit("Min", at.emit("Max", x, number(-_FAR)), number(_FAR))
    place = at.emit("Round", at.emit("Mul", near, number(1 / _STEP)))
    off = at.emit("Sub", near, at.emit("Mul", place, number(_STEP)))
    # What is no number has no place in a table: it goes by the first one, and is put back through what it is off.
    index = at.emit("Add", place, number(_FAR / _STEP))
    known = at.emit("Where", at.emit("IsNaN", index), number(0.0), index)
    index = at.emit("Cast", known, to=onnx_type(dtypes.INT32))
    rows = [at.emit("Gather", at.writer.constant(table), index) for table in _erf_tables()]
    value = rows[-1]
    for row in reversed(rows[:-1]):
        value = at.emit("Add", at.emit("Mul", value, off), row)
    return value
