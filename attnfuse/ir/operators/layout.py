"""Operators that hand on every number of their operand in other axes: reshaped, transposed, repeated, reversed."""

from __future__ import annotations

from attnfuse.ir.operators.arguments import Arguments, NotKnown, TypeMismatch
from attnfuse.ir.operators.columns import Kernel, alias, as_copy, as_view, moved, regrouped, repeated
from attnfuse.ir.operators.inference import (
    axes_of,
    axis_of,
    is_known,
    product,
    reshaped,
    shape,
    with_axis,
)
from attnfuse.ir.operators.row import OTHER, Infer, Operator, row
from attnfuse.ir.types import UNKNOWN_DIM, TensorType, ValueType


def _reshape(a: Arguments) -> ValueType:
    """A −1 takes what the other sizes leave; a size that is computed is not known."""
    tensor_type, target = a.tensor("input"), a.sizes("shape")
    known = [size for size in target if size is not None]
    if any(size < UNKNOWN_DIM for size in known) or known.count(UNKNOWN_DIM) > 1:
        raise TypeMismatch(f"reshapes {shape(tensor_type.dims)} to {shape_of(target)}")
    if len(known) < len(target) or not is_known(tensor_type.dims):
        return TensorType(tuple(UNKNOWN_DIM if size is None else size for size in target), tensor_type.dtype)
    size, rest = tensor_type.size, product(dim for dim in known if dim >= 0)
    dims = tuple(known)
    if UNKNOWN_DIM in dims:
        fill = size // rest if rest else 0
        dims = tuple(fill if dim == UNKNOWN_DIM else dim for dim in dims)
    if product(dims) != size:
        raise TypeMismatch(f"reshapes {shape(tensor_type.dims)} to {shape_of(target)}")
    return reshaped(tensor_type, dims)


def shape_of(sizes: tuple[int | None, ...]) -> str:
    """Wanted sizes for people: a −1 stays one, a size that is computed is `?`."""
    return f"[{', '.join('?' if size is None else str(size) for size in sizes)}]"


def _as_other(a: Arguments) -> ValueType:
    tensor_type, other = a.tensor("input"), a.tensor("other")
    if is_known(tensor_type.dims) and is_known(other.dims) and tensor_type.size != other.size:
        raise TypeMismatch(f"reshapes {shape(tensor_type.dims)} to {shape(other.dims)}")
    return reshaped(tensor_type, other.dims)


def _expand_dims(axis: str, operand: str) -> Infer:
    def infer(a: Arguments) -> ValueType:
        tensor_type = a.tensor(operand)
        at = axis_of(a.integer(axis), tensor_type.rank + 1)
        return TensorType((*tensor_type.dims[:at], 1, *tensor_type.dims[at:]), tensor_type.dtype)

    return infer


def _squeeze(a: Arguments) -> ValueType:
    """Without axes all of one element go; with them those named, as far as they are of one element."""
    tensor_type = a.tensor("input")
    given = axes_of(a.integers("axis"), tensor_type.rank)
    candidates = given or range(tensor_type.rank)
    if any(tensor_type.dims[axis] == UNKNOWN_DIM for axis in candidates):
        raise NotKnown("axis")
    gone = {axis for axis in candidates if tensor_type.dims[axis] == 1}
    return reshaped(tensor_type, tuple(dim for axis, dim in enumerate(tensor_type.dims) if axis not in gone))


def _flatten_between(a: Arguments) -> ValueType:
    tensor_type = a.tensor("input")
    rank = max(tensor_type.rank, 1)
    first, last = axis_of(a.integer("start_dim"), rank), axis_of(a.integer("end_dim"), rank)
    if first > last:
        raise TypeMismatch(f"flattens the axes from {first} to {last}")
    inner = tensor_type.dims[first : last + 1]
    return reshaped(tensor_type, (*tensor_type.dims[:first], _joined(inner), *tensor_type.dims[last + 1 :]))


def _joined(dims: tuple[int, ...]) -> int:
    return product(dims) if is_known(dims) else UNKNOWN_DIM


def _flatten(a: Arguments) -> ValueType:
    tensor_type = a.tensor("input_x")
    if not tensor_type.dims:
        raise TypeMismatch("flattens a tensor without axes")
    return reshaped(tensor_type, (tensor_type.dims[0], _joined(tensor_type.dims[1:])))


