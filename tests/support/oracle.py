"""A NumPy interpreter of MindIR graphs: what an operator means, in exact arithmetic.

Every number is a float64 whatever the graph says, so a cast changes nothing; only the range of a value's type is
kept: what float16 cannot hold becomes an infinity, and where neighbouring numbers of the type are 8 apart or more (from
−8192 on in float16) a number is rounded to one of them. That is what masks are made of. So two graphs that are equal by
algebra are equal here, and a rewrite that loses a mask to an overflow is seen.

The fused nodes are read by the argument positions of MindSpore 2.7.1's operator definitions and computed as their
documentation says; nothing is shared with the passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from attnfuse.ir.graph import CALL, Model, Node, NotALiteralError, read_tensor
from attnfuse.ir.types import TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.mindir.schema import GraphProto

Array: TypeAlias = npt.NDArray[Any]

_STILL = 1 + 2.0**-12
"""Half a unit in the last place beyond the largest number still rounds to it."""

_LARGEST = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38, "float32": 3.4028234663852886e38}


def in_range(value: Array, dtype: DType) -> Array:
    """The value with everything beyond the type's range become infinite; integers and bools in their own type."""
    if not dtype.is_float:
        return value.astype(dtype.numpy)
    value = value.astype(np.float64)
    largest = _LARGEST.get(dtype.name)
    if largest is None:
        return value
    coarse = np.isfinite(value) & (np.abs(value) >= 4 / dtype.unit_roundoff)
    if coarse.any():
        with np.errstate(over="ignore"):
            rounded = np.clip(value, -largest, largest).astype(dtype.numpy).astype(np.float64)
        value = np.where(coarse & ~(np.abs(value) > largest * _STILL), rounded, value)
    beyond = np.abs(value) > largest * _STILL
    return np.where(beyond, np.copysign(np.inf, value), value) if beyond.any() else value


def run(model: Model, inputs: Mapping[str, Array]) -> list[Array]:
    """The outputs of the model's main graph. `inputs` are by the name after the graph's prefix."""
    prefix = model.proto.graph.name + ":"
    env = {prefix + name: value for name, value in inputs.items()}
    with np.errstate(all="ignore"):
        return Interpreter(model, env).outputs(model.proto.graph)


def values(model: Model, inputs: Mapping[str, Array]) -> dict[str, Any]:
    """Every value of the main graph by its full name."""
    prefix = model.proto.graph.name + ":"
    interpreter = Interpreter(model, {prefix + name: value for name, value in inputs.items()})
    with np.errstate(all="ignore"):
        interpreter.outputs(model.proto.graph)
    return interpreter.env


class Interpreter:
    """One evaluation; `env` maps every value to its array (or a list of them), as far as it has got."""

    def __init__(self, model: Model, env: dict[str, Any]) -> None:
        self.model = model
        self.env = env
        for parameter in model.parameters():
            array = read_tensor(parameter)
            self.env[parameter.name] = array.astype(np.float64) if array.dtype.kind not in "biu" else array
        for name, value in list(env.items()):
            tensor_type = model.type_of(name)
            if tensor_type is not None:
                env[name] = in_range(np.asarray(value), tensor_type.dtype)

    def outputs(self, graph: GraphProto) -> list[Array]:
        """Run one graph, whose inputs are in `env`."""
        for message in graph.node:
            node = self.model.producer(message.output[0])
            assert node is not None
            self.env[node.name] = self._evaluate(node)
        found: list[Array] = []
        for output in graph.output:
            value = self.env[output.name]
            found.extend(value if isinstance(value, list) else [value])
        return found

    def _evaluate(self, node: Node) -> Any:
        if node.op == "Constant":
            try:
                literal = self.model.literal(node.name)
            except NotALiteralError:
                return None  # a monad
            if isinstance(literal, np.ndarray) and literal.dtype.kind not in "biu":
                return literal.astype(np.float64)
            return literal
        if node.op == CALL:
            return self._call(node)
        arguments = [self.env.get(name) for name in node.inputs]
        result = _OPS[node.op](self, node, arguments)
        tensor_type = self.model.type_of(node.name)
        if isinstance(result, np.ndarray | np.generic) and tensor_type is not None:
            result = in_range(np.asarray(result), tensor_type.dtype)
            if tensor_type.is_static and result.shape != tensor_type.dims:
                raise AssertionError(f"{node.op} {node.name}: {result.shape} is written as {tensor_type}")
        return result

    def _call(self, node: Node) -> Any:
        callee = node.proto.op_type.removeprefix("REF::")
        graph = next(g for g in self.model.graphs if g.name == callee)
        for value, argument in zip(graph.input, node.inputs, strict=True):
            self.env[value.name] = self.env[argument]
        found = self.outputs(graph)
        return found[0] if len(found) == 1 else found

    def tensor_type(self, node: Node) -> TensorType:
        """The type the graph says the node's output has."""
        tensor_type = self.model.type_of(node.name)
        assert tensor_type is not None, node
        return tensor_type


