"""Fused nodes that the source already holds: carried over, or rewritten to the other runtime's node.

mindone places FlashAttentionScore itself on an Ascend host, and always in its Flux, Wan and LTX models; MindSpore Lite
keeps the arguments of PromptFlashAttention only. The two differ in argument order, in whether the bias comes before or
after the scale, and in what they accept; see emit/fused.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from attnfuse.api import (
    Context,
    Edit,
    FusedRequest,
    Miss,
    Model,
    Node,
    NotALiteralError,
    SiteRecord,
    TensorType,
    dtypes,
    head_padding,
    refusals,
)
from attnfuse_passes.emit.builder import Builder
from attnfuse_passes.emit.fused import ALL_TOKENS, BNSD, BSH, LAYOUTS, FusedNode, prompt_flash_attention
from attnfuse_passes.naming import SiteNames
from attnfuse_passes.records import region_lines

BSND = 3
_HEAD_AXIS = {BNSD: 1, BSND: 2}
_LENGTH_AXIS = {BSH: 1, BNSD: 2, BSND: 1}


@dataclass(frozen=True, slots=True)
class _Arguments:
    """What a FlashAttentionScore of the source says, read by position."""

    node: Node
    tensors: tuple[str | None, ...]
    heads: int
    keep_prob: float
    scale: float
    layout: int
    sparse_mode: int
    pre_tokens: int
    next_tokens: int


def convert_fused(model: Model, context: Context, edit: Edit, node: Node, names: SiteNames) -> SiteRecord:
    """The record of an already fused node; for another runtime than its own, with the edit that rewrites it."""
    module = names.of_values(node, *node.inputs[:3])
    record = _record(model, node, module)
    target = context.target
    if target.node == node.op:
        if target.limits is None:
            return replace(
                record,
                status="kept",
                code="target.no_operator",
                reason=f"{target.soc} has no {node.op}; it is left as it is",
            )
        return replace(
            record,
            status="fused",
            code="fused.carried_over",
            reason="already fused in the source",
            node=node.op,
            warnings=_doubts(model, context, node),
        )
    if node.op == "PromptFlashAttention":
        return replace(
            record,
            status="kept",
            code="structure.fused_arguments",
            reason="a PromptFlashAttention of the source is left as it is for the mindspore runtime",
            node=node.op,
        )
    try:
        return _to_prompt(model, context, edit, node, names, record)
    except _Unfit as error:
        return replace(record, status="missed", code=error.miss.code, reason=error.text(), miss=error.miss)


class _Unfit(Exception):  # noqa: N818  # a verdict, not an error
    def __init__(self, code: str, node: Node, expected: str, found: str) -> None:
        super().__init__(code)
        self.miss = Miss(code, node.name, expected, found)

    def text(self) -> str:
        return f"expected {self.miss.expected}, found {self.miss.found}"


def _record(model: Model, node: Node, module: str) -> SiteRecord:
    kinds = [model.type_of(name) for name in node.inputs[:3]]
    query, key, value = (None if kind is None else kind.dims for kind in kinds)
    dtype = None if kinds[0] is None else kinds[0].dtype.name
    scale: float | None = None
    try:
        literal = model.literal(node.inputs[12 if node.op == "FlashAttentionScore" else 13])
        scale = float(literal) if isinstance(literal, float) else None
    except (NotALiteralError, IndexError):
        pass
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
        compute_dtype=dtype,
        restored_dtype=dtype,
        scale=scale,
        region=region_lines(model, [node]),
    )


def _read(model: Model, node: Node) -> _Arguments:
    if len(node.inputs) != 18:
        raise _Unfit("structure.fused_arguments", node, "18 arguments", str(len(node.inputs)))

    def present(name: str) -> str | None:
        try:
            return None if model.literal(name) is None else name
        except NotALiteralError:
            return name

    def number(position: int) -> float:
        try:
            literal = model.literal(node.inputs[position])
        except NotALiteralError:
            literal = None
        if not isinstance(literal, int | float):
            raise _Unfit("structure.fused_arguments", node, f"a literal argument {position}", "a computed one")
        return literal

    return _Arguments(
        node,
        tuple(present(name) for name in node.inputs[:10]),
        heads=int(number(10)),
        keep_prob=number(11),
        scale=float(number(12)),
        pre_tokens=int(number(13)),
        next_tokens=int(number(14)),
        layout=int(number(16)),
        sparse_mode=int(number(17)),
    )


def _request(model: Model, found: _Arguments) -> tuple[FusedRequest, TensorType]:
    """What the node asks of a target, and query's type. Raises _Unfit where its tensors cannot be read."""
    node, code = found.node, "structure.fused_arguments"
    mask, shift = found.tensors[6], found.tensors[3]
    if found.layout not in (BSH, BNSD, BSND):
        raise _Unfit(code, node, "layout BSH, BNSD or BSND", str(found.layout))
    kinds = [model.type_of(name) for name in node.inputs[:3]]
    q, k, v = kinds
    if q is None or k is None or v is None or not q.dtype.is_low_precision or not q.dtype == k.dtype == v.dtype:
        raise _Unfit(code, node, "query, key and value in float16 or bfloat16", ", ".join(str(x) for x in kinds))
    width = q.dims[-1] // found.heads if found.layout == BSH else q.dims[-1]
    kv_heads = k.dims[-1] // width if found.layout == BSH else k.dims[_HEAD_AXIS[found.layout]]
    if k.dims != v.dims or k.dims[-1] != (kv_heads * width if found.layout == BSH else width):
        raise _Unfit(code, node, "key and value of query's head size", f"{k} and {v}")
    request = FusedRequest(
        batch=q.dims[0],
        heads=found.heads,
        kv_heads=kv_heads,
        query_length=q.dims[_LENGTH_AXIS[found.layout]],
        key_length=k.dims[_LENGTH_AXIS[found.layout]],
        head_dim=width,
        dtype=q.dtype.name,
        mask=None if mask is None else "shared" if _shared(model, node, mask) else "per_head",
        bias=shift is not None,
    )
    return request, q


