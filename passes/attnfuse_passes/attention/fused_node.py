"""A fused node of the source, read: its operands by meaning, its sizes, and the casts that were put around it.

mindone casts query, key and value of another type to float16 or bfloat16 for the node's sake and casts the result
back; where a graph shows just that, the casts are the policy's to decide, as they are mindone's settings' there.
May import `attnfuse.api`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from attnfuse.api import (
    DType,
    FusedRequest,
    MatchFailure,
    Model,
    Node,
    NotALiteralError,
    SiteFacts,
    SiteRecord,
    dtypes,
    region_lines,
    takes_element,
)
from attnfuse_passes.emit.fused import ALL_TOKENS, BNSD, BSH
from attnfuse_passes.kinds import self_or_cross

BSND = 3
_CODE = "structure.fused_arguments"
_HEAD_AXIS = {BNSD: 1, BSND: 2}
_LENGTH_AXIS = {BSH: 1, BNSD: 2, BSND: 1}

_TENSORS = {
    "FlashAttentionScore": (
        "query", "key", "value", "real_shift", "drop_mask", "padding_mask", "attn_mask", "prefix", "actual_seq_qlen",
        "actual_seq_kvlen",
    ),
    "PromptFlashAttention": (
        "query", "key", "value", "attn_mask", "actual_seq_lengths", "actual_seq_lengths_kv", "pse_shift", "deq_scale1",
        "quant_scale1", "deq_scale2", "quant_scale2", "quant_offset2",
    ),
}  # fmt: skip
_SCALARS = {
    "FlashAttentionScore": (
        "head_num", "keep_prob", "scale_value", "pre_tokens", "next_tokens", "inner_precise", "input_layout",
        "sparse_mode",
    ),
    "PromptFlashAttention": (
        "num_heads", "scale_value", "pre_tokens", "next_tokens", "input_layout", "num_key_value_heads", "sparse_mode",
        "inner_precise",
    ),
}  # fmt: skip
_MASKS = {
    "FlashAttentionScore": (dtypes.BOOL, dtypes.UINT8),
    "PromptFlashAttention": (dtypes.BOOL, dtypes.INT8, dtypes.UINT8),
}
_PLAIN = ("query", "key", "value", "real_shift", "pse_shift", "attn_mask")


@dataclass(frozen=True, slots=True)
class Lift:
    """The casts around a node: what query, key and value were before, and the cast of the result back to that."""

    operands: tuple[str, str, str]
    dtype: DType
    back: Node


@dataclass(frozen=True, slots=True)
class FusedSource:
    """What a fused node of the source says. `further` names the operands beside these that it has.

    `mask` is True (or not 0) where a key is discarded. `shift` is added to the scores, before they are scaled where
    `shift_scaled` says so (FlashAttentionScore), else after (PromptFlashAttention).
    """

    node: Node
    shift: str | None
    mask: str | None
    further: tuple[str, ...]
    heads: int
    kv_heads: int | None
    keep_prob: float
    scale: float
    layout: int
    sparse_mode: int
    pre_tokens: int
    next_tokens: int

    @property
    def shift_scaled(self) -> bool:
        return self.node.op == "FlashAttentionScore"


def describe(model: Model, node: Node, module: str) -> SiteRecord:
    """What is known of a fused node before anything is decided."""
    kinds = [model.type_of(name) for name in node.inputs[:3]]
    query, key, value = (None if kind is None else kind.dims for kind in (*kinds, None, None, None)[:3])
    compute = kinds[0].dtype.name if kinds and kinds[0] is not None else None
    scale: float | None = None
    try:
        literal = model.literal(node.inputs[len(_TENSORS[node.op]) + _SCALARS[node.op].index("scale_value")])
        scale = float(literal) if isinstance(literal, float) else None
    except (NotALiteralError, IndexError):
        pass
    lift = find_lift(model, node)
    dtype = compute if lift is None else lift.dtype.name
    return SiteRecord(
        module=module,
        graph=node.graph.name,
        anchor=node.name,
        form="fused",
        status="fused",
        code="",
        reason="",
        query=query,
        key=key,
        value=value,
        dtype=dtype,
        compute_dtype=compute,
        restored_dtype=dtype,
        scale=scale,
        facts=_facts(model, node, dtype),
        region=region_lines(model, [node]),
    )


def _facts(model: Model, node: Node, dtype: str | None) -> SiteFacts:
    attention = self_or_cross(model, *node.inputs[:3]) if len(node.inputs) >= 3 else None
    try:
        request = request_of(model, read(model, node))
    except MatchFailure:
        return SiteFacts(dtype=dtype, attention=attention)

    def known(size: int) -> int | None:
        return size if size >= 0 else None

    lengths = known(request.query_length), known(request.key_length)
    return SiteFacts(*lengths, known(request.head_dim), dtype, attention)


def read(model: Model, node: Node) -> FusedSource:
    """The node's arguments by meaning. Raises MatchFailure where one is not as MindSpore writes it."""
    names = _TENSORS[node.op] + _SCALARS[node.op]
    if len(node.inputs) != len(names):
        raise MatchFailure(_CODE, node.name, f"{node.op} of {len(names)} arguments", str(len(node.inputs)))
    arguments = dict(zip(names, node.inputs, strict=True))

    def present(name: str) -> bool:
        try:
            return model.literal(arguments[name]) is not None
        except NotALiteralError:
            return True

    def number(name: str) -> float:
        try:
            literal = model.literal(arguments[name])
        except NotALiteralError:
            literal = None
        if not isinstance(literal, int | float):
            raise MatchFailure(_CODE, node.name, f"a literal {name}", "a computed one")
        if not math.isfinite(literal):
            raise MatchFailure(_CODE, node.name, f"a finite {name}", str(literal))
        return literal

    score = node.op == "FlashAttentionScore"
    shift = "real_shift" if score else "pse_shift"
    heads = int(number("head_num" if score else "num_heads"))
    if heads < 1:
        raise MatchFailure(_CODE, node.name, "at least one head", str(heads))
    return FusedSource(
        node,
        shift=arguments[shift] if present(shift) else None,
        mask=arguments["attn_mask"] if present("attn_mask") else None,
        further=tuple(name for name in _TENSORS[node.op] if name not in _PLAIN and present(name)),
        heads=heads,
        kv_heads=None if score else int(number("num_key_value_heads")) or heads,
        keep_prob=number("keep_prob") if score else 1.0,
        scale=float(number("scale_value")),
        pre_tokens=int(number("pre_tokens")),
        next_tokens=int(number("next_tokens")),
        layout=int(number("input_layout")),
        sparse_mode=int(number("sparse_mode")),
    )


