"""Rotations of positions, x · cos + r(x) · sin, as RotaryPositionEmbedding, where it computes what the source does.

r turns each pair of neighbours (a, b), or the halves of the last axis, into (−b, a). CANN's kernel takes x, cos and sin
of one type and rounds the result to it. It computes in float32, but for halves in float16, where it rounds after each
step. So what the source computes in float32 of values that are all float16 is the same by pairs; by halves it is only
where the source computes in float16, too. Cosines of more digits than x has would have to be rounded: those stay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from attnfuse.api import (
    Builder,
    Candidate,
    CompositeFacts,
    Hands,
    Model,
    Node,
    Result,
    RewriteContext,
    TensorFacts,
    TensorType,
    behind,
    dtypes,
    makes_tuple,
    takes_element,
)
from attnfuse_passes.composites.composite import Composite, CompositeLowering, CompositeRewrite, facts_of
from attnfuse_passes.composites.matching import beside, half_of, only_reader

_HALVES, _PAIRS = 0, 1
"""CANN's modes."""
_SAME = frozenset({Hands.SAME})
_ROW_MAJOR = frozenset({Hands.SAME, Hands.REGROUPED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation(Composite):
    """`x` [B, S, N, D], or with its other axes in another order, rotated by angles of which `cos` and `sin` are."""

    x: str
    cos: str
    sin: str
    mode: int
    tensor_types: tuple[TensorType, TensorType, TensorType]


class RotaryPositionEmbedding(CompositeLowering[Rotation]):
    """(x, cos, sin, mode): the mode is an argument, for as an attribute it is lost, and 0 taken."""

    form: ClassVar[str] = "RotaryPositionEmbedding"

    def facts(self, form: Rotation, at: RewriteContext) -> CompositeFacts:
        x, cos, sin = map(facts_of, form.tensor_types)
        if at.context.any_batch:
            x = TensorFacts((-1, *x.dims[1:]), x.dtype)
        return CompositeFacts(self.form, (x, cos, sin), {"mode": form.mode})

    def write(self, build: Builder, form: Rotation, candidate: Candidate) -> Result:
        return build.op("RotaryPositionEmbedding", form.x, form.cos, form.sin, build.constant(form.mode))


class RotationRewrite(CompositeRewrite[Rotation]):
    """The Neg within."""

    roots = frozenset(("Neg",))
    lowerings = (RotaryPositionEmbedding(),)

    def raise_(self, at: RewriteContext) -> Rotation | None:
        model = at.model
        turned = _turned(model, at.node)
        if turned is None:
            return None
        product = only_reader(model, turned.value)
        sine = beside(product, ("Mul",), turned.value)
        if product is None or sine is None:
            return None
        sum_ = only_reader(model, product.name)
        other = beside(sum_, ("Add",), product.name)
        cosine = None if other is None else _factor(model, other, turned.x)
        return None if sum_ is None or cosine is None else _rotation(at, turned, sum_, (cosine, sine))


@dataclass(frozen=True, slots=True)
class _Turned:
    """r(x) in that mode, as `value`; `made_by` are nodes on the way that effects may be ordered by."""

    x: str
    mode: int
    value: str
    made_by: tuple[str, ...]


def _rotation(at: RewriteContext, turned: _Turned, sum_: Node, angles: tuple[str, str]) -> Rotation | None:
    """The form, where all is of x's type, or of values of x's type that were cast, and the result is cast back."""
    model, x, mode = at.model, turned.x, turned.mode
    tensor_type, computed = model.type_of(x), model.type_of(sum_.name)
    if tensor_type is None or computed is None or computed.dims != tensor_type.dims:
        return None
    anchor = sum_ if computed.dtype == tensor_type.dtype else only_reader(model, sum_.name)
    cos, sin = (_uncast(model, value, tensor_type) for value in angles)
    if anchor is None or model.type_of(anchor.name) != tensor_type or anchor.graph is not at.node.graph:
        return None
    if anchor is not sum_ and (anchor.op != "Cast" or computed.dtype is not dtypes.FLOAT32):
        return None
    types = model.type_of(cos), model.type_of(sin)
    if types[0] is None or types[1] is None or {t.dtype for t in types if t is not None} != {tensor_type.dtype}:
        return None
    if mode == _HALVES and tensor_type.dtype is dtypes.FLOAT16 and anchor is not sum_:
        return None  # the source computes in float32, the kernel would not
    if {x, cos, sin, sum_.name, anchor.name} & at.effects.mutated:
        return None
    return Rotation(
        anchor=anchor.name,
        interior=turned.made_by,
        x=x,
        cos=cos,
        sin=sin,
        mode=mode,
        tensor_types=(tensor_type, types[0], types[1]),
    )


def _uncast(model: Model, value: str, tensor_type: TensorType) -> str:
    """The value before it was cast from that type; else the value."""
    node, before = model.producer(value), None
    if node is not None and node.op == "Cast":
        before = model.type_of(node.inputs[0])
    return node.inputs[0] if node is not None and before is not None and before.dtype == tensor_type.dtype else value


def _factor(model: Model, product: str, x: str) -> str | None:
    """What x, or a Cast of it, is multiplied by, where that sum alone reads the product."""
    node = model.producer(product)
    if node is None or node.op != "Mul" or only_reader(model, product) is None:
        return None
    tensor_type = model.type_of(x)
    for value, other in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
        if value == x or (tensor_type is not None and _uncast(model, value, tensor_type) == x):
            return other
    return None


def _turned(model: Model, negated: Node) -> _Turned | None:
    """r(x), as the product with sin reads it; None where the root is part of no such thing."""
    several = only_reader(model, negated.name)
    if several is None or not makes_tuple(several) or len(several.inputs) != 2:  # −b and a
        return None
    joined = only_reader(model, several.name)
    if several.inputs[0] != negated.name or joined is None:
        return None
    second, first = negated.inputs[0], several.inputs[1]
    found = _of_pairs(model, second, first, joined) or _of_halves(model, second, first, joined)
    reader = None if found is None else only_reader(model, found.value)
    return found if found is None or reader is None or reader.op != "Cast" else replace(found, value=reader.name)


def _of_halves(model: Model, second: str, first: str, joined: Node) -> _Turned | None:
    """Concat of the second half, negated, and the first."""
    half, rest = half_of(model, first), half_of(model, second)
    if joined.op != "Concat" or half is None or rest is None or half.index or not half.is_beside(rest):
        return None
    last = half.tensor_type.rank - 1
    if half.axis != last or not _axis_is(model, joined, last) or model.type_of(joined.name) != half.tensor_type:
        return None
    return _Turned(half.x, _HALVES, joined.name, (*half.made_by, *rest.made_by))


def _of_pairs(model: Model, second: str, first: str, stacked: Node) -> _Turned | None:
    """Stack of the second of each pair of neighbours, negated, and the first, regrouped as x is."""
    items = [model.producer(behind(model, value, _SAME)) for value in (first, second)]
    regrouped, elements = only_reader(model, stacked.name), [item for item in items if item and takes_element(item)]
    apart = model.producer(elements[0].inputs[0]) if elements else None
    if len(elements) != 2 or regrouped is None or apart is None or elements[1].inputs[0] != apart.name:
        return None
    indices = [model.literal(item.inputs[1]) for item in elements if model.is_literal(item.inputs[1])]
    if indices != [0, 1] or apart.op != "UnstackExtView" or stacked.op != "StackExt":
        return None
    x = behind(model, apart.inputs[0], _ROW_MAJOR)
    tensor_type, pairs = model.type_of(x), model.type_of(apart.inputs[0])
    if tensor_type is None or pairs is None or model.type_of(regrouped.name) != tensor_type:
        return None
    if behind(model, regrouped.name, _ROW_MAJOR) != stacked.name or model.type_of(stacked.name) != pairs:
        return None
    if pairs.dims[-1] != 2 or pairs.dims[:-2] != tensor_type.dims[:-1]:
        return None
    if not all(_axis_is(model, node, pairs.rank - 1) for node in (apart, stacked)):
        return None
    return _Turned(x, _PAIRS, regrouped.name, (first, second, *(item.name for item in elements), apart.name))


def _axis_is(model: Model, node: Node, axis: int) -> bool:
    """Whether the node's second argument is that axis, the last, from the front or as −1."""
    return model.is_literal(node.inputs[1]) and model.literal(node.inputs[1]) in (axis, -1)
