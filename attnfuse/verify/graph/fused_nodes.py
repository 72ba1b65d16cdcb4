"""Reading a fused attention node back from a graph: its operands, its scalars, the sizes its layout implies.

Argument orders are those of MindSpore 2.7.1's operator definitions (flash_attention_score_op.yaml and
prompt_flash_attention_op.yaml); they are written down here a second time, apart from the rewriter, so that a mistake
there is seen here. Shared by the structural check and by the lowering.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from attnfuse.ir.graph import Model, Node, NotALiteralError, short_name
from attnfuse.ir.types import Literal, TensorType
from attnfuse.mindir import dtypes

COMPRESSED_MASK = 2048
"""Rows and columns of the lower-triangular mask that the causal sparse modes ask for."""

_LAYOUTS = {0: "BSH", 1: "BNSD", 2: "SBH", 3: "BSND", 8: "BNSD_BSND"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What the arguments of a fused operator mean.

    `tensors` and `scalars` are their names in order, `bias` which of them is added to the scores, before they are
    scaled or behind. Masks are of one of `mask_dtypes`, and of the sizes that a word of `mask_sizes` names: batch,
    heads, queries (S), keys (T). `element` is which of its several results the attention is, the others being
    statistics of the softmax; None where it gives one. `is_aligned`: a head size is a multiple of 16 in every type.
    `is_square`: query and value have one head size. `own_kv_heads`: in BSH there are as many key heads as query heads
    unless an argument says otherwise.
    """

    tensors: tuple[str, ...]
    scalars: tuple[tuple[str, type], ...]
    bias: str
    bias_before_scale: bool
    mask_dtypes: tuple[str, ...]
    mask_sizes: tuple[str, ...]
    layouts: tuple[str, ...]
    element: int | None
    is_aligned: bool
    is_square: bool
    own_kv_heads: bool


MEANINGS: Mapping[str, Meaning] = MappingProxyType(
    {
        "FlashAttentionScore": Meaning(
            tensors=(
                "query", "key", "value", "real_shift", "drop_mask", "padding_mask", "attn_mask", "prefix",
                "actual_seq_qlen", "actual_seq_kvlen",
            ),
            scalars=(
                ("head_num", int), ("keep_prob", float), ("scale_value", float), ("pre_tokens", int),
                ("next_tokens", int), ("inner_precise", int), ("input_layout", int), ("sparse_mode", int),
            ),
            bias="real_shift",
            bias_before_scale=True,
            mask_dtypes=("bool", "uint8"),
            mask_sizes=("BNST", "B1ST", "11ST", "ST"),
            layouts=("BSH", "BNSD", "SBH", "BSND"),
            element=3,
            is_aligned=True,
            is_square=False,
            own_kv_heads=False,
        ),
        "PromptFlashAttention": Meaning(
            tensors=(
                "query", "key", "value", "attn_mask", "actual_seq_lengths", "actual_seq_lengths_kv", "pse_shift",
                "deq_scale1", "quant_scale1", "deq_scale2", "quant_scale2", "quant_offset2",
            ),
            scalars=(
                ("num_heads", int), ("scale_value", float), ("pre_tokens", int), ("next_tokens", int),
                ("input_layout", int), ("num_key_value_heads", int), ("sparse_mode", int), ("inner_precise", int),
            ),
            bias="pse_shift",
            bias_before_scale=False,
            mask_dtypes=("bool", "int8", "uint8"),
            mask_sizes=("ST", "1ST", "BST", "B1ST", "11ST"),
            layouts=("BSH", "BNSD", "BSND", "BNSD_BSND"),
            element=None,
            is_aligned=False,
            is_square=True,
            own_kv_heads=True,
        ),
    }
)  # fmt: skip
"""Of each fused operator: scale · (QKᵀ + bias) or scale · QKᵀ + bias (facts of CANN)."""

FUSED_OPS = tuple(MEANINGS)


