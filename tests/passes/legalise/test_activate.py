"""Activations and bounds."""

from __future__ import annotations

import numpy as np

from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, INT8, INT64, DType
from tests.passes.legalise.support import Case, Make, cases
from tests.support.graphs import GraphBuilder


def gelu(form: int, dtype: DType = FLOAT32, dim: int = 4) -> Make:
    def make(g: GraphBuilder) -> str:
        return g.op("GeluExt", g.input("x", (dim, 6), dtype), form)

    return make


def clamp(least: float | None, most: float | None, dtype: DType = FLOAT32, out: DType | None = None) -> Make:
    def make(g: GraphBuilder) -> str:
        values = [g.input("x", (5, 5), dtype), g.constant(least), g.constant(most)]
        return g.node("ClampScalar", values, TensorType((5, 5), out or dtype))

    return make


def clamp_between(dtype: DType, bounds: DType) -> Make:
    def make(g: GraphBuilder) -> str:
        least, most = (g.constant(np.array([v], bounds.numpy)) for v in (-1, 1))
        return g.op("ClampTensor", g.input("x", (5, 5), dtype), least, most)

    return make


def clamp_below(g: GraphBuilder) -> str:
    return g.op("ClampTensor", g.input("x", (5, 5)), None, g.input("most", (5,)))


def function(op: str, dtype: DType = INT64, out: DType = FLOAT32, operands: int = 1) -> Make:
    def make(g: GraphBuilder) -> str:
        values = [g.input(f"x{i}", (5, 2), dtype) for i in range(operands)]
        return g.node(op, values, TensorType((5, 2), out))

    return make


ROOT = 3e-8  # √½ is a constant in float32
EXACT = ("Mul", "Erf", "Add", "Mul", "Mul")
FUNCTIONS = ("Erf", "Exp", "Reciprocal", "Rsqrt", "Sqrt", "Tanh")
POSITIVE = {"x0": np.arange(1, 11).reshape(5, 2), "x1": np.arange(3, 13).reshape(5, 2)}
WHOLE = {"x": np.arange(-12, 13).reshape(5, 5)}

cases(
    "activate",
    Case("GeluExt", gelu(0), EXACT, exact=ROOT),
    Case("GeluExt in float16", gelu(0, FLOAT16), ("Cast", *EXACT, "Cast"), exact=ROOT),
    Case("GeluExt in bfloat16", gelu(0, BFLOAT16), ("Cast", *EXACT, "Cast"), exact=ROOT),
    Case("GeluExt of one unknown size", gelu(0, dim=-1), EXACT),
    Case("GeluExt by tanh", gelu(1), ("GeLU",)),
    Case("GeluExt by tanh in float16", gelu(1, FLOAT16), ("GeLU",)),
    Case("GeluExt of an unknown form", gelu(2), refused="neither 0 nor 1"),
    Case("ClampScalar", clamp(-0.5, 0.75), ("Maximum", "Minimum")),
    Case("ClampScalar, bounds the wrong way round", clamp(0.75, -0.5), ("Maximum", "Minimum")),
    Case("ClampScalar from below", clamp(-0.5, None), ("Maximum",)),
    Case("ClampScalar from above", clamp(None, 0.5), ("Minimum",)),
    Case("ClampScalar by whole numbers in float16", clamp(-65504, 65504, FLOAT16), ("Maximum", "Minimum")),
    Case("ClampScalar of whole numbers", clamp(-3, 4, INT64), ("Maximum", "Minimum"), inputs=WHOLE),
    Case("ClampScalar by what the type does not hold", clamp(-300, None, INT8), refused="does not hold its bound"),
    Case("ClampScalar of whole numbers by a fraction", clamp(-0.5, None, INT64), refused="does not hold its bound"),
    *(Case(f"{op} of whole numbers", function(op), ("Cast", op), inputs=POSITIVE) for op in FUNCTIONS),
    Case("Exp of floating-point numbers", function("Exp", FLOAT32), ("Exp",)),
    Case("Div of whole numbers", function("Div", operands=2), ("Cast", "Cast", "Div"), inputs=POSITIVE),
    Case("Div of whole numbers to whole numbers", function("Div", INT64, INT64, 2), refused="it gives int64"),
    Case("ClampTensor", clamp_between(FLOAT32, FLOAT32), ("Maximum", "Minimum")),
    Case("ClampTensor by whole numbers", clamp_between(FLOAT16, INT64), ("Cast", "Maximum", "Cast", "Minimum")),
    Case("ClampTensor from above", clamp_below, ("Minimum",)),
)
