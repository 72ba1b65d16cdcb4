"""Numbers: right rewrites pass, each planted mistake is found, and the yardsticks are what they claim to be."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnfuse.errors import VerificationError
from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32
from attnfuse.verify.lowering import Arithmetic, Rounding
from attnfuse.verify.numbers import accuracy, comparison
from attnfuse.verify.numbers.baseline import honest_rounding
from attnfuse.verify.numbers.comparison import (
    ALGEBRA_BOUND,
    FLOOR,
    MARGIN,
    Comparison,
    Part,
    Side,
    draws_of,
    judge,
    pooled,
    problems,
    site_margin,
)
from attnfuse.verify.numbers.inputs import Draw, draw_inputs
from attnfuse.verify.numbers.weights import stored_weights
from attnfuse.verify.result import OutputFigures
from tests.support.fused_nodes import compile_with
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder, transformer
from tests.verify.pairs import SCALE, Block, Mistake
from tests.verify.rewritten import Attention

NODES = ("FlashAttentionScore", "PromptFlashAttention")


def compare(original: Model, fused: Model, folder: Path) -> Comparison:
    sides = [Side(m, stored_weights(m.proto, folder / "x.mindir")) for m in (original, fused)]
    return comparison.compare(sides[0], sides[1], seed=0)


def compare_block(block: Block, folder: Path) -> Comparison:
    return compare(block.original().model(), block.fused().model(), folder)


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize(
    "block",
    [
        Block(),
        Block(masked=True),
        Block(biased=True),
        Block(masked=True, biased=True),
        Block(head=24),
        Block(compute=BFLOAT16, masked=True),
        Block(dtype=FLOAT16, masked=True, biased=True),
        Block(dtype=BFLOAT16, compute=BFLOAT16),
        Block(dtype=FLOAT16, compute=BFLOAT16),
    ],
    ids=str,
)
def test_a_right_rewrite_passes(block: Block, node: str, tmp_path: Path) -> None:
    result = compare_block(replace(block, node=node), tmp_path)
    assert result.findings == ()
    (figures,) = result.outputs
    assert figures.passed
    # The yardstick is a real one: low precision costs something, and the fused node is close to it.
    assert 1e-4 < figures.baseline < 2e-2
    assert figures.baseline / 4 < figures.fused < figures.tolerance


MISTAKES: dict[str, tuple[Mistake, dict[str, Any]]] = {
    "scale times √2": (Mistake(scale=SCALE * math.sqrt(2)), {}),
    "scale off by 1 %": (Mistake(scale=SCALE * 1.01), {}),
    "scale twice": (Mistake(scale_also_on_query=True), {}),
    "bias on the wrong side of the scale": (Mistake(bias_on_wrong_side=True), {"biased": True}),
    "mask inverted": (Mistake(invert_mask=True), {"masked": True}),
    "key and value exchanged": (Mistake(swap_key_and_value=True), {}),
    "softmax over another axis": (Mistake(softmax_axis=-2), {}),
    "heads and batch exchanged": (Mistake(heads_in_wrong_order=True), {}),
}


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("name", MISTAKES)
def test_another_mathematics_is_found(name: str, node: str, tmp_path: Path) -> None:
    mistake, options = MISTAKES[name]
    result = compare_block(Block(node=node, mistake=mistake, **options), tmp_path)
    assert any("mathematics" in finding for finding in result.findings)
    (figures,) = result.outputs
    assert figures.fused_in_float64 > 30 * figures.tolerance_in_float64


def test_padding_left_in_cannot_be_run(tmp_path: Path) -> None:
    result = compare_block(Block(head=24, mistake=Mistake(slice_padding=False)), tmp_path)
    assert result.findings[0].startswith("the fused graph cannot be run, the original can")


def test_a_coarser_type_than_asked_for_is_too_inaccurate(tmp_path: Path) -> None:
    """float16 asked for and bfloat16 computed, seen against the yardstick of float16."""
    rough = compare_block(Block(compute=BFLOAT16), tmp_path).outputs[0]
    fine = compare_block(Block(compute=FLOAT16), tmp_path).outputs[0]
    assert rough.fused > fine.tolerance


def figures_of(*, fused: float, baseline: float, elements: int = 32) -> OutputFigures:
    return OutputFigures(
        output="y",
        shape=(elements,),
        fused_in_float64=0.0,
        tolerance_in_float64=ALGEBRA_BOUND,
        fused=fused,
        max_abs=fused,
        original=baseline,
        baseline=baseline,
        tolerance=MARGIN * baseline,
        not_finite=0,
        undefined=0,
        overflowed=0,
        not_nan=0,
    )


def test_an_output_of_few_elements_is_judged_over_several_draws() -> None:
    """Roots of sums of squares: 1.5 times the yardstick once and 0.9 times thrice are 1.08 times it together."""
    unlucky, usual = figures_of(fused=1.5e-3, baseline=1e-3), figures_of(fused=0.9e-3, baseline=1e-3)
    assert problems(unlucky, "y")
    together = pooled(unlucky, [usual] * 3)
    assert problems(together, "y") == []
    assert together.fused == pytest.approx(math.sqrt((1.5**2 + 3 * 0.9**2) / 4) * 1e-3)
    assert together.baseline == pytest.approx(1e-3)
    assert together.max_abs == 1.5e-3
    assert problems(pooled(unlucky, [unlucky] * 3), "y")  # what is off each time is no accident


@pytest.mark.parametrize(("elements", "draws"), [(1, 16), (32, 16), (512, 2), (1000, 2)])
def test_the_fewer_elements_the_more_draws(elements: int, draws: int) -> None:
    assert draws_of([figures_of(fused=2.0, baseline=1.0, elements=elements)]) == draws


def test_a_node_that_is_too_rough_is_found_on_further_draws_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(accuracy, "OWN_ERROR", 0.0)
    monkeypatch.setattr(comparison, "AMPLIFIED", 0.5)  # half the yardstick's error, which nobody reaches
    monkeypatch.setattr(comparison, "ENOUGH", 100_000)

    def draw(model: Model, seed: int, how: Draw) -> dict[str, Array]:
        drawn.append(seed)
        return draw_inputs(model, seed, how)

    monkeypatch.setattr(comparison, "draw_inputs", draw)
    result = compare_block(Block(), tmp_path)
    assert drawn == list(range(comparison.DRAWS))
    assert any("where" in finding for finding in result.findings)


def test_a_graph_against_itself_is_at_float32_noise(tmp_path: Path) -> None:
    model = transformer(dtype=FLOAT32).model()
    result = compare(model, model, tmp_path)
    assert result.findings == ()
    assert result.outputs[0].fused_in_float64 == 0.0
    assert result.outputs[0].fused < 2e-6


def test_the_seed_decides_the_inputs(tmp_path: Path) -> None:
    model = transformer(dtype=FLOAT16).model()
    side = Side(model, stored_weights(model.proto, tmp_path / "x.mindir"))
    first, again, other = (comparison.compare(side, side, seed=s).outputs[0] for s in (1, 1, 2))
    assert first == again
    assert first.fused != other.fused


def test_a_part_gives_what_any_side_gives_whatever_it_was_asked_before(tmp_path: Path) -> None:
    block = Block(dtype=FLOAT16, compute=BFLOAT16, biased=True)
    original = block.original().model()
    rounding = honest_rounding(original, block.fused().model())
    weights = stored_weights(original.proto, tmp_path / "x.mindir")
    (softmax,) = (node.name for node in original.nodes if node.op == "Softmax")
    asked: list[tuple[Arithmetic, dict[str, Rounding] | None, dict[str, list[str]]]] = [
        (Arithmetic.NATIVE, None, {}),
        (Arithmetic.EXACT, None, {}),
        (Arithmetic.NATIVE, rounding, {}),
        (Arithmetic.EXACT, {softmax: rounding[softmax]}, {}),
        (Arithmetic.NATIVE, None, {"peaks": [softmax]}),
        (Arithmetic.NATIVE, None, {"taps": [softmax]}),
    ]
    part, results = Part(original, weights), set()
    for seed in (1, 2):
        values = draw_inputs(original, seed)
        for arithmetic, rounded, more in asked:
            result = part.run(arithmetic, values, rounded, **more)
            expected = Side(original, weights).run(arithmetic, values, rounded, **more)
            assert [a.tobytes() for a in result] == [a.tobytes() for a in expected]
            results.add(b"".join(a.tobytes() for a in result))
    assert len(results) == 2 * len(asked)


def test_an_operator_without_a_rule_is_named(tmp_path: Path) -> None:
    g = GraphBuilder("odd")
    g.output(g.op("Unknowable", g.input("x", (2, 3))))
    model = g.model()
    with pytest.raises(VerificationError, match=r"Unknowable .*--verify static"):
        compare(model, model, tmp_path)


# --- the yardsticks


def test_errors_are_relative_to_the_reference() -> None:
    result = judge(
        "out",
        reference=np.array([3.0, 4.0]),
        native=np.array([3.0, 4.1]),
        formula=np.array([3.2, 4.0]),
        algebra=np.array([3.0, 4.0]),
        fused=np.array([3.0, 4.24]),
        allowed=ALGEBRA_BOUND,
    )
    assert result.original == pytest.approx(0.02)
    assert result.baseline == pytest.approx(0.04)
    assert result.fused == pytest.approx(0.048)
    assert result.tolerance == pytest.approx(MARGIN * 0.04 + FLOOR)
    assert result.max_abs == pytest.approx(0.24)
    assert result.passed
    assert not replace(result, fused=result.tolerance * 1.01).passed
    assert not replace(result, fused_in_float64=result.tolerance_in_float64 * 1.01).passed


def test_what_is_nan_in_one_type_of_the_original_is_compared_by_nobody() -> None:
    """Overflow to ∞ − ∞ in a 16-bit type, or a number that hides keys in that type only."""
    nan = float("nan")
    result = judge(
        "out",
        reference=np.array([nan, 4.0, 1.0, 3.0]),
        native=np.array([2.0, 4.0, math.inf, nan]),
        formula=np.array([2.0, 4.0, 1.0, 3.0]),
        algebra=np.array([0.0, 4.0, 1.0, 3.0]),
        fused=np.array([0.0, 4.0, 7.0, 3.0]),
        allowed=ALGEBRA_BOUND,
    )
    assert result.passed
    assert result.fused == 0.0


@pytest.mark.parametrize(("algebra", "fused"), [(0.0, 0.0), (math.nan, 0.0), (0.0, math.nan), (math.nan, math.inf)])
def test_what_is_nan_in_every_type_of_the_original_is_nan_in_the_fused_graph(algebra: float, fused: float) -> None:
    def judged(algebra: float, fused: float, rest: float) -> OutputFigures:
        def values(number: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
            return np.array([number, rest])

        own = values(math.nan)
        return judge(
            "out",
            reference=own,
            native=own,
            formula=own,
            algebra=values(algebra),
            fused=values(fused),
            allowed=ALGEBRA_BOUND,
        )

    figures = judged(algebra, fused, 4.0)
    assert (figures.passed, figures.not_nan) == (False, 1)
    (finding,) = problems(figures, "output out")
    assert finding.startswith("output out is not NaN in 1 place where the original is")
    assert judged(math.nan, math.nan, 4.0).passed


def undefined(reference: list[float], native: list[float], fused: list[float]) -> OutputFigures:
    return judge(
        "out",
        reference=np.array(reference),
        native=np.array(native),
        formula=np.array(native),
        algebra=np.array(reference),
        fused=np.array(fused),
        allowed=ALGEBRA_BOUND,
    )


@pytest.mark.parametrize(
    ("reference", "native", "lost"),
    [
        ([math.nan, math.nan], [math.nan, math.inf], 0),
        ([1.0, 2.0], [math.nan, math.nan], 0),
        ([1.0, 2.0], [math.nan, math.inf], 1),
        ([math.nan, 2.0], [1.0, math.nan], 1),
    ],
)
@pytest.mark.parametrize("fused", [[math.nan, math.nan], [1.0, 2.0]])
def test_where_the_original_defines_nothing_nothing_was_shown(
    reference: list[float], native: list[float], lost: int, fused: list[float]
) -> None:
    """Equal NaN prove nothing: a weight too large for its type makes every graph of it equal.

    What is finite in one of the original's runs alone is no yardstick, but it may not become a NaN that the source
    does not give itself.
    """
    result = undefined(reference, native, fused)
    assert (result.undefined, result.not_finite) == (2, lost if math.isnan(fused[0]) else 0)
    assert not result.passed
    told = problems(result, "output out")
    assert "output out could not be compared" in told[0]
    assert len(told) == (2 if result.not_finite or result.not_nan else 1)


def test_an_output_of_no_elements_is_as_it_should_be() -> None:
    result = undefined([], [], [])
    assert result.passed
    assert problems(result, "output out") == []


@pytest.mark.parametrize(
    ("heads", "message"), [(4, "could not be compared"), (1, "compared without 768 of its 3072 values")]
)
def test_an_output_that_overflows_is_not_passed_over(heads: int, message: str, tmp_path: Path) -> None:
    def build() -> Model:
        g = GraphBuilder("large")
        q = g.input("q", (2, 4, 24, 16), FLOAT16)
        result = g.matmul_ext(g.softmax(g.muls(g.matmul_ext(q, g.transpose(q, (0, 1, 3, 2))), 0.25)), q)
        factors = np.ones((1, 4, 1, 1), np.float16)
        factors[:, :heads] = 60000
        for _ in range(3):
            result = g.mul(result, factors)
        g.output(result)
        return g.model()

    fused = build()
    fuse(fused, "lite")
    result = compare(build(), fused, tmp_path)
    assert result.outputs[0].undefined == heads * 768
    assert [message in text for text in (result.findings if heads == 4 else result.notes)] == [True]
    assert bool(result.findings) == (heads == 4)


def test_nan_where_the_original_has_a_number_fails() -> None:
    one = np.array([1.0, 2.0])
    result = judge(
        "out",
        reference=one,
        native=one,
        formula=one,
        algebra=one,
        fused=np.array([1.0, math.nan]),
        allowed=ALGEBRA_BOUND,
    )
    assert result.not_finite == 1
    assert not result.passed


def test_an_overflow_of_the_formula_does_not_open_the_bound() -> None:
    one = np.array([1.0, 2.0])
    result = judge(
        "out",
        reference=one,
        native=one,
        formula=np.array([1.0, math.inf]),
        algebra=one,
        fused=np.array([1.0, 2.1]),
        allowed=ALGEBRA_BOUND,
    )
    assert result.tolerance == FLOOR
    assert not result.passed


def test_the_formula_is_found_between_its_two_products() -> None:
    block = Block(masked=True, biased=True)
    original, fused = block.original().model(), block.fused().model()
    found = honest_rounding(original, fused)
    assert [n.op for n in original.nodes if n.name in found] == ["MatMulExt", "Softmax", "MatMulExt"]
    scores, values, softmax = found.values()
    assert {r.dtype for r in found.values()} == {FLOAT16}
    assert (scores.operands, scores.result) == ((0, 1), False)
    assert (values.operands, values.result) == ((0, 1), True)
    assert [n.op for n in original.nodes if n.name in softmax.stored] == ["MatMulExt", "Muls", "Add", "MaskedFill"]
    assert softmax.added is FLOAT32


def test_attention_that_stays_is_no_part_of_the_yardstick() -> None:
    model = transformer().model()
    assert honest_rounding(model, model) == {}


def test_beside_a_fused_site_one_that_stays_is_none_either() -> None:
    def build(*, fuse: bool) -> Model:
        g = GraphBuilder("two")
        q = g.input("q", (2, 4, 24, 16), FLOAT16)
        first = g.matmul_ext(g.softmax(g.muls(g.matmul_ext(q, g.transpose(q, (0, 1, 3, 2))), 0.25)), q)
        fused = g.prompt_flash_attention(first, first, first, heads=4, scale=0.25) if fuse else first
        g.output(g.add(first, fused))
        return g.model()

    assert honest_rounding(build(fuse=False), build(fuse=True)) == {}


def test_each_graph_runs_on_its_own_weights(tmp_path: Path) -> None:
    """Two files may hold the same names and other values; that is a difference to find."""
    block = Block(dtype=FLOAT16)
    fused = block.fused().build()
    fused.graph.parameter[0].raw_data = bytes(len(fused.graph.parameter[0].raw_data))
    assert any("mathematics" in f for f in compare(block.original().model(), Model(fused), tmp_path).findings)


def test_a_mask_that_overflows_the_compute_type_leaves_a_yardstick(tmp_path: Path) -> None:
    """(1 − m)·min(float32) is −inf in float16, so the formula has no value there; what is multiplied still has."""

    def block() -> Model:
        g = GraphBuilder("masked")
        q, k, v = (g.input(name, (2, 4, 24, 16)) for name in ("query", "key", "value"))
        hidden = g.sub(np.array(1, np.float32), g.input("visible", (2, 1, 1, 24)))
        bias = g.mul(hidden, np.array(np.finfo(np.float32).min, np.float32))
        scores = g.add(g.muls(g.matmul_ext(q, g.transpose(k, (0, 1, 3, 2))), 0.25), bias)
        g.output(g.matmul_ext(g.softmax(scores), v))
        return g.model()

    fused = block()
    (site,) = fuse(fused, "lite")
    assert site.status == "fused"
    comparison = compare(block(), fused, tmp_path)
    assert comparison.findings == ()
    (figures,) = comparison.outputs
    assert math.isfinite(figures.baseline)
    assert figures.tolerance < 1e-2


def test_a_site_is_held_to_the_formula_the_more_elements_it_has() -> None:
    assert site_margin(1) == MARGIN
    assert site_margin(1_000_000) == pytest.approx(1.004)


@pytest.mark.parametrize("precision", ["high", "fast"])
def test_scores_in_float16_are_allowed_where_they_were_asked_for(precision: str, tmp_path: Path) -> None:
    """The source computes in float32: what the yardstick rounds is decided by what is asked of the node."""
    before = Attention().model()
    after, record = compile_with(before, "lite", precision=precision)
    assert record.precision == precision
    found = honest_rounding(before, after)
    (product, *_) = (n for n in before.nodes if n.name in found)
    assert found[product.name].result is (precision == "fast")
    assert compare(before, after, tmp_path).findings == ()
