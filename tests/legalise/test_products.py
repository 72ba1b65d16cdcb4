"""Matrix products: the mint products as MatMul and BatchMatMul."""

from __future__ import annotations

import pytest

from attnfuse.mindir.dtypes import FLOAT16
from tests.legalise.support import (
    Case,
    Inferred,
    cases,
    check_inference,
    check_numbers,
    check_structure,
    computable,
    legal,
)
from tests.support.graphs import GraphBuilder


def batch_matmul(g: GraphBuilder) -> str:
    return g.bmm(g.input("x", (2, 3, 4)), g.input("y", (2, 4, 5)))


def batch_matmul_in_float16(g: GraphBuilder) -> str:
    return g.bmm(g.input("x", (2, 3, 4), FLOAT16), g.input("y", (2, 4, 5), FLOAT16))


CASES = cases(
    "products",
    Case("BatchMatMulExt", batch_matmul, ("BatchMatMul",)),
    Case("BatchMatMulExt in float16", batch_matmul_in_float16, ("BatchMatMul",)),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_structure(case: Case) -> None:
    check_structure(case)


@pytest.mark.parametrize("case", computable(CASES), ids=str)
def test_numbers(case: Case) -> None:
    check_numbers(case)


@pytest.mark.mindspore
@pytest.mark.parametrize("case", legal(CASES), ids=str)
def test_inference(case: Case, inferred: Inferred) -> None:
    check_inference(case, inferred)
