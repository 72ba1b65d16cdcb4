"""Inputs: of the kind their use asks for, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from attnfuse.errors import VerificationError
from attnfuse.ir.graph import Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, INT32, INT64, DType
from attnfuse.verify.numbers.inputs import draw_inputs, telling_draws, whole_draws
from tests.support.graphs import GraphBuilder, seeded


def draw(g: GraphBuilder, seed: int = 0) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    return {name.split(":")[1]: value for name, value in draw_inputs(g.model(), seed).items()}


def test_latents_are_normal_in_their_own_type() -> None:
    g = GraphBuilder("g")
    g.output(g.muls(g.input("sample", (2, 4, 32, 32), FLOAT16), 1.0))
    sample = draw(g)["sample"]
    assert sample.dtype == np.float16
    assert abs(float(sample.mean())) < 0.1
    assert 0.9 < float(sample.std()) < 1.1


def test_tokens_stay_within_the_table_through_casts_and_reshapes() -> None:
    g = GraphBuilder("g")
    ids = g.input("input_ids", (2, 12), INT32)
    flat = g.reshape(g.cast(ids, INT64), (24,))
    table = g.parameter("table", seeded("t", (7, 3)))
    g.output(g.op("Gather", table, flat, 0, 0, dims=(24, 3)))
    tokens = draw(g)["input_ids"]
    assert tokens.dtype == np.int32
    assert tokens.min() >= 0
    assert 4 <= tokens.max() < 7


def test_masks_hold_both_values_in_every_row() -> None:
    g = GraphBuilder("g")
    mask = g.input("attention_mask", (16, 2), INT64)
    boolean = g.input("keep", (16, 2), BOOL)
    bias = g.input("encoder_attention_mask", (16, 1, 2), BFLOAT16)
    g.output(g.muls(bias, 1.0), g.logical_not(boolean), g.muls(mask, 1))
    for value in draw(g).values():
        rows = value.astype(np.float32).reshape(16, 2)
        assert (rows.min(1) == 0).all()
        assert (rows.max(1) == 1).all()


def test_time_steps_count_to_a_thousand_unless_the_graph_multiplies() -> None:
    g = GraphBuilder("g")
    whole = g.input("timestep", (64,), FLOAT32)
    g.output(g.muls(whole, 0.5))
    steps = draw(g)["timestep"]
    assert (steps == steps.round()).all()
    assert steps.min() >= 1
    assert 500 < steps.max() < 1000
    for factor in (1000.0, 10000.0):
        g = GraphBuilder("g")
        g.output(g.muls(g.cast(g.input("timestep", (64,), FLOAT16), FLOAT32), factor))
        assert 0 <= draw(g)["timestep"].max() < 1


def test_positions_run_on() -> None:
    g = GraphBuilder("g")
    g.output(g.muls(g.input("position_ids", (2, 5), INT64), 1))
    np.testing.assert_array_equal(draw(g)["position_ids"], [[0, 1, 2, 3, 4]] * 2)


def test_the_seed_and_the_name_decide() -> None:
    def build(graph: str) -> GraphBuilder:
        g = GraphBuilder(graph)
        g.output(g.add(g.input("x", (8,)), g.input("y", (8,))))
        return g

    first, again, other = draw(build("a"), 1), draw(build("b"), 1), draw(build("a"), 2)
    np.testing.assert_array_equal(first["x"], again["x"])
    assert (first["x"] != other["x"]).any()
    assert (first["x"] != first["y"]).any()


Q = (2, 4, 8, 16)


def scores(g: GraphBuilder) -> str:
    q, k = (g.input(name, Q, FLOAT16) for name in "qk")
    return g.muls(g.matmul_ext(q, g.transpose(k, (0, 1, 3, 2))), 0.25)


def attend(g: GraphBuilder, masked: str) -> None:
    g.output(g.matmul_ext(g.softmax(masked), g.input("v", Q, FLOAT16)))


def drawn_each(g: GraphBuilder, name: str) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """The input in every draw of a site, by label."""
    model = g.model()
    value = next(v.name for v in model.proto.graph.input if v.name.endswith(f":{name}"))
    return {how.label: draw_inputs(model, 0, how)[value] for how in (*telling_draws(model), *whole_draws(model))}


# --- where operators are defined


READERS: dict[str, tuple[Callable[[GraphBuilder, str], str], Callable[[np.ndarray], np.ndarray]]] = {  # type: ignore[type-arg]
    "log": (lambda g, x: g.op("Log", x), lambda x: x > 0),
    "log of a reshaped cast": (lambda g, x: g.op("Log", g.reshape(g.cast(x, FLOAT16), (30,))), lambda x: x > 0),
    "log of 1 - x": (lambda g, x: g.op("Log", g.sub(np.array(1, np.float32), x)), lambda x: x < 1),
    "log of x and of 1 - x": (
        lambda g, x: g.add(g.op("Log", x), g.op("Log", g.sub(np.array(1, np.float32), x))),
        lambda x: (x > 0) & (x < 1),
    ),
    "log of x (1 - x)": (
        lambda g, x: g.op("Log", g.mul(x, g.sub(np.array(1, np.float32), x))),
        lambda x: (x > 0) & (x < 1),
    ),
    "log of -x (x - 1)": (
        lambda g, x: g.op("Log", g.mul(g.muls(x, -1.0), g.sub(x, np.array(1, np.float32)))),
        lambda x: (x > 0) & (x < 1),
    ),
    "log of the root of 2 x + 3": (
        lambda g, x: g.op("Log", g.op("Sqrt", g.add(g.muls(x, 2.0), np.array(3, np.float32)))),
        lambda x: x > -1.5,
    ),
    "log of 2 x + 3": (lambda g, x: g.op("Log", g.add(g.muls(x, 2.0), np.array(3, np.float32))), lambda x: x > -1.5),
    "log of a sum": (lambda g, x: g.op("Log", g.op("ReduceSum", x, (1,), dims=(5,))), lambda x: x > 0),
    "sqrt": (lambda g, x: g.op("Sqrt", x), lambda x: x >= 0),
    "rsqrt": (lambda g, x: g.op("Rsqrt", x), lambda x: x > 0),
    "a divisor": (lambda g, x: g.div(np.ones(6, np.float32), x), lambda x: np.abs(x) > 0.09),
    "a divisor of 2 - x": (
        lambda g, x: g.op("Reciprocal", g.sub(np.array(2, np.float32), x)),
        lambda x: np.abs(2 - x) > 0.09,
    ),
    "a root as a power": (lambda g, x: g.op("Pow", x, np.array(0.3, np.float32)), lambda x: x > 0),
    "acos": (lambda g, x: g.op("ACos", x), lambda x: np.abs(x) < 1),
    "acosh": (lambda g, x: g.op("Acosh", x), lambda x: x > 1),
    "log1p": (lambda g, x: g.op("Log1p", x), lambda x: x > -1),
}


@pytest.mark.parametrize("reader", READERS)
def test_numbers_lie_where_their_readers_are_defined(reader: str) -> None:
    build, allowed = READERS[reader]
    g = GraphBuilder("g")
    x = g.input("weights", (5, 6), FLOAT32)
    g.output(build(g, x))
    numbers = draw(g)["weights"]
    assert allowed(numbers).all()
    assert len(np.unique(numbers)) > 20


ROOTS: dict[str, Callable[[GraphBuilder, str], str]] = {
    "sqrt": lambda g, w: g.op("Sqrt", w),
    "rsqrt": lambda g, w: g.op("Rsqrt", w),
    "a power": lambda g, w: g.op("Pow", w, np.array(0.3, np.float16)),
    "a root of a product": lambda g, w: g.op("Sqrt", g.muls(w, 3.0)),
    "a logarithm and the number itself": lambda g, w: g.add(g.op("Log", w), w),
}


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("sign", ["add", "sub"])
def test_a_root_that_is_added_to_scores_is_of_numbers_that_have_one(root: str, sign: str) -> None:
    """It is no mask: the lowest number has no root."""
    g = GraphBuilder("g")
    w = g.input("w", (2, 1, 8, 8), FLOAT16)
    combine = g.add if sign == "add" else g.sub
    attend(g, combine(scores(g), ROOTS[root](g, w)))
    for numbers in drawn_each(g, "w").values():
        assert (numbers >= 0).all()
        assert len(np.unique(numbers)) > 1


@pytest.mark.parametrize(
    "bent", [lambda g, w: g.op("Reciprocal", w), lambda g, w: g.div(np.ones((8, 8), np.float16), w),
             lambda g, w: g.op("Pow", w, np.array(3.0, np.float16))]
)  # fmt: skip
def test_a_quotient_or_power_that_is_added_to_scores_is_no_mask(bent: Callable[[GraphBuilder, str], str]) -> None:
    g = GraphBuilder("g")
    attend(g, g.add(scores(g), bent(g, g.input("w", (2, 1, 8, 8), FLOAT16))))
    assert all((np.abs(numbers) < 10).all() for numbers in drawn_each(g, "w").values())


@pytest.mark.parametrize("name", ["w", "attention_mask"])
def test_0_and_1_give_way_to_an_operator_that_is_not_defined_there(name: str) -> None:
    g = GraphBuilder("g")
    w = g.input(name, (2, 8), FLOAT32)
    g.output(g.op("Acosh", w), g.op("Equal", w, np.array(1, np.float32)))
    assert (draw(g)[name] > 1).all()


@pytest.mark.parametrize("even", ["Square", "Abs"])
def test_what_is_never_negative_asks_nothing_of_its_input(even: str) -> None:
    g = GraphBuilder("g")
    g.output(g.op("Rsqrt", g.add(g.op(even, g.input("x", (64,))), np.array(1e-5, np.float32))))
    assert (draw(g)["x"] < 0).any()


def test_readers_in_a_function_are_followed() -> None:
    g = GraphBuilder("g")
    x = g.input("region", (8,))
    g.output(g.op("Log", g.muls(x, 1.0)))
    proto = g.build()
    inner = proto.functions.add(name="inner")
    inner.input.add(name="inner:p").tensor.add().CopyFrom(proto.graph.input[0].tensor[0])
    for node in list(proto.graph.node):
        if node.op_type == "Constant":
            continue
        moved = inner.node.add()
        moved.CopyFrom(node)
        moved.input[:] = ["inner:p" if name == x else name for name in node.input]
        proto.graph.node.remove(node)
    inner.output.add(name=inner.node[-1].output[0])
    call = proto.graph.node.add(name="call", op_type="REF::inner", input=[x], output=["call"])
    call.attribute.add().CopyFrom(inner.node[-1].attribute[0])
    proto.graph.output[0].name = "call"
    (numbers,) = draw_inputs(Model(proto), 0).values()
    assert (numbers.astype(np.float64) > 0).all()


# --- lengths


def of_one_type(g: GraphBuilder, n: str) -> tuple[str, str]:
    """Positions of the lengths' type, and the lengths."""
    return g.constant(np.arange(8, dtype=g.type_of(n).dtype.numpy)[None]), g.expand_dims(n, 1)


