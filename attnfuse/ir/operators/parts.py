"""Operators that put tensors together, cut them apart, or pad them."""

from __future__ import annotations

from attnfuse.ir.operators.arguments import Arguments, NotKnown, TypeMismatch
from attnfuse.ir.operators.columns import as_copy, as_view, joined, picked
from attnfuse.ir.operators.inference import (
    AND_VIEW,
    axis_of,
    meet,
    parts,
    reshaped,
    shape,
    with_axis,
    without_axis,
)
from attnfuse.ir.operators.row import CLASSIC, Infer, Operator, row
from attnfuse.ir.types import UNKNOWN_DIM, TensorType, ValueType

# --- together


def _concat(a: Arguments) -> ValueType:
    """The first one's element type; one axis differs."""
    types = a.tensors("tensors")
    first = types[0]
    axis = axis_of(a.integer("axis"), first.rank)
    dims, total = list(first.dims), 0
    for tensor_type in types:
        if tensor_type.rank != first.rank:
            raise TypeMismatch(f"joins {shape(first.dims)} and {shape(tensor_type.dims)}")
        for i, size in enumerate(tensor_type.dims):
            met = dims[i] if i == axis else meet(dims[i], size)
            if met is None:
                raise TypeMismatch(f"joins {shape(first.dims)} and {shape(tensor_type.dims)} along axis {axis}")
            dims[i] = met
        total = UNKNOWN_DIM if UNKNOWN_DIM in (total, tensor_type.dims[axis]) else total + tensor_type.dims[axis]
    dims[axis] = total
    return reshaped(first, tuple(dims))


def _stack(elements: str, axis: str, *, mixed: bool) -> Infer:
    """Tensors of one shape along a new axis. `mixed` element types become the first one's."""

    def infer(a: Arguments) -> ValueType:
        types = a.tensors(elements)
        first = types[0]
        at = axis_of(a.integer(axis), first.rank + 1)
        dims = list(first.dims)
        for tensor_type in types:
            met = [meet(d, e) for d, e in zip(dims, tensor_type.dims, strict=False)]
            if tensor_type.rank != first.rank or None in met:
                raise TypeMismatch(f"stacks {shape(first.dims)} and {shape(tensor_type.dims)}")
            if tensor_type.dtype is not first.dtype and not mixed:
                raise TypeMismatch(f"stacks {first.dtype} and {tensor_type.dtype}")
            dims = [d for d in met if d is not None]
        return TensorType((*dims[:at], len(types), *dims[at:]), first.dtype)

    return infer


# --- apart


def _of_sizes(tensor_type: TensorType, axis: int, sizes: tuple[int, ...]) -> ValueType:
    parts(len(sizes))
    return tuple(TensorType(with_axis(tensor_type.dims, axis, size), tensor_type.dtype) for size in sizes)


def _split_with_sizes(a: Arguments) -> ValueType:
    tensor_type, sizes = a.tensor("input"), a.sizes("split_size")
    axis = axis_of(a.integer("dim"), tensor_type.rank)
    known = [size for size in sizes if size is not None]
    if any(size < 0 for size in known):
        raise TypeMismatch(f"cuts parts of {known[:16]}")
    if len(known) == len(sizes) and tensor_type.dims[axis] not in (UNKNOWN_DIM, sum(known)):
        raise TypeMismatch(f"cuts {tensor_type.dims[axis]} elements into parts of {known[:16]}")
    return _of_sizes(tensor_type, axis, tuple(UNKNOWN_DIM if size is None else size for size in sizes))


