"""The figures of a whole graph, worked out by hand."""

from __future__ import annotations

import pytest

from attnfuse.cost.estimate import estimate, estimate_with_sites
from attnfuse.cost.program import NotEstimated
from attnfuse.cost.records import Share, SiteNodes
from attnfuse.targets.socs import SPECIFICATIONS
from tests.support.costs import graph

ATTENTION = """
    q: float16[8, 1024, 64]; k: float16[8, 1024, 64]; v: float16[8, 1024, 64]
    s = BatchMatMulExt(q, Transpose(k, (0, 2, 1)))
    BatchMatMulExt(Softmax(Muls(s, 0.125), (-1,)), v)
"""
OPERAND = 8 * 1024 * 64 * 2
SCORES = 8 * 1024 * 1024 * 2
FLOPS = 2 * 8 * 1024 * 1024 * 64


def test_the_formula_of_attention() -> None:
    # Four kernels: q and k to scores, scores times the scale, softmax, and with v to the result. The transposition goes
    # into the product. Alive together at most: two tensors of scores, three inputs and the result, each with a block
    # of 512 bytes on top.
    found = estimate(graph(ATTENTION), "ascend910b")
    assert found.kernels == 4
    assert found.bytes_moved == (2 * OPERAND + SCORES) + 2 * SCORES + 2 * SCORES + (SCORES + 2 * OPERAND)
    assert found.peak_bytes == 2 * (SCORES + 512) + 4 * (OPERAND + 512)
    assert found.flops == 2 * FLOPS
    assert (found.format_changes, found.format_bytes) == (0, 0)


def test_time_is_the_longer_of_moving_and_computing_kernel_by_kernel() -> None:
    # On 910B the two products of 1.07 GFLOP take 2.9 microseconds to compute and 10.7 to move; all kernels are bound
    # by memory. One product of [4096, 4096] is bound by arithmetic: 137 GFLOP, 100 MB.
    soc = SPECIFICATIONS["ascend910b"]
    found = estimate(graph(ATTENTION), "ascend910b")
    assert found.seconds == pytest.approx(found.bytes_moved / soc.bandwidth.value)
    large = estimate(graph("MatMulExt(x: float16[4096, 4096], y: float16[4096, 4096])"), "ascend910b")
    assert large.seconds == pytest.approx(2 * 4096**3 / 376e12)
    assert large.seconds > large.bytes_moved / soc.bandwidth.value


def test_a_type_without_a_published_figure_is_bound_by_memory_alone() -> None:
    # float32 on 310P; in blocks of 16, 4096 is a multiple already.
    found = estimate(graph("MatMulExt(x: float32[4096, 4096], y: float32[4096, 4096])"), "ascend310p")
    assert found.seconds == pytest.approx(found.bytes_moved / 204.8e9)


def test_an_open_batch_is_not_estimated() -> None:
    with pytest.raises(NotEstimated, match="sizes are left to run time"):
        estimate(graph("x: float16[?, 4]; Softmax(x, (-1,))"), "ascend910b")


def test_what_is_one_sites() -> None:
    model = graph(ATTENTION)
    named = {node.op: node.name for node in model.nodes}
    core = frozenset((named["Muls"], named["Softmax"]))
    first = SiteNodes("first", core, frozenset())
    found, shares = estimate_with_sites(model, "ascend910b", [first, SiteNodes("second", core, frozenset())])
    moved = 4 * SCORES  # the scale and the softmax each read and write the scores
    bandwidth = SPECIFICATIONS["ascend910b"].bandwidth.value
    assert shares == {"first": Share(moved, 2, shares["first"].seconds)}  # and no kernel counts twice
    assert shares["first"].seconds == pytest.approx(moved / bandwidth)
    assert found == estimate(model, "ascend910b")


def test_a_kernel_around_a_site_is_its_own_where_nothing_else_is_in_it() -> None:
    text = "x: float16[64, 64]; y: float16[64, 64]; Transpose(Exp(Add(x, y)), (1, 0))"
    model = graph(text)
    named = {node.op: node.name for node in model.nodes}

    def kernels(*around: str) -> int:
        site = SiteNodes("a", frozenset(), frozenset(named[op] for op in around))
        shares = estimate_with_sites(model, "ascend910b", [site])[1]
        return shares["a"].kernels if shares else 0

    assert kernels("Exp") == 0  # one kernel with Add
    assert kernels("Exp", "Add") == 1
    assert kernels("Exp", "Add", "Transpose") == 2