LENGTHS: dict[str, Callable[[GraphBuilder, str], str]] = {
    "greater or equal": lambda g, n: g.op("GreaterEqual", np.arange(8)[None], g.expand_dims(n, 1)),
    "less, from the other side": lambda g, n: g.logical_not(g.op("Less", np.arange(8)[None], g.expand_dims(n, 1))),
    "length first": lambda g, n: g.op("LessEqual", g.reshape(n, (2, 1)), np.arange(8)[None]),
    "cast to int32": lambda g, n: g.op(
        "GreaterEqual", np.arange(8, dtype=np.int32)[None], g.expand_dims(g.cast(n, INT32), 1)
    ),
    "to float32": lambda g, n: g.op(
        "GreaterEqual", np.arange(8, dtype=np.float32)[None], g.expand_dims(g.cast(n, FLOAT32), 1)
    ),
    "broadcast": lambda g, n: g.op("GreaterEqual", np.arange(8)[None], g.broadcast_to(g.expand_dims(n, 1), (2, 8))),
    "subtracted": lambda g, n: g.op(
        "GreaterEqual", g.sub(*of_one_type(g, n)), g.constant(np.array(0, g.type_of(n).dtype.numpy))
    ),
    "range in layers": lambda g, n: g.op(
        "GreaterEqual", g.expand_dims(g.constant(np.arange(8)), 0), g.expand_dims(n, 1)
    ),
    "counted by a sum of ones": lambda g, n: g.op(
        "Greater", g.op("CumsumExt", g.constant(np.ones((1, 8), np.int64)), 1, dims=(1, 8)), g.expand_dims(n, 1)
    ),
    "an arange": lambda g, n: g.op(
        "GreaterEqual",
        g.expand_dims(g.node("Arange", [*map(g.constant, (0, 8, 1)), g.constant(None)], TensorType((8,), INT64)), 0),
        g.expand_dims(n, 1),
    ),
}


