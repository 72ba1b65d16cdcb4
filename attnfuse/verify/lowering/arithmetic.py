"""The types in which values are held and rounded: the four arithmetics, and what a fused node rounds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType


class Arithmetic(Enum):
    """NATIVE: the graph's own types, emulated. EXACT: float64 throughout, casts between floats dropped.

    FINER: as EXACT, but each value in a type at least 2^13 times as fine as its own: float32 for the 16-bit types,
    float64 for the others.
    PLAIN: float32 throughout, casts between floats dropped: no copies that only emulate, so memory can be measured.
    """

    NATIVE = "native"
    EXACT = "exact"
    FINER = "finer"
    PLAIN = "plain"

    @property
    def is_formula(self) -> bool:
        """Whether it computes what a formula means, and not what a kernel of it rounds."""
        return self in (Arithmetic.EXACT, Arithmetic.FINER)

    def carry(self, dtype: DType) -> DType:
        """The type in which values of `dtype` are held."""
        if not dtype.is_float:
            return dtype
        fine = self is Arithmetic.EXACT or (self is Arithmetic.FINER and not dtype.is_low_precision)
        return dtypes.FLOAT64 if fine or dtype is dtypes.FLOAT64 else dtypes.FLOAT32


def first_infinite(dtype: DType) -> float:
    """The least number that rounds to infinity: half a unit in the last place beyond the largest one."""
    unit = dtype.unit_roundoff
    return dtype.largest * (1 + unit / (2 - 2 * unit))


@dataclass(frozen=True, slots=True)
class Rounding:
    """What a fused node that computes in `dtype` has to round, laid upon one node of the formula it stands for.

    `operands` are positions of operands that are rounded first. `stored` is for the softmax: the nodes between the
    product that made the scores and the softmax, in order, that product first; all they do to the scores but scale
    them is a bias, and the scores are moved by what storing it costs (`OnnxWriter.moved`). `added` is the coarsest
    type in which the formula itself holds the sum of scores and bias. `scores` is for a fused node: its scores are held
    in that type too. `level` is for the softmax: of sums that are −level or less in a whole row, the type has lost the
    scores, and they count alike (`OnnxWriter.levelled`); of a softmax that has `stored` too, that bias is left of them;
    and where there is a `limit`, a row with a score that large is not a number, and others stay as they are.
    """

    dtype: DType
    operands: tuple[int, ...] = ()
    result: bool = False
    stored: tuple[str, ...] = ()
    added: DType = dtypes.FLOAT32
    scores: bool = False
    level: float | None = None
    limit: float | None = None


def onnx_type(dtype: DType) -> int:
    """ONNX's number of the type, which is MindIR's: MindIR's schema is made from ONNX's."""
    return dtype.wire
