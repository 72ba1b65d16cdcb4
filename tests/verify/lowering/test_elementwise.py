"""Element-wise operators, casts and constants, held to NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, FLOAT64, INT64
from attnfuse.verify.lowering import Arithmetic, UnsupportedOpError
from tests.verify.lowering.support import EXACT, NATIVE, Case, N, P, X, Y, b, check, f, one

WHOLE = np.array([7, -7, 6, -6], np.float32)
SMALL = np.array([0, 1e-8, -1e-5, 0.5, 3e4, np.inf], np.float32)
WIDE = np.array([-100, -30, -4, -1, 0, 1, 9.5, 10.5, 100], np.float32)
SOFT = np.where(2 * WIDE > 20, WIDE.astype(float), np.logaddexp(0, 2 * WIDE.astype(float)) / 2)

CASES: list[Case] = [
    ("Add", [X, f(4)], X.astype(float) + f(4), FLOAT32),
    ("AddExt", [X, Y, 2], X.astype(float) + 2 * Y.astype(float), FLOAT32),
    ("SubExt", [X, Y, 2], X.astype(float) - 2 * Y.astype(float), FLOAT32),
    ("InplaceAddExt", [X, Y, 1], X.astype(float) + Y, FLOAT32),
    ("Mul", [X, b(3, 4)], X.astype(float) * b(3, 4), FLOAT32),
    ("Muls", [X, 0.1], X.astype(float) * np.float32(0.1), FLOAT32),
    ("Divs", [X, 3], X.astype(float) / 3, FLOAT32),
    ("RealDiv", [X, P], X.astype(float) / P, FLOAT32),
    ("Pow", [P, np.float32(1.5) * np.ones((), np.float32)], P.astype(float) ** 1.5, FLOAT32),
    ("PowTensorScalar", [X, 2], X.astype(float) ** 2, FLOAT32),
    ("PowTensorScalar", [P, 0.5], P.astype(float) ** 0.5, FLOAT32),
    ("Minimum", [X, Y], np.minimum(X, Y), FLOAT32),
    ("Maximum", [X, Y], np.maximum(X, Y), FLOAT32),
    ("Less", [X, Y], X < Y, BOOL),
    ("AddScalar", [X, 0.5, 2], X.astype(float) + 1.0, FLOAT32),
    ("SubScalar", [X, 0.5, 2], X.astype(float) - 1.0, FLOAT32),
    ("LessScalar", [N, 2], N < 2, BOOL),
    ("LessScalar", [N, 1.5], N < 1.5, BOOL),
    ("LessScalar", [N, math.inf], math.inf > N, BOOL),
    ("GreaterEqualScalar", [N, 2], N >= 2, BOOL),
    ("NeScalar", [N, 2], N != 2, BOOL),
    ("NeScalar", [N, 1.5], np.ones(N.shape, bool), BOOL),
    ("EqScalar", [N, 2], N == 2, BOOL),
    ("GreaterEqual", [X, X.copy()], np.ones((3, 4), bool), BOOL),
    ("LessEqual", [X, Y], X <= Y, BOOL),
    ("NotEqual", [N, N[:, :1].copy()], N[:, :1] != N, BOOL),
    ("FloorDiv", [np.array([7, -7, 6, -6], np.int64), np.array(2, np.int64)], np.array([3, -4, 3, -3]), INT64),
    ("LogicalNot", [b(3)], ~b(3), BOOL),
    ("LogicalAnd", [b(3, 4), b(4)], b(3, 4) & b(4), BOOL),
    ("BitwiseOr", [b(3, 4), b(4)], b(3, 4) | b(4), BOOL),
    ("IsInf", [np.array([1, np.inf, -np.inf, np.nan], np.float32)], np.array([0, 1, 1, 0], bool), BOOL),
    ("Select", [b(4), b(3, 4), ~b(3, 4)], np.where(b(4), b(3, 4), ~b(3, 4)), BOOL),
    ("MaskedFill", [b(3, 4), b(4), np.array(True)], b(3, 4) | b(4), BOOL),
    ("Select", [b(3, 4), X, Y], np.where(b(3, 4), X, Y), FLOAT32),
    ("MaskedFill", [X, b(3, 4), np.array(-7, np.float32)], np.where(b(3, 4), -7, X), FLOAT32),
    ("Rsqrt", [P], P.astype(float) ** -0.5, FLOAT32),
    ("SiLU", [X], X / (1 + np.exp(-X.astype(float))), FLOAT32),
    ("Log", [P], np.log(P.astype(float)), FLOAT32),
    ("Log2", [P], np.log2(P.astype(float)), FLOAT32),
    ("Log10", [P], np.log10(P.astype(float)), FLOAT32),
    ("GeluExt", [X, 0], np.vectorize(lambda v: v / 2 * (1 + math.erf(v / math.sqrt(2))))(X.astype(float)), FLOAT32),
    (
        "GeLU",
        [X],
        X / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (X.astype(float) + 0.044715 * X.astype(float) ** 3))),
        FLOAT32,
    ),
    ("ClampScalar", [X, -0.5, None], np.maximum(X, -0.5), FLOAT32),
    ("ClampTensor", [X, np.array([-1], np.int64), np.array([1], np.int64)], np.clip(X, -1, 1), FLOAT32),
    ("Outer", [f(3), f(4)], np.outer(f(3).astype(float), f(4)), FLOAT32),
    ("Cast", [X, 10], X, FLOAT64),
    ("FloorDiv", [WHOLE, np.array([2, 2, 2, 2], np.float32)], np.array([3.0, -4, 3, -3]), FLOAT32),
    ("FloorMod", [WHOLE, np.array([3, 3, -4, -4], np.float32)], np.array([1.0, 2, -2, -2]), FLOAT32),
    ("FloorMod", [np.array([-5, 5], np.int64), np.array([3, -3], np.int64)], np.array([1, -1]), INT64),
    ("RemainderTensorScalar", [WHOLE, 4], np.array([3.0, 1, 2, 2]), FLOAT32),
    ("Mod", [np.array([-5, 5, -5.5], np.float32), np.array([3, -3, 2], np.float32)], np.array([-2, 2, -1.5]), FLOAT32),
    ("PowScalarTensor", [2.0, X], 2.0 ** X.astype(float), FLOAT32),
    ("LogicalXor", [b(3, 4), b(4)], b(3, 4) ^ b(4), BOOL),
    ("IsFinite", [np.array([1, np.inf, -np.inf, np.nan], np.float32)], np.array([1, 0, 0, 0], bool), BOOL),
    ("Log1p", [SMALL], np.log1p(SMALL.astype(float)), FLOAT32),
    ("Softplus", [WIDE], np.logaddexp(0, WIDE.astype(float)), FLOAT32),
    ("SoftplusExt", [WIDE, 2.0, 20.0], SOFT, FLOAT32),
    ("Mish", [WIDE], WIDE * np.tanh(np.logaddexp(0, WIDE.astype(float))), FLOAT32),
    ("HSwish", [WIDE], WIDE * np.clip(WIDE.astype(float) + 3, 0, 6) / 6, FLOAT32),
    ("Exp2", [X], 2.0 ** X.astype(float), FLOAT32),
    ("Sign", [X], np.sign(X), FLOAT32),
    ("NanToNum", [np.array([np.nan, np.inf, -np.inf, 1], np.float32), 7.0, 8.0, 9.0], np.array([7, 8, 9, 1]), FLOAT32),
    (
        "NanToNum",
        [np.array([np.nan, np.inf, -np.inf], np.float16), None, None, None],
        np.array([0, 65504, -65504]),
        FLOAT16,
    ),
]


@pytest.mark.parametrize("arithmetic", [EXACT, NATIVE])
@pytest.mark.parametrize("case", CASES, ids=[c[0] for c in CASES])
def test_operators(case: Case, arithmetic: Arithmetic) -> None:
    check(case, arithmetic)


def test_erf_is_exact_in_float64() -> None:
    x = np.concatenate([np.linspace(-7, 7, 2001), [0.0, 1e-9, 30.0, -30.0]])
    got = one("Erf", [x], x.shape, FLOAT64)
    np.testing.assert_allclose(got, [math.erf(v) for v in x], rtol=0, atol=1e-14)


def test_elements_never_written_are_no_numbers() -> None:
    assert np.isnan(one("EmptyLike", [X, None, None, False], X.shape)).all()
    assert np.isnan(one("EmptyLike", [X, None, None, False], X.shape, FLOAT16, NATIVE)).all()
    with pytest.raises(UnsupportedOpError, match="not set"):
        one("EmptyLike", [N, None, None, False], N.shape, INT64)


def test_a_logarithm_of_another_base_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="another base"):
        one("Log", [P], (3, 4), attributes={"base": 2.0})


def test_a_fill_of_another_type_is_what_the_type_of_the_result_holds() -> None:
    """−65504 of float16 is −65536 in bfloat16, which moves no number and still is no longer what was given."""
    x, hidden = np.zeros((2, 3), BFLOAT16.numpy), np.array([True, False, True])
    given = np.array(-65504.0, np.float16)  # an input: in float64 it is what it is
    for fill, arithmetic in ((given, NATIVE), (-65504.0, NATIVE), (-65504.0, EXACT)):
        filled = one("MaskedFill", [x, hidden, fill], x.shape, BFLOAT16, arithmetic)
        np.testing.assert_array_equal(filled, np.where(hidden, -65536.0, x.astype(float)))
