"""In which layout a fused node is written: the one that leaves the fewest bytes of Transposes around it.

A Transpose is a kernel that reads and writes its tensor, unless only axes of one element change their place; a Reshape
is none (docs/cost.md, rules 2 and 8). Counted are those on the way from where an operand comes from to the node, and
from the node to what reads its result, whether they are written or stand in the source already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from attnfuse.api import DType, RewriteContext
from attnfuse_passes.attention.axes import UNKNOWN, Atom, Axis, keys, product
from attnfuse_passes.attention.candidates import AttentionCandidate, given_in, gives_in
from attnfuse_passes.attention.free_padding import find_free_padding
from attnfuse_passes.attention.lower.fused import FusedOperator, casts_through
from attnfuse_passes.attention.lower.operands import Transpose, bring, dims_of, in_layout, rearrange
from attnfuse_passes.attention.normal_form import Attention, AttentionAxes, Layout, Operand, ResultView, flat

_MOST_KINDS = 1 << 8
"""Kinds of attentions whose layouts are known again: a model has a few."""


@dataclass(frozen=True, slots=True)
class _Way:
    """What stands on the way of one value: Transposes, the bytes they read and write, and nodes of all sorts.

    Bytes of -1 are not known before run time.
    """

    what: str
    transposes: int
    size: int
    nodes: int


@dataclass(frozen=True, slots=True)
class _Choice:
    layout: Layout
    result: int
    ways: tuple[_Way, ...]

    @property
    def transposes(self) -> int:
        return sum(way.transposes for way in self.ways)

    @property
    def size(self) -> int:
        return sum(way.size for way in self.ways)

    @property
    def nodes(self) -> int:
        return sum(way.nodes for way in self.ways)

    @property
    def is_open(self) -> bool:
        return any(way.size < 0 for way in self.ways)

    def cost(self, *, is_open: bool) -> tuple[int, int, int]:
        """What choices are ordered by; with `is_open`, bytes are not compared."""
        return (0 if is_open else self.size, self.transposes, self.nodes)

    def told(self, *, is_open: bool) -> str:
        """`BSH: 2 Transposes (query, result), 64 bytes`."""
        count = f"{self.transposes} Transpose{'' if self.transposes == 1 else 's'}"
        if not self.transposes:
            return f"{self.layout}: {count}"
        of = ", ".join(way.what for way in self.ways if way.transposes)
        return f"{self.layout}: {count} ({of})" + ("" if is_open else f", {self.size} bytes")


def in_best_layout(
    operator: FusedOperator, candidate: AttentionCandidate, attention: Attention, at: RewriteContext
) -> AttentionCandidate:
    """The candidate in the best layout that it can be written in; of none, in the best, with what speaks against it."""
    tried: list[AttentionCandidate] = []
    for laid in _laid_out(candidate, attention, operator.layouts):
        each = _padded_by_weights(laid, attention, at)
        tried.append(replace(each, unsupported=operator.unsupported_reason(attention, each, at)))
        if tried[-1].unsupported is None:
            return tried[-1]
    return tried[0]


def _padded_by_weights(candidate: AttentionCandidate, attention: Attention, at: RewriteContext) -> AttentionCandidate:
    """The candidate with the zeros that cost nothing in the weights around it."""
    form = candidate.form_of(attention)
    free = find_free_padding(at, form, form.width + candidate.padding, together=candidate.masks.guard == "mean")
    anchor = candidate.anchor if free.result is None else free.result.layer.value
    removes = (*candidate.removes, *sorted(free.made - {anchor}))
    return replace(candidate, free=free, anchor=anchor, removes=removes)


def _laid_out(
    candidate: AttentionCandidate, attention: Attention, layouts: Sequence[Layout]
) -> Iterator[AttentionCandidate]:
    """The candidate in each of the layouts, best first: that of the fewest bytes, Transposes and nodes.

    Where sizes are left to run time the bytes are left out. Of equal ones the first counts.
    """
    form = candidate.form_of(attention)
    if not form.axes.heads_known:
        layouts = ("BSH",)
    elif (candidate.masks.guard is not None or candidate.masks.shifted) and _open_sizes(form) > 1:
        layouts = ("BNSD",)  # heads cannot be told apart to have rows replaced
    results = form.results
    choices, reason = _ordered(_Nameless.of(form, candidate.dtype), tuple(layouts))
    for choice in choices:
        yield replace(
            candidate,
            layout=choice.layout,
            layout_reason=reason,
            result=choice.result,
            anchor=results[choice.result].value,
            removes=(*candidate.removes, *(view.value for view in results[: choice.result])),
        )


@lru_cache(_MOST_KINDS)
def _ordered(form: _Nameless, layouts: tuple[Layout, ...]) -> tuple[tuple[_Choice, ...], str]:
    """The choices of those layouts, best first, and what is told of them."""
    choices = [choice for layout in layouts if (choice := _choice(form, layout)) is not None]
    is_open = any(choice.is_open for choice in choices)
    choices.sort(key=lambda choice: choice.cost(is_open=is_open))
    return tuple(choices), "; ".join(choice.told(is_open=is_open) for choice in choices)


def _open_sizes(form: Attention) -> int:
    """How many of the sizes are not known before run time that a Reshape around the node would have to tell."""
    axes = form.axes
    return [product(axis) for axis in (axes.batch, axes.query_length, axes.key_length)].count(UNKNOWN)


def leaves_less(candidate: AttentionCandidate, attention: Attention) -> bool:
    """Whether the candidate leaves fewer bytes of Transposes than the fused node of the source that it stands for.

    Zeros in its heads would be further kernels, and a mask written out one to read: with them it does not.
    """
    if attention.layout is None or candidate.padding or candidate.masks.constant_mask is not None:
        return False
    form = _Nameless.of(attention, candidate.dtype)
    before, after = _choice(form, attention.layout), _choice(form, candidate.layout)
    if before is None or after is None:
        return False
    is_open = before.is_open or after.is_open
    return after.cost(is_open=is_open)[:2] < before.cost(is_open=is_open)[:2]


@dataclass(frozen=True, slots=True)
class _Nameless:
    """All of an attention that layouts depend on: its operands and results by numbers instead of names, and the type
    that it is computed in. The attentions of equal blocks are equal."""

    axes: AttentionAxes
    operands: tuple[Operand, Operand, Operand]
    results: tuple[ResultView, ...]
    dtype: DType

    @classmethod
    def of(cls, form: Attention, dtype: DType) -> _Nameless:
        """That of an attention."""
        query, key, value = map(_nameless, form.operands)
        return cls(form.axes, (query, key, value), tuple(replace(view, value="") for view in form.results), dtype)


def _nameless(operand: Operand) -> Operand:
    """Its values named by their places."""
    places = {value: str(place) for place, (value, _) in enumerate(operand.layouts)}
    layouts = tuple((places[value], axes) for value, axes in operand.layouts)
    shared = frozenset(places[value] for value in operand.shared if value in places)
    return Operand(places.get(operand.value, operand.value), operand.dtype, operand.source, layouts, shared)


def _rests(form: _Nameless) -> tuple[tuple[DType, ...], ...]:
    """Behind each value that the node may stand for, the element types that are moved on the way to the last."""
    orders = [keys(flat(view.axes)) for view in form.results]
    moves = [
        None if one == other else view.dtypes[-1]
        for (one, other), view in zip(pairwise(orders), form.results[1:], strict=True)
    ]
    return tuple(tuple(filter(None, moves[position:])) for position in range(len(orders)))


def _choice(form: _Nameless, layout: Layout) -> _Choice | None:
    """The layout with the value to stand for that leaves the least; None where the layout is none for it."""
    axes, into, out_of = form.axes, given_in(layout), gives_in(layout)

    def operand(what: str, value: Operand, heads: Axis, length: Axis, last: Axis) -> _Way:
        return _entry(what, value, in_layout(axes, into, heads, length, last))

    given = in_layout(axes, out_of, axes.heads, axes.query_length, axes.value_head_dim)
    exits = {position: _exit(form, given, position, rest) for position, rest in enumerate(_rests(form))}
    if out_of != into:
        # MindSpore infers no shape of such a result: where a Reshape follows at once, its own is told there.
        dims = dims_of(given)
        exits = {position: way for position, way in exits.items() if dims_of(form.results[position].axes) != dims}
    if not exits:
        return None
    result = min(exits, key=lambda position: (exits[position].transposes, exits[position].nodes, position))
    query, key, value = form.operands
    ways = (
        operand("query", query, axes.heads, axes.query_length, axes.head_dim),
        operand("key", key, axes.kv_heads, axes.key_length, axes.head_dim),
        operand("value", value, axes.kv_heads, axes.key_length, axes.value_head_dim),
        exits[result],
    )
    return _Choice(layout, result, ways)


def _entry(what: str, operand: Operand, wanted: tuple[Axis, ...]) -> _Way:
    """From the last value that is made anyway, or the source of all, to the node."""
    start, arrangement = bring(operand, wanted)
    names = [value for value, _ in operand.layouts]
    at = names.index(start)
    first = max((i for i in range(at + 1) if names[i] in operand.shared), default=0)
    orders = [keys(flat(axes)) for _, axes in operand.layouts[first : at + 1]]
    standing = sum(one != other for one, other in pairwise(orders))
    transposes = standing + sum(isinstance(step, Transpose) for step in arrangement.steps)
    size = _moved(operand.source, [operand.dtype] * transposes)
    return _Way(what, transposes, size, at - first + len(arrangement.steps))


def _exit(form: _Nameless, given: tuple[Axis, ...], position: int, rest: Sequence[DType]) -> _Way:
    """From the node to the value it stands for, and on to the last that is only the result.

    Of equal ways the one with fewer casts has fewer nodes.
    """
    views = form.results[position:]
    written = rearrange(given, views[0].axes).steps
    moved = [form.dtype for step in written if isinstance(step, Transpose)]
    moved += rest
    nodes = len(written) + len(casts_through(form.dtype, views[0].dtypes)) + len(views) - 1
    return _Way("result", len(moved), _moved(flat(given), moved), nodes)


def _moved(atoms: Sequence[Atom], dtypes: Sequence[DType]) -> int:
    """Bytes that Transposes of those element types read and write; -1 where that is not known before run time."""
    if not dtypes:
        return 0
    elements = product(atoms)
    return UNKNOWN if elements == UNKNOWN else sum(2 * elements * dtype.itemsize for dtype in dtypes)
