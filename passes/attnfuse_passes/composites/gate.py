"""The gate of a feed-forward: one half of a projection times an activation of the other half.

GELU is GeGluV2, on all SoCs, or two products, each of one half of the projection's weights, with the activation and a
product behind them, whichever moves fewer bytes by the rules of the estimate (docs/cost.md). In sizes of the gated
tensor, GeGluV2 reads two and writes two, for it gives out the activated half as well. The elementwise operations read
two and write one, if the graph engine makes one kernel of them, as rule 4 says it does; and the projection's operand is
read twice.

SiLU is CANN's SwiGlu, which has no adapter and so is a `Custom`; only where the first half is the activated one, for
SwiGlu has no other order, and only where the pass is asked for it: such a node went through GE's graph library and was
never compiled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from attnfuse.api import (
    SPECIFICATIONS,
    Builder,
    Candidate,
    CompositeFacts,
    Decision,
    Node,
    Result,
    RewriteContext,
    TensorType,
    Unsupported,
    cannot,
    effective_uses,
    first_supported,
)
from attnfuse_passes.composites.composite import Composite, CompositeLowering, CompositeRewrite, facts_of
from attnfuse_passes.composites.matching import Half, beside, half_of, only_reader
from attnfuse_passes.legalise import nodes
from attnfuse_passes.linear import CutLinear, Linear, read_linear

_OPERATIONS = {True: 2, False: 6}
"""Elementwise operations of a gate, its product with them: with tanh, and with erf."""
_CASTS = 2
"""Those around erf of a type that it is not computed in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate(Composite):
    """`x`, whose axis `axis` is halved: one half times the activation of the other, the first where `first_activated`.

    `tanh` is GELU's approximation, None where the activation has none. `linear` is the layer that makes `x`, where it
    is to be cut; `whole` says why it is not.
    """

    x: str
    tensor_type: TensorType
    axis: int
    first_activated: bool
    tanh: bool | None
    linear: Linear | None = None
    whole: str = ""


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


class CutWeights:
    """Two products of halves of the projection's weights, an activation and a product."""

    form: ClassVar[str] = "cut weights"

    def unsupported_reason(self, form: Gate, candidate: Candidate, at: RewriteContext) -> Unsupported | None:
        return None if form.linear is not None else Unsupported("composite.cut_weights", form.whole)

    def write(self, build: Builder, form: Gate, candidate: Candidate) -> Result:
        assert form.linear is not None
        first, second = (half.write(build) for half in _halves(form, form.linear))
        activated, other = (first, second) if form.first_activated else (second, first)
        if form.tanh:
            return build.op("Mul", other, build.op("GeLU", activated))
        return build.op("Mul", other, build.op("GeluExt", activated, build.constant(0)))


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
    """GeluExt(half, approximate: 0 none, 1 tanh) or GeLU(half), the form with tanh.

    With `cuts`, weights are cut where that costs less.
    """

    roots = frozenset(("GeluExt", "GeLU"))
    lowerings = (GeGluV2(), CutWeights())

    def __init__(self, *, cuts: bool) -> None:
        self.cuts = cuts

    def raise_(self, at: RewriteContext) -> Gate | None:
        found = _gated(at)
        if found is None:
            return None
        approximate = 1 if at.node.op == "GeLU" else at.integer(1)
        if approximate not in (0, 1):
            raise cannot(f"its approximation is {approximate}, neither 0 nor 1")
        gate = _gate(*found, tanh=approximate == 1)
        if not self.cuts:
            return replace(gate, whole="the pass is not asked for it")
        linear = read_linear(at.model, gate.x, at.effects)
        if linear is None:
            return replace(gate, whole="no linear layer whose weights may be edited makes what is halved")
        whole = _whole(at, gate, linear)
        return replace(gate, whole=whole) if whole else replace(gate, linear=linear)

    def decide(self, form: Gate, at: RewriteContext) -> Decision[Candidate]:
        if form.linear is None:
            return super().decide(form, at)
        decision = first_supported(self.lowerings[::-1], form, at, form.anchor)
        assert decision.chosen is not None
        removes = (*form.interior, *sorted(form.linear.values))
        return replace(decision, chosen=replace(decision.chosen, removes=removes))


def _whole(at: RewriteContext, gate: Gate, linear: Linear) -> str:
    """Why the weights of the layer that makes what is halved are not cut; "" where they are."""
    model, half = at.model, gate.tensor_type.dims[-1] // 2
    inside = {at.node.name, gate.anchor, *gate.interior, *linear.values}
    made = (gate.x, *gate.interior, *linear.values)
    if any(use.node is None or use.node.name not in inside for value in made for use in effective_uses(model, value)):
        return "what is halved, or a weight of it, is read elsewhere"
    if any(value in at.replaced for value in linear.values):
        return "another rewrite stands for something of the layer"
    if gate.axis != gate.tensor_type.rank - 1 or not all(cut.is_editable(model) for cut in _halves(gate, linear)):
        return "its weights cannot be cut so"
    operand = model.type_of(linear.product.inputs[linear.operand])
    if operand is None or operand.dims[-1] >= half:
        return "to read the layer's operand twice costs more than is saved"
    operations = _OPERATIONS[bool(gate.tanh)]
    if not gate.tanh and gate.tensor_type.dtype.is_low_precision:
        operations += _CASTS
    limit = SPECIFICATIONS[at.target.soc].region_limit
    return "" if operations <= limit else f"{operations} elementwise operations are no one kernel on {at.target.soc}"


def _halves(gate: Gate, linear: Linear) -> tuple[CutLinear, CutLinear]:
    half = gate.tensor_type.dims[-1] // 2
    return CutLinear(linear, 0, half), CutLinear(linear, half, 2 * half)


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