def _transpose(axes: str) -> Infer:
    def infer(a: Arguments) -> ValueType:
        tensor_type, order = a.tensor("input"), a.integers(axes)
        if len(order) != tensor_type.rank or len(axes_of(order, tensor_type.rank)) != tensor_type.rank:
            raise TypeMismatch(f"permutes {tensor_type.rank} axes by {list(order[:16])}")
        return TensorType(tuple(tensor_type.dims[axis] for axis in order), tensor_type.dtype)

    return infer


def _swap(a: Arguments) -> ValueType:
    tensor_type = a.tensor("input")
    one, other = axis_of(a.integer("dim0"), tensor_type.rank), axis_of(a.integer("dim1"), tensor_type.rank)
    dims = list(tensor_type.dims)
    dims[one], dims[other] = dims[other], dims[one]
    return TensorType(tuple(dims), tensor_type.dtype)


def _turn(a: Arguments) -> ValueType:
    tensor_type = a.tensor("input")
    if tensor_type.rank > 2:
        raise TypeMismatch(f"transposes a tensor of {tensor_type.rank} axes; it takes 2")
    return TensorType(tensor_type.dims[::-1], tensor_type.dtype)


def _broadcast_to(a: Arguments) -> ValueType:
    """A −1 keeps the operand's size, which then must be there."""
    tensor_type, target = a.tensor("input"), a.sizes("shape")
    added = len(target) - tensor_type.rank
    if added < 0:
        raise TypeMismatch(f"broadcasts {shape(tensor_type.dims)} to {shape_of(target)}")
    dims = []
    for axis, wanted in enumerate(target):
        own = tensor_type.dims[axis - added] if axis >= added else 1
        if wanted is None:
            dims.append(UNKNOWN_DIM if own in (1, UNKNOWN_DIM) else own)
        elif wanted == UNKNOWN_DIM and axis >= added:
            dims.append(own)
        elif wanted >= 0 and own in (1, UNKNOWN_DIM, wanted):
            dims.append(wanted)
        else:
            raise TypeMismatch(f"broadcasts {shape(tensor_type.dims)} to {shape_of(target)}")
    return reshaped(tensor_type, tuple(dims))


def _expand_as(a: Arguments) -> ValueType:
    tensor_type, other = a.tensor("input"), a.tensor("other")
    return reshaped(tensor_type, other.dims)


def _tile(counts: str, *, fewer: bool) -> Infer:
    """The whole operand several times along each axis. `fewer` counts than axes may be given: the first are once."""

    def infer(a: Arguments) -> ValueType:
        tensor_type, times = a.tensor("input"), a.sizes(counts)
        if len(times) < tensor_type.rank and not fewer:
            raise TypeMismatch(f"repeats {tensor_type.rank} axes {shape_of(times)} times")
        rank = max(len(times), tensor_type.rank)
        dims = (1,) * (rank - tensor_type.rank) + tensor_type.dims
        every = (1,) * (rank - len(times)) + times
        if any(count is not None and count < 0 for count in every):
            raise TypeMismatch(f"repeats its axes {shape_of(times)} times")
        return reshaped(tensor_type, tuple(_times(dim, count) for dim, count in zip(dims, every, strict=True)))

    return infer


def _times(dim: int, count: int | None) -> int:
    return UNKNOWN_DIM if count is None or dim == UNKNOWN_DIM else dim * count


def _repeat_interleave(a: Arguments) -> ValueType:
    """Each element several times in a row, along one axis or, without one, of the flattened operand."""
    tensor_type, count = a.tensor("input"), a.size("repeats")
    if count is not None and count < 0:
        raise TypeMismatch(f"repeats its elements {count} times")
    if a.is_none("dim"):
        return TensorType((_times(_joined(tensor_type.dims), count),), tensor_type.dtype)
    axis = axis_of(a.integer("dim"), tensor_type.rank)
    return TensorType(with_axis(tensor_type.dims, axis, _times(tensor_type.dims[axis], count)), tensor_type.dtype)


def _reverse(a: Arguments) -> ValueType:
    tensor_type = a.tensor("input")
    axes_of(a.integers("axis"), tensor_type.rank)
    return tensor_type


