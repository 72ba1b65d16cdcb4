"""Operators that compute each element of several operands: arithmetic, bounds, choices."""

from __future__ import annotations

from attnfuse.ir.operators.arguments import Arguments, NotKnown, TypeMismatch
from attnfuse.ir.operators.columns import Role
from attnfuse.ir.operators.inference import (
    arithmetic,
    broadcast,
    common,
    floating,
    one_type,
    reshaped,
    shape,
    with_number,
)
from attnfuse.ir.operators.row import CLASSIC, OTHER, Infer, Operator, row
from attnfuse.ir.types import COMPLEX64, ScalarType, TensorType, ValueType
from attnfuse.mindir.dtypes import BOOL, FLOAT32, FLOAT64, DType

# --- two operands


def _pair(a: Arguments, left: str, right: str) -> tuple[TensorType, TensorType, tuple[int, ...]]:
    one, other = a.tensor(left), a.tensor(right)
    return one, other, broadcast(one.dims, other.dims)


def _result(like: TensorType, dims: tuple[int, ...], dtype: DType) -> TensorType:
    return like if dims == like.dims and dtype is like.dtype else TensorType(dims, dtype)


def _sum(left: str, right: str) -> Infer:
    """Operands of one type, or one complex."""

    def infer(a: Arguments) -> ValueType:
        one, other, dims = _pair(a, left, right)
        return _result(one, dims, arithmetic(one, other))

    return infer


def _strict(left: str, right: str) -> Infer:
    """Operands of one type, which the result has."""

    def infer(a: Arguments) -> ValueType:
        one, other, dims = _pair(a, left, right)
        return _result(one, dims, one_type(one, other))

    return infer


def _first(left: str, right: str) -> Infer:
    """The first operand's type, whatever the second's is."""

    def infer(a: Arguments) -> ValueType:
        one, _, dims = _pair(a, left, right)
        return _result(one, dims, one.dtype)

    return infer


def _promoted(left: str, right: str) -> Infer:
    """The type that holds both."""

    def infer(a: Arguments) -> ValueType:
        one, other, dims = _pair(a, left, right)
        return _result(one, dims, common(one.dtype, other.dtype))

    return infer


def _quotient(a: Arguments) -> ValueType:
    """float32 of a whole dividend; else operands of one type."""
    one, other, dims = _pair(a, "input", "other")
    dtype = arithmetic(one, other) if one.dtype.is_float else floating(one.dtype)
    return _result(one, dims, dtype)


def _rounded_quotient(divisor: str) -> Infer:
    """Without a rounding float32 of a whole dividend; with one its own type. Two tensors of one type, or a number."""

    def infer(a: Arguments) -> ValueType:
        tensor_type, other = a.tensor("input"), a.value_type(divisor)
        dims = tensor_type.dims
        if isinstance(other, TensorType):
            dims = broadcast(dims, other.dims)
            if tensor_type.dtype.is_float:
                one_type(tensor_type, other)
        return _result(
            tensor_type, dims, floating(tensor_type.dtype) if a.is_none("rounding_mode") else tensor_type.dtype
        )

    return infer


def _with_number(number: str, *, quotient: bool = False) -> Infer:
    """A tensor and a plain number, which changes the type only where it must."""

    def infer(a: Arguments) -> ValueType:
        tensor_type = a.tensor("input")
        dtype = with_number(tensor_type.dtype, a.scalar(number))
        if quotient:
            dtype = floating(dtype)
        return tensor_type if dtype is tensor_type.dtype else TensorType(tensor_type.dims, dtype)

    return infer


def _outer(a: Arguments) -> ValueType:
    one, other = a.tensor("input"), a.tensor("vec2")
    if one.rank != 1 or other.rank != 1:
        raise TypeMismatch(f"multiplies {shape(one.dims)} and {shape(other.dims)}; it takes vectors")
    return TensorType((*one.dims, *other.dims), one.dtype)


def _clamp(a: Arguments) -> ValueType:
    """Bounds are numbers or tensors that do not enlarge the operand; one of them may be None."""
    tensor_type = a.tensor("input")
    for name in ("min", "max"):
        bound = a.value_type(name)
        if isinstance(bound, TensorType) and broadcast(tensor_type.dims, bound.dims) != tensor_type.dims:
            raise TypeMismatch(f"bounds {shape(tensor_type.dims)} by {shape(bound.dims)}")
    if a.is_none("min") and a.is_none("max"):
        raise TypeMismatch("has neither a least nor a largest number")
    return tensor_type


# --- a choice by a condition


def _choose(condition: str, yes: str, no: str) -> Infer:
    def infer(a: Arguments) -> ValueType:
        dims, types = a.tensor(condition).dims, []
        for name in (yes, no):
            if isinstance(a.value_type(name), ScalarType):  # MindSpore 2.10 leaves numbers as they are
                continue
            dims = broadcast(dims, a.tensor(name).dims)
            types.append(a.tensor(name).dtype)
        if not types:
            raise NotKnown(yes)
        if len(types) == 1:
            number = a.scalar(yes if isinstance(a.value_type(yes), ScalarType) else no)
            return TensorType(dims, with_number(types[0], number))
        return TensorType(dims, common(*types))

    return infer


