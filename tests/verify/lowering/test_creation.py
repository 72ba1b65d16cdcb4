"""Tensors made from numbers and shapes, held to NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse.mindir.dtypes import BOOL, FLOAT16, FLOAT32, INT32, INT64
from attnfuse.verify.lowering import Arithmetic
from tests.verify.lowering.support import EXACT, NATIVE, Case, X, check, one

_ON, _OFF = np.array(2, np.float32), np.array(-1, np.float32)
_PLACES = np.array([0, 2, 5, -1], np.int32)
_HOT = np.array([[2, -1, -1], [-1, -1, 2], [-1, -1, -1], [-1, -1, -1]])
"""As MindSpore's CPU kernel gives it."""

CASES: list[Case] = [
    ("OnesLikeExt", [X, 43], np.ones((3, 4)), FLOAT32),
    ("FillScalar", [(2, 3), 1.5, 43], np.full((2, 3), 1.5), FLOAT32),
    ("FillV2", [(2, 3), np.array(1.5, np.float32)], np.full((2, 3), 1.5), FLOAT32),
    ("FillTensor", [(2, 3), np.array([1.5], np.float32), None], np.full((2, 3), 1.5), FLOAT32),
    ("FullLike", [X, 2.5, None], np.full((3, 4), 2.5), FLOAT32),
    ("FullLike", [X, 2.7, 34], np.full((3, 4), 2), INT32),
    ("FullLike", [X, 0.1, 42], np.full((3, 4), np.float16(0.1)), FLOAT16),
    ("NewFull", [X, (2,), 2.5, None], np.full(2, 2.5), FLOAT32),
    ("Eye", [2, 3, 42], np.eye(2, 3), FLOAT16),
    ("Eye", [3, 3, 30], np.eye(3, dtype=bool), BOOL),
    ("OneHot", [_PLACES, 3, _ON, _OFF, -1], _HOT, FLOAT32),
    ("OneHot", [_PLACES, 3, _ON, _OFF, 0], _HOT.T, FLOAT32),
    ("Arange", [0, 5, 2, 35], np.arange(0, 5, 2), INT64),
    ("LinSpaceExt", [-1.0, 2.0, 7, 43], np.linspace(-1.0, 2.0, 7), FLOAT32),
]


@pytest.mark.parametrize("arithmetic", [EXACT, NATIVE])
@pytest.mark.parametrize("case", CASES, ids=[c[0] for c in CASES])
def test_operators(case: Case, arithmetic: Arithmetic) -> None:
    check(case, arithmetic)


def test_a_number_beyond_the_type_is_infinite_in_float64_too() -> None:
    np.testing.assert_array_equal(one("FullLike", [X, -1e9, 42], (3, 4), FLOAT16), np.full((3, 4), -np.inf))