Op: TypeAlias = Callable[[Interpreter, Node, list[Any]], Any]


def softmax(scores: Array, axis: int = -1) -> Array:
    """exp(x) / Σ exp(x); a row of −inf is a row of NaN, as it is for the operator."""
    highest = scores.max(axis=axis, keepdims=True)
    exponents = np.exp(scores - highest)
    weights: Array = exponents / exponents.sum(axis=axis, keepdims=True)
    return weights


def attention(
    query: Array,
    key: Array,
    value: Array,
    scale: float,
    *,
    before: Array | None = None,
    after: Array | None = None,
    discard: Array | None = None,
) -> Array:
    """softmax(masked scores) V over [B, N, S, D]; key head n // group."""
    value = value.repeat(query.shape[1] // key.shape[1], axis=1)
    result: Array = softmax(masked_scores(query, key, scale, before=before, after=after, discard=discard)) @ value
    return result


def masked_scores(
    query: Array,
    key: Array,
    scale: float,
    *,
    before: Array | None = None,
    after: Array | None = None,
    discard: Array | None = None,
) -> Array:
    """scale · (QKᵀ + before) + after, discarded → −inf, over [B, N, S, D]; key head n // group."""
    scores: Array = query @ key.repeat(query.shape[1] // key.shape[1], axis=1).swapaxes(-1, -2)
    if before is not None:
        scores = scores + before
    scores = scores * scale
    if after is not None:
        scores = scores + after
    return scores if discard is None else np.where(discard, -np.inf, scores)


def _heads_apart(x: Array, layout: int, heads: int) -> Array:
    """BSH (0), BNSD (1), BSND (3) or BNSD_BSND (8) → [B, N, S, D]."""
    if layout in (1, 8):
        return x
    if layout == 3:
        return x.transpose(0, 2, 1, 3)
    assert layout == 0, layout
    batch, length, width = x.shape
    return x.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)


def _heads_together(x: Array, layout: int) -> Array:
    """And back; BNSD_BSND gives [B, S, N, D]."""
    if layout == 1:
        return x
    if layout in (3, 8):
        return x.transpose(0, 2, 1, 3)
    batch, heads, length, width = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, length, heads * width)


def _check_operands(i: Interpreter, node: Node, mask: Array | None, bias: Array | None, heads: int) -> None:
    """What the operators' documentation asks of operands, as far as a wrong answer would be silent here."""
    types = [i.model.type_of(name) for name in node.inputs[:3]]
    assert all(k is not None and k.dtype.is_low_precision and k.dtype == types[0].dtype for k in types if types[0])
    if mask is not None:
        assert mask.dtype in (np.bool_, np.uint8) or (mask.dtype == np.int8 and node.op == "PromptFlashAttention")
    if bias is not None:
        assert bias.ndim == 4, bias.shape
        assert bias.shape[1] == heads, bias.shape


def _flash_attention_score(i: Interpreter, node: Node, a: list[Any]) -> Any:
    assert len(a) == 18
    query, key, value, bias, drop, padding, mask, prefix, qlen, kvlen = a[:10]
    heads, keep, scale, pre, following, _precise, layout, sparse = a[10:]
    assert drop is None
    assert padding is None
    assert prefix is None
    assert qlen is None
    assert kvlen is None
    assert (keep, pre, following, sparse) == (1.0, 2147483647, 2147483647, 0)
    _check_operands(i, node, mask, bias, heads)
    mask = mask if mask is None else mask.astype(np.bool_)
    kv_heads = key.shape[{1: 1, 3: 2}[layout]] if layout else heads * key.shape[-1] // query.shape[-1]
    q, k, v = (_heads_apart(x, layout, n) for x, n in ((query, heads), (key, kv_heads), (value, kv_heads)))
    if mask is not None:
        batch, length, columns = q.shape[0], q.shape[2], k.shape[2]
        whole = {(n, h, length, columns) for n in (1, batch) for h in (1, heads)} | {(length, columns)}
        assert mask.shape in whole, mask.shape
    result = attention(q, k, v, scale, before=bias, discard=mask)
    return [None, None, None, _heads_together(result, layout)]