@pytest.mark.parametrize("spelling", LENGTHS)
@pytest.mark.parametrize("dtype", [INT64, INT32])
def test_a_length_is_between_none_and_all(spelling: str, dtype: DType) -> None:
    """Whatever its input is called: one a row, different from row to row; 0 and all of them in one draw."""
    g = GraphBuilder("g")
    n = g.input("n_valid", (2,), dtype)
    hide = LENGTHS[spelling](g, n)
    attend(g, g.masked_fill(scores(g), g.reshape(hide, (2, 1, 1, 8)), np.array(-np.inf, np.float16)))
    each = drawn_each(g, "n_valid")
    assert {0, 1, 7, 8} <= {int(x) for value in each.values() for x in value}
    usual = draw(g)["n_valid"]
    assert ((usual > 0) & (usual < 8)).all()
    for value in each.values():
        assert value.dtype == dtype.numpy
        assert value[0] != value[1]
        assert 0 <= value.min() <= value.max() <= 8


def test_token_ids_and_positions_are_no_lengths() -> None:
    g = GraphBuilder("g")
    ids, positions = g.input("ids", (2, 12), INT64), g.input("position_ids", (2, 12), INT64)
    table = g.parameter("table", seeded("t", (500, 3)))
    first = g.op("NotEqual", ids, np.arange(12)[None])
    g.output(g.op("Gather", table, ids, 0, 0, dims=(2, 12, 3)), first, g.op("Less", positions, np.arange(12)[None]))
    assert draw(g)["ids"].max() > 100
    np.testing.assert_array_equal(draw(g)["position_ids"], [range(12)] * 2)


