"""Inputs: of the kind their use asks for, the same for the same seed."""

from __future__ import annotations

import numpy as np

from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, INT32, INT64
from attnfuse.verify.inputs import draw_inputs
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
