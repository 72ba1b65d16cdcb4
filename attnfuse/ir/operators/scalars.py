"""Arithmetic on numbers that are no tensors: sizes, mostly."""

from __future__ import annotations

from attnfuse.ir.operators.arguments import Arguments, TypeMismatch
from attnfuse.ir.operators.columns import Kernel
from attnfuse.ir.operators.row import CLASSIC, Infer, Operator, row
from attnfuse.ir.types import ScalarType, TensorType, ValueType
from attnfuse.mindir.dtypes import BOOL, FLOAT32, INT64


def _shape(a: Arguments) -> ValueType:
    return (ScalarType(INT64),) * a.tensor("x").rank


def _number(a: Arguments) -> ValueType:
    tensor_type = a.tensor("input_tensor")
    if tensor_type.dims not in ((), (1,), (-1,)):
        raise TypeMismatch(f"reads a number from {tensor_type}")
    return ScalarType(tensor_type.dtype)


def _arithmetic(a: Arguments) -> ValueType:
    """A fraction where one of the two is one."""
    one, other = a.scalar("x"), a.scalar("y")
    return ScalarType(FLOAT32 if one.is_float or other.is_float else INT64)


def _scalar(name: str, infer: Infer, *examples: str) -> Operator:
    return row(name, "x: number, y: number", infer, kernel=Kernel.HOST, examples=examples, source=CLASSIC)


_ARITHMETIC = ("ScalarAdd", "ScalarSub", "ScalarMul", "ScalarFloorDiv", "ScalarMod", "ScalarMax", "ScalarMin")
_COMPARISONS = ("ScalarGt", "ScalarGe", "ScalarLt", "ScalarLe", "ScalarEq")

ROWS: tuple[Operator, ...] = (
    row(
        "Shape",
        "x: tensor",
        _shape,
        kernel=Kernel.HOST,
        examples=("Shape(x: float16[2, ?]) -> (int64, int64)",),
        source=CLASSIC,
    ),
    row(
        "TensorShape",
        "input_x: tensor",
        lambda a: TensorType((a.tensor("input_x").rank,), INT64),
        kernel=Kernel.HOST,
        examples=("TensorShape(x: float16[2, ?]) -> int64[2]",),
    ),
    row(
        "TensorToScalar",
        "input_tensor: tensor",
        _number,
        kernel=Kernel.HOST,
        examples=(
            "TensorToScalar(x: int64[]) -> int64",
            "TensorToScalar(x: bool[]) -> bool",
            "refused: TensorToScalar(x: int64[3])",
        ),
        source=CLASSIC,
    ),
    *(
        _scalar(name, _arithmetic, f"{name}(n: int64, 2) -> int64", f"{name}(n: int64, 2.5) -> float32")
        for name in _ARITHMETIC
    ),
    _scalar("ScalarDiv", lambda a: ScalarType(FLOAT32), "ScalarDiv(n: int64, 2) -> float32"),
    *(_scalar(name, lambda a: ScalarType(BOOL), f"{name}(n: int64, 2) -> bool") for name in _COMPARISONS),
)
