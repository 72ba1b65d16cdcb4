"""A fused node of the source, raised to the normal form: its sizes, its mask and bias, the casts around it.

mindone places FlashAttentionScore itself on an Ascend host, and always in its Flux, Wan and LTX models; MindSpore Lite
keeps the arguments of PromptFlashAttention only, MindSpore has both. mindone casts query, key and value of another type
to float16 or bfloat16 for the node's sake and casts the result back; where a graph shows just that, the casts are the
policy's to decide, as they are mindone's settings' there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from attnfuse.api import (
    Effects,
    FailureReason,
    FusedNodeFacts,
    MatchFailure,
    Model,
    Node,
    RewriteContext,
    Role,
    SiteFacts,
    TensorFacts,
    TensorType,
    dtypes,
    operators_of,
    region_lines,
)
from attnfuse_passes.attention.axes import Axis, Space, View
from attnfuse_passes.attention.decide import AttentionRewrite, Sites
from attnfuse_passes.attention.fused_arguments import (
    CODE,
    FusedArguments,
    band_of,
    check_plain,
    literal_scale,
    only_output,
    read_arguments,
)
from attnfuse_passes.attention.lower.fused import LAYOUT_NUMBERS
from attnfuse_passes.attention.lower.operands import in_layout
from attnfuse_passes.attention.mask_values import ConstantFolder
from attnfuse_passes.attention.normal_form import (
    Attention,
    AttentionAxes,
    Band,
    Bias,
    BooleanMask,
    Layout,
    Operand,
    Origin,
    ResultView,
    SurroundingCasts,
    Term,
    UnreadFusedNode,
    flat,
)
from attnfuse_passes.attention.producers import known_wrong
from attnfuse_passes.attention.self_or_cross import self_or_cross
from attnfuse_passes.attention.surroundings import read_behind, read_operand, shared_values
from attnfuse_passes.naming import SiteNames

_HEAD_AXIS = {"BNSD": 1, "BSND": 2}
_BATCH_AXIS = {"BSH": 0, "BNSD": 0, "BSND": 0, "SBH": 1}
_LENGTH_AXIS = {"BSH": 1, "BNSD": 2, "BSND": 1, "SBH": 0}
_DTYPES = (dtypes.FLOAT16, dtypes.BFLOAT16, dtypes.FLOAT32)
"""The operators take the first two; mindone places one in a float32 graph too, which the policy's cast makes right."""
_NAMES = ("batch", "heads", "kv_heads", "query_length", "key_length", "head_dim", "value_head_dim")
"""The axes of an attention."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Sizes:
    """What query, key and value say of the attention, and the node as a target is asked about it; −1: not known."""

    layout: Layout
    types: tuple[TensorType, TensorType, TensorType]
    batch: int
    heads: int
    kv_heads: int
    query_length: int
    key_length: int
    head_dim: int
    per_head: bool
    given: FusedNodeFacts


def raise_fused_node(
    model: Model, node: Node, effects: Effects, names: SiteNames, known: ConstantFolder
) -> Attention | UnreadFusedNode:
    """The attention that a fused node says or, where it says more than that, what is known of it.

    `known` knows the values of constants and weights.
    """
    casts = find_casts(model, node)
    found = _attempt(partial(read_arguments, model, node))
    sizes = found if isinstance(found, FailureReason) else _attempt(partial(_sizes, model, found))
    output = _attempt(partial(_output, model, node))
    plain = found if isinstance(found, FailureReason) else _attempt(partial(check_plain, found))
    origin = _origin(model, node, names, found, sizes, casts)
    if (
        isinstance(found, FailureReason)
        or isinstance(plain, FailureReason)
        or isinstance(sizes, FailureReason)
        or isinstance(output, FailureReason)
    ):
        return UnreadFusedNode(
            origin=origin,
            op=node.op,
            types=tuple(model.type_of(name) for name in node.inputs[:3]),
            scale=literal_scale(model, node),
            casts=casts,
            failure=next(reason for reason in (found, plain, sizes, output) if isinstance(reason, FailureReason)),
            given=sizes if isinstance(sizes, FailureReason) else sizes.given,
        )
    try:
        band = band_of(found, sizes.query_length, sizes.key_length, known)
        return _attention(model, found, sizes, output, origin, casts, effects.mutated, band)
    except MatchFailure as failure:
        types = sizes.types
        return UnreadFusedNode(origin, node.op, types, found.scale, casts, failure.reason, sizes.given)


class FusedNodeOfSource(AttentionRewrite):
    """A fused node that the source holds already."""

    def __init__(self, sites: Sites) -> None:
        super().__init__(sites)
        self.roots = operators_of(Role.FUSED_ATTENTION)  # plugins may bring some

    def raise_(self, at: RewriteContext) -> Attention | UnreadFusedNode:
        return raise_fused_node(at.model, at.node, at.effects, self.sites.names, self.sites.values)


def _attempt(check: Callable[[], T]) -> T | FailureReason:
    try:
        return check()
    except MatchFailure as failure:
        return failure.reason


def _output(model: Model, node: Node) -> TensorType:
    """The type of the attention. Raises MatchFailure where it is not known, or another output is read."""
    tensor_type = model.type_of(only_output(model, node).name)
    if tensor_type is None:
        raise MatchFailure("facts.type", node.name, "a result of known type", "none")
    return tensor_type


def _origin(
    model: Model,
    node: Node,
    names: SiteNames,
    found: FusedArguments | FailureReason,
    sizes: _Sizes | FailureReason,
    casts: SurroundingCasts | None,
) -> Origin:
    anchor = _attempt(partial(only_output, model, node))
    result = node if isinstance(anchor, FailureReason) else anchor
    head_dim = None if isinstance(sizes, FailureReason) else sizes.head_dim
    return Origin(
        form="fused",
        module=names.of_values(node, *node.inputs[:3]),
        graph=node.graph.name,
        root=node.name,
        anchor=result.name,
        interior=(node.name, result.name),
        region=region_lines(model, [node]),
        facts=_facts(model, node, sizes, casts),
        warnings=() if isinstance(found, FailureReason) else known_wrong(model, found, head_dim),
    )


def _facts(model: Model, node: Node, sizes: _Sizes | FailureReason, casts: SurroundingCasts | None) -> SiteFacts:
    attention = self_or_cross(model, *node.inputs[:3]) if len(node.inputs) >= 3 else None
    query = model.type_of(node.inputs[0]) if node.inputs else None
    dtype = casts.dtype.name if casts is not None else None if query is None else query.dtype.name
    if isinstance(sizes, FailureReason):
        return SiteFacts(dtype=dtype, attention=attention)
    query_length, key_length, head_dim = (
        size if size >= 0 else None for size in (sizes.query_length, sizes.key_length, sizes.head_dim)
    )
    return SiteFacts(query_length, key_length, head_dim, dtype, attention)


def _sizes(model: Model, found: FusedArguments) -> _Sizes:
    """Raises MatchFailure where query, key, value or mask are not what the layout and the heads say."""
    node = found.node
    layouts = found.operator.takes
    layout = next((name for name in layouts if LAYOUT_NUMBERS[name] == found.layout), None)
    if layout is None:
        named = next((name for name, number in LAYOUT_NUMBERS.items() if number == found.layout), str(found.layout))
        raise MatchFailure(CODE, node.name, f"one of the layouts {', '.join(layouts)}", named)
    is_joined = layout in ("BSH", "SBH")
    types = [model.type_of(name) for name in node.inputs[:3]]
    q, k, v = types
    if q is None or k is None or v is None or q.dtype not in _DTYPES or not q.dtype == k.dtype == v.dtype:
        expected = "query, key and value all in float16, in bfloat16 or in float32"
        raise MatchFailure(CODE, node.name, expected, ", ".join(str(x) for x in types))
    rank = 3 if is_joined else 4
    if any(tensor_type.rank != rank for tensor_type in (q, k, v)):
        raise MatchFailure(CODE, node.name, f"query, key and value of {rank} axes", f"{q}, {k} and {v}")
    if not is_joined and q.dims[_HEAD_AXIS[layout]] != found.heads:
        raise MatchFailure(CODE, node.name, f"a query of {found.heads} heads", str(q))
    head_dim = q.dims[-1] // found.heads if is_joined else q.dims[-1]
    if head_dim == 0:
        raise MatchFailure(CODE, node.name, "heads of at least one element", str(q))
    kv_heads = k.dims[-1] // head_dim if is_joined else k.dims[_HEAD_AXIS[layout]]
    if k.dims != v.dims or k.dims[-1] != (kv_heads * head_dim if is_joined else head_dim):
        raise MatchFailure(CODE, node.name, "key and value of query's head size", f"{k} and {v}")
    if found.kv_heads not in (None, kv_heads):
        raise MatchFailure(CODE, node.name, f"{kv_heads} key heads, as key has", str(found.kv_heads))
    mask = None if found.mask is None else _mask(model, found, found.mask)
    bias = None if found.bias is None else model.type_of(found.bias)
    return _Sizes(
        layout=layout,
        types=(q, k, v),
        batch=q.dims[_BATCH_AXIS[layout]],
        heads=found.heads,
        kv_heads=kv_heads,
        query_length=q.dims[_LENGTH_AXIS[layout]],
        key_length=k.dims[_LENGTH_AXIS[layout]],
        head_dim=head_dim,
        per_head=mask is not None and mask.rank == 4 and mask.dims[1] != 1,
        given=FusedNodeFacts(
            layout="BSH" if layout == "SBH" else layout,
            query=_facts_of(q, layout),
            key=_facts_of(k, layout),
            value=_facts_of(v, layout),
            heads=found.heads,
            kv_heads=max(kv_heads, 0),
            sparse_mode=found.sparse_mode,
            inner_precise=found.inner_precise,
            mask=None if mask is None else _facts_of(mask),
            pse_shift=None if bias is None else _facts_of(bias),
        ),
    )


def _facts_of(tensor_type: TensorType, layout: Layout | None = None) -> TensorFacts:
    """What a target is asked about; nothing that it may have against a node hangs on the order of batch and length."""
    dims = tensor_type.dims
    return TensorFacts((dims[1], dims[0], *dims[2:]) if layout == "SBH" else dims, tensor_type.dtype.name)


def _mask(model: Model, found: FusedArguments, mask: str) -> TensorType:
    """The mask's type. Raises MatchFailure where it is no mask."""
    tensor_type = model.type_of(mask)
    if tensor_type is None or tensor_type.dtype not in found.operator.mask_dtypes:
        raise MatchFailure(CODE, found.node.name, "a boolean mask", str(tensor_type))
    return tensor_type