def _doubts(model: Model, context: Context, node: Node) -> tuple[str, ...]:
    """What the target's documentation says against a node that is carried over as it is."""
    if node.op != "FlashAttentionScore":
        return ()
    try:
        request, _ = _request(model, _read(model, node))
    except _Unfit as error:
        return (f"{node.op} of the source: {error.text()}",)
    doubts = [
        f"{node.op} of the source: {no.expected} is documented, {no.found} used"
        for no in refusals(context.target, request)
    ]
    if head_padding(context.target, request):
        doubts.append(
            f"{node.op} of the source has a head size of {request.head_dim}, not a multiple of 16 as documented"
        )
    return tuple(doubts)


def _to_prompt(
    model: Model, context: Context, edit: Edit, node: Node, names: SiteNames, record: SiteRecord
) -> SiteRecord:
    """FlashAttentionScore → PromptFlashAttention: same tensors, the bias moved behind the scale."""
    found = _read(model, node)
    _, _, _, shift, drop, padding, mask, prefix, qlen, kvlen = found.tensors
    code = "structure.fused_arguments"
    for name, tensor in (("drop_mask", drop), ("padding_mask", padding), ("prefix", prefix)):
        if tensor is not None:
            raise _Unfit(code, node, f"no {name}", "one")
    if qlen is not None or kvlen is not None or found.keep_prob != 1.0:
        raise _Unfit(code, node, "no actual sequence lengths and no dropout", "one of them")
    if found.sparse_mode != 0 or min(found.pre_tokens, found.next_tokens) < ALL_TOKENS:
        raise _Unfit(code, node, "sparse_mode 0 over all tokens", f"{found.sparse_mode}")
    request, q = _request(model, found)
    no = refusals(context.target, request)
    if no:
        raise _Unfit(no[0].code, node, no[0].expected, no[0].found)
    heads, kv_heads, width = request.heads, request.kv_heads, request.head_dim
    pad = head_padding(context.target, request)
    anchor = _only_output(model, node)
    b = Builder(edit, anchor, names.slug(record.module))

    def enter(tensor: str, count: int) -> str:
        kind = b.type_of(tensor)
        if found.layout == BSH and pad:
            tensor = b.reshape(tensor, (*kind.dims[:2], count, width))
        tensor = b.pad_last(tensor, pad)
        return tensor if found.layout == BNSD else b.reshape(tensor, (*kind.dims[:2], count * (width + pad)))

    fused = FusedNode(
        query=enter(node.inputs[0], heads),
        key=enter(node.inputs[1], kv_heads),
        value=enter(node.inputs[2], kv_heads),
        layout=BNSD if found.layout == BNSD else BSH,
        heads=heads,
        kv_heads=kv_heads,
        scale=found.scale,
        discard=mask,
        bias=None if shift is None else b.scaled(shift, found.scale),
    )
    result = prompt_flash_attention(b, fused)
    if found.layout != BNSD and (pad or found.layout == BSND):
        result = b.reshape(result, (*q.dims[:2], heads, width + pad))
    b.finish(b.reshape(b.take_last(result, width if pad or found.layout != BSH else q.dims[-1]), q.dims))
    edit.remove.add(node.name)
    return replace(
        record,
        status="fused",
        code="fused.converted",
        reason="FlashAttentionScore of the source, rewritten for MindSpore Lite",
        node="PromptFlashAttention",
        layout=LAYOUTS[fused.layout],
        query=b.type_of(fused.query).dims,
        key=b.type_of(fused.key).dims,
        value=b.type_of(fused.value).dims,
        mask="additive" if shift is not None else "bool" if mask is not None else None,
        padded_head=pad,
    )


def _shared(model: Model, node: Node, mask: str) -> bool:
    """Whether the mask is one for all heads. Raises _Unfit where it is no mask."""
    kind = model.type_of(mask)
    if kind is None or kind.dtype not in (dtypes.BOOL, dtypes.UINT8):
        raise _Unfit("structure.fused_arguments", node, "a boolean mask", str(kind))
    return kind.rank != 4 or kind.dims[1] == 1


def _only_output(model: Model, node: Node) -> Node:
    """The TupleGetItem that takes the attention, output 3, out of the tuple; no other may be read."""
    readers = [use.node for use in model.uses(node.name)]
    reader = readers[0] if len(readers) == 1 else None
    if reader is None or reader.op != "TupleGetItem" or model.literal(reader.inputs[1]) != 3:
        raise _Unfit("structure.outputs", node, "one reader, of output 3", f"{len(readers)} readers")
    return reader
