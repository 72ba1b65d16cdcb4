"""Attention whose keys the graph has in parts: joined where that is the same, left alone where it only looks so."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.text import infer, parse_program
from attnfuse.mindir.schema import ModelProto
from attnfuse.verify.numbers.baseline import honest_rounding
from tests.support import oracle
from tests.support.fusing import fuse
from tests.support.graphs import seeded
from tests.support.written import fused, run

INPUTS = "q: float16[2, 4, 8, 16]; k: float16[2, 4, 10, 16]; v: float16[2, 4, 10, 16]\n"
MORE = INPUTS + "l: float16[2, 4, 6, 16]; w: float16[2, 4, 6, 16]\n"


def product(key: str) -> str:
    return f"Muls(MatMulExt(q, Transpose({key}, (0, 1, 3, 2))), 0.25)"


def cut(value: str, start: int, end: int, axis: int = 2) -> str:
    """A slice of an axis."""
    dims = {"k": [2, 4, 10, 16], "v": [2, 4, 10, 16], "p": [2, 4, 8, 16]}[value]
    begin, stop = [0, 0, 0, 0], [*dims]
    begin[axis], stop[axis] = start, end
    return f"StridedSlice({value}, {tuple(begin)}, {tuple(stop)}, (1, 1, 1, 1), 0, 0, 0, 0, 0)"


STREAMS = MORE + (
    f"s = Concat(({product('k')}, {product('l')}), -1); p = Softmax(s, (-1,))\n"
    f"Add(MatMulExt({cut('p', 0, 10, 3)}, v), MatMulExt({cut('p', 10, 16, 3)}, w))"
)
SPLIT = MORE + (
    "s = Muls(Concat((MatMulExt(q, Transpose(k, (0, 1, 3, 2))), MatMulExt(q, Transpose(l, (0, 1, 3, 2)))), -1), 0.25)\n"
    "p = SplitWithSize(Softmax(s, (-1,)), (10, 6), -1)\n"
    "Add(MatMulExt(p[1], w), MatMulExt(p[0], v))"
)
MASKED = MORE + (
    f"m: float16[1, 1, 8, 10]\ns = Concat((Add({product('k')}, m), {product('l')}), -1)\n"
    "p = SplitWithSize(Softmax(s, (-1,)), (10, 6), -1); Add(MatMulExt(p[0], v), MatMulExt(p[1], w))"
)
SINK = INPUTS + (
    "b: float16[1, 4, 1, 1]\n"
    f"s = Concat(({product('k')}, BroadcastTo(b, (2, 4, 8, 1))), -1); p = Softmax(s, (-1,))\n"
    "MatMulExt(StridedSlice(p, (0, 0, 0, 0), (2, 4, 8, 10), (1, 1, 1, 1), 0, 0, 0, 0, 0), v)"
)
LARGEST = SINK.replace("Softmax(s", "Softmax(Sub(s, ReduceMax(s, (-1,), True))")
MASKED_SINK = SINK.replace("b: ", "m: float16[2, 1, 8, 10]; b: ").replace(product("k"), f"Add({product('k')}, m)")
KEPT_SINK = INPUTS.replace("v: float16[2, 4, 10", "v: float16[2, 4, 11") + (
    f"b: float16[1, 4, 1, 1]\nMatMulExt(Softmax(Concat(({product('k')}, BroadcastTo(b, (2, 4, 8, 1))), -1), (-1,)), v)"
)


def chunks(*bounds: tuple[int, int], second: str = "Exp(Sub(t1, g))", below: str = "b0, b1") -> str:
    """Attention over chunks of the keys, each with its own largest score."""
    lines = [INPUTS]
    for i, (start, end) in enumerate(bounds):
        lines.append(f"s{i} = {product(cut('k', start, end))}; t{i} = ReduceMax(s{i}, (-1,), True)")
        lines.append(f"e{i} = Exp(Sub(s{i}, t{i})); n{i} = ReduceSum(e{i}, (-1,), True, False)")
        lines.append(f"o{i} = MatMulExt(e{i}, {cut('v', start, end)})")
    lines.append(f"g = Maximum(t0, t1); r0 = Exp(Sub(t0, g)); r1 = {second}")
    lines.append("a0 = Mul(o0, r0); a1 = Mul(r1, o1); b0 = Mul(n0, r0); b1 = Mul(n1, r1)")
    return "\n".join([*lines, f"Div(Add(a0, a1), Add({below}))"])


def running(*bounds: tuple[int, int]) -> str:
    """The same with a running largest score, from nothing."""
    lines = [INPUTS + "m0 = Neg(tensor float16[2, 4, 8, 1] 60000.0); a0 = tensor float16[2, 4, 8, 16] 0.0"]
    lines.append("n0 = tensor float16[2, 4, 8, 1] 0.0")
    for i, (start, end) in enumerate(bounds):
        j = i + 1
        lines.append(f"s{j} = {product(cut('k', start, end))}; m{j} = Maximum(m{i}, ReduceMax(s{j}, (-1,), True))")
        lines.append(f"c{j} = Exp(Sub(m{i}, m{j})); e{j} = Exp(Sub(s{j}, m{j}))")
        lines.append(f"n{j} = Add(Mul(n{i}, c{j}), ReduceSum(e{j}, (-1,), True, False))")
        lines.append(f"a{j} = Add(Mul(a{i}, c{j}), MatMulExt(e{j}, {cut('v', start, end)}))")
    return "\n".join([*lines, f"Div(a{len(bounds)}, n{len(bounds)})"])


SPELLINGS = {
    "two streams, cut": STREAMS,
    "two streams, split": SPLIT,
    "two streams, one masked": MASKED,
    "a sink": SINK,
    "a sink, the largest subtracted": LARGEST,
    "a sink and a mask": MASKED_SINK,
    "a sink with a value": KEPT_SINK,
    "chunks": chunks((0, 5), (5, 10)),
    "chunks of other sizes": chunks((0, 7), (7, 10)),
    "chunks that overlap": chunks((0, 6), (4, 10)),
    "chunks that leave keys out": chunks((0, 4), (5, 10)),
    "running chunks": running((0, 4), (4, 8), (8, 10)),
}

WEIGHED = INPUTS + (
    f"r: float16[2, 1, 1, 10]\nm = Mul(Softmax({product('k')}, (-1,)), Abs(r))\n"
    "MatMulExt(Div(m, SumExt(m, (-1,), True, None)), v)"
)
SPELLINGS |= {
    "weights weighed again": WEIGHED,
    "weights weighed by a constant": WEIGHED.replace("Abs(r)", "tensor float16[1, 1, 1, 10] 0.5"),
    "weights weighed by a mask": WEIGHED.replace("Abs(r)", "Cast(Greater(r, tensor float16[] -0.5), float16)"),
}

OTHERS = {
    "weights weighed by any number": WEIGHED.replace("Abs(r)", "r"),
    "weights weighed by a negative constant": WEIGHED.replace("Abs(r)", "tensor float16[1, 1, 1, 10] -0.5"),
    "weights weighed, and divided by another sum": WEIGHED.replace("SumExt(m", "SumExt(Mul(m, m)"),
    "weights weighed, summed over the queries": WEIGHED.replace("SumExt(m, (-1,)", "SumExt(m, (-2,)"),
    "a chunk that is not scaled": chunks((0, 5), (5, 10), second="Exp(Sub(t0, g))"),
    "a chunk that is left out of the sum": chunks((0, 5), (5, 10), below="b0, b0"),
    "a chunk scaled by something else": chunks((0, 5), (5, 10), second="Sub(t1, g)"),
    "weights that two products read": STREAMS.replace(cut("p", 10, 16, 3), cut("p", 4, 10, 3)),
    "weights that are given too": STREAMS.replace("Add(MatMul", "x = Add(MatMul") + "\nreturn x, p",
    "streams of two queries": STREAMS.replace(
        "MatMulExt(q, Transpose(l", "MatMulExt(Muls(q, 2.0), Transpose(l", 1
    ).replace("Concat((Muls(MatMulExt(q", "Concat((Muls(MatMulExt(Neg(q)"),
    "masks that a factor follows": MASKED.replace(
        f"Add({product('k')}, m)", f"Muls(Add({product('k')}, m), 0.5)"
    ).replace(f", {product('l')})", f", Muls({product('l')}, 0.5))"),
    "the largest number of all rows subtracted from a masked one": MASKED_SINK.replace(
        "Softmax(s", "Softmax(Sub(s, ReduceMax(s, (0, 1, 2, 3), True))"
    ),
    "the largest number subtracted twice": MASKED_SINK.replace(
        "Softmax(s", "Softmax(SubExt(s, ReduceMax(s, (-1,), True), 2)"
    ),
    "products that are multiplied": STREAMS.replace("Add(MatMulExt", "Mul(MatMulExt"),
}


@pytest.mark.parametrize("runtime", ["lite", "mindspore"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_keys_in_parts_are_one_attention(spelling: str, runtime: str) -> None:
    fused(SPELLINGS[spelling], runtime)


@pytest.mark.parametrize("spelling", OTHERS)
def test_what_is_no_attention_over_all_keys(spelling: str) -> None:
    proto = parse_program(OTHERS[spelling], infer=infer)
    model, sites = run(proto, "mindspore")
    assert [site.status for site in sites if site.status == "fused"] == []
    assert model.proto == proto


def test_softmaxes_of_their_own_are_sites_of_their_own() -> None:
    text = MORE + (f"Add(MatMulExt(Softmax({product('k')}, (-1,)), v), MatMulExt(Softmax({product('l')}, (-1,)), w))")
    proto = parse_program(text, infer=infer)
    model, sites = run(proto, "lite")
    assert [site.status for site in sites] == ["fused", "fused"]
    inputs = {
        value.name.rpartition(":")[2]: seeded(value.name, tuple(value.tensor[0].dims)).astype(np.float64)
        for value in proto.graph.input
    }
    (after,), (before,) = oracle.run(model, inputs), oracle.run(Model(proto), inputs)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spelling", ["two streams, cut", "a sink", "chunks"])
def test_what_is_not_fused_stays_in_parts(spelling: str) -> None:
    """The policy keeps the formula: it is the source's, and not one over all keys at once."""
    proto = parse_program(SPELLINGS[spelling], infer=infer)
    copy = ModelProto()
    copy.CopyFrom(proto)
    fuse(Model(copy), flash=False)
    assert copy == proto


def test_chunks_of_one_key_are_that_key() -> None:
    """What is cut of one value and is all of it is not put together again."""
    proto = parse_program(SPELLINGS["chunks"], infer=infer)
    model, _ = run(proto, "lite")
    assert {node.op for node in model.nodes} == {"Constant", "PromptFlashAttention"}


@pytest.mark.parametrize(("spelling", "products"), [("two streams, cut", 4), ("a sink", 2), ("chunks", 4)])
def test_the_yardstick_rounds_what_each_part_multiplies(spelling: str, products: int) -> None:
    """Verification lays a fused node's roundings upon the formula, of which every part has products of its own."""
    original = Model(parse_program(SPELLINGS[spelling].replace("float16", "float32"), infer=infer))
    model, _ = run(original.proto, "lite")
    rounded = [name for name, rounding in honest_rounding(original, model).items() if rounding.operands == (0, 1)]
    assert len(rounded) == products