def _prompt_flash_attention(i: Interpreter, node: Node, a: list[Any]) -> Any:
    assert len(a) == 20
    query, key, value, mask = a[:4]
    bias = a[6]
    assert all(x is None for x in (*a[4:6], *a[7:12]))
    heads, scale, pre, following, layout, kv_heads, sparse, _precise = a[12:]
    assert (pre, following, sparse) == (2147483647, 2147483647, 0)
    _check_operands(i, node, mask, bias, heads)
    kv_heads = kv_heads or heads
    q, k, v = (_heads_apart(x, layout, n) for x, n in ((query, heads), (key, kv_heads), (value, kv_heads)))
    assert k.shape == v.shape, (k.shape, v.shape)
    assert q.shape[-1] == v.shape[-1], (q.shape, v.shape)
    if mask is not None:
        batch, length, columns = q.shape[0], q.shape[2], k.shape[2]
        whole = {(n, 1, length, columns) for n in (1, batch)} | {(n, length, columns) for n in (1, batch)}
        assert mask.shape in whole | {(length, columns)}, mask.shape
        mask = mask[:, None] if mask.ndim == 3 else mask
    return _heads_together(attention(q, k, v, scale, after=bias, discard=mask), layout)


def _binary(function: Callable[[Any, Any], Any]) -> Op:
    return lambda i, node, a: function(a[0], a[1])


def _with_alpha(function: Callable[[Any, Any], Any]) -> Op:
    return lambda i, node, a: function(a[0], a[2] * a[1])


def _first(i: Interpreter, node: Node, a: list[Any]) -> Any:
    return a[0]


def _to_shape(i: Interpreter, node: Node, a: list[Any]) -> Any:
    """Operators that keep the row-major order."""
    return a[0].reshape(i.tensor_type(node).dims)


def _cast(i: Interpreter, node: Node, a: list[Any]) -> Any:
    target = dtypes.from_type_id(a[1])
    assert target is not None
    return a[0].astype(np.float64 if target.is_float else target.numpy)


def _strided_slice(i: Interpreter, node: Node, a: list[Any]) -> Any:
    x, begin, end, stride, begin_mask, end_mask, ellipsis, new, shrink = a
    assert (ellipsis, new, shrink) == (0, 0, 0)
    index = tuple(
        slice(None if begin_mask >> n & 1 else begin[n], None if end_mask >> n & 1 else end[n], stride[n])
        for n in range(len(begin))
    )
    return x[index]


def _matmul(i: Interpreter, node: Node, a: list[Any]) -> Any:
    left, right = a[:2]
    if len(a) == 4 and a[2]:
        left = left.swapaxes(-1, -2)
    if len(a) == 4 and a[3]:
        right = right.swapaxes(-1, -2)
    return left @ right


def _baddbmm(i: Interpreter, node: Node, a: list[Any]) -> Any:
    """β·bias + α·(a @ b); a 4-D bias [B or 1, N or 1, S, T] beside 3-D scores is what mindone passes."""
    bias, left, right, beta, alpha = a
    product = left @ right
    if bias.ndim == 4:
        whole = product.shape[0]
        batch, heads = bias.shape[:2]
        heads = whole // batch if batch != 1 or heads == 1 else heads
        batch = whole // heads
        bias = np.broadcast_to(bias, (batch, heads, *product.shape[1:])).reshape(product.shape)
    return beta * bias + alpha * product


def _pad(i: Interpreter, node: Node, a: list[Any]) -> Any:
    """PadV3 in MindSpore's order: pairs from the last axis backwards."""
    x, pads, fill = a
    pairs = [tuple(pads[n : n + 2]) for n in range(0, len(pads), 2)]
    widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1]
    return np.pad(x, widths, constant_values=fill)


def _dense(i: Interpreter, node: Node, a: list[Any]) -> Any:
    x, weight, bias = a
    return x @ weight.T + (0 if bias is None else bias)


def _split(i: Interpreter, node: Node, a: list[Any]) -> Any:
    x, sizes, axis = a
    return np.split(x, np.cumsum(sizes)[:-1], axis=axis)


def _max(x: Array, axis: int, keep: bool) -> Array:
    return np.asarray(np.max(x, axis=axis, keepdims=keep))


def _log_sum_exp(x: Array, axis: Any, keep: bool) -> Array:
    largest = np.max(x, axis=axis, keepdims=True)
    total = np.log(np.sum(np.exp(x - largest), axis=axis, keepdims=keep))
    return np.asarray(total + (largest if keep else largest.reshape(total.shape)))