class MalformedError(Exception):
    """The node cannot be read as a fused attention; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedAttention:
    """A fused node with its arguments by meaning. Names of values; None for an absent operand.

    `keep_prob` is 1.0 where the operator has none. `is_fast`: scores and softmax are held in float16, by bit 0 of
    inner_precise; bfloat16, and float16 with a bias, CANN computes in float32 all the same. `unused` are operands that
    are given although attention of the kind handled here has no use for them.
    """

    node: Node
    query: str
    key: str
    value: str
    bias: str | None
    mask: str | None
    unused: tuple[str, ...]
    heads: int
    kv_heads: int
    """0: as many as the layout says, or as `heads`."""
    scale: float
    keep_prob: float
    pre_tokens: int
    next_tokens: int
    layout: str
    """Of query, key and value."""
    result_layout: str
    """Of the attention: that of the operands, but where the layout's name has two parts."""
    sparse_mode: int
    is_fast: bool

    @property
    def bias_before_scale(self) -> bool:
        """scale · (QKᵀ + bias), or else scale · QKᵀ + bias."""
        return self.meaning.bias_before_scale

    @property
    def meaning(self) -> Meaning:
        return MEANINGS[self.node.op]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Sizes of one attention. `heads` is a multiple of `kv_heads`."""

    batch: int
    heads: int
    kv_heads: int
    query_length: int
    key_length: int
    head_dim: int
    value_head_dim: int


def fused_nodes(model: Model) -> list[Node]:
    """Every fused attention node of the file, in file order."""
    return [node for node in model.nodes if node.op in FUSED_OPS]


def read(model: Model, node: Node) -> FusedAttention:
    """The node's arguments by meaning. Raises MalformedError for a wrong number or kind of arguments."""
    meaning = MEANINGS[node.op]
    tensors, scalars = meaning.tensors, meaning.scalars
    expected = len(tensors) + len(scalars)
    inputs = node.inputs
    if len(inputs) != expected:
        raise MalformedError(f"has {len(inputs)} arguments, {node.op} takes {expected}")
    operands: dict[str, str | None] = {}
    for name, value in zip(tensors, inputs, strict=False):
        operands[name] = _operand(model, name, value)
    numbers: dict[str, float] = {}
    for (name, kind), value in zip(scalars, inputs[len(tensors) :], strict=True):
        numbers[name] = _scalar(model, name, kind, value)
    query, key, value = (_required(name, operands[name]) for name in ("query", "key", "value"))
    layout = _LAYOUTS.get(int(numbers["input_layout"]))
    if layout is None or layout not in meaning.layouts:
        raise MalformedError(
            f"has input_layout {numbers['input_layout']}, expected one of {', '.join(meaning.layouts)}"
        )
    used = {"query", "key", "value", "attn_mask", meaning.bias}
    return FusedAttention(
        node=node,
        query=query,
        key=key,
        value=value,
        bias=operands[meaning.bias],
        mask=operands["attn_mask"],
        unused=tuple(name for name, operand in operands.items() if operand is not None and name not in used),
        heads=int(numbers.get("head_num", numbers.get("num_heads", 0))),
        kv_heads=int(numbers.get("num_key_value_heads", 0)),
        scale=numbers["scale_value"],
        keep_prob=numbers.get("keep_prob", 1.0),
        pre_tokens=int(numbers["pre_tokens"]),
        next_tokens=int(numbers["next_tokens"]),
        layout=layout.partition("_")[0],
        result_layout=layout.rpartition("_")[2],
        sparse_mode=int(numbers["sparse_mode"]),
        is_fast=bool(int(numbers["inner_precise"]) & 1) and operands[meaning.bias] is None and _is_half(model, query),
    )


