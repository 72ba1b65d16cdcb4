"""Functions of one number, casts, and operators that give their operand again."""

from __future__ import annotations

from attnfuse.ir.operators.arguments import Arguments, TypeMismatch
from attnfuse.ir.operators.columns import FRESH, Kernel, Memory, Role, alias, converted, same
from attnfuse.ir.operators.inference import real_function, same_as
from attnfuse.ir.operators.row import CLASSIC, CORE, DEFINED, NEWER, Infer, Operator, row
from attnfuse.ir.types import COMPLEX64, ScalarType, TensorType, ValueType
from attnfuse.mindir.dtypes import BOOL, FLOAT32, INT64, UINT8


def _cast(a: Arguments) -> ValueType:
    tensor_type, dtype = a.tensor("input_x"), a.dtype("dtype")
    if dtype is None:
        raise TypeMismatch("has no element type to cast to")
    return tensor_type if dtype is tensor_type.dtype else TensorType(tensor_type.dims, dtype)


def _error_function(a: Arguments) -> ValueType:
    """float32 of int64 and bool; other whole numbers stay."""
    tensor_type = a.tensor("input")
    return TensorType(tensor_type.dims, FLOAT32) if tensor_type.dtype in (INT64, BOOL) else tensor_type


def _part(a: Arguments) -> ValueType:
    """The real or imaginary part; of real numbers themselves."""
    tensor_type = a.tensor("input")
    return TensorType(tensor_type.dims, FLOAT32) if tensor_type.dtype is COMPLEX64 else tensor_type


def _dropout(a: Arguments) -> ValueType:
    """What is kept, and which elements that are."""
    return a.tensor("x"), a.tensor("x")


def _dropout_ext(a: Arguments) -> ValueType:
    """What is kept, and 128 bits of a mask at a time, as bytes."""
    tensor_type = a.tensor("input")
    if not tensor_type.is_static:
        return tensor_type, TensorType((-1,), UINT8)
    return tensor_type, TensorType((-(-tensor_type.size // 128) * 16,), UINT8)


def _number_to_tensor(a: Arguments) -> ValueType:
    number = a.value_type("input_scalar")
    dtype = a.dtype("dtype")
    if dtype is None and isinstance(number, ScalarType):
        dtype = number.dtype
    return None if dtype is None else TensorType((), dtype)


def _unary(
    name: str,
    infer: Infer,
    *examples: str,
    operand: str = "input",
    source: str = DEFINED,
    role: Role | None = None,
) -> Operator:
    return row(name, f"{operand}: tensor", infer, role=role, examples=examples, source=source)


def _keeping(name: str, operand: str = "input", source: str = DEFINED) -> Operator:
    """A function whose result has the operand's type, whole numbers included, where it takes them."""
    return _unary(name, same_as(operand), f"{name}(x: float16[2, ?]) -> float16[2, ?]", operand=operand, source=source)


def _real(name: str, operand: str = "input", source: str = DEFINED, role: Role | None = None) -> Operator:
    """A function that gives float32 of whole numbers."""
    return _unary(
        name,
        real_function(operand),
        f"{name}(x: float16[2, ?]) -> float16[2, ?]",
        f"{name}(x: int64[2, 3]) -> float32[2, 3]",
        operand=operand,
        source=source,
        role=role,
    )


def _handed_on(
    name: str, operand: str = "input", memory: Memory = FRESH, kernel: Kernel = Kernel.MOVE, source: str = DEFINED
) -> Operator:
    """An operator that gives its operand again."""
    return row(
        name,
        f"{operand}: tensor",
        same_as(operand),
        value=same(operand),
        memory=memory,
        kernel=kernel,
        examples=(f"{name}(x: float16[2, ?]) -> float16[2, ?]",),
        source=source,
    )


ROWS: tuple[Operator, ...] = (
    *map(_keeping, ("Abs", "Neg", "Ceil", "Floor", "Sign", "Square")),
    *map(_keeping, ("ReLU", "HSwish", "SiLU", "GeLU", "ACos", "Asin", "Acosh")),
    _keeping("Mish", "x", CLASSIC),
    _keeping("FastGeLU", "x"),
    *map(_real, ("Rsqrt", "Sin", "Cos", "Tanh", "Sigmoid", "Reciprocal", "Log", "Log1p", "Log2", "Log10")),
    *map(_real, ("AcosExt", "AsinExt", "AcoshExt", "Atanh", "Erfinv")),
    *(_real(name, role=Role.EXPONENTIAL) for name in ("Exp", "Exp2")),
    _real("Sqrt", "x"),
    _real("LogExt", source=NEWER),
    _unary(
        "Erf",
        _error_function,
        "Erf(x: float16[2, ?]) -> float16[2, ?]",
        "Erf(x: int64[2]) -> float32[2]",
        "Erf(x: int32[2]) -> int32[2]",
    ),
    row(
        "GeluExt",
        "input: tensor, approximate: enum",
        same_as("input"),
        examples=("GeluExt(x: float16[2, ?], 1) -> float16[2, ?]", "GeluExt(x: int32[2], 0) -> int32[2]"),
    ),
    row(
        "NanToNum",
        "input: tensor, nan: number? = None, posinf: number? = None, neginf: number? = None",
        same_as("input"),
        examples=("NanToNum(x: float16[2, ?], 0.0, None, None) -> float16[2, ?]",),
    ),
    row(
        "Dropout",
        "x: tensor, keep_prob: float = 0.5, Seed0: int = 0, Seed1: int = 0",
        _dropout,
        examples=("Dropout(x: float16[2, ?], 1.0, 0, 0) -> (float16[2, ?], float16[2, ?])",),
    ),
    row(
        "DropoutExt",
        "input: tensor, p: number, seed: tensor, offset: tensor",
        _dropout_ext,
        examples=(
            "DropoutExt(x: float16[2, 100], 0.0, s: int64[1], o: int64[1]) -> (float16[2, 100], uint8[32])",
            "DropoutExt(x: float16[2, ?], 0.0, s: int64[1], o: int64[1]) -> (float16[2, ?], uint8[?])",
        ),
    ),
    row(
        "Logit",
        "input: tensor, eps: float",
        same_as("input"),
        examples=("Logit(x: float16[2, ?], 0.1) -> float16[2, ?]",),
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
        "input_scalar: number, dtype: dtype? = None",
        _number_to_tensor,
        kernel=Kernel.HOST,
        examples=("ScalarToTensor(n: int64, float32) -> float32[]",),
        source=CLASSIC,
    ),
    _unary("Real", _part, "Real(x: complex64[2, 3]) -> float32[2, 3]", "Real(x: float32[2]) -> float32[2]"),
    _unary("Imag", _part, "Imag(x: complex64[2, 3]) -> float32[2, 3]", source=CLASSIC),
    _handed_on("Identity", "input_x", alias("input_x"), Kernel.VIEW),
    _handed_on("Clone"),
    _handed_on("Contiguous", "input", alias("input")),
    _handed_on("TensorMove", source=CORE),
    _handed_on("StopGradient", "input", alias("input"), Kernel.VIEW, CORE),
)
