"""Small MindIR graphs made by hand, in the encoding that MindSpore 2.7.1 writes.

`GraphBuilder` makes one graph, a node at a time; every method returns the name of the value it made, and `type_of`
tells its type. The operator table infers it, as it does for `attnfuse.ir.builder`, which makes nodes for a rewrite;
`node` declares one, right or wrong. Weights are parameters read through `Load`, tied to the result by UpdateState and
Depend as in a real export.

    g = GraphBuilder("unet")
    x = g.input("x", (2, 16, 32), FLOAT16)
    q = g.dense(x, "attn1.to_q", 32)
    g.output(q)
    g.write(folder / "unet.mindir")

The arrays it makes up depend on nothing but their name.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np

from attnfuse.ir.graph import Model
from attnfuse.ir.operators.arguments import Argument
from attnfuse.ir.types import Array, Literal, Special, TensorType
from attnfuse.ir.values import applied, read_constant
from attnfuse.ir.values import tuple_of as arguments_of
from attnfuse.mindir import dtypes
from attnfuse.mindir.codec import serialise
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32, DType
from attnfuse.mindir.schema import AttributeProto, GraphProto, ModelProto, NodeProto, PrimitiveProto, TensorProto

ValueType: TypeAlias = "TensorType | tuple[ValueType, ...]"

PRIMITIVE = PrimitiveProto.PRIMITIVE
FUNCTION = PrimitiveProto.PRIMITIVE_FUNCTION
LAYOUTS = {"BSH": 0, "BNSD": 1, "SBH": 2, "BSND": 3, "TND": 4, "BNSD_BSND": 8}
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


def fill_type(attribute: AttributeProto, value_type: ValueType) -> None:
    """Write a type the way a node's `shape` attribute holds it."""
    if isinstance(value_type, TensorType):
        attribute.type = AttributeProto.TENSORS
        attribute.tensors.add(data_type=value_type.dtype.wire).dims.extend(value_type.dims)
        return
    attribute.type = AttributeProto.TUPLE
    for element in value_type:
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
        self._known: dict[str, Argument] = {}
        """What is known of each value made."""
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
        tensor_type = TensorType(tuple(value.shape), dtypes.of_array(value))
        loaded = self.node("Load", [leaf, self.monad()], tensor_type, primitive=PRIMITIVE)
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
        return self._constants[key]

    def _constant(self, name: str, fill: Callable[[AttributeProto], None]) -> str:
        node = self.graph.node.add(name=name, op_type="Constant")
        node.output.append(name)
        told = node.attribute.add(name="value")
        fill(told)
        self._known[name] = read_constant(told)
        return name

    # --- nodes

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        value_type: ValueType | None,
        *,
        primitive: PrimitiveProto.PrimType = FUNCTION,
        name: str | None = None,
    ) -> str:
        """Any operator: all arguments are values, `value_type` the type of its result (None for a monad)."""
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
        if value_type is None:
            shape.type = AttributeProto.UMONAD
            self._known[value] = Argument(Special.MONAD)
            return value
        fill_type(shape, value_type)
        return self._typed(value, value_type)

    def op(self, op: str, *arguments: str | Literal, like: str | None = None, dims: Sequence[int] | None = None) -> str:
        """An operator, of the type that the operator table infers; or of that of `like`, or its type and `dims`.

        Arguments that are no values of this graph become constants; so a string constant needs `constant`. What the
        table leaves open (an operator without a row, say) has the type of the first argument.
        """
        values = [a if isinstance(a, str) and self.knows(a) else self.constant(a) for a in arguments]
        inferred = None if like or dims is not None else self._inferred(op, values)
        if inferred is not None:
            return self.node(op, values, inferred)
        tensor_type = self.type_of(like or values[0])
        return self.node(op, values, tensor_type if dims is None else TensorType(tuple(dims), tensor_type.dtype))

    def _inferred(self, op: str, values: Sequence[str]) -> ValueType | None:
        """ValueType of the result; None where it is left open."""
        value_type = applied(op, [self._known[value] for value in values], {}).value_type
        return cast("ValueType", value_type) if isinstance(value_type, TensorType | tuple) else None

    def knows(self, value: str) -> bool:
        """Whether that is the name of a value made so far."""
        return value in self._known

    def value_type(self, value: str) -> ValueType:
        """Type of a value made here, of a tuple of tensors too."""
        value_type = self._known[value].value_type
        assert isinstance(value_type, TensorType | tuple), f"{value} is no tensor"
        return cast("ValueType", value_type)

    def type_of(self, value: str) -> TensorType:
        """Type of a tensor value made here."""
        value_type = self._known[value].value_type
        assert isinstance(value_type, TensorType), f"{value} is no tensor"
        return value_type

    def dims(self, value: str) -> tuple[int, ...]:
        """Shape of a tensor value made here."""
        return self.type_of(value).dims

    def _typed(self, value: str, value_type: ValueType) -> str:
        self._known[value] = Argument(value_type)
        return value

    # --- layout

    def reshape(self, x: str, dims: Sequence[int]) -> str:
        """`dims` may hold one -1."""
        return self.op("Reshape", x, tuple(dims))

    def transpose(self, x: str, perm: Sequence[int]) -> str:
        return self.op("Transpose", x, tuple(perm))

    def expand_dims(self, x: str, axis: int) -> str:
        return self.op("ExpandDims", x, axis)

    def tile(self, x: str, times: Sequence[int]) -> str:
        return self.op("Tile", x, tuple(times))

    def repeat_interleave(self, x: str, repeats: int, axis: int) -> str:
        return self.op("RepeatInterleaveInt", x, repeats, axis, self.dims(x)[axis] * repeats)

    def broadcast_to(self, x: str, dims: Sequence[int]) -> str:
        return self.op("BroadcastTo", x, tuple(dims))

    def strided_slice(self, x: str, begin: Sequence[int], end: Sequence[int]) -> str:
        """A plain slice with steps of 1 and no masks; 0 <= begin < end <= size."""
        return self.op("StridedSlice", x, tuple(begin), tuple(end), (1,) * len(begin), 0, 0, 0, 0, 0)

    def tuple_of(self, values: Sequence[str]) -> str:
        """MakeTuple."""
        made = self.node("MakeTuple", values, tuple(self.value_type(v) for v in values), primitive=PRIMITIVE)
        self._known[made] = arguments_of(tuple(self._known[v] for v in values))
        return made

    def concat(self, values: Sequence[str], axis: int) -> str:
        return self.op("Concat", self.tuple_of(values), axis)

    def split_with_size(self, x: str, sizes: Sequence[int], axis: int) -> tuple[str, ...]:
        split = self.op("SplitWithSize", x, tuple(sizes), axis)
        return tuple(self.tuple_get_item(split, i) for i in range(len(sizes)))

    def tuple_get_item(self, value: str, index: int) -> str:
        value_type = self._known[value].value_type
        assert isinstance(value_type, tuple)
        return self.node(
            "TupleGetItem", [value, self.constant(index)], cast("ValueType", value_type[index]), primitive=PRIMITIVE
        )

    # --- element-wise

    def cast(self, x: str, dtype: DType) -> str:
        return self.op("Cast", x, dtype.type_id)

    def muls(self, x: str, factor: float) -> str:
        """By a scalar constant."""
        return self.op("Muls", x, float(factor))

    def add(self, a: str | Array, b: str | Array) -> str:
        return self.op("Add", a, b)

    def sub(self, a: str | Array, b: str | Array) -> str:
        return self.op("Sub", a, b)

    def mul(self, a: str | Array, b: str | Array) -> str:
        return self.op("Mul", a, b)

    def div(self, a: str | Array, b: str | Array) -> str:
        return self.op("Div", a, b)

    def select(self, condition: str, yes: str | Array, no: str | Array) -> str:
        return self.op("Select", condition, yes, no)

    def masked_fill(self, x: str, mask: str | Array, value: Array) -> str:
        """`value` is a tensor of no dimensions."""
        return self.op("MaskedFill", x, mask, value)

    def logical_not(self, x: str) -> str:
        return self.op("LogicalNot", x)

    def softmax(self, x: str, axis: int = -1) -> str:
        return self.op("Softmax", x, (axis,))

    # --- products

    def matmul_ext(self, a: str, b: str) -> str:
        """MatMulExt: the last two axes, the others broadcast."""
        return self.op("MatMulExt", a, b)

    def bmm(self, a: str, b: str) -> str:
        """BatchMatMulExt: 3-D, equal batch."""
        return self.op("BatchMatMulExt", a, b)

    def batch_matmul(self, a: str, b: str, transpose_a: bool = False, transpose_b: bool = False) -> str:
        """BatchMatMul with its two transposition flags."""
        return self.op("BatchMatMul", a, b, transpose_a, transpose_b)

    def einsum(self, equation: str, a: str, b: str) -> str:
        """Two operands contracted as the equation says: a letter for each axis."""
        first, second, result = equation.replace("->", ",").split(",")
        sizes = dict(zip(first, self.dims(a), strict=True)) | dict(zip(second, self.dims(b), strict=True))
        dtype = self.type_of(a).dtype
        made = self.node("Einsum", [self.tuple_of([a, b])], TensorType(tuple(sizes[x] for x in result), dtype))
        ref = f"Einsum:{equation}"
        if all(entry.name != ref for entry in self.proto.primitives):
            entry = self.proto.primitives.add(name=ref, op_type="Einsum", prim_type=PRIMITIVE)
            entry.attribute.add(name="equation", type=AttributeProto.STRING, s=equation.encode())
        self.graph.node[-1].op_type = f"REF::{ref}"
        return made

    def baddbmm(self, bias: str, a: str, b: str, beta: float = 1, alpha: float = 1) -> str:
        """`beta * bias + alpha * (a @ b)`, 3-D; the bias may be of more dimensions, as mindone leaves it."""
        return self.op("Baddbmm", bias, a, b, beta, alpha)

    def dense(self, x: str, name: str, features: int, *, bias: bool = True) -> str:
        """A linear layer with weights `name.weight` [features, in] and `name.bias`."""
        tensor_type = self.type_of(x)
        weight = self.weight(
            f"{name}.weight", (features, tensor_type.dims[-1]), tensor_type.dtype, tensor_type.dims[-1] ** -0.5
        )
        offset = self.weight(f"{name}.bias", (features,), tensor_type.dtype) if bias else self.constant(None)
        return self.op("Dense", x, weight, offset)

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
        tensor_type = self.type_of(query)
        where = layout.index("S")
        batch, length = tensor_type.dims[layout.index("B")], tensor_type.dims[where]
        stats = TensorType((batch, heads, length, 8), FLOAT32)
        none = self.constant(None)
        tensors = [query, key, value, real_shift or none, none, none, attn_mask or none, none, none, none]
        scalars = (heads, 1.0, float(scale), pre_tokens, next_tokens, 0, LAYOUTS[layout], sparse_mode)
        fused = self.node(
            "FlashAttentionScore",
            [*tensors, *map(self.constant, scalars)],
            (stats, stats, TensorType((1,), tensor_type.dtype), tensor_type),
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
        made = self.type_of(query)
        if layout == "BNSD_BSND":
            batch, own, tokens, width = made.dims
            made = TensorType((batch, tokens, own, width), made.dtype)
        return self.node("PromptFlashAttention", [*tensors, *map(self.constant, scalars)], made)

    # --- finishing

    def output(self, *values: str) -> None:
        """Name the results of the graph, in order."""
        self._outputs.extend(values)

    def build(self) -> ModelProto:
        """The message. Call it once."""
        result = self._outputs[0]
        if len(self._outputs) > 1:
            result = self.tuple_of(self._outputs)
        if self._loads and self._monad is not None:
            loads = self.tuple_of(self._loads)
            state = self.node("UpdateState", [self._monad, loads], None, primitive=PRIMITIVE)
            result = self.node("Depend", [result, state], self.value_type(result), primitive=PRIMITIVE)
        output = self.graph.output.add(name=result)
        value_type = self.value_type(result)
        if isinstance(value_type, TensorType):
            output.tensor.add(data_type=value_type.dtype.wire).dims.extend(value_type.dims)
        else:
            output.denotation = "Tuple"
            fill_type(output.attr_info, value_type)
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
