"""Operators that compute each element by itself: arithmetic, functions of one number, casts, choices."""

from __future__ import annotations

from attnfuse.ir.operators.arguments import Arguments, TypeMismatch
from attnfuse.ir.operators.columns import FRESH, Kernel, Memory, Value, alias, converted, same, writes
from attnfuse.ir.operators.inference import (
    arithmetic,
    broadcast,
    common,
    floating,
    one_type,
    real_function,
    reshaped,
    same_as,
    shape,
    with_number,
)
from attnfuse.ir.operators.row import CLASSIC, CORE, DEFINED, OTHER, Infer, Operator, row
from attnfuse.ir.types import COMPLEX64, Kind, ScalarType, TensorType
from attnfuse.mindir.dtypes import BOOL, FLOAT32, FLOAT64, DType

# --- two operands


def _pair(a: Arguments, left: str, right: str) -> tuple[TensorType, TensorType, tuple[int, ...]]:
    one, other = a.tensor(left), a.tensor(right)
    return one, other, broadcast(one.dims, other.dims)


def _result(like: TensorType, dims: tuple[int, ...], dtype: DType) -> TensorType:
    return like if dims == like.dims and dtype is like.dtype else TensorType(dims, dtype)


def _sum(left: str, right: str) -> Infer:
    """Operands of one type, or one complex."""

    def infer(a: Arguments) -> Kind:
        one, other, dims = _pair(a, left, right)
        return _result(one, dims, arithmetic(one, other))

    return infer


def _strict(left: str, right: str) -> Infer:
    """Operands of one type, which the result has."""

    def infer(a: Arguments) -> Kind:
        one, other, dims = _pair(a, left, right)
        return _result(one, dims, one_type(one, other))

    return infer


def _first(left: str, right: str) -> Infer:
    """The first operand's type, whatever the second's is."""

    def infer(a: Arguments) -> Kind:
        one, _, dims = _pair(a, left, right)
        return _result(one, dims, one.dtype)

    return infer


def _promoted(left: str, right: str) -> Infer:
    """The type that holds both."""

    def infer(a: Arguments) -> Kind:
        one, other, dims = _pair(a, left, right)
        return _result(one, dims, common(one.dtype, other.dtype))

    return infer


def _quotient(a: Arguments) -> Kind:
    """float32 of a whole dividend; else operands of one type."""
    one, other, dims = _pair(a, "input", "other")
    dtype = arithmetic(one, other) if one.dtype.is_float else floating(one.dtype)
    return _result(one, dims, dtype)


def _with_number(number: str, *, quotient: bool = False) -> Infer:
    """A tensor and a plain number, which changes the type only where it must."""

    def infer(a: Arguments) -> Kind:
        kind = a.tensor("input")
        dtype = with_number(kind.dtype, a.scalar(number))
        if quotient:
            dtype = floating(dtype)
        return kind if dtype is kind.dtype else TensorType(kind.dims, dtype)

    return infer


def _in_place(a: Arguments) -> Kind:
    """The changed operand, which the other one's shape cannot enlarge."""
    kind, other = a.tensor("input"), a.kind("other")
    if isinstance(other, TensorType):
        broadcast(kind.dims, other.dims[max(0, other.rank - kind.rank) :])
    return kind


def _outer(a: Arguments) -> Kind:
    one, other = a.tensor("input"), a.tensor("vec2")
    if one.rank != 1 or other.rank != 1:
        raise TypeMismatch(f"multiplies {shape(one.dims)} and {shape(other.dims)}; it takes vectors")
    return TensorType((*one.dims, *other.dims), one.dtype)


def _clamp(a: Arguments) -> Kind:
    """Bounds are numbers or tensors that do not enlarge the operand; one of them may be None."""
    kind = a.tensor("input")
    for name in ("min", "max"):
        bound = a.kind(name)
        if isinstance(bound, TensorType) and broadcast(kind.dims, bound.dims) != kind.dims:
            raise TypeMismatch(f"bounds {shape(kind.dims)} by {shape(bound.dims)}")
    if a.is_none("min") and a.is_none("max"):
        raise TypeMismatch("has neither a least nor a largest number")
    return kind


