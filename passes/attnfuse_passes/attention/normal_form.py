"""The normal form every attention is raised to: softmax(scale · QKᵀ + terms) V, with its axes told apart.

A formula and a fused node of the source become the same value. It names values of the graph and no nodes, so it says
all that deciding and writing need to know of the graph. An atom that query and key share is the same batch or head
index (see `axes.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from attnfuse.api import AppliedIdentity, DType, FailureReason, Form, FusedNodeFacts, Obligation, SiteFacts, TensorType
from attnfuse_passes.attention.axes import Atom, Axis, product

_TINY, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
"""The smallest and the largest normal number of float32."""


@dataclass(frozen=True, slots=True)
class Operand:
    """Query, key or value: a value of the graph, and the atoms of its axes in row-major order.

    `layouts` are values of the graph that hold exactly this operand's numbers, each with its axes and each made from
    the one before it: what is written may start from any of them. `value` is the first, or of a fused node the last.
    `shared` are those of them that are made whatever becomes of the attention, as others read them too.
    """

    value: str
    dtype: DType
    source: Axis
    layouts: tuple[tuple[str, tuple[Axis, ...]], ...]
    shared: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ResultView:
    """A value of the graph that holds exactly the result's numbers: its axes, and the element types they are rounded to
    on the way to it, in order."""

    value: str
    axes: tuple[Axis, ...]
    dtypes: tuple[DType, ...]


@dataclass(frozen=True, slots=True)
class AttentionAxes:
    """The atoms of each axis; several, or none, where the graph has it in parts, or of one element.

    `heads` are those of query. The leading ones, `kv_heads`, key and value have too; the rest repeat them in groups.
    Where no layout of the graph shows heads, all of them are in `batch` and `heads_known` is False.
    """

    batch: Axis
    heads: Axis
    kv_heads: Axis
    query_length: Axis
    key_length: Axis
    head_dim: Axis
    value_head_dim: Axis
    heads_known: bool = True


def _kept(dtype: DType, other: DType) -> float:
    """The largest number that `other` keeps of what is in `dtype`, with as many digits; 0 where it keeps none so."""
    return other.largest if other.unit_roundoff <= dtype.unit_roundoff else 0.0


@dataclass(frozen=True, slots=True)
class Bias:
    """factor · value is added to the scaled scores, in the element type `added_in`; `at` is the node that adds it.

    `source` are the atoms of the value in row-major order. A fused node's own bias has None: it is of the shape that
    fused nodes take. With `before_scale` it is added to the product before that is scaled. `clamped`: sums below the
    smallest number of `added_in` become that number. `inside` is the factor where the first cast, or the first
    subtraction from whole rows, lies behind: what multiplies the scores then meets other numbers. `beside` is the part
    of `factor` that the value alone is multiplied with where it is added; the rest meets the scores too. `peak` is the
    largest factor on the way to `factor`, 0 where there was none, and `narrowest` the largest number of the types that
    the sums are cast to behind, 0 if one keeps fewer digits.
    """

    value: str
    dtype: DType
    factor: float
    source: Axis | None
    added_in: DType
    at: str
    before_scale: bool = False
    clamped: bool = False
    inside: float | None = None
    beside: float = 1.0
    peak: float = 0.0
    narrowest: float = math.inf

    @property
    def behind(self) -> float:
        """What multiplies the scores too, behind the addition."""
        return self.factor / self.beside if self.beside else 1.0

    def times(self, factor: float) -> Bias:
        """What it is of scores that are multiplied behind it."""
        peak = max(self.peak, abs(self.factor), abs(self.factor * factor))
        return replace(self, factor=self.factor * factor, peak=peak)

    def at_least(self, low: float) -> Bias:
        """What it is of scores that are clamped behind it to the smallest number of their type."""
        return replace(self, clamped=True)

    def cast_to(self, dtype: DType) -> Bias:
        """What it is of scores that are cast behind it."""
        narrowest = min(self.narrowest, _kept(self.added_in, dtype))
        return replace(self if dtype == self.added_in else self.less(), narrowest=narrowest)

    def less(self) -> Bias:
        """What it is of scores from whose rows something is subtracted behind it."""
        return replace(self, inside=self.factor if self.inside is None else self.inside)


@dataclass(frozen=True, slots=True)
class Fill:
    """`fill` stands in place of the scores where `condition`, whose atoms are `source`, is `when`.

    `added_in` is the element type of the scores there; `at` is the node that fills. No score is larger in magnitude
    than `reach` there, whatever query and key are. `scaled`: a factor behind it may have rounded the number. `lowest`
    is the smallest number on the way to `fill`, `narrowest` the largest number of the types that it is cast to behind,
    0 if one keeps fewer digits.
    """

    condition: str
    when: bool
    fill: float
    source: Axis
    added_in: DType
    at: str
    reach: float = math.inf
    scaled: bool = False
    lowest: float = 0.0
    narrowest: float = math.inf

    def times(self, factor: float) -> Fill:
        """What it is of scores that are multiplied behind it."""
        fill = self.fill * factor
        lowest = min(self.lowest, self.fill, fill)
        return replace(self, fill=fill, reach=self.reach * abs(factor), scaled=True, lowest=lowest)

    def at_least(self, low: float) -> Fill:
        """What it is of scores that are clamped behind it to the smallest number of their type."""
        return replace(self, fill=max(self.fill, low), lowest=max(self.lowest, low))

    def cast_to(self, dtype: DType) -> Fill:
        """What it is of scores that are cast behind it."""
        return replace(self, narrowest=min(self.narrowest, _kept(self.added_in, dtype)))


@dataclass(frozen=True, slots=True)
class RunTimeFactor:
    """The scores are multiplied by a value of the graph, or divided by it (`divides`), before all terms.

    `source` are the value's atoms in row-major order: of batch and heads only, so that query may be multiplied instead.
    """

    value: str
    divides: bool
    source: Axis


@dataclass(frozen=True, slots=True)
class BooleanMask:
    """A condition at run time under which a key is discarded.

    Without a `threshold`, `value` is a bool and discards where it is `when`; with one, `value` is a number and discards
    below the threshold (`when`), or above it (not `when`). `source` are its atoms in row-major order; a fused node's
    own mask has None: it is of a shape that fused nodes take, and discards where it is not 0.
    """

    value: str
    source: Axis | None
    per_head: bool
    when: bool = True
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Band:
    """The keys that a fused node of the source discards by its sparse_mode: of query i those before key i − `before`
    and those behind key i + `behind`."""

    before: int
    behind: int

    def discarded(self, queries: int, keys: int) -> npt.NDArray[np.bool_]:
        """Where keys are discarded, [1, 1, queries, keys]."""
        rows, columns = np.arange(queries)[:, None], np.arange(keys)[None, :]
        outside: npt.NDArray[np.bool_] = (columns > rows + self.behind) | (columns < rows - self.before)
        return outside[None, None]


Term: TypeAlias = Band | Bias | BooleanMask | Fill
LowRows: TypeAlias = Literal["mean", "nan", "unclear"]
"""What a row gives whose scores are all one negative number, so large that it absorbs them: the mean of value, as in a
softmax that subtracts the largest number of each row; no number; or either, which is not told."""

Layout: TypeAlias = Literal["BNSD", "BSND", "BSH", "SBH", "BNSD_BSND"]
"""Batch, heads, sequence, head size; in BSH and SBH heads and head size are one axis. BNSD_BSND takes BNSD and gives
BSND. In SBH no node is written."""


@dataclass(frozen=True, slots=True)
class SurroundingCasts:
    """The casts put around a fused node for its sake: what query, key and value were before, in `dtype`, and the value
    of the cast back to that."""

    operands: tuple[str, str, str]
    dtype: DType
    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where in the graph an attention was found, and what was proved of it there.

    `root` is the Softmax or the fused node, `anchor` the value that is replaced; `interior` are the values that are
    then without purpose, and `region` the nodes of the site as lines of text.
    """

    form: Form
    module: str
    graph: str
    root: str
    anchor: str
    interior: tuple[str, ...]
    region: tuple[str, ...]
    facts: SiteFacts
    identities: tuple[AppliedIdentity, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """One attention, equal to the region of the graph it was raised from.

    `output` are the axes of the anchor. `behind` are values made of it by moving and regrouping its axes, and by casts,
    each from the one before it alone, which nothing else reads: what is written may stand for any of them. `factors`
    are the constants whose float64 product is the scale, or its negative where query is `negated`; query is multiplied
    by `query_factors` too. `score_bytes` are those of the softmax's operand and result.
    `nan_guard`: weights that are NaN become 0. `layout` is that of a fused node ("BNSD", "BSND", "BSH" or "SBH"), and
    `given` the node as it stands; both are None for a formula.
    """

    origin: Origin
    query: Operand
    key: Operand
    value: Operand
    axes: AttentionAxes
    output: tuple[Axis, ...]
    output_dtype: DType
    scores_dtype: DType
    scale: float
    behind: tuple[ResultView, ...] = ()
    factors: tuple[float, ...] = ()
    negated: bool = False
    query_factors: tuple[RunTimeFactor, ...] = ()
    terms: tuple[Term, ...] = ()
    nan_guard: bool = False
    low_rows: LowRows = "mean"
    score_bytes: int = 0
    layout: Layout | None = None
    given: FusedNodeFacts | None = None
    casts: SurroundingCasts | None = None

    @property
    def operands(self) -> tuple[Operand, Operand, Operand]:
        return self.query, self.key, self.value

    @property
    def results(self) -> tuple[ResultView, ...]:
        """The anchor, and what is behind it."""
        return ResultView(self.origin.anchor, self.output, (self.output_dtype,)), *self.behind

    @property
    def sizes(self) -> tuple[int, ...]:
        """Batch, heads, key heads, lengths of query and key, head sizes of query and value; -1 where not known."""
        axes = self.axes
        named = (axes.batch, axes.heads, axes.kv_heads, axes.query_length, axes.key_length, axes.head_dim)
        return tuple(product(axis) for axis in (*named, axes.value_head_dim))

    @property
    def width(self) -> int:
        """Head size of a fused node: where query's and value's differ, the narrower is padded to the wider."""
        return max(product(self.axes.head_dim), product(self.axes.value_head_dim))

    def without_groups(self) -> Attention:
        """The same with a head of key and value for each of query: repeated as the graph has them, or anew."""
        return replace(self, axes=replace(self.axes, kv_heads=self.axes.heads))

    def outside_casts(self) -> Attention:
        """The same with the surrounding casts inside: of the operands before them, to the value behind them."""
        casts = self.casts
        if casts is None:
            return self
        query, key, value = (
            replace(operand, value=before, dtype=casts.dtype, layouts=((before, operand.layouts[-1][1]),))
            for operand, before in zip(self.operands, casts.operands, strict=True)
        )
        origin = replace(self.origin, anchor=casts.result)
        behind = tuple(replace(view, dtypes=view.dtypes[1:]) for view in self.behind if len(view.dtypes) > 1)[1:]
        return replace(
            self,
            origin=origin,
            query=query,
            key=key,
            value=value,
            output_dtype=casts.dtype,
            behind=behind,
            casts=None,
        )


@dataclass(frozen=True, slots=True)
class UnreadFusedNode:
    """A fused node of the source that says more than the normal form does, or cannot be read: it may only stay.

    `types` are those of its query, key and value, None where not known. `failure` tells what is in the way. `given`
    is the node as a target is asked about it, or why that cannot be told.
    """

    origin: Origin
    op: str
    types: tuple[TensorType | None, ...]
    scale: float | None
    casts: SurroundingCasts | None
    failure: FailureReason
    given: FusedNodeFacts | FailureReason


def flat(axes: tuple[Axis, ...]) -> list[Atom]:
    """All atoms of some axes in order."""
    return [atom for axis in axes for atom in axis]


def holds_scale(scale: float) -> bool:
    """Whether `scale_value`, which is a float32, holds the scale: not NaN, 0 or infinity, and to full precision.

    What is smaller than every normal number would be rounded by up to half of itself, or be 0 to a kernel that flushes
    such numbers: every score would be scaled alike wrongly.
    """
    return _TINY <= abs(scale) <= _LARGEST
