"""An if and a while along paths: which there are, what is called how, and what cannot be run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from attnfuse.errors import VerificationError
from attnfuse.ir.graph import Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import BOOL, FLOAT32
from attnfuse.verify.graph import branches
from attnfuse.verify.graph.branches import Choice, along, following, has_branches, paths
from tests.support.graphs import PRIMITIVE, GraphBuilder

KIND = TensorType((2,), FLOAT32)
Body = Callable[[GraphBuilder, str, str], str]


class Branched:
    """A graph whose functions take a tensor and a condition, and give a tensor."""

    def __init__(self) -> None:
        self.g = GraphBuilder("top")
        self.first = 100

    def function(self, name: str, body: Body) -> str:
        b = GraphBuilder(name, first=self.first)
        self.first += 100
        b.output(body(b, b.input("x", KIND.dims, FLOAT32), b.input("c", (), BOOL)))
        made = b.build()
        known = {entry.name for entry in self.g.proto.primitives}
        self.g.proto.primitives.extend(entry for entry in made.primitives if entry.name not in known)
        function = self.g.proto.functions.add()
        function.CopyFrom(made.graph)
        function.name = name
        return name

    def model(self, body: Body) -> Model:
        g = self.g
        g.output(body(g, g.input("x", KIND.dims, FLOAT32), g.input("c", (), BOOL)))
        return g.model()


def called(b: GraphBuilder, callee: str, *arguments: str) -> str:
    name = b.node("Neg", list(arguments), KIND)
    b.graph.node[-1].op_type = f"REF::{callee}"
    return name


def chosen(b: GraphBuilder, condition: str, yes: str, no: str, *arguments: str) -> str:
    """What one of the functions gives; a name without arguments is handed on as it is."""
    parts = [b.node("Partial", [name, *arguments], None, primitive=PRIMITIVE) for name in (yes, no)]
    return called(b, b.node("Switch", [condition, *parts], None, primitive=PRIMITIVE))


def op(name: str) -> Body:
    return lambda b, x, c: b.op(name, x)


def an_if() -> Model:
    made = Branched()
    made.function("yes", op("Neg"))
    made.function("no", op("Exp"))
    return made.model(lambda b, x, c: b.op("Abs", chosen(b, c, "yes", "no", x, c)))


def nested() -> Model:
    """Of the second if one branch is never met where the first condition does not hold."""
    made = Branched()
    made.function("inner_yes", op("Neg"))
    made.function("inner_no", op("Exp"))
    made.function("outer_yes", lambda b, x, c: chosen(b, c, "inner_yes", "inner_no", x, c))
    made.function("outer_no", op("Sin"))
    return made.model(lambda b, x, c: chosen(b, c, "outer_yes", "outer_no", x, c))


def a_while() -> Model:
    """The header hands on the body, which calls it again, or what comes after."""
    made = Branched()
    made.function("body", lambda b, x, c: called(b, "header", b.op("Neg", x), b.op("LogicalNot", c)))
    made.function("after", op("Exp"))
    made.function("header", lambda b, x, c: chosen(b, c, "body", "after", x, c))
    return made.model(lambda b, x, c: called(b, "header", x, c))


def operators(model: Model) -> list[str]:
    return [node.op for node in model.nodes if node.op != "Constant"]


def choices(model: Model) -> list[list[bool]]:
    return [[choice.holds for choice in path.choices] for path in paths(model)]


def test_an_if_is_run_both_ways() -> None:
    model = an_if()
    assert has_branches(model)
    yes, no = paths(model)
    assert (operators(yes.model), operators(no.model)) == (["Neg", "Abs"], ["Exp", "Abs"])
    assert not has_branches(yes.model)
    # The condition is an output too.
    assert [output.name for output in yes.model.proto.graph.output][1:] == [model.proto.graph.input[1].name]
    assert yes.label.endswith(" true")


def test_every_branch_of_an_if_in_an_if_is_run() -> None:
    assert choices(nested()) == [[True, True], [False], [True, False]]
    assert branches.branches(nested()) == {choice for path in paths(nested()) for choice in path.choices}


def test_a_loop_runs_twice_and_its_nodes_are_told_apart() -> None:
    model = a_while()
    (path,) = paths(model)
    assert [choice.holds for choice in path.choices] == [True, True, False]
    assert operators(path.model) == ["Neg", "LogicalNot", "Neg", "LogicalNot", "Exp"]
    neg = [node for node in path.model.nodes if node.op == "Neg"]
    assert "_run2" in neg[1].name
    assert "_run" not in neg[0].name
    assert neg[1].inputs == [neg[0].name]
    assert path.origins[neg[1].name] == path.origins[neg[0].name] == neg[0].name
    assert len(path.model.proto.graph.output) == 1 + 3
    assert branches.in_all_runs(path, {neg[0].name: "float16"}) == {n.name: "float16" for n in neg}


def test_another_graph_follows_the_same_path() -> None:
    (path,) = paths(a_while())
    again = along(a_while(), following(path.choices))
    assert operators(again.model) == operators(path.model)
    with pytest.raises(VerificationError, match="decides something else"):
        along(an_if(), following(path.choices))
    with pytest.raises(VerificationError, match="decides something else"):
        along(a_while(), following(path.choices[:2]))


def test_what_is_decided_is_asked_with_the_graph_of_the_condition() -> None:
    asked = []

    def decide(switch: str, condition: str, graph: Callable[[], Model]) -> bool:
        model = graph()
        assert model.proto.graph.output[0].name == condition
        asked.append(operators(model))
        return len(asked) < 2

    path = along(a_while(), decide)
    assert asked == [[], ["Neg", "LogicalNot"]]
    assert path.choices == (Choice(path.choices[0].switch, True), Choice(path.choices[0].switch, False))


@pytest.mark.parametrize("bound", ["MOST_NODES", "MOST_CHOICES"])
def test_a_loop_without_an_end_is_refused(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(branches, bound, 50)
    with pytest.raises(VerificationError, match="in a loop that may not end; use --verify static"):
        along(a_while(), lambda *_: True)


def test_a_constant_condition_is_no_choice() -> None:
    made = Branched()
    made.function("yes", op("Neg"))
    made.function("no", op("Exp"))
    model = made.model(lambda b, x, c: chosen(b, b.constant(False), "yes", "no", x, c))
    (path,) = paths(model)
    assert path.choices == ()
    assert operators(path.model) == ["Exp"]


def test_a_function_that_is_handed_to_an_operator_is_refused() -> None:
    made = Branched()
    made.function("yes", op("Neg"))

    def body(b: GraphBuilder, x: str, c: str) -> str:
        part = b.node("Partial", ["yes", x, c], None, primitive=PRIMITIVE)
        return b.node("Abs", [part], KIND)

    with pytest.raises(VerificationError, match=r"Abs CNode_\d+:\d+ is given a function"):
        next(paths(made.model(body)))


def test_a_call_of_a_tensor_is_refused() -> None:
    made = Branched()
    with pytest.raises(VerificationError, match="calls what is no function of as many arguments"):
        next(paths(made.model(lambda b, x, c: called(b, b.op("Neg", x)))))