def find_casts(model: Model, node: Node) -> SurroundingCasts | None:
    """The casts that were put around the node for its sake; None where there are none such."""
    casts = [model.producer(name) for name in node.inputs[:3]]
    result = _attempt(partial(only_output, model, node))
    if isinstance(result, FailureReason):
        return None
    readers = [use.node for use in model.uses(result.name)]
    back = readers[0] if len(readers) == 1 else None
    if back is None or back.op != "Cast":
        return None
    origin = model.type_of(back.name)
    operands = []
    for cast in casts:
        before = model.type_of(cast.inputs[0]) if cast is not None and cast.op == "Cast" else None
        if cast is None or before is None or origin is None or before.dtype != origin.dtype:
            return None
        operands.append(cast.inputs[0])
    if origin is None or not origin.dtype.is_float or origin.dtype.is_low_precision:
        return None
    query, key, value = operands
    return SurroundingCasts((query, key, value), origin.dtype, back.name)


# --- the normal form


def _attention(
    model: Model,
    found: FusedArguments,
    sizes: _Sizes,
    output: TensorType,
    origin: Origin,
    casts: SurroundingCasts | None,
    mutated: Collection[str],
    band: Band | None,
) -> Attention:
    space = Space()
    axes = _axes(found, sizes, space)
    lengths = (axes.query_length, axes.key_length, axes.key_length)
    heads = (axes.heads, axes.kv_heads, axes.kv_heads)
    for position, (own, length) in enumerate(zip(heads, lengths, strict=True)):
        layout = in_layout(axes, sizes.layout, own, length, axes.head_dim)
        space.put(f"{position}", View(tuple(flat(layout)), layout))
    for name in _NAMES:
        space.put(name, View((), (getattr(axes, name),)))
    values = found.node.inputs[:3]
    read = [
        read_operand(model, space, f"operand {position}", value, f"{position}", mutated)
        for position, value in enumerate(values)
    ]
    final: dict[str, Any] = {name: space[name].axes[0] for name in _NAMES}  # an atom may have been split
    axes = replace(axes, **final)
    dtype = sizes.types[0].dtype
    inside = {origin.root, *(value for layouts in read for value, _ in layouts)}

    def operand(position: int) -> Operand:
        layouts = tuple((value, space[view].axes) for value, view in read[position])
        shared = shared_values(model, (value for value, _ in layouts), inside)
        return Operand(values[position], dtype, tuple(flat(layouts[-1][1])), layouts, shared)

    result = ResultView(
        origin.anchor,
        in_layout(axes, sizes.layout, axes.heads, axes.query_length, axes.value_head_dim),
        (output.dtype,),
    )
    return Attention(
        origin=origin,
        query=operand(0),
        key=operand(1),
        value=operand(2),
        axes=axes,
        output=result.axes,
        behind=read_behind(model, space, result, mutated),
        output_dtype=output.dtype,
        scores_dtype=dtype,
        scale=found.scale,
        terms=_terms(model, found, sizes, band),
        layout=sizes.layout,
        given=sizes.given,
        casts=casts,
    )


