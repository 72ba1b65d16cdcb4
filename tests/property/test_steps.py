"""Random steps between the first product and the softmax, in any order: masks, biases, casts, clamps, factors, maxima.

What a step does to a row without a key hangs on all steps behind it. Whatever is fused gives the source's numbers on
masks that leave rows no key, in the types that the source has; rows of which the report says that there are none are
left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import numpy as np

from attnfuse.decisions import ASSUMPTION
from attnfuse.ir.graph import Model
from attnfuse.mindir.dtypes import BOOL, FLOAT16, FLOAT32, DType
from attnfuse.mindir.schema import ModelProto
from attnfuse.targets import RUNTIMES
from tests.support import oracle
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder
from tests.support.masks import guarded, scalar
from tests.support.oracle import Array

BATCH, HEADS, QUERIES, KEYS, SIZE = 2, 2, 4, 5, 16
GRAPHS = 400
LOW = -400.0
"""A row whose scores are all below has no key: the masks' numbers are, and no bias is."""


@dataclass(slots=True)
class Steps:
    """One graph of random steps. `told` are their names."""

    random: Random
    g: GraphBuilder = field(default_factory=lambda: GraphBuilder("steps"))
    inputs: dict[str, Array] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    scores: str = ""
    """What the softmax is of."""

    def build(self) -> ModelProto:
        g, dtype = self.g, self.random.choice((FLOAT16, FLOAT16, FLOAT32))
        operands = (("query", QUERIES), ("key", KEYS), ("value", KEYS))
        q, k, v = (self._drawn(name, (BATCH, HEADS, length, SIZE), dtype, 0.5) for name, length in operands)
        s = g.muls(g.batch_matmul(q, k, transpose_b=True), 0.25)
        for _ in range(self.random.randrange(2, 6)):
            s = self._step(s)
        self.scores = s
        weights = self._softmax(s)
        if self.random.random() < 0.25:
            weights = guarded(g, weights)
        g.output(g.matmul_ext(g.cast(weights, dtype), v))
        return g.build()

    def _drawn(self, name: str, dims: tuple[int, ...], dtype: DType, size: float) -> str:
        numbers = np.random.default_rng(self.random.getrandbits(32)).standard_normal(dims) * size
        self.inputs[name] = numbers.astype(np.float16).astype(np.float64)
        return self.g.input(name, dims, dtype)

    def _step(self, s: str) -> str:
        g, dtype = self.g, self.g.type_of(s).dtype
        name = self.random.choice(("fill", "fill", "mask", "bias", "factor", "clamp", "less", "less", "cast", "log"))
        self.told.append(name)
        match name:
            case "fill":
                return g.masked_fill(s, self._hidden(), scalar(self._low(dtype), dtype))
            case "mask":
                low = scalar(self._low(dtype), dtype)
                return g.add(s, g.select(self._hidden(), low, scalar(0.0, dtype)))
            case "bias":
                return g.add(s, self._drawn(f"bias{len(self.inputs)}", self._dims(), dtype, 0.5))
            case "factor":
                return g.muls(s, self.random.choice((0.5, 2.0, 8.0, 2.0)))
            case "clamp":
                return g.op("ClampScalar", s, -dtype.largest, dtype.largest)
            case "less":
                return self._less(s, self.random.choice(((-1,), (-1,), (-1, -2), (0, 1, 2, 3))))
            case "cast":
                return g.cast(s, self.random.choice((FLOAT16, FLOAT32, FLOAT32)))
            case _:
                return g.op("LogSoftmax", s, -1)

    def _less(self, s: str, axes: tuple[int, ...]) -> str:
        """Less the largest number, or 0 where that is infinite."""
        g = self.g
        largest = g.op("ReduceMax", s, axes, True)
        if self.random.random() < 0.5:
            largest = g.select(g.op("IsInf", largest), scalar(0.0, g.type_of(s).dtype), largest)
        return g.sub(s, largest)

    def _softmax(self, s: str) -> str:
        g, name = self.g, self.random.choice(("Softmax", "Softmax", "sum", "largest", "logarithm"))
        self.told.append(name)
        match name:
            case "Softmax":
                return g.softmax(s)
            case "logarithm":
                return g.op("Exp", g.sub(s, g.op("LogSumExp", s, (-1,), True)))
            case "largest":
                s = self._less(s, (-1,))
        e = g.op("Exp", s)
        total = g.op("SumExt", e, (-1,), True, None)
        if self.random.random() < 0.3:
            dtype = g.type_of(total).dtype
            total = g.add(total, scalar(dtype.unit_roundoff / 4, dtype))
        return g.div(e, total)

    def _dims(self) -> tuple[int, ...]:
        whole = (BATCH, 1, QUERIES, KEYS)
        return self.random.choice((whole, (BATCH, 1, 1, KEYS), (QUERIES, KEYS), (KEYS,), (BATCH, 1, QUERIES, 1)))

    def _hidden(self) -> str:
        """True where a key is hidden, in some row of all of them."""
        dims = self._dims()
        hidden = np.random.default_rng(self.random.getrandbits(32)).random(dims) < 0.4
        rows = hidden.reshape(-1, dims[-1])
        rows[self.random.randrange(len(rows))] = True
        if self.random.random() < 0.3:
            return self.g.constant(hidden)
        name = f"hidden{len(self.inputs)}"
        self.inputs[name] = hidden
        return self.g.input(name, dims, BOOL)

    def _low(self, dtype: DType) -> float:
        return self.random.choice((-np.inf, -np.inf, -1000.0, -1e4, -65504.0, -dtype.largest))


def check(steps: Steps, runtime: str) -> bool:
    """Whether it is fused; the numbers are the source's."""
    proto = steps.build()
    model = Model(ModelProto.FromString(proto.SerializeToString()))
    (site,) = fuse(model, runtime)
    if site.status != "fused":
        assert model.proto == proto, "a refused site was changed"
        return False
    before = oracle.values(Model(proto), steps.inputs)
    (wanted,), (found,) = oracle.run(Model(proto), steps.inputs), oracle.run(model, steps.inputs)
    assumed = [o.evidence for o in site.obligations if o.kind == ASSUMPTION]
    scores = np.asarray(before[steps.scores])
    told = any("in a row without a key" in text or "each row has a key" in text for text in assumed)
    rows = (scores.max(-1) > LOW) | np.isnan(scores.max(-1)) | np.isinf(scores.max(-1)) | (not told)
    np.testing.assert_allclose(
        found[rows], wanted[rows], rtol=0.02, atol=0.02, equal_nan=True, err_msg=f"{steps.told}, assumed {assumed}"
    )
    return True


def test_steps_in_any_order_are_computed_as_written_or_refused() -> None:
    fused = sum(check(Steps(Random(seed)), runtime) for seed in range(GRAPHS) for runtime in RUNTIMES)
    assert fused > 0.3 * GRAPHS * len(RUNTIMES), "the law would hold for a matcher that refuses everything"
