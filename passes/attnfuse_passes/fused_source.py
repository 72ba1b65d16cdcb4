"""A fused node of the source, read: its operands by meaning, its sizes, and the casts that were put around it.

mindone casts query, key and value of another type to float16 or bfloat16 for the node's sake and casts the result
back; where a graph shows just that, the casts are the policy's to decide, as they are mindone's settings' there.
Argument orders: see emit/fused.py. May import `attnfuse.api`.
"""

from __future__ import annotations

from dataclasses import dataclass

from attnfuse.api import DType, FusedRequest, Miss, Model, Node, NotALiteralError, SiteFacts, SiteRecord, dtypes
from attnfuse_passes.emit.fused import ALL_TOKENS, BNSD, BSH
from attnfuse_passes.kinds import self_or_cross
from attnfuse_passes.records import region_lines

BSND = 3
_CODE = "structure.fused_arguments"
_HEAD_AXIS = {BNSD: 1, BSND: 2}
_LENGTH_AXIS = {BSH: 1, BNSD: 2, BSND: 1}


class Unfit(Exception):  # noqa: N818  # a verdict, not an error
    """The node says something that cannot be said otherwise."""

    def __init__(self, code: str, node: Node, expected: str, found: str) -> None:
        super().__init__(code)
        self.miss = Miss(code, node.name, expected, found)

    def text(self) -> str:
        """The reason for a report."""
        return f"expected {self.miss.expected}, found {self.miss.found}"


@dataclass(frozen=True, slots=True)
class Lift:
    """The casts around a node: what query, key and value were before, and the cast of the result back to that."""

    operands: tuple[str, str, str]
    dtype: DType
    back: Node


@dataclass(frozen=True, slots=True)
class FusedSource:
    """What a FlashAttentionScore of the source says. `tensors` are its ten operands, None where absent."""

    node: Node
    tensors: tuple[str | None, ...]
    heads: int
    keep_prob: float
    scale: float
    layout: int
    sparse_mode: int
    pre_tokens: int
    next_tokens: int

    @property
    def shift(self) -> str | None:
        """What is added to the scores before they are scaled."""
        return self.tensors[3]

    @property
    def mask(self) -> str | None:
        """True (or not 0) where a key is discarded."""
        return self.tensors[6]


def describe(model: Model, node: Node, module: str) -> SiteRecord:
    """What is known of a fused node before anything is decided."""
    kinds = [model.type_of(name) for name in node.inputs[:3]]
    query, key, value = (None if kind is None else kind.dims for kind in kinds)
    compute = None if kinds[0] is None else kinds[0].dtype.name
    scale: float | None = None
    try:
        literal = model.literal(node.inputs[12 if node.op == "FlashAttentionScore" else 13])
        scale = float(literal) if isinstance(literal, float) else None
    except (NotALiteralError, IndexError):
        pass
    lift = find_lift(model, node) if node.op == "FlashAttentionScore" else None
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
    except Unfit:
        return SiteFacts(dtype=dtype, attention=attention)

    def known(size: int) -> int | None:
        return size if size >= 0 else None

    lengths = known(request.query_length), known(request.key_length)
    return SiteFacts(*lengths, known(request.head_dim), dtype, attention)


def read(model: Model, node: Node) -> FusedSource:
    """The node's arguments by meaning. Raises Unfit where one is not as MindSpore writes it."""
    if node.op != "FlashAttentionScore" or len(node.inputs) != 18:
        raise Unfit(_CODE, node, "FlashAttentionScore of 18 arguments", f"{node.op} of {len(node.inputs)}")

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
            raise Unfit(_CODE, node, f"a literal argument {position}", "a computed one")
        return literal

    return FusedSource(
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


def check_plain(found: FusedSource) -> None:
    """Raise Unfit unless the node is softmax(mask(scale · (QKᵀ + shift))) V and nothing else."""
    node = found.node
    _, _, _, _, drop, padding, _, prefix, qlen, kvlen = found.tensors
    for name, tensor in (("drop_mask", drop), ("padding_mask", padding), ("prefix", prefix)):
        if tensor is not None:
            raise Unfit(_CODE, node, f"no {name}", "one")
    if qlen is not None or kvlen is not None or found.keep_prob != 1.0:
        raise Unfit(_CODE, node, "no actual sequence lengths and no dropout", "one of them")
    if found.sparse_mode != 0 or min(found.pre_tokens, found.next_tokens) < ALL_TOKENS:
        raise Unfit(_CODE, node, "sparse_mode 0 over all tokens", f"{found.sparse_mode}")


def request_of(model: Model, found: FusedSource) -> FusedRequest:
    """What the node asks of a target. Raises Unfit where its tensors cannot be read."""
    node = found.node
    if found.layout not in (BSH, BNSD, BSND):
        raise Unfit(_CODE, node, "layout BSH, BNSD or BSND", str(found.layout))
    kinds = [model.type_of(name) for name in node.inputs[:3]]
    q, k, v = kinds
    if q is None or k is None or v is None or not q.dtype.is_low_precision or not q.dtype == k.dtype == v.dtype:
        raise Unfit(_CODE, node, "query, key and value in float16 or bfloat16", ", ".join(str(x) for x in kinds))
    width = q.dims[-1] // found.heads if found.layout == BSH else q.dims[-1]
    kv_heads = k.dims[-1] // width if found.layout == BSH else k.dims[_HEAD_AXIS[found.layout]]
    if k.dims != v.dims or k.dims[-1] != (kv_heads * width if found.layout == BSH else width):
        raise Unfit(_CODE, node, "key and value of query's head size", f"{k} and {v}")
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
    """Whether the mask is one for all heads. Raises Unfit where it is no mask."""
    kind = model.type_of(mask)
    if kind is None or kind.dtype not in (dtypes.BOOL, dtypes.UINT8):
        raise Unfit(_CODE, node, "a boolean mask", str(kind))
    return kind.rank != 4 or kind.dims[1] == 1


def only_output(model: Model, node: Node) -> Node:
    """The TupleGetItem that takes the attention, output 3, out of the tuple. Raises Unfit where another is read."""
    readers = [use.node for use in model.uses(node.name)]
    reader = readers[0] if len(readers) == 1 else None
    if reader is None or reader.op != "TupleGetItem" or model.literal(reader.inputs[1]) != 3:
        raise Unfit("structure.outputs", node, "one reader, of output 3", f"{len(readers)} readers")
    return reader


def find_lift(model: Model, node: Node) -> Lift | None:
    """The casts that were put around the node for its sake; None where there are none such."""
    casts = [model.producer(name) for name in node.inputs[:3]]
    try:
        result = only_output(model, node)
    except Unfit:
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
