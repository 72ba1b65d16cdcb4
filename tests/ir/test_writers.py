"""Who changes memory. Thousands may change the same: what is asked of each may not grow with how many there are.

Calls of Python functions are counted, as time would depend on the machine.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from attnfuse.ir.check import check_graph
from attnfuse.ir.effects import Effects, may_change
from attnfuse.ir.graph import Model
from attnfuse.ir.numbering import Numbering
from attnfuse.ir.writers import lost, writers_of
from tests.passes.legalise.support import legalise
from tests.support.costs import graph
from tests.support.growth import calls


def in_turn(count: int) -> Model:
    """Each writer is given what the one before it gave."""
    lines = ["y: float16[4]; x: float16[4]; u: monad; v0 = Neg(x)"]
    lines += [f"v{i + 1} = InplaceMul(v{i}, y, u)" for i in range(count)]
    return graph("\n".join([*lines, f"Abs(v{count})"]))


def side_by_side(count: int) -> Model:
    """All are given the same value, one after the other in the order of effects."""
    lines = ["y: float16[4]; x: float16[4]; u0: monad; v = Neg(x)"]
    for i in range(count):
        lines += [f"w{i} = InplaceMul(v, y, u{i})", f"u{i + 1} = UpdateState(u{i}, w{i}) -> monad"]
    return graph("\n".join([*lines, f"Depend(Load(v, u{count}), u{count})"]))


def read_by_many(count: int) -> Model:
    """One value has many readers, and many names of it are made one of the other."""
    lines = ["x: float16[4]; u: monad; v0 = Neg(x)"]
    lines += [f"v{i + 1} = ReshapeView(v{i}, (4,), u) -> float16[4]" for i in range(count)]
    lines += [f"r{i} = Abs(v{count})" for i in range(count)]
    return graph("\n".join([*lines, f"return {', '.join(f'r{i}' for i in range(count))}"]))


def all_never_mutated(model: Model) -> None:
    effects = Effects.of(model)
    for node in model.nodes:
        effects.is_never_mutated(model, node.name)


def all_may_change(model: Model) -> None:
    for node in model.nodes:
        may_change(model, node.name)


def none_is_left(model: Model) -> None:
    """Nobody sees that they are gone."""
    numbering = Numbering()
    assert not list(lost(writers_of(model, numbering), {}, model, {}, numbering))


@pytest.mark.parametrize("make", [in_turn, side_by_side, read_by_many])
@pytest.mark.parametrize(
    "ask", [lambda m: writers_of(m, Numbering()), check_graph, all_never_mutated, all_may_change, legalise]
)
def test_twice_as_many_take_twice_as_long(ask: Callable[[Model], object], make: Callable[[int], Model]) -> None:
    assert calls(ask, make(160)) < 2.5 * calls(ask, make(80))


def test_twice_as_many_are_gone_in_twice_the_time() -> None:
    assert calls(none_is_left, in_turn(160)) < 2.5 * calls(none_is_left, in_turn(80))
