"""Types and the order of effects in fewer letters, for graphs around one operator."""

from __future__ import annotations

from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import FLOAT32, DType
from tests.support.graphs import PRIMITIVE, GraphBuilder


def kind(*dims: int, dtype: DType = FLOAT32) -> TensorType:
    """A type in fewer letters."""
    return TensorType(dims, dtype)


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
