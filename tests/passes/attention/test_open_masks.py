"""Masks whose length is known at run time only: as many keys as the scores have, or one that stands for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from attnfuse.ir.types import Array
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32, DType
from tests.support.graphs import GraphBuilder, seeded
from tests.support.sites import Change, Site

OPEN = -1
LENGTHS = {"query": 4, "key": 5, "value": 5}


def condition(g: GraphBuilder, dims: tuple[int, ...]) -> str:
    return g.input("mask", dims, dtypes.BOOL)


def filled(fill: float, dims: tuple[int, ...] = (2, 1, 1, OPEN)) -> Change:
    return lambda g, s: g.masked_fill(s, condition(g, dims), np.array(fill, g.type_of(s).dtype.numpy))


def added(dims: tuple[int, ...] = (2, 1, 1, OPEN)) -> Change:
    """As mindone's Lumina 2 has it: the smallest number of the type where a token is none."""

    def build(g: GraphBuilder, s: str) -> str:
        hidden = g.cast(condition(g, dims), FLOAT16)
        return g.add(s, g.mul(hidden, np.array(-65504.0, np.float16)))

    return build


def bias(dims: tuple[int, ...], dtype: DType = FLOAT16) -> Change:
    return lambda g, s: g.add(s, g.input("bias", dims, dtype))


def guarded(g: GraphBuilder, weights: str) -> str:
    return g.masked_fill(weights, g.op("IsNan", weights), np.array(0.0, np.float16))


def both(g: GraphBuilder, s: str) -> str:
    """Either may be the one that is repeated."""
    s = g.masked_fill(s, condition(g, (2, 1, 1, OPEN)), np.array(-np.inf, np.float16))
    return g.masked_fill(s, g.input("other", (1, 1, OPEN), dtypes.BOOL), np.array(-np.inf, np.float16))


def site(scores: Change, **other: object) -> Site:
    return Site(scores=scores, query_length=OPEN, key_length=OPEN, **other)  # type: ignore[arg-type]


CASES: dict[str, Callable[[], Site]] = {
    "filled with -inf": lambda: site(filled(-np.inf)),
    "filled with -inf, for all of the batch": lambda: site(filled(-np.inf, (OPEN,))),
    "filled with -inf, beside a NaN guard": lambda: site(filled(-np.inf), weights=guarded),
    "filled with the smallest number": lambda: site(filled(-65504.0)),
    "added": lambda: site(added()),
    "added, for all of the batch": lambda: site(added((1, OPEN))),
    "two": lambda: site(both),
    "any numbers": lambda: site(bias((2, 1, 1, OPEN))),
    "any numbers, per head": lambda: site(bias((1, 2, 1, OPEN))),
    "any numbers of another type": lambda: site(bias((2, 1, 1, OPEN), FLOAT32), dtype=FLOAT32),
    "heads in one axis": lambda: site(added((1, OPEN)), batch=1, heads=1),
}


@pytest.mark.parametrize("runtime", ["mindspore", "lite"])
@pytest.mark.parametrize("length", [1, LENGTHS["key"]])
@pytest.mark.parametrize("name", CASES)
def test_a_mask_of_either_length_gives_what_the_formula_gives(name: str, length: int, runtime: str) -> None:
    case = CASES[name]()
    inputs: dict[str, Any] = {
        value.name.rpartition(":")[2]: made_up(value.name.rpartition(":")[2], tuple(value.tensor[0].dims), length)
        for value in case.proto().graph.input
    }
    record = CASES[name]().fused(runtime, **inputs)
    assert record.code == "fused"


@pytest.mark.parametrize("length", [1, LENGTHS["key"]])
def test_a_mask_per_head_goes_into_the_node_that_takes_one(length: int) -> None:
    dims = (1, 2, 1, OPEN)
    inputs: dict[str, Any] = {name: made_up(name, (2, 2, OPEN, 16), length) for name in LENGTHS}
    site(filled(-np.inf, dims)).fused("mindspore", mask=made_up("mask", dims, length), **inputs)
    assert site(filled(-np.inf, dims)).refused("lite") == "target.mask_per_head"


def made_up(name: str, dims: tuple[int, ...], length: int) -> Array:
    """An input whose open size is that length. Masks hide the last key, and in the first row of all every key."""
    known = tuple(LENGTHS.get(name, length) if dim == OPEN else dim for dim in dims)
    if name not in ("mask", "other"):
        return seeded(name, known)
    hidden = np.zeros(known, np.bool_)
    hidden.reshape(-1, length)[:, -1] = length > 1 or name == "mask"
    hidden.reshape(-1, length)[0] = name == "mask"
    return hidden


OTHERS: dict[str, Callable[[], Site]] = {
    "rows": lambda: Site(scores=filled(-np.inf, (2, 1, OPEN, 5)), query_length=OPEN),
    "rows, and as many keys": lambda: site(filled(-np.inf, (2, 1, OPEN, OPEN))),
    "batch": lambda: Site(scores=filled(-np.inf, (OPEN, 1, 1, 5))),
    "heads": lambda: site(filled(-np.inf, (OPEN, 1, OPEN))),
    "keys, of which the scores know how many": lambda: Site(scores=filled(-np.inf)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_no_other_size_of_a_mask_may_be_left_open(name: str) -> None:
    """A longer one would make more rows or batches of the scores; and a Reshape to the keys' number takes no single
    one."""
    assert OTHERS[name]().refused() == "facts.dynamic_mask"
