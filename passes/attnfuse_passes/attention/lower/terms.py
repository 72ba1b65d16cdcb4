"""The mask and the bias of a fused node, and what stands for fully masked rows behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attnfuse.api import Builder, DType, Unsupported, broadcast_dims, dtypes
from attnfuse_passes.attention.axes import UNKNOWN, product
from attnfuse_passes.attention.candidates import AttentionCandidate
from attnfuse_passes.attention.hiding import ABSORBING
from attnfuse_passes.attention.lower.operands import Arrangement, Reshape, arrange, repeat_heads
from attnfuse_passes.attention.normal_form import Attention, Bias, BooleanMask, Fill, Layout

_JUST_ABOVE = 1 - 2.0**-7
"""What a level is multiplied by to be compared with: the number itself, as any type rounds it, lies beyond."""


@dataclass(frozen=True, slots=True)
class Written:
    """Query and key as the node gets them, the mask and the bias, and the condition that the guard of fully masked rows
    asks."""

    query: str
    key: str
    mask: str | None
    bias: str | None
    condition: str | None


@dataclass(frozen=True, slots=True)
class Terms:
    """What is done to the scores of one attention, as a fused node is given it."""

    attention: Attention
    candidate: AttentionCandidate

    # --- before writing

    def unsupported_reason(self) -> Unsupported | None:
        """A size that is not known before run time, where a mask or bias would have to be repeated to it: lengths are
        repeated to, see `_spread`."""
        masks, anchor = self.candidate.masks, self.attention.origin.anchor
        several: Sequence[Iterable[Bias | BooleanMask | Fill]] = (masks.masks, masks.shifted or masks.biases)
        for terms in several:
            if any(self._arrangement(term).is_open for term in terms if term.source is not None):
                return Unsupported.found("facts.dynamic_layout", anchor, "at most one unknown size", "more")
        for own, wanted in ((self.own_mask_dims, self.mask_dims), (self._own_bias_dims, self.bias_dims)):
            if own is not None and wanted is not None and self._is_open(own, wanted):
                return Unsupported.found(
                    "facts.dynamic_mask", anchor, f"a mask of sizes {list(wanted)}", f"one of {list(own)}"
                )
        return None

    def _is_open(self, own: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
        return any(size == UNKNOWN != before for before, size in zip(own[:2], wanted[:2], strict=True))

    @property
    def own_mask_dims(self) -> tuple[int, ...] | None:
        """The sizes of the mask before it is repeated to what the node takes; None where there is none."""
        masks = self.candidate.masks
        constant = () if masks.constant_mask is None else (masks.constant_mask.shape,)
        return self._together([*constant, *map(self._dims, masks.masks)])

    @property
    def mask_dims(self) -> tuple[int, ...] | None:
        """The sizes of the mask that the node is given."""
        own = self.own_mask_dims
        if own is None:
            return None
        batch, heads, *_ = own
        # FlashAttentionScore takes a mask that is shared over the batch only if it is shared over the heads too.
        return self._sizes(batch if heads == 1 else product(self.attention.axes.batch), heads)

    @property
    def _own_bias_dims(self) -> tuple[int, ...] | None:
        masks = self.candidate.masks
        if masks.shifted:
            return self._together([*map(self._dims, masks.shifted)])
        constant = () if masks.constant_bias is None else (masks.constant_bias.shape,)
        return self._together([*constant, *map(self._dims, masks.biases)])

    @property
    def bias_dims(self) -> tuple[int, ...] | None:
        """The sizes of the bias that the node is given; None where there is none."""
        own = self._own_bias_dims
        return None if own is None else self._sizes(own[0], product(self.attention.axes.heads))

    def _sizes(self, batch: int, heads: int) -> tuple[int, ...]:
        axes = self.attention.axes
        return batch, heads, product(axes.query_length), product(axes.key_length)

    def _together(self, several: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
        whole: tuple[int, ...] | None = None
        for dims in several:
            whole = dims if whole is None else broadcast_dims(whole, dims)
        return whole

    def _dims(self, term: Bias | BooleanMask | Fill) -> tuple[int, ...]:
        last = self._arrangement(term).steps[-1]
        assert isinstance(last, Reshape)
        return last.dims

    def _arrangement(self, term: Bias | BooleanMask | Fill) -> Arrangement:
        axes = self.attention.axes
        groups = (axes.batch, axes.heads, axes.query_length, axes.key_length)
        return arrange(term.source or (), groups, full=False)

    # --- writing

    def write(self, b: Builder, query: str, key: str, factor: float) -> Written:
        """Write them; `factor` is what the node's own arithmetic wants of the bias."""
        if self.is_mean_of_all_rows:
            return self._levelled(b, query, key)
        mask, condition = self._mask(b, query, key)
        masks = self.candidate.masks
        if not masks.shifted:
            bias = self._bias(b, factor)
            if bias is not None and masks.level is not None:
                query, key = self._without_scores(b, bias, condition, masks.level * factor, query, key)
            return Written(query, key, mask, self._repeated(b, bias, query, key), condition)
        query, bias, condition = self._shifted_bias(b, query, key)
        return Written(query, key, mask, bias, condition)

    @property
    def is_mean_of_all_rows(self) -> bool:
        """Whether a batch is masked whole or not at all, and means the mean of the values then."""
        masks, own = self.candidate.masks, self.own_mask_dims
        return masks.guard == "mean" and not masks.biased and own is not None and own[2] == 1

    def _levelled(self, b: Builder, query: str, key: str) -> Written:
        """Where no key is left to a batch the node is given all, and scores that are all 0: their softmax is the mean.

        Zeros in the shorter of query and key see to that. Behind the node nothing is left to do.
        """
        condition = self._condition(b)
        assert condition is not None
        empty = b.reduce_last("ReduceAll", condition, -1)
        mask = self._spread(b, b.op("LogicalAnd", condition, b.op("LogicalNot", empty)), self.mask_dims, query, key)
        query, key = self._level(b, empty, query, key)
        return Written(query, key, mask, None, None)

    def _without_scores(
        self, b: Builder, bias: str, hidden: str | None, level: float, query: str, key: str
    ) -> tuple[str, str]:
        """Query and key, one of them with zeros where the largest bias of a row is −level or less.

        There the formula's own type has lost the scores in the bias, and the node adds it in float32. Keys that are
        `hidden` have no bias.
        """
        if hidden is not None:
            bias = b.op("Select", hidden, b.tensor(np.array(-np.inf), b.type_of(bias).dtype), bias)
        limit = b.tensor(np.array(-level * _JUST_ABOVE), b.type_of(bias).dtype)
        rows = b.op("Less", b.reduce_last("ReduceMax", bias, -1), limit)
        return self._level(b, rows, query, key)

    def _level(self, b: Builder, rows: str, query: str, key: str) -> tuple[str, str]:
        """Query and key, with scores of 0 in those rows: zeros in the shorter of the two see to that."""
        lengths = product(self.attention.axes.query_length), product(self.attention.axes.key_length)
        _, heads, count, _ = b.type_of(rows).dims
        is_key = UNKNOWN not in lengths and lengths[1] < lengths[0] and (heads, count) == (1, 1)
        if is_key:
            return query, self._zeroed(b, "MaskedFill", rows, key, product(self.attention.axes.kv_heads))
        return self._zeroed(b, "MaskedFill", rows, query, product(self.attention.axes.heads)), key

    def guarded(self, b: Builder, result: str, condition: str | None, value: str) -> str:
        """What the formula gives for fully masked rows in place of what the kernel gives; `value` is padded as
        `result` is: by weights or not at all."""
        guard = self.candidate.masks.guard
        if guard is None or condition is None:
            return result
        tensor_type = b.type_of(result)
        shifted = bool(self.candidate.masks.shifted)
        rows = condition if shifted else b.reduce_last("ReduceAll", condition, -1)
        masked = self._per_row(b, rows, self.candidate.gives_in)
        if guard == "mean":
            other = b.broadcast(self._mean(b, value, tensor_type.dtype), tensor_type.dims)
            return b.op("Select", masked, other, result)
        other = b.tensor(np.array(np.nan if guard == "nan" else 0.0), tensor_type.dtype)
        return b.op("MaskedFill", result, masked, other)

    def _mean(self, b: Builder, value: str, dtype: DType) -> str:
        """The mean of the values of each head, to be broadcast to the result with its heads apart."""
        axes, candidate, free = self.attention.axes, self.candidate, self.candidate.free.value
        last = axes.value_head_dim if free is None else free.last
        heads, kv_heads, width = product(axes.heads), product(axes.kv_heads), product(last)
        # In float32: a float16 sum of long sequences would lose what the formula's float32 softmax keeps.
        tokens = -3 if candidate.given_in != "BNSD" and b.type_of(value).rank == 4 else -2
        mean = b.cast(b.reduce_last("ReduceMean", b.cast(value, dtypes.FLOAT32), tokens), dtype)
        if not axes.heads_known:
            return mean
        batch = b.type_of(mean).dims[0]
        mean = repeat_heads(b, b.reshape(mean, (batch, kv_heads, 1, width)), heads, kv_heads)
        return mean if candidate.gives_in == "BNSD" else b.reshape(mean, (batch, 1, heads, width))

    def _written(self, b: Builder, term: Bias | BooleanMask | Fill) -> str:
        value = term.condition if isinstance(term, Fill) else term.value
        return self._arrangement(term).write(b, value)

    def _mask(self, b: Builder, query: str, key: str) -> tuple[str | None, str | None]:
        """The mask for the node, and the same before its rows were written out (for the guard)."""
        masks = self.candidate.masks
        own = next((mask.value for mask in masks.masks if mask.source is None), None)
        if own is not None and masks.constant_mask is not None:
            return b.op("LogicalOr", b.cast(own, dtypes.BOOL), b.tensor(masks.constant_mask, dtypes.BOOL)), None
        if own is not None:
            return own, None  # a fused node's own, as it is
        whole = self._condition(b)
        return (None if whole is None else self._spread(b, whole, self.mask_dims, query, key)), whole

    def _condition(self, b: Builder) -> str | None:
        """Where keys are discarded, of the sizes that the masks have; None where there is no mask."""
        masks = self.candidate.masks
        parts: list[str] = []
        if masks.constant_mask is not None:
            parts.append(b.tensor(masks.constant_mask, dtypes.BOOL))
        for mask in masks.masks:
            value = self._written(b, mask)
            if mask.threshold is not None:
                limit = b.tensor(np.array(mask.threshold), b.type_of(value).dtype)
                op = "Less" if mask.when else "Greater"
                value = b.op(op, value, limit)
            elif not mask.when:
                value = b.op("LogicalNot", value)
            parts.append(value)
        if not parts:
            return None
        whole = parts[0]
        for part in parts[1:]:
            whole = b.op("LogicalOr", whole, part)
        return whole

    def _bias(self, b: Builder, factor: float) -> str | None:
        """The bias for the node, before it is repeated to the sizes that the node takes."""
        masks, compute = self.candidate.masks, self.candidate.dtype
        parts: list[str] = []
        if masks.constant_bias is not None:
            parts.append(b.tensor(masks.constant_bias * factor, compute))
        for term in masks.biases:
            if term.source is None:  # a fused node's own
                return b.scaled(term.value, term.factor * factor)
            parts.append(b.cast(b.scaled(self._written(b, term), term.factor * factor), compute))
        if not parts:
            return None
        whole = parts[0]
        for part in parts[1:]:
            whole = b.op("Add", whole, part)
        return whole

    def _repeated(self, b: Builder, bias: str | None, query: str, key: str) -> str | None:
        """The bias in the sizes that the node takes; a fused node's own has them."""
        if bias is None or any(term.source is None for term in self.candidate.masks.biases):
            return bias
        return self._spread(b, bias, self.bias_dims, query, key)

    def _spread(self, b: Builder, value: str, dims: tuple[int, ...] | None, query: str, key: str) -> str:
        """A mask or bias repeated to [batch, heads, query, key].

        Lengths that are not known before run time are those of query and key as the node is given them: a mask of their
        sizes that hides nothing, or a bias of zeros, is laid upon it, and the operator repeats what has one element.
        """
        dims = dims or ()
        if UNKNOWN not in dims[2:]:
            return b.broadcast(value, dims)
        dtype, own = b.type_of(value).dtype, b.type_of(value).dims
        known = tuple(1 if UNKNOWN in (size, before) else size for size, before in zip(dims, own, strict=True))
        others = (
            [] if known == tuple(1 if size == UNKNOWN else size for size in own) else [b.tensor(np.zeros(known), dtype)]
        )
        for position, operand in ((2, query), (3, key)):
            if dims[position] == UNKNOWN:
                shape = tuple(UNKNOWN if axis == position else 1 for axis in range(4))
                others.append(b.cast(b.reshape(self._nowhere(b, operand), shape), dtype))
        for other in others:
            value = b.op("LogicalOr" if dtype == dtypes.BOOL else "Add", value, other)
        return value

    def _nowhere(self, b: Builder, operand: str) -> str:
        """False for each token of query or key, whatever numbers these hold: no number is less than itself."""
        first = b.take_last(operand, 1)
        axes = {"BNSD": (0, 1), "BSND": (0, 2)}.get(self.candidate.given_in, (0,))
        return b.op("ReduceAll", b.op("Less", first, first), b.constant(axes), b.constant(True))

    def _per_row(self, b: Builder, condition: str, layout: Layout) -> str:
        """[batch, heads, query, 1] beside query or the result in a layout, heads apart; or these have no head axis."""
        batch, heads, rows, last = b.type_of(condition).dims
        if not self.attention.axes.heads_known:
            return b.reshape(condition, (batch, rows, last))
        if layout == "BNSD":
            return condition
        if 1 in (heads, rows):
            return b.reshape(condition, (batch, rows, heads, last))
        return b.transpose(condition, (0, 2, 1, 3))

    def _zeroed(self, b: Builder, op: Literal["MaskedFill", "Select"], rows: str, value: str, heads: int) -> str:
        """Query or key, of so many heads, with zeros in rows that a condition tells."""
        layout, dims = self.candidate.given_in, b.type_of(value).dims
        zero = b.tensor(np.array(0.0), b.type_of(value).dtype)
        condition = self._per_row(b, rows, layout)
        is_apart = layout != "BNSD" and self.attention.axes.heads_known
        apart = b.reshape(value, (*dims[:2], heads, dims[-1] // heads)) if is_apart else value
        if op == "Select" and UNKNOWN not in dims:
            return b.reshape(b.op(op, condition, zero, apart), dims)
        # Lite has a Select of operands of one shape only, and none can be given another whose sizes are not known.
        return b.reshape(b.op("MaskedFill", apart, condition, zero), dims)

    def _shifted_bias(self, b: Builder, query: str, key: str) -> tuple[str, str, str | None]:
        """Query with zeros where the bias absorbs the scores, the shifted bias, and the rows to be guarded.

        These are the rows of −inf alone and those with a +inf or NaN.
        """
        masks, compute = self.candidate.masks, self.candidate.dtype
        whole: str | None = None
        for term in masks.shifted:
            whole = self._shifted_term(b, term, whole)
        assert whole is not None
        largest = b.reduce_last("ReduceMax", whole, -1)
        shifted = b.cast(b.op("Sub", whole, largest), compute)
        bias = self._spread(b, shifted, self.bias_dims, query, key)
        query = self._zeroed(b, "Select", self._absorbed(b, largest), query, product(self.attention.axes.heads))
        if masks.guard is None:
            return query, bias, None
        magnitude = b.op("Abs", largest)
        infinite = b.tensor(np.array(np.inf), dtypes.FLOAT32)
        finite = b.op("Less", magnitude, infinite)  # also of NaN it is False: +inf and −inf may have met
        return query, bias, b.op("LogicalNot", finite)

    def _absorbed(self, b: Builder, largest: str) -> str:
        """Where the largest bias of a row absorbs its scores: in its type below −level, in every type above 1e30."""
        level = self.candidate.masks.level or -ABSORBING
        above = b.op("Greater", largest, b.tensor(np.array(-ABSORBING), dtypes.FLOAT32))
        below = b.op("Less", largest, b.tensor(np.array(-level * _JUST_ABOVE), dtypes.FLOAT32))
        return b.op("LogicalOr", above, below)

    def _in_range(self, b: Builder, value: str, dtype: DType) -> str:
        """A float32 value as `dtype` holds it: infinite where the formula's is."""
        return b.cast(b.cast(value, dtype), dtypes.FLOAT32)

    def _shifted_term(self, b: Builder, term: Bias | Fill, before: str | None) -> str:
        """The sum of the terms up to and with this one, in float32; `before` is that of those before it."""
        value = self._written(b, term)
        if isinstance(term, Bias):
            scaled = b.scaled(b.cast(value, dtypes.FLOAT32), term.factor)
            scaled = scaled if term.factor == 1.0 else self._in_range(b, scaled, term.added_in)
            return scaled if before is None else self._in_range(b, b.op("Add", before, scaled), term.added_in)
        fill = b.tensor(np.array(term.fill), dtypes.FLOAT32)
        other = b.tensor(np.array(0.0), dtypes.FLOAT32) if before is None else before
        branches = (fill, other) if term.when else (other, fill)
        return b.op("Select", value, *branches)
