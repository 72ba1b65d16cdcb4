"""Comparisons, truths, and tests of numbers."""

from __future__ import annotations

from attnfuse.ir.operators.arguments import Arguments
from attnfuse.ir.operators.columns import Role
from attnfuse.ir.operators.inference import broadcast, one_type, shaped_as
from attnfuse.ir.operators.row import CLASSIC, CORE, DEFINED, NEWER, OTHER, Infer, Operator, row
from attnfuse.ir.types import TensorType, ValueType
from attnfuse.mindir.dtypes import BOOL


def _truth(left: str, right: str) -> Infer:
    """A truth for each pair of elements; the two need not be of one type."""

    def infer(a: Arguments) -> ValueType:
        return TensorType(broadcast(a.tensor(left).dims, a.tensor(right).dims), BOOL)

    return infer


def _bits(a: Arguments) -> ValueType:
    one, other = a.tensor("x"), a.tensor("y")
    return TensorType(broadcast(one.dims, other.dims), one_type(one, other))


def _comparison(name: str, left: str = "input", right: str = "other") -> Operator:
    return row(
        name,
        f"{left}: tensor, {right}: tensor",
        _truth(left, right),
        examples=(
            f"{name}(x: float16[2, 3], y: float32[3]) -> bool[2, 3]",
            f"{name}(x: int32[2, ?], y: int32[3]) -> bool[2, 3]",
            f"refused: {name}(x: float16[2, 3], y: float16[2])",
        ),
    )


def _with_number(name: str, source: str = DEFINED) -> Operator:
    return row(
        name,
        "input: tensor, other: number",
        shaped_as("input", BOOL),
        examples=(f"{name}(x: float16[2, ?], 2) -> bool[2, ?]",),
        source=source,
    )


def _test(name: str, operand: str, role: Role | None = None, source: str = DEFINED) -> Operator:
    return row(
        name,
        f"{operand}: tensor",
        shaped_as(operand, BOOL),
        role=role,
        examples=(f"{name}(x: float16[2, ?]) -> bool[2, ?]",),
        source=source,
    )


ROWS: tuple[Operator, ...] = (
    *map(_comparison, ("Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual")),
    *(_comparison(name, "x", "y") for name in ("LogicalAnd", "LogicalOr")),
    _comparison("LogicalXor"),
    _with_number("GreaterEqualScalar"),
    _with_number("NeScalar", CORE),
    *(_with_number(name, NEWER) for name in ("EqScalar", "LessScalar", "LessEqualScalar", "GreaterScalar")),
    _with_number("NotEqualScalar", OTHER),
    _test("LogicalNot", "input"),
    _test("IsNan", "x", Role.NAN_TEST, CLASSIC),
    _test("IsNaN", "x", Role.NAN_TEST, OTHER),
    _test("IsInf", "input"),
    _test("IsFinite", "input"),
    *(
        row(
            name,
            "x: tensor, y: tensor",
            _bits,
            examples=(
                f"{name}(x: bool[2, 3], y: bool[3]) -> bool[2, 3]",
                f"refused: {name}(x: int32[2, 3], y: int64[3])",
            ),
            source=CLASSIC,
        )
        for name in ("BitwiseAnd", "BitwiseOr")
    ),
)
