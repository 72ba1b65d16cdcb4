"""Graphs around one operator, said in a line: what the cases of most families are made of.

May import `tests.support`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import FLOAT32, DType
from tests.support.graphs import PRIMITIVE, GraphBuilder, fill_literal

STATE = object()
"""As an argument: the state before any effect."""


@dataclass(frozen=True)
class In:
    """An input of the graph as an argument."""

    name: str
    dims: tuple[int, ...]
    dtype: DType = FLOAT32


@dataclass(frozen=True)
class Join:
    """A tuple as an argument, made by MakeTuple."""

    parts: tuple[Any, ...]


Argument: TypeAlias = Any
"""STATE, an In, a Join, or a literal."""
Make: TypeAlias = Callable[[GraphBuilder], "str | tuple[str, ...]"]


def kind(*dims: int, dtype: DType = FLOAT32) -> TensorType:
    """A type in fewer letters."""
    return TensorType(dims, dtype)


def argument(g: GraphBuilder, value: Argument) -> str:
    """The value of an argument."""
    if value is STATE:
        return g.monad()
    if isinstance(value, In):
        return g.input(value.name, value.dims, value.dtype)
    if isinstance(value, Join):
        parts = [argument(g, part) for part in value.parts]
        return g.node("MakeTuple", parts, tuple(g.type_of(part) for part in parts), primitive=PRIMITIVE)
    return g.constant(value)


def gives(op: str, *arguments: Argument, out: TensorType, **attributes: Any) -> Make:
    """One operator of one result; with attributes it is a primitive that is no function."""

    def make(g: GraphBuilder) -> str:
        values = [argument(g, value) for value in arguments]
        if not attributes:
            return g.node(op, values, out)
        result = g.node(op, values, out, primitive=PRIMITIVE)
        entry = next(p for p in g.proto.primitives if p.op_type == op)
        for name, literal in attributes.items():
            fill_literal(entry.attribute.add(name=name), literal)
        return result

    return make


def gives_several(op: str, *arguments: Argument, outs: Sequence[TensorType], read: Sequence[int] | None = None) -> Make:
    """One operator of several results, each (or those to be read) an output of the graph."""

    def make(g: GraphBuilder) -> tuple[str, ...]:
        value = g.node(op, [argument(g, value) for value in arguments], tuple(outs))
        return tuple(g.tuple_get_item(value, i) for i in (range(len(outs)) if read is None else read))

    return make


def after(g: GraphBuilder, state: str, *values: str) -> str:
    """The state after what made each of the values, in order; a graph must read it to have these effects."""
    for value in values:
        state = g.node("UpdateState", [state, value], None, primitive=PRIMITIVE)
    return state


def load(g: GraphBuilder, value: str, state: str) -> str:
    """The value as it is in that state."""
    return g.node("Load", [value, state], g.type_of(value), primitive=PRIMITIVE)


def depend(g: GraphBuilder, value: str, state: str) -> str:
    """The value, once that state is reached."""
    return g.node("Depend", [value, state], g.type_of(value), primitive=PRIMITIVE)