def test_indices_stay_within_the_axis_that_is_looked_up() -> None:
    g = GraphBuilder("g")
    places, moved = g.input("places", (64,), INT64), g.input("moved", (64,), INT64)
    table = g.parameter("table", seeded("t", (50, 3)))
    shifted = g.add(moved, np.array(2, np.int64))
    g.output(g.op("IndexSelect", table, 1, places, dims=(50, 64)), g.op("Gather", table, shifted, 0, 0, dims=(64, 3)))
    assert set(draw(g)["places"]) == {0, 1, 2}
    assert draw(g)["moved"].max() < 48


# --- masks


def rows_of(seen: np.ndarray) -> set[str]:  # type: ignore[type-arg]
    """What kinds of row a mask has, by which keys are seen."""
    kinds = set()
    for row in seen.reshape(-1, seen.shape[-1]):
        count, size = int(row.sum()), len(row)
        if count in (0, size):
            kinds.add("none" if count == 0 else "all")
        elif count == 1:
            kinds.add("single")
        elif not row[: size - count].any():
            kinds.add("left")
        elif row[:count].all():
            kinds.add("right")
        else:
            kinds.add("holes")
    return kinds


ALL_KINDS = {"none", "all", "single", "left", "right", "holes"}
SHAPES = [(2, 8), (2, 1, 1, 8), (2, 1, 8, 8), (1, 8), (1, 1, 1, 8), (2, 8, 8)]


@pytest.mark.parametrize("dims", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [BOOL, INT64, INT32, FLOAT16], ids=str)
@pytest.mark.parametrize("name", ["attention_mask", "am"])
def test_masks_of_0_and_1_have_rows_of_every_kind(dims: tuple[int, ...], dtype: DType, name: str) -> None:
    g = GraphBuilder("g")
    keep = g.input(name, dims, dtype)
    if dtype is not BOOL:
        keep = g.op("NotEqual", keep, np.array(0, dtype.numpy))
    whole = dims if len(dims) == 4 else (dims[0], 1, dims[1] if len(dims) == 3 else 1, 8)
    attend(g, g.masked_fill(scores(g), g.logical_not(g.reshape(keep, whole)), np.array(-np.inf, np.float16)))
    each = drawn_each(g, name)
    assert set().union(*(rows_of(value.astype(bool)) for value in each.values())) == ALL_KINDS
    assert all(set(np.unique(value.astype(np.float64))) <= {0, 1} for value in each.values())
    assert all(value.dtype == dtype.numpy for value in each.values())
    # The other way round each kind of row is there too.
    assert set().union(*(rows_of(~value.astype(bool)) for value in each.values())) == ALL_KINDS


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16, FLOAT32], ids=str)
@pytest.mark.parametrize("dims", SHAPES[1:3], ids=str)
@pytest.mark.parametrize("name", ["attention_mask", "b"])
def test_what_is_added_to_the_scores_hides_keys_with_every_number_in_use(
    dtype: DType, dims: tuple[int, ...], name: str
) -> None:
    g = GraphBuilder("g")
    mask = g.broadcast_to(g.cast(g.input(name, dims, dtype), FLOAT16), (2, 4, 8, 8))
    attend(g, g.add(scores(g), mask))
    each = {label: value.astype(np.float64) for label, value in drawn_each(g, name).items()}
    lowest = float(np.min(np.array(-np.finfo(np.float16).max) if dtype is FLOAT16 else -3e38))
    values = np.concatenate([value.reshape(-1) for value in each.values()])
    assert {-np.inf} < set(values[values < -5000])
    assert any(value <= lowest and np.isfinite(value) for value in values)
    assert any(-11000 < value < -9000 for value in values)
    seen = [value > -5000 for value in each.values()]
    assert set().union(*map(rows_of, seen)) == ALL_KINDS
    # A bias that is no mask by its name is any number where it hides nothing.
    assert (name == "b") == any(0.5 < value < 4 for value in values)


