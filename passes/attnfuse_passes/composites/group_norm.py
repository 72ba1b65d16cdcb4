"""GroupNorm as GroupNormSilu, which takes in the SiLU behind the norm.

Gain and offset are in x's type, as GroupNorm has them: CANN's kernel for the 310P reads them so, whatever they are. One
that is absent is written out, as CANN requires both.

Neither is a constant tensor, but FillV2: MindSpore 2.7.1, which has no inference for this operator, drops constants
that are its operands where the graph has weights too, and then rejects the graph ("The input is null").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from attnfuse.api import (
    Builder,
    Candidate,
    CompositeFacts,
    Model,
    Node,
    Result,
    RewriteContext,
    TensorFacts,
    TensorType,
    cannot,
    effective_uses,
)
from attnfuse_passes.composites.composite import (
    Composite,
    CompositeLowering,
    CompositeRewrite,
    facts_of,
    number,
)
from attnfuse_passes.legalise import nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupNorm(Composite):
    """x [N, C, …], normalised in `groups` of channels, times gain [C] plus offset [C], and through SiLU where
    `activated`. A gain or offset that is a number is that for every channel.
    """

    x: str
    tensor_type: TensorType
    groups: int
    gain: str | float
    offset: str | float
    epsilon: float
    activated: bool


class GroupNormSilu(CompositeLowering[GroupNorm]):
    """(x, gamma, beta; num_groups, eps, activate_silu): a tuple, the normalised tensor first.

    All attributes are written: without, CANN takes its own defaults, of which activate_silu is true.
    """

    form: ClassVar[str] = "GroupNormSilu"

    def facts(self, form: GroupNorm, at: RewriteContext) -> CompositeFacts:
        x = facts_of(form.tensor_type)
        if at.context.any_batch:
            x = TensorFacts((-1, *x.dims[1:]), x.dtype)
        parameter = TensorFacts(x.dims[1:2], x.dtype)
        return CompositeFacts(self.form, (x, parameter, parameter), {"num_groups": form.groups})

    def write(self, build: Builder, form: GroupNorm, candidate: Candidate) -> Result:
        channels, dtype = form.tensor_type.dims[1:2], form.tensor_type.dtype
        gain, offset = (
            one if isinstance(one, str) else nodes.fill(build, channels, one, dtype) for one in (form.gain, form.offset)
        )
        attributes = (
            nodes.whole("num_groups", form.groups),
            number("eps", form.epsilon),
            nodes.flag("activate_silu", value=form.activated),
        )
        several = build.op("GroupNormSilu", form.x, gain, offset, prim_type=build.PRIMITIVE, attributes=attributes)
        return nodes.element(build, several, 0) if form.activated else several


class GroupNormRewrite(CompositeRewrite[GroupNorm]):
    """(x, groups, gain or None, offset or None, epsilon).

    F.group_norm without weights comes as constants of ones and zeros.
    """

    roots = frozenset(("GroupNorm",))
    lowerings = (GroupNormSilu(),)

    def raise_(self, at: RewriteContext) -> GroupNorm:
        at.only_first()
        tensor_type, gain, offset = at.type(0), _by_channel(at, 2, absent=1.0), _by_channel(at, 3, absent=0.0)
        if tensor_type.dims[1] < 0 and not (isinstance(gain, str) and isinstance(offset, str)):
            raise cannot(f"it normalises {tensor_type}, whose channels are not known before run time")
        activation = _activation(at)
        return GroupNorm(
            anchor=at.node.name if activation is None else activation.name,
            x=at.input(0),
            tensor_type=tensor_type,
            groups=at.integer(1),
            gain=gain,
            offset=offset,
            epsilon=float(at.number(4)),
            activated=activation is not None,
        )


def _by_channel(at: RewriteContext, position: int, *, absent: float) -> str | float:
    """Gain or offset: the value, or the one number that it has for every channel."""
    value = at.optional(position)
    if value is None:
        return absent
    if not at.model.is_literal(value):
        return value
    literal = at.model.literal(value)
    numbers = set(literal.astype(np.float64).ravel().tolist()) if isinstance(literal, np.ndarray) else set()
    if len(numbers) != 1:
        raise cannot("its gain or offset is a constant tensor of several numbers, which MindSpore drops")
    return float(numbers.pop())


def _activation(at: RewriteContext) -> Node | None:
    """The SiLU that alone reads the normalised tensor, or the product of it with its Sigmoid.

    None where there is none, where it gives another type, or something is changed in place that it or the norm reads.
    """
    items = [use.node for use in effective_uses(at.model, at.node.name)]
    if len(items) != 1 or items[0] is None:
        return None
    found = _silu_of(at.model, items[0].name)
    if found is None or found.graph is not at.node.graph:
        return None
    touched = {at.input(0), items[0].name, found.name} & at.effects.mutated
    return None if touched or at.model.type_of(found.name) != at.type(0) else found


def _silu_of(model: Model, value: str) -> Node | None:
    """SiLU(value), or Mul(value, Sigmoid(value)), where nothing else reads the value or what is between."""
    readers = [use.node for use in effective_uses(model, value)]
    by_op = {reader.op: reader for reader in readers if reader is not None}
    if len(readers) == 1:
        return by_op.get("SiLU")
    sigmoid, product = by_op.get("Sigmoid"), by_op.get("Mul")
    if len(readers) != 2 or sigmoid is None or product is None:  # the two factors
        return None
    alone = [use.node for use in effective_uses(model, sigmoid.name)]
    return product if [node and node.name for node in alone] == [product.name] else None
