"""Zeros behind heads in the weights around an attention: for which layers, and what it computes then."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.text import infer, parse_program, signature
from attnfuse.ir.verifier import Verifier
from attnfuse.mindir.external import parameter_name
from attnfuse.mindir.schema import ModelProto
from attnfuse.verify.graph.structure import check_interface, new_findings
from attnfuse.verify.lowering import Arithmetic, lower
from attnfuse.verify.numbers.execution import run
from attnfuse.verify.numbers.inputs import draw_inputs
from attnfuse.verify.numbers.weights import both_sides
from tests.support.fusing import fuse

DECLARED = """
x: float16[2, 16, 48]; wq: parameter float16[96, 48]; wk: parameter float16[96, 48]; wv: parameter float16[96, 48]
wo: parameter float16[48, 96]; bq: parameter float16[96]; bo: parameter float16[48]; bv: parameter float16[1, 1, 96]
tq: parameter float16[48, 96]; to: parameter float16[96, 48]; gain: parameter float16[24]
"""
QUERY, KEY, VALUE = "Dense(x, wq, bq)", "Dense(x, wk, None)", "Dense(x, wv, None)"
RESULT = "Dense(joined, wo, bo)"
HEADS = "Transpose(Reshape({}, (2, 16, 4, 24)), (0, 2, 1, 3))"


def program(
    query: str = QUERY, key: str = KEY, value: str = VALUE, result: str = RESULT, *, middle: str = "q", mask: str = ""
) -> Model:
    """Four heads of 24 elements. `middle` is what becomes of query's heads on their way."""
    text = f"""{DECLARED}
q0 = {query}; k0 = {key}; v0 = {value}
q = {HEADS.format("q0")}; k = {HEADS.format("k0")}; v = {HEADS.format("v0")}
scores = Muls(MatMulExt({middle}, Transpose(k, (0, 1, 3, 2))), 0.2); weights = Softmax({mask or "scores"}, (-1,))
joined = Reshape(Transpose(MatMulExt(weights, v), (0, 2, 1, 3)), (2, 16, 96))
{result}
"""
    return Model(parse_program(text, infer=infer, signature=signature))


def fused(before: Model) -> tuple[Model, Counter[str]]:
    """What is left of the graph, which must be right and compute the same, and the operators in it."""
    proto = ModelProto()
    proto.CopyFrom(before.proto)
    after = Model(proto)
    (site,) = fuse(after, "mindspore")
    pads = Counter(node.op for node in after.nodes)["PadV3"]
    assert len({"query", "key", "value"} & set(site.padded_by_weights)) == 3 - pads
    assert (site.status, site.head_dim_padding) == ("fused", 8)
    assert Verifier(before).fault(after, {}) is None
    assert new_findings(before, after)[0] + check_interface(before, after) == []
    here = Path("x.mindir")
    (own, others), _ = both_sides(before.proto, here, after.proto, here, 0)
    given = draw_inputs(before, 0)
    for name in given:
        if name.endswith(":hidden"):
            given[name][:, :, 0] = True  # a row without a key
    results = (run(lower(model, Arithmetic.EXACT), given, w) for model, w in ((before, own), (after, others)))
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * float(np.nanmax(np.abs(expected))))
    return after, Counter(node.op for node in after.nodes)


def edited(model: Model) -> set[str]:
    return {name for name in map(parameter_name, model.parameters()) if "__" in name}


def test_nothing_is_padded_at_run_time_between_linear_layers() -> None:
    after, ops = fused(program())
    assert ops["PadV3"] + ops["StridedSlice"] + ops["Concat"] == 0
    assert edited(after) == {
        "wq__pad_0_4_8", "bq__pad_0_4_8", "wk__pad_0_4_8", "wv__pad_0_4_8", "wo__pad_1_4_8"
    }  # fmt: skip
    assert ops["Dense"] == 4
    assert sum(node.op == "Load" and node.inputs[0].endswith((":wq", ":wk", ":wv", ":wo")) for node in after.nodes) == 0


