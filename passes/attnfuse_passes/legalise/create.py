"""Tensors made from nothing: constants, where everything about them is known; and random state that nothing reads.

Argument orders: MindSpore 2.7.1's operator definitions (`mindspore/ops/op_def/yaml`).
"""

from __future__ import annotations

import math

import numpy as np

from attnfuse.api import Result, cannot, effective_uses
from attnfuse_passes.legalise import nodes
from attnfuse_passes.legalise.rules import RuleContext, legalises

_NUMBERS = {"EmptyLike": 0, "Zeros": 0, "NewZeros": 0, "ZerosLikeExt": 0, "Ones": 1, "NewOnes": 1, "OnesLikeExt": 1}
_LIKE = {"ZerosLikeExt": "ZerosLike", "OnesLikeExt": "OnesLike"}


@legalises(*_NUMBERS)
def zeros_or_ones(at: RuleContext) -> Result:
    """(size, type), (x, size, type) or (x, type …): size and type are read off the result.

    EmptyLike may hold anything, so it may hold zeros, unless something sets them in place. The …LikeExt operators of
    unknown size are ZerosLike and OnesLike, which keep x's element type.
    """
    op = at.node.op
    if op == "EmptyLike":
        at.unshared()
    if at.out.is_static:
        return nodes.filled(at.build, at.out.dims, _NUMBERS[op], at.out.dtype)
    if op in _LIKE and at.type(0).dtype == at.out.dtype:
        return at.build.op(_LIKE[op], at.input(0))
    raise cannot(f"its result is {at.out}, of a size not known before run time")


_FILLS = {"FillScalar": 1, "FullLike": 1, "NewFull": 2, "FillTensor": 1}
"""Operator → position of the number."""


@legalises(*_FILLS)
def fill(at: RuleContext) -> Result:
    """(size, number, type); FullLike has a tensor for its size, NewFull one in front, FillTensor one for its number."""
    if not at.out.is_static:
        raise cannot(f"its result is {at.out}, of a size not known before run time")
    position = _FILLS[at.node.op]
    literal = at.literal(position)
    number = literal.item() if isinstance(literal, np.ndarray) and literal.size == 1 else at.number(position)
    return nodes.filled(at.build, at.out.dims, number, at.out.dtype)


@legalises("Eye")
def identity_matrix(at: RuleContext) -> Result:
    """(rows, columns, type): 1 on the diagonal."""
    rows, columns = at.integer(0), at.integer(1)
    if at.out.dims != (rows, columns) or not nodes.is_written(at.build, at.out.size):
        raise cannot(f"its result is {at.out}, of a size not known before run time, or too large for a constant")
    return at.build.tensor(np.eye(rows, columns), at.out.dtype)


@legalises("Arange")
def arange(at: RuleContext) -> Result:
    """(start, end, step, type): where each element is a number of its type, so that no kernel rounds it otherwise."""
    start, end, step = (at.number(position) for position in range(3))
    dtype = at.out.dtype
    if not all(math.isfinite(number) for number in (start, end, step)) or step == 0:
        raise cannot(f"it goes from {start} to {end} by {step}, which never ends")
    if at.out.dims != (max(math.ceil((end - start) / step), 0),) or not nodes.is_written(at.build, at.out.size):
        raise cannot(f"its result is {at.out}, of a size not known before run time, or too large for a constant")
    values = np.arange(start, end, step)
    if not np.array_equal(values, values.astype(dtype.numpy).astype(values.dtype)):
        raise cannot(f"its elements are no numbers of {dtype}, so how they round is the operator's matter")
    return at.build.tensor(values, dtype)


@legalises("LinSpaceExt")
def linear_space(at: RuleContext) -> Result:
    """(start, end, number, type): each element the number of its type that is nearest to it.

    An operator computes start + i · step in its own type, or in float32, and rounds as it goes: it may be off by more
    than the half of a last place that a constant is.
    """
    start, end, number = at.number(0), at.number(1), at.integer(2)
    if not at.out.dtype.is_float or at.out.dims != (number,) or not nodes.is_written(at.build, number):
        raise cannot(
            f"its result is {at.out}, of whole numbers or a size not known before run time, or too large for a constant"
        )
    with np.errstate(invalid="ignore", over="ignore"):
        return at.build.tensor(np.linspace(start, end, number), at.out.dtype)


@legalises("Generator")
def generator(at: RuleContext) -> Result:
    """(command, state …): random state that nothing reads, as transformers' models leave it behind."""
    if effective_uses(at.model, at.node.name):
        raise cannot("something reads its random state")
    return None
