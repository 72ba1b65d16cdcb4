"""Rows without a key under a finite mask that is added: what the sum's own type makes of them, and what is told."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse.decisions import SiteRecord
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, DType
from attnfuse_passes.attention.hiding import absorbing, half_spacing
from tests.support.graphs import GraphBuilder, operators
from tests.support.masks import FULLY_MASKED, LOWEST, RUNTIMES, added, added_constant, both, causal, filled, selected
from tests.support.sites import Site


def assumed(site: SiteRecord) -> list[str]:
    return [o.evidence.partition(":")[0] for o in site.obligations if o.kind == "assumption"]


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16, FLOAT32])
def test_half_of_a_step_is_what_a_sum_loses(dtype: DType) -> None:
    for number in (-1.5 * absorbing(dtype), -3.0 * absorbing(dtype), -96.0):
        half, held = half_spacing(number, dtype), np.array(number).astype(dtype.numpy)
        lost = np.array(number + 0.99 * half).astype(dtype.numpy)
        kept = np.array(number + 1.01 * half).astype(dtype.numpy)
        assert lost == held
        assert kept != held


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("dtype", "number"),
    [(FLOAT16, -1e4), (FLOAT16, -65504.0), (BFLOAT16, -1e4), (BFLOAT16, -1e9), (FLOAT32, -1e9), (FLOAT32, -1e8)],
)
def test_scores_that_are_lost_in_the_mask_give_the_mean(dtype: DType, number: float, runtime: str) -> None:
    """Plain attention, which exact sums would have there, is another result."""
    site = Site(scores=selected(number, (2, 1, 1, 5), dtype), dtype=dtype).fused(runtime, 0.01, mask=~FULLY_MASKED)
    assert len(assumed(site)) == 1
    assert (site.mask, site.fully_masked_rows) == (("bool", "mean") if dtype is FLOAT32 else ("additive", None))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("key_length", [3, 5])
def test_of_a_mask_that_is_an_input(runtime: str, key_length: int) -> None:
    """Of any number; zeros go into the shorter of query and key."""
    for number in (-1e4, LOWEST["float16"]):
        hidden = np.zeros((2, 1, 1, key_length), bool)
        hidden[1] = hidden[0, ..., 1] = True
        case = Site(scores=added(hidden.shape), key_length=key_length)
        site = case.fused(runtime, 0.01, bias=np.where(hidden, number, 0.0))
        assert assumed(site) == ["in a row without a key scores stay below 4"]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_multiplies_the_mask_alone_makes_no_score_smaller(runtime: str) -> None:
    """−10⁹ and a factor of 10⁻⁷: scores are lost from −1016 on all the same, and not from −10⁻⁴ on."""
    numbers = np.zeros((1, 1, 1, 5)).astype(BFLOAT16.numpy)
    numbers[..., 1] = -1e9

    def scores(g: GraphBuilder, s: str) -> str:
        return g.add(g.op("AddExt", s, numbers, 1e-7), g.input("bias", (2, 1, 1, 5), BFLOAT16))

    Site(scores=scores, dtype=BFLOAT16).fused(runtime, 0.06, bias=np.full((2, 1, 1, 5), -0.25))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_beside_a_mask_of_its_own(runtime: str) -> None:
    """The keys that are left to a row by −inf all have the number."""
    scores = both(added((2, 1, 1, 5)), filled(-np.inf, (4, 5)))
    bias = np.where(np.arange(5) < 2, -1e4, 0.0).reshape(1, 1, 1, 5).repeat(2, 0)
    assert Site(scores=scores).fused(runtime, 0.01, bias=bias, mask=causal(4, 5)).mask == "additive"


def test_a_users_word_needs_neither() -> None:
    for change in (added((2, 1, 1, 5)), selected(-1e4, (2, 1, 1, 5), FLOAT16)):
        case = Site(scores=change, no_fully_masked_rows=True)
        model, (site,) = case.run(case.proto(), "lite")
        assert assumed(site) == []
        assert "ReduceMax" not in operators(model)


def test_a_number_that_rounds_scores_and_does_not_lose_them_is_told() -> None:
    """−2000 in float16: scores are rounded to whole numbers, in rows that no key is left."""
    case = Site(scores=selected(-2000.0, (2, 1, 1, 5), FLOAT16))
    site = case.fused(within=0.01, mask=~(FULLY_MASKED & (np.arange(5) > 3)))
    assert assumed(site) == ["each row has a key"]
    fine = Site(scores=selected(-2000.0, (2, 1, 1, 5), FLOAT32), dtype=FLOAT32)
    assert assumed(fine.fused(within=0.01, mask=~FULLY_MASKED)) == []


def test_a_bias_that_is_learned_masks_no_row() -> None:
    """Made by a product: nothing is reduced for it, and what is assumed is told."""

    def scores(g: GraphBuilder, s: str) -> str:
        return g.add(s, g.matmul_ext(g.input("a", (2, 1, 4, 3), FLOAT16), g.input("b", (2, 1, 3, 5), FLOAT16)))

    case = Site(scores=scores)
    model, (site,) = case.run(case.proto(), "mindspore")
    assert (site.status, assumed(site)) == ("fused", ["each row has a key"])
    assert "ReduceMax" not in operators(model)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("number", [-1e9, LOWEST["float32"]])
def test_alibi_with_causal_in_one_constant_is_a_bias_and_a_mask(number: float, runtime: str) -> None:
    distance = np.arange(6) - np.arange(6).reshape(6, 1)
    both_in_one = np.where(distance > 0, number, np.array([0.5, 0.25]).reshape(1, 2, 1, 1) * distance)

    def case() -> Site:
        scores = added_constant(both_in_one.astype(np.float32), FLOAT32)
        return Site(scores=scores, dtype=FLOAT32, query_length=6, key_length=6)

    whole = case()
    model, (site,) = whole.run(whole.proto(), runtime)
    assert (site.status, site.mask) == ("fused", "additive"), site.reason
    (node,) = (node for node in model.nodes if node.op in ("PromptFlashAttention", "FlashAttentionScore"))
    types = [model.type_of(name) for name in node.inputs[3:7]]
    assert sorted(str(t.dtype) for t in types if t is not None) == ["bool", "float16"]
    case().fused(runtime, 0.01)


def test_a_constant_of_minus_1e9_is_a_mask() -> None:
    case = added_constant(np.where(causal(4, 5), -1e9, 0.0).astype(np.float32), FLOAT32)
    assert Site(scores=case, dtype=FLOAT32).fused().mask == "causal"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_clamp_behind_a_mask_makes_a_mean_of_a_row_without_a_key(runtime: str) -> None:
    """max(s + mask, smallest number), as OPT has it: −inf is the smallest number then."""

    def clamped(g: GraphBuilder, s: str) -> str:
        return g.op("Maximum", s, np.array(LOWEST["float32"], np.float32))

    for change in (filled(-np.inf, dtype=FLOAT32), filled(LOWEST["float32"], dtype=FLOAT32)):
        site = Site(scores=both(change, clamped), dtype=FLOAT32).fused(runtime, mask=FULLY_MASKED)
        assert site.fully_masked_rows == "mean"
    for number in (-np.inf, LOWEST["float32"]):
        case = Site(scores=both(selected(number, (2, 1, 1, 5), FLOAT32), clamped), dtype=FLOAT32)
        assert case.fused(runtime, mask=~FULLY_MASKED).fully_masked_rows == "mean"
    unknown = Site(scores=both(added((2, 1, 1, 5), FLOAT32), clamped), dtype=FLOAT32)
    assert unknown.refused(runtime) == "facts.fully_masked_rows"


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("dtype", "number"), [(FLOAT16, 1e4), (FLOAT16, 8192.0), (BFLOAT16, 1024.0), (FLOAT32, 1e9)])
def test_a_number_that_draws_attention_and_loses_the_scores_is_refused(
    dtype: DType, number: float, runtime: str
) -> None:
    """The keys that have it share all the weight, however their scores differ."""
    assert Site(scores=selected(number, (2, 1, 1, 5), dtype), dtype=dtype).refused(runtime) == "facts.bias_too_large"
    constant = added_constant(np.where(FULLY_MASKED, number, 0.0), dtype)
    assert Site(scores=constant, dtype=dtype).refused(runtime) == "facts.bias_too_large"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_number_that_draws_attention_and_leaves_the_scores_is_a_bias(runtime: str) -> None:
    Site(scores=selected(50.0, (2, 1, 1, 5), FLOAT16)).fused(runtime, mask=FULLY_MASKED)