# --- a choice by a condition


def _choose(condition: str, yes: str, no: str) -> Infer:
    def infer(a: Arguments) -> Kind:
        one, other, dims = _pair(a, yes, no)
        return TensorType(broadcast(a.tensor(condition).dims, dims), common(one.dtype, other.dtype))

    return infer


def _fill(a: Arguments) -> Kind:
    kind, mask = a.tensor("input_x"), a.tensor("mask")
    value = a.kind("value")
    if mask.dtype is not BOOL:
        raise TypeMismatch(f"has a mask of {mask.dtype}; it takes bool")
    if isinstance(value, TensorType) and value.dims:
        raise TypeMismatch(f"fills with {value}; it takes a tensor without axes")
    return reshaped(kind, broadcast(kind.dims, mask.dims))


def _fill_with_number(a: Arguments) -> Kind:
    kind, mask = a.tensor("input"), a.tensor("mask")
    return reshaped(kind, broadcast(kind.dims, mask.dims))


# --- other types


def _cast(a: Arguments) -> Kind:
    kind, dtype = a.tensor("input_x"), a.dtype("dtype")
    if dtype is None:
        raise TypeMismatch("has no element type to cast to")
    return kind if dtype is kind.dtype else TensorType(kind.dims, dtype)


def _complex(a: Arguments) -> Kind:
    one, other, dims = _pair(a, "real", "imag")
    one_type(one, other)
    if one.dtype not in (FLOAT32, FLOAT64):
        raise TypeMismatch(f"makes complex numbers of {one.dtype}")
    return None if one.dtype is FLOAT64 else TensorType(dims, COMPLEX64)


def _part(a: Arguments) -> Kind:
    """The real or imaginary part; of real numbers themselves."""
    kind = a.tensor("input")
    return TensorType(kind.dims, FLOAT32) if kind.dtype is COMPLEX64 else kind


def _number_to_tensor(a: Arguments) -> Kind:
    number = a.kind("input")
    dtype = a.dtype("dtype")
    if dtype is None and isinstance(number, ScalarType):
        dtype = number.dtype
    return None if dtype is None else TensorType((), dtype)


def _binary(name: str, infer: Infer, *examples: str, left: str = "input", right: str = "other") -> Operator:
    return row(name, f"{left}: tensor, {right}: tensor", infer, examples=examples)


def _unary(name: str, infer: Infer, *examples: str, operand: str = "input", source: str = DEFINED) -> Operator:
    return row(name, f"{operand}: tensor", infer, examples=examples, source=source)


def _written(name: str, args: str, *examples: str) -> Operator:
    """An operator that changes its first operand."""
    return row(name, f"{args}, state: monad", _in_place, memory=writes("input"), examples=examples)


def _handed_on(
    name: str, args: str, *, memory: Memory = FRESH, kernel: Kernel = Kernel.MOVE, source: str = DEFINED
) -> Operator:
    """An operator that gives its operand again."""
    operand = args.partition(":")[0]
    value: Value = same(operand)
    examples = (f"{name}(x: float16[2, ?]) -> float16[2, ?]",)
    return row(
        name, args, same_as(operand), value=value, memory=memory, kernel=kernel, examples=examples, source=source
    )


def _keeping(name: str, operand: str = "input", source: str = DEFINED) -> Operator:
    """A function whose result has the operand's type, whole numbers included."""
    return _unary(name, same_as(operand), f"{name}(x: float16[2, ?]) -> float16[2, ?]", operand=operand, source=source)


def _real(name: str, operand: str = "input", whole: str = "int64") -> Operator:
    """A function that gives fractions of whole numbers."""
    return _unary(
        name,
        real_function(operand),
        f"{name}(x: float16[2, ?]) -> float16[2, ?]",
        f"{name}(x: {whole}[2, 3]) -> float32[2, 3]",
        operand=operand,
    )


