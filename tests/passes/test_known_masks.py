"""Masks per head, and masks kept as weights: whose numbers are known, and which nodes take them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, DType
from attnfuse.mindir.values import WeightValues
from attnfuse.pass_manager import Context
from attnfuse.policy import Policy
from attnfuse.targets import Target
from attnfuse_passes.fuse import Fuse
from tests.support.graphs import GraphBuilder
from tests.support.masks import LOWEST, RUNTIMES, added_constant, causal, filled, scalar, selected
from tests.support.oracle import Array
from tests.support.sites import Change, Site

PER_HEAD = [(1, 2, 4, 5), (2, 4, 5), (1, 2, 1, 5), (2, 1, 5), (1, 2, 4, 1), (1, 2, 1, 1), (2, 2, 4, 5), (2, 2, 1, 1)]
"""Shapes of masks that tell heads apart; all but the last two are shared over the batch."""


@pytest.mark.parametrize("dims", PER_HEAD, ids=str)
@pytest.mark.parametrize("how", ["filled", "added", "constant fill", "constant", "constant of numbers", "weight"])
def test_a_mask_per_head_is_written_out_over_the_batch(how: str, dims: tuple[int, ...]) -> None:
    """FlashAttentionScore takes it only with the whole batch; PromptFlashAttention takes none."""
    mask = np.random.default_rng(1).random(dims) < 0.5
    mask[..., 0, 0] = np.arange(2) == 0  # of one head and not of the other
    inputs: dict[str, Any] = {}
    change: Change
    if how == "filled":
        change, inputs = filled(-np.inf, dims), {"mask": mask}
    elif how == "added":
        change, inputs = selected(-np.inf, dims, FLOAT16), {"mask": ~mask}
    elif how == "constant fill":
        change = lambda g, s: g.masked_fill(s, mask, scalar(-np.inf, FLOAT16))  # noqa: E731
    elif how == "weight":
        change = lambda g, s: g.masked_fill(s, g.parameter("mask", mask), scalar(-np.inf, FLOAT16))  # noqa: E731
    else:
        low, dtype = (-np.inf, FLOAT16) if how == "constant" else (LOWEST["float32"], FLOAT32)
        change = added_constant(np.where(mask, low, 0.0), dtype)
    dtype = FLOAT32 if how == "constant of numbers" else FLOAT16
    case = Site(scores=change, dtype=dtype)
    model, _ = case.run(case.proto(), "mindspore")
    (node,) = (node for node in model.nodes if node.op == "FlashAttentionScore")
    assert model.type_of(node.inputs[6]) == TensorType((2, 2, 4, 5), dtypes.BOOL)
    case = Site(scores=change, dtype=dtype)
    assert case.fused(**inputs).mask == "bool"
    case = Site(scores=change, dtype=dtype)
    assert case.refused("lite") == "target.mask_per_head"


def test_a_constant_whose_mask_is_of_all_heads() -> None:
    """One constant for both, as ALiBi in a causal model: what it hides is the same in every head."""
    hidden, slopes = np.triu(np.ones((4, 5), bool), 1), np.array([-0.5, -0.25]).reshape(1, 2, 1, 1)
    both_in_one = np.where(hidden, LOWEST["float32"], slopes * np.arange(5))
    site = Site(scores=added_constant(both_in_one, FLOAT32), dtype=FLOAT32).fused("lite", 0.01)
    assert (site.mask, site.fully_masked_rows) == ("additive", None)


# --- weights as masks


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("low", "dtype"), [(-np.inf, FLOAT16), (LOWEST["float32"], FLOAT32), (-np.inf, BFLOAT16)])
def test_a_mask_kept_as_a_weight(low: float, dtype: DType, runtime: str) -> None:
    """Its numbers prove that no row is empty; they are read at run time, and no constant is made of them."""
    numbers = np.where(causal(4, 5), low, 0.0).astype(dtype.numpy)
    case = Site(scores=lambda g, s: g.add(s, g.parameter("mask", numbers)), dtype=dtype)
    model, (record,) = case.run(case.proto(), runtime)
    assert not any(n.op == "Constant" and (k := model.type_of(n.name)) and k.size == 20 for n in model.nodes)
    assert any(o.evidence.startswith("the mask is a weight of known numbers") for o in record.obligations)
    case = Site(scores=lambda g, s: g.add(s, g.parameter("mask", numbers)), dtype=dtype)
    site = case.fused(runtime)
    assert (site.mask, site.fully_masked_rows) == ("bool", None)


def test_a_mask_kept_as_a_weight_that_empties_a_row() -> None:
    numbers = np.where(np.arange(4)[:, None] == 2, LOWEST["float32"], np.zeros((4, 5))).astype(np.float32)
    site = Site(scores=lambda g, s: g.add(s, g.parameter("mask", numbers)), dtype=FLOAT32).fused(within=1e-3)
    assert (site.mask, site.fully_masked_rows) == ("bool", "mean")


def test_a_weight_shared_by_several_sites_is_read_once_for_all() -> None:
    """Each asks for its numbers; the reader is asked once."""
    g = GraphBuilder()
    bias = g.weight("table", (4, 5), FLOAT32, 50.0)
    outputs = []
    for n in range(3):
        q, k, v = (g.input(f"{name}{n}", (2, length, 16), FLOAT32) for name, length in (("q", 4), ("k", 5), ("v", 5)))
        scores = g.add(g.batch_matmul(q, k, transpose_b=True), bias)
        outputs.append(g.matmul_ext(g.softmax(scores), v))
    g.output(*outputs)
    model = g.model()
    held, asked = WeightValues(model.proto), list[str]()

    def weights(name: str) -> Array | None:
        asked.append(name)
        return held(name)

    context = Context("unet", "unet", Policy(), Target("lite", "ascend910b"), weights=weights)
    Fuse().run(model, context)
    assert [site.status for site in context.sites] == ["fused"] * 3
    assert asked == [f"{g.prefix}:table"]


@pytest.mark.parametrize(("largest", "guarded"), [(20, False), (19, True)])
def test_a_mask_larger_than_the_pass_may_compute_is_not_known(largest: int, guarded: bool) -> None:
    """Of one that is not known a row may be empty."""
    kept = ~causal(4, 5)
    site = Site(scores=lambda g, s: g.masked_fill(s, g.logical_not(g.constant(kept)), scalar(-np.inf, FLOAT16)))
    context = Context("unet", "unet", Policy(), Target("mindspore", "ascend910b"))
    Fuse(largest_constant=largest).run(Model(site.proto()), context)
    (record,) = context.sites
    assert record.status == "fused"
    assert (record.fully_masked_rows is not None) == guarded
