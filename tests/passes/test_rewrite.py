"""The driver: raise, decide, lower, record, over rewrites made up for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from attnfuse.api import (
    Builder,
    Candidate,
    Context,
    Effects,
    Model,
    OperatorRewrite,
    Result,
    RewriteContext,
    RewriteOutcome,
    Unsupported,
    cannot,
)
from attnfuse.ir.types import TensorType
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import FLOAT32, INT64
from attnfuse.pass_manager import Legalised
from attnfuse.policy import Policy
from attnfuse.targets import Target
from attnfuse_passes.rewrite import rewrite
from tests.support.graphs import GraphBuilder, operators

LITE = Target("lite", "ascend910b")


@dataclass(frozen=True)
class Negation:
    """A form: −value."""

    value: str


@dataclass
class AsProduct:
    """(−1) · x, which is refused for whole numbers before it is written."""

    form: str = "product"

    def unsupported_reason(self, form: Negation, candidate: Candidate, at: RewriteContext) -> Unsupported | None:
        return None if at.out.dtype.is_float else Unsupported("made.whole", "whole numbers")

    def write(self, build: Builder, form: Negation, candidate: Candidate) -> Result:
        return build.scaled(form.value, -1.0)


@dataclass
class AsDifference:
    """x − (x + x), which nothing speaks against."""

    form: str = "difference"

    def unsupported_reason(self, form: Negation, candidate: Candidate, at: RewriteContext) -> Unsupported | None:
        return None

    def write(self, build: Builder, form: Negation, candidate: Candidate) -> Result:
        return build.op("Sub", form.value, build.op("Add", form.value, form.value))


@dataclass
class AsOther:
    """A lowering that is wrong: its value is of another type."""

    form: str = "other"

    def unsupported_reason(self, form: Negation, candidate: Candidate, at: RewriteContext) -> Unsupported | None:
        return None

    def write(self, build: Builder, form: Negation, candidate: Candidate) -> Result:
        return build.reshape(build.op("Neg", form.value), (-1,))


@dataclass
class AsIdentity:
    """x, of what adds −x · 2 and x · 3."""

    form: str = "identity"

    def unsupported_reason(self, form: Negation, candidate: Candidate, at: RewriteContext) -> Unsupported | None:
        return None

    def write(self, build: Builder, form: Negation, candidate: Candidate) -> Result:
        return build.op("Abs", form.value)


class Sums(OperatorRewrite[Negation]):
    """Of several nodes: the sum of products of one value."""

    roots: ClassVar[frozenset[str]] = frozenset(("Add",))  # type: ignore[misc]
    lowerings = (AsIdentity(),)

    def raise_(self, at: RewriteContext) -> Negation:
        first = at.model.producer(at.input(0))
        assert first is not None
        return Negation(first.inputs[0])

    def name(self, form: Negation, at: RewriteContext) -> str:
        return "sum"


class Negations(OperatorRewrite[Negation]):
    """Of inputs; that of a constant is none of its business, and that of anything else is a failure."""

    roots: ClassVar[frozenset[str]] = frozenset(("Neg",))  # type: ignore[misc]

    def __init__(self, *lowerings: AsProduct | AsDifference | AsOther) -> None:
        self.lowerings = lowerings or (AsProduct(), AsDifference())
        self.outcomes: list[RewriteOutcome[Negation, Candidate]] = []

    def raise_(self, at: RewriteContext) -> Negation | None:
        value = at.input(0)
        if at.model.is_literal(value):
            return None
        if not at.model.is_input(value):
            raise cannot("it is computed")
        return Negation(value)

    def name(self, form: Negation, at: RewriteContext) -> str:
        return "negation"

    def record(self, outcome: RewriteOutcome[Negation, Candidate], at: RewriteContext) -> None:
        super().record(outcome, at)
        self.outcomes.append(outcome)


@dataclass
class Run:
    """One run over a graph of one output."""

    model: Model
    rewrites: Negations = field(default_factory=Negations)

    def __post_init__(self) -> None:
        self.context = Context("unet", "unet", Policy(), LITE)
        before = codec.serialise(self.model.proto)
        self.changed = rewrite(self.model, self.context, Effects.of(self.model), [self.rewrites])
        assert self.changed == (codec.serialise(self.model.proto) != before)


def negated(dtype: object = FLOAT32) -> Model:
    g = GraphBuilder()
    g.output(g.op("Neg", g.input("x", (2, 3), dtype)))  # type: ignore[arg-type]
    return g.model()


def test_the_first_supported_lowering_writes() -> None:
    run = Run(negated())
    assert operators(run.model) == ["Mul"]
    (outcome,) = run.rewrites.outcomes
    assert outcome.form == Negation(run.model.proto.graph.input[0].name)
    assert (outcome.ops, outcome.decision.chosen and outcome.decision.chosen.form) == (("Mul",), "product")
    assert [other.form for other in outcome.decision.others] == ["difference"]
    assert [(done.op, done.into) for done in run.context.legalised] == [("Neg", ("Mul",))]


def test_what_a_lowering_refuses_is_said_of_its_candidate_and_the_next_writes() -> None:
    run = Run(negated(INT64))
    assert operators(run.model) == ["Add", "Sub"]
    (outcome,) = run.rewrites.outcomes
    (other,) = outcome.decision.others
    assert (other.form, other.unsupported) == ("product", Unsupported("made.whole", "whole numbers"))


def test_without_a_supported_lowering_the_first_reason_is_told() -> None:
    run = Run(negated(INT64), Negations(AsProduct()))
    assert not run.changed
    assert list(run.context.unsupported.values()) == ["whole numbers"]


def test_a_failure_to_raise_is_told_of_the_node() -> None:
    g = GraphBuilder()
    g.output(g.op("Neg", g.op("Abs", g.input("x", (2, 3)))))
    run = Run(g.model())
    assert not run.changed
    assert list(run.context.unsupported.values()) == ["it is computed"]
    assert [outcome.form for outcome in run.rewrites.outcomes] == [None]


def test_what_is_no_business_of_a_rewrite_is_not_told() -> None:
    g = GraphBuilder()
    two = g.node("Neg", [g.constant(2.0)], TensorType((), FLOAT32))
    g.output(g.add(g.input("x", ()), two))
    run = Run(g.model())
    assert (run.changed, run.rewrites.outcomes, run.context.unsupported) == (False, [], {})


def test_what_the_builder_does_not_take_is_dropped() -> None:
    run = Run(negated(), Negations(AsOther()))
    assert not run.changed
    (reason,) = run.context.unsupported.values()
    assert "its replacement is float32[6]" in reason
    assert run.rewrites.outcomes[0].decision.chosen is None


@pytest.mark.parametrize("twice", [False, True])
def test_nodes_are_named_after_the_rewrite_and_apart_from_those_of_before(twice: bool) -> None:
    g = GraphBuilder()
    x = g.input("x", (2, 3))
    g.output(*(g.op("Neg", x) for _ in range(1 + twice)))
    run = Run(g.model(), Negations(AsDifference()))
    sites = {node.name.rsplit(":", 2)[-2] for node in run.model.nodes if node.op == "Add"}
    assert sites == {"attnfuse_negation_0_Add", "attnfuse_negation-2_0_Add"} if twice else {"attnfuse_negation_0_Add"}


def test_the_operators_that_go_with_a_root_are_reported() -> None:
    g = GraphBuilder()
    x = g.input("x", (2, 3))
    kept = g.op("Exp", g.op("Neg", x))
    g.output(g.add(g.muls(kept, 2.0), g.op("Sqrt", g.op("Sin", g.muls(kept, 3.0)))), kept)
    model = g.model()
    context = Context("unet", "unet", Policy(), LITE)
    assert rewrite(model, context, Effects.of(model), [Sums()])
    assert operators(model) == ["Neg", "Exp", "Abs", "MakeTuple"]
    assert context.legalised == [Legalised("Add", ("Abs",), ("Muls", "Sqrt", "Sin", "Muls"))]


def test_what_is_read_elsewhere_does_not_go_with_a_root() -> None:
    g = GraphBuilder()
    x = g.input("x", (2, 3))
    left, right = (g.muls(x, factor) for factor in (2.0, 3.0))
    g.output(g.add(left, right), right)
    model = g.model()
    context = Context("unet", "unet", Policy(), LITE)
    assert rewrite(model, context, Effects.of(model), [Sums()])
    assert operators(model) == ["Muls", "Abs", "MakeTuple"]
    assert context.legalised == [Legalised("Add", ("Abs",), ("Muls",))]


def test_what_one_rewrite_wrote_no_other_writes_over() -> None:
    model = negated()
    context = Context("unet", "unet", Policy(), LITE)
    first, second = Negations(AsProduct()), Negations(AsDifference())
    assert rewrite(model, context, Effects.of(model), [first, second])
    assert operators(model) == ["Mul"]
    assert [(done.op, done.into) for done in context.legalised] == [("Neg", ("Mul",))]
    assert (len(first.outcomes), second.outcomes) == (1, [])
