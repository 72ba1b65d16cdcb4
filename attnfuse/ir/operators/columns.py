"""The columns of the operator table that are no types: what becomes of values and memory, which sort a node is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypedDict


class Hands(Enum):
    """What an operator does with the numbers of an argument."""

    COMPUTED = "makes new numbers"
    SAME = "hands on the same numbers, of the same type and shape"
    CONVERTED = "hands on the same numbers as another element type holds them"
    REGROUPED = "hands on each number once, in the same row-major order, in axes of other sizes"
    MOVED = "hands on each number once, in another order"
    REPEATED = "hands on each number, some several times"
    PICKED = "hands on some of the numbers"
    JOINED = "hands on the numbers of several values"


@dataclass(frozen=True, slots=True)
class Value:
    """What of the result is handed on, and from which argument (empty for COMPUTED)."""

    hands: Hands
    argument: str = ""


COMPUTED = Value(Hands.COMPUTED)


def same(argument: str) -> Value:
    """The argument itself."""
    return Value(Hands.SAME, argument)


def converted(argument: str) -> Value:
    """The argument in another element type."""
    return Value(Hands.CONVERTED, argument)


def regrouped(argument: str) -> Value:
    """Each number of the argument, once, in the same order."""
    return Value(Hands.REGROUPED, argument)


def moved(argument: str) -> Value:
    """Each number of the argument, once, in another order."""
    return Value(Hands.MOVED, argument)


def repeated(argument: str) -> Value:
    """Each number of the argument, once or several times."""
    return Value(Hands.REPEATED, argument)


def picked(argument: str) -> Value:
    """Some numbers of the argument."""
    return Value(Hands.PICKED, argument)


def joined(argument: str) -> Value:
    """The numbers of all elements of the argument."""
    return Value(Hands.JOINED, argument)


class Effect(Enum):
    """What an operator does with memory."""

    FRESH = "gives memory of its own"
    ALIAS = "may give the memory of an argument under another name"
    WRITES = "changes an argument in place, and gives it back"
    READS = "gives what an argument's memory holds at this place in the order of effects"
    ORDERS = "gives no numbers: it only orders effects"


@dataclass(frozen=True, slots=True)
class Memory:
    """What becomes of memory, and whose. `unless_none` names an argument; where that is None the memory is FRESH."""

    effect: Effect
    argument: str = ""
    unless_none: str = ""


FRESH = Memory(Effect.FRESH)
ORDERS = Memory(Effect.ORDERS)


def alias(argument: str) -> Memory:
    """The result may be another name of the argument's memory."""
    return Memory(Effect.ALIAS, argument)


def writes(argument: str, *, unless_none: str = "") -> Memory:
    """The argument is changed in place."""
    return Memory(Effect.WRITES, argument, unless_none)


def reads(argument: str) -> Memory:
    """The result is the argument as it is when the node's turn comes."""
    return Memory(Effect.READS, argument)


class Kernel(Enum):
    """Of which sort the work is, for whoever estimates it."""

    VIEW = "no bytes are moved"
    MOVE = "bytes are read and written, nothing is computed"
    ELEMENTWISE = "each element by itself"
    REDUCE = "an axis is summed up"
    NORM = "statistics of an axis, then each element"
    SOFTMAX = "largest, sum and quotient of an axis"
    PRODUCT = "a matrix product"
    CONVOLUTION = "a convolution"
    ATTENTION = "a fused attention"
    CREATE = "written without reading"
    HOST = "numbers and order, no device"


class HandedOn(TypedDict):
    """What becomes of value and memory, and the work it is, of an operator that hands numbers on."""

    value: Value
    memory: Memory
    kernel: Kernel


def as_view(value: Value) -> HandedOn:
    """The columns of what may give the argument's memory under another name: nothing is moved."""
    return {"value": value, "memory": alias(value.argument), "kernel": Kernel.VIEW}


def as_copy(value: Value) -> HandedOn:
    """The columns of what writes the numbers to memory of its own."""
    return {"value": value, "memory": FRESH, "kernel": Kernel.MOVE}


class Role(Enum):
    """What an operator is to those who ask for a sort of it."""

    PRODUCT = "a product of two matrices"
    PROJECTION = "a product with a learned matrix, and a bias"
    NORM = "a normalisation"
    SOFTMAX = "a softmax"
    EXPONENTIAL = "a power whose exponent is computed: a softmax may be made of it"
    LOOKUP = "a look-up in a table"
    TUPLE = "puts values together, or takes them apart"
    NAN_TEST = "tells NaN from numbers"
    FUSED_ATTENTION = "a whole attention"
