"""Identities of what is done to attention weights, or to anything else, and leaves every number as it is."""

from __future__ import annotations

from attnfuse.api import Model, Node, NotALiteralError, makes_tuple, takes_element
from attnfuse_passes.attention.identities.layout import axis_of, integers
from attnfuse_passes.attention.identities.product import same_shape
from attnfuse_passes.attention.identities.registry import identity
from attnfuse_passes.attention.identities.scale import constant_factor
from attnfuse_passes.attention.identities.steps import Effect, Same
from attnfuse_passes.attention.uniform import uniform


@identity(
    "weights.times_one",
    ops=("Mul", "Muls", "Div", "Divs", "RealDiv"),
    identity="1 · x = x, x / 1 = x",
    examples=(
        "Muls(x: float32[2, 3], 1.0)",
        "Mul(OnesLike(x: float32[2, 3]), x)",
        "Mul(x: float32[2, 3], tensor float32[2, 1] 1.0)",
        "Div(x: float32[2, 3], tensor float32[] 1.0)",
        "RealDiv(x: float32[2, 3], tensor float32[3] 1.0)",
        "Divs(x: float32[2, 3], 1)",
    ),
    counter_examples=(
        "Muls(x: float32[2, 3], 0.999)",
        "Mul(x: float32[2, 3], y: float32[2, 3])",
        "Mul(x: float32[3], tensor float32[2, 3] 1.0)",
        "Div(tensor float32[] 1.0, x: float32[2, 3])",
        "Muls(x: int64[2, 3], 1)",
    ),
)
def times_one(model: Model, node: Node) -> tuple[str, Effect] | None:
    """By a tensor that is 1 everywhere, which does not enlarge x."""
    if len(node.inputs) != 2:
        return None
    sides = (node.inputs, node.inputs[::-1]) if node.op == "Mul" else (node.inputs,)
    for value, other in sides:
        if uniform(model, other) == 1.0 and same_shape(model, node, value):
            return value, Same()
    return None


@identity(
    "weights.dropout",
    ops=("TupleGetItem",),
    identity="dropout that keeps every element: x",
    examples=("TupleGetItem(Dropout(x: float32[2, 3], 1.0, 0, 0), 0)",),
    counter_examples=(
        "TupleGetItem(Dropout(x: float32[2, 3], 0.9, 0, 0), 0)",
        "TupleGetItem(Dropout(x: float32[2, 3], 1.0, 0, 0), 1)",
        "TupleGetItem(Dropout(x: float32[2, 3], k: float32[], 0, 0), 0)",
        "TupleGetItem(MaxDim(x: float32[2, 3], -1, True), 0)",
    ),
)
def dropout(model: Model, node: Node) -> tuple[str, Effect] | None:
    """The first result is the operand, the second tells which elements were kept."""
    made = model.producer(node.inputs[0])
    if made is None or made.op != "Dropout" or len(made.inputs) < 2 or _index(model, node) != 0:
        return None
    value = made.inputs[0]
    kept = constant_factor(model, made.inputs[1]) == 1.0
    return (value, Same()) if kept and same_shape(model, node, value) else None


_AXIS = {"Chunk": 2, "Split": 1, "SplitWithSize": 2, "SplitTensor": 2}
"""Operators that cut a tensor along an axis into all of its parts, and which argument it is."""


@identity(
    "weights.cut_and_joined",
    ops=("Concat",),
    identity="concat(split(x)) = x, along one axis",
    examples=(
        "Concat(Chunk(x: float32[2, 6], 2, 1), -1)",
        "Concat(Split(x: float32[2, 6], -1, 3), 1)",
        "Concat(SplitWithSize(x: float32[2, 6], (2, 4), 1), 1)",
        "Concat(SplitTensor(x: float32[2, 7], 3, 1), 1)",
        "c = Chunk(x: float32[2, 6], 2, 1); Concat((TupleGetItem(c, 0), TupleGetItem(c, 1)), 1)",
    ),
    counter_examples=(
        "Concat(Chunk(x: float32[2, 6], 2, 1), 0)",
        "c = Chunk(x: float32[2, 6], 2, 1); Concat((TupleGetItem(c, 1), TupleGetItem(c, 0)), 1)",
        "c = Chunk(x: float32[2, 6], 3, 1); Concat((TupleGetItem(c, 0), TupleGetItem(c, 1)), 1)",
        "c = Chunk(x: float32[2, 6], 2, 1); Concat((TupleGetItem(c, 0), TupleGetItem(c, 0)), 1)",
        "Concat((x: float32[2, 3], y: float32[2, 3]), 1)",
        "c = Chunk(x: float32[2, 6], 2, 1); Concat((TupleGetItem(c, 0), y: float32[2, 3]), 1)",
    ),
)
def cut_and_joined(model: Model, node: Node) -> tuple[str, Effect] | None:
    """Every part once, in order."""
    made = model.producer(node.inputs[0])
    axis = integers(model, node.inputs[1]) if len(node.inputs) > 1 else None
    if made is None or axis is None:
        return None
    cut: Node | None = made
    if makes_tuple(made):
        items = [model.producer(name) for name in made.inputs]
        cut = _cut_of(model, items)
    tensor_type = None if cut is None or cut.op not in _AXIS else model.type_of(cut.inputs[0])
    if cut is None or tensor_type is None:
        return None
    value, rank = cut.inputs[0], tensor_type.rank
    along = axis_of(integers(model, cut.inputs[_AXIS[cut.op]]), rank)
    if along is None or along != axis_of(axis, rank):
        return None
    return (value, Same()) if same_shape(model, node, value) else None


def _cut_of(model: Model, items: list[Node | None]) -> Node | None:
    """The node whose results are these, all of them in order."""
    cut: Node | None = None
    for position, item in enumerate(items):
        if item is None or not takes_element(item):
            return None
        made, index = model.producer(item.inputs[0]), _index(model, item)
        if made is None or index != position or (cut is not None and made.name != cut.name):
            return None
        cut = made
    types = None if cut is None else model.types_of(cut.name)
    return cut if isinstance(types, tuple) and len(types) == len(items) else None


def _index(model: Model, item: Node) -> object:
    if len(item.inputs) < 2:
        return None
    try:
        return model.literal(item.inputs[1])
    except NotALiteralError:
        return None
