"""The normal form every spelling is read into: softmax(scale · QKᵀ + bias) V, with its axes told apart.

All views live in one `Space`, so an atom that query and key share is the same batch or head index. `batch` is the
view of the indices that are neither sequence nor head size; which of them are heads is decided when a node is written.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from attnfuse.api import DType, Node, Obligation, Peel
from attnfuse_passes.attention.axes import Atom, Axis, Space


@dataclass(slots=True)
class Operand:
    """Query, key or value: a value of the graph and how its axes enter the products.

    `view` names its view in the space, as the product uses it ([…batch, rows, columns] after any swap). `layouts` are
    values of the graph that hold exactly this operand's numbers in other layouts, each with the name of its view:
    what is written may start from any of them.
    """

    name: str
    value: str
    dtype: DType
    view: str
    layouts: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class BiasTerm:
    """factor · value is added to the scores; `view` has one axis per axis of the scores at that point."""

    value: str
    dtype: DType
    factor: float
    view: str
    at: str


@dataclass(frozen=True, slots=True)
class FillTerm:
    """`fill` stands in place of the scores where `condition` is `when`."""

    condition: str
    when: bool
    fill: float
    view: str
    at: str


@dataclass(slots=True)
class AttentionExpr:
    """One attention, proved equal to the region of the graph it was read from.

    `rows` and `columns` are the query and key sequences, `inner` the head size, `outer` that of value; `output` is the
    view of the anchor's value. `factors` are the constants whose float64 product is the scale.
    """

    space: Space
    softmax: Node
    anchor: Node
    query: Operand
    key: Operand
    value: Operand
    scores_dtype: DType
    output_dtype: DType
    score_bytes: int
    factors: list[float] = field(default_factory=list)
    terms: list[BiasTerm | FillTerm] = field(default_factory=list)
    nan_guard: bool = False
    interior: list[Node] = field(default_factory=list)
    peels: list[Peel] = field(default_factory=list)
    obligations: list[Obligation] = field(default_factory=list)
    heads_hint: int | None = None
    """How many of the batch atoms precede the head atoms, where a 4-D value of the region shows it."""

    @property
    def batch(self) -> Axis:
        """Batch and head atoms, outermost first."""
        return tuple(atom for axis in self.space["batch"].axes for atom in axis)

    def axis(self, name: str) -> Axis:
        """The atoms of "rows", "columns", "inner" or "outer"."""
        return self.space[name].axes[0]

    @property
    def scale(self) -> float:
        """Float64 product of the factors, in the order they were met."""
        total = 1.0
        for factor in self.factors:
            total *= factor
        return total


def flat(axes: tuple[Axis, ...]) -> list[Atom]:
    """All atoms of some axes in order."""
    return [atom for axis in axes for atom in axis]
