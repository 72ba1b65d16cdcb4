"""What a fused node of the source discards by its sparse_mode, its layout SBH, and float32 operands: written out."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from numpy.testing import assert_allclose

from attnfuse.ir.graph import CONSTANT, Model
from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, DType
from tests.support.fused_nodes import SCALE, B, D, N, compile_with, source
from tests.support.graphs import MAX_TOKENS, GraphBuilder, fill_literal, node_named, operators, seeded
from tests.support.oracle import attention, run

TRIANGLE = np.triu(np.ones((2048, 2048), np.uint8), 1)
LENGTHS = ((6, 6), (6, 9))
Rule = Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64], int], npt.NDArray[np.bool_]]

MODES: dict[str, tuple[int, int, int, Rule]] = {
    "all tokens": (0, MAX_TOKENS, MAX_TOKENS, lambda i, j, c: np.zeros((len(i), j.shape[1]), np.bool_)),
    "tokens of the diagonal": (0, 2, 1, lambda i, j, c: (j > i + 1) | (j < i - 2)),
    "the mask alone": (1, 2, 0, lambda i, j, c: np.zeros((len(i), j.shape[1]), np.bool_)),
    "causal from the upper left": (2, 2, 2, lambda i, j, c: j > i),
    "causal to the lower right": (3, 2, 2, lambda i, j, c: j > i + c),
    "a band to the lower right": (4, 2, 1, lambda i, j, c: (j > i + 1 + c) | (j < i - 2 + c)),
}
"""sparse_mode, pre_tokens, next_tokens, and which key j of query i is discarded; c is what keys are more than queries.

