"""The graph's own language: tuples, memory and its order, calls; and operators that only keep state."""

from __future__ import annotations

from attnfuse.ir.operators.arguments import Arguments, NotKnown, TypeMismatch
from attnfuse.ir.operators.columns import (
    ORDERS,
    Kernel,
    Role,
    alias,
    joined,
    picked,
    reads,
    same,
    writes,
)
from attnfuse.ir.operators.inference import same_as, type_of_argument
from attnfuse.ir.operators.row import CLASSIC, CORE, OTHER, Operator, row
from attnfuse.ir.types import Special, ValueType


def _tuple(a: Arguments) -> ValueType:
    return tuple(element.value_type for element in a.rest("elements"))


def _element(a: Arguments) -> ValueType:
    """A negative place counts from the end."""
    value_type, place = a.value_type("input"), a.integer("index")
    if value_type is None:
        raise NotKnown("input")
    if not isinstance(value_type, tuple):
        raise TypeMismatch("takes an element of what is no tuple")
    if not -len(value_type) <= place < len(value_type):
        raise TypeMismatch(f"reads element {place} of {len(value_type)}")
    return value_type[place]


def _not_known(a: Arguments) -> ValueType:
    raise NotKnown("inputs")


def _makes_tuple(name: str, source: str = CORE) -> Operator:
    return row(
        name,
        "elements: any...",
        _tuple,
        value=joined("elements"),
        memory=alias("elements"),
        kernel=Kernel.HOST,
        role=Role.TUPLE,
        examples=(f"{name}(x: float16[2], 3) -> (float16[2], int64)",),
        source=source,
    )


ROWS: tuple[Operator, ...] = (
    _makes_tuple("MakeTuple"),
    _makes_tuple("make_list"),
    _makes_tuple("MakeList", OTHER),
    row(
        "TupleGetItem",
        "input: any, index: int",
        _element,
        value=picked("input"),
        memory=alias("input"),
        kernel=Kernel.HOST,
        role=Role.TUPLE,
        examples=(
            "TupleGetItem((x: float16[2], y: float16[3]), -1) -> float16[3]",
            "refused: TupleGetItem((x: float16[2], y: float16[3]), 2)",
        ),
        source=CORE,
    ),
    row(
        "Load",
        "ref: tensor, state: monad",
        same_as("ref"),
        value=same("ref"),
        memory=reads("ref"),
        kernel=Kernel.HOST,
        examples=("Load(w: parameter float16[2], u: monad) -> float16[2]",),
        source=CORE,
    ),
    row(
        "Depend",
        "value: any, expr: any",
        type_of_argument("value"),
        value=same("value"),
        memory=alias("value"),
        kernel=Kernel.HOST,
        examples=(
            "Depend(x: float16[2], y: float16[3]) -> float16[2]",
            "Depend((x: float16[2], y: float16[3]), z: float16[3]) -> (float16[2], float16[3])",
        ),
        source=CORE,
    ),
    row(
        "UpdateState",
        "state: monad?, values: any...",
        lambda a: Special.MONAD,
        memory=ORDERS,
        kernel=Kernel.HOST,
        examples=("UpdateState(u: monad, x: float16[2]) -> monad",),
        source=CORE,
    ),
    row(
        "Partial",
        "function: function, values: any...",
        lambda a: Special.FUNCTION,
        kernel=Kernel.HOST,
        examples=("Partial(f: function, x: float16[2]) -> function",),
        source=CORE,
    ),
    row(
        "Switch",
        "condition: any, yes: any, no: any",
        _not_known,
        kernel=Kernel.HOST,
        examples=("Switch(n: bool, f: function, g: function) -> unknown",),
        source=CORE,
    ),
    row(
        "Generator",
        "cmd: int, inputs: any, state: monad",
        _not_known,
        memory=writes("inputs"),
        kernel=Kernel.HOST,
        examples=("Generator(0, (x: int64[1], y: int64[1]), u: monad) -> unknown",),
        source=CLASSIC,
    ),
)