ROWS: tuple[Operator, ...] = (
    _binary(
        "Add",
        _sum("input", "other"),
        "Add(x: float16[2, 3], y: float16[3]) -> float16[2, 3]",
        "Add(x: float32[2, ?], y: float32[5]) -> float32[2, 5]",
        "Add(x: float32[2, ?], y: float32[1]) -> float32[2, ?]",
        "refused: Add(x: float16[2, 3], y: float32[3])",
        "refused: Add(x: float32[2, 3], y: float32[4])",
        "refused: Add(x: float16[2, 3], 2.0)",
    ),
    _binary(
        "Sub",
        _sum("input", "other"),
        "Sub(x: float16[2, 3], y: float16[3]) -> float16[2, 3]",
        "Sub(x: complex64[2, 3], y: complex64[3]) -> complex64[2, 3]",
        "refused: Sub(x: float16[2, 3], y: float32[3])",
    ),
    _binary(
        "Mul",
        _sum("input", "other"),
        "Mul(x: bool[2, 3], y: bool[3]) -> bool[2, 3]",
        "Mul(x: complex64[2, 3], y: float32[3]) -> complex64[2, 3]",
        "refused: Mul(x: int32[2, 3], y: int64[3])",
    ),
    _binary(
        "Div",
        _quotient,
        "Div(x: float16[2, 3], y: float16[3]) -> float16[2, 3]",
        "Div(x: int32[2, 3], y: int32[3]) -> float32[2, 3]",
        "Div(x: int32[2, 3], y: float16[3]) -> float32[2, 3]",
        "refused: Div(x: float16[2, 3], y: int32[3])",
    ),
    _binary(
        "RealDiv",
        _sum("x", "y"),
        "RealDiv(x: int32[2, 3], y: int32[3]) -> int32[2, 3]",
        "refused: RealDiv(x: int32[2, 3], y: float16[3])",
        left="x",
        right="y",
    ),
    _binary(
        "Maximum",
        _first("input", "other"),
        "Maximum(x: float16[3], y: float16[2, 3]) -> float16[2, 3]",
        "Maximum(x: int32[2, 3], y: float32[3]) -> int32[2, 3]",
    ),
    _binary(
        "Minimum",
        _strict("input", "other"),
        "Minimum(x: float16[3], y: float16[2, 3]) -> float16[2, 3]",
        "refused: Minimum(x: float16[2, 3], y: float32[3])",
    ),
    _binary(
        "Pow",
        _promoted("input", "exponent"),
        "Pow(x: int32[2, 3], y: float16[]) -> float16[2, 3]",
        "Pow(x: float16[2, 3], y: float32[]) -> float32[2, 3]",
        "Pow(x: float16[2], y: bfloat16[]) -> float32[2]",
        "Pow(x: uint8[2], y: int8[]) -> int16[2]",
        right="exponent",
    ),
    _binary(
        "FloorDiv",
        _promoted("input", "other"),
        "FloorDiv(x: int32[2, 3], y: int64[3]) -> int64[2, 3]",
        "FloorDiv(x: int32[2], y: float16[2]) -> float16[2]",
    ),
    _binary(
        "FloorMod",
        _promoted("x", "y"),
        "FloorMod(x: float32[2, 3], y: int32[3]) -> float32[2, 3]",
        left="x",
        right="y",
    ),
    *(
        row(
            name,
            "input: tensor, other: tensor, alpha: number = 1",
            _sum("input", "other"),
            examples=(
                f"{name}(x: float16[2, 3], y: float16[3], 2) -> float16[2, 3]",
                f"refused: {name}(x: float16[2, 3], y: float32[3], 1)",
                f"refused: {name}(x: int32[2, 3], y: int64[3], 1)",
            ),
        )
        for name in ("AddExt", "SubExt")
    ),
    *(
        row(
            name,
            "input: tensor, other: number, alpha: number = 1",
            _with_number("other"),
            examples=(
                f"{name}(x: float16[2, 3], 2.5, 1) -> float16[2, 3]",
                f"{name}(x: int32[2, 3], 2.5, 1) -> float32[2, 3]",
                f"{name}(x: int32[2, 3], n: int64, 1) -> int32[2, 3]",
            ),
        )
        for name in ("AddScalar", "SubScalar")
    ),
    row(
        "Muls",
        "input: tensor, other: number",
        _with_number("other"),
        examples=(
            "Muls(x: bfloat16[2, 3], 2.5) -> bfloat16[2, 3]",
            "Muls(x: int32[2, 3], 2.0) -> float32[2, 3]",
            "Muls(x: bool[2, 3], 2) -> int64[2, 3]",
            "Muls(x: bool[2, 3], True) -> bool[2, 3]",
            "Muls(x: uint8[2, 3], 2) -> uint8[2, 3]",
        ),
    ),
    row(
        "Divs",
        "input: tensor, other: number",
        _with_number("other", quotient=True),
        examples=(
            "Divs(x: float16[2, 3], 2.0) -> float16[2, 3]",
            "Divs(x: int32[2, 3], 2) -> float32[2, 3]",
            "Divs(x: float64[2, 3], 2.0) -> float64[2, 3]",
        ),
    ),
    *(
        row(
            name,
            "input: tensor, other: number",
            _with_number("other"),
            examples=(f"{name}(x: float16[2, 3], 2.0) -> float16[2, 3]",),
            source=OTHER,
        )
        for name in ("Adds", "Subs")
    ),
    row(
        "PowTensorScalar",
        "input: tensor, exponent: number",
        _with_number("exponent"),
        examples=(
            "PowTensorScalar(x: float16[2, 3], 0.5) -> float16[2, 3]",
            "PowTensorScalar(x: int32[2, 3], 2) -> int32[2, 3]",
            "PowTensorScalar(x: int32[2, 3], 0.5) -> float32[2, 3]",
        ),
    ),
    _written(
        "InplaceAddExt",
        "input: tensor, other: tensor, alpha: number = 1",
        "InplaceAddExt(x: float16[2, 3], y: float16[3], 2, u: monad) -> float16[2, 3]",
        "InplaceAddExt(x: float16[2, 3], y: float32[3], 1, u: monad) -> float16[2, 3]",
    ),
    _written(
        "InplaceAddsExt",
        "input: tensor, other: number, alpha: number = 1",
        "InplaceAddsExt(x: float16[2, 3], 2.0, 1, u: monad) -> float16[2, 3]",
    ),
    _written(
        "InplaceSubExt",
        "input: tensor, other: tensor, alpha: number = 1",
        "InplaceSubExt(x: float16[2, 3], y: float16[3], 1, u: monad) -> float16[2, 3]",
    ),
    *(
        _written(
            name,
            "input: tensor, other: tensor",
            f"{name}(x: float16[2, 3], y: float16[3], u: monad) -> float16[2, 3]",
            f"{name}(x: float16[2, 3], y: float32[3], u: monad) -> float16[2, 3]",
        )
        for name in ("InplaceMul", "InplaceDiv")
    ),
    *(
        _written(name, "input: tensor, other: number", f"{name}(x: float16[2, 3], 2.0, u: monad) -> float16[2, 3]")
        for name in ("InplaceMuls", "InplaceDivs")
    ),
    row(
        "ClampScalar",
        "input: tensor, min: number? = None, max: number? = None",
        _clamp,
        examples=(
            "ClampScalar(x: float16[2, 3], None, 1.0) -> float16[2, 3]",
            "ClampScalar(x: int32[2, 3], 0.5, 2) -> int32[2, 3]",
            "refused: ClampScalar(x: int32[2, 3], None, None)",
        ),
    ),
    row(
        "ClampTensor",
        "input: tensor, min: tensor? = None, max: tensor? = None",
        _clamp,
        examples=(
            "ClampTensor(x: float16[2, 3], y: float32[3], None) -> float16[2, 3]",
            "refused: ClampTensor(x: float16[2, 3], None, z: float16[4, 2, 3])",
        ),
    ),
    row(
        "Outer",
        "input: tensor, vec2: tensor",
        _outer,
        examples=(
            "Outer(x: int32[?], y: float32[3]) -> int32[?, 3]",
            "refused: Outer(x: float32[2, 2], y: float32[3])",
        ),
    ),
    row(
        "Select",
        "condition: tensor, input: tensor, other: tensor",
        _choose("condition", "input", "other"),
        examples=(
            "Select(c: bool[2, 1], x: float16[3], y: float16[]) -> float16[2, 3]",
            "Select(c: bool[2], x: int32[2], y: float16[2]) -> float16[2]",
            "Select(c: bool[2], x: bfloat16[2], y: float16[2]) -> float32[2]",
            "refused: Select(c: bool[2, 1], x: float16[3], 1.0)",
        ),
    ),
    row(
        "Where",
        "condition: tensor, input: tensor, other: tensor",
        _choose("condition", "input", "other"),
        examples=("Where(c: bool[2, 1], x: float16[3], y: float16[]) -> float16[2, 3]",),
        source=OTHER,
    ),
    row(
        "MaskedFill",
        "input_x: tensor, mask: tensor, value: tensor",
        _fill,
        examples=(
            "MaskedFill(x: float16[3], m: bool[2, 1], v: float16[]) -> float16[2, 3]",
            "MaskedFill(x: float16[2, 3], m: bool[2, 3], v: float32[]) -> float16[2, 3]",
            "refused: MaskedFill(x: float16[2, 3], m: int32[2, 3], v: float16[])",
            "refused: MaskedFill(x: float16[2, 3], m: bool[2, 3], v: float16[1])",
            "refused: MaskedFill(x: float16[2, 3], m: bool[2, 3], 1.0)",
        ),
    ),
    row(
        "MaskedFillScalar",
        "input: tensor, mask: tensor, value: number",
        _fill_with_number,
        examples=("MaskedFillScalar(x: float16[2, 3], m: bool[3], 2.0) -> float16[2, 3]",),
    ),
    row(
        "Cast",
        "input_x: tensor, dtype: dtype",
        _cast,
        value=converted("input_x"),
        examples=(
            "Cast(x: float16[2, ?], float32) -> float32[2, ?]",
            "Cast(x: float16[2, 3], bool) -> bool[2, 3]",
            "refused: Cast(x: float16[2, 3], 9999)",
        ),
        source=CLASSIC,
    ),
    row(
        "ScalarToTensor",
        "input: number, dtype: dtype? = None",
        _number_to_tensor,
        kernel=Kernel.HOST,
        examples=("ScalarToTensor(n: int64, float32) -> float32[]",),
    ),
    row(
        "Complex",
        "real: tensor, imag: tensor",
        _complex,
        examples=(
            "Complex(x: float32[2, 1], y: float32[3]) -> complex64[2, 3]",
            "refused: Complex(x: float16[2], y: float16[2])",
        ),
    ),
    _unary("Real", _part, "Real(x: complex64[2, 3]) -> float32[2, 3]", "Real(x: float32[2]) -> float32[2]"),
    _unary("Imag", _part, "Imag(x: complex64[2, 3]) -> float32[2, 3]", source=CLASSIC),
    *map(_keeping, ("Abs", "Neg", "Ceil", "Floor", "Sign", "Square", "ReLU", "HSwish", "SiLU", "GeLU", "Erf")),
    _keeping("Mish", "x", CLASSIC),
    row(
        "FastGeLU",
        "x: tensor",
        same_as("x"),
        examples=("FastGeLU(x: float16[2, ?]) -> float16[2, ?]",),
        source=CLASSIC,
    ),
    row(
        "GeluExt",
        "input: tensor, approximate: enum",
        same_as("input"),
        examples=("GeluExt(x: float16[2, ?], 1) -> float16[2, ?]", "GeluExt(x: int32[2], 0) -> int32[2]"),
    ),
    *(_real(name) for name in ("Rsqrt", "Sin", "Cos", "Tanh", "Sigmoid", "Reciprocal", "Exp", "Log")),
    _real("Sqrt", "x"),
    _handed_on("Identity", "input_x: tensor", memory=alias("input_x"), kernel=Kernel.VIEW),
    _handed_on("Clone", "input: tensor"),
    _handed_on("Contiguous", "input: tensor", memory=alias("input")),
    _handed_on("TensorMove", "input: tensor", source=CORE),
    _handed_on("StopGradient", "input: tensor", memory=alias("input"), kernel=Kernel.VIEW, source=CORE),
)
