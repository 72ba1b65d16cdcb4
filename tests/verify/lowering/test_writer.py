"""What storing a bias costs scores."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, DType
from attnfuse.verify.lowering import Rounding, lower
from attnfuse.verify.numbers.execution import run
from attnfuse.verify.numbers.weights import drawn_weights
from tests.support.graphs import GraphBuilder
from tests.verify.lowering.support import EXACT, LOWEST, f


@pytest.mark.parametrize("spelling", ["added", "baddbmm"])
@pytest.mark.parametrize(("dtype", "added"), [(FLOAT16, FLOAT32), (BFLOAT16, FLOAT32), (FLOAT16, BFLOAT16)])
def test_scores_are_moved_by_what_storing_their_bias_costs(dtype: DType, added: DType, spelling: str) -> None:
    """Keys behind the largest of their row by d are off by u · max(d, 1), or by u of the source's sum; −∞ stays."""
    g = GraphBuilder("stored")
    x = g.input("x", (1, 5, 16))
    bias = np.linspace(100.0, 160.0, 40).reshape(1, 5, 8).astype(np.float32)
    bias[0, 3, :4], bias[0, 2, 5], bias[0, 4] = -np.inf, -5000.0, LOWEST
    y = g.input("y", (1, 16, 8))
    product = g.baddbmm(g.constant(bias), x, y) if spelling == "baddbmm" else g.matmul_ext(x, y)
    summed = product if spelling == "baddbmm" else g.add(product, bias)
    weights = g.softmax(summed)
    g.output(weights)
    model = g.model()
    values = {v.name: f(*dims) * 0.1 for v, dims in zip(model.proto.graph.input, [(1, 5, 16), (1, 16, 8)], strict=True)}
    stored = tuple(dict.fromkeys((product, summed)))
    plain, moved = (
        run(lower(model, EXACT, rounding), values, drawn_weights(0))[0][0]
        for rounding in ({}, {weights: Rounding(dtype, stored=stored, added=added)})
    )
    u, own = ({FLOAT16: 2.0**-11, BFLOAT16: 2.0**-8, FLOAT32: 2.0**-24}[d] for d in (dtype, added))
    b = bias[0].astype(np.float64)
    expected = np.maximum(
        u * np.maximum(b.max(-1, keepdims=True) - b, 1.0), np.where(np.abs(b) < 1000, own * np.abs(b), 0)
    )
    for row in range(4):
        seen = b[row] > -1000
        off = np.log(moved[row, seen]) - np.log(plain[row, seen])
        signs = [off + s * expected[row, seen][0] - off[0] for s in (1, -1)]
        assert any(np.allclose(np.abs(o), expected[row, seen], rtol=1e-6, atol=1e-12) for o in signs), row
        np.testing.assert_array_equal(moved[row, ~seen], plain[row, ~seen])
    np.testing.assert_allclose(moved[4], np.full(8, 1 / 8), rtol=1e-12)  # absorbed whole, as before
