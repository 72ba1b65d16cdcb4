"""The walk over a graph: what is refused, what is inlined, and where either arithmetic rounds."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, INT64, DType
from attnfuse.verify.lowering import Arithmetic, Rounding, UnsupportedOpError, lower
from attnfuse.verify.numbers.execution import run
from attnfuse.verify.numbers.weights import stored_weights
from tests.support.graphs import GraphBuilder
from tests.verify.lowering.support import EXACT, LOWEST, NATIVE, execute, f


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16])
def test_native_rounds_after_every_operator(dtype: DType) -> None:
    x = f(64).astype(dtype.numpy)
    g = GraphBuilder("round")
    v = g.input("x", (64,), dtype)
    g.output(g.muls(g.muls(v, 1.1), 0.9))
    model = g.model()
    first = (x.astype(np.float32) * np.float32(1.1)).astype(dtype.numpy).astype(np.float32)
    expected = (first * np.float32(0.9)).astype(dtype.numpy).astype(np.float32)
    np.testing.assert_array_equal(execute(model, {"x": x}, NATIVE)[0], expected)
    exact = x.astype(np.float64) * float(np.float32(1.1)) * float(np.float32(0.9))
    np.testing.assert_allclose(execute(model, {"x": x})[0], exact, rtol=1e-15)


def test_exact_drops_casts_between_floats_only() -> None:
    x = np.array([1.0001, 2.7, -3.9], np.float32)
    g = GraphBuilder("casts")
    v = g.input("x", (3,))
    g.output(g.cast(g.cast(v, FLOAT16), FLOAT32), g.cast(g.cast(v, INT64), FLOAT32))
    got = execute(g.model(), {"x": x})
    np.testing.assert_array_equal(got[0], x.astype(np.float64))
    np.testing.assert_array_equal(got[1], [1.0, 2.0, -3.0])


@pytest.mark.parametrize("arithmetic", [EXACT, NATIVE])
@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16])
@pytest.mark.parametrize("fill", [-1e9, -1e30, LOWEST])
def test_a_fill_that_the_type_cannot_hold_is_infinite(fill: float, dtype: DType, arithmetic: Arithmetic) -> None:
    g = GraphBuilder("fill")
    x, hidden = g.input("x", (1, 3), dtype), np.array([[True, False, True]])
    filled = g.masked_fill(x, hidden, np.array(fill, np.float32))
    chosen = g.node("Select", [*map(g.constant, (hidden, np.array(fill, np.float32))), x], g.type_of(x))
    g.output(filled, chosen, g.muls(x, fill), g.cast(g.constant(np.array([fill], np.float32)), dtype))
    got = execute(g.model(), {"x": np.array([[0.5, 2.0, 1.0]], dtype.numpy)}, arithmetic)
    with np.errstate(over="ignore"):
        held = float(np.array(fill).astype(dtype.numpy))  # −∞ but for what bfloat16 reaches
    assert math.isinf(held) is (dtype is FLOAT16 or fill == LOWEST)
    for result in got[:2]:
        np.testing.assert_allclose(result, [[held, 2.0, held]], rtol=2.0**-8)
    product = 2.0 * fill  # the number is used as it is: only what the type holds of the result is infinite
    beyond = -math.inf if arithmetic is NATIVE and (dtype is FLOAT16 or fill == LOWEST) else product
    np.testing.assert_allclose(got[2][0, 1], beyond, rtol=2.0**-8)
    np.testing.assert_allclose(got[3], [held], rtol=2.0**-8)


def test_native_overflows_as_float16_does() -> None:
    g = GraphBuilder("big")
    g.output(g.muls(g.input("x", (2,), FLOAT16), 100.0))
    got = execute(g.model(), {"x": np.array([1000.0, 1.0], np.float16)}, NATIVE)[0]
    assert got.tolist() == [math.inf, 100.0]


@pytest.mark.parametrize("result", [False, True])
def test_a_rounding_is_laid_upon_operands_and_result(result: bool) -> None:
    g = GraphBuilder("at")
    x, y = g.input("x", (2, 3)), g.input("y", (3, 4))
    out = g.matmul_ext(x, y)
    g.output(out)
    model = g.model()
    a, c = f(2, 3), f(3, 4, name="y")
    named = {value.name: v for value, v in zip(model.proto.graph.input, (a, c), strict=True)}
    weights = stored_weights(model.proto, Path("/none/x.mindir"))
    rounding = {out: Rounding(FLOAT16, operands=(0, 1), result=result)}
    got = run(lower(model, NATIVE, rounding), named, weights)[0]
    half = a.astype(np.float16).astype(np.float32) @ c.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(got, half.astype(np.float16).astype(np.float32) if result else half)


def test_dead_nodes_need_no_rule() -> None:
    g = GraphBuilder("dead")
    x = g.input("x", (2,))
    g.op("Unknowable", x)
    g.output(g.muls(x, 2.0))
    np.testing.assert_array_equal(execute(g.model(), {"x": np.ones(2, np.float32)})[0], [2.0, 2.0])


def test_an_unknown_operator_is_named() -> None:
    g = GraphBuilder("odd")
    g.output(g.op("Unknowable", g.input("x", (2,))))
    with pytest.raises(UnsupportedOpError, match=r"^Unknowable CNode_1:1: no rule"):
        lower(g.model(), EXACT)


def test_sizes_not_known_before_run_time_are_refused() -> None:
    g = GraphBuilder("dynamic")
    g.output(g.muls(g.input("x", (-1, 3)), 2.0))
    with pytest.raises(UnsupportedOpError, match="input x"):
        lower(g.model(), EXACT)


@pytest.mark.parametrize("as_output", [False, True])
def test_in_place_changes_others_would_see_are_refused(as_output: bool) -> None:
    g = GraphBuilder("place")
    x = g.muls(g.input("x", (2,)), 1.0)
    changed = g.op("InplaceAddExt", x, x, 1, g.monad())
    g.output(*((changed, x) if as_output else (g.add(changed, x),)))
    with pytest.raises(UnsupportedOpError, match="in place that others read"):
        lower(g.model(), EXACT)


def test_calls_are_inlined() -> None:
    g = GraphBuilder("calls")
    x = g.input("x", (2,))
    g.output(g.muls(x, 1.0))
    proto = g.build()
    function = proto.functions.add(name="9_double")
    value = function.input.add(name="9_double:y")
    value.tensor.add(data_type=FLOAT32.wire).dims.append(2)
    body = function.node.add(name="9_double:twice:1", op_type="REF::Muls:0")
    body.CopyFrom(next(n for n in proto.graph.node if n.op_type == "REF::Muls:0"))
    body.name, body.output[0], body.input[0] = "9_double:twice:1", "9_double:twice:1", "9_double:y"
    two = g.constant(2.0)
    body.input[1] = two
    function.output.add(name="9_double:twice:1").tensor.add(data_type=FLOAT32.wire).dims.append(2)
    call = proto.graph.node.add(name="1_calls_construct_1:call:5", op_type="REF::9_double")
    call.output.append("1_calls_construct_1:call:5")
    call.input.append(proto.graph.output[0].name)
    again = proto.graph.node.add(name="1_calls_construct_1:call:6", op_type="REF::9_double")
    again.output.append("1_calls_construct_1:call:6")
    again.input.append(call.output[0])
    proto.graph.output[0].name = again.output[0]
    np.testing.assert_array_equal(execute(Model(proto), {"x": np.array([1, 3], np.float32)})[0], [4.0, 12.0])


def test_a_constant_and_a_weight_may_be_handed_out() -> None:
    g = GraphBuilder("given")
    g.input("x", (2,))
    g.output(g.constant(np.array([1, 2], np.int32)))
    g.output(g.parameter("w", np.array([3.5], np.float16)))
    constant, weight = execute(g.model(), {"x": f(2)})
    np.testing.assert_array_equal(constant, [1, 2])
    np.testing.assert_array_equal(weight, [3.5])
