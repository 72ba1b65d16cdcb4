"""Fills of masked scores: numbers beyond the type of the scores, and tensors that hold one number everywhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from attnfuse.decisions import SiteRecord
from attnfuse.ir.graph import Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, DType
from attnfuse.targets import RUNTIMES
from attnfuse_passes.attention.uniform import makers, uniform
from tests.support.graphs import GraphBuilder
from tests.support.masks import added_constant, both, filled
from tests.support.oracle import Array
from tests.support.sites import Change, Site

ROWS = np.zeros((2, 1, 4, 5), bool)
ROWS[0, ..., 3:] = True
ROWS[1, :, 2] = True  # a row that keeps no key
DIMS = (2, 2, 4, 5)


def mask(g: GraphBuilder) -> str:
    return g.input("mask", ROWS.shape, dtypes.BOOL)


def literal(number: float, dtype: DType = FLOAT32) -> Array:
    with np.errstate(over="ignore"):
        return np.array(number).astype(dtype.numpy)


Make = Callable[[GraphBuilder, str, float], str]
"""A tensor of the scores' type that holds a number everywhere, its shape taken from the scores or written down."""


def _made(op: str, *others: object) -> Make:
    def make(g: GraphBuilder, s: str, number: float) -> str:
        arguments = [number if x == "number" else (s if x == "scores" else x) for x in others]
        values = [a if isinstance(a, str) else g.constant(a) for a in arguments]  # type: ignore[arg-type]
        return g.node(op, values, g.type_of(s))

    return make


def _times(make: Make) -> Make:
    return lambda g, s, number: g.muls(make(g, s, 1.0), number)


TENSORS: dict[str, Make] = {
    "a constant of the scores' shape": lambda g, s, number: g.constant(
        np.full(DIMS, literal(number, g.type_of(s).dtype))
    ),
    "ones_like · c": _times(_made("OnesLike", "scores")),
    "mint.ones_like · c": _times(_made("OnesLikeExt", "scores", None)),
    "ones · c": _times(_made("Ones", DIMS, None)),
    "full_like": _made("FullLike", "scores", "number", 42),
    "full": _made("FillScalar", DIMS, "number", 42),
    "new_full": _made("NewFull", "scores", DIMS, "number", None),
    "zeros_like + c": lambda g, s, number: g.op("Add", _made("ZerosLike", "scores")(g, s, 0.0), number, like=s),
    "c broadcast": lambda g, s, number: g.broadcast_to(g.constant(literal(number, g.type_of(s).dtype)), DIMS),
}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("number", [-1e9, -1e30, -65520.0, -np.inf])
def test_a_fill_below_the_range_of_float16_is_minus_infinity(number: float, runtime: str) -> None:
    """Whatever type the literal has, MaskedFill writes it in the type of the scores: a row of it is not a number."""
    fills: list[Change] = [
        lambda g, s: g.masked_fill(s, mask(g), literal(number)),
        lambda g, s: g.masked_fill(s, mask(g), literal(number, dtypes.FLOAT64)),
        lambda g, s: g.node("MaskedFill", [s, mask(g), g.constant(float(number))], g.type_of(s)),
    ]
    for fill in fills:
        site = Site(scores=fill).fused(runtime, mask=ROWS)
        assert (site.mask, site.fully_masked_rows) == ("bool", "nan")


def test_a_fill_that_float16_rounds_to_its_smallest_number() -> None:
    site = Site(scores=lambda g, s: g.masked_fill(s, mask(g), literal(-65519.0))).fused(mask=ROWS)
    assert site.fully_masked_rows == "mean"


def assumed(site: SiteRecord) -> list[str]:
    return [o.evidence for o in site.obligations if o.kind == "assumption"]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("number", [-1000.0, -4096.0, -1e4, -60000.0, -1e9])
@pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16, FLOAT16])
def test_a_fill_below_every_real_score_hides_keys(dtype: DType, number: float, runtime: str) -> None:
    """What it rests on is told: half of the fill is the bound that verification checks."""
    site = Site(scores=lambda g, s: g.masked_fill(s, mask(g), literal(number)), dtype=dtype).fused(runtime, mask=ROWS)
    held = float(literal(number, dtype))
    if np.isinf(held):
        assert (site.mask, site.fully_masked_rows, assumed(site)) == ("bool", "nan", [])
        return
    assert (site.mask, site.fully_masked_rows) == ("bool", "mean")
    told = assumed(site)
    if dtype is FLOAT16 and number == -60000.0:
        assert told == []  # a quarter of what float16 holds is no lower than half of it
    else:
        assert [text.partition(":")[0] for text in told] == [f"scores stay above {held / 2:g}"]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_may_bring_a_filled_key_back_is_told(runtime: str) -> None:
    def scores(g: GraphBuilder, s: str) -> str:
        return g.add(g.masked_fill(s, mask(g), literal(-1e4)), g.input("bias", ROWS.shape, FLOAT16))

    site = Site(scores=scores).fused(runtime, bias=np.zeros(ROWS.shape), mask=ROWS)
    assert any(text.startswith("scores and biases added to them stay above -5000") for text in assumed(site))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("number", [-1000.0, -1e4])
