"""What became of a site, as the report tells it: made once, when all is decided and written."""

from __future__ import annotations

from math import isfinite, prod

from attnfuse.api import Decision, Node, NotTaken, SiteRecord, dtypes
from attnfuse_passes.attention.axes import UNKNOWN, Axis, product
from attnfuse_passes.attention.candidates import AttentionCandidate
from attnfuse_passes.attention.lower.operands import dims_of, in_layout
from attnfuse_passes.attention.lower.terms import Terms
from attnfuse_passes.attention.normal_form import Attention, UnreadFusedNode

_Shape = tuple[int, ...] | None


def site_record(form: Attention | UnreadFusedNode, decision: Decision[AttentionCandidate], casts: int) -> SiteRecord:
    """The record of a site; `casts` is how many were written for it."""
    origin = form.origin
    fused = decision.chosen if decision.status == "fused" else None
    anchor = origin.anchor if fused is None else fused.anchor
    query, key, value = _shapes(form, fused)
    return SiteRecord(
        module=origin.module,
        graph=origin.graph,
        anchor=anchor if origin.form == "formula" else origin.root,
        form=origin.form,
        status=decision.status,
        code=decision.code,
        reason=decision.reason,
        rule=decision.rule,
        operator=decision.node,
        layout=None if fused is None else fused.layout,
        layout_reason="" if fused is None else fused.layout_reason,
        stands_for=None if decision.chosen is None else decision.chosen.anchor,
        query_shape=query,
        key_shape=key,
        value_shape=value,
        compute_dtype=_compute_dtype(form, decision.chosen),
        output_dtype=_output_dtype(form),
        scale=form.scale if form.scale is not None and isfinite(form.scale) else None,
        scale_factors=tuple(filter(isfinite, form.factors)) if isinstance(form, Attention) else (),
        mask=None if fused is None else fused.masks.kind,
        fully_masked_rows=None if fused is None else fused.masks.guard,
        head_dim_padding=_head_dim_padding(form, fused),
        padded_by_weights=() if fused is None else fused.free.told,
        precision=None if fused is None else fused.precision,
        precision_reason="" if fused is None else fused.precision_reason,
        casts=0 if fused is None else casts,
        score_bytes_saved=0 if fused is None or not isinstance(form, Attention) else form.score_bytes,
        mask_bytes=_mask_bytes(form, fused),
        warnings=(*origin.warnings, *decision.warnings),
        failure=decision.failure,
        facts=origin.facts,
        identities=origin.identities,
        obligations=(*origin.obligations, *(() if fused is None else fused.masks.obligations)),
        not_taken=tuple(_not_taken(candidate) for candidate in decision.others),
        region=origin.region,
    )


def failed_record(softmax: Node, module: str, decision: Decision[AttentionCandidate]) -> SiteRecord:
    """The record of a Softmax that could not be read."""
    return SiteRecord(
        module=module,
        graph=softmax.graph.name,
        anchor=softmax.name,
        form="formula",
        status=decision.status,
        code=decision.code,
        reason=decision.reason,
        failure=decision.failure,
    )


def _not_taken(candidate: AttentionCandidate) -> NotTaken:
    why = candidate.unsupported
    if why is None:
        return NotTaken(candidate.form, "", "possible, and another form comes first")
    return NotTaken(candidate.form, why.code, why.reason)


def _shapes(form: Attention | UnreadFusedNode, fused: AttentionCandidate | None) -> tuple[_Shape, _Shape, _Shape]:
    """Of query, key and value: as the fused node that is written is given them, and else as found."""
    if isinstance(form, UnreadFusedNode):
        query, key, value = (
            None if tensor_type is None else tensor_type.dims for tensor_type in (*form.types, None, None, None)[:3]
        )
        return query, key, value
    axes = (form if fused is None else fused.form_of(form)).axes
    if fused is None and form.layout is not None:
        query, key, value = (dims_of(operand.layouts[-1][1]) for operand in form.operands)
        return query, key, value
    if fused is None:
        batch = (*axes.batch, *axes.heads)
        return (
            dims_of((batch, axes.query_length, axes.head_dim)),
            dims_of((batch, axes.key_length, axes.head_dim)),
            dims_of((batch, axes.key_length, axes.value_head_dim)),
        )
    width = form.width + fused.padding

    def dims(heads: Axis, length: Axis) -> tuple[int, ...]:
        *lead, together = dims_of(in_layout(axes, fused.given_in, heads, length, ()))
        return (*lead, together * width)

    return (
        dims(axes.heads, axes.query_length),
        dims(axes.kv_heads, axes.key_length),
        dims(axes.kv_heads, axes.key_length),
    )


def _compute_dtype(form: Attention | UnreadFusedNode, chosen: AttentionCandidate | None) -> str | None:
    """The element type of query, key and value of the node, or of the formula that stands for a fused node."""
    if chosen is not None:
        return chosen.dtype.name
    if isinstance(form, UnreadFusedNode):
        return form.types[0].dtype.name if form.types and form.types[0] is not None else None
    return None if form.layout is None else form.query.dtype.name


def _output_dtype(form: Attention | UnreadFusedNode) -> str | None:
    """The element type of the result, with the casts around it."""
    is_formula = isinstance(form, Attention) and form.layout is None
    return form.output_dtype.name if is_formula and isinstance(form, Attention) else form.origin.facts.dtype


def _head_dim_padding(form: Attention | UnreadFusedNode, fused: AttentionCandidate | None) -> int:
    """Zeros that each head of query has been appended."""
    if fused is None or not isinstance(form, Attention):
        return 0
    return form.width + fused.padding - product(form.axes.head_dim)


def _mask_bytes(form: Attention | UnreadFusedNode, fused: AttentionCandidate | None) -> int:
    """Of what is written for the mask and the bias; a fused node's own are there already."""
    if fused is None or not isinstance(form, Attention) or form.layout is not None:
        return 0
    terms = Terms(form, fused)
    sizes = ((terms.mask_dims, dtypes.BOOL), (terms.bias_dims, fused.dtype))
    return sum(prod(dims) * dtype.itemsize for dims, dtype in sizes if dims is not None and UNKNOWN not in dims)
