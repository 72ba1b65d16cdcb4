"""Biases and masks of many kinds, in numbers: what the fused graph computes at its own types, against float64.

The bound owes nothing to the rewrite. A formula whose operands are of type c rounds the attention weights and its
result, which moves each element by at most 2u times the largest of value; operands that are cast to c move it by what
float64 says they do. The fused graph may be off by twice that, or by twice what the source's own arithmetic is off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, DType
from attnfuse.mindir.schema import ModelProto
from attnfuse.targets import RUNTIMES
from attnfuse.verify.lowering import Arithmetic, lower
from attnfuse.verify.names import leaf_name
from attnfuse.verify.numbers.execution import run
from attnfuse.verify.numbers.weights import WeightProvider, stored_weights
from tests.support.fusing import fuse
from tests.support.graphs import PRIMITIVE, GraphBuilder, seeded
from tests.support.old_rewrites import store_as_it_is, take_weights_for_harmless
from tests.support.oracle import Array
from tests.support.sites import Change, Site

B, N, S, T, D = 2, 2, 8, 256, 16
FM = -3.4028234663852886e38
UNIT = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
TYPES = (FLOAT16, BFLOAT16, FLOAT32)
"""Of query, key and value; the scores are cast to float32, where biases are added. float32 is cast to float16."""

SLOPES = np.array([0.7071, 0.25]).reshape(1, N, 1, 1)
ALIBI: Array = (SLOPES * np.arange(T)).astype(np.float32)
"""[1, N, 1, T], by the absolute position of the key: its largest number is 180."""
DISTANCE: Array = (-SLOPES * np.abs(np.arange(S).reshape(S, 1) * 32 - np.arange(T))).astype(np.float32)
"""[1, N, S, T], by the distance of query and key."""
CAUSAL: Array = np.where(np.triu(np.ones((S, T), bool), 1), np.float32(FM), np.float32(0))


def wide(change: Change) -> Change:
    """Scores in float32, then the change."""
    return lambda g, s: change(g, g.cast(s, FLOAT32) if g.type_of(s).dtype is not FLOAT32 else s)


@dataclass(frozen=True, slots=True)
class Case:
    """What is done to the scores and the weights, and values for the inputs that are no query, key or value."""

    scores: Change
    inputs: Mapping[str, Array] = field(default_factory=dict)
    weights: Change = lambda g, p: p

    def proto(self, dtype: DType) -> ModelProto:
        def result(g: GraphBuilder, p: str) -> str:
            p = self.weights(g, p)
            return g.cast(p, dtype) if g.type_of(p).dtype is not dtype else p

        site = Site(
            scores=wide(self.scores), weights=result, dtype=dtype, batch=B, heads=N, query_length=S, key_length=T
        )
        return site.proto()


def constant(numbers: Array) -> Change:
    return lambda g, s: g.add(s, numbers)


def weight(numbers: Array) -> Change:
    return lambda g, s: g.add(s, g.parameter("bias", numbers))


def filled(number: float, dims: tuple[int, ...] = (B, 1, 1, T)) -> Change:
    return lambda g, s: g.masked_fill(s, g.input("drop", dims, dtypes.BOOL), np.array(number, np.float32))


def given(name: str, dims: tuple[int, ...], dtype: DType = FLOAT32) -> Change:
    def change(g: GraphBuilder, s: str) -> str:
        value = g.input(name, dims, dtype)
        return g.add(s, value if dtype is FLOAT32 else g.cast(value, FLOAT32))

    return change


def then(*changes: Change) -> Change:
    def change(g: GraphBuilder, s: str) -> str:
        for each in changes:
            s = each(g, s)
        return s

    return change


def summed(first: Callable[[GraphBuilder], str], second: Callable[[GraphBuilder], str]) -> Change:
    return lambda g, s: g.add(s, g.add(first(g), second(g)))


def gathered(g: GraphBuilder) -> str:
    """Rows of a table of weights [positions, N], taken by run-time indices: T5's bias."""
    table = g.parameter("table.weight", (ALIBI[0, :, 0].T * 0.5).copy())
    taken = g.node("Gather", [table, g.input("index", (S, T), dtypes.INT64), g.constant(0), g.constant(0)],
                   TensorType((S, T, N), FLOAT32))  # fmt: skip
    return g.expand_dims(g.transpose(taken, (2, 0, 1)), 0)


def dropping(low: float) -> Callable[[GraphBuilder], str]:
    """0 or `low`, by a run-time mask."""
    return lambda g: g.muls(g.cast(g.input("drop", (B, 1, 1, T), dtypes.BOOL), FLOAT32), low)


