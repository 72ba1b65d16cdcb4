"""Fused attention, and the composites that transformers are built of beside it."""

from __future__ import annotations

from attnfuse.ir.operators.arguments import Arguments, NotKnown, TypeMismatch
from attnfuse.ir.operators.columns import Kernel, Role
from attnfuse.ir.operators.inference import axis_of, meet, one_type, shape, with_axis
from attnfuse.ir.operators.row import CANN, CORE, Infer, Operator, row
from attnfuse.ir.types import UNKNOWN_DIM, TensorType, ValueType
from attnfuse.mindir.dtypes import FLOAT32

LAYOUTS = {0: "BSH", 1: "BNSD", 2: "SBH", 3: "BSND", 4: "TND", 8: "BNSD_BSND"}
"""MindSpore's numbers of layouts: B batch, N heads, S tokens, D elements a head, H of all heads, T all tokens.

BNSD_BSND takes BNSD and gives BSND.
"""

_STATISTICS = 8
"""FlashAttentionScore writes each statistic of a row eight times."""


def _operands(a: Arguments, layout: str) -> tuple[TensorType, TensorType, TensorType]:
    """Query, key and value, of one type and of the layout's axes."""
    operands = a.tensor("query"), a.tensor("key"), a.tensor("value")
    one_type(*operands)
    for name, tensor_type in zip(("query", "key", "value"), operands, strict=True):
        if tensor_type.rank != len(layout):
            raise TypeMismatch(f"has a {name} of {shape(tensor_type.dims)} in layout {layout}")
    return operands


def _check_heads(heads: int, query: TensorType, layout: str) -> None:
    if heads <= 0:
        raise TypeMismatch(f"has {heads} heads")
    if "N" in layout and meet(heads, query.dims[layout.index("N")]) is None:
        raise TypeMismatch(f"has a head count of {heads}, and a query of {shape(query.dims)} in {layout}")
    if "H" in layout:
        width = query.dims[layout.index("H")]
        if width != UNKNOWN_DIM and width % heads:
            raise TypeMismatch(f"has a query of width {width}, no multiple of its {heads} heads")


def _flash_attention_score(a: Arguments) -> ValueType:
    """Largest score and sum of each row, softmax (left out), and the attention, of the value's head size."""
    layout = a.choice("input_layout", {n: word for n, word in LAYOUTS.items() if "_" not in word})
    query, key, value = _operands(a, layout)
    heads = a.integer("head_num")
    _check_heads(heads, query, layout)
    if layout == "TND":
        rows: tuple[int, ...] = (query.dims[0], heads, _STATISTICS)
    else:
        rows = (query.dims[layout.index("B")], heads, query.dims[layout.index("S")], _STATISTICS)
    statistics = TensorType(rows, FLOAT32)
    out = query
    if layout.endswith("D"):
        out = TensorType(with_axis(query.dims, len(layout) - 1, value.dims[-1]), query.dtype)
    elif key.dims[-1] != value.dims[-1]:
        raise NotKnown("value")  # of another head size, whose number of key heads nothing here tells
    return statistics, statistics, TensorType((1,), query.dtype), out


def _prompt_flash_attention(a: Arguments) -> ValueType:
    """The attention: the query's type. Key and value agree in every axis, and with the query in batch and head size.

    MindSpore gives no shape for BSND and BNSD_BSND; CANN gives [B, S, N, D].
    """
    message = a.choice("input_layout", {n: word for n, word in LAYOUTS.items() if word not in ("SBH", "TND")})
    layout = message.partition("_")[0]
    query, key, value = _operands(a, layout)
    _check_heads(a.integer("num_heads"), query, layout)
    if None in map(meet, key.dims, value.dims):
        raise TypeMismatch(f"has a key of {shape(key.dims)} and a value of {shape(value.dims)}")
    shared = "BD" if "D" in layout else "B"
    for letter in shared:
        at = layout.index(letter)
        if meet(query.dims[at], key.dims[at]) is None:
            raise TypeMismatch(f"has a query of {shape(query.dims)} and a key of {shape(key.dims)} in {layout}")
    if message != layout:
        batch, heads, tokens, size = query.dims
        return TensorType((batch, tokens, heads, size), query.dtype)
    return query


def _half(operand: str) -> Infer:
    """One half of an axis gates the other."""
    return lambda a: _halved(a, a.tensor(operand))


def _half_and_activation(a: Arguments) -> ValueType:
    """The gated half, and what the activation gave of it."""
    half = _halved(a, a.tensor("x"))
    return half, half


