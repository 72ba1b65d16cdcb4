"""Operators that take elements of a table by their places, or put some into one."""

from __future__ import annotations

from attnfuse.ir.operators.arguments import Arguments, NotKnown, TypeMismatch
from attnfuse.ir.operators.columns import Kernel, Role, picked, writes
from attnfuse.ir.operators.inference import axis_of, broadcast, meet, one_type, same_as, shape, with_axis
from attnfuse.ir.operators.row import CLASSIC, Operator, row
from attnfuse.ir.types import UNKNOWN_DIM, TensorType, ValueType
from attnfuse.mindir.dtypes import INT32


def _gather(a: Arguments) -> ValueType:
    """An axis of the table becomes the axes of the places, of which the first `batch_dims` are shared."""
    table, places = a.tensor("input_params"), a.tensor("input_indices")
    axis, shared = axis_of(a.integer("axis"), table.rank), a.integer("batch_dims")
    if shared < 0:
        shared += places.rank
    if not 0 <= shared <= min(axis, places.rank) or None in map(meet, table.dims[:shared], places.dims[:shared]):
        raise TypeMismatch(f"shares {shared} axes of {shape(table.dims)} and {shape(places.dims)}")
    dims = (*table.dims[:axis], *places.dims[shared:], *table.dims[axis + 1 :])
    return TensorType(dims, table.dtype)


def _gather_each(a: Arguments) -> ValueType:
    table, places = a.tensor("x"), a.tensor("index")
    axis_of(a.integer("dim"), table.rank)
    if places.rank != table.rank:
        raise TypeMismatch(f"takes places of {shape(places.dims)} in {shape(table.dims)}")
    return TensorType(places.dims, table.dtype)


def _depth(table: TensorType, places: TensorType) -> int:
    """How many axes of the table one place tells."""
    if not places.dims:
        raise TypeMismatch("has places without an axis")
    depth = places.dims[-1]
    if depth == UNKNOWN_DIM:
        raise NotKnown("indices")
    if depth > table.rank:
        raise TypeMismatch(f"tells places of {depth} axes in {shape(table.dims)}")
    return depth


def _gather_nd(a: Arguments) -> ValueType:
    table, places = a.tensor("input_x"), a.tensor("indices")
    depth = _depth(table, places)
    return TensorType((*places.dims[:-1], *table.dims[depth:]), table.dtype)


def _scatter_nd(a: Arguments) -> ValueType:
    table, places, updates = a.tensor("input_x"), a.tensor("indices"), a.tensor("updates")
    one_type(table, updates)
    wanted = (*places.dims[:-1], *table.dims[_depth(table, places) :])
    if len(wanted) != updates.rank or None in map(meet, wanted, updates.dims):
        raise TypeMismatch(f"puts {shape(updates.dims)} where {shape(wanted)} belongs")
    return table


def _index_select(a: Arguments) -> ValueType:
    table, places = a.tensor("input"), a.tensor("index")
    axis = axis_of(a.integer("dim"), table.rank)
    if places.rank != 1:
        raise TypeMismatch(f"takes places of {shape(places.dims)}; it takes a vector")
    return TensorType(with_axis(table.dims, axis, places.dims[0]), table.dtype)


def _embedding(a: Arguments) -> ValueType:
    places, table = a.tensor("input"), a.tensor("weight")
    if table.rank != 2:
        raise TypeMismatch(f"looks up rows of {shape(table.dims)}; it takes a matrix")
    return TensorType((*places.dims, table.dims[1]), table.dtype)


def _embedding_lookup(a: Arguments) -> ValueType:
    table, places = a.tensor("params"), a.tensor("indices")
    if not table.dims:
        raise TypeMismatch("looks up rows of a tensor without axes")
    return TensorType((*places.dims, *table.dims[1:]), table.dtype)


def _one_hot(a: Arguments) -> ValueType:
    places, depth, axis = a.tensor("indices"), a.size("depth"), a.integer("axis")
    on, off = a.tensor("on_value"), a.tensor("off_value")
    one_type(on, off)
    if depth is not None and depth < 0:
        raise TypeMismatch(f"has a depth of {depth}")
    at = axis_of(axis, places.rank + 1)
    size = UNKNOWN_DIM if depth is None else depth
    return TensorType((*places.dims[:at], size, *places.dims[at:]), on.dtype)


def _largest(a: Arguments) -> ValueType:
    """The largest elements of the last axis, and their places."""
    tensor_type, count = a.tensor("input"), a.size("k")
    if not tensor_type.dims:
        raise TypeMismatch("takes the largest elements of a tensor without axes")
    size = tensor_type.dims[-1]
    if count is not None and (count <= 0 or 0 <= size < count):
        raise TypeMismatch(f"takes the {count} largest of {size} elements")
    dims = (*tensor_type.dims[:-1], UNKNOWN_DIM if count is None else count)
    return TensorType(dims, tensor_type.dtype), TensorType(dims, INT32)


def _index(a: Arguments) -> ValueType:
    """x[i, j, …]: places of the first axes, which broadcast to each other."""
    tensor_type, places = a.tensor("input"), a.tensors("indices")
    if len(places) > tensor_type.rank or any(not p.dtype.name.startswith(("int", "uint")) for p in places):
        raise NotKnown("indices")
    dims: tuple[int, ...] = ()
    for place in places:
        dims = broadcast(dims, place.dims)
    return TensorType((*dims, *tensor_type.dims[len(places) :]), tensor_type.dtype)