def kept_as_zero(g: GraphBuilder, p: str) -> str:
    tensor_type = g.type_of(p)
    test = g.node("IsNan", [p], TensorType(tensor_type.dims, dtypes.BOOL))
    return g.select(test, np.zeros((), tensor_type.dtype.numpy), p)


LEFT = np.zeros((B, 1, 1, T), bool)
LEFT[0, ..., :200] = True  # padded on the left
FIRST = np.zeros((B, 1, 1, T), bool)
FIRST[0, ..., :3] = True  # of a causal mask, the first three rows keep no key
RIGHT = np.zeros((B, 1, 1, T), bool)
RIGHT[0, ..., 40:] = True  # the keys with the largest biases are hidden
ALL = RIGHT.copy()
ALL[1] = True  # rows that keep no key
DRAWN: Array = seeded("hidden", (1, 1, S, T))
HIDDEN: Array = np.where(DRAWN > 0.3, -np.inf, ALIBI)
HIDDEN[..., 3, :] = -np.inf
LOWEST: Array = np.where(DRAWN > 0.3, FM, ALIBI)
LOWEST[..., 3, :] = FM
NEAR: Array = seeded("near", (1, N, S, T))
PER_HEAD: Array = NEAR > 0.5

CASES: dict[str, Case] = {
    "constant [1, N, 1, T]": Case(constant(ALIBI)),
    "constant [1, N, S, T]": Case(constant(np.broadcast_to(ALIBI, (1, N, S, T)).copy())),
    "constant [S, T]": Case(constant(np.broadcast_to(ALIBI[0, 0], (S, T)).copy())),
    "constant [B, 1, 1, T]": Case(constant(ALIBI.transpose(1, 0, 2, 3).copy())),
    "constant by distance": Case(constant(DISTANCE)),
    "constant behind BroadcastTo": Case(lambda g, s: g.add(s, g.broadcast_to(g.constant(ALIBI), (B, N, S, T)))),
    "constant behind Tile": Case(lambda g, s: g.add(s, g.tile(g.constant(ALIBI), (1, 1, S, 1)))),
    "constants summed": Case(summed(lambda g: g.constant(ALIBI), lambda g: g.constant(DISTANCE))),
    "constants one after the other": Case(then(constant(ALIBI), constant(DISTANCE))),
    "constants that cancel": Case(then(constant(ALIBI + NEAR), constant(-ALIBI))),
    "large and the same for a row": Case(constant((np.arange(S).reshape(S, 1) * -99991.0).astype(np.float32))),
    "beyond float16": Case(constant(ALIBI - np.float32(1e5))),
    "small": Case(constant(NEAR)),
    "with keys hidden by −inf": Case(constant(HIDDEN.astype(np.float32))),
    "with keys hidden by the smallest number": Case(constant(LOWEST.astype(np.float32))),
    "constant, padding on the left": Case(then(constant(ALIBI), filled(-np.inf)), {"drop": LEFT}),
    "constant, its largest hidden": Case(then(constant(ALIBI), filled(FM)), {"drop": RIGHT}),
    "constant, fully masked rows": Case(then(constant(ALIBI), filled(FM)), {"drop": ALL}),
    "constant, rows that are NaN": Case(then(constant(ALIBI), filled(-np.inf)), {"drop": ALL}),
    "constant, rows guarded": Case(then(constant(ALIBI), filled(-np.inf)), {"drop": ALL}, kept_as_zero),
    "filled before the constant": Case(then(filled(FM), constant(ALIBI)), {"drop": RIGHT}),
    "constant beside a run-time bias": Case(
        then(constant(ALIBI), given("other", (B, 1, S, T))), {"other": seeded("o", (B, 1, S, T))}
    ),
    "constant cancelled at run time": Case(
        then(constant(ALIBI), given("other", (1, N, 1, T), FLOAT16)), {"other": -ALIBI.astype(np.float16)}
    ),
    "a run-time bias of another 16-bit type": Case(
        given("other", (1, N, 1, T), FLOAT16), {"other": ALIBI.astype(np.float16)}
    ),
    "a run-time bias scaled": Case(
        then(given("other", (1, N, 1, T), FLOAT16), lambda g, s: g.muls(s, 0.7)), {"other": ALIBI.astype(np.float16)}
    ),
    "a run-time choice of two numbers": Case(
        summed(dropping(0.61), lambda g: g.constant(np.array([300.7], np.float32))), {"drop": LEFT}
    ),
    "weight": Case(weight(ALIBI)),
    "small weight": Case(weight(NEAR)),
    "weight cast": Case(lambda g, s: g.add(s, g.cast(g.parameter("b", ALIBI.astype(np.float16)), FLOAT32))),
    "weight sliced": Case(
        lambda g, s: g.add(
            s, g.strided_slice(g.parameter("b", np.tile(ALIBI, (1, 1, 1, 2))), (0, 0, 0, 9), (1, N, 1, T + 9))
        )
    ),
    "weight gathered": Case(
        lambda g, s: g.add(s, gathered(g)), {"index": np.arange(S * T).reshape(S, T) * 7 % T}
    ),
    "weight, its largest hidden": Case(then(weight(ALIBI), filled(FM)), {"drop": RIGHT}),
    "weight and mask summed": Case(
        summed(lambda g: g.parameter("b", NEAR), dropping(FM)), {"drop": ALL}
    ),
    "large weight and mask summed": Case(
        summed(lambda g: g.parameter("b", ALIBI), dropping(FM)), {"drop": ALL}
    ),
    "causal weight": Case(weight(CAUSAL)),
    "causal weight, padding on the left": Case(then(weight(CAUSAL), filled(FM)), {"drop": FIRST}),
    "causal weight of −inf": Case(then(weight(np.where(CAUSAL < 0, -np.inf, CAUSAL)), filled(-np.inf)), {"drop": ALL}),
    "boolean weight": Case(lambda g, s: g.masked_fill(s, g.parameter("m", RIGHT), np.array(FM, np.float32))),
    "mask per head": Case(constant(np.where(PER_HEAD, -np.inf, 0).astype(np.float32))),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Yardstick:
    """The float64 result of a case and by how much a rewrite of it may be off."""

    exact: Array
    allowed: float


def values_of(proto: ModelProto, case: Case) -> dict[str, Array]:
    found = {}
    for value in proto.graph.input:
        dims, dtype = tuple(value.tensor[0].dims), dtypes.from_wire(value.tensor[0].data_type)
        assert dtype is not None
        name = leaf_name(value.name)
        found[value.name] = case.inputs[name].astype(dtype.numpy) if name in case.inputs else seeded(name, dims, dtype)
    return found


def weights_of(model: Model) -> WeightProvider:
    return stored_weights(model.proto, Path("/none/case.mindir"))


def computed(model: Model, arithmetic: Arithmetic, values: Mapping[str, Array], weights: WeightProvider) -> Array:
    result: Any = run(lower(model, arithmetic), values, weights)[0]
    return np.asarray(result).astype(np.float64)


def yardstick(case: Case, dtype: DType, weights: Callable[[Model], WeightProvider] = weights_of) -> Yardstick:
    proto = case.proto(dtype)
    model, values = Model(proto), values_of(proto, case)
    compute = dtype if dtype.is_low_precision else FLOAT16
    held = weights(model)
    exact = computed(model, Arithmetic.EXACT, values, held)
    native = computed(model, Arithmetic.NATIVE, values, held)
    operands = {name: value for name, value in values.items() if leaf_name(name) in ("query", "key", "value")}
    rounded = {name: value.astype(compute.numpy).astype(dtype.numpy) for name, value in operands.items()}
    cast = computed(model, Arithmetic.EXACT, {**values, **rounded}, held)
    largest = max(float(np.abs(v.astype(np.float64)).max()) for n, v in operands.items() if leaf_name(n) == "value")
    assert np.isfinite(native[np.isfinite(exact)]).all()
    return Yardstick(exact, 2 * max(off(native, exact), off(cast, exact) + 2 * UNIT[compute.name] * largest))


def off(result: Array, exact: Array) -> float:
    """The largest difference where float64 has a number."""
    with np.errstate(invalid="ignore"):
        return float(np.nanmax(np.abs(result - exact)))


def rewritten(
    case: Case, dtype: DType, runtime: str, weights: Callable[[Model], WeightProvider] = weights_of
) -> tuple[Array, Any]:
    """What the fused graph gives, and the site's record."""
    proto = case.proto(dtype)
    model, values = Model(proto), values_of(proto, case)
    (record,) = fuse(model, runtime)
    return computed(model, Arithmetic.NATIVE, values, weights(model)), record


def check(case: Case, dtype: DType, runtime: str, yard: Yardstick) -> None:
    """The fused graph is not a number where the formula is none, and within the bound where it is one."""
    result, record = rewritten(case, dtype, runtime)
    if runtime == "lite" and record.code == "target.mask_per_head":
        assert case is CASES["mask per head"]
        return
    assert record.status == "fused", (runtime, record.code, record.reason)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(yard.exact), err_msg=runtime)
    assert off(result, yard.exact) <= yard.allowed, runtime


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        pytest.param(name, dtype, id=f"{name}, {dtype}", marks=[] if (i + j) % 3 == 0 else pytest.mark.slow)
        for i, name in enumerate(CASES)
        for j, dtype in enumerate(TYPES)
    ],
)
def test_a_bias_costs_no_more_than_the_formula(name: str, dtype: DType) -> None:
    case = CASES[name]
    yard = yardstick(case, dtype)
    for runtime in RUNTIMES:
        check(case, dtype, runtime, yard)


