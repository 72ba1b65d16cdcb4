"""Simplification: every rule is shown by a block, and the error that is told of float32 for float64 is a bound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attnfuse.api import Model, RewriteContext
from attnfuse.cost.estimate import estimate
from attnfuse.pass_manager import Context
from attnfuse.policy import Policy
from attnfuse.targets import Target
from attnfuse.testing import read_fixtures
from attnfuse_passes.simplify import layout
from attnfuse_passes.simplify.rules import RULES, Rule, Simpler
from attnfuse_passes.simplify.simplify import Simplify
from attnfuse_passes.simplify.transposed import transposed_operand, transposed_result
from tests.support.costs import graph
from tests.support.growth import calls

FIXTURES = read_fixtures(Path(__file__).parent / "fixtures" / "simplify")


def simplified(text: str) -> Context:
    context = Context("unet", "unet", Policy(), Target("lite", "ascend910b"))
    Simplify().run(graph(text), context)
    return context


def test_every_rule_has_a_block_where_it_says_something(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: set[str] = set()

    def watched(rule: Rule) -> Rule:
        def asked(at: RewriteContext) -> Simpler | None:
            found = rule(at)
            shown.update([rule.__name__] if found is not None else [])
            return found

        return asked

    every = {rule.__name__ for rules in RULES.values() for rule in rules}
    for op, rules in list(RULES.items()):
        monkeypatch.setitem(RULES, op, [watched(rule) for rule in rules])
    for fixture in FIXTURES:
        if fixture.after is not None:
            Simplify().run(fixture.model(), fixture.context())
    assert shown == every


def test_the_error_that_is_told_bounds_that_of_each_position() -> None:
    factors = (1.0, 0.31622776601683794, 0.1, 0.03162277660168379)
    angles = f"Mul(Cast(x: uint8[256, 1], float64), tensor float64[4] {factors})"
    (done,) = (one for one in simplified(f"Cast(Sin({angles}), float16)").simplified if one.error)
    positions = np.arange(256)[:, None]
    exact = np.sin(positions * np.array(factors))
    single = np.sin(positions.astype(np.float32) * np.array(factors, np.float32))
    assert single.dtype == np.float32
    worst = float(np.abs(single.astype(np.float64) - exact).max())
    assert worst <= done.error <= 2.0**-11


def test_what_is_exact_is_told_to_be() -> None:
    whole = "Cast(Add(Mul(Cast(x: uint8[4], float64), tensor float64[] 3.0), Cast(y: int16[4], float64)), float32)"
    assert {one.error for one in simplified(whole).simplified} == {0.0}


@pytest.mark.parametrize("soc", ["ascend310p", "ascend910b"])
def test_a_transposition_that_a_product_does_moves_fewer_bytes(soc: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the Transpose reads and writes at least, on SoCs of either format of products; of all blocks."""
    context = Context("unet", "unet", Policy(), Target("lite", soc))

    def bytes_of(model: Model) -> int:
        Simplify().run(model, context)
        return estimate(model, soc).bytes_moved

    blocks = [one for one in FIXTURES if one.file.stem == "transposed" and "?" not in one.before]
    texts = [fixture.before.replace(" float32", " float16") for fixture in blocks if "bfloat16" not in fixture.before]
    after = [bytes_of(graph(text)) for text in texts]
    for op in ("MatMul", "BatchMatMul", "Transpose"):
        others = [rule for rule in RULES[op] if rule not in (transposed_operand, transposed_result)]
        monkeypatch.setitem(RULES, op, others)
    written = 0
    for text, moved in zip(texts, after, strict=True):
        model = graph(text)
        before = bytes_of(model)
        kinds = [model.type_of(node.name) for node in model.nodes if node.op == "Transpose"]
        least = min((2 * one.size * one.dtype.itemsize for one in kinds if one is not None), default=0)
        assert moved == before or moved + least <= before, text
        written += moved != before
    assert written > len(texts) / 3


def test_a_graph_with_nothing_to_simplify_is_left_alone() -> None:
    model = graph("MatMul(x: float16[2, 4], y: float16[4, 3], False, False)")
    assert not Simplify().run(model, Context("unet", "unet", Policy(), Target("lite", "ascend910b")))


@pytest.mark.parametrize("views", [("Reshape({}, (3, 2))", "Reshape({}, (2, 3))"), ("Transpose({}, (1, 0))",)])
def test_a_long_row_of_views_is_not_gone_through_for_each(
    views: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "_LONGEST", 4)

    def row(count: int) -> Model:
        lines = [f"v{i + 1} = {views[i % len(views)].format(f'v{i}')}" for i in range(count)]
        return graph("\n".join(["v0: float16[2, 3]", *lines, f"Abs(v{count})"]))

    def simplify(model: Model) -> None:
        Simplify().run(model, Context("unet", "unet", Policy(), Target("lite", "ascend910b")))

    assert calls(simplify, row(80)) < 2.3 * calls(simplify, row(40))
