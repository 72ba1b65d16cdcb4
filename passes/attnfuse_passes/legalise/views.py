"""Parts of a tensor along one axis, and regroupings that only rename it.

Argument orders: MindSpore 2.7.1's and 2.10.0's operator definitions, which agree. MindSpore 2.10 writes as views, named
`…View`, what 2.7 writes as copies; one takes the state of effects as an argument more, and gives another name to the
memory it reads. What stands here for it copies, so it is replaced only where nothing changes that memory.
"""

from __future__ import annotations

from attnfuse.api import UNKNOWN_DIM, Result, cannot
from attnfuse_passes.legalise import nodes
from attnfuse_passes.legalise.rules import RuleContext, legalises


@legalises("SliceExt", "SliceExtView")
def slice_of_axis(at: RuleContext) -> Result:
    """(x, axis, start, end, step): as Python slices, so an end beyond the last element is the last element."""
    axis, size = _axis(at)
    step = at.integer(4)
    if step < 1:
        raise cannot(f"its step is {step}")
    start, stop, _ = slice(at.integer(2), at.integer(3)).indices(size)
    if (start, stop, step) == (0, size, 1):
        return at.input(0)
    return nodes.part(at.build, at.input(0), axis, start, max(start, stop), step)


@legalises("Narrow", "NarrowView")
def narrow(at: RuleContext) -> Result:
    """(x, axis, start, length); a negative start counts from the end."""
    axis, size = _axis(at)
    start, length = at.integer(2), at.integer(3)
    start += size if start < 0 else 0
    if (start, length) == (0, size):
        return at.input(0)
    return nodes.part(at.build, at.input(0), axis, start, start + length)


@legalises("SelectExtView")
def one_of_axis(at: RuleContext) -> Result:
    """(x, axis, index): the axis goes; a negative index counts from the end."""
    axis, size = _axis(at)
    index = at.integer(2)
    index += size if index < 0 else 0
    return _regrouped(at, nodes.part(at.build, at.input(0), axis, index, index + 1))


@legalises("ViewAs", "ExpandDimsView")
def regrouped(at: RuleContext) -> Result:
    """(x, and a tensor of that shape or the new axis): the same numbers in the shape of the result."""
    at.unshared()
    return _regrouped(at, at.input(0))


@legalises("TransposeExtView")
def exchange(at: RuleContext) -> Result:
    """(x, axis, axis): the two change places."""
    at.unshared()
    rank = at.type(0).rank
    first, second = at.axis(1, rank), at.axis(2, rank)
    order = list(range(rank))
    order[first], order[second] = second, first
    return at.build.transpose(at.input(0), order)


def _axis(at: RuleContext) -> tuple[int, int]:
    """The axis of a view that is not changed in place, and its size. Raises MatchFailure where that is not known."""
    at.unshared()
    tensor_type = at.type(0)
    axis = at.axis(1, tensor_type.rank)
    if tensor_type.dims[axis] == UNKNOWN_DIM:
        raise cannot(f"axis {axis} of {tensor_type} is of a size not known before run time")
    return axis, tensor_type.dims[axis]


def _regrouped(at: RuleContext, value: str) -> str:
    if at.out.dims.count(UNKNOWN_DIM) > 1:
        raise cannot(f"{at.out} has sizes that are not known before run time")
    return at.build.reshape(value, at.out.dims)