def drawn(seed: int) -> Case:
    """A bias of random size, shape and kind, with or without a random mask, in random order."""
    rng = np.random.default_rng(seed)
    dims = (*(int(n) if rng.random() < 0.6 else 1 for n in (B, N, S)), T)
    numbers = (rng.choice([0.5, 30.0, 1e3, 3e5]) * rng.standard_normal(dims) + rng.choice([0.0, 100.0, -5e4])).astype(
        np.float32
    )
    if rng.random() < 0.3:
        numbers = np.where(rng.random((1, 1, S, T)) < 0.4, np.float32(rng.choice([FM, -np.inf])), numbers)
    changes = [rng.choice(np.array([constant, weight], object))(numbers)]
    inputs: dict[str, Array] = {}
    if rng.random() < 0.7:
        changes.append(filled(float(rng.choice([FM, -np.inf]))))
        inputs["drop"] = [LEFT, RIGHT, ALL][rng.integers(3)]
    if rng.random() < 0.4:
        changes.append(given("other", (B, 1, 1, T)))
        inputs["other"] = (rng.choice([1.0, 50.0]) * rng.standard_normal((B, 1, 1, T))).astype(np.float32)
    return Case(then(*(changes[i] for i in rng.permutation(len(changes)))), inputs)


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(n, marks=pytest.mark.slow) for n in range(6, 150))])
def test_random_biases(seed: int) -> None:
    case, dtype = drawn(seed), TYPES[seed % 3]
    yard = yardstick(case, dtype)
    for runtime in RUNTIMES:
        check(case, dtype, runtime, yard)


