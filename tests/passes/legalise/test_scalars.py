"""Operators between a tensor and a number."""

from __future__ import annotations

import numpy as np

from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, INT8, INT64, DType
from tests.passes.legalise.support import Case, Make, cases
from tests.support.graphs import GraphBuilder, seeded


def scalar(op: str, number: bool | int | float, dtype: DType = FLOAT32, out: DType | None = None, dim: int = 5) -> Make:
    def make(g: GraphBuilder) -> str:
        kind = TensorType((dim, 5), out or dtype)
        return g.node(op, [g.input("x", (dim, 5), dtype), g.constant(number)], kind)

    return make


def with_alpha(op: str, alpha: float, dtype: DType = FLOAT32) -> Make:
    def make(g: GraphBuilder) -> str:
        x, y = g.input("x", (2, 3), dtype), g.input("y", (3,), dtype)
        return g.node(op, [x, y, g.constant(alpha)], TensorType((2, 3), dtype))

    return make


def by_alpha(op: str, number: float, alpha: int, dtype: DType = FLOAT32) -> Make:
    def make(g: GraphBuilder) -> str:
        return g.op(op, g.input("x", (2, 3), dtype), number, alpha)

    return make


def computed(g: GraphBuilder) -> str:
    """The number is a tensor of the graph, as no export of MindSpore has it."""
    return g.node("Muls", [g.input("x", (2, 3)), g.input("y", ())], TensorType((2, 3), FLOAT32))


THIRD = float(np.float32(1 / 3))
IN_FLOAT32 = ("Cast", "Mul", "Cast")
WHOLE = {"x": np.arange(-12, 13).reshape(5, 5)}
POSITIVE = {"x": np.abs(seeded("x", (5, 5))) + np.float32(0.1)}

cases(
    "scalars",
    Case("Muls", scalar("Muls", THIRD), ("Mul",)),
    Case("Muls by a whole number", scalar("Muls", 3), ("Mul",)),
    Case("Muls of one unknown size", scalar("Muls", THIRD, dim=-1), ("Mul",)),
    Case("Muls in float16", scalar("Muls", 0.125, FLOAT16), ("Mul",)),
    Case("Muls in float16 by what it does not hold", scalar("Muls", THIRD, FLOAT16), IN_FLOAT32),
    Case("Muls in float16 by what it cannot hold", scalar("Muls", 1e6, FLOAT16), IN_FLOAT32),
    Case("Muls in bfloat16 by what it does not hold", scalar("Muls", THIRD, BFLOAT16), IN_FLOAT32),
    Case("Muls of whole numbers", scalar("Muls", 3, INT64), ("Mul",), inputs=WHOLE),
    Case("Muls of whole numbers by a fraction", scalar("Muls", 0.5, INT64, FLOAT32), ("Cast", "Mul"), inputs=WHOLE),
    Case(
        "Muls of truth values",
        scalar("Muls", 3, BOOL, INT64),
        ("Cast", "Mul"),
        inputs={"x": WHOLE["x"] > 0},
    ),
    Case("Muls by what the type does not hold", scalar("Muls", 300, INT8), refused="int8 does not hold"),
    Case("Muls by a tensor", computed, refused="not a constant"),
    Case("Divs", scalar("Divs", 3), ("Div",)),
    Case("Divs by a fraction", scalar("Divs", THIRD), ("Div",)),
    Case("Divs in float16", scalar("Divs", 8, FLOAT16), ("Div",)),
    Case("Divs in float16 by what it does not hold", scalar("Divs", THIRD, FLOAT16), ("Cast", "Div", "Cast")),
    Case("Divs of whole numbers", scalar("Divs", 4, INT64, FLOAT32), ("Cast", "Div"), inputs=WHOLE),
    Case("AddExt", with_alpha("AddExt", 1), ("Add",)),
    Case("AddExt with a factor", with_alpha("AddExt", 0.5), ("Mul", "Add")),
    Case(
        "AddExt of whole numbers with a factor",
        with_alpha("AddExt", 2, INT64),
        refused="multiplies int64",
    ),
    Case("SubExt", with_alpha("SubExt", 1), ("Sub",)),
    Case("SubExt with a factor", with_alpha("SubExt", 0.5), ("Mul", "Sub")),
    Case("AddScalar", by_alpha("AddScalar", 0.25, 1), ("Add",)),
    Case("AddScalar with a factor", by_alpha("AddScalar", 0.25, 3), ("Add",)),
    Case(
        "AddScalar in float16 of what it does not hold",
        by_alpha("AddScalar", THIRD, 1, FLOAT16),
        ("Cast", "Add", "Cast"),
    ),
    Case("SubScalar", by_alpha("SubScalar", 0.25, 2), ("Sub",)),
    Case("PowTensorScalar, a square", scalar("PowTensorScalar", 2), ("Square",)),
    Case("PowTensorScalar, a square in float16", scalar("PowTensorScalar", 2, FLOAT16), ("Square",)),
    Case("PowTensorScalar, a square of whole numbers", scalar("PowTensorScalar", 2, INT64), ("Square",), inputs=WHOLE),
    Case("PowTensorScalar, a cube", scalar("PowTensorScalar", 3.0), ("Pow",)),
    Case("PowTensorScalar, a root", scalar("PowTensorScalar", 0.5), ("Pow",), inputs=POSITIVE),
    Case(
        "PowTensorScalar in float16 to what it does not hold",
        scalar("PowTensorScalar", THIRD, FLOAT16),
        ("Cast", "Pow", "Cast"),
        inputs={"x": POSITIVE["x"].astype(np.float16)},
    ),
    Case("LessScalar", scalar("LessScalar", 0.25, out=BOOL), ("Less",), newer=True),
    Case("LessScalar of whole numbers", scalar("LessScalar", 8, INT64, BOOL), ("Less",), inputs=WHOLE, newer=True),
    Case("LessScalar in float16", scalar("LessScalar", 0.25, FLOAT16, BOOL), ("Less",), newer=True),
    Case(
        "LessScalar in float16 with what it does not hold",
        scalar("LessScalar", THIRD, FLOAT16, BOOL),
        ("Cast", "Less"),
        inputs={"x": np.full((5, 5), 1 / 3, np.float16)},
        newer=True,
    ),
    Case(
        "LessScalar of whole numbers and a fraction", scalar("LessScalar", 0.5, INT64, BOOL), refused="compares int64"
    ),
    Case("GreaterScalar", scalar("GreaterScalar", 0.25, out=BOOL), ("Greater",), newer=True),
    Case("GreaterEqualScalar", scalar("GreaterEqualScalar", 0.25, out=BOOL), ("GreaterEqual",)),
    Case("NeScalar", scalar("NeScalar", 0, INT64, BOOL), ("NotEqual",), inputs=WHOLE, newer=True),
    Case("EqScalar", scalar("EqScalar", 0, INT64, BOOL), ("Equal",), inputs=WHOLE, newer=True),
)