@pytest.mark.parametrize(
    ("layers", "weights"),
    [
        ({"query": "MatMul(x, tq, False, False)"}, {"tq__pad_1_4_8"}),
        ({"query": "MatMul(x, wq, False, True)"}, {"wq__pad_0_4_8"}),
        ({"query": "MatMulExt(x, tq)"}, {"tq__pad_1_4_8"}),
        ({"query": "MatMulExt(x, Transpose(wq, (1, 0)))"}, {"wq__pad_0_4_8"}),
        (
            {"query": "Reshape(Addmm(bq, Reshape(x, (32, 48)), tq, 1, 1), (2, 16, 96))"},
            {"tq__pad_1_4_8", "bq__pad_0_4_8"},
        ),
        (
            {"query": "Reshape(BiasAdd(MatMul(Reshape(x, (32, 48)), wq, False, True), bq, 1), (2, 16, 96))"},
            {"wq__pad_0_4_8", "bq__pad_0_4_8"},
        ),
        ({"value": "Add(MatMulExt(x, Transpose(wv, (1, 0))), bv)"}, {"wv__pad_0_4_8", "bv__pad_2_4_8"}),
        ({"value": "Add(bv, Dense(x, wv, None))"}, {"wv__pad_0_4_8", "bv__pad_2_4_8"}),
        ({"result": "MatMulExt(joined, to)"}, {"to__pad_0_4_8"}),
        ({"result": "Add(MatMulExt(joined, Transpose(wo, (1, 0))), bo)"}, {"wo__pad_1_4_8"}),
    ],
)  # fmt: skip
def test_however_a_layer_is_spelled(layers: dict[str, str], weights: set[str]) -> None:
    after, ops = fused(program(**layers))
    assert ops["PadV3"] + ops["StridedSlice"] == 0
    assert weights <= edited(after)


@pytest.mark.parametrize(
    ("parts", "pads", "slices"),
    [
        ({"query": "Neg(Dense(x, wq, bq))"}, 1, 0),
        ({"query": "Add(Dense(x, wq, None), Dense(x, wk, None))"}, 1, 0),
        ({"query": "MatMulExt(x, Neg(tq))"}, 1, 0),
        ({"middle": "LayerNormExt(q, (24,), gain, gain, 1e-5)[0]"}, 1, 0),
        ({"result": "Dense(Neg(joined), wo, bo)"}, 0, 1),
        ({"result": "Add(joined, joined)"}, 0, 1),
        ({"result": "return Dense(joined, wo, bo), joined"}, 0, 1),
        ({"result": "Add(Dense(joined, wo, bo), Dense(q0, wo, None))"}, 1, 0),
        ({"result": "Add(Dense(joined, wo, bo), Dense(Reshape(q, (2, 16, 96)), wo, None))"}, 1, 0),
    ],
)
def test_what_is_not_straight_is_padded_as_before(parts: dict[str, str], pads: int, slices: int) -> None:
    _, ops = fused(program(**parts))
    assert (ops["PadV3"], ops["StridedSlice"]) == (pads, slices)


def test_a_layer_of_two_operands_is_written_once() -> None:
    _, ops = fused(program(key="q0"))
    assert (ops["PadV3"], ops["Dense"]) == (0, 3)


def test_a_weight_that_others_read_too_stays_beside_the_padded_one() -> None:
    after, ops = fused(program(result="Add(Dense(joined, wo, bo), Dense(Dense(x, wq, None), wo, None))"))
    assert ops["PadV3"] == 0
    assert {"wq", "wq__pad_0_4_8"} <= set(map(parameter_name, after.parameters()))
    assert sum(node.op == "Load" and node.inputs[0].endswith(":wq") for node in after.nodes) == 1


@pytest.mark.parametrize("parts", [{}, {"value": "Neg(Dense(x, wv, None))"}, {"result": "Neg(joined)"}])
def test_what_stands_for_fully_masked_rows_has_the_zeros_or_none(parts: dict[str, str]) -> None:
    """It is made of the value: where that and the result are not padded alike, both are as before."""
    mask = "MaskedFill(scores, hidden: bool[2, 1, 16, 16], tensor float16[] -65504.0)"
    _, ops = fused(program(**parts, mask=mask))
    assert ops["Select"] == 1
    assert (ops["PadV3"], ops["StridedSlice"]) == ((1, 1) if parts else (0, 0))
