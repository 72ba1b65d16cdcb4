"""What hides a key: how far below every score a number has to be, and when a score is lost beside it.

Two questions are asked of a finite number c that masks a score s.

* *Filled in* (where(mask, c, s)): the key's weight is exp(c − m) of the row's largest score m, and 0 in every type
  where s > c/2 for all scores, as HIDING bounds c. The types that the scores go through may bound them so; else it is
  assumed of them, the report says so, and verification holds it against the largest score that it meets. A fill nearer
  to 0 than HIDING is a score.
* *Added* (s + c), in a row whose keys all have it: exact numbers have softmax(s) there, and the type of the sum has
  what it keeps of s. From −LOST/u on (u: its unit roundoff) neighbouring numbers are 8 apart or more, and scores below
  4 are lost: all sums are equal, and the row is the mean of value. From there on an added number is taken as what its
  type makes of it; between FELT and LOST neither reading is right, so no such row may exist.
"""

from __future__ import annotations

import math

from attnfuse.api import DType, Model, Role, role
from attnfuse_passes.attention.mask_values import is_learned

HIDING = -1000.0
"""A fill is no nearer to 0 than that, the nearest to 0 that is in use to hide keys: no score is meant to reach it.

Half of it still leaves a key no weight: exp(−500) is 0 in every type that scores have.
"""

LOST = 4.0
"""Scores below it are lost in the sum with a number of −LOST / unit roundoff or less."""

MASKING = -100.0
"""An added number nearer to 0 is a bias: it hides no key."""

FELT = 2.0**-7
"""A loss of less does not matter: to that many bits float16 and bfloat16 round scores around 1 themselves."""


ABSORBING = -1e30
"""An added number that absorbs every score there may be.

Products of float16 query and key stay below 65504² · 512 ≈ 2.2e12 and float32 keeps 24 bits: adding anything beyond
1e30 absorbs them whole. float16 has no such number, so its smallest one is a bias like any other.
"""

_DEPTH = 8

_SUMS = ("Add", "AddExt", "Sub", "SubExt", "InplaceAddExt")


def half_spacing(number: float, dtype: DType) -> float:
    """Half of the distance to the neighbours of a number in a type: what is smaller is lost when it is added."""
    if not number or math.isinf(number):
        return math.inf if number else 0.0
    return float(2.0 ** (math.frexp(number)[1] - 1) * dtype.unit_roundoff)


def absorbing(dtype: DType) -> float:
    """The smallest magnitude that absorbs scores when it is added in that type."""
    return LOST / dtype.unit_roundoff


def hides_from(dtype: DType) -> float:
    """From which number on an added one is read as a mask: where the type loses the scores in it, and holds it well.

    −10⁴ in float16 or bfloat16 is lost in, too, but costs nothing as the bias that it is.
    """
    return ABSORBING if dtype.is_low_precision else -absorbing(dtype)


def is_weighed(model: Model, value: str, depth: int = _DEPTH) -> bool:
    """Whether a bias is made by a product or holds elements of weights: it is learned, and masks no row whole.

    A sum is learned where all its summands are.
    """
    node = model.producer(value)
    if is_learned(model, value) or (node is not None and role(node) in (Role.PRODUCT, Role.PROJECTION)):
        return True
    if node is None or depth == 0:
        return False
    tensors = [name for name in node.inputs if not model.is_literal(name)]
    weighed = [is_weighed(model, name, depth - 1) for name in tensors]
    return bool(weighed) and (all(weighed) if node.op in _SUMS else any(weighed))