def test_what_is_known_to_bring_a_filled_key_back_is_refused(number: float, runtime: str) -> None:
    """More than half of the fill added behind: a score could reach the sum, however low it stays itself."""
    for share, code in ((0.6, "facts.fill"), (0.1, None)):
        constant = np.array([0.0, 0.0, -share * number, 0.0, 0.0])
        site = Site(
            scores=both(filled(number, dtype=FLOAT32), added_constant(constant, FLOAT32)),
            dtype=FLOAT32,
            no_fully_masked_rows=True,
            builder=GraphBuilder("site"),
        )
        if code is None:
            site.fused(runtime, mask=np.arange(5) % 3 == np.zeros((2, 1, 1, 1)))
        else:
            assert site.refused(runtime) == code


def test_a_fill_below_what_the_scores_were_computed_in_needs_no_assumption() -> None:
    """A product in float16, cast up and filled in float32: no score is below −65504."""

    def scores(g: GraphBuilder, s: str, factor: float = 1.0) -> str:
        return g.masked_fill(g.muls(g.cast(s, FLOAT32), factor), mask(g), literal(-1e9))

    def softmax(g: GraphBuilder, s: str) -> str:
        return g.cast(g.softmax(s), FLOAT16)

    assert assumed(Site(scores=scores, softmax=softmax).fused(mask=ROWS)) == []
    grown = Site(scores=lambda g, s: scores(g, s, 1e5), softmax=softmax)
    _, (site,) = grown.run(grown.proto(), "lite")
    assert (site.status, len(assumed(site))) == ("fused", 1)


@pytest.mark.parametrize("number", [-990.0, -100.0, 0.0])
def test_a_fill_that_a_score_may_reach_stays(number: float) -> None:
    for dtype in (FLOAT32, BFLOAT16, FLOAT16):
        site = Site(scores=lambda g, s: g.masked_fill(s, mask(g), literal(number)), dtype=dtype)
        assert site.refused() == "facts.fill"


@pytest.mark.parametrize(("number", "factor"), [(-1e4, 0.01), (-1000.0, 0.5)])
def test_a_fill_that_a_factor_lifts_into_reach_stays(number: float, factor: float) -> None:
    site = Site(scores=lambda g, s: g.muls(g.masked_fill(s, mask(g), literal(number)), factor), dtype=FLOAT32)
    assert site.refused() == "facts.fill"


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", TENSORS)
def test_tensors_that_hold_one_number(name: str, runtime: str) -> None:
    """In either branch; what takes its shape from the scores goes with them."""
    for keep in (True, False):

        def scores(g: GraphBuilder, s: str, keep: bool = keep) -> str:
            fill = TENSORS[name](g, s, -1e9)
            return g.select(mask(g), s, fill) if keep else g.select(mask(g), fill, s)

        model, (site,) = (case := Site(scores=scores)).run(case.proto(), runtime)
        assert (site.status, site.mask, site.fully_masked_rows) == ("fused", "bool", "nan"), site.reason
        assert not {"OnesLike", "OnesLikeExt", "FullLike", "NewFull", "Muls", "Softmax"} & {n.op for n in model.nodes}


def test_a_tensor_of_fills_that_somebody_else_reads_too() -> None:
    """Its shape is that of scores, which would have to be made for it."""

    def scores(g: GraphBuilder, s: str) -> str:
        fill = TENSORS["ones_like · c"](g, s, -1e9)
        g.output(fill)
        return g.select(mask(g), s, fill)

    assert Site(scores=scores).refused() == "safety.scores_escape"


def test_a_tensor_of_two_numbers_is_no_fill() -> None:
    numbers = np.full(DIMS, -np.inf, np.float16)
    numbers[0, 0, 0, 0] = -1.0
    assert Site(scores=lambda g, s: g.select(mask(g), s, numbers)).refused() == "structure.scores"


def known(make: Callable[[GraphBuilder], str]) -> float | None:
    g = GraphBuilder()
    value = make(g)
    g.output(value)
    return uniform(g.model(), value)


def ones(g: GraphBuilder) -> str:
    return g.node("OnesLike", [g.input("x", (2, 3))], TensorType((2, 3), FLOAT32))


def written(op: str) -> Callable[[GraphBuilder], str]:
    def make(g: GraphBuilder) -> str:
        value = ones(g)
        seen = g.op("ReshapeView", value, (3, 2), dims=(3, 2)) if op == "view" else value
        g.output(g.node("InplaceMuls", [seen, g.constant(2.0), g.monad()], g.type_of(seen)))
        return value

    return make


@pytest.mark.parametrize(
    ("make", "number"),
    [
        (ones, 1.0),
        (lambda g: g.op("Neg", g.muls(ones(g), 3.0)), -3.0),
        (lambda g: g.cast(g.muls(ones(g), -1e9), FLOAT16), -np.inf),
        (lambda g: g.add(ones(g), np.array([2.0], np.float32)), 3.0),
        (lambda g: g.op("Divs", ones(g), 0.0), None),
        (lambda g: g.sub(g.muls(ones(g), np.inf), np.array([np.inf], np.float32)), None),
        (lambda g: g.add(ones(g), g.input("y", (2, 3))), None),
        (lambda g: g.constant(np.array([1.0, 2.0], np.float32)), None),
        (lambda g: g.constant(np.array([True, True])), None),
        (written("whole"), None),
        (written("view"), None),
    ],
)
def test_the_number_a_tensor_holds_everywhere(make: Callable[[GraphBuilder], str], number: float | None) -> None:
    assert known(make) == number


def test_what_makes_it() -> None:
    g = GraphBuilder()
    value = g.muls(ones(g), 3.0)
    g.output(value)
    model: Model = g.model()
    assert [node.op for node in makers(model, value)] == ["Muls", "OnesLike"]
    assert [*makers(model, "nobody")] == []
