"""A sum and the LayerNorm behind it as AddLayerNorm, which gives both: the residual connection of a transformer.

Inside it is float32 whatever the types are, and the sum is normalised before it is rounded. On the 910B the engine may
do the same by itself, but only for a LayerNorm that no Reshape parts from the sum (see `layer_norm.py`); on the 310P it
does not. It costs more where the sum would have been one kernel with what makes a summand: then the norm stands alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnfuse.api import (
    Builder,
    Candidate,
    CompositeFacts,
    DType,
    Kernel,
    Model,
    Node,
    Result,
    RewriteContext,
    TensorFacts,
    Unsupported,
    effective_uses,
    kernel,
)
from attnfuse_passes.attention.identities.scale import constant_factor, keeps_shape
from attnfuse_passes.composites.composite import CompositeLowering, CompositeRewrite, facts_of, number
from attnfuse_passes.composites.layer_norm import ROOTS, LayerNorm, read
from attnfuse_passes.legalise import nodes

_SUMS = ("Add", "AddExt")
_BY_A_NUMBER = ("Mul", "Muls", "Div", "Divs")


@dataclass(frozen=True, slots=True, kw_only=True)
class SumAndLayerNorm(LayerNorm):
    """The norm of one + other, tensors of one type. `is_read` tells whether the sum, `x`, is read elsewhere.

    `in_region` tells whether what makes a summand would be one kernel with the sum. `parameters` is the element type of
    gain and offset.
    """

    one: str
    other: str
    is_read: bool
    in_region: bool
    parameters: DType


class AddLayerNorm(CompositeLowering[SumAndLayerNorm]):
    """(x1, x2, gamma, beta; epsilon, additional_output): a tuple of the norm, mean, deviation and sum."""

    form: ClassVar[str] = "AddLayerNorm"

    def unsupported_reason(self, form: SumAndLayerNorm, candidate: Candidate, at: RewriteContext) -> Unsupported | None:
        """What the target has against it, or that it costs more than the sum and the norm."""
        refusal = super().unsupported_reason(form, candidate, at)
        if refusal is None and form.in_region:
            return Unsupported("", f"{self.form} would cost a kernel more: what makes a summand is one with the sum")
        return refusal

    def facts(self, form: SumAndLayerNorm, at: RewriteContext) -> CompositeFacts:
        x = facts_of(form.tensor_type)
        parameter = TensorFacts(x.dims[form.first :], form.parameters.name)
        return CompositeFacts(self.form, (x, x, parameter, parameter), {})

    def write(self, build: Builder, form: SumAndLayerNorm, candidate: Candidate) -> Result:
        tail = form.tensor_type.dims[form.first :]
        gain, offset = (
            value or nodes.filled(build, tail, fill, form.parameters)
            for value, fill in ((form.gain, 1.0), (form.offset, 0.0))
        )
        attributes = (number("epsilon", form.epsilon), nodes.flag("additional_output", value=form.is_read))
        several = build.op(
            "AddLayerNorm", form.one, form.other, gain, offset, prim_type=build.PRIMITIVE, attributes=attributes
        )
        if form.is_read:
            build.take_over(form.x, nodes.element(build, several, 3))
        return form.result(nodes.element(build, several, 0))


class AddLayerNormRewrite(CompositeRewrite[SumAndLayerNorm]):
    """A LayerNorm behind an Add. The sum's other readers must stand behind the norm: it is made there."""

    roots = ROOTS
    lowerings = (AddLayerNorm(),)

    def __init__(self, model: Model) -> None:
        self._places = {node.name: place for place, node in enumerate(model.nodes)}

    def raise_(self, at: RewriteContext) -> SumAndLayerNorm | None:
        added = at.model.producer(at.input(0))
        if added is None or added.op not in _SUMS or added.graph is not at.node.graph:
            return None
        summands = _summands(at.model, added)
        if summands is None or {added.name, *summands} & at.effects.mutated:
            return None
        others = [use.node for use in at.model.uses(added.name) if use.node is not at.node]
        if any(other is None or not self._may_read(other, at.node) for other in others):
            return None
        norm = read(at)
        parameters = {at.model.type_of(value) for value in (norm.gain, norm.offset) if value is not None}
        types = {tensor_type.dtype for tensor_type in parameters if tensor_type is not None}
        if len(types) > 1:
            return None
        one, other = summands
        return SumAndLayerNorm(
            anchor=norm.anchor,
            x=norm.x,
            tensor_type=norm.tensor_type,
            first=norm.first,
            gain=norm.gain,
            offset=norm.offset,
            epsilon=norm.epsilon,
            outputs=norm.outputs,
            one=one,
            other=other,
            is_read=bool(others),
            in_region=any(_is_one_kernel_with(at.model, value, added) for value in summands),
            parameters=types.pop() if types else norm.tensor_type.dtype,
        )

    def _may_read(self, reader: Node, norm: Node) -> bool:
        """Whether the node may read a sum that is made where the norm stands; another norm would make it itself."""
        behind = self._places[reader.name] > self._places[norm.name]
        return behind and reader.graph is norm.graph and reader.op not in ROOTS


def _summands(model: Model, added: Node) -> tuple[str, str] | None:
    """Both operands of a plain sum, without factors of 1; None where they are of other types than the sum."""
    if added.op == "AddExt" and constant_factor(model, added.inputs[2]) != 1.0:
        return None
    total = model.type_of(added.name)
    one, other = (_without_ones(model, value) for value in added.inputs[:2])
    same = total is not None and model.type_of(one) == model.type_of(other) == total
    return (one, other) if same else None


def _without_ones(model: Model, value: str) -> str:
    """What is read through products with 1 and quotients by 1, of floating-point numbers: the same."""
    node = model.producer(value)
    while node is not None and node.op in _BY_A_NUMBER and keeps_shape(model, node, node.inputs[0]):
        if constant_factor(model, node.inputs[1]) != 1.0:
            break
        value = node.inputs[0]
        node = model.producer(value)
    return value


def _is_one_kernel_with(model: Model, value: str, added: Node) -> bool:
    """Whether an elementwise operation makes the value for the sum alone: a region of the engine (docs/cost.md)."""
    maker = model.producer(value)
    if maker is None or kernel(maker) is not Kernel.ELEMENTWISE:
        return False
    return all(use.node is added for use in effective_uses(model, value))
