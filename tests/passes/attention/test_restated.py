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


def stacked(*bounds: tuple[int, int], keeps: bool = False) -> str:
    """Chunks whose results are stacked, put right by their largest scores, and summed."""
    lines = [INPUTS]
    for i, (start, end) in enumerate(bounds):
        lines.append(f"s{i} = {product(cut('k', start, end))}; t{i} = ReduceMax(s{i}, (-1,), True)")
        lines.append(f"e{i} = Exp(Sub(s{i}, t{i})); o{i} = MatMulExt(e{i}, {cut('v', start, end)})")
        lines.append(
            f"n{i} = SumExt(e{i}, (-1,), {keeps}, None); u{i} = {f't{i}' if keeps else f'Squeeze(t{i}, (-1,))'}"
        )
    u, o, n = (f"StackExt(({', '.join(f'{name}{i}' for i in range(len(bounds)))}), 0)" for name in "uon")
    wide = "{}" if keeps else "ExpandDims({}, -1)"
    lines.append(f"u = {u}; d = Exp(Sub(u, MaxDim(u, 0, True)[0]))")
    lines.append(f"o = SumExt(Mul({o}, {wide.format('d')}), (0,), False, None)")
    lines.append(f"n = SumExt({wide.format(f'Mul({n}, d)')}, (0,), False, None)")
    return "\n".join([*lines, "Div(o, n)"])


def masked(text: str, number: str, *bounds: tuple[int, int], given: str = "m: bool[2, 1, 8, 10]\n") -> str:
    """Chunks whose scores get a number where a mask of all keys has it."""
    for i, (start, end) in enumerate(bounds, 1 if "s0 =" not in text else 0):
        piece = f"StridedSlice(m, (0, 0, 0, {start}), (2, 1, 8, {end}), (1, 1, 1, 1), 0, 0, 0, 0, 0)"
        own = product(cut("k", start, end))
        text = text.replace(f"s{i} = {own}", f"s{i} = MaskedFill({own}, {piece}, tensor float16[] {number})")
    return given + text


def added(text: str, *masks: str) -> str:
    """Chunks with something added to the scores of each."""
    for i, mask in enumerate(masks, 1 if "s0 =" not in text else 0):
        at = text.index(f"s{i} = ") + len(f"s{i} = ")
        end = text.index(";", at)
        text = text[:at] + f"Add({text[at:end]}, {mask})" + text[end:]
    return text


TWO, THREE = ((0, 5), (5, 10)), ((0, 4), (4, 8), (8, 10))
DROPPED = "Select(h{}: bool[2, 1, 8, {}], tensor float16[] 0.0, tensor float16[] {})"
CAUSAL = "tensor float16[1, 1, 1, {}] ({})"
WHOLE = INPUTS + (
    f"s = MaskedFill({product('k')}, m: bool[2, 1, 8, 10], tensor float16[] -10000.0)\n"
    "s0 = StridedSlice(s, (0, 0, 0, 0), (2, 4, 8, 6), (1, 1, 1, 1), 0, 0, 0, 0, 0); t0 = ReduceMax(s0, (-1,), True)\n"
    "s1 = Slice(s, (0, 0, 0, 6), (2, 4, 8, 4)); t1 = ReduceMax(s1, (-1,), True); g = Maximum(t0, t1)\n"
    "e0 = Exp(Sub(s0, g)); e1 = Exp(Sub(s1, g))\n"
    f"a = Add(MatMulExt(e1, {cut('v', 6, 10)}), MatMulExt(e0, {cut('v', 0, 6)}))\n"
    "Div(a, Add(ReduceSum(e0, (-1,), True, False), ReduceSum(e1, (-1,), True, False)))"
)
FILLED = f"MaskedFill({product('k')}, f: bool[2, 1, 8, 10], tensor float16[] {{}})"
CHUNKS = {
    "chunks with a fill": masked(chunks(*TWO), "-10000.0", *TWO),
    "running chunks with a fill": masked(running(*THREE), "-10000.0", *THREE),
    "running chunks from a number, filled with −inf": masked(running(*THREE), "-inf", *THREE),
    "chunks with a mask of numbers added": added(
        chunks(*TWO), DROPPED.format(0, 5, -10000.0), DROPPED.format(1, 5, -10000.0)
    ),
    "running chunks with a mask of −inf added": added(
        running(*THREE), *(DROPPED.format(i, n, "-inf") for i, n in enumerate((4, 4, 2)))
    ),
    "chunks of which one is masked": masked(chunks(*TWO), "-1000.0", *TWO[:1]),
    "running chunks of which the first keeps a key": added(
        running(*THREE).replace("m0 = Neg(tensor float16[2, 4, 8, 1] 60000.0)", "m0 = tensor float16[2, 4, 8, 1] -inf"),
        CAUSAL.format(4, "0.0, -inf, 0.0, -inf"),
        CAUSAL.format(4, "-inf, -inf, -inf, -inf"),
        CAUSAL.format(2, "0.0, -inf"),
    ),
    "chunks cut of the scores of all keys": WHOLE,
    "stacked chunks": stacked(*THREE),
    "stacked chunks that keep the axis": stacked(*TWO, keeps=True),
    "stacked chunks with a fill": masked(stacked(*THREE), "-10000.0", *THREE),
    "stacked chunks, sums widened behind": stacked(*TWO)
    .replace("ExpandDims(Mul(StackExt((n0, n1), 0), d), -1)", "Mul(d, StackExt((n0, n1), 0))")
    .replace("Div(o, n)", "Div(o, ExpandDims(n, -1))"),
}
MASKED_CHUNKS = {
    "stacked chunks in another order": stacked(*TWO).replace("(n0, n1)", "(n1, n0)"),
    "stacked chunks that are not put right": stacked(*TWO).replace(
        "Mul(StackExt((n0, n1), 0), d)", "StackExt((n0, n1), 0)"
    ),
    "stacked chunks, one of them twice": stacked(*TWO).replace("(o0, o1)", "(o0, o0)"),
    "stacked chunks that are not summed": stacked(*TWO)
    .replace("SumExt(Mul(StackExt((o", "ReduceMax(Mul(StackExt((o")
    .replace("(0,), False, None)\nn =", "(0,), False)\nn ="),
    "stacked chunks that may be −inf": masked(stacked(*TWO), "-inf", *TWO),
    "chunks that may be −inf": masked(chunks(*TWO), "-inf", *TWO),
    "running chunks from a number above the fill": masked(running(*THREE), "-65504.0", *THREE),
    "running chunks from a number above the mask": added(
        running(*THREE), *(DROPPED.format(i, n, -65504.0) for i, n in enumerate((4, 4, 2)))
    ),
    "chunks with any numbers added": added(chunks(*TWO), "m0: float16[2, 1, 8, 5]", "m1: float16[2, 1, 8, 5]"),
    "chunks filled with two numbers": masked(masked(chunks(*TWO), "-10000.0", *TWO[:1]), "-20000.0", *TWO, given=""),
    "chunks cut of scores that may be −inf": WHOLE.replace("-10000.0", "-inf"),
    "chunks cut of scores, one masked whole": WHOLE.replace("MaskedFill(", "Add(").replace(
        "m: bool[2, 1, 8, 10], tensor float16[] -10000.0",
        "tensor float16[1, 1, 1, 10] (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -inf, -inf, -inf, -inf,)",
    ),
    "chunks cut of scores twice": WHOLE.replace("(2, 4, 8, 6), (1", "(2, 4, 8, 7), (1").replace(
        cut("v", 0, 6), cut("v", 0, 7)
    ),
}
FILLED_STREAMS = STREAMS.replace(product("k"), FILLED.format("-inf")).replace(
    product("l"), f"MaskedFill({product('l')}, h: bool[2, 1, 8, 6], tensor float16[] -inf)"
)


