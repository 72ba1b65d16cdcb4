"""Identities of what is done to attention weights, or to anything else, and leaves every number as it is."""

from __future__ import annotations

from attnfuse.api import Model, Node, NotALiteralError, makes_tuple
from attnfuse_passes.attention.identities.layout import axis_of, integers
from attnfuse_passes.attention.identities.product import same_shape
from attnfuse_passes.attention.identities.registry import identity
from attnfuse_passes.attention.identities.scale import constant_factor
from attnfuse_passes.attention.identities.slices import read_slice
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


_KEEPS_ALL = {"Dropout": 1.0, "DropoutExt": 0.0}
"""What the second argument is where every element is kept: the probability to keep one, or to drop one."""


@identity(
    "weights.dropout",
    ops=("TupleGetItem",),
    identity="dropout that keeps every element: x",
    examples=(
        "TupleGetItem(Dropout(x: float32[2, 3], 1.0, 0, 0), 0)",
        "TupleGetItem(DropoutExt(x: float32[2, 3], 0.0, s: int64[1], o: int64[1]), 0)",
    ),
    counter_examples=(
        "TupleGetItem(DropoutExt(x: float32[2, 3], 1.0, s: int64[1], o: int64[1]), 0)",
        "TupleGetItem(DropoutExt(x: float32[2, 3], 0.1, s: int64[1], o: int64[1]), 0)",
        "TupleGetItem(DropoutExt(x: float32[2, 3], p: float32[], s: int64[1], o: int64[1]), 0)",
        "TupleGetItem(Dropout(x: float32[2, 3], 0.9, 0, 0), 0)",
        "TupleGetItem(Dropout(x: float32[2, 3], 1.0, 0, 0), 1)",
        "TupleGetItem(Dropout(x: float32[2, 3], k: float32[], 0, 0), 0)",
        "TupleGetItem(MaxDim(x: float32[2, 3], -1, True), 0)",
    ),
)
def dropout(model: Model, node: Node) -> tuple[str, Effect] | None:
    """The first result is the operand, the second tells which elements were kept."""
    made = model.producer(node.inputs[0])
    if made is None or made.op not in _KEEPS_ALL or len(made.inputs) < 2 or _index(model, node) != 0:
        return None
    value = made.inputs[0]
    kept = constant_factor(model, made.inputs[1]) == _KEEPS_ALL[made.op]
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
        "Concat((Slice(x: float32[2, 6], (0, 0), (2, 2)), Slice(x, (0, 2), (2, 4))), 1)",
        "Concat((SliceExt(x: float32[2, 6], 1, 0, 4, 1), Narrow(x, -1, -2, 2)), -1)",
        "Concat((Narrow(x: float32[2, 6], 1, 0, 2), StridedSlice(x, (0, -4), (2, 6), (1, 1), 0, 0, 0, 0, 0)), 1)",
        "Concat((StridedSlice(x: float32[2, 6], (1, 0), (0, 2), (1, 1), 1, 1, 0, 0, 0), Narrow(x, 1, 2, 4)), 1)",
    ),
    counter_examples=(
        "Concat((Slice(x: float32[2, 6], (0, 0), (2, 2)), Slice(x, (0, 3), (2, 3))), 1)",
        "Concat((Slice(x: float32[2, 6], (0, 0), (2, 3)), Slice(x, (0, 2), (2, 4))), 1)",
        "Concat((Slice(x: float32[2, 6], (0, 3), (2, 3)), Slice(x, (0, 0), (2, 3))), 1)",
        "Concat((Slice(x: float32[2, 6], (0, 0), (2, 3)), Slice(y: float32[2, 6], (0, 3), (2, 3))), 1)",
        "Concat((SliceExt(x: float32[2, 6], 1, 0, 6, 2), SliceExt(x, 1, 1, 6, 2)), 1)",
        "Concat((SliceExt(x: float32[2, 6], 1, 0, 3, 1), SliceExt(x, 1, 3, 6, 1)), 0)",
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
    if makes_tuple(made):
        value = _cut_up(model, made.inputs, axis)
        return (value, Same()) if value is not None and same_shape(model, node, value) else None
    tensor_type = model.type_of(made.inputs[0]) if made.op in _AXIS else None
    if tensor_type is None:
        return None
    value, rank = made.inputs[0], tensor_type.rank
    along = axis_of(integers(model, made.inputs[_AXIS[made.op]]), rank)
    if along is None or along != axis_of(axis, rank):
        return None
    return (value, Same()) if same_shape(model, node, value) else None


def _cut_up(model: Model, items: list[str], axis: tuple[int, ...]) -> str | None:
    """The value that these are pieces of along the axis, one behind the other from its beginning to its end."""
    first = model.type_of(items[0]) if items else None
    along = None if first is None else axis_of(axis, first.rank)
    if first is None or along is None:
        return None
    source, end = None, 0
    for name in items:
        piece = read_slice(model, name, along - first.rank)
        if piece is None or piece.start != end or piece.source != (source or piece.source):
            return None
        source, end = piece.source, piece.end
    whole = None if source is None else model.type_of(source)
    return source if whole is not None and whole.dims[along] == end else None


def _index(model: Model, item: Node) -> object:
    if len(item.inputs) < 2:
        return None
    try:
        return model.literal(item.inputs[1])
    except NotALiteralError:
        return None