ROWS: tuple[Operator, ...] = (
    row(
        "Gather",
        "input_params: tensor, input_indices: tensor, axis: int, batch_dims: int = 0",
        _gather,
        value=picked("input_params"),
        kernel=Kernel.MOVE,
        role=Role.LOOKUP,
        examples=(
            "Gather(x: float32[9, 8], i: int32[2, ?], 0, 0) -> float32[2, ?, 8]",
            "Gather(x: float32[9, 8], i: int32[], -1, 0) -> float32[9]",
            "Gather(x: float32[2, 9, 8], i: int32[2, 3], 1, 1) -> float32[2, 3, 8]",
            "refused: Gather(x: float32[9, 8], i: int32[2, 3], 2, 0)",
        ),
    ),
    row(
        "GatherD",
        "x: tensor, dim: int, index: tensor",
        _gather_each,
        value=picked("x"),
        kernel=Kernel.MOVE,
        examples=("GatherD(x: float32[9, 8], 1, i: int32[?, 3]) -> float32[?, 3]",),
    ),
    row(
        "GatherNd",
        "input_x: tensor, indices: tensor",
        _gather_nd,
        value=picked("input_x"),
        kernel=Kernel.MOVE,
        examples=(
            "GatherNd(x: float32[9, 8, 7], i: int32[4, 2]) -> float32[4, 7]",
            "GatherNd(x: float32[9, 8, 7], i: int32[4, ?]) -> unknown",
            "refused: GatherNd(x: float32[9, 8, 7], i: int32[4, 5])",
        ),
    ),
    row(
        "IndexSelect",
        "input: tensor, dim: int, index: tensor",
        _index_select,
        value=picked("input"),
        kernel=Kernel.MOVE,
        examples=("IndexSelect(x: float32[9, 8], 1, i: int32[?]) -> float32[9, ?]",),
    ),
    row(
        "Embedding",
        "input: tensor, weight: tensor, padding_idx: int? = None, max_norm: float? = None, norm_type: float = 2.0, "
        "scale_grad_by_freq: bool = False, state: monad?",
        _embedding,
        value=picked("weight"),
        memory=writes("weight", unless_none="max_norm"),
        kernel=Kernel.MOVE,
        role=Role.LOOKUP,
        examples=("Embedding(i: int32[2, ?], w: float16[9, 8], None, None, 2.0, False, u: monad) -> float16[2, ?, 8]",),
    ),
    row(
        "EmbeddingLookup",
        "params: tensor, indices: tensor, offset: int",
        _embedding_lookup,
        value=picked("params"),
        kernel=Kernel.MOVE,
        role=Role.LOOKUP,
        examples=("EmbeddingLookup(w: float32[9, 8], i: int32[2, 3], 0) -> float32[2, 3, 8]",),
        source=CLASSIC,
    ),
    row(
        "OneHot",
        "indices: tensor, depth: int, on_value: tensor, off_value: tensor, axis: int = -1",
        _one_hot,
        kernel=Kernel.CREATE,
        examples=(
            "OneHot(i: int32[2, 3], 5, on: float32[], off: float32[], -1) -> float32[2, 3, 5]",
            "OneHot(i: int32[2, 3], 5, on: float32[], off: float32[], 0) -> float32[5, 2, 3]",
        ),
    ),
    row(
        "TensorScatterUpdate",
        "input_x: tensor, indices: tensor, updates: tensor",
        _scatter_nd,
        kernel=Kernel.MOVE,
        examples=(
            "TensorScatterUpdate(x: float32[4, 6], i: int32[3, 1], u: float32[3, 6]) -> float32[4, 6]",
            "refused: TensorScatterUpdate(x: float32[4, 6], i: int32[3, 1], u: float32[3, 5])",
            "refused: TensorScatterUpdate(x: float32[4, 6], i: int32[3, 1], u: float16[3, 6])",
        ),
        source=CLASSIC,
    ),
    row(
        "TensorScatterElements",
        "data: tensor, indices: tensor, updates: tensor, axis: int, reduce: enum",
        same_as("data"),
        kernel=Kernel.MOVE,
        examples=("TensorScatterElements(x: float16[2, 3], i: int64[2, 1], s: float16[2, 1], 1, 0) -> float16[2, 3]",),
    ),
    row(
        "Scatter",
        "input: tensor, dim: int, index: tensor, src: tensor, reduce: enum",
        same_as("input"),
        kernel=Kernel.MOVE,
        examples=("Scatter(x: float16[2, 3], 1, i: int64[2, 1], s: float16[2, 1], 0) -> float16[2, 3]",),
    ),
    row(
        "TopK",
        "input: tensor, k: int; sorted: bool = True",
        _largest,
        kernel=Kernel.REDUCE,
        examples=(
            "TopK(x: float16[4, 6], 2) -> (float16[4, 2], int32[4, 2])",
            "refused: TopK(x: float16[4, 6], 9)",
        ),
        source=CLASSIC,
    ),
    row(
        "Index",
        "input: tensor, indices: tensors",
        _index,
        value=picked("input"),
        kernel=Kernel.MOVE,
        role=Role.LOOKUP,
        examples=(
            "Index(x: float32[4, 5], (i: int64[3],)) -> float32[3, 5]",
            "Index(x: float32[4, 5], (i: int64[3], j: int64[2, 1])) -> float32[2, 3]",
        ),
    ),
)