ROWS: tuple[Operator, ...] = (
    row(
        "Reshape",
        "input: tensor, shape: ints",
        _reshape,
        **as_view(regrouped("input")),
        examples=(
            "Reshape(x: float32[2, 3, 4], (6, -1)) -> float32[6, 4]",
            "Reshape(x: float32[?, 3, 4], (6, -1)) -> float32[6, ?]",
            "Reshape(x: float32[2, 3, 4], (n: int64, 12)) -> float32[?, 12]",
            "Reshape(x: float32[0, 3], (0, 5)) -> float32[0, 5]",
            "Reshape(x: float32[0, 3], (0, -1)) -> float32[0, 0]",
            "Reshape(x: float32[1], ()) -> float32[]",
            "refused: Reshape(x: float32[2, 3, 4], (5, -1))",
            "refused: Reshape(x: float32[2, 3], (0, 3))",
            "refused: Reshape(x: float32[2, 3], (-1, -1))",
        ),
    ),
    row(
        "ReshapeView",
        "input: tensor, shape: ints, state: monad?",
        _reshape,
        **as_view(regrouped("input")),
        examples=("ReshapeView(x: float32[2, 3], (6,), u: monad) -> float32[6]",),
        source=OTHER,
    ),
    row(
        "View",
        "input: tensor, shape: ints",
        _reshape,
        **as_view(regrouped("input")),
        examples=("View(x: float32[2, 3], (6,)) -> float32[6]",),
        source=OTHER,
    ),
    row(
        "ViewAs",
        "input: tensor, other: tensor",
        _as_other,
        **as_view(regrouped("input")),
        examples=("ViewAs(x: float32[2, 3], y: float16[6]) -> float32[6]",),
    ),
    row(
        "ExpandDims",
        "input_x: tensor, axis: int",
        _expand_dims("axis", "input_x"),
        **as_view(regrouped("input_x")),
        examples=(
            "ExpandDims(x: float32[2, ?], 1) -> float32[2, 1, ?]",
            "ExpandDims(x: float32[2, 3], -1) -> float32[2, 3, 1]",
            "refused: ExpandDims(x: float32[2, 3], 3)",
        ),
    ),
    row(
        "ExpandDimsView",
        "input: tensor, dim: int, state: monad?",
        _expand_dims("dim", "input"),
        **as_view(regrouped("input")),
        examples=("ExpandDimsView(x: float32[2, 3], 1, u: monad) -> float32[2, 1, 3]",),
    ),
    row(
        "Squeeze",
        "input: tensor, axis: ints = ()",
        _squeeze,
        **as_view(regrouped("input")),
        examples=(
            "Squeeze(x: float32[2, 1, 3, 1], ()) -> float32[2, 3]",
            "Squeeze(x: float32[2, 1, 3, 1], (-1, 1)) -> float32[2, 3]",
            "Squeeze(x: float32[2, 1, 3, 1], (0,)) -> float32[2, 1, 3, 1]",
            "Squeeze(x: float32[2, ?, 3, 1], (3,)) -> float32[2, ?, 3]",
            "Squeeze(x: float32[2, ?, 3, 1], (1,)) -> unknown",
            "refused: Squeeze(x: float32[2, 1], (2,))",
        ),
    ),
    row(
        "SqueezeView",
        "input: tensor, axis: ints = (), state: monad?",
        _squeeze,
        **as_view(regrouped("input")),
        examples=("SqueezeView(x: float32[2, 1], 1, u: monad) -> float32[2]",),
        source=OTHER,
    ),
    row(
        "FlattenExt",
        "input: tensor, start_dim: int = 0, end_dim: int = -1",
        _flatten_between,
        **as_view(regrouped("input")),
        examples=(
            "FlattenExt(x: float32[2, 3, 4], 1, -1) -> float32[2, 12]",
            "FlattenExt(x: float32[2, ?, 4], 1, 2) -> float32[2, ?]",
            "FlattenExt(x: float32[], 0, -1) -> float32[1]",
            "refused: FlattenExt(x: float32[2, 3], 1, 0)",
            "refused: FlattenExt(x: float32[2, 3, 4], 0, 5)",
        ),
    ),
    row(
        "Flatten",
        "input_x: tensor",
        _flatten,
        **as_view(regrouped("input_x")),
        examples=(
            "Flatten(x: float32[2, 3, 4]) -> float32[2, 12]",
            "Flatten(x: float32[2, ?, 4]) -> float32[2, ?]",
            "Flatten(x: float32[2]) -> float32[2, 1]",
        ),
    ),
    row(
        "Transpose",
        "input: tensor, dims: ints",
        _transpose("dims"),
        **as_copy(moved("input")),
        examples=(
            "Transpose(x: float32[2, ?, 4], (2, 0, 1)) -> float32[4, 2, ?]",
            "Transpose(x: float32[2, 3, 4], (-1, 0, 1)) -> float32[4, 2, 3]",
            "refused: Transpose(x: float32[2, 3, 4], (0, 0, 1))",
            "refused: Transpose(x: float32[2, 3, 4], (1, 0))",
        ),
    ),
    row(
        "TransposeView",
        "input: tensor, input_perm: ints, state: monad?",
        _transpose("input_perm"),
        **as_view(moved("input")),
        examples=("TransposeView(x: float32[2, 3], (1, 0), u: monad) -> float32[3, 2]",),
    ),
    row(
        "TransposeExtView",
        "input: tensor, dim0: int, dim1: int, state: monad?",
        _swap,
        **as_view(moved("input")),
        examples=("TransposeExtView(x: float32[2, 3, 4], 0, -1, u: monad) -> float32[4, 3, 2]",),
    ),
    row(
        "TExt",
        "input: tensor",
        _turn,
        value=moved("input"),
        memory=alias("input"),
        kernel=Kernel.MOVE,
        examples=(
            "TExt(x: float32[2, ?]) -> float32[?, 2]",
            "TExt(x: float32[2]) -> float32[2]",
            "refused: TExt(x: float32[2, 3, 4])",
        ),
    ),
    row(
        "BroadcastTo",
        "input: tensor, shape: ints",
        _broadcast_to,
        **as_copy(repeated("input")),
        examples=(
            "BroadcastTo(x: float32[2, 1, 3], (2, 4, 3)) -> float32[2, 4, 3]",
            "BroadcastTo(x: float32[3], (2, 4, -1)) -> float32[2, 4, 3]",
            "BroadcastTo(x: float32[?, 1], (-1, 4)) -> float32[?, 4]",
            "BroadcastTo(x: float32[1, 3], (n: int64, 3)) -> float32[?, 3]",
            "refused: BroadcastTo(x: float32[2, 3], (4, 3))",
            "refused: BroadcastTo(x: float32[2, 3], (3,))",
            "refused: BroadcastTo(x: float32[2, 3], (-1, 2, 3))",
        ),
    ),
    row(
        "BroadcastToView",
        "input: tensor, shape: ints, state: monad?",
        _broadcast_to,
        **as_view(repeated("input")),
        examples=("BroadcastToView(x: float32[1, 3], (2, -1), u: monad) -> float32[2, 3]",),
    ),
    row(
        "ExpandAs",
        "input: tensor, other: tensor",
        _expand_as,
        **as_copy(repeated("input")),
        examples=("ExpandAs(x: float32[1, 3], y: float16[2, 3]) -> float32[2, 3]",),
    ),
    row(
        "Tile",
        "input: tensor, dims: ints",
        _tile("dims", fewer=True),
        **as_copy(repeated("input")),
        examples=(
            "Tile(x: float32[2, 3], (4, 1, 2)) -> float32[4, 2, 6]",
            "Tile(x: float32[2, 3], (2,)) -> float32[2, 6]",
            "Tile(x: float32[2, ?], (1, 2)) -> float32[2, ?]",
            "Tile(x: float32[2, 3], (n: int64, 1)) -> float32[?, 3]",
            "refused: Tile(x: float32[2, 3], (-1, 1))",
        ),
    ),
    row(
        "Repeat",
        "input: tensor, repeats: ints",
        _tile("repeats", fewer=False),
        **as_copy(repeated("input")),
        examples=(
            "Repeat(x: float32[2, 3], (4, 1, 2)) -> float32[4, 2, 6]",
            "refused: Repeat(x: float32[2, 3], (2,))",
        ),
    ),
    row(
        "RepeatInterleaveInt",
        "input: tensor, repeats: int, dim: int? = None, output_size: int? = None",
        _repeat_interleave,
        **as_copy(repeated("input")),
        examples=(
            "RepeatInterleaveInt(x: float32[2, 3], 2, -1, 6) -> float32[2, 6]",
            "RepeatInterleaveInt(x: float32[2, 3], 2, None, None) -> float32[12]",
            "RepeatInterleaveInt(x: float32[2, ?], 2, 1, None) -> float32[2, ?]",
        ),
    ),
    row(
        "ReverseV2",
        "input: tensor, axis: ints",
        _reverse,
        **as_copy(moved("input")),
        examples=("ReverseV2(x: float32[4, 6], (1,)) -> float32[4, 6]", "refused: ReverseV2(x: float32[4, 6], (2,))"),
    ),
)