As CANN documents them; written a second time, apart from the pass.
"""


def sparse(mode: str, lengths: tuple[int, int], own: npt.NDArray[np.generic] | str | None = None) -> Model:
    """A node with the triangle that the mode wants, or another mask: a constant, or an input of that name."""
    number, before, behind, _ = MODES[mode]
    g = GraphBuilder("unet")
    queries, keys = lengths
    q, k, v = (g.input(x, (B, N, s, D), FLOAT16) for x, s in (("q", queries), ("k", keys), ("v", keys)))
    if isinstance(own, str):
        mask = g.input(own, lengths, BOOL)
    else:
        mask = g.constant((TRIANGLE if number > 1 else np.zeros(lengths, np.uint8)) if own is None else own)
    g.output(
        g.flash_attention_score(
            *(q, k, v),
            heads=N,
            scale=SCALE,
            attn_mask=mask,
            sparse_mode=number,
            pre_tokens=before,
            next_tokens=behind,
        )
    )
    return g.model()


def discarded(mode: str, lengths: tuple[int, int]) -> npt.NDArray[np.bool_]:
    rows, columns = np.arange(lengths[0])[:, None], np.arange(lengths[1])[None, :]
    return MODES[mode][3](rows, columns, lengths[1] - lengths[0])


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("mode", MODES)
def test_lite_gets_what_the_mode_discards_as_a_mask(mode: str, lengths: tuple[int, int]) -> None:
    check(sparse(mode, lengths), "lite", mode, lengths, "PromptFlashAttention")


@pytest.mark.parametrize("mode", MODES)
def test_the_formula_discards_the_same(mode: str) -> None:
    check(sparse(mode, (6, 9)), "mindspore", mode, (6, 9), "Softmax", flash=False)


@pytest.mark.parametrize("mode", ["tokens of the diagonal", "the mask alone"])
def test_a_mask_beside_it(mode: str) -> None:
    """Keys that either discards."""
    hidden = np.zeros((6, 9), np.bool_)
    hidden[:, 4] = hidden[0, 2] = True
    for own in (hidden, "mask"):
        check(sparse(mode, (6, 9), own), "lite", mode, (6, 9), "PromptFlashAttention", hidden)


def check(
    before: Model,
    runtime: str,
    mode: str,
    lengths: tuple[int, int],
    expected: str,
    hidden: npt.NDArray[np.bool_] | None = None,
    **settings: object,
) -> None:
    """The one node that is written computes what the mode says, without a mode."""
    after, record = compile_with(before, runtime, **settings)  # type: ignore[arg-type]
    assert record.status == ("kept" if settings else "fused"), record.reason
    assert expected in operators(after)
    assert "FlashAttentionScore" not in operators(after)
    shapes = {"q": (B, N, lengths[0], D), "k": (B, N, lengths[1], D), "v": (B, N, lengths[1], D)}
    values = {name: seeded(name, dims).astype(np.float64) for name, dims in shapes.items()}
    outside = discarded(mode, lengths) if hidden is None else discarded(mode, lengths) | hidden
    wanted = attention(values["q"], values["k"], values["v"], SCALE, discard=outside)
    (result,) = run(after, {**values, **({} if hidden is None else {"mask": hidden})})
    assert_allclose(result, wanted, rtol=1e-9, atol=1e-9)


def test_a_mask_that_says_it_too_is_not_written_again() -> None:
    """The band of pre_tokens and next_tokens lies within the mask: the node is given the mask as it is."""
    before = sparse("tokens of the diagonal", (6, 6), discarded("tokens of the diagonal", (6, 6)).astype(np.uint8))
    after, _ = compile_with(before, "lite")
    assert operators(after) == ["PromptFlashAttention"]


def test_mindspore_keeps_the_mode() -> None:
    """A mask written out would be read; what the mode discards is not even computed."""
    for mode in MODES:
        before = sparse(mode, (6, 9))
        after, record = compile_with(before)
        assert (record.code, after.proto) == ("fused.carried_over", before.proto)


# --- SBH


@pytest.mark.parametrize(("runtime", "flash"), [("lite", True), ("mindspore", False)])
@pytest.mark.parametrize("kv", [N, N // 2])
def test_sbh_is_read(runtime: str, flash: bool, kv: int) -> None:
    queries, keys = 6, 5
    g = GraphBuilder("unet")
    operands = (("q", N, queries), ("k", kv, keys), ("v", kv, keys))
    q, k, v = (g.input(name, (length, B, heads * D), FLOAT16) for name, heads, length in operands)
    g.output(g.flash_attention_score(q, k, v, heads=N, scale=SCALE, layout="SBH"))
    after, record = compile_with(g.model(), runtime, **({} if flash else {"flash": False}))  # type: ignore[arg-type]
    assert record.status == ("fused" if flash else "kept"), record.reason
    assert "FlashAttentionScore" not in operators(after)
    values = {name: seeded(name, (length, B, heads * D)).astype(np.float64) for name, heads, length in operands}
    (result,) = run(after, values)
    apart = [
        values[name].reshape(length, B, heads, D).transpose(1, 2, 0, 3).repeat(N // heads, axis=1)
        for name, heads, length in operands
    ]
    wanted = attention(apart[0], apart[1], apart[2], SCALE).transpose(2, 0, 1, 3).reshape(queries, B, N * D)
    assert_allclose(result, wanted, rtol=1e-9, atol=1e-9)


def test_sbh_stays_for_mindspore() -> None:
    g = GraphBuilder("unet")
    q, k, v = (g.input(name, (6, B, N * D), FLOAT16) for name in "qkv")
    g.output(g.flash_attention_score(q, k, v, heads=N, scale=SCALE, layout="SBH"))
    before = g.model()
    after, record = compile_with(before)
    assert (record.code, after.proto) == ("fused.carried_over", before.proto)


# --- float32


def in_float32(*, shift: bool = False) -> Model:
    g = GraphBuilder("vae")
    q, k, v = (g.input(name, (B, N, 6, D), FLOAT32) for name in "qkv")
    bias = g.input("shift", (B, N, 6, 6), FLOAT32) if shift else None
    g.output(g.flash_attention_score(q, k, v, heads=N, scale=SCALE, real_shift=bias))
    return g.model()


@pytest.mark.parametrize("runtime", ["lite", "mindspore"])
@pytest.mark.parametrize("cast", [None, "float16", "bfloat16", "none"])
def test_float32_is_cast_by_the_policy_and_restored(runtime: str, cast: str | None) -> None:
    after, record = compile_with(in_float32(), runtime, **({} if cast is None else {"force_cast_dtype": cast}))
    node = "PromptFlashAttention" if runtime == "lite" else "FlashAttentionScore"
    values = {name: seeded(name, (B, N, 6, D)).astype(np.float64) for name in "qkv"}
    (result,) = run(after, values)
    assert_allclose(result, attention(values["q"], values["k"], values["v"], SCALE), rtol=1e-9, atol=1e-9)
    assert after.type_of(after.proto.graph.output[0].name).dtype == FLOAT32  # type: ignore[union-attr]
    if cast == "none":
        assert (record.status, record.code) == ("kept", "policy.no_cast")
        assert "Softmax" in operators(after)
        return
    assert record.code == ("fused.converted" if runtime == "lite" else "fused.recast")
    assert (record.compute_dtype, record.output_dtype) == (cast or "float16", "float32")
    assert (operators(after).count(node), operators(after).count("Cast")) == (1, 4)
    (fused,) = (n for n in after.nodes if n.op == node)
    wanted: DType = BFLOAT16 if cast == "bfloat16" else FLOAT16
    assert {after.type_of(name).dtype for name in fused.inputs[:3]} == {wanted}  # type: ignore[union-attr]


def test_a_float32_bias_is_left_to_the_formula() -> None:
    """In the node's 16 bits it would be rounded."""
    for runtime in ("lite", "mindspore"):
        after, record = compile_with(in_float32(shift=True), runtime)
        assert (record.status, record.code) == ("kept", "target.bias_rounded")
        assert "Softmax" in operators(after)