def _log_softmax(x: Array, axis: int) -> Array:
    """The difference from the largest first: a row of one huge number gives −log n, as it does in the operator."""
    less = x - np.max(x, axis=axis, keepdims=True)
    return np.asarray(less - np.log(np.sum(np.exp(less), axis=axis, keepdims=True)))


def _dropout(i: Interpreter, node: Node, a: list[Any]) -> Any:
    assert a[1] == 1.0, "dropout at random"
    return [a[0], np.ones_like(a[0])]


def _dropout_ext(i: Interpreter, node: Node, a: list[Any]) -> Any:
    assert a[1] == 0.0, "dropout at random"
    return [a[0], None]


def _cut(x: Array, axis: int, start: int, end: int, step: int = 1) -> Any:
    return x[(slice(None),) * (axis % x.ndim) + (slice(start, end, step),)]


def _narrow(i: Interpreter, node: Node, a: list[Any]) -> Any:
    x, axis, start, length = a
    start = start % x.shape[axis] if start < 0 else start
    return _cut(x, axis, start, start + length)


def _slice(i: Interpreter, node: Node, a: list[Any]) -> Any:
    x, begin, size = a
    ends = [d if n == -1 else b + n for d, b, n in zip(x.shape, begin, size, strict=True)]
    return x[tuple(map(slice, begin, ends))]


def _log(x: Array) -> Any:
    with np.errstate(divide="ignore"):
        return np.log(x)


def _assign(i: Interpreter, node: Node, a: list[Any]) -> Any:
    """What reads the memory from then on finds the new value."""
    i.env[node.inputs[0]] = a[1]
    return a[1]


def _einsum(i: Interpreter, node: Node, a: list[Any]) -> Any:
    (equation,) = i.model.primitives[node.proto.op_type].attribute
    return np.einsum(equation.s.decode(), *a[0])


def _tile(i: Interpreter, node: Node, a: list[Any]) -> Any:
    return np.tile(a[0], a[1])