def sizes(fused: FusedAttention, query: TensorType, key: TensorType, value: TensorType) -> Sizes:
    """Sizes that the operand types and the layout imply. Raises MalformedError where they contradict each other."""
    layout = fused.layout
    types = {"query": query, "key": key, "value": value}
    for name, tensor_type in types.items():
        if tensor_type.rank != len(layout):
            raise MalformedError(f"has a {name} of rank {tensor_type.rank} in layout {layout}")
        # Batch and sequence may be left to run time; what the node's arguments and limits are about may not.
        if any(dim < 0 and letter not in "BST" for dim, letter in zip(tensor_type.dims, layout, strict=True)):
            raise MalformedError(f"has a {name} of unknown head size ({tensor_type})")
    if fused.heads <= 0:
        raise MalformedError(f"has {fused.heads} heads")

    def dim(name: str, letter: str) -> int:
        return types[name].dims[layout.index(letter)]

    if "N" in layout:
        heads, kv_heads, value_heads = (dim(name, "N") for name in types)
        if heads != fused.heads:
            raise MalformedError(f"has a head count of {fused.heads}, and a query of {heads} heads")
        if kv_heads != value_heads:
            raise MalformedError(f"has a key of {kv_heads} heads and a value of {value_heads}")
        if fused.kv_heads not in (0, kv_heads):
            raise MalformedError(f"has num_key_value_heads {fused.kv_heads}, and a key of {kv_heads} heads")
        head_dim, key_dim, value_dim = (dim(name, "D") for name in types)
    else:
        heads = fused.heads
        if dim("query", "H") % heads:
            raise MalformedError(f"has a query of width {dim('query', 'H')}, no multiple of its {heads} heads")
        head_dim = dim("query", "H") // heads
        if fused.kv_heads:
            kv_heads = fused.kv_heads
        elif fused.meaning.own_kv_heads:
            kv_heads = heads
        else:
            kv_heads = dim("key", "H") // head_dim if head_dim else 0
        if kv_heads <= 0 or dim("key", "H") % kv_heads or dim("value", "H") % kv_heads:
            raise MalformedError(f"has a key of width {dim('key', 'H')} for {kv_heads} key heads")
        key_dim, value_dim = dim("key", "H") // kv_heads, dim("value", "H") // kv_heads
    if kv_heads == 0 or heads % kv_heads:
        raise MalformedError(f"has {heads} query heads, no multiple of its {kv_heads} key heads")
    if head_dim != key_dim:
        raise MalformedError(f"has a query head of {head_dim} and a key head of {key_dim} elements")
    for letter, what in (("B", "batch"), ("S", "length")):
        names = ("query", "key", "value") if letter == "B" else ("key", "value")
        found = {name: dim(name, letter) for name in names}
        if len(set(found.values())) != 1:
            message = ", ".join(f"{name} {size}" for name, size in found.items())
            raise MalformedError(f"has operands of different {what}: {message}")
    return Sizes(
        batch=dim("query", "B"),
        heads=heads,
        kv_heads=kv_heads,
        query_length=dim("query", "S"),
        key_length=dim("key", "S"),
        head_dim=head_dim,
        value_head_dim=value_dim,
    )


def output_type(fused: FusedAttention, query: TensorType, of: Sizes) -> TensorType:
    """Type of the attention: query's batch, tokens and heads, value's head size, in the layout of the result."""
    width = of.heads * of.value_head_dim
    dims = {"B": of.batch, "S": of.query_length, "N": of.heads, "D": of.value_head_dim, "H": width}
    return TensorType(tuple(dims[letter] for letter in fused.result_layout), query.dtype)


def _is_half(model: Model, value: str) -> bool:
    tensor_type = model.type_of(value)
    return tensor_type is not None and tensor_type.dtype is dtypes.FLOAT16


def _operand(model: Model, name: str, value: str) -> str | None:
    if model.type_of(value) is not None:
        return value
    try:
        literal: Literal = model.literal(value)
    except NotALiteralError:
        raise MalformedError(f"has a {name} that is no tensor ({short_name(value)})") from None
    if literal is not None:
        raise MalformedError(f"has the constant {literal!r} in place of its {name}")
    return None


def _required(name: str, operand: str | None) -> str:
    if operand is None:
        raise MalformedError(f"has no {name}")
    return operand


def _scalar(model: Model, name: str, kind: type, value: str) -> float:
    try:
        literal = model.literal(value)
    except NotALiteralError:
        raise MalformedError(f"has a {name} that is no constant ({short_name(value)})") from None
    # bool is an int to Python and would pass for a layout or a head count
    if isinstance(literal, bool) or not isinstance(literal, kind):
        raise MalformedError(f"has {literal!r} as its {name}, expected {kind.__name__}")
    assert isinstance(literal, int | float)
    return literal
