"""What a rewrite is given to read a node with, and the choice among lowerings that need no more than their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from attnfuse.contract import Result, RewriteContext, first_supported
from attnfuse.decisions import Candidate, MatchFailure, Unsupported
from attnfuse.ir.builder import Builder
from attnfuse.ir.effects import Effects
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import FLOAT32
from attnfuse.pass_manager import Context
from attnfuse.policy import Policy
from attnfuse.targets import Target
from tests.support.graphs import GraphBuilder


def at(*arguments: object, dims: tuple[int, ...] = (2, 3)) -> RewriteContext:
    """The context of a node of an operator nobody knows: a string is an input of these sizes."""
    g = GraphBuilder()
    inputs = []
    for argument in arguments:
        if isinstance(argument, str):
            inputs.append(g.input(argument, dims))
        else:
            inputs.append(g.constant(argument))  # type: ignore[arg-type]
    g.output(g.node("Unheard", inputs, TensorType((2, 3), FLOAT32)))
    model = g.model()
    (node,) = (node for node in model.nodes if node.op == "Unheard")
    context = Context("unet", "unet", Policy(), Target("lite", "ascend910b"))
    return RewriteContext(model, node, Effects.of(model), context, {})


def test_arguments_are_read_by_position() -> None:
    found = at("x", 2, (0, -1), 0.5, True, None, np.array([3, 4]))
    assert (found.type(0), found.static(0), found.out) == (TensorType((2, 3), FLOAT32),) * 3
    assert (found.integer(1), found.integers(2), found.integers(6)) == (2, (0, -1), (3, 4))
    assert (found.number(3), found.flag(4), found.optional(5)) == (0.5, True, None)
    assert (found.axis(1, 3), found.axes(2, 3), found.axes(5, 2)) == (2, (0, 2), (0, 1))
    assert found.optional(0) == found.input(0)
    assert found.target.runtime == "lite"


WRONG: dict[str, tuple[Callable[[RewriteContext], object], str]] = {
    "more than it has": (lambda found: found.input(9), "it has 4 inputs"),
    "no tensor": (lambda found: found.type(1), "input 1 is not a tensor of a known type"),
    "computed": (lambda found: found.literal(0), "its argument 0 is not a constant"),
    "no whole number": (lambda found: found.integer(2), "its argument 2 is 0.5, no whole number"),
    "no number": (lambda found: found.number(3), "its argument 3 is None, no number"),
    "no truth value": (lambda found: found.flag(1), "its argument 1 is 7, no truth value"),
    "no axis": (lambda found: found.axis(1, 3), "axis 7 is none of 3"),
    "no tuple of tensors": (lambda found: found.outs, "its outputs are not tensors of known types"),
    "no attribute": (lambda found: found.attributes("pads"), "its attribute pads is missing"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_of_the_asked_kind_is_a_failure_with_the_reason(name: str) -> None:
    read, reason = WRONG[name]
    with pytest.raises(MatchFailure, match=reason):
        read(at("x", 7, 0.5, None))


def test_a_size_that_is_not_known_is_no_static_type() -> None:
    with pytest.raises(MatchFailure, match="of a size not known before run time"):
        at("x", dims=(-1, 3)).static(0)


@dataclass
class Way:
    """A lowering that says it is supported, or not."""

    form: str
    reason: Unsupported | None = None

    def unsupported_reason(self, form: str, candidate: Candidate, at: RewriteContext) -> Unsupported | None:
        assert (candidate.form, candidate.anchor) == (self.form, at.node.name)
        return self.reason

    def write(self, build: Builder, form: str, candidate: Candidate) -> Result:
        raise AssertionError("nothing is written while deciding")


NO = Unsupported.found("made.up", "x", "one thing", "another")


@pytest.mark.parametrize(
    ("ways", "chosen", "others"),
    [
        ((Way("a"), Way("b")), "a", {"b": None}),
        ((Way("a", NO), Way("b")), "b", {"a": NO}),
        ((Way("a", NO), Way("b", Unsupported("later", "so"))), None, {"a": NO, "b": Unsupported("later", "so")}),
    ],
)
def test_the_first_that_is_supported_is_chosen_and_all_are_asked(
    ways: tuple[Way, ...], chosen: str | None, others: dict[str, Unsupported | None]
) -> None:
    decision = first_supported(ways, "form", at("x"))
    assert (decision.chosen and decision.chosen.form) == chosen
    assert {other.form: other.unsupported for other in decision.others} == others
    if chosen is None:
        assert (decision.code, decision.reason) == ("made.up", "expected one thing, found another")
        assert decision.reason == NO.reason