def _halved(a: Arguments, tensor_type: TensorType) -> TensorType:
    axis = axis_of(a.integer("dim"), tensor_type.rank)
    size = tensor_type.dims[axis]
    if size % 2 and size != UNKNOWN_DIM:
        raise TypeMismatch(f"halves {size} elements")
    return TensorType(with_axis(tensor_type.dims, axis, size if size == UNKNOWN_DIM else size // 2), tensor_type.dtype)


def _rotated(a: Arguments) -> ValueType:
    tensor_type, cos, sin = a.tensor("x"), a.tensor("cos"), a.tensor("sin")
    if cos.rank != sin.rank or None in map(meet, cos.dims, sin.dims):
        raise TypeMismatch(f"has cosines of {shape(cos.dims)} and sines of {shape(sin.dims)}")
    return tensor_type


def _custom(a: Arguments) -> ValueType:
    """What CANN infers of the operator that is named; the declared type stands where nothing here knows that."""
    name, inputs = a.get("reg_op_name").value, a.rest("inputs")
    first = inputs[0].value_type if inputs else None
    if not isinstance(first, TensorType) or name not in _HALVING | _OF_ITS_FIRST:
        raise NotKnown("reg_op_name")
    return _halved(a, first) if name in _HALVING else first


_HALVING = {"SwiGlu"}
_OF_ITS_FIRST = {"GeluV2", "RotaryMul"}
"""GE operators by what their result is beside the first input."""

_OPTIONAL = "tensor? = None"
_LAST = "pre_tokens: int = 2147483647, next_tokens: int"

ROWS: tuple[Operator, ...] = (
    row(
        "FlashAttentionScore",
        "query: tensor, key: tensor, value: tensor, "
        + "".join(f"{name}: {_OPTIONAL}, " for name in ("real_shift", "drop_mask", "padding_mask", "attn_mask"))
        + "prefix: ints? = None, actual_seq_qlen: ints? = None, actual_seq_kvlen: ints? = None, "
        f"head_num: int, keep_prob: float = 1.0, scale_value: float = 1.0, {_LAST} = 2147483647, "
        "inner_precise: int = 0, input_layout: enum = 'BSH', sparse_mode: int = 0",
        _flash_attention_score,
        kernel=Kernel.ATTENTION,
        role=Role.FUSED_ATTENTION,
        examples=(
            (
                "FlashAttentionScore(q: float16[?, 4, 8, 32], k: float16[?, 2, 6, 32], v: float16[?, 2, 6, 16], None,"
                " None, None, None, None, None, None, 4, 1.0, 0.25, 2147483647, 2147483647, 0, 1, 0)"
                " -> (float32[?, 4, 8, 8], float32[?, 4, 8, 8], float16[1], float16[?, 4, 8, 16])"
            ),
            (
                "FlashAttentionScore(q: bfloat16[2, 8, 64], k: bfloat16[2, 6, 64], v: bfloat16[2, 6, 64], None, None,"
                " None, m: bool[8, 6], None, None, None, 4, 1.0, 0.25, 2147483647, 2147483647, 0, 0, 0)"
                " -> (float32[2, 4, 8, 8], float32[2, 4, 8, 8], bfloat16[1], bfloat16[2, 8, 64])"
            ),
            (
                "FlashAttentionScore(q: float16[8, 2, 64], k: float16[6, 2, 64], v: float16[6, 2, 64], None, None,"
                " None, None, None, None, None, 4, 1.0, 0.25, 2147483647, 2147483647, 0, 2, 0)"
                " -> (float32[2, 4, 8, 8], float32[2, 4, 8, 8], float16[1], float16[8, 2, 64])"
            ),
            (
                "FlashAttentionScore(q: float16[2, 8, 4, 16], k: float16[2, 6, 4, 16], v: float16[2, 6, 4, 16], None,"
                " None, None, None, None, None, None, 4, 1.0, 0.25, 2147483647, 2147483647, 0, 3, 0)"
                " -> (float32[2, 4, 8, 8], float32[2, 4, 8, 8], float16[1], float16[2, 8, 4, 16])"
            ),
            (
                "FlashAttentionScore(q: float16[16, 4, 16], k: float16[12, 4, 16], v: float16[12, 4, 16], None, None,"
                " None, None, None, (8, 16), (6, 12), 4, 1.0, 0.25, 2147483647, 2147483647, 0, 4, 0)"
                " -> (float32[16, 4, 8], float32[16, 4, 8], float16[1], float16[16, 4, 16])"
            ),
            (
                "refused: FlashAttentionScore(q: float16[2, 4, 8, 16], k: float16[2, 4, 6, 16], v: float16[2, 4, 6,"
                " 16], None, None, None, None, None, None, None, 3, 1.0, 0.25, 2147483647, 2147483647, 0, 1, 0)"
            ),
            (
                "refused: FlashAttentionScore(q: float16[2, 4, 8, 16], k: float32[2, 4, 6, 16], v: float16[2, 4, 6,"
                " 16], None, None, None, None, None, None, None, 4, 1.0, 0.25, 2147483647, 2147483647, 0, 1, 0)"
            ),
        ),
    ),
    row(
        "PromptFlashAttention",
        "query: tensor, key: tensor, value: tensor, attn_mask: tensor? = None, actual_seq_lengths: ints? = None, "
        "actual_seq_lengths_kv: ints? = None, "
        + "".join(f"{name}: {_OPTIONAL}, " for name in ("pse_shift", "deq_scale1", "quant_scale1", "deq_scale2"))
        + f"quant_scale2: {_OPTIONAL}, quant_offset2: {_OPTIONAL}, num_heads: int = 1, scale_value: float = 1.0, "
        f"{_LAST} = 0, input_layout: enum = 'BSH', num_key_value_heads: int = 0, sparse_mode: int = 0, "
        "inner_precise: int = 1",
        _prompt_flash_attention,
        kernel=Kernel.ATTENTION,
        role=Role.FUSED_ATTENTION,
        examples=(
            (
                "PromptFlashAttention(q: float16[?, 4, 8, 16], k: float16[?, 2, 6, 16], v: float16[?, 2, 6, 16], None,"
                " None, None, None, None, None, None, None, None, 4, 0.25, 2147483647, 2147483647, 1, 2, 0, 1)"
                " -> float16[?, 4, 8, 16]"
            ),
            (
                "PromptFlashAttention(q: float16[2, 8, 64], k: float16[2, 6, 64], v: float16[2, 6, 64], m: bool[8, 6],"
                " None, None, None, None, None, None, None, None, 4, 0.25, 2147483647, 2147483647, 0, 0, 0, 1)"
                " -> float16[2, 8, 64]"
            ),
            (
                "refused: PromptFlashAttention(q: float16[2, 4, 8, 16], k: float16[2, 4, 6, 16], v: float16[2, 4, 7,"
                " 16], None, None, None, None, None, None, None, None, None, 4, 0.25, 2147483647, 2147483647, 1, 0, 0,"
                " 1)"
            ),
            (
                "refused: PromptFlashAttention(q: float16[2, 4, 8, 16], k: float16[2, 4, 6, 16], v: float16[2, 4, 6,"
                " 16], None, None, None, None, None, None, None, None, None, 3, 0.25, 2147483647, 2147483647, 1, 0, 0,"
                " 1)"
            ),
            (
                "refused: PromptFlashAttention(q: float16[2, 4, 8, 16], k: float16[2, 4, 6, 32], v: float16[2, 4, 6,"
                " 32], None, None, None, None, None, None, None, None, None, 4, 0.25, 2147483647, 2147483647, 1, 0, 0,"
                " 1)"
            ),
        ),
    ),
    row(
        "RotaryPositionEmbedding",
        "x: tensor, cos: tensor, sin: tensor, mode: int = 0",
        _rotated,
        examples=(
            (
                "RotaryPositionEmbedding(x: float16[2, ?, 4, 8], c: float16[1, ?, 1, 8], s: float16[1, ?, 1, 8], 1)"
                " -> float16[2, ?, 4, 8]"
            ),
        ),
    ),
    row(
        "GeGluV2",
        "x: tensor; dim: int = -1, approximate: int = 1, activate_left: bool = False",
        _half_and_activation,
        examples=(
            (
                "GeGluV2(x: float16[2, ?, 8]; dim=-1, approximate=0, activate_left=False)"
                " -> (float16[2, ?, 4], float16[2, ?, 4])"
            ),
            "GeGluV2(x: bfloat16[6, ?]; dim=1, approximate=1, activate_left=True) -> (bfloat16[6, ?], bfloat16[6, ?])",
            "refused: GeGluV2(x: float16[2, 7]; dim=-1, approximate=0, activate_left=False)",
        ),
        source=CANN,
    ),
    row(
        "Swiglu",
        "input: tensor, dim: int = -1",
        _half("input"),
        examples=("Swiglu(x: float16[2, ?, 8], -1) -> float16[2, ?, 4]", "refused: Swiglu(x: float16[2, 7], -1)"),
    ),
    row(
        "Custom",
        "inputs: any...; reg_op_name: text, input_names: texts, output_names: texts, dim: int = -1",
        _custom,
        examples=(
            (
                'Custom(x: float16[2, 8]; reg_op_name="SwiGlu", input_names=("x",), output_names=("y",), dim=-1)'
                " -> float16[2, 4]"
            ),
            (
                'Custom(x: float16[2, 8]; reg_op_name="GeluV2", input_names=("x",), output_names=("y",),'
                ' approximate="none") -> float16[2, 8]'
            ),
            (
                'Custom(x: float16[2, 8]; reg_op_name="TransposeBatchMatMul", input_names=("x1",), output_names=("y",))'
                " -> unknown"
            ),
            'refused: Custom(x: float16[2, 7]; reg_op_name="SwiGlu", input_names=("x",), output_names=("y",), dim=-1)',
        ),
        source=CORE,
    ),
)
