"""Gates and rotations are what CANN documents, and round where its kernels do."""

from __future__ import annotations

import math

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.text import infer, parse_program
from attnfuse.ir.types import Literal
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32
from attnfuse.verify.lowering import Arithmetic, UnsupportedOpError
from tests.verify.lowering.support import EXACT, NATIVE, TOLERANCES, Floats, execute, f, one

X = f(2, 3, 8)
C, S = np.cos(f(1, 3, 1, 4, name="c")), np.sin(f(1, 3, 1, 4, name="c"))


def erf_gelu(x: Floats) -> Floats:
    return np.asarray(x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))))


def tanh_gelu(x: Floats) -> Floats:
    return np.asarray(x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


@pytest.mark.parametrize("arithmetic", [EXACT, NATIVE])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("approximate", [0, 1])
def test_a_gate(approximate: int, left: bool, arithmetic: Arithmetic) -> None:
    text = f"a = GeGluV2(x: float32[2, 3, 8]; dim=-1, approximate={approximate}, activate_left={left}); (a[0], a[1])"
    got = execute(Model(parse_program(text, infer=infer)), {"x": X}, arithmetic)
    first, second = np.split(X.astype(float), 2, axis=-1)
    half, other = (first, second) if left else (second, first)
    gelu = (tanh_gelu if approximate else erf_gelu)(half)
    for value, expected in zip(got, (other * gelu, gelu), strict=True):
        np.testing.assert_allclose(value, expected, rtol=TOLERANCES[arithmetic], atol=TOLERANCES[arithmetic])


def test_the_activated_half_is_rounded_before_it_is_multiplied() -> None:
    x = f(4, 256).astype(np.float16)
    text = "a = GeGluV2(x: float16[4, 256]; dim=-1, approximate=0, activate_left=False); Neg(a[0])"
    (got,) = execute(Model(parse_program(text, infer=infer)), {"x": x}, NATIVE)
    other, half = np.split(x.astype(float), 2, axis=-1)
    gelu = erf_gelu(half)
    rounded = (other * gelu.astype(np.float16).astype(float)).astype(np.float16)
    unrounded = (other * gelu).astype(np.float16)
    assert np.mean(-got == rounded) > 0.99  # float32 and float64 may round an erf otherwise
    assert np.mean(-got == unrounded) < 0.9


@pytest.mark.parametrize("arithmetic", [EXACT, NATIVE])
@pytest.mark.parametrize(("mode", "turned"), [(0, (-2, -3, 0, 1)), (1, (-1, 0, -3, 2))])
def test_a_rotation(mode: int, turned: tuple[int, ...], arithmetic: Arithmetic) -> None:
    """`turned` are the places of r(x), a minus for a negated one."""
    x = f(2, 3, 5, 4)
    r = np.stack([np.sign(place or 1) * x[..., abs(place)] for place in turned], -1)
    got = one("RotaryPositionEmbedding", [x, C, S, mode], x.shape, arithmetic=arithmetic)
    np.testing.assert_allclose(got, x.astype(float) * C + r.astype(float) * S, rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("mode", [0, 1])
def test_only_a_rotation_of_halves_in_float16_rounds_its_products(mode: int) -> None:
    x, c, s = (a.astype(np.float16) for a in (f(2, 3, 5, 4), C, S))
    got = one("RotaryPositionEmbedding", [x, c, s, mode], x.shape, FLOAT16, NATIVE)
    turned = (-2, -3, 0, 1) if mode == 0 else (-1, 0, -3, 2)
    r = np.stack([(-1 if place < 0 else 1) * x[..., abs(place)] for place in turned], -1)
    rounded = x * c + r * s
    whole = (x.astype(np.float32) * c + r.astype(np.float32) * s).astype(np.float16)
    assert (rounded != whole).any()
    np.testing.assert_array_equal(got, rounded if mode == 0 else whole)


def test_swiglu_of_ge() -> None:
    attributes: dict[str, Literal] = {"reg_op_name": "SwiGlu", "dim": -1}
    first, second = np.split(X.astype(float), 2, axis=-1)
    got = one("Custom", [X], (2, 3, 4), FLOAT32, EXACT, attributes)
    np.testing.assert_allclose(got, first / (1 + np.exp(-first)) * second, rtol=1e-13)
    with pytest.raises(UnsupportedOpError, match="'GeluV2' of GE"):
        one("Custom", [X], (2, 3, 8), FLOAT32, EXACT, {"reg_op_name": "GeluV2", "dim": -1})


def test_an_attribute_that_is_left_to_cann_is_refused() -> None:
    text = "a = GeGluV2(x: float32[2, 3, 8]; dim=-1, activate_left=False); Neg(a[0])"
    model = Model(parse_program(text, infer=infer))
    with pytest.raises(UnsupportedOpError, match="left to CANN"):
        execute(model, {"x": X})
