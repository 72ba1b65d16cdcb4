"""Which axes keep a size that is only known at run time, where a graph asks a tensor for its shape and reshapes by it.

    Reshape(x: [2, 3, ?, 8], (-1, Shape(x)[2], 8)) -> [?, ?, 8]        (2·3) (length) (8), however long it is

Two sizes are the same only where one is read from the other through nodes that keep that axis: two unknown sizes of
different tensors never are.
"""

from __future__ import annotations

from attnfuse.api import UNKNOWN_DIM, Hands, Model, Node, hands, makes_tuple, source, takes_element
from attnfuse_passes.attention.identities.layout import integers

_DEEPEST = 32
_KEPT = frozenset({Hands.SAME, Hands.CONVERTED})


def kept_axes(model: Model, reshape: Node) -> dict[int, int]:
    """Of the axes of the result whose size is not known, those of which the graph says that they are an axis of the
    first input: the axis there, by that of the result."""
    value, sizes = reshape.inputs[0], model.producer(reshape.inputs[1]) if len(reshape.inputs) > 1 else None
    before, after = model.type_of(value), model.type_of(reshape.name)
    if before is None or after is None or sizes is None or not makes_tuple(sizes) or len(sizes.inputs) != after.rank:
        return {}
    own = {_origin(model, value, axis): axis for axis, dim in enumerate(before.dims) if dim == UNKNOWN_DIM}
    found = {}
    for axis, (dim, size) in enumerate(zip(after.dims, sizes.inputs, strict=True)):
        asked = _asked(model, size) if dim == UNKNOWN_DIM else None
        if asked in own:
            found[axis] = own[asked]
    return found


def _asked(model: Model, size: str) -> tuple[str, int] | None:
    """The tensor and its axis whose size the value is; of a tensor that keeps it, the first."""
    element = model.producer(size)
    if element is None or not takes_element(element):
        return None
    shape, index = model.producer(element.inputs[0]), _number(model, element.inputs[1])
    if shape is None or shape.op != "Shape" or index is None:
        return None
    known = model.type_of(shape.inputs[0])
    return None if known is None or not 0 <= index < known.rank else _origin(model, shape.inputs[0], index)


def _origin(model: Model, value: str, axis: int) -> tuple[str, int]:
    """The first tensor, and its axis, that the size comes from through nodes that keep the axis."""
    for _ in range(_DEEPEST):
        node = model.producer(value)
        before = None if node is None else _before(model, node, axis)
        if node is None or before is None:
            break
        value, axis = before
    return value, axis


def _before(model: Model, node: Node, axis: int) -> tuple[str, int] | None:
    """The node's input and the axis of it that is its result's; None where it is none's."""
    handed = source(node, _KEPT)
    if handed is not None and hands(node) in _KEPT:
        before, after = model.type_of(handed), model.type_of(node.name)
        return (handed, axis) if before is not None and after is not None and before.dims == after.dims else None
    if not node.inputs:
        return None
    value = node.inputs[0]
    known = model.type_of(value)
    argument = integers(model, node.inputs[1]) if len(node.inputs) > 1 else None
    if known is None:
        return None
    if node.op == "Reshape":
        return _through_reshape(model, node, axis)
    if argument is None:
        return None
    if node.op == "Transpose" and sorted(a % known.rank for a in argument) == list(range(known.rank)):
        return value, argument[axis] % known.rank
    if node.op == "ExpandDims" and len(argument) == 1:
        added = argument[0] % (known.rank + 1)
        return None if axis == added else (value, axis - (axis > added))
    if node.op == "Tile" and len(argument) == known.rank and argument[axis] == 1:
        return value, axis
    return None


def _through_reshape(model: Model, node: Node, axis: int) -> tuple[str, int] | None:
    """The one unknown size of either shape, where the known ones have the same product."""
    before, after = model.type_of(node.inputs[0]), model.type_of(node.name)
    if before is None or after is None or before.dims.count(UNKNOWN_DIM) != 1 or after.dims.count(UNKNOWN_DIM) != 1:
        return None
    products = []
    for dims in (before.dims, after.dims):
        product = 1
        for dim in dims:
            product *= 1 if dim == UNKNOWN_DIM else dim
        products.append(product)
    if axis != after.dims.index(UNKNOWN_DIM) or products[0] != products[1] or products[0] == 0:
        return None
    return node.inputs[0], before.dims.index(UNKNOWN_DIM)


def _number(model: Model, value: str) -> int | None:
    numbers = integers(model, value)
    return numbers[0] if numbers is not None and len(numbers) == 1 else None
