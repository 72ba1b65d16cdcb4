"""Linear layers as they are read, and those that are none whose weights may be edited."""

from __future__ import annotations

import pytest

from attnfuse.ir.effects import Effects
from attnfuse.ir.graph import Model, short_name
from attnfuse.ir.text import infer, parse_program, signature
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse_passes.linear import Linear, PaddedLinear, read_linear

DECLARED = "x: float16[2, 5, 8]; w: parameter float16[6, 8]; t: parameter float16[8, 6]; b: parameter float16[6]\n"


def graph(text: str) -> Model:
    return Model(parse_program(DECLARED + text, infer=infer, signature=signature))


def read(text: str) -> tuple[Model, Linear | None]:
    """The layer that makes the value `y`."""
    model = graph(text)
    (value,) = [node.name for node in model.nodes if short_name(node.name).startswith("y:")]
    return model, read_linear(model, value, Effects.of(model))


@pytest.mark.parametrize(
    ("text", "turned", "biases"),
    [
        ("y = Dense(x, w, b)", True, 1),
        ("y = Dense(x, w, None)", True, 0),
        ("y = MatMul(x, t, False, False)", False, 0),
        ("y = MatMul(x, w, False, True)", True, 0),
        ("y = BatchMatMul(x, w, False, True)", True, 0),
        ("y = MatMulExt(x, Transpose(w, (1, 0)))", True, 0),
        ("y = Dense(x, Transpose(t, (-1, 0)), b)", False, 1),
        ("y = Addmm(b, Reshape(x, (10, 8)), t, 1, 0.5)", False, 1),
        ("y = AddExt(MatMulExt(x, t), b, 2)", False, 1),
        ("y = Add(b, MatMulExt(x, t))", False, 1),
        ("y = BiasAdd(MatMul(Reshape(x, (10, 8)), w, False, True), b, 0)", True, 1),
    ],
)
def test_a_layer(text: str, turned: bool, biases: int) -> None:
    model, linear = read(text)
    assert linear is not None
    assert (linear.turned, len(linear.biases)) == (turned, biases)
    assert model.type_of(linear.weight) == TensorType((6, 8) if turned else (8, 6), FLOAT16)


@pytest.mark.parametrize(
    "text",
    [
        "y = Neg(x)",
        "y = MatMulExt(x, Neg(t))",
        "y = MatMul(Reshape(x, (8, 10)), t, True, False)",
        "y = MatMulExt(x, z: float16[8, 6])",
        "y = Dense(x, w, c: float16[6])",
        "m = MatMulExt(x, t); y = Add(m, b); return y, m",
        "y = Add(MatMulExt(x, t), c: float16[6])",
        "y = BiasAdd(MatMulExt(x, t), c: parameter float16[5], 0)",
        "y = Add(Dense(x, w, b), b)",
        "y = MatMulExt(q: float16[2, 4, 8], k: float16[2, 8, 4])",
    ],
)
def test_no_layer(text: str) -> None:
    assert read(text)[1] is None


def test_numbers_that_are_listed_one_by_one_take_no_zeros() -> None:
    """It is asked before a node is written: what the builder refuses keeps the whole site as it is."""
    model, linear = read("y = Dense(x, w, b)")
    assert linear is not None
    assert PaddedLinear(linear, 2, 1).is_editable(model)
    assert not PaddedLinear(linear, 4, 1).is_editable(model)
    list(model.parameters())[-1].float_data.extend([0.0] * 6)
    assert not PaddedLinear(linear, 2, 1).is_editable(model)
    assert PaddedLinear(linear, 2, 1, of_input=True).is_editable(model)


def test_a_weight_that_the_graph_writes_to_is_none() -> None:
    model, linear = read("y = Dense(x, w, b)")
    assert linear is not None
    (weight,) = [p.name for p in model.parameters() if p.name.endswith(":w")]
    for effects in (Effects(frozenset(), frozenset({weight})), Effects(frozenset({weight}), frozenset())):
        assert read_linear(model, linear.value, effects) is None
