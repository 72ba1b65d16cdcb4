"""Zeros behind heads that cost nothing: in the weights of the linear layers around an attention.

Query, key or value that is only moved and regrouped on its way from a linear layer, which nothing else reads, comes out
of that layer with its zeros: they stand in its weight and bias. A result that is only moved on its way into one keeps
its zeros, and its weight has zeros for them. No Pad and no slice is written there. The scale stays the source's.
"""

from __future__ import annotations

from dataclasses import dataclass

from attnfuse.api import RewriteContext, effective_uses
from attnfuse_passes.attention.axes import UNKNOWN, Atom, Axis, keys, product
from attnfuse_passes.attention.normal_form import Attention, Operand, ResultView, flat
from attnfuse_passes.linear import Linear, PaddedLinear, read_linear, read_product

_MOST_READERS = 64
"""Readers that are followed from a layer to the attention: every one has to end there."""


@dataclass(frozen=True, slots=True)
class PaddedOperand:
    """Query, key or value as its layer gives it with the zeros, under the name of what it gives without them; `last`
    is a head's axis. `made` are values of the graph that are without purpose then."""

    layer: PaddedLinear
    operand: Operand
    last: Axis
    made: frozenset[str]


@dataclass(frozen=True, slots=True)
class PaddedResult:
    """The layer that takes the result with its zeros, as `view`; `last` and `made` as of an operand."""

    layer: PaddedLinear
    view: ResultView
    last: Axis
    made: frozenset[str]


@dataclass(frozen=True, slots=True)
class FreePadding:
    """What is padded by weights, None where it is not."""

    query: PaddedOperand | None = None
    key: PaddedOperand | None = None
    value: PaddedOperand | None = None
    result: PaddedResult | None = None

    @property
    def operands(self) -> tuple[PaddedOperand | None, PaddedOperand | None, PaddedOperand | None]:
        return self.query, self.key, self.value

    @property
    def told(self) -> tuple[str, ...]:
        """The names of those that are."""
        return tuple(name for name in ("query", "key", "value", "result") if getattr(self, name) is not None)

    @property
    def made(self) -> frozenset[str]:
        """The values of the graph that are without purpose."""
        return frozenset(value for part in (*self.operands, self.result) if part is not None for value in part.made)


def find_free_padding(at: RewriteContext, attention: Attention, width: int, *, together: bool) -> FreePadding:
    """What weights can pad of an attention, to heads of `width` elements.

    With `together`, value and result are padded both or neither: what stands for a row is made of the value.
    """
    axes, search = attention.axes, _Search(at, attention, width)
    query = search.operand(attention.query, axes.head_dim)
    key = search.operand(attention.key, axes.head_dim)
    value, result = search.operand(attention.value, axes.value_head_dim), search.result()
    if together and (value is None or result is None):
        value = result = None
    operands = [query, key, value]
    # A layer that is still needed for another operand as it is would be computed twice.
    plain = {
        view
        for own, found in zip(attention.operands, operands, strict=True)
        if found is None
        for view, _ in own.layouts
    }
    query, key, kept = (None if found is None or found.layer.value in plain else found for found in operands)
    return FreePadding(query, key, kept, None if together and kept is None else result)


@dataclass(frozen=True, slots=True)
class _Search:
    at: RewriteContext
    attention: Attention
    width: int

    def operand(self, operand: Operand, head: Axis) -> PaddedOperand | None:
        for value, axes in operand.layouts:
            padded = self._padded(axes, head)
            linear = read_linear(self.at.model, value, self.at.effects) if padded is not None else None
            if padded is None or linear is None or self._is_replaced(linear):
                continue
            layer = PaddedLinear(linear, padded.groups, padded.count)
            between = self._feeds_only(value)
            if between is not None and layer.is_editable(self.at.model):
                source = tuple(flat(padded.axes))
                made = Operand(value, operand.dtype, source, ((value, padded.axes),))
                return PaddedOperand(layer, made, padded.last, linear.values | between)
        return None

    def result(self) -> PaddedResult | None:
        model, results = self.at.model, self.attention.results
        view = results[-1]
        uses = effective_uses(model, view.value)
        padded = self._padded(view.axes, self.attention.axes.value_head_dim)
        node = uses[0].node if len(uses) == 1 else None
        linear = None if node is None else read_product(model, node, self.at.effects)
        if padded is None or linear is None or uses[0].position != linear.operand or self._is_replaced(linear):
            return None
        layer = PaddedLinear(linear, padded.groups, padded.count, of_input=True)
        if not layer.is_editable(model):
            return None
        made = frozenset((linear.weight, *(view.value for view in results)))
        return PaddedResult(layer, ResultView(view.value, padded.axes, view.dtypes), padded.last, made)

    def _is_replaced(self, linear: Linear) -> bool:
        """Whether another site stands for something of the layer."""
        return any(value in self.at.replaced for value in linear.values)

    def _padded(self, axes: tuple[Axis, ...], head: Axis) -> _PaddedAxes | None:
        """The axes with the zeros, where the last one ends with a head's elements, behind those of the heads."""
        count = self.width - product(head)
        if not axes or not head or UNKNOWN in (product(axes[-1]), product(head)) or count <= 0:
            return None
        before = axes[-1][: len(axes[-1]) - len(head)]
        if keys(axes[-1]) != keys((*before, *head)):
            return None
        last = (Atom(head[0].key, self.width),)
        return _PaddedAxes((*axes[:-1], (*before, *last)), last, product(before), count)

    def _feeds_only(self, value: str) -> frozenset[str] | None:
        """The values between one and the attention, where nothing else reads any of them."""
        origin, model = self.attention.origin, self.at.model
        inside = {origin.root, origin.anchor, *origin.interior}
        seen, pending = {value}, [value]
        while pending:
            for use in effective_uses(model, pending.pop()):
                if use.node is None or len(seen) > _MOST_READERS:
                    return None
                if use.node.name not in inside and use.node.name not in seen:
                    seen.add(use.node.name)
                    pending.append(use.node.name)
        return frozenset(seen)


@dataclass(frozen=True, slots=True)
class _PaddedAxes:
    """Axes with zeros: `count` behind each of `groups` parts of the last one, `last` being a part's own axis."""

    axes: tuple[Axis, ...]
    last: Axis
    groups: int
    count: int