# --- what the numbers are not those of the file


def assigned(g: GraphBuilder, s: str, *, op: str = "Assign") -> str:
    """The scores and a weight that the graph writes a mask to."""
    tensor_type = TensorType((1, 1, S, T), FLOAT32)
    leaf = f"{g.prefix}:cache"
    g.parameter("cache", np.zeros(tensor_type.dims, np.float32))
    written = g.node(op, [leaf, g.input("mask", tensor_type.dims, FLOAT32), g.monad()], tensor_type)
    state = g.node("UpdateState", [g.monad(), written], None, primitive=PRIMITIVE)
    return g.add(s, g.node("Load", [leaf, state], tensor_type, primitive=PRIMITIVE))


MASK: Array = np.where(np.arange(T) > 99, np.float32(FM), np.float32(0)) * np.ones((1, 1, S, 1), np.float32)
MASK[..., 3, :] = FM


def holding(value: Array) -> Callable[[Model], WeightProvider]:
    """Weights as they are once the graph has written them; the file has zeros."""
    return lambda _: lambda _parameter: value


ASSIGNED = Case(assigned, {"mask": MASK})


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_a_weight_that_the_graph_writes_to(dtype: DType) -> None:
    yard = yardstick(ASSIGNED, dtype, holding(MASK))
    for runtime in RUNTIMES:
        result, record = rewritten(ASSIGNED, dtype, runtime, holding(MASK))
        assert record.status == "fused"
        np.testing.assert_array_equal(np.isnan(result), np.isnan(yard.exact))
        assert off(result, yard.exact) <= yard.allowed


@pytest.mark.parametrize("name", ["weight", "causal weight, padding on the left", "weight gathered"])
def test_a_weight_whose_value_nobody_knows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is in a graph without weights: whatever it will hold is right."""
    monkeypatch.setattr("tests.support.fusing.WeightValues", lambda _: lambda _name: None)
    case = CASES[name]
    yard = yardstick(case, FLOAT16)
    for runtime in RUNTIMES:
        check(case, FLOAT16, runtime, yard)


# --- the bound finds what was wrong once


@pytest.mark.parametrize(
    ("plant", "name"),
    [
        (store_as_it_is, "constant [1, N, 1, T]"),
        (store_as_it_is, "weight"),
        (take_weights_for_harmless, "weight"),
        (take_weights_for_harmless, "causal weight, padding on the left"),
    ],
)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_old_rewrites_are_beyond_the_bound(
    plant: Callable[[pytest.MonkeyPatch], None], name: str, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard = yardstick(CASES[name], FLOAT16)
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check(CASES[name], FLOAT16, runtime, yard)


def test_a_written_weight_taken_for_harmless_is_not_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    take_weights_for_harmless(monkeypatch)
    result, _ = rewritten(ASSIGNED, FLOAT16, "lite", holding(MASK))
    assert np.isnan(result).any()