def check_plain(found: FusedSource) -> None:
    """Raise MatchFailure unless the node is softmax(mask(scale · QKᵀ + shift)) V, the shift scaled or not, no more."""
    node = found.node
    if found.further:
        raise MatchFailure(_CODE, node.name, f"no {found.further[0]}", "one")
    if found.keep_prob != 1.0:
        raise MatchFailure(_CODE, node.name, "no dropout", f"keep_prob {found.keep_prob}")
    if found.sparse_mode != 0 or min(found.pre_tokens, found.next_tokens) < ALL_TOKENS:
        raise MatchFailure(_CODE, node.name, "sparse_mode 0 over all tokens", f"{found.sparse_mode}")


def request_of(model: Model, found: FusedSource) -> FusedRequest:
    """What the node asks of a target. Raises MatchFailure where its tensors cannot be read."""
    node = found.node
    if found.layout not in (BSH, BNSD, BSND):
        raise MatchFailure(_CODE, node.name, "layout BSH, BNSD or BSND", str(found.layout))
    kinds = [model.type_of(name) for name in node.inputs[:3]]
    q, k, v = kinds
    if q is None or k is None or v is None or not q.dtype.is_low_precision or not q.dtype == k.dtype == v.dtype:
        raise MatchFailure(
            _CODE, node.name, "query, key and value in float16 or bfloat16", ", ".join(str(x) for x in kinds)
        )
    rank = 3 if found.layout == BSH else 4
    if any(kind.rank != rank for kind in (q, k, v)):
        raise MatchFailure(_CODE, node.name, f"query, key and value of {rank} axes", f"{q}, {k} and {v}")
    if found.layout != BSH and q.dims[_HEAD_AXIS[found.layout]] != found.heads:
        raise MatchFailure(_CODE, node.name, f"a query of {found.heads} heads", str(q))
    width = q.dims[-1] // found.heads if found.layout == BSH else q.dims[-1]
    if width == 0:
        raise MatchFailure(_CODE, node.name, "heads of at least one element", str(q))
    kv_heads = k.dims[-1] // width if found.layout == BSH else k.dims[_HEAD_AXIS[found.layout]]
    if k.dims != v.dims or k.dims[-1] != (kv_heads * width if found.layout == BSH else width):
        raise MatchFailure(_CODE, node.name, "key and value of query's head size", f"{k} and {v}")
    if found.kv_heads not in (None, kv_heads):
        raise MatchFailure(_CODE, node.name, f"{kv_heads} key heads, as key has", str(found.kv_heads))
    return FusedRequest(
        batch=q.dims[0],
        heads=found.heads,
        kv_heads=kv_heads,
        query_length=q.dims[_LENGTH_AXIS[found.layout]],
        key_length=k.dims[_LENGTH_AXIS[found.layout]],
        head_dim=width,
        dtype=q.dtype.name,
        mask=None if found.mask is None else "shared" if _shared(model, node, found.mask) else "per_head",
        bias=found.shift is not None,
    )


def _shared(model: Model, node: Node, mask: str) -> bool:
    """Whether the mask is one for all heads. Raises MatchFailure where it is no mask."""
    kind = model.type_of(mask)
    if kind is None or kind.dtype not in _MASKS[node.op]:
        raise MatchFailure(_CODE, node.name, "a boolean mask", str(kind))
    return kind.rank != 4 or kind.dims[1] == 1


def only_output(model: Model, node: Node) -> Node:
    """The node whose output is the attention: of a FlashAttentionScore, which makes a tuple, the reader of output 3.

    Raises MatchFailure where another output is read.
    """
    if node.op == "PromptFlashAttention":
        return node
    readers = [use.node for use in model.uses(node.name)]
    reader = readers[0] if len(readers) == 1 else None
    if reader is None or not takes_element(reader) or not _is_index(model, reader.inputs[1], 3):
        raise MatchFailure("structure.outputs", node.name, "one reader, of output 3", f"{len(readers)} readers")
    return reader


def _is_index(model: Model, value: str, index: int) -> bool:
    return model.is_literal(value) and model.literal(value) == index


def find_lift(model: Model, node: Node) -> Lift | None:
    """The casts that were put around the node for its sake; None where there are none such."""
    casts = [model.producer(name) for name in node.inputs[:3]]
    try:
        result = only_output(model, node)
    except MatchFailure:
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
    return Lift((query, key, value), origin.dtype, back)
