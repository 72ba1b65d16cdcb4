"""Fused nodes against attention as the papers write it, head by head."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, DType
from attnfuse.verify.lowering import UnsupportedOpError, lower
from tests.support.graphs import MAX_TOKENS, GraphBuilder
from tests.verify.lowering.support import EXACT, NATIVE, Floats, execute, f


def heads_first(x: Floats, layout: str, heads: int) -> Floats:
    """To [B, N, S, D]."""
    match layout:
        case "BSND":
            return x.transpose(0, 2, 1, 3)
        case "BSH":
            return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)
        case "SBH":
            return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2, 0, 3)
        case _:
            return x


def oracle(
    q: Floats,
    k: Floats,
    v: Floats,
    scale: float,
    before: Array | float = 0.0,
    after: Array | float = 0.0,
    discard: Array | None = None,
) -> Floats:
    """Attention head by head, [B, N, S, D], kv head n // group, as the papers write it."""
    out = np.empty((*q.shape[:3], v.shape[-1]))
    group = q.shape[1] // k.shape[1]
    before, after = (np.broadcast_to(x, (*q.shape[:3], k.shape[2])) for x in (before, after))
    for i in range(q.shape[0]):
        for n in range(q.shape[1]):
            s = scale * (q[i, n] @ k[i, n // group].T + before[i, n]) + after[i, n]
            if discard is not None:
                s = np.where(np.broadcast_to(discard, (*q.shape[:3], k.shape[2]))[i, n], -np.inf, s)
            e = np.exp(s - s.max(-1, keepdims=True))
            out[i, n] = e / e.sum(-1, keepdims=True) @ v[i, n // group]
    return out


DISCARD = np.greater(f(1, 1, 5, 6, name="mask"), 0.7)


@pytest.mark.parametrize("node", ["FlashAttentionScore", "PromptFlashAttention"])
@pytest.mark.parametrize("layout", ["BNSD", "BSH", "BSND", "SBH or BNSD_BSND"])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("extra", ["", "mask", "bias", "mask and bias"])
def test_fused_nodes_against_the_oracle(node: str, layout: str, kv_heads: int, extra: str) -> None:
    first, _, second = layout.partition(" or ")
    layout = second if second and node == "PromptFlashAttention" else first
    b_, n, s, t, d = 2, 4, 5, 6, 8
    shapes: dict[str, Callable[[int, int], tuple[int, ...]]] = {
        "BNSD": lambda m, length: (b_, m, length, d),
        "BSND": lambda m, length: (b_, length, m, d),
        "BNSD_BSND": lambda m, length: (b_, m, length, d),
        "BSH": lambda m, length: (b_, length, m * d),
        "SBH": lambda m, length: (length, b_, m * d),
    }
    arrays = {
        "q": f(*shapes[layout](n, s), name="q"),
        "k": f(*shapes[layout](kv_heads, t), name="k"),
        "v": f(*shapes[layout](kv_heads, t), name="v"),
    }
    bias = f(1, n, s, t, name="bias") if "bias" in extra else None
    g = GraphBuilder("fused")
    q, k, v = (g.input(name, a.shape) for name, a in arrays.items())
    mask = g.constant(DISCARD) if "mask" in extra else None
    offset = g.constant(bias) if bias is not None else None
    if node == "FlashAttentionScore":
        out = g.flash_attention_score(q, k, v, heads=n, scale=0.37, layout=layout, attn_mask=mask, real_shift=offset)
    else:
        out = g.prompt_flash_attention(
            q, k, v, heads=n, scale=0.37, layout=layout, attn_mask=mask, pse_shift=offset, kv_heads=kv_heads
        )
    g.output(out)
    got = heads_first(execute(g.model(), dict(arrays))[0], layout.rpartition("_")[2], n)
    scale = float(np.float32(0.37))
    value: Array | float = 0.0 if bias is None else bias.astype(np.float64)
    before, after = (value, 0.0) if node == "FlashAttentionScore" else (0.0, value)
    apart = [
        heads_first(a.astype(np.float64), layout, m)
        for a, m in zip(arrays.values(), (n, kv_heads, kv_heads), strict=True)
    ]
    expected = oracle(apart[0], apart[1], apart[2], scale, before, after, DISCARD if mask else None)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)


def sparse(
    node: str, queries: int, keys: int, mask: Array | None, mode: int, pre: int, behind: int
) -> tuple[Model, dict[str, npt.NDArray[np.float32]]]:
    """A graph of one node of that sparse mode, and its operands."""
    arrays = {n: f(1, 2, length, 8, name=n) for n, length in zip("qkv", (queries, keys, keys), strict=True)}
    g = GraphBuilder("sparse")
    q, k, v = (g.input(name, a.shape) for name, a in arrays.items())
    given = g.constant(mask) if mask is not None else None
    write = g.flash_attention_score if node == "FlashAttentionScore" else g.prompt_flash_attention
    out = write(
        q, k, v, heads=2, scale=0.5, attn_mask=given, sparse_mode=mode, pre_tokens=pre, next_tokens=behind
    )  # fmt: skip
    g.output(out)
    return g.model(), arrays


TRIANGLE = np.triu(np.ones((2048, 2048), np.uint8), 1)


SPARSE = {
    # (mode, pre_tokens, next_tokens, queries, keys) → which (query i, key j) are seen
    (2, MAX_TOKENS, MAX_TOKENS, 4, 7): lambda i, j: j <= i,
    (3, MAX_TOKENS, MAX_TOKENS, 4, 7): lambda i, j: j <= i + 3,
    (3, 0, 0, 7, 7): lambda i, j: j <= i,
    (4, 2, 0, 8, 8): lambda i, j: (i - 2 <= j) & (j <= i),
    (4, 1, 2, 4, 7): lambda i, j: (i + 3 - 1 <= j) & (j <= i + 3 + 2),
    (4, 3, -1, 4, 7): lambda i, j: (i <= j) & (j <= i + 2),
}


@pytest.mark.parametrize("node", ["FlashAttentionScore", "PromptFlashAttention"])
@pytest.mark.parametrize("case", SPARSE, ids=str)
def test_sparse_modes_with_a_compressed_mask(case: tuple[int, int, int, int, int], node: str) -> None:
    mode, pre, behind, queries, keys = case
    model, arrays = sparse(node, queries, keys, TRIANGLE, mode, pre, behind)
    discard = ~SPARSE[case](np.arange(queries)[:, None], np.arange(keys)[None])
    q, k, v = (a.astype(np.float64) for a in arrays.values())
    expected = oracle(q, k, v, 0.5, discard=discard)
    np.testing.assert_allclose(execute(model, dict(arrays))[0], expected, rtol=1e-12)


@pytest.mark.parametrize("node", ["FlashAttentionScore", "PromptFlashAttention"])
@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("masked", [False, True])
def test_a_band_counts_beside_a_whole_mask_in_mode_0_only(masked: bool, mode: int, node: str) -> None:
    """Without a mask CANN takes no notice of pre_tokens and next_tokens, and in mode 1 never."""
    mask = np.zeros((6, 6), np.bool_)
    mask[2, 1] = True
    model, arrays = sparse(node, 6, 6, mask if masked else None, mode, 3, 1)
    i, j = np.arange(6)[:, None], np.arange(6)[None]
    discard = mask & masked
    if masked and mode == 0:
        discard = mask | (j < i - 3) | (j > i + 1)
    q, k, v = (a.astype(np.float64) for a in arrays.values())
    expected = oracle(q, k, v, 0.5, discard=discard)
    np.testing.assert_allclose(execute(model, dict(arrays))[0], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("mask", "mode", "message"),
    [(1 - TRIANGLE, 4, "another mask than the lower triangle"), (TRIANGLE, 5, "sparse_mode 5; 0 to 4 are known")],
)
def test_what_a_sparse_mode_does_not_say_is_refused(mask: Array, mode: int, message: str) -> None:
    model, _ = sparse("FlashAttentionScore", 4, 4, mask, mode, 1, 0)
    with pytest.raises(UnsupportedOpError, match=message):
        lower(model, EXACT)


def test_a_row_that_is_masked_whole_is_not_a_number() -> None:
    discard = np.zeros((4, 4), np.bool_)
    discard[2] = True
    g = GraphBuilder("masked")
    q = g.input("q", (1, 1, 4, 8))
    g.output(g.prompt_flash_attention(q, q, q, heads=1, scale=0.5, attn_mask=g.constant(discard)))
    got = execute(g.model(), {"q": f(1, 1, 4, 8)})[0][0, 0]
    assert np.isnan(got).all(axis=1).tolist() == [False, False, True, False]


def test_a_statistic_of_a_fused_node_is_not_made_up() -> None:
    g = GraphBuilder("one")
    q = g.input("q", (2, 4, 24, 16), FLOAT16)
    g.output(g.flash_attention_score(q, q, q, heads=4, scale=0.25, item=0))
    with pytest.raises(UnsupportedOpError, match="statistic"):
        lower(g.model(), EXACT)


@pytest.mark.parametrize(
    ("precise", "dtype", "bias", "is_finite"),
    [(0, FLOAT16, False, True), (1, FLOAT16, False, False), (1, FLOAT16, True, True), (1, BFLOAT16, False, True)],
)
def test_fast_precision_holds_scores_in_float16(precise: int, dtype: DType, bias: bool, is_finite: bool) -> None:
    """Scores of 160,000 before the scale are infinite there; bfloat16, and float16 with a bias, are computed high."""
    g = GraphBuilder("fused")
    q, k, v = (g.input(name, (1, 1, 2, 16), dtype) for name in "qkv")
    added = g.constant(np.zeros((1, 1, 2, 2), dtype.numpy)) if bias else None
    fused = g.prompt_flash_attention(q, k, v, heads=1, scale=1e-4, inner_precise=precise, pse_shift=added)
    g.output(fused)
    large = np.full((1, 1, 2, 16), 100.0, dtype.numpy)
    for arithmetic, expected in ((EXACT, True), (NATIVE, is_finite)):
        out, *_ = execute(g.model(), {"q": large, "k": large, "v": large}, arithmetic)
        assert bool(np.isfinite(out).all()) is expected