_OPS: dict[str, Op] = {
    **dict.fromkeys(("Add",), _binary(np.add)),
    **dict.fromkeys(("AddExt", "InplaceAddExt"), _with_alpha(np.add)),
    "Sub": _binary(np.subtract),
    "SubExt": _with_alpha(np.subtract),
    **dict.fromkeys(("Mul", "Muls", "InplaceMuls"), _binary(np.multiply)),
    **dict.fromkeys(("Div", "Divs", "RealDiv", "InplaceDivs"), _binary(np.true_divide)),
    **dict.fromkeys(("Less", "LessScalar"), _binary(np.less)),
    "LessEqual": _binary(np.less_equal),
    "Greater": _binary(np.greater),
    "GreaterEqual": _binary(np.greater_equal),
    "Equal": _binary(np.equal),
    "LogicalAnd": _binary(np.logical_and),
    "LogicalOr": _binary(np.logical_or),
    "Minimum": _binary(np.minimum),
    "Maximum": _binary(np.maximum),
    "LogicalNot": lambda i, node, a: np.logical_not(a[0]),
    "Abs": lambda i, node, a: np.abs(a[0]),
    "Neg": lambda i, node, a: -a[0],
    "Log2": lambda i, node, a: np.log2(a[0]),
    "Exp2": lambda i, node, a: np.exp2(a[0]),
    **dict.fromkeys(("Pow", "PowScalarTensor", "PowTensorScalar"), _binary(np.power)),
    "Reciprocal": lambda i, node, a: 1.0 / a[0],
    "ClampScalar": lambda i, node, a: np.clip(a[0], a[1], a[2]),
    "NotEqual": _binary(np.not_equal),
    "IsFinite": lambda i, node, a: np.isfinite(a[0]),
    "NanToNum": lambda i, node, a: np.nan_to_num(a[0], nan=a[1] or 0.0, posinf=a[2], neginf=a[3]),
    **dict.fromkeys(("OnesLike", "OnesLikeExt"), lambda i, node, a: np.ones_like(a[0])),
    **dict.fromkeys(("ZerosLike", "ZerosLikeExt"), lambda i, node, a: np.zeros_like(a[0])),
    "Dropout": _dropout,
    "DropoutExt": _dropout_ext,
    "Slice": _slice,
    "SliceExt": lambda i, node, a: _cut(*a),
    "Narrow": _narrow,
    "LinalgVectorNorm": lambda i, node, a: np.linalg.norm(a[0], a[1], a[2][0], keepdims=a[3]),
    "Chunk": lambda i, node, a: np.array_split(a[0], a[1], a[2]),
    "Split": lambda i, node, a: np.split(a[0], a[2], a[1]),
    "SplitTensor": lambda i, node, a: np.split(a[0], range(a[1], a[0].shape[a[2]], a[1]), a[2]),
    "Max": lambda i, node, a: np.max(a[0]),
    "MaxDim": lambda i, node, a: [_max(a[0], a[1], a[2]), None],
    "ArgMaxWithValue": lambda i, node, a: [None, _max(a[0], a[1], a[2])],
    "SumExt": lambda i, node, a: np.sum(a[0], axis=a[1], keepdims=a[2]),
    "LogSumExp": lambda i, node, a: _log_sum_exp(a[0], a[1], a[2]),
    **dict.fromkeys(("LogSoftmax", "LogSoftmaxExt"), lambda i, node, a: _log_softmax(a[0], a[1])),
    "Log": lambda i, node, a: _log(a[0]),
    "Exp": lambda i, node, a: np.exp(a[0]),
    "Sqrt": lambda i, node, a: np.sqrt(a[0]),
    "Rsqrt": lambda i, node, a: 1.0 / np.sqrt(a[0]),
    **dict.fromkeys(("Pow", "PowScalarTensor"), _binary(np.power)),
    **dict.fromkeys(
        ("ClampScalar", "ClampTensor"), lambda i, node, a: np.clip(a[0], a[1], a[2]) if a[1:] != [None, None] else a[0]
    ),
    "Tanh": lambda i, node, a: np.tanh(a[0]),
    **dict.fromkeys(("IsNan", "IsNaN"), lambda i, node, a: np.isnan(a[0])),
    "IsInf": lambda i, node, a: np.isinf(a[0]),
    **dict.fromkeys(("Select", "Where"), lambda i, node, a: np.where(a[0], a[1], a[2])),
    "MaskedFill": lambda i, node, a: np.where(a[1], a[2], a[0]),
    "Cast": _cast,
    **dict.fromkeys(("Load", "Depend", "Contiguous", "Clone", "TensorMove", "Identity", "StopGradient"), _first),
    "UpdateState": lambda i, node, a: None,
    "MakeTuple": lambda i, node, a: a,
    "TupleGetItem": lambda i, node, a: a[0][a[1]],
    **dict.fromkeys(("Reshape", "ReshapeView"), lambda i, node, a: a[0].reshape(a[1])),
    **dict.fromkeys(("FlattenExt", "ExpandDims", "Squeeze", "ExpandDimsView", "SqueezeView"), _to_shape),
    **dict.fromkeys(("Transpose", "TransposeView"), lambda i, node, a: a[0].transpose(a[1])),
    "Tile": _tile,
    "RepeatInterleaveInt": lambda i, node, a: np.repeat(a[0], a[1], a[2]),
    **dict.fromkeys(("BroadcastTo", "BroadcastToView"), lambda i, node, a: np.broadcast_to(a[0], a[1])),
    "ExpandAs": lambda i, node, a: np.broadcast_to(a[0], a[1].shape),
    "StridedSlice": _strided_slice,
    "StackExt": lambda i, node, a: np.stack(a[0], a[1]),
    "Concat": lambda i, node, a: np.concatenate(a[0], a[1]),
    "SplitWithSize": _split,
    "Gather": lambda i, node, a: np.take(a[0], a[1], axis=a[2]),
    "Triu": lambda i, node, a: np.triu(a[0], a[1]),
    "Tril": lambda i, node, a: np.tril(a[0], a[1]),
    "PadV3": _pad,
    **dict.fromkeys(("MatMulExt", "BatchMatMulExt", "MatMul", "BatchMatMul", "Mm"), _matmul),
    **dict.fromkeys(("Baddbmm", "Addmm"), _baddbmm),
    "Einsum": _einsum,
    "Assign": _assign,
    "Dense": _dense,
    "Softmax": lambda i, node, a: softmax(a[0], a[1][0]),
    "ReduceAll": lambda i, node, a: np.all(a[0], axis=a[1], keepdims=a[2]),
    "ReduceMean": lambda i, node, a: np.mean(a[0], axis=a[1], keepdims=a[2]),
    "ReduceMax": lambda i, node, a: np.max(a[0], axis=a[1], keepdims=a[2]),
    **dict.fromkeys(("ReduceSum", "SumExt"), lambda i, node, a: np.sum(a[0], axis=a[1], keepdims=a[2])),
    "FlashAttentionScore": _flash_attention_score,
    "PromptFlashAttention": _prompt_flash_attention,
}


def apply(op: str, model: Model, node: Node, arguments: Sequence[Any]) -> Any:
    """One operator on given arguments."""
    return _OPS[op](Interpreter(model, {}), node, list(arguments))
