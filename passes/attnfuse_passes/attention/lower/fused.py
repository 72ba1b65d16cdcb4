"""What all fused operators have in common when an attention is written as one: operands, mask, bias, node, result.

A fused operator is one file beside this one: a `FusedOperator` called OPERATOR, which says how its arguments are named
and what it does with its bias. `lower/__init__.py` finds it there. The same names serve to read such a node of the
source (`attention/fused_node.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from attnfuse.api import (
    Builder,
    DType,
    FusedNodeFacts,
    Model,
    NodeKind,
    Precision,
    RewriteContext,
    TensorFacts,
    Unsupported,
    dtypes,
    inputs_of,
    refusals,
)
from attnfuse_passes.attention.axes import UNKNOWN, Axis, product
from attnfuse_passes.attention.candidates import AttentionCandidate
from attnfuse_passes.attention.free_padding import PaddedOperand
from attnfuse_passes.attention.lower.operands import (
    Arrangement,
    Reshape,
    bring,
    dims_of,
    existing,
    in_layout,
    rearrange,
)
from attnfuse_passes.attention.lower.query_factors import QueryFactors
from attnfuse_passes.attention.lower.terms import Terms
from attnfuse_passes.attention.normal_form import Attention, Bias, BooleanMask, Layout, Operand, ResultView, holds_scale
from attnfuse_passes.linear import PaddedLinear

ALL_TOKENS = 2147483647
"""For pre_tokens and next_tokens: no key is cut off."""
INNER_PRECISE: Mapping[Precision, int] = MappingProxyType({"high": 0, "fast": 1})
"""Bit 0 of the argument."""
MENDS_ROWS = 2
"""Bit 1: rows without a key are mended. Set where a fused node of the source has it; `guarded` puts in what a formula
has."""
LAYOUT_NUMBERS: Mapping[str, int] = MappingProxyType({"BSH": 0, "BNSD": 1, "SBH": 2, "BSND": 3, "BNSD_BSND": 8})
"""Source: MindSpore 2.7.1's FASInputLayoutMode."""

