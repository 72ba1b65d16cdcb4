"""Chunks of keys with masks, drawn at random: fused with the formula's numbers in every row, or left alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.text import infer, parse_program
from attnfuse.mindir.dtypes import BOOL
from attnfuse.targets import RUNTIMES
from tests.support import oracle
from tests.support.graphs import seeded
from tests.support.oracle import Array
from tests.support.written import run

KEYS = 8
INPUTS = "q: {0}[2, 2, 4, 16]; k: {0}[2, 2, 8, 16]; v: {0}[2, 2, 8, 16]\n"


class Chunks:
    """One graph: how long the chunks are, what masks the scores of each, and what is subtracted from them."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.dtype = random.choice(("float16", "float32"))
        bounds = [0, *sorted(random.sample(range(1, KEYS), random.choice((1, 1, 2)))), KEYS]
        self.pieces = list(pairwise(bounds))
        self.low = random.choice((-np.inf, -1000.0, -10000.0, -60000.0, -65504.0))
        self.kinds = random.choice((("fill",), ("added",), ("fill", "none"), ("constant", "added", "none"), ("any",)))

    def text(self) -> str:
        style = self.random.choice((self._running, self._with_largest, self._stacked, self._cut))
        return "\n".join([INPUTS.format(self.dtype), *style()])

    def _number(self, number: float) -> str:
        return f"tensor {self.dtype}[] {number}"

    def _slice(self, value: str, piece: tuple[int, int]) -> str:
        begin, end = piece
        return f"StridedSlice({value}, (0, 0, {begin}, 0), (2, 2, {end}, 16), (1, 1, 1, 1), 0, 0, 0, 0, 0)"

    def _scores(self, i: int, piece: tuple[int, int], key: str) -> str:
        size = piece[1] - piece[0]
        scores = f"Muls(MatMulExt(q, Transpose({key}, (0, 1, 3, 2))), 0.25)"
        mask = f"b{i}: bool[{self.random.choice((1, 2))}, 1, {self.random.choice((1, 4))}, {size}]"
        match self.random.choice(self.kinds):
            case "fill":
                return f"MaskedFill({scores}, {mask}, {self._number(self.low)})"
            case "added":
                return f"Add({scores}, Select({mask}, {self._number(0.0)}, {self._number(self.low)}))"
            case "constant":
                hidden = [self.random.random() < 0.5 for _ in range(size)]
                numbers = ", ".join("-inf" if hides else "0.0" for hides in hidden)
                return f"Add({scores}, tensor {self.dtype}[1, 1, 1, {size}] ({numbers},))"
            case "any":
                return f"Add({scores}, a{i}: {self.dtype}[2, 1, 4, {size}])"
        return scores

    def _largest(self, value: str) -> str:
        return f"ReduceMax({value}, (-1,), True)"

    def _sums(self, factors: Sequence[str]) -> list[str]:
        """What follows the exponentials e0, e1, …"""
        above = [f"Mul(MatMulExt(e{i}, {self._slice('v', p)}), {factors[i]})" for i, p in enumerate(self.pieces)]
        below = [f"Mul(SumExt(e{i}, (-1,), True, None), {factor})" for i, factor in enumerate(factors)]
        while len(above) > 1:
            above[:2], below[:2] = [f"Add({above[0]}, {above[1]})"], [f"Add({below[1]}, {below[0]})"]
        return [f"Div({above[0]}, {below[0]})"]

    def _with_largest(self) -> list[str]:
        """Less the largest of each chunk, which is put right at the end."""
        lines = [f"s{i} = {self._scores(i, p, self._slice('k', p))}" for i, p in enumerate(self.pieces)]
        return [*lines, *self._put_right()]

    def _stacked(self) -> list[str]:
        """The same, stacked and summed."""
        lines, count = list[str](), len(self.pieces)
        for i, piece in enumerate(self.pieces):
            lines.append(f"s{i} = {self._scores(i, piece, self._slice('k', piece))}; t{i} = {self._largest(f's{i}')}")
            lines.append(f"e{i} = Exp(Sub(s{i}, t{i})); o{i} = MatMulExt(e{i}, {self._slice('v', piece)})")
            lines.append(f"n{i} = SumExt(e{i}, (-1,), True, None)")
        t, o, n = (f"StackExt(({', '.join(f'{name}{i}' for i in range(count))}), 0)" for name in "ton")
        lines.append(f"t = {t}; d = Exp(Sub(t, MaxDim(t, 0, True)[0]))")
        lines.append(f"Div(SumExt(Mul({o}, d), (0,), False, None), SumExt(Mul(d, {n}), (0,), False, None))")
        return lines

    def _put_right(self) -> list[str]:
        count = len(self.pieces)
        lines = [f"t{i} = {self._largest(f's{i}')}; e{i} = Exp(Sub(s{i}, t{i}))" for i in range(count)]
        lines.append("g1 = Maximum(t0, t1)")
        lines += [f"g{i} = Maximum(g{i - 1}, t{i})" for i in range(2, count)]
        return [*lines, *self._sums([f"Exp(Sub(t{i}, g{count - 1}))" for i in range(count)])]

    def _cut(self) -> list[str]:
        """The same, cut of the scores of all keys."""
        lines = [f"s = {self._scores(0, (0, KEYS), 'k')}"]
        for i, (begin, end) in enumerate(self.pieces):
            lines.append(f"s{i} = Slice(s, (0, 0, 0, {begin}), (2, 2, 4, {end - begin}))")
        return [*lines, *self._put_right()]

    def _running(self) -> list[str]:
        """Less the largest so far, from a number on."""
        start = self.random.choice(("-inf", "-60000.0", "-10000.0", "-65504.0"))
        dims, whole = f"{self.dtype}[2, 2, 4, 1]", f"{self.dtype}[2, 2, 4, 16]"
        lines = [f"m0 = tensor {dims} {start}; n0 = tensor {dims} 0.0; o0 = tensor {whole} 0.0"]
        for i, piece in enumerate(self.pieces):
            j = i + 1
            lines.append(f"s{j} = {self._scores(i, piece, self._slice('k', piece))}")
            lines.append(f"m{j} = Maximum(m{i}, {self._largest(f's{j}')}); c{j} = Exp(Sub(m{i}, m{j}))")
            lines.append(f"e{j} = Exp(Sub(s{j}, m{j})); n{j} = Add(Mul(n{i}, c{j}), SumExt(e{j}, (-1,), True, None))")
            lines.append(f"o{j} = Add(Mul(o{i}, c{j}), MatMulExt(e{j}, {self._slice('v', piece)}))")
        return [*lines, f"Div(o{len(self.pieces)}, n{len(self.pieces)})"]