def test_a_mask_that_the_graph_scales_is_of_0_and_1() -> None:
    g = GraphBuilder("g")
    mask = g.muls(g.sub(np.array(1, np.float16), g.input("m", (2, 1, 1, 8), FLOAT16)), -10000.0)
    attend(g, g.add(scores(g), mask))
    assert set(np.unique(np.concatenate([v.reshape(-1) for v in drawn_each(g, "m").values()]))) == {0, 1}


def test_weights_whose_logarithm_is_added_hide_keys_with_0() -> None:
    g = GraphBuilder("g")
    attend(g, g.add(scores(g), g.op("Log", g.input("region", (2, 1, 8, 8), FLOAT16))))
    assert draw(g)["region"].min() > 0
    seen = [value.astype(np.float64) > 0 for value in drawn_each(g, "region").values()]
    assert set().union(*map(rows_of, seen)) == ALL_KINDS


def test_what_the_graph_assigns_to_a_parameter_is_followed() -> None:
    g = GraphBuilder("g")
    cache = g.parameter("mask_cache", seeded("m", (1, 1, 8, 8), FLOAT16))
    mask = g.input("m", (1, 1, 8, 8), FLOAT16)
    parameter = g.graph.parameter[0].name
    g.node("Assign", [parameter, mask, g.monad()], g.type_of(mask))
    attend(g, g.add(scores(g), cache))
    seen = [value.astype(np.float64) > -5000 for value in drawn_each(g, "m").values()]
    assert set().union(*map(rows_of, seen)) == ALL_KINDS


def test_what_is_added_as_it_is_is_minus_infinity_in_whole_rows_too() -> None:
    """Beside rows that show a key; a mask of 0 and 1 hides whole rows anyway, with whatever the graph makes of it."""
    g = GraphBuilder("g")
    attend(g, g.add(scores(g), g.input("attention_mask", (2, 1, 8, 8), FLOAT16)))
    drawn = drawn_each(g, "attention_mask")
    assert [label for label, mask in drawn.items() if np.isneginf(mask).all(-1).any()] == [
        "empty 1",
        "masks of −inf in whole rows",
    ]
    assert (drawn["empty 1"] == 0).any(-1).any()
    g = GraphBuilder("g")
    attend(g, g.masked_fill(scores(g), g.input("attention_mask", (2, 1, 8, 8), BOOL), np.array(-np.inf, np.float16)))
    assert not {label for label in drawn_each(g, "attention_mask") if "empty" in label or "whole rows" in label}


def test_the_policy_may_say_that_each_row_has_a_key() -> None:
    """Then `OPEN` is what is drawn: hidden and seen keys in each row, in both directions."""
    g = GraphBuilder("g")
    attend(g, g.add(scores(g), g.input("attention_mask", (2, 1, 8, 8), FLOAT16)))
    seen = draw(g)["attention_mask"] == 0
    assert seen.any(-1).all()
    assert (~seen).any(-1).all()


# --- what cannot be drawn


def test_open_sizes_are_told() -> None:
    g = GraphBuilder("g")
    g.output(g.muls(g.input("x", (2, -1)), 1.0))
    with pytest.raises(VerificationError, match=r"input x is float32\[2, \?\].*sizes must be known.*--data"):
        draw(g)


def test_an_input_that_is_a_tuple_is_told() -> None:
    g = GraphBuilder("g")
    g.output(g.muls(g.input("x", (2, 3)), 1.0))
    model = g.model()
    pair = model.proto.graph.input.add(name="g:states")
    for _ in range(2):
        pair.tensor.add().CopyFrom(model.proto.graph.input[0].tensor[0])
    with pytest.raises(VerificationError, match=r"input states is no tensor.*--verify static"):
        draw_inputs(Model(model.proto), 0)
