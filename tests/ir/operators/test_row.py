"""Rows and parameters as text: what is taken, and what is no row."""

from __future__ import annotations

import pytest

from attnfuse.ir.operators.arguments import Argument, Arguments, TypeMismatch, constant, parse_signature
from attnfuse.ir.operators.columns import FRESH, Effect, Hands, writes
from attnfuse.ir.operators.inference import broadcast, range_length, slice_length
from attnfuse.ir.operators.row import Operator, row
from attnfuse.ir.operators.table import OPERATORS, operator
from attnfuse.ir.types import ScalarType, Special, TensorType, agree, describe
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32, INT64

X = TensorType((2, 3), FLOAT16)


def arguments(signature: str, *inputs: Argument, **attributes: Argument) -> Arguments:
    return Arguments(parse_signature(signature), inputs, attributes.get)


def test_names_are_found_where_they_stand() -> None:
    a = arguments("x: tensor, axis: int, keep: bool = False; eps: float", Argument(X), constant(-1), eps=constant(0.5))
    a.check()
    assert a.tensor("x") == X
    assert a.integer("axis") == -1
    assert a.flag("keep") is False
    assert a.finite("eps") == 0.5
    with pytest.raises(KeyError):
        a.get("other")


def test_an_input_may_stand_among_the_attributes() -> None:
    a = arguments("x: tensor, axis: int", Argument(X), axis=constant(1))
    a.check()
    assert a.integer("axis") == 1


@pytest.mark.parametrize(
    ("signature", "inputs", "sentence"),
    [
        ("x: tensor, axis: int", (Argument(X),), "lacks its argument axis"),
        ("x: tensor; eps: float", (Argument(X),), "lacks its argument eps"),
        ("x: tensor", (constant(2),), "has 2 as its x; it takes a tensor"),
        ("x: tensor", (constant(None),), "lacks its argument x"),
        ("x: tensor", (Argument(X), constant(1)), "has 2 arguments; it takes 1"),
        ("x: tensor, axis: int = 0", (Argument(X), constant(1), constant(1)), "has 3 arguments; it takes 1 to 2"),
        ("axis: int", (constant(0.5),), "has 0.5 as its axis; it takes a whole number"),
        ("axes: ints", (constant((1, "a")),), "has (1, 'a') as its axes; it takes whole numbers"),
        ("keep: bool", (constant(1.5),), "has 1.5 as its keep; it takes a truth value"),
        ("x: tensor, state: monad", (Argument(X),), "changes memory, and no monad orders it"),
        (
            "values: tensors",
            (Argument((X, Special.MONAD)),),
            "has (float16[2, 3], a monad) as its values; it takes a tuple",
        ),
    ],
)
def test_wrong_arguments_are_told(signature: str, inputs: tuple[Argument, ...], sentence: str) -> None:
    with pytest.raises(TypeMismatch, match=r"\A") as caught:
        arguments(signature, *inputs).check()
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    "args", ["x", "x: unheard", "x: tensor, x: int", "x: any..., y: int", "x: tensor; y: any...", "x tensor"]
)
def test_what_is_no_signature(args: str) -> None:
    with pytest.raises(ValueError, match=r"parameter|goes on"):
        parse_signature(args)


def test_columns_name_parameters() -> None:
    with pytest.raises(ValueError, match="Odd has no parameter other"):
        row("Odd", "x: tensor", lambda a: None, memory=writes("other"), examples=())


def test_a_monad_may_follow_any_arguments() -> None:
    arguments("x: tensor", Argument(X), Argument(Special.MONAD)).check()


def test_an_operator_without_a_row_is_opaque() -> None:
    unknown = operator("Unheard")
    assert unknown.is_opaque
    assert (unknown.value.hands, unknown.memory, unknown.role) == (Hands.COMPUTED, FRESH, None)
    assert unknown.result(Arguments(unknown.signature, [Argument(X), constant(3)], lambda name: None)) is None
    for name, effect in (
        ("InplaceUnheard", Effect.WRITES),
        ("AssignUnheard", Effect.WRITES),
        ("ScatterUnheard", Effect.WRITES),
        ("UnheardView", Effect.ALIAS),
    ):
        memory = operator(name).memory
        assert (memory.effect, operator(name).input(memory.argument)) == (effect, 0)


def test_names_tell_of_memory_what_their_rows_do() -> None:
    """The default for operators without a row would be right for all that have one, but for a copy by its name."""
    told_by_name = {"Inplace": Effect.WRITES, "Assign": Effect.WRITES}
    for prefix, effect in told_by_name.items():
        assert {row.memory.effect for name, row in OPERATORS.items() if name.startswith(prefix)} == {effect}
    views = {row.name for row in OPERATORS.values() if row.name.endswith("View")}
    assert {OPERATORS[name].memory.effect for name in views} == {Effect.ALIAS}
    assert OPERATORS["Scatter"].memory == FRESH


@pytest.mark.parametrize("one", list(OPERATORS.values()), ids=list(OPERATORS))
def test_what_changes_memory_takes_a_monad(one: Operator) -> None:
    if one.memory.effect is Effect.WRITES and not one.memory.unless_none:
        assert one.signature.takes_monad


def test_the_sizes_a_slice_takes_are_those_of_python() -> None:
    places = [None, -9, -2, -1, 0, 1, 3, 5, 9]
    for size in (0, 1, 5):
        for low in places:
            for high in places:
                for step in (-3, -1, 1, 2):
                    assert slice_length(size, low, high, step) == len(range(size)[low:high:step])


def test_counting_is_bounded_by_nothing() -> None:
    assert range_length(-(2**63), 2**63, 1) == 2**64
    assert [range_length(0, 10, 3), range_length(10, 0, -3), range_length(0, 10, -1)] == [4, 4, 0]


def test_shapes_broadcast_with_open_sizes() -> None:
    assert broadcast((2, -1), (5,)) == (2, 5)
    assert broadcast((2, -1), (1,)) == (2, -1)
    assert broadcast((-1,), (3, -1)) == (3, -1)
    with pytest.raises(TypeMismatch, match=r"\[2, 3\] and \[1, 4\]"):
        broadcast((2, 3), (4,))


def test_kinds_agree_but_for_what_is_open() -> None:
    assert agree(X, TensorType((-1, 3), FLOAT16))
    assert agree((X, None), (X, ScalarType(INT64)))
    assert not agree(X, TensorType((2, 3), FLOAT32))
    assert not agree(X, TensorType((2, 4), FLOAT16))
    assert not agree((X,), (X, X))
    assert not agree(X, (X,))


def test_a_tuple_that_holds_itself_many_times_is_told_in_short() -> None:
    value_type = (X,) * 3
    for _ in range(200):
        value_type = (value_type, value_type)  # type: ignore[assignment]
    assert len(describe(value_type)) < 200
    value = Argument(value_type, constant((1,)).value)
    with pytest.raises(TypeMismatch) as caught:
        arguments("x: tensor", value).check()
    assert len(str(caught.value)) < 300