def widened(between: str) -> str:
    """Streams whose scores are filled in float32, and the softmax in it; a type that they are cast to between."""
    text = STREAMS.replace("p = Softmax(s, (-1,))", "p = Cast(Softmax(s, (-1,)), float16)")
    for key, size in (("k", 10), ("l", 6)):
        fill = f"MaskedFill(Cast({product(key)}, float32), h{key}: bool[2, 1, 8, {size}], tensor float32[] -1e9)"
        text = text.replace(product(key), f"Cast(Cast({fill}, {between}), float32)")
    return text


def narrowed(between: str) -> str:
    """Chunks filled in float32, less a largest number that is cast to a type and back."""
    text = masked(chunks(*TWO), "-1e9", *TWO).replace("float16", "float32")
    for i in range(2):
        text = text.replace(
            f"t{i} = ReduceMax(s{i}, (-1,), True)",
            f"t{i} = Cast(Cast(ReduceMax(s{i}, (-1,), True), {between}), float32)",
        )
    return text


SPELLINGS = {
    "two streams, filled in a wider type": widened("float32"),
    "chunks with a fill in float32": narrowed("float32"),
    "two streams, cut": STREAMS,
    "two streams, split": SPLIT,
    "two streams, one masked": MASKED,
    "a sink": SINK,
    "a sink, the largest subtracted": LARGEST,
    "a sink and a mask": MASKED_SINK,
    "a sink with a value": KEPT_SINK,
    "a sink, scores filled": SINK.replace(product("k"), FILLED.format("-inf")),
    "a sink, scores filled with a number": SINK.replace(product("k"), FILLED.format("-65504.0")),
    "two streams, one filled": STREAMS.replace(product("k"), FILLED.format("-inf")),
    "two streams, both filled": STREAMS.replace(product("k"), FILLED.format("-65504.0")).replace(
        product("l"), f"MaskedFill({product('l')}, LogicalNot(h: bool[2, 1, 8, 6]), tensor float16[] -65504.0)"
    ),
    "two streams, filled together": STREAMS.replace(
        "p = Softmax(s,", "p = Softmax(MaskedFill(s, f: bool[2, 1, 8, 16], tensor float16[] -inf),"
    ),
    **CHUNKS,
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
    **MASKED_CHUNKS,
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
    "streams with a fill that is −∞ in a type behind": widened("float16"),
    "chunks less a largest number that may be −∞": narrowed("float16"),
    "chunks less a largest number of fewer digits": narrowed("bfloat16"),
    "streams with keys that draw all attention": MASKED.replace(
        "float16[1, 1, 8, 10]\n", "bool[1, 1, 8, 10]\n"
    ).replace(", m)", ", Select(m, tensor float16[] 10000.0, tensor float16[] 0.0))"),
    "chunks with keys that draw all attention": added(
        chunks(*TWO), DROPPED.format(0, 5, 10000.0), DROPPED.format(1, 5, 10000.0)
    ),
    "streams filled in front of the largest number and behind it": FILLED_STREAMS.replace(
        "Softmax(s,",
        "Softmax(MaskedFill(Sub(s, ReduceMax(s, (-1,), True)), g: bool[2, 1, 8, 16], tensor float16[] -10000.0),",
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


@pytest.mark.parametrize("weight", ["r", "w: parameter float16[1, 1, 1, 10]"])
def test_weights_weighed_by_what_may_be_negative_say_so(weight: str) -> None:
    _, (site,) = run(parse_program(WEIGHED.replace("Abs(r)", weight), infer=infer), "mindspore")
    assert (site.status, site.code) == ("missed", "structure.weights_changed")
    assert "proved not to be below 0" in site.reason


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
