"""What counts as a matrix product: every operator, its flags and factors, and what is left alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.mindir.schema import ModelProto
from attnfuse_passes.attention.identities.product import MAX_CHAIN, Product, is_scores, read_product
from attnfuse_passes.attention.identities.registry import SitePart, read_back
from tests.support import oracle
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder, seeded

LEFT, RIGHT = (2, 3, 4), (2, 4, 5)
OUT = TensorType((2, 3, 5), FLOAT16)


def operands(g: GraphBuilder) -> tuple[str, str]:
    return g.input("left", LEFT, FLOAT16), g.input("right", RIGHT, FLOAT16)


def product_of(make: Callable[[GraphBuilder], str]) -> tuple[Product | None, Model]:
    g = GraphBuilder()
    value = make(g)
    g.output(value)
    model = g.model()
    return read_product(model, value), model


def test_every_operator_and_its_flags() -> None:
    for op in ("MatMulExt", "BatchMatMulExt"):
        found, _ = product_of(lambda g, op=op: g.node(op, operands(g), OUT))  # type: ignore[misc]
        assert found is not None
        assert (found.strict, found.swap_left, found.swap_right) == (op == "BatchMatMulExt", False, False)
        assert (found.alpha, found.term) == (1.0, None)
    for op in ("MatMul", "BatchMatMul"):
        for flags in ((False, False), (True, False), (False, True), (True, True)):

            def make(g: GraphBuilder, op: str = op, flags: tuple[bool, bool] = flags) -> str:
                return g.node(op, [*operands(g), *map(g.constant, flags)], OUT)

            found, _ = product_of(make)
            assert found is not None
            assert (found.swap_left, found.swap_right, found.strict) == (*flags, False)
            assert [name.rsplit(":", 1)[-1] for name in (found.left, found.right)] == ["left", "right"]


def test_baddbmm_carries_its_term_and_factors() -> None:
    found, model = product_of(lambda g: g.baddbmm(g.input("bias", (2, 3, 5), FLOAT16), *operands(g), 0.5, 2))
    assert found is not None
    assert (found.alpha, found.beta, found.strict) == (2.0, 0.5, True)
    assert found.term is not None
    names = [name.rsplit(":", 1)[-1] for name in (found.left, found.right, found.term)]
    assert names == ["left", "right", "bias"]
    assert model.is_input(found.term)


@pytest.mark.parametrize(
    "make",
    [
        lambda g: g.op("Neg", g.input("x", (2, 3), FLOAT16)),
        lambda g: g.node("BatchMatMul", [*operands(g), g.input("f", (), dtypes.BOOL), g.constant(False)], OUT),
        lambda g: g.node("BatchMatMul", [*operands(g), g.constant(1), g.constant(0)], OUT),
        lambda g: g.node("BatchMatMul", operands(g), OUT),
        lambda g: g.node("MatMulExt", [*operands(g), g.constant(False)], OUT),
        lambda g: g.node("Baddbmm", [g.input("b", (2, 3, 5), FLOAT16), *operands(g)], OUT),
        lambda g: g.node(
            "Baddbmm", [g.input("b", (2, 3, 5), FLOAT16), *operands(g), g.input("f", (), FLOAT16), g.constant(1)], OUT
        ),
        lambda g: g.node(
            "Baddbmm", [g.input("b", (2, 3, 5), FLOAT16), *operands(g), g.constant(1), g.input("f", (), FLOAT16)], OUT
        ),
    ],
    ids=["another", "run-time flag", "flags of numbers", "no flags", "a third operand", "no factors", "beta", "alpha"],
)
def test_what_is_no_product_that_can_be_read(make: Callable[[GraphBuilder], str]) -> None:
    found, _ = product_of(make)
    assert found is None


def test_an_input_is_no_product() -> None:
    g = GraphBuilder()
    x = g.input("x", (2,))
    g.output(x)
    model = g.model()
    assert read_product(model, x) is None
    assert not is_scores(model, x)


@pytest.mark.parametrize(("length", "found"), [(MAX_CHAIN - 1, True), (MAX_CHAIN, False)])
def test_a_chain_is_followed_so_far_and_no_further(length: int, found: bool) -> None:
    g = GraphBuilder()
    value = g.node("MatMulExt", operands(g), OUT)
    for _ in range(length):
        value = g.muls(value, 0.5)
    g.output(value)
    assert is_scores(g.model(), value) == found


@pytest.mark.parametrize("length", [30, 3_000])
@pytest.mark.parametrize("op", ["Add", "Sub"])
def test_sums_of_sums_are_followed_no_further_either(op: str, length: int) -> None:
    """Each of both operands is one: a search that goes down every way ends in no time of ours, or too deep for it."""
    g = GraphBuilder()
    value = g.input("x", OUT.dims, OUT.dtype)
    for _ in range(length):
        value = g.node(op, [value, value], OUT)
    g.output(value)
    model = g.model()
    assert not is_scores(model, value)
    assert read_back(model, value, SitePart.SCORES) is None


@pytest.mark.parametrize(("beta", "alpha"), [(1, 1), (0.5, 0.25), (0, 0.25), (2.0, 1), (-1.0, 0.5)])
def test_factors_of_baddbmm_reach_scale_and_bias(beta: float, alpha: float) -> None:
    """β of 0 means no bias at all."""
    g = GraphBuilder()
    q, k, v = (g.input(n, d, FLOAT16) for n, d in (("q", (4, 3, 16)), ("k", (4, 16, 5)), ("v", (4, 5, 16))))
    scores = g.baddbmm(g.input("bias", (4, 3, 5), FLOAT16), q, k, beta, alpha)
    g.output(g.bmm(g.softmax(scores), v))
    proto = g.build()
    after = ModelProto()
    after.CopyFrom(proto)
    model = Model(after)
    (site,) = fuse(model)
    assert (site.status, site.scale, site.mask) == ("fused", alpha, "additive" if beta else None)
    inputs = {
        name: seeded(name, dims).astype(np.float64)
        for name, dims in (("q", (4, 3, 16)), ("k", (4, 16, 5)), ("v", (4, 5, 16)), ("bias", (4, 3, 5)))
    }
    np.testing.assert_allclose(oracle.run(model, inputs)[0], oracle.run(Model(proto), inputs)[0], atol=0.01)
