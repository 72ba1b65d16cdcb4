"""Taking tensors apart and putting them together: pieces of an axis, stacks, grids.

Argument orders: MindSpore 2.7.1's operator definitions (`mindspore/ops/op_def/yaml`). The operators named `…View` take
the state of effects as an argument more, and give other names to the memory they read; what stands for them copies, so
they are replaced only where nothing changes that memory.
"""

from __future__ import annotations

from attnfuse.api import UNKNOWN_DIM, Result, TensorType, cannot
from attnfuse_passes.legalise import nodes
from attnfuse_passes.legalise.rules import RuleContext, legalises


@legalises("Chunk", "ChunkView", "SplitTensor", "SplitTensorView", "SplitWithSize", "SplitWithSizeView")
def pieces(at: RuleContext) -> Result:
    """(x, number, size or sizes of the pieces, axis): Split where the pieces are equal, else a StridedSlice each.

    The sizes are read off the node's type: Chunk's last piece may be smaller, and there may be fewer than asked for.
    """
    at.unshared()
    types = at.outs
    axis = at.axis(2, at.type(0).rank)
    sizes = [tensor_type.dims[axis] for tensor_type in types]
    if min(sizes) < 0:
        raise cannot("the size of a piece is not known before run time")
    if (total := at.type(0).dims[axis]) not in (UNKNOWN_DIM, sum(sizes)):  # where the sizes are no constant
        raise cannot(f"its pieces have {sum(sizes)} elements in all, and its input has {total}")
    x = at.input(0)
    if len(sizes) == 1:
        return (x,)
    if len(set(sizes)) == 1:
        return at.build.op("Split", x, at.build.constant(axis), at.build.constant(len(sizes)))
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return tuple(nodes.part(at.build, x, axis, start, start + size) for start, size in zip(starts, sizes, strict=True))


@legalises("UnstackExtView")
def unstack(at: RuleContext) -> Result:
    """(x, axis): the slices along an axis, without it. Unstack keeps axis and number as attributes."""
    at.unshared()
    axis = at.axis(1, at.type(0).rank)
    attributes = (nodes.whole("num", len(at.outs)), nodes.whole("axis", axis))
    return at.build.op("Unstack", at.input(0), prim_type=at.build.PRIMITIVE, attributes=attributes)


@legalises("StackExt")
def stack(at: RuleContext) -> Result:
    """(tensors, axis of the result): Stack keeps its arguments as attributes; Lite gives it what MakeTuple joins."""
    return _stacked(at, at.axis(1, at.out.rank))


@legalises("Stack")
def stack_of_a_result(at: RuleContext) -> Result:
    """(tensors) and the attribute axis, of a tuple that another operator than MakeTuple makes."""
    axis = at.attribute("axis")
    if not isinstance(axis, int):
        raise cannot("it has no attribute axis")
    return _stacked(at, axis % at.out.rank)


@legalises("Concat")
def join(at: RuleContext) -> Result:
    """(tensors, axis): of a tuple that another operator than MakeTuple makes, of booleans, or with empty tensors."""
    axis = at.axis(1, at.out.rank)
    values = [value for value in at.elements(0) if 0 not in at.build.type_of(value).dims]
    if not values:
        raise cannot("it joins nothing")
    if len(values) > 1:
        return nodes.concat(at.build, values, axis)
    if {at.node.name, values[0]} & at.effects.mutated:
        raise cannot("what it reads or gives is changed in place")
    return values[0]


def _stacked(at: RuleContext, axis: int) -> str:
    values = at.elements(0)
    tensors = nodes.make_tuple(at.build, values)
    attributes = (nodes.whole("num", len(values)), nodes.whole("axis", axis), nodes.whole("N", len(values)))
    return at.build.op("Stack", tensors, prim_type=at.build.PRIMITIVE, attributes=attributes)


@legalises("Meshgrid")
def grid(at: RuleContext) -> Result:
    """(vectors, indexing 0 "ij" or 1 "xy"): vector i spread over axis i; "xy" swaps the first two axes.

    The operator has an adapter, but Lite does not expand a tuple for it.
    """
    vectors, types = at.elements(0), at.outs
    indexing = at.integer(1)
    if indexing not in (0, 1):
        raise cannot(f"its indexing is {indexing}, neither 0 nor 1")
    if not all(tensor_type.is_static for tensor_type in types):
        raise cannot("its sizes are not known before run time")
    swapped = indexing == 1 and len(types) > 1
    return tuple(
        _spread(at, vector, tensor_type, 1 - i if swapped and i < 2 else i)
        for i, (vector, tensor_type) in enumerate(zip(vectors, types, strict=True))
    )


def _spread(at: RuleContext, vector: str, tensor_type: TensorType, axis: int) -> str:
    dims = [1] * tensor_type.rank
    dims[axis] = tensor_type.dims[axis]
    return at.build.broadcast(at.build.reshape(vector, dims), tensor_type.dims)
