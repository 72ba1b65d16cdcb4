"""Small MindIR graphs made by hand, in the encoding that MindSpore 2.7.1 writes.

`GraphBuilder` makes one graph, a node at a time; every method returns the name of the value it made, and `type_of`
tells its type. Types are inferred for the operators that have a method; `node` makes any other one. Weights are
parameters read through `Load`, tied to the result by UpdateState and Depend as in a real export.

    g = GraphBuilder("unet")
    x = g.input("x", (2, 16, 32), FLOAT16)
    q = g.dense(x, "attn1.to_q", 32)
    g.output(q)
    g.write(folder / "unet.mindir")

May import `attnfuse.ir.graph` and `attnfuse.mindir`; the arrays it makes up depend on nothing but their name.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array, Literal, TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.codec import serialise
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32, DType
from attnfuse.mindir.schema import AttributeProto, GraphProto, ModelProto, NodeProto, PrimitiveProto, TensorProto

Kind: TypeAlias = "TensorType | tuple[Kind, ...]"

PRIMITIVE = PrimitiveProto.PRIMITIVE
FUNCTION = PrimitiveProto.PRIMITIVE_FUNCTION
LAYOUTS = {"BSH": 0, "BNSD": 1, "SBH": 2, "BSND": 3, "TND": 4}
MAX_TOKENS = 2147483647


def seeded(name: str, dims: Sequence[int], dtype: DType = FLOAT32, scale: float = 1.0) -> Array:
    """Normal values of that shape, always the same for the same name."""
    generator = np.random.Generator(np.random.Philox(zlib.crc32(name.encode())))
    return (generator.standard_normal(tuple(dims)) * scale).astype(dtype.numpy)


def fill_tensor(proto: TensorProto, array: Array, *, data: bool = True) -> None:
    """Write shape, type and (unless told otherwise) the value of `array` into the message."""
    proto.dims.extend(array.shape)
    proto.data_type = dtypes.of_array(array).wire
    if data:
        proto.raw_data = np.ascontiguousarray(array).tobytes()


def fill_type(attribute: AttributeProto, kind: Kind) -> None:
    """Write a type the way a node's `shape` attribute holds it."""
    if isinstance(kind, TensorType):
        attribute.type = AttributeProto.TENSORS
        attribute.tensors.add(data_type=kind.dtype.wire).dims.extend(kind.dims)
        return
    attribute.type = AttributeProto.TUPLE
    for element in kind:
        fill_type(attribute.values.add(), element)
    attribute.seq_info.is_dyn_len = False


def fill_literal(attribute: AttributeProto, value: Literal, *, element: bool = False) -> None:
    """Write a constant: a scalar stands in `i` or `f`, an element of a tuple in `ints` or `floats`."""
    if value is None:
        attribute.type = AttributeProto.NONE
    elif isinstance(value, bool):
        attribute.type = AttributeProto.BOOL
        attribute.i = int(value)
    elif isinstance(value, int):
        attribute.type = AttributeProto.INT64
        if element:
            attribute.ints.append(value)
        else:
            attribute.i = value
    elif isinstance(value, float):
        attribute.type = AttributeProto.FLOAT
        if element:
            attribute.floats.append(value)
        else:
            attribute.f = value
    elif isinstance(value, str):
        attribute.type = AttributeProto.STRING
        attribute.s = value.encode()
    elif isinstance(value, tuple):
        attribute.type = AttributeProto.TUPLE
        for item in value:
            fill_literal(attribute.values.add(), item, element=True)
    else:
        attribute.type = AttributeProto.TENSORS
        fill_tensor(attribute.tensors.add(name="value0"), value)


def _fill_monad(attribute: AttributeProto) -> None:
    attribute.type = AttributeProto.UMONAD