def _fill(a: Arguments) -> ValueType:
    tensor_type, mask = a.tensor("input_x"), a.tensor("mask")
    value = a.value_type("value")
    if mask.dtype is not BOOL:
        raise TypeMismatch(f"has a mask of {mask.dtype}; it takes bool")
    if isinstance(value, TensorType) and value.dims:
        raise TypeMismatch(f"fills with {value}; it takes a tensor without axes")
    return reshaped(tensor_type, broadcast(tensor_type.dims, mask.dims))


def _fill_with_number(a: Arguments) -> ValueType:
    tensor_type, mask = a.tensor("input"), a.tensor("mask")
    return reshaped(tensor_type, broadcast(tensor_type.dims, mask.dims))


def _complex(a: Arguments) -> ValueType:
    one, other, dims = _pair(a, "real", "imag")
    one_type(one, other)
    if one.dtype not in (FLOAT32, FLOAT64):
        raise TypeMismatch(f"makes complex numbers of {one.dtype}")
    return None if one.dtype is FLOAT64 else TensorType(dims, COMPLEX64)


def _binary(
    name: str, infer: Infer, *examples: str, left: str = "input", right: str = "other", role: Role | None = None
) -> Operator:
    return row(name, f"{left}: tensor, {right}: tensor", infer, role=role, examples=examples)


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
        role=Role.EXPONENTIAL,
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
        "condition: tensor, input: operand, other: operand",
        _choose("condition", "input", "other"),
        examples=(
            "Select(c: bool[2, 1], x: float16[3], y: float16[]) -> float16[2, 3]",
            "Select(c: bool[2], x: int32[2], y: float16[2]) -> float16[2]",
            "Select(c: bool[2], x: bfloat16[2], y: float16[2]) -> float32[2]",
        ),
    ),
    row(
        "Where",
        "condition: tensor, input: operand, other: operand",
        _choose("condition", "input", "other"),
        examples=("Where(c: bool[2, 1], x: float16[3], y: float16[]) -> float16[2, 3]",),
        source=OTHER,
    ),
    row(
        "MaskedFill",
        "input_x: tensor, mask: tensor, value: operand",
        _fill,
        examples=(
            "MaskedFill(x: float16[3], m: bool[2, 1], v: float16[]) -> float16[2, 3]",
            "MaskedFill(x: float16[2, 3], m: bool[2, 3], v: float32[]) -> float16[2, 3]",
            "refused: MaskedFill(x: float16[2, 3], m: int32[2, 3], v: float16[])",
            "refused: MaskedFill(x: float16[2, 3], m: bool[2, 3], v: float16[1])",
        ),
    ),
    row(
        "MaskedFillScalar",
        "input: tensor, mask: tensor, value: number",
        _fill_with_number,
        examples=("MaskedFillScalar(x: float16[2, 3], m: bool[3], 2.0) -> float16[2, 3]",),
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
    row(
        "DivMod",
        "input: tensor, other: tensor, rounding_mode: enum? = None",
        _rounded_quotient("other"),
        examples=(
            "DivMod(x: int32[2], y: float16[2], None) -> float32[2]",
            "DivMod(x: int32[2, 3], y: int32[3], 2) -> int32[2, 3]",
            "refused: DivMod(x: float16[2], y: float32[2], None)",
        ),
    ),
    row(
        "DivMods",
        "input: tensor, other: number, rounding_mode: enum? = None",
        _rounded_quotient("other"),
        examples=("DivMods(x: int32[2], 2, None) -> float32[2]", "DivMods(x: float16[2], 2.0, 1) -> float16[2]"),
    ),
    row(
        "Mod",
        "x: tensor, y: tensor",
        _strict("x", "y"),
        examples=("Mod(x: float16[2, 3], y: float16[3]) -> float16[2, 3]", "refused: Mod(x: int32[2], y: float16[2])"),
        source=CLASSIC,
    ),
    _binary(
        "RemainderTensorTensor",
        _promoted("input", "other"),
        "RemainderTensorTensor(x: float16[2, 3], y: float32[3]) -> float32[2, 3]",
    ),
    *(
        row(
            name,
            "input: tensor, other: number",
            _with_number("other"),
            examples=(f"{name}(x: float16[2], 2) -> float16[2]", f"{name}(x: int32[2], 2.5) -> float32[2]"),
        )
        for name in ("FloorDivScalar", "RemainderTensorScalar")
    ),
    row(
        "RemainderScalarTensor",
        "input: number, other: tensor",
        lambda a: TensorType(a.tensor("other").dims, common(a.scalar("input"), a.tensor("other").dtype)),
        examples=(
            "RemainderScalarTensor(2.0, x: float16[2]) -> float32[2]",
            "RemainderScalarTensor(2, x: float16[2]) -> float16[2]",
        ),
    ),
    row(
        "PowScalarTensor",
        "input: number, exponent: tensor",
        lambda a: TensorType(a.tensor("exponent").dims, with_number(a.tensor("exponent").dtype, a.scalar("input"))),
        role=Role.EXPONENTIAL,
        examples=(
            "PowScalarTensor(2.0, x: float16[2]) -> float16[2]",
            "PowScalarTensor(2.0, x: int32[2]) -> float32[2]",
            "PowScalarTensor(2, x: bool[2]) -> int64[2]",
        ),
    ),
)
