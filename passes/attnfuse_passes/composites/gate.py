"""The gate of a feed-forward: one half of a projection times an activation of the other half.

GELU is GeGluV2, on all SoCs. SiLU is CANN's SwiGlu, which has no adapter and so is a `Custom`; only where the first
half is the activated one, for SwiGlu has no other order, and only where the pass is asked for it: such a node went
through GE's graph library and was never compiled. Another way to write a gate, as two products of cut weights, would be
a second lowering of the same form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnfuse.api import (
    Builder,
    Candidate,
    CompositeFacts,
    Node,
    Result,
    RewriteContext,
    TensorType,
    cannot,
)
from attnfuse_passes.composites.composite import Composite, CompositeLowering, CompositeRewrite, facts_of
from attnfuse_passes.composites.matching import Half, beside, half_of, only_reader
from attnfuse_passes.legalise import nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate(Composite):
    """`x`, whose axis `axis` is halved: one half times the activation of the other, the first where `first_activated`.

    `tanh` is GELU's approximation, None where the activation has none.
    """

    x: str
    tensor_type: TensorType
    axis: int
    first_activated: bool
    tanh: bool | None


class GeGluV2(CompositeLowering[Gate]):
    """(x; dim, approximate 0 erf or 1 tanh, activate_left): the gated tensor and its activated half.

    All attributes are written: without, CANN takes the form with tanh.
    """

    form: ClassVar[str] = "GeGluV2"

    def facts(self, form: Gate, at: RewriteContext) -> CompositeFacts:
        attributes = {"dim": _dim(form), "approximate": int(bool(form.tanh)), "activate_left": form.first_activated}
        return CompositeFacts(self.form, (facts_of(form.tensor_type),), attributes)

    def write(self, build: Builder, form: Gate, candidate: Candidate) -> Result:
        attributes = (
            nodes.whole("dim", _dim(form)),
            nodes.whole("approximate", int(bool(form.tanh))),
            nodes.flag("activate_left", value=form.first_activated),
        )
        several = build.op("GeGluV2", form.x, prim_type=build.PRIMITIVE, attributes=attributes)
        return nodes.element(build, several, 0)


class SwiGlu(CompositeLowering[Gate]):
    """(x; dim) of GE, by a `Custom` that names it and its ports as its prototype does."""

    form: ClassVar[str] = "SwiGlu"

    def facts(self, form: Gate, at: RewriteContext) -> CompositeFacts:
        return CompositeFacts(self.form, (facts_of(form.tensor_type),), {"dim": _dim(form)})

    def write(self, build: Builder, form: Gate, candidate: Candidate) -> Result:
        attributes = (
            nodes.text("reg_op_name", self.form),
            nodes.texts("input_names", ("x",)),
            nodes.texts("output_names", ("y",)),
            nodes.whole("dim", _dim(form)),
        )
        return build.op("Custom", form.x, prim_type=build.PRIMITIVE, attributes=attributes)


def _dim(form: Gate) -> int:
    """The halved axis as attribute: the last one counted from the end."""
    return -1 if form.axis == form.tensor_type.rank - 1 else form.axis


class GeluGate(CompositeRewrite[Gate]):
    """GeluExt(half, approximate: 0 none, 1 tanh) or GeLU(half), the form with tanh."""

    roots = frozenset(("GeluExt", "GeLU"))
    lowerings = (GeGluV2(),)

    def raise_(self, at: RewriteContext) -> Gate | None:
        found = _gated(at)
        if found is None:
            return None
        approximate = 1 if at.node.op == "GeLU" else at.integer(1)
        if approximate not in (0, 1):
            raise cannot(f"its approximation is {approximate}, neither 0 nor 1")
        return _gate(*found, tanh=approximate == 1)


class SiluGate(CompositeRewrite[Gate]):
    """SiLU(first half)."""

    roots = frozenset(("SiLU",))
    lowerings = (SwiGlu(),)

    def raise_(self, at: RewriteContext) -> Gate | None:
        found = _gated(at)
        if found is None:
            return None
        product, half, rest = found
        return _gate(product, half, rest, tanh=None) if half.index == 0 else None


def _gate(product: Node, half: Half, rest: Half, *, tanh: bool | None) -> Gate:
    return Gate(
        anchor=product.name,
        interior=(*half.made_by, *rest.made_by),
        x=half.x,
        tensor_type=half.tensor_type,
        axis=half.axis,
        first_activated=half.index == 0,
        tanh=tanh,
    )


def _gated(at: RewriteContext) -> tuple[Node, Half, Half] | None:
    """The product of the root, which it alone reads, with the other half of what it activates; and both halves.

    None where there is none, where a half or the activation is read elsewhere, or anything is changed in place.
    """
    model, activated = at.model, at.input(0)
    half, product = half_of(model, activated), only_reader(model, at.node.name)
    other = beside(product, ("Mul",), at.node.name)
    if half is None or product is None or other is None or product.graph is not at.node.graph:
        return None
    rest = half_of(model, other)
    if rest is None or not half.is_beside(rest):
        return None
    if only_reader(model, activated) is not at.node or only_reader(model, other) is not product:
        return None
    touched = {half.x, activated, other, at.node.name, product.name} & at.effects.mutated
    types = {model.type_of(value) for value in (activated, other, at.node.name, product.name)}
    return None if touched or len(types) != 1 else (product, half, rest)
