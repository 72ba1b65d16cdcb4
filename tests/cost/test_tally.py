"""An estimate by kinds, which add up to the whole, and the fusions that it counts on."""

from __future__ import annotations

import pytest

from attnfuse.cost.estimate import estimate
from attnfuse.cost.kinds import Kind
from attnfuse.cost.program import NotEstimated
from attnfuse.cost.tally import tally
from tests.support.costs import graph

X = "x: float16[4, 64]\n"
PRODUCT = "MatMul(x, w: parameter float16[64, 64], False, False)"
PICTURE = "x: float16[1, 16, 8, 8]\n"
CONVOLUTION = "Conv2DExt(x, w: parameter float16[64, 16, 1, 1], None, (1, 1), (0, 0), (1, 1), 1)"
NORM = "LayerNorm(Add(x, y: float16[4, 64]), g: parameter float16[64], b: parameter float16[64], -1, -1, 1.0e-05)"


@pytest.mark.parametrize(
    ("text", "soc", "assumed"),
    [
        (f"{X}Add({PRODUCT}, b: parameter float16[64])", "ascend910b", {"MatMulBiasAddFusionPass": 1}),
        (f"{X}Add({PRODUCT}, y: float16[4, 64])", "ascend910b", {}),
        (f"{X}Add({PRODUCT}, y: float16[4, 64])", "ascend310p", {"ATbeMatMulElemwise": 1}),
        (
            f"{X}Neg(Add({PRODUCT}, b: parameter float16[64]))",
            "ascend310p",
            {"MatMulBiasAddFusionPass": 1, "ATbeMatMulElemwise": 1},
        ),
        (f"{PICTURE}BiasAdd({CONVOLUTION}, b: parameter float16[64], 0)", "ascend910b", {"AABiasaddConvFusion": 1}),
        (f"{X}Neg(Exp(x))", "ascend910b", {"AutomaticUbFusion": 1}),
        (f"{X}ReduceMean(Square(x), (1,), True)", "ascend910b", {"TbeReduceElemwiseFusionPass": 1}),
        (X + NORM, "ascend910b", {"AddLayerNormFusionPass": 1}),
        (X + NORM, "ascend310p", {}),
        (
            "x: float16[64, 4]\nMatMul(Transpose(x, (1, 0)), w: parameter float16[64, 64], False, False)",
            "ascend910b",
            {"BatchMatMulFusionPass": 1},
        ),
    ],
)
def test_fusions_that_are_counted_on(text: str, soc: str, assumed: dict[str, int]) -> None:
    found = tally(graph(text), soc)
    assert {fusion.passes[0]: fusion.assumed for fusion in found.fusions if fusion.assumed} == assumed


@pytest.mark.parametrize("soc", ["ascend910b", "ascend310p"])
def test_kinds_add_up_to_the_estimate(soc: str) -> None:
    text = f"{X}y = {PRODUCT}; return Softmax(Mul(y, Sigmoid(y)), (-1,)), Transpose(x, (1, 0))"
    found, whole = tally(graph(text), soc), estimate(graph(text), soc)
    assert found.seconds == pytest.approx(whole.seconds)
    assert sum(kind.bytes_moved for kind in found.kinds.values()) == whole.bytes_moved
    assert sum(kind.kernels for kind in found.kinds.values()) == whole.kernels + whole.format_changes
    kinds = [kind for kind in found.kinds if kind is not Kind.FORMAT]
    assert kinds == [Kind.PRODUCT, Kind.SOFTMAX, Kind.ELEMENTWISE, Kind.MOVE]


def test_what_is_not_estimated_has_no_kinds() -> None:
    with pytest.raises(NotEstimated):
        tally(graph("Exp(x: float16[-1, 4])"), "ascend910b")