def drawn(model: Model, seed: int) -> dict[str, Array]:
    """Numbers, and masks that leave rows of chunks, and rows, no key; what is added may be −∞."""
    rng = np.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    for value in model.proto.graph.input:
        name, dims = value.name.rsplit(":", 1)[-1], tuple(value.tensor[0].dims)
        hidden = rng.random(dims) < rng.choice((0.3, 0.8, 1.0), (*dims[:-1], 1))
        if value.tensor[0].data_type == BOOL.wire:
            inputs[name] = hidden
        else:
            numbers = seeded(name, dims).astype(np.float64)
            inputs[name] = np.where(hidden, -np.inf, numbers) if name.startswith("a") else numbers
    return inputs


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_random_chunks_are_one_softmax_or_stay(runtime: str) -> None:
    """The numbers and where there are none are the source's, on masks that hide all of a chunk and all of a row."""
    count = 0
    for seed in range(30):
        text = Chunks(Random(seed)).text()
        proto = parse_program(text, infer=infer)
        model, sites = run(proto, runtime)
        if not any(site.status == "fused" for site in sites):
            assert model.proto == proto
            assert any(site.status == "missed" for site in sites), text
            continue
        count += 1
        inputs = drawn(model, seed)
        with np.errstate(all="ignore"):
            (after,), (before,) = oracle.run(model, inputs), oracle.run(Model(proto), inputs)
        np.testing.assert_allclose(after, before, rtol=0.01, atol=0.01, equal_nan=True, err_msg=text)
    assert 10 < count < 25, count
