"""What an operator is to the engine follows from its row, for every row there is."""

from __future__ import annotations

import pytest

from attnfuse.cost.sorts import Sort, sort_of
from attnfuse.ir.operators.table import OPERATORS
from attnfuse.mindir.dtypes import FLOAT16
from tests.support.graphs import GraphBuilder


def sort_named(op: str, several: bool = False) -> Sort:
    g = GraphBuilder()
    x = g.input("x", (4,), FLOAT16)
    made = g.node(op, [x], g.type_of(x))
    g.output(made)
    node = g.model().producer(made)
    assert node is not None
    return sort_of(node, several)


def test_every_row_has_a_sort() -> None:
    for op in OPERATORS:
        assert isinstance(sort_named(op), Sort), op


@pytest.mark.parametrize(
    ("op", "sort"),
    [
        ("Reshape", Sort.VIEW),
        ("Identity", Sort.SAME),
        ("Contiguous", Sort.SAME),
        ("Load", Sort.SAME),
        ("TransposeView", Sort.TRANSPOSE),
        ("SliceExtView", Sort.PICK),
        ("BroadcastTo", Sort.COPY),
        ("Concat", Sort.CONCAT),
        ("SiLU", Sort.ELEMENTWISE),
        ("GeluExt", Sort.ELEMENTWISE),
        ("GeGluV2", Sort.COPY),
        ("LayerNormExt", Sort.NORM),
        ("AddLayerNorm", Sort.COPY),
        ("GroupNorm", Sort.GROUP_NORM),
        ("Conv2DExt", Sort.CONVOLUTION),
        ("Dense", Sort.PRODUCT),
        ("ScalarAdd", Sort.NUMBERS),
        ("Zeros", Sort.CREATE),
        ("Assign", Sort.WRITE),
        ("AnybodysOperator", Sort.ELEMENTWISE),
    ],
)
def test_sorts_of_operators_of_both_spellings(op: str, sort: Sort) -> None:
    assert sort_named(op) is sort


@pytest.mark.parametrize("op", ["Split", "SplitTensor", "Chunk", "SplitWithSizeView"])
def test_parts_of_a_value_are_a_split(op: str) -> None:
    assert sort_named(op, several=True) is Sort.SPLIT