class GraphBuilder:
    """One MindIR file with one graph. `scope` is written as the module scope of the nodes made while it is set."""

    def __init__(self, name: str = "graph", *, weights: bool = True, first: int = 0) -> None:
        """With `weights` False parameters have shape and type but no data, as in a traced skeleton.

        Nodes are numbered, and so named, from `first` on: as a rewrite's are, which the original does not have.
        """
        self.prefix = f"1_{name}_construct_1"
        self.weights = weights
        self.scope = "Default"
        self.proto = ModelProto(
            ir_version="0.1.1", producer_name="MindSpore", model_version="2.7.1", little_endian=True, mind_ir_version=3
        )
        self.graph: GraphProto = self.proto.graph
        self.graph.name = self.prefix
        self._types: dict[str, Kind] = {}
        self._count = first
        self._monad: str | None = None
        self._loads: list[str] = []
        self._outputs: list[str] = []
        self._constants: dict[object, str] = {}

    # --- leaves

    def input(self, name: str, dims: Sequence[int], dtype: DType = FLOAT32) -> str:
        """A graph input."""
        value = f"{self.prefix}:{name}"
        tensor = self.graph.input.add(name=value).tensor.add(data_type=dtype.wire)
        tensor.dims.extend(dims)
        return self._typed(value, TensorType(tuple(dims), dtype))

    def parameter(self, name: str, value: Array) -> str:
        """A weight of that value; the result is what `Load` reads."""
        leaf = f"{self.prefix}:{name}"
        proto = self.graph.parameter.add(name=leaf, ref_key=name, compression_type=TensorProto.NO_COMPRESSION)
        fill_tensor(proto, value, data=self.weights)
        kind = TensorType(tuple(value.shape), dtypes.of_array(value))
        loaded = self.node("Load", [leaf, self.monad()], kind, primitive=PRIMITIVE)
        self._loads.append(loaded)
        return loaded

    def monad(self) -> str:
        """The state before any effect."""
        if self._monad is None:
            self._monad = self._constant("ValueNode_U", _fill_monad)
        return self._monad

    def weight(self, name: str, dims: Sequence[int], dtype: DType = FLOAT32, scale: float = 0.2) -> str:
        """A weight of made-up values."""
        return self.parameter(name, seeded(name, dims, dtype, scale))

    def constant(self, value: Literal) -> str:
        """A Constant node; one per value, as MindSpore's exporter does it."""
        key: object = (type(value), repr(value))
        if isinstance(value, np.ndarray):
            key = (str(value.dtype), value.shape, value.tobytes())
        if key not in self._constants:
            name = f"{'Parameter' if isinstance(value, np.ndarray) else 'ValueNode'}_{len(self._constants)}"
            self._constants[key] = self._constant(name, lambda a: fill_literal(a, value))
            if isinstance(value, np.ndarray):
                dtype = dtypes.of_array(value)
                self._types[name] = TensorType(tuple(value.shape), dtype)
        return self._constants[key]

    def _constant(self, name: str, fill: Callable[[AttributeProto], None]) -> str:
        node = self.graph.node.add(name=name, op_type="Constant")
        node.output.append(name)
        fill(node.attribute.add(name="value"))
        return name

    # --- nodes

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        kind: Kind | None,
        *,
        primitive: PrimitiveProto.PrimType = FUNCTION,
        name: str | None = None,
    ) -> str:
        """Any operator: all arguments are values, `kind` the type of its result (None for a monad)."""
        self._count += 1
        ref = f"{op}:0"
        if all(entry.name != ref for entry in self.proto.primitives):
            self.proto.primitives.add(name=ref, op_type=op, instance_name="", prim_type=primitive)
        value = f"{self.prefix}:{name or f'CNode_{self._count}'}:{self._count}"
        node = self.graph.node.add(name=value, op_type=f"REF::{ref}", domain=f"{self.scope}/{op}-op{self._count}")
        node.input.extend(inputs)
        node.output.append(value)
        shape = node.attribute.add(name="shape")
        node.node_attr.add(name="checkpoint", type=AttributeProto.BOOL, i=1)
        if kind is None:
            shape.type = AttributeProto.UMONAD
            return value
        fill_type(shape, kind)
        return self._typed(value, kind)

    def op(self, op: str, *arguments: str | Literal, like: str | None = None, dims: Sequence[int] | None = None) -> str:
        """An operator whose result has the type of `like` (default: its first argument), or its type and `dims`.

        Arguments that are no values of this graph become constants; so a string constant needs `constant`.
        """
        values = [a if isinstance(a, str) and self.knows(a) else self.constant(a) for a in arguments]
        kind = self.type_of(like or values[0])
        return self.node(op, values, kind if dims is None else TensorType(tuple(dims), kind.dtype))

    def knows(self, value: str) -> bool:
        """Whether that is the name of a value made so far."""
        return value in self._types or value in self._constants.values()

    def type_of(self, value: str) -> TensorType:
        """Type of a tensor value made here."""
        kind = self._types[value]
        assert isinstance(kind, TensorType), f"{value} is a tuple"
        return kind

    def dims(self, value: str) -> tuple[int, ...]:
        """Shape of a tensor value made here."""
        return self.type_of(value).dims

    def _typed(self, value: str, kind: Kind) -> str:
        self._types[value] = kind
        return value

    # --- layout

    def reshape(self, x: str, dims: Sequence[int]) -> str:
        """`dims` may hold one -1."""
        size = self.type_of(x).size
        known = int(np.prod([d for d in dims if d >= 0], dtype=np.int64))
        real = [size // known if d < 0 else d for d in dims]
        assert int(np.prod(real, dtype=np.int64)) == size, (self.dims(x), dims)
        return self.op("Reshape", x, tuple(dims), dims=real)

    def transpose(self, x: str, perm: Sequence[int]) -> str:
        dims = self.dims(x)
        return self.op("Transpose", x, tuple(perm), dims=[dims[p] for p in perm])

    def expand_dims(self, x: str, axis: int) -> str:
        dims = list(self.dims(x))
        dims.insert(axis if axis >= 0 else len(dims) + 1 + axis, 1)
        return self.op("ExpandDims", x, axis, dims=dims)

    def tile(self, x: str, times: Sequence[int]) -> str:
        return self.op("Tile", x, tuple(times), dims=[d * t for d, t in zip(self.dims(x), times, strict=True)])

    def repeat_interleave(self, x: str, repeats: int, axis: int) -> str:
        dims = list(self.dims(x))
        dims[axis] *= repeats
        return self.op("RepeatInterleaveInt", x, repeats, axis, dims[axis], dims=dims)

    def broadcast_to(self, x: str, dims: Sequence[int]) -> str:
        return self.op("BroadcastTo", x, tuple(dims), dims=np.broadcast_shapes(self.dims(x), tuple(dims)))

    def strided_slice(self, x: str, begin: Sequence[int], end: Sequence[int]) -> str:
        """A plain slice with steps of 1 and no masks; 0 <= begin < end <= size."""
        dims = [e - b for b, e in zip(begin, end, strict=True)]
        return self.op("StridedSlice", x, tuple(begin), tuple(end), (1,) * len(dims), 0, 0, 0, 0, 0, dims=dims)

    def concat(self, values: Sequence[str], axis: int) -> str:
        kinds = [self.type_of(v) for v in values]
        joined = self.node("MakeTuple", values, tuple(kinds), primitive=PRIMITIVE)
        dims = list(kinds[0].dims)
        dims[axis] = sum(k.dims[axis] for k in kinds)
        return self.node("Concat", [joined, self.constant(axis)], TensorType(tuple(dims), kinds[0].dtype))

    def split_with_size(self, x: str, sizes: Sequence[int], axis: int) -> tuple[str, ...]:
        kind = self.type_of(x)
        parts = []
        for size in sizes:
            dims = list(kind.dims)
            dims[axis] = size
            parts.append(TensorType(tuple(dims), kind.dtype))
        split = self.node("SplitWithSize", [x, self.constant(tuple(sizes)), self.constant(axis)], tuple(parts))
        return tuple(self.tuple_get_item(split, i) for i in range(len(parts)))

    def tuple_get_item(self, value: str, index: int) -> str:
        kind = self._types[value]
        assert isinstance(kind, tuple)
        return self.node("TupleGetItem", [value, self.constant(index)], kind[index], primitive=PRIMITIVE)

    # --- element-wise

    def cast(self, x: str, dtype: DType) -> str:
        return self.node("Cast", [x, self.constant(dtype.type_id)], TensorType(self.dims(x), dtype))

    def muls(self, x: str, factor: float) -> str:
        """By a scalar constant."""
        return self.op("Muls", x, float(factor))

    def binary(self, op: str, a: str | Array, b: str | Array) -> str:
        """Add, Sub, Mul, Div, Minimum, …, broadcast; an array becomes a tensor constant."""
        x, y = (v if isinstance(v, str) else self.constant(v) for v in (a, b))
        dims = np.broadcast_shapes(self.dims(x), self.dims(y))
        return self.node(op, [x, y], TensorType(dims, self.type_of(x).dtype))

    def add(self, a: str | Array, b: str | Array) -> str:
        return self.binary("Add", a, b)

    def sub(self, a: str | Array, b: str | Array) -> str:
        return self.binary("Sub", a, b)

    def mul(self, a: str | Array, b: str | Array) -> str:
        return self.binary("Mul", a, b)

    def div(self, a: str | Array, b: str | Array) -> str:
        return self.binary("Div", a, b)

    def compare(self, op: str, a: str | Array, b: str | Array) -> str:
        """Less, Greater, Equal, …: a bool tensor."""
        value = self.binary(op, a, b)
        kind = TensorType(self.dims(value), dtypes.BOOL)
        shape = self.graph.node[-1].attribute[0]
        shape.Clear()
        shape.name = "shape"
        fill_type(shape, kind)
        return self._typed(value, kind)

    def select(self, condition: str, yes: str | Array, no: str | Array) -> str:
        values = [v if isinstance(v, str) else self.constant(v) for v in (condition, yes, no)]
        dims = np.broadcast_shapes(*(self.dims(v) for v in values))
        return self.node("Select", values, TensorType(dims, self.type_of(values[1]).dtype))

    def masked_fill(self, x: str, mask: str | Array, value: Array) -> str:
        """`value` is a tensor of no dimensions."""
        arguments = [x, mask if isinstance(mask, str) else self.constant(mask), self.constant(value)]
        dims = np.broadcast_shapes(self.dims(x), self.dims(arguments[1]))
        return self.node("MaskedFill", arguments, TensorType(dims, self.type_of(x).dtype))

    def logical_not(self, x: str) -> str:
        return self.op("LogicalNot", x)

    def softmax(self, x: str, axis: int = -1) -> str:
        return self.op("Softmax", x, (axis,))

    # --- products

    def matmul_ext(self, a: str, b: str) -> str:
        """MatMulExt: the last two axes, the others broadcast."""
        return self._product("MatMulExt", a, b)

    def bmm(self, a: str, b: str) -> str:
        """BatchMatMulExt: 3-D, equal batch."""
        return self._product("BatchMatMulExt", a, b)

    def batch_matmul(self, a: str, b: str, transpose_a: bool = False, transpose_b: bool = False) -> str:
        """BatchMatMul with its two transposition flags."""
        return self._product("BatchMatMul", a, b, transpose_a, transpose_b)

    def _product(self, op: str, a: str, b: str, *flags: bool) -> str:
        left, right = list(self.dims(a)), list(self.dims(b))
        if flags and flags[0]:
            left[-2:] = left[:-3:-1]
        if flags and flags[1]:
            right[-2:] = right[:-3:-1]
        assert left[-1] == right[-2], (op, left, right)
        dims = (*np.broadcast_shapes(tuple(left[:-2]), tuple(right[:-2])), left[-2], right[-1])
        return self.node(op, [a, b, *map(self.constant, flags)], TensorType(dims, self.type_of(a).dtype))

    def baddbmm(self, bias: str, a: str, b: str, beta: float = 1, alpha: float = 1) -> str:
        """`beta * bias + alpha * (a @ b)`, 3-D; the bias may be of more dimensions, as mindone leaves it."""
        left, right = self.dims(a), self.dims(b)
        kind = TensorType((left[0], left[1], right[2]), self.type_of(a).dtype)
        return self.node("Baddbmm", [bias, a, b, self.constant(beta), self.constant(alpha)], kind)

    def dense(self, x: str, name: str, features: int, *, bias: bool = True) -> str:
        """A linear layer with weights `name.weight` [features, in] and `name.bias`."""
        kind = self.type_of(x)
        weight = self.weight(f"{name}.weight", (features, kind.dims[-1]), kind.dtype, kind.dims[-1] ** -0.5)
        offset = self.weight(f"{name}.bias", (features,), kind.dtype) if bias else self.constant(None)
        return self.node("Dense", [x, weight, offset], TensorType((*kind.dims[:-1], features), kind.dtype))

    # --- fused nodes (argument orders: MindSpore 2.7.1 operator definitions)

    def flash_attention_score(
        self,
        query: str,
        key: str,
        value: str,
        *,
        heads: int,
        scale: float,
        layout: str = "BNSD",
        real_shift: str | None = None,
        attn_mask: str | None = None,
        sparse_mode: int = 0,
        pre_tokens: int = MAX_TOKENS,
        next_tokens: int = MAX_TOKENS,
        item: int = 3,
    ) -> str:
        """FlashAttentionScore and the TupleGetItem of its result (index 3)."""
        kind = self.type_of(query)
        where = layout.index("S")
        batch, length = kind.dims[layout.index("B")], kind.dims[where]
        stats = TensorType((batch, heads, length, 8), FLOAT32)
        none = self.constant(None)
        tensors = [query, key, value, real_shift or none, none, none, attn_mask or none, none, none, none]
        scalars = (heads, 1.0, float(scale), pre_tokens, next_tokens, 0, LAYOUTS[layout], sparse_mode)
        fused = self.node(
            "FlashAttentionScore",
            [*tensors, *map(self.constant, scalars)],
            (stats, stats, TensorType((1,), kind.dtype), kind),
        )
        return self.tuple_get_item(fused, item)

    def prompt_flash_attention(
        self,
        query: str,
        key: str,
        value: str,
        *,
        heads: int,
        scale: float,
        layout: str = "BNSD",
        attn_mask: str | None = None,
        pse_shift: str | None = None,
        kv_heads: int = 0,
        sparse_mode: int = 0,
        pre_tokens: int = MAX_TOKENS,
        next_tokens: int = MAX_TOKENS,
        inner_precise: int = 0,
    ) -> str:
        """PromptFlashAttention, over the whole key sequence unless told otherwise."""
        none = self.constant(None)
        tensors = [query, key, value, attn_mask or none, none, none, pse_shift or none, none, none, none, none, none]
        layout_number = LAYOUTS[layout]
        scalars = (heads, float(scale), pre_tokens, next_tokens, layout_number, kv_heads, sparse_mode, inner_precise)
        return self.node("PromptFlashAttention", [*tensors, *map(self.constant, scalars)], self._types[query])

    # --- finishing

    def output(self, *values: str) -> None:
        """Name the results of the graph, in order."""
        self._outputs.extend(values)

    def build(self) -> ModelProto:
        """The message. Call it once."""
        result = self._outputs[0]
        if len(self._outputs) > 1:
            kinds: Kind = tuple(self._types[v] for v in self._outputs)
            result = self.node("MakeTuple", self._outputs, kinds, primitive=PRIMITIVE)
        if self._loads and self._monad is not None:
            kinds = tuple(self.type_of(v) for v in self._loads)
            loads = self.node("MakeTuple", self._loads, kinds, primitive=PRIMITIVE)
            state = self.node("UpdateState", [self._monad, loads], None, primitive=PRIMITIVE)
            result = self.node("Depend", [result, state], self._types[result], primitive=PRIMITIVE)
        output = self.graph.output.add(name=result)
        kind = self._types[result]
        if isinstance(kind, TensorType):
            output.tensor.add(data_type=kind.dtype.wire).dims.extend(kind.dims)
        else:
            output.denotation = "Tuple"
            fill_type(output.attr_info, kind)
        return self.proto

    def model(self) -> Model:
        """The indexed graph (and a check that it is consistent)."""
        return Model(self.build())

    def write(self, path: Path) -> Path:
        """Write the file."""
        path.write_bytes(serialise(self.build()))
        return path


def operators(model: Model) -> list[str]:
    """The operators of a graph in order, constants left out."""
    return [n.op for n in model.nodes if n.op != "Constant"]


def node_named(model: Model, op: str, index: int = 0) -> NodeProto:
    """The `index`-th node of an operator."""
    return [n for n in model.nodes if n.op == op][index].proto


def self_attention(
    g: GraphBuilder,
    x: str,
    name: str,
    *,
    heads: int,
    context: str | None = None,
    split_scale: bool = True,
) -> str:
    """mindone's `Attention` as it traces on a CPU host: 3-D, the scale split over q and k as √s · √s.

    `x` is [B, S, C]; `context` [B, T, C2] makes it cross attention. The result is [B, S, C].
    """
    batch, length, channels = g.dims(x)
    source = context or x
    size = channels // heads
    scale = size**-0.5

    def split(value: str) -> str:
        value = g.reshape(value, (batch, -1, heads, size))
        return g.reshape(g.transpose(value, (0, 2, 1, 3)), (batch * heads, -1, size))

    q = split(g.dense(x, f"{name}.to_q", channels, bias=False))
    k = split(g.dense(source, f"{name}.to_k", channels, bias=False))
    v = split(g.dense(source, f"{name}.to_v", channels, bias=False))
    k = g.transpose(k, (0, 2, 1))
    if split_scale:
        scores = g.bmm(g.muls(q, scale**0.5), g.muls(k, scale**0.5))
    else:
        scores = g.muls(g.bmm(q, k), scale)
    result = g.bmm(g.softmax(scores), v)
    result = g.transpose(g.reshape(result, (batch, heads, length, size)), (0, 2, 1, 3))
    result = g.reshape(result, (batch, length, channels))
    return g.dense(result, f"{name}.to_out.0", channels)


def transformer(
    name: str = "unet",
    *,
    sites: int = 2,
    heads: int = 4,
    size: int = 16,
    length: int = 24,
    batch: int = 2,
    dtype: DType = FLOAT16,
    weights: bool = True,
) -> GraphBuilder:
    """`sites` attention blocks with residuals, named like a UNet's: alternately self and cross attention."""
    g = GraphBuilder(name, weights=weights)
    channels = heads * size
    x = g.input("sample", (batch, length, channels), dtype)
    context = g.input("context", (batch, 7, channels), dtype)
    for index in range(sites):
        block, kind = divmod(index, 2)
        g.scope = f"Default/blocks-CellList/{block}-Block/attn{kind + 1}-Attention"
        x = g.add(
            x, self_attention(g, x, f"blocks.{block}.attn{kind + 1}", heads=heads, context=context if kind else None)
        )
    g.scope = "Default"
    g.output(x)
    return g