def _axes(found: FusedArguments, sizes: _Sizes, space: Space) -> AttentionAxes:
    """One atom an axis; query head h reads key head h // group. Raises MatchFailure for heads in unequal groups."""

    def axis(size: int) -> Axis:
        return () if size == 1 else (space.fresh(size),)

    kv_heads = axis(sizes.kv_heads)
    if sizes.kv_heads < 0:
        heads = axis(sizes.heads)
    elif sizes.kv_heads == 0 or sizes.heads % sizes.kv_heads:
        expected = f"query heads in equal groups of {sizes.kv_heads}"
        raise MatchFailure(CODE, found.node.name, expected, str(sizes.heads))
    else:
        heads = (*kv_heads, *axis(sizes.heads // sizes.kv_heads))
    head_dim = axis(sizes.head_dim)
    return AttentionAxes(
        batch=axis(sizes.batch),
        heads=heads,
        kv_heads=kv_heads,
        query_length=axis(sizes.query_length),
        key_length=axis(sizes.key_length),
        head_dim=head_dim,
        value_head_dim=head_dim,
    )


def _terms(model: Model, found: FusedArguments, sizes: _Sizes, band: Band | None) -> tuple[Term, ...]:
    terms: list[Term] = []
    at = found.node.name
    if found.bias is not None:
        tensor_type = model.type_of(found.bias)
        if tensor_type is None:
            raise MatchFailure("facts.type", found.bias, "a bias of a known type", "none")
        before_scale = found.operator.bias_before_scale
        terms.append(Bias(found.bias, tensor_type.dtype, 1.0, None, sizes.types[0].dtype, at, before_scale))
    if found.mask is not None and not found.has_triangle:
        terms.append(BooleanMask(found.mask, None, per_head=sizes.per_head))
    if band is not None:
        terms.append(band)
    return tuple(terms)
