"""Composites, held to NumPy: what they mean in float64, and what CANN's kernels round and do not round."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.text import infer, parse_program, signature
from attnfuse.ir.types import Array
from attnfuse.verify.lowering import Arithmetic
from tests.verify.lowering.support import EXACT, NATIVE, Floats, execute, f

SHAPE = (2, 6, 5, 4)


def run(text: str, inputs: Mapping[str, Array], arithmetic: Arithmetic) -> Floats:
    model = Model(parse_program(text, infer=infer, signature=signature))
    (result,) = execute(model, inputs, arithmetic)
    return np.asarray(result, np.float64)


def normalised(x: Floats, axes: tuple[int, ...], epsilon: float) -> Floats:
    centred = x - x.mean(axes, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(axes, keepdims=True) + epsilon))


def group_norm(x: Array, gain: Array, offset: Array, *, activated: bool) -> Floats:
    """In 3 groups, with an epsilon of 0.125."""
    grouped = x.astype(np.float64).reshape(x.shape[0], 3, -1)
    y = normalised(grouped, (2,), 0.125).reshape(x.shape)
    y = y * gain.astype(np.float64)[:, None, None] + offset.astype(np.float64)[:, None, None]
    return np.asarray(y / (1 + np.exp(-y)) if activated else y)


def composite(dtype: str, shape: tuple[int, ...] = SHAPE, *, activated: bool) -> str:
    declared = f"x: {dtype}{list(shape)}, g: {dtype}[{shape[1]}], b: {dtype}[{shape[1]}]"
    return f"GroupNormSilu({declared}; num_groups=3, eps=0.125, activate_silu={activated})[0]"


def off(result: Floats, expected: Floats) -> float:
    return float(np.abs(result - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("activated", [True, False])
def test_a_group_norm_with_and_without_silu(activated: bool) -> None:
    inputs = {"x": f(*SHAPE), "g": f(6, name="g"), "b": f(6, name="b")}
    expected = group_norm(inputs["x"], inputs["g"], inputs["b"], activated=activated)
    text = composite("float32", activated=activated)
    assert off(run(text, inputs, EXACT), expected) < 1e-13
    assert off(run(text, inputs, NATIVE), expected) < 1e-6


def test_its_silu_is_of_what_is_not_rounded_yet() -> None:
    """One rounding at the end; a norm and a SiLU of their own make two, and miss the nearest number more often."""
    shape = (2, 6, 20, 20)
    inputs: dict[str, Array] = {
        k: f(*s, name=k).astype(np.float16) for k, s in (("x", shape), ("g", (6,)), ("b", (6,)))
    }
    nearest = group_norm(inputs["x"], inputs["g"], inputs["b"], activated=True).astype(np.float16)
    one = run(composite("float16", shape, activated=True), inputs, NATIVE)
    two = run(f"SiLU({composite('float16', shape, activated=False)})", inputs, NATIVE)
    assert (one != nearest).mean() < 0.01
    assert (two != nearest).mean() > 0.1


@pytest.mark.parametrize(("mean", "least", "most"), [(0.0, 0.0, 1e-6), (300.0, 1e-4, 0.1)])
def test_its_variance_is_the_mean_square_less_the_squared_mean(mean: float, least: float, most: float) -> None:
    """Whose digits go where the mean is large beside the deviation; in float64 the formula stays exact."""
    ones, zeros = np.ones(6, np.float32), np.zeros(6, np.float32)
    inputs = {"x": f(*SHAPE) + np.float32(mean), "g": ones, "b": zeros}
    expected = group_norm(inputs["x"], ones, zeros, activated=False)
    text = composite("float32", activated=False)
    assert least <= off(run(text, inputs, NATIVE), expected) < most
    assert off(run(text, inputs, EXACT), expected) < 1e-12


@pytest.mark.parametrize(("parameters", "least", "most"), [("float32", 0.0, 2.0**-11), ("float16", 5e-4, 5e-3)])
def test_layer_norm_v3_rounds_its_statistics_to_the_type_of_its_gain(
    parameters: str, least: float, most: float
) -> None:
    x = (f(8, 64) + np.float32(10)).astype(np.float16)
    gain, offset = np.ones(64, parameters), np.zeros(64, parameters)
    text = f"LayerNormV3(x: float16[8, 64], g: {parameters}[64], b: {parameters}[64], 1, 1, 1e-6)[0]"
    expected = normalised(x.astype(np.float64), (1,), 1e-6)
    assert least < off(run(text, {"x": x, "g": gain, "b": offset}, NATIVE), expected) < most


def test_layer_norm_v3_rounds_no_variance_which_float16_would_not_hold() -> None:
    x = (f(8, 64) * np.float32(2000)).astype(np.float16)
    ones, zeros = np.ones(64, np.float16), np.zeros(64, np.float16)
    text = "LayerNormV3(x: float16[8, 64], g: float16[64], b: float16[64], 1, 1, 1e-6)[0]"
    assert off(run(text, {"x": x, "g": ones, "b": zeros}, NATIVE), normalised(x.astype(np.float64), (1,), 1e-6)) < 3e-3


def test_a_sum_is_normalised_before_it_is_rounded_and_given_out_after() -> None:
    """Beside 1000 a float16 has steps of a half: rounded, most of what is added would be gone."""
    one, other = np.full((8, 64), 1000, np.float16), f(8, 64).astype(np.float16)
    inputs: dict[str, Array] = {"x": one, "y": other, "g": np.ones(64, np.float32), "b": np.zeros(64, np.float32)}
    declared = "x: float16[8, 64], y: float16[8, 64], g: float32[64], b: float32[64]"
    text = f"AddLayerNorm({declared}; epsilon=1e-6, additional_output=True)"
    total = one.astype(np.float64) + other
    assert off(run(f"{text}[0]", inputs, NATIVE), normalised(total, (1,), 1e-6)) < 1e-3
    np.testing.assert_array_equal(run(f"{text}[3]", inputs, NATIVE), total.astype(np.float16))


def test_a_bias_is_added_to_the_sum() -> None:
    inputs = {
        name: f(*shape, name=name) for name, shape in (("x", (8, 64)), ("y", (8, 64)), ("g", (64,)), ("z", (64,)))
    }
    declared = "x: float32[8, 64], y: float32[8, 64], g: float32[64], g, z: float32[64]"
    text = f"AddLayerNorm({declared}; epsilon=1e-3, additional_output=False)[0]"
    gain = inputs["g"].astype(np.float64)
    total = sum(inputs[name].astype(np.float64) for name in "xyz")
    assert off(run(text, inputs, EXACT), normalised(np.asarray(total), (1,), 1e-3) * gain + gain) < 1e-7