def _of_equal_size(tensor_type: TensorType, axis: int, size: int) -> ValueType:
    """Parts of that size; the last one takes what is left."""
    total = tensor_type.dims[axis]
    if size <= 0:
        raise TypeMismatch(f"cuts parts of {size} elements")
    if total == UNKNOWN_DIM:
        raise NotKnown("input")
    count = parts(-(-total // size))
    return _of_sizes(tensor_type, axis, (*(size,) * (count - 1), total - size * (count - 1)))


def _split_by_size(a: Arguments) -> ValueType:
    tensor_type = a.tensor("input")
    return _of_equal_size(tensor_type, axis_of(a.integer("dim"), tensor_type.rank), a.integer("split_size"))


def _chunk(a: Arguments) -> ValueType:
    """At most so many parts, all but the last of one size."""
    tensor_type, count = a.tensor("input"), a.integer("chunks")
    axis = axis_of(a.integer("dim"), tensor_type.rank)
    if count <= 0:
        raise TypeMismatch(f"cuts {count} parts")
    total = tensor_type.dims[axis]
    if total == UNKNOWN_DIM:
        raise NotKnown("input")
    return _of_equal_size(tensor_type, axis, max(1, -(-total // count)))


def _split_equally(a: Arguments) -> ValueType:
    tensor_type, count = a.tensor("input_x"), parts(a.integer("output_num"))
    axis = axis_of(a.integer("axis"), tensor_type.rank)
    total = tensor_type.dims[axis]
    if total == UNKNOWN_DIM:
        return _of_sizes(tensor_type, axis, (UNKNOWN_DIM,) * count)
    if total % count:
        raise TypeMismatch(f"cuts {total} elements into {count} equal parts")
    return _of_sizes(tensor_type, axis, (total // count,) * count)


def _split_by_attributes(a: Arguments) -> ValueType:
    """One size may be −1: what the others leave."""
    tensor_type, sizes = a.tensor("input_x"), a.integers("size_splits")
    axis = axis_of(a.integer("split_dim"), tensor_type.rank)
    total, given = tensor_type.dims[axis], [size for size in sizes if size >= 0]
    if min(sizes, default=0) < UNKNOWN_DIM or len(sizes) - len(given) > 1:
        raise TypeMismatch(f"cuts parts of {list(sizes[:16])}")
    rest = UNKNOWN_DIM if total == UNKNOWN_DIM else total - sum(given)
    if total != UNKNOWN_DIM and (rest < 0 or (rest and len(given) == len(sizes))):
        raise TypeMismatch(f"cuts {total} elements into parts of {list(sizes[:16])}")
    return _of_sizes(tensor_type, axis, tuple(rest if size < 0 else size for size in sizes))


def _unstack(operand: str, axis: str) -> Infer:
    """One result for each place of an axis, which goes."""

    def infer(a: Arguments) -> ValueType:
        tensor_type = a.tensor(operand)
        at = axis_of(a.integer(axis), tensor_type.rank)
        if not tensor_type.dims or tensor_type.dims[at] == UNKNOWN_DIM:
            raise NotKnown(axis)
        return (TensorType(without_axis(tensor_type.dims, at), tensor_type.dtype),) * parts(tensor_type.dims[at])

    return infer


def _meshgrid(a: Arguments) -> ValueType:
    """The word "xy" lets the first two axes change places."""
    types = a.tensors("inputs")
    if any(tensor_type.rank != 1 for tensor_type in types):
        raise TypeMismatch("makes a grid of tensors that have not one axis")
    dims = [tensor_type.dims[0] for tensor_type in types]
    if a.choice("indexing", {0: "ij", 1: "xy"}) == "xy" and len(dims) > 1:
        dims[:2] = dims[1], dims[0]
    parts(len(types))
    return tuple(TensorType(tuple(dims), tensor_type.dtype) for tensor_type in types)


ROWS: tuple[Operator, ...] = (
    row(
        "Concat",
        "tensors: tensors, axis: int = 0",
        _concat,
        **as_copy(joined("tensors")),
        examples=(
            "Concat((x: float32[2, 3], y: float32[4, 3]), 0) -> float32[6, 3]",
            "Concat((x: float32[2, ?], y: float32[2, 3]), 0) -> float32[4, 3]",
            "Concat((x: float32[2, 3], y: float32[2, ?]), -1) -> float32[2, ?]",
            "Concat((x: float32[2, 3], y: float16[2, 3]), 0) -> float32[4, 3]",
            "refused: Concat((x: float32[2, 3], y: float32[4, 4]), 0)",
            "refused: Concat((x: float32[0], y: float32[2, 3]), 0)",
        ),
    ),
    row(
        "Stack",
        "x: tensors; axis: int = 0",
        _stack("x", "axis", mixed=False),
        **as_copy(joined("x")),
        examples=(
            "Stack((x: float32[2, 3], y: float32[2, 3]); axis=-1) -> float32[2, 3, 2]",
            "refused: Stack((x: float32[2, 3], y: float16[2, 3]); axis=0)",
        ),
        source=CLASSIC,
    ),
    row(
        "StackExt",
        "tensors: tensors, dim: int = 0",
        _stack("tensors", "dim", mixed=True),
        **as_copy(joined("tensors")),
        examples=(
            "StackExt((x: float32[2, ?], y: float32[2, 3]), 0) -> float32[2, 2, 3]",
            "StackExt((x: float32[2, 3], y: float16[2, 3]), -1) -> float32[2, 3, 2]",
            "refused: StackExt((x: float32[2, 3], y: float32[2, 4]), 0)",
        ),
    ),
    *(
        row(
            f"SplitWithSize{suffix}",
            f"input: tensor, split_size: ints, dim: int = 0{state}",
            _split_with_sizes,
            **columns(picked("input")),
            examples=(
                f"SplitWithSize{suffix}(x: float32[2, 6], (2, 4), -1{monad}) -> (float32[2, 2], float32[2, 4])",
                f"SplitWithSize{suffix}(x: float32[2, ?], (2, 3), 1{monad}) -> (float32[2, 2], float32[2, 3])",
                f"refused: SplitWithSize{suffix}(x: float32[2, 6], (2, 3), 1{monad})",
            ),
        )
        for suffix, state, monad, columns in AND_VIEW
    ),
    *(
        row(
            f"SplitTensor{suffix}",
            f"input: tensor, split_size: int, dim: int = 0{state}",
            _split_by_size,
            **columns(picked("input")),
            examples=(
                f"SplitTensor{suffix}(x: float32[2, 7], 3, 1{monad}) -> (float32[2, 3], float32[2, 3], float32[2, 1])",
                f"SplitTensor{suffix}(x: float32[2, ?], 3, 0{monad}) -> (float32[2, ?])",
            ),
        )
        for suffix, state, monad, columns in AND_VIEW
    ),
    *(
        row(
            f"Chunk{suffix}",
            f"input: tensor, chunks: int, dim: int = 0{state}",
            _chunk,
            **columns(picked("input")),
            examples=(
                f"Chunk{suffix}(x: float32[2, 7], 3, 1{monad}) -> (float32[2, 3], float32[2, 3], float32[2, 1])",
                f"Chunk{suffix}(x: float32[2, 6], 4, -1{monad}) -> (float32[2, 2], float32[2, 2], float32[2, 2])",
                f"Chunk{suffix}(x: float32[2, ?], 4, 0{monad}) -> (float32[1, ?], float32[1, ?])",
            ),
        )
        for suffix, state, monad, columns in AND_VIEW
    ),
    row(
        "Split",
        "input_x: tensor, axis: int = 0, output_num: int = 1",
        _split_equally,
        **as_copy(picked("input_x")),
        examples=(
            "Split(x: float32[2, 6], -1, 2) -> (float32[2, 3], float32[2, 3])",
            "Split(x: float32[2, ?], 1, 2) -> (float32[2, ?], float32[2, ?])",
            "refused: Split(x: float32[2, 7], 1, 2)",
        ),
    ),
    row(
        "SplitV",
        "input_x: tensor; size_splits: ints, split_dim: int, num_split: int",
        _split_by_attributes,
        **as_copy(picked("input_x")),
        examples=(
            "SplitV(x: float32[2, 6]; size_splits=(2, 4), split_dim=1, num_split=2) -> (float32[2, 2], float32[2, 4])",
            "SplitV(x: float32[2, 6]; size_splits=(2, -1), split_dim=1, num_split=2) -> (float32[2, 2], float32[2, 4])",
        ),
        source=CLASSIC,
    ),
    row(
        "Unstack",
        "x: tensor; axis: int = 0, num: int? = None",
        _unstack("x", "axis"),
        **as_copy(picked("x")),
        examples=(
            "Unstack(x: float32[2, 3]; axis=0, num=2) -> (float32[3], float32[3])",
            "Unstack(x: float32[2, 3]; axis=-1, num=3) -> (float32[2], float32[2], float32[2])",
        ),
        source=CLASSIC,
    ),
    row(
        "UnstackExtView",
        "input: tensor, dim: int = 0, state: monad?",
        _unstack("input", "dim"),
        **as_view(picked("input")),
        examples=(
            "UnstackExtView(x: float32[2, 3], -1, u: monad) -> (float32[2], float32[2], float32[2])",
            "UnstackExtView(x: float32[2, ?], 1, u: monad) -> unknown",
        ),
    ),
    row(
        "Meshgrid",
        "inputs: tensors, indexing: enum",
        _meshgrid,
        **as_copy(joined("inputs")),
        examples=(
            "Meshgrid((x: float32[2], y: float32[3]), 1) -> (float32[3, 2], float32[3, 2])",
            "Meshgrid((x: float32[?], y: float32[3]), 0) -> (float32[?, 3], float32[?, 3])",
        ),
    ),
)