Scalar: TypeAlias = "bool | int | float"


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedOperator:
    """A fused operator, by the names that its row gives its arguments.

    `bias_before_scale`: it computes scale · (QKᵀ + bias), and else scale · QKᵀ + bias. `mask_dtypes` are the element
    types of its mask, which is not 0 where a key is discarded. `element` is which of its several results the attention
    is, None where it has one. `layouts` are those that it is written in, of equal ones the first, `precisions` those it
    may be written in. `takes` are those that the source may have it in. `fixed` are arguments that are always given so.
    """

    form: NodeKind
    mask: str
    bias: str
    heads: str
    kv_heads: str | None
    bias_before_scale: bool
    element: int | None
    mask_dtypes: tuple[DType, ...] = (dtypes.BOOL,)
    layouts: tuple[Layout, ...] = ("BNSD", "BSH")
    takes: tuple[Layout, ...] = ("BSH", "BNSD", "BSND")
    precisions: tuple[Precision, ...] = ("high",)
    fixed: Mapping[str, Scalar] = field(default_factory=dict)

    # --- before writing

    def unsupported_reason(
        self, attention: Attention, candidate: AttentionCandidate, at: RewriteContext
    ) -> Unsupported | None:
        """What runtime, target and sizes say against the candidate; what cannot be stated comes first."""
        root, anchor = attention.origin.root, attention.origin.anchor
        if at.target.node != self.form:
            return Unsupported("target.no_operator", f"the runtime {at.target.runtime} takes {at.target.node}")
        if attention.layout is not None and not holds_scale(attention.scale):
            return Unsupported.found("facts.scale", root, "a scale other than 0 in float32", str(attention.scale))
        if attention.layout is not None and min(product(attention.axes.kv_heads), attention.width) < 0:
            expected = "a known number and size of heads"
            return Unsupported.found("facts.dynamic_layout", root, expected, "an unknown one")
        missing = at.target.missing_operator(self.form, at.model.proto.model_version)
        if missing is not None:
            return Unsupported(missing.code, missing.message(self.form, at.target.soc))
        if _has_open_head(attention, candidate):
            expected = "a known head size, and at most one unknown size where it needs padding"
            return Unsupported.found("facts.dynamic_head_dim", anchor, expected, "others")
        if not self._holds_bias(attention, candidate):
            reason = f"the bias, in 16 bits and times a scale of {attention.scale:g}, would be rounded again"
            return Unsupported("target.bias_rounded", reason)
        no = refusals(at.target, self.facts(at.model, attention, candidate))
        if no:
            return Unsupported(no[0].code, no[0].message(self.form, at.target.soc))
        form = candidate.form_of(attention)
        open_layout = Unsupported.found("facts.dynamic_layout", anchor, "at most one unknown size", "more")
        if any(entry.is_open(at.model) for entry in _entries(form, candidate)):
            return open_layout
        return Terms(form, candidate).unsupported_reason() or (open_layout if _Exit(form, candidate).is_open else None)

    def facts(self, model: Model, attention: Attention, candidate: AttentionCandidate) -> FusedNodeFacts:
        """The node as it would be written, for a target to be asked about. The head size is known."""
        form, axes = candidate.form_of(attention), attention.axes
        width, terms, masks = attention.width + candidate.padding, Terms(form, candidate), candidate.masks

        def operand(heads: Axis, length: Axis) -> TensorFacts:
            *lead, last = dims_of(in_layout(axes, candidate.given_in, heads, length, ()))
            return TensorFacts((*lead, last * width), candidate.dtype.name)

        def term(own: Sequence[Bias | BooleanMask], dims: tuple[int, ...] | None, dtype: DType) -> TensorFacts | None:
            given = next((term.value for term in own if term.source is None), None)  # a fused node's own, as it is
            tensor_type = None if given is None else model.type_of(given)
            if tensor_type is not None:
                return TensorFacts(tensor_type.dims, tensor_type.dtype.name)
            return None if dims is None else TensorFacts(dims, dtype.name)

        key = operand(axes.kv_heads, axes.key_length)
        return FusedNodeFacts(
            layout=candidate.layout,
            query=operand(axes.heads, axes.query_length),
            key=key,
            value=key,
            heads=product(axes.heads),
            kv_heads=product(axes.kv_heads),
            inner_precise=_inner_precise(attention, candidate),
            mask=term(masks.masks, terms.mask_dims, dtypes.BOOL),
            pse_shift=term(masks.biases, terms.bias_dims, candidate.dtype),
        )

    def _holds_bias(self, attention: Attention, candidate: AttentionCandidate) -> bool:
        """Whether the new node has a fused node's own bias exactly: the same type, and a factor of a power of two.

        The old node adds the bias in float32. Rounded anew to 16 bits a large one (ALiBi over long sequences) would be
        off by more than all the rest of the node.
        """
        own = [term for term in attention.terms if isinstance(term, Bias) and term.source is None]
        exact = abs(math.frexp(self._bias_factor(attention, attention.scale))[0]) == 0.5
        return all(exact and (not candidate.recast or term.dtype == candidate.dtype) for term in own)

    # --- writing

    def write(self, b: Builder, attention: Attention, candidate: AttentionCandidate) -> str:
        """The node, with the layouts around it; the value that stands in the anchor's place."""
        form = candidate.form_of(attention)
        entries = _entries(form, candidate)
        layers: dict[PaddedLinear, str] = {}
        query, _ = entries[0].write(b, layers)
        key, _ = entries[1].write(b, layers)
        value, unpadded = entries[2].write(b, layers)
        masks, scale = candidate.masks, form.scale
        if self.bias_before_scale and masks.biased and not masks.divide:
            query, scale = b.scaled(query, scale), 1.0
        terms = Terms(form, candidate)
        written = terms.write(b, query, key, self._bias_factor(form, scale))
        operands = (written.query, written.key, value)
        result = self._node(b, form, candidate, operands, scale, written.mask, written.bias)
        result = _Exit(form, candidate).unpadded(b, result)
        result = terms.guarded(b, result, written.condition, unpadded)
        return _Exit(form, candidate).restored(b, result)

    def _bias_factor(self, attention: Attention, scale: float) -> float:
        """What a bias is multiplied by, for this operator to add it as the normal form says."""
        if any(isinstance(term, Bias) and term.before_scale for term in attention.terms):
            return 1.0 if self.bias_before_scale else attention.scale
        return 1.0 / scale if self.bias_before_scale else 1.0

    def _node(
        self,
        b: Builder,
        attention: Attention,
        candidate: AttentionCandidate,
        operands: tuple[str, str, str],
        scale: float,
        mask: str | None,
        bias: str | None,
    ) -> str:
        """The node and, of several results, the attention.

        All scalar arguments are Constant nodes: MindSpore Lite turns them into attributes and back.
        """
        none, tokens = b.constant(None), b.constant(ALL_TOKENS)
        axes = attention.axes
        tensors = dict(zip(("query", "key", "value"), operands, strict=True))
        tensors |= {name: given for name, given in ((self.mask, mask), (self.bias, bias)) if given is not None}
        scalars: dict[str, Scalar] = {
            self.heads: product(axes.heads),
            "scale_value": scale,
            "input_layout": LAYOUT_NUMBERS[candidate.layout],
            "inner_precise": _inner_precise(attention, candidate),
            **({} if self.kv_heads is None else {self.kv_heads: product(axes.kv_heads)}),
            **self.fixed,
        }
        whole = b.op(self.form, *(self._argument(b, name, tensors, scalars, none, tokens) for name in self.arguments))
        if self.element is None:
            return whole
        return b.op("TupleGetItem", whole, b.constant(self.element), prim_type=b.PRIMITIVE)

    def _argument(
        self,
        b: Builder,
        name: str,
        tensors: Mapping[str, str],
        scalars: Mapping[str, Scalar],
        none: str,
        tokens: str,
    ) -> str:
        if name in scalars:
            return b.constant(scalars[name])
        return tokens if name in ("pre_tokens", "next_tokens") else tensors.get(name, none)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The names of all arguments, in order."""
        return tuple(parameter.name for parameter in inputs_of(self.form))


def _inner_precise(attention: Attention, candidate: AttentionCandidate) -> int:
    """The precision, and whether the fused node that was there mends rows without a key."""
    own = 0 if attention.given is None else attention.given.inner_precise & MENDS_ROWS
    return INNER_PRECISE[candidate.precision] | own


def casts_through(dtype: DType, types: Sequence[DType]) -> tuple[DType, ...]:
    """The casts that bring a value of `dtype` through some element types, without those that change no number."""
    casts: list[DType] = []
    for this, following in zip(types, (*types[1:], None), strict=True):
        exact = dtype.is_low_precision and not this.is_low_precision
        if this != dtype and not (exact and following is not None):
            casts.append(this)
            dtype = this
    return tuple(casts)


def _has_open_head(attention: Attention, candidate: AttentionCandidate) -> bool:
    """Whether heads are of unknown size, or padded beside more than one unknown size.

    MindSpore's inference forgets every size of a padded value of which it does not know all: a Reshape tells them
    again, where all but one are known.
    """
    axes = attention.axes
    is_open = product(axes.batch) < 0 and min(product(axes.query_length), product(axes.key_length)) < 0
    sizes = (product(axes.head_dim), product(axes.value_head_dim), product(axes.heads), product(axes.kv_heads))
    return min(sizes) < 0 or (candidate.padding > 0 and is_open)


@dataclass(frozen=True, slots=True)
class _Entry:
    """Query, key or value on its way into the node: arranged to `dims`, cast, padded.

    `layer` makes it with its zeros, where weights have them. `dims` may give a size that the graph leaves to run time
    in this operand, but not in another. `apart` and `together` are the shapes around the padding, where heads share
    the last axis. `factors` are what query is multiplied by.
    """

    layer: PaddedLinear | None
    value: str
    arrangement: Arrangement
    dims: tuple[int, ...]
    dtype: DType
    padding: int
    apart: Arrangement
    together: Arrangement
    factors: QueryFactors | None = None

    def is_open(self, model: Model) -> bool:
        """Whether more than one size of a shape that a Reshape gives would have to be worked out at run time."""
        given = None if self.arrangement.steps else model.type_of(self.value)
        stated = Arrangement((Reshape(self.dims),) if given is not None and given.dims != self.dims else ())
        parts = (self.arrangement, stated, self.apart, self.together, self.factors)
        return any(part.is_open for part in parts if part is not None)

    def write(self, b: Builder, layers: dict[PaddedLinear, str]) -> tuple[str, str]:
        """The value for the node, and the same as it is before it is cast and padded. `layers` are those written."""
        value = self.value
        if self.layer is not None:
            value = layers[self.layer] = layers.get(self.layer) or self.layer.write(b)
        arranged = self.arrangement.write(b, value)
        if UNKNOWN in b.type_of(arranged).dims != self.dims:
            arranged = b.reshape(arranged, self.dims)
        value = arranged if self.factors is None else self.factors.write(b, arranged)
        padded = b.pad_last(self.apart.write(b, b.cast(value, self.dtype)), self.padding)
        if self.padding and UNKNOWN in self.dims and not self.together.steps:
            padded = b.reshape(padded, (*self.dims[:-1], self.dims[-1] + self.padding))
        return self.together.write(b, padded), arranged


def _entries(attention: Attention, candidate: AttentionCandidate) -> tuple[_Entry, _Entry, _Entry]:
    axes, free = attention.axes, candidate.free
    factors = QueryFactors(attention, "BNSD" if candidate.given_in == "BNSD" else "BSND")
    query = _entry(
        attention, candidate, attention.query, axes.heads, axes.query_length, axes.head_dim, free.query, factors
    )
    key = _entry(attention, candidate, attention.key, axes.kv_heads, axes.key_length, axes.head_dim, free.key)
    value = _entry(
        attention, candidate, attention.value, axes.kv_heads, axes.key_length, axes.value_head_dim, free.value
    )
    return query, key, value


def _entry(
    attention: Attention,
    candidate: AttentionCandidate,
    operand: Operand,
    heads: Axis,
    length: Axis,
    last: Axis,
    free: PaddedOperand | None,
    factors: QueryFactors | None = None,
) -> _Entry:
    axes, layer = attention.axes, None
    if free is not None:
        layer, operand, last = free.layer, free.operand, free.last
    padding = attention.width + candidate.padding - product(last)
    wanted = in_layout(axes, candidate.given_in, heads, length, last)
    if candidate.given_in != "BSH" or not axes.heads_known:
        value, arrangement = bring(operand, wanted)
        none = Arrangement()
        return _Entry(layer, value, arrangement, dims_of(wanted), candidate.dtype, padding, none, none, factors)
    apart = in_layout(axes, "BSND", heads, length, last)
    is_per_head = factors is not None and factors.is_per_head
    whole = None if is_per_head else existing(operand, wanted)
    value, arrangement = bring(operand, apart) if whole is None else (whole, Arrangement())
    batch, tokens, count, size = dims_of(apart)
    dims = dims_of(apart if whole is None else wanted)
    together = Reshape((batch, tokens, count * (size + padding)))
    if whole is not None and not padding:
        return _Entry(layer, value, arrangement, dims, candidate.dtype, 0, Arrangement(), Arrangement(), factors)
    before = Arrangement((Reshape(dims_of(apart)),)) if padding and whole is not None else Arrangement()
    return _Entry(layer, value, arrangement, dims, candidate.dtype, padding, before, Arrangement((together,)), factors)


@dataclass(frozen=True, slots=True)
class _Exit:
    """The node's result on its way to the replaced value: without its padding, in its layout."""

    attention: Attention
    candidate: AttentionCandidate

    @property
    def _padding(self) -> int:
        return self.attention.width + self.candidate.padding - product(self._last)

    @property
    def _last(self) -> Axis:
        """The last axis of a head of the result, with its zeros where they go into weights."""
        free = self.candidate.free.result
        return self.attention.axes.value_head_dim if free is None else free.last

    @property
    def _is_apart(self) -> bool:
        """Whether heads that share the last axis are told apart: zeros of each are taken off, or rows replaced."""
        if self.candidate.gives_in != "BSH" or not self.attention.axes.heads_known:
            return False
        guarded = self.candidate.masks.guard is not None
        return self._padding > 0 or (guarded and not Terms(self.attention, self.candidate).is_mean_of_all_rows)

    @property
    def _axes(self) -> tuple[Axis, ...]:
        axes = self.attention.axes
        layout: Layout = "BSND" if self._is_apart else self.candidate.gives_in
        return in_layout(axes, layout, axes.heads, axes.query_length, self._last)

    @property
    def _apart(self) -> Arrangement:
        if not self._is_apart:
            return Arrangement()
        *lead, last = dims_of(self._axes)
        return Arrangement((Reshape((*lead, last + self._padding)),))

    @property
    def _wanted(self) -> ResultView:
        free = self.candidate.free.result
        return self.attention.results[self.candidate.result] if free is None else free.view

    @property
    def is_open(self) -> bool:
        return self._apart.is_open or rearrange(self._axes, self._wanted.axes).is_open

    def unpadded(self, b: Builder, value: str) -> str:
        """The result with its own head size."""
        return b.take_last(self._apart.write(b, value), dims_of(self._axes)[-1])

    def restored(self, b: Builder, value: str) -> str:
        """The unpadded result with the axes of the replaced value, and through the types it was rounded to; or, with
        its zeros, what the layer makes of it that takes them."""
        value = rearrange(self._axes, self._wanted.axes).write(b, value)
        for dtype in casts_through(self.candidate.dtype, self._wanted.dtypes):
            value = b.cast(value, dtype)
        free = self.candidate.free.result
        return value if free is None else free.layer.write(b, value)
