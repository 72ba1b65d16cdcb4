"""Whether a run in the next finer types can stand for the one in float64: `Arithmetic.FINER`.

A large graph of 16-bit types takes half of the memory in float32 and a third of the time. What float32 costs there is
not known without the run in float64; but the source's own error, which is known, is a measure of it. Every rounding of
the source to a type of unit roundoff u is one to 2⁻²⁴ in the finer run, at the same place, and goes the same way to the
output; so the finer run is off by about 2⁻²⁴/u of what the source is off by. Values of float32 in the source are held
in float64 there, so that the same is true of them. What goes by another rule is the rounding within the sums of a
product, which are float32 in both: `ACCUMULATED` covers it where it is of the size of the others, `COARSE` where the
source rounds next to nothing.

The finer run decides where all of this holds of every output (docs/verification.md):

* the source, the finer run and the fused graph's have nothing but finite numbers, and enough of them that errors which
  are independent do not hide a difference by chance;
* the fused graph's finer run differs from the original's by at most a half of what is allowed. Errors of the two runs
  that are not a difference of the graphs are as good as independent of it, so they add to it and take nothing away;
* the finer run's own error, as derived from the source's, is within a quarter of what is allowed;
* the source's own error is `COARSE` at least, so that the finer reference is no part of what is compared with it.

Where one does not hold both graphs are run in float64. A difference that float32 cannot show, such as what is added to
scores of −1e9, makes the source's own error a large one where its type is one of 16 bits, and is held in float64 where
it is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from attnfuse.ir.graph import Model
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.verify.graph.needed import needed_values

LARGE = 2**24
"""Elements that a graph computes, from which on float64 is worth avoiding."""
ACCUMULATED = 4
"""How many times a rounding's share the error of a finer run may be, for sums that are no finer in it."""
COARSE = 1024 * 2.0**-24
"""The source's error is no less: sums of float32 are off by a sixty-fourth of it at most."""
ENOUGH = 1024
"""Elements of an output over which independent errors have no common sign to speak of: 1/√1024 is 3 %."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of one output: how far the two finer runs are apart and may be, and how far the source is off at its own types,
    all relative; its elements, and whether all are finite in all runs."""

    apart: float
    allowed: float
    own: float
    elements: int
    finite: bool


def is_worth(*models: Model) -> bool:
    """Whether one of the graphs computes so much that float64 is worth avoiding, and all have types of 16 bits."""
    return all(map(_low, models)) and any(_elements(model) >= LARGE for model in models)


def decides(models: Iterable[Model], outputs: Iterable[Evidence]) -> bool:
    """Whether the finer runs of these graphs show that they agree, as float64 would."""
    finest = min(dtype.unit_roundoff for model in models for dtype in _low(model))
    share = ACCUMULATED * dtypes.FLOAT32.unit_roundoff / finest
    return all(
        output.finite
        and output.elements >= ENOUGH
        and output.apart <= output.allowed / 2
        and output.own * share <= output.allowed / 4
        and output.own >= COARSE
        for output in outputs
    )


def _low(model: Model) -> set[DType]:
    """The 16-bit types in which a graph computes."""
    types = (model.type_of(value) for value in needed_values(model))
    return {
        tensor_type.dtype for tensor_type in types if tensor_type is not None and tensor_type.dtype.is_low_precision
    }


def _elements(model: Model) -> int:
    types = (model.type_of(value) for value in needed_values(model))
    return sum(tensor_type.size for tensor_type in types if tensor_type is not None and tensor_type.is_static)
