"""Arithmetic that changes nothing: products with one and quotients by it, sums with nothing.

What broadcasts is no such thing: a factor of [2] makes two of one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from attnfuse.api import RewriteContext, TensorType
from attnfuse_passes.simplify.rules import Simpler, simplifies


@simplifies("Mul", "Muls")
def by_one(at: RewriteContext) -> Simpler | None:
    """x · 1 is x, for every x."""
    for position, other in ((0, 1), (1, 0)):
        if _keeps(at, position) and _is_all(_constant(at, other), 1):
            return Simpler("a product with one", at.input(position))
    return None


@simplifies("Div", "Divs", "RealDiv")
def over_one(at: RewriteContext) -> Simpler | None:
    """x / 1 is x, for every x; of whole numbers the quotient is a fraction, of another type."""
    if _keeps(at, 0) and _is_all(_constant(at, 1), 1):
        return Simpler("a quotient by one", at.input(0))
    return None


@simplifies("Add", "Adds")
def plus_nothing(at: RewriteContext) -> Simpler | None:
    """x + 0 is x of whole numbers; of fractions only x + (−0) is, for −0 + 0 is 0."""
    for position, other in ((0, 1), (1, 0)):
        if _keeps(at, position) and _is_nothing(at, _constant(at, other), negative=True):
            return Simpler("a sum with nothing", at.input(position))
    return None


@simplifies("Sub", "Subs")
def less_nothing(at: RewriteContext) -> Simpler | None:
    """x − 0 is x, for every x; x − (−0) is 0 for −0."""
    if _keeps(at, 0) and _is_nothing(at, _constant(at, 1), negative=False):
        return Simpler("a difference from nothing", at.input(0))
    return None


def _constant(at: RewriteContext, position: int) -> npt.NDArray[np.generic]:
    """The other operand, a constant that does not make more of the one that stays."""
    found = np.asarray(at.literal(position))
    one = at.type(1 - position)
    if not one.is_static and (found.size != 1 or found.ndim > one.rank):
        return np.zeros(0)
    return found


def _keeps(at: RewriteContext, position: int) -> bool:
    """Whether the result has the type of that operand, and its shape is no accident of sizes that are not known."""
    value_type = at.model.type_of(at.input(position))
    return isinstance(value_type, TensorType) and value_type == at.out and value_type.dtype.name != "bool"


def _is_all(found: npt.NDArray[np.generic], number: int) -> bool:
    return found.dtype.kind in "iufV" and found.size > 0 and bool((found == number).all())


def _is_nothing(at: RewriteContext, found: npt.NDArray[np.generic], *, negative: bool) -> bool:
    """Whether all are 0, and of a fraction of that sign."""
    if not _is_all(found, 0):
        return False
    signs = np.signbit(np.asarray(found, np.float64))
    return not at.out.dtype.is_float or bool((signs == negative).all())