# --- reasons


def with_argument(position: int, value: object, **case: object) -> Model:
    proto = source(**case).proto  # type: ignore[arg-type]
    made = proto.graph.node.add(name="argument", op_type=CONSTANT)
    made.output.append("argument")
    fill_literal(made.attribute.add(name="value"), value)  # type: ignore[arg-type]
    proto.graph.node.insert(0, made)
    del proto.graph.node[-1]
    node_named(Model(proto), "FlashAttentionScore").input[position] = "argument"
    return Model(proto)


UNREADABLE: dict[str, tuple[Callable[[], Model], str]] = {
    "a mode that there is none": (lambda: with_argument(17, 5), "expected a sparse_mode of 0 to 4, found 5"),
    "a mode without its mask": (lambda: with_argument(17, 3), "expected a mask with sparse_mode 3, found none"),
    "a triangle of run time": (
        lambda: with_argument(17, 3, mask=(2048, 2048)),
        "expected with sparse_mode 3, a mask of 1 above the diagonal of 2048 × 2048, found one that is not known",
    ),
    "another triangle": (
        lambda: sparse("a band to the lower right", (6, 6), TRIANGLE.T.copy()),
        "expected with sparse_mode 4, a mask of 1 above the diagonal of 2048 × 2048, found another",
    ),
    "a triangle of another size": (
        lambda: sparse("causal to the lower right", (6, 6), TRIANGLE[:6, :6].copy()),
        "expected with sparse_mode 3, a mask of 1 above the diagonal of 2048 × 2048, found one of [6, 6]",
    ),
    "queries without keys": (
        lambda: sparse("causal to the lower right", (9, 6)),
        "expected a key for each query, found a query with none",
    ),
    "a layout of packed sequences": (
        lambda: with_argument(16, 4),
        "expected one of the layouts BSH, BNSD, SBH, BSND, found 4",
    ),
    "mixed types": (lambda: mixed(), "found float16[2, 4, 6, 16], bfloat16[2, 4, 6, 16], float16[2, 4, 6, 16]"),
    "dropout": (lambda: with_argument(11, 0.5), "expected no dropout, found keep_prob 0.5"),
    "rows that are mended": (
        lambda: with_argument(15, 2, mask=(B, 1, 6, 5)),
        "expected rows without a key left as they come, found inner_precise 2",
    ),
}


def mixed() -> Model:
    g = GraphBuilder("unet")
    q, k, v = (g.input(name, (B, N, 6, D), x) for name, x in zip("qkv", (FLOAT16, BFLOAT16, FLOAT16), strict=True))
    g.output(g.flash_attention_score(q, k, v, heads=N, scale=SCALE))
    return g.model()


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_not_read_is_told_by_its_reason(case: str) -> None:
    """What was found is nothing that was expected: a reason of two equal sides would be none."""
    make, reason = UNREADABLE[case]
    before = make()
    after, record = compile_with(before, "lite")
    assert (record.status, after.proto) == ("missed", before.proto)
    assert reason in record.reason
    assert record.failure is not None
    assert record.failure.found not in re.split(r"[ ,]+", record.failure.expected)
    assert record.failure.found != record.failure.expected


def test_lengths_of_run_time_are_told() -> None:
    g = GraphBuilder("unet")
    q, k, v = (g.input(name, (B, N, -1, D), FLOAT16) for name in "qkv")
    mask = g.constant(TRIANGLE)
    g.output(g.flash_attention_score(q, k, v, heads=N, scale=SCALE, attn_mask=mask, sparse_mode=2))
    _, record = compile_with(g.model(), "lite")
    assert (record.status, record.code) == ("missed", "facts.dynamic_mask")
    assert "expected known lengths with sparse_mode 2, found unknown ones" in record.reason
