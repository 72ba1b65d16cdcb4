"""What is done to attention weights: nothing, and what only looks like nothing."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse.ir.types import TensorType
from attnfuse.mindir import dtypes
from attnfuse.targets import RUNTIMES
from tests.support.graphs import GraphBuilder
from tests.support.oracle import Array
from tests.support.sites import Change, Site
from tests.support.switched_off import assert_counted_without

G = GraphBuilder
ROWS = np.zeros((2, 1, 4, 5), bool)
ROWS[1, :, 2] = True  # a row that keeps no key


def half(number: float) -> Array:
    return np.array(number, np.float16)


def truth(g: G, op: str, *values: str) -> str:
    return g.node(op, list(values), TensorType(g.dims(values[0]), dtypes.BOOL))


def cut(g: G, p: str, order: tuple[int, ...] = (0, 1), axis: int = 1, joined: int = 1) -> str:
    parts = g.op("Split", p, axis, 2)
    return g.concat([g.tuple_get_item(parts, i) for i in order], joined)


NOTHING: dict[str, tuple[str, Change]] = {
    "times 1": ("weights.times_one", lambda g, p: g.muls(p, 1.0)),
    "times ones": ("weights.times_one", lambda g, p: g.mul(p, g.op("OnesLike", p))),
    "times a head mask of ones": ("weights.times_one", lambda g, p: g.mul(p, np.ones((1, 2, 1, 1), np.float16))),
    "divided by 1": ("weights.times_one", lambda g, p: g.div(p, half(1.0))),
    "dropout that keeps all": (
        "weights.dropout",
        lambda g, p: g.tuple_get_item(g.op("Dropout", p, 1.0, 0, 0), 0),
    ),
    "dropout of mint": (
        "weights.dropout",
        lambda g, p: g.tuple_get_item(
            g.op("DropoutExt", p, 0.0, g.constant(np.array([0])), g.constant(np.array([0]))), 0
        ),
    ),
    "cut by slices": (
        "weights.cut_and_joined",
        lambda g, p: g.concat([g.strided_slice(p, (0, 0, 0, 0), (2, 2, 4, 2)), sliced(g, p, 2, 5)], -1),
    ),
    "cut by slices of rows": (
        "weights.cut_and_joined",
        lambda g, p: g.concat([g.op("SliceExt", p, 2, 0, 3, 1), g.op("Narrow", p, -2, -1, 1)], 2),
    ),
    "cut by heads": ("weights.cut_and_joined", cut),
    "cut by queries": ("weights.cut_and_joined", lambda g, p: cut(g, p, axis=2, joined=-2)),
    "chunks": ("weights.cut_and_joined", lambda g, p: g.op("Concat", g.op("Chunk", p, 3, -1), 3, like=p)),
}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", NOTHING)
def test_weights_that_stay_what_they_are(name: str, runtime: str) -> None:
    Site(weights=NOTHING[name][1]).fused(runtime)


@pytest.mark.parametrize("name", NOTHING)
def test_without_its_identity_it_is_missed(name: str) -> None:
    identity, change = NOTHING[name]
    assert_counted_without(Site(weights=change).proto(), identity)


def sliced(g: G, p: str, start: int, end: int) -> str:
    """Weights of some keys."""
    return g.op("Slice", p, (0, 0, 0, start), (2, 2, 4, end - start))


def joined_with_another(g: G, p: str) -> str:
    parts = g.op("Split", p, 1, 2)
    other = g.input("other", (2, 1, 4, 5), dtypes.FLOAT16)
    return g.concat([g.tuple_get_item(parts, 0), other], 1)


@pytest.mark.parametrize(
    "weights",
    [
        lambda g, p: g.muls(p, 0.999),
        lambda g, p: g.mul(p, np.array([1, 0.5], np.float16).reshape(1, 2, 1, 1)),
        lambda g, p: g.mul(p, g.input("ones", (2, 2, 4, 5), dtypes.FLOAT16)),
        lambda g, p: g.tuple_get_item(g.op("Dropout", p, 0.9, 0, 0), 0),
        lambda g, p: g.tuple_get_item(g.op("Dropout", p, 1.0, 0, 0), 1),
        lambda g, p: cut(g, p, (1, 0)),
        lambda g, p: cut(g, p, (0, 0)),
        joined_with_another,
        lambda g, p: g.concat([g.strided_slice(p, (0, 0, 0, 0), (2, 2, 4, 2)), sliced(g, p, 1, 4)], -1),
        lambda g, p: g.concat([sliced(g, p, 2, 5), g.strided_slice(p, (0, 0, 0, 0), (2, 2, 4, 2))], -1),
        lambda g, p: g.tuple_get_item(
            g.op("DropoutExt", p, 0.1, g.constant(np.array([0])), g.constant(np.array([0]))), 0
        ),
    ],
    ids=[
        "nearly 1",
        "a head halved",
        "ones that are an input",
        "dropout",
        "which are kept",
        "parts in another order",
        "one part twice",
        "another part",
        "slices that overlap",
        "slices in another order",
        "dropout of mint",
    ],
)
def test_weights_that_are_others_afterwards_are_missed(weights: Change) -> None:
    case = Site(weights=weights)
    proto = case.proto()
    model, sites = case.run(proto, "mindspore")
    assert [site.status for site in sites] == ["missed"]
    assert model.proto == proto


GUARDS: dict[str, Change] = {
    "x != x": lambda g, p: g.select(truth(g, "NotEqual", p, p), half(0.0), p),
    "x == x": lambda g, p: g.select(truth(g, "Equal", p, p), p, half(0.0)),
    "zeros_like": lambda g, p: g.select(truth(g, "NotEqual", p, p), g.op("ZerosLikeExt", p, None), p),
    "filled": lambda g, p: g.masked_fill(p, truth(g, "NotEqual", p, p), half(0.0)),
    "not isnan": lambda g, p: g.select(g.logical_not(truth(g, "IsNan", p)), p, half(0.0)),
    "isfinite": lambda g, p: g.select(truth(g, "IsFinite", p), p, g.op("ZerosLike", p)),
    "nan_to_num": lambda g, p: g.op("NanToNum", p, 0.0, None, None),
}


def masked(g: G, s: str) -> str:
    return g.masked_fill(s, g.input("mask", ROWS.shape, dtypes.BOOL), half(-np.inf))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", GUARDS)
def test_a_guard_makes_a_row_without_a_key_zero(name: str, runtime: str) -> None:
    site = Site(scores=masked, weights=GUARDS[name]).fused(runtime, mask=ROWS)
    assert (site.mask, site.fully_masked_rows) == ("bool", "zero")


@pytest.mark.parametrize("name", GUARDS)
def test_a_guard_without_its_identity_is_missed(name: str) -> None:
    assert_counted_without(Site(weights=GUARDS[name]).proto(), "nan.to_num" if name == "nan_to_num" else "nan.guard")


@pytest.mark.parametrize(
    "weights",
    [
        lambda g, p: g.select(truth(g, "NotEqual", p, g.op("Abs", p)), half(0.0), p),
        lambda g, p: g.select(truth(g, "NotEqual", p, p), half(1.0), p),
        lambda g, p: g.select(truth(g, "Equal", p, p), half(0.0), p),
        lambda g, p: g.select(g.op("Less", p, half(0.01)), half(0.0), p),
        lambda g, p: g.op("NanToNum", p, 0.5, None, None),
    ],
    ids=["compared with another", "1 instead", "the wrong way round", "small ones too", "a half instead"],
)
def test_a_guard_that_replaces_something_else_is_missed(weights: Change) -> None:
    case = Site(weights=weights)
    _, sites = case.run(case.proto(), "mindspore")
    assert [site.status for site in sites] == ["missed"]
