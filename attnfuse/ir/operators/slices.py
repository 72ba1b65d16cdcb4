"""Operators that take a part of each axis, pad axes, or keep a triangle."""

from __future__ import annotations

from attnfuse.ir.operators.arguments import Arguments, NotKnown, TypeMismatch
from attnfuse.ir.operators.columns import Kernel, as_copy, as_view, picked
from attnfuse.ir.operators.inference import (
    AND_VIEW,
    axis_of,
    reshaped,
    shape,
    slice_length,
    with_axis,
    without_axis,
)
from attnfuse.ir.operators.row import CLASSIC, Infer, Operator, row
from attnfuse.ir.types import UNKNOWN_DIM, TensorType, ValueType


def _strided_slice(a: Arguments) -> ValueType:
    """Masks are bit fields over the places of `begin`: begin or end left out, ellipsis, new axis, axis dropped."""
    tensor_type = a.tensor("input_x")
    begin, end, steps = a.sizes("begin"), a.sizes("end"), a.sizes("strides")
    if not len(begin) == len(end) == len(steps):
        raise TypeMismatch(f"slices from {len(begin)} places to {len(end)} in {len(steps)} steps")
    no_begin, no_end, ellipsis, new, shrink = (a.integer(f"{name}_mask") for name in _MASKS)
    taken = sum(1 for i in range(len(begin)) if not (ellipsis | new) >> i & 1)
    whole = tensor_type.rank - taken
    if whole < 0:
        raise NotKnown("begin")
    dims: list[int] = []
    axis = 0
    for i, (low, high, step) in enumerate(zip(begin, end, steps, strict=True)):
        if step == 0:
            raise TypeMismatch("slices in steps of 0")
        if ellipsis >> i & 1:
            dims += tensor_type.dims[axis : axis + whole]
            axis += whole
            ellipsis, whole = 0, 0
        elif new >> i & 1:
            dims.append(1)
        elif axis == tensor_type.rank:
            raise TypeMismatch(f"slices more axes than the {tensor_type.rank} there are")  # by a second ellipsis
        else:
            size = tensor_type.dims[axis]
            axis += 1
            if shrink >> i & 1:
                _check_place(size, low)
                continue
            low_open, high_open = no_begin >> i & 1, no_end >> i & 1
            if (low is None and not low_open) or (high is None and not high_open) or step is None or size < 0:
                dims.append(UNKNOWN_DIM)
            else:
                dims.append(slice_length(size, None if low_open else low, None if high_open else high, step))
    return reshaped(tensor_type, (*dims, *tensor_type.dims[axis:]))


_MASKS = ("begin", "end", "ellipsis", "new_axis", "shrink_axis")


def _check_place(size: int, place: int | None) -> None:
    if place is not None and size >= 0 and not -size <= place < size:
        raise TypeMismatch(f"takes place {place} of {size}")


def _slice(a: Arguments) -> ValueType:
    """From `begin`, `size` elements; −1 is all the rest."""
    tensor_type, begin, sizes = a.tensor("input"), a.sizes("begin"), a.sizes("size")
    if not len(begin) == len(sizes) == tensor_type.rank:
        raise TypeMismatch(f"slices {len(begin)} axes of {tensor_type.rank}")
    dims = []
    for total, low, size in zip(tensor_type.dims, begin, sizes, strict=True):
        if size is None or (size == UNKNOWN_DIM and (total < 0 or low is None)):
            dims.append(UNKNOWN_DIM)
            continue
        taken = total - low if size == UNKNOWN_DIM and low is not None else size
        if taken < 0 or (low is not None and (low < 0 or (total >= 0 and low + taken > total))):
            raise TypeMismatch(f"takes {size} elements from place {low} of {total}")
        dims.append(taken)
    return reshaped(tensor_type, tuple(dims))


def _slice_axis(a: Arguments) -> ValueType:
    tensor_type, low, high, step = a.tensor("input"), a.size("start"), a.size("end"), a.size("step")
    axis = axis_of(a.integer("dim"), tensor_type.rank)
    if step is not None and step <= 0:
        raise TypeMismatch(f"slices in steps of {step}")
    total = tensor_type.dims[axis]
    if low is None or high is None or step is None or total < 0:
        return TensorType(with_axis(tensor_type.dims, axis, UNKNOWN_DIM), tensor_type.dtype)
    return reshaped(tensor_type, with_axis(tensor_type.dims, axis, slice_length(total, low, high, step)))


def _narrow(a: Arguments) -> ValueType:
    tensor_type, low, length = a.tensor("input"), a.size("start"), a.size("length")
    axis = axis_of(a.integer("dim"), tensor_type.rank)
    total = tensor_type.dims[axis]
    if length is None:
        return TensorType(with_axis(tensor_type.dims, axis, UNKNOWN_DIM), tensor_type.dtype)
    if low is not None and total >= 0:
        first = low + total if low < 0 else low
        if not 0 <= first <= first + length <= total:
            raise TypeMismatch(f"takes {length} elements from place {low} of {total}")
    elif length < 0:
        raise TypeMismatch(f"takes {length} elements")
    return reshaped(tensor_type, with_axis(tensor_type.dims, axis, length))


def _select(a: Arguments) -> ValueType:
    """One element of an axis, which goes."""
    tensor_type = a.tensor("input")
    return TensorType(without_axis(tensor_type.dims, axis_of(a.integer("dim"), tensor_type.rank)), tensor_type.dtype)


# --- borders


def _pad(operand: str, paddings: str) -> Infer:
    """Pairs of (before, after), the last axis first; a negative one takes elements away."""

    def infer(a: Arguments) -> ValueType:
        tensor_type, pairs = a.tensor(operand), a.sizes(paddings)
        if len(pairs) % 2 or len(pairs) > 2 * tensor_type.rank:
            raise TypeMismatch(f"pads {tensor_type.rank} axes by {len(pairs)} numbers")
        return _padded(tensor_type, [(pairs[i], pairs[i + 1]) for i in range(0, len(pairs), 2)])

    return infer


def _padded(tensor_type: TensorType, pairs: list[tuple[int | None, int | None]]) -> ValueType:
    dims = list(tensor_type.dims)
    for i, (before, after) in enumerate(pairs):
        at = tensor_type.rank - 1 - i
        if before is None or after is None or dims[at] < 0:
            dims[at] = UNKNOWN_DIM
            continue
        size = dims[at] + before + after
        if size < 0:
            raise TypeMismatch(f"pads {dims[at]} elements by {before} and {after}")
        dims[at] = size
    return reshaped(tensor_type, tuple(dims))


def _pad_by_attributes(a: Arguments) -> ValueType:
    """Without `paddings_contiguous` all that go before stand first, then all that go behind.

    Of a tensor whose sizes are not all known MindSpore forgets them all.
    """
    tensor_type, numbers = a.tensor("x"), a.sizes("paddings")
    if len(numbers) % 2 or len(numbers) > 2 * tensor_type.rank:
        raise TypeMismatch(f"pads {tensor_type.rank} axes by {len(numbers)} numbers")
    if UNKNOWN_DIM in tensor_type.dims:
        return reshaped(tensor_type, (UNKNOWN_DIM,) * tensor_type.rank)
    half = len(numbers) // 2
    if a.flag("paddings_contiguous"):
        return _padded(tensor_type, [(numbers[2 * i], numbers[2 * i + 1]) for i in range(half)])
    return _padded(tensor_type, [(numbers[i], numbers[half + i]) for i in range(half)])


def _pad_space(axes: int) -> Infer:
    """Two numbers for each of the last `axes` axes, with one axis of channels before them at least."""
    inner = _pad("input", "padding")

    def infer(a: Arguments) -> ValueType:
        tensor_type, pairs = a.tensor("input"), a.sizes("padding")
        if len(pairs) != 2 * axes or tensor_type.rank not in (axes + 1, axes + 2):
            raise TypeMismatch(f"pads {axes} axes of {shape(tensor_type.dims)} by {len(pairs)} numbers")
        return inner(a)

    return infer


def _triangle(operand: str) -> Infer:
    def infer(a: Arguments) -> ValueType:
        tensor_type = a.tensor(operand)
        if tensor_type.rank < 2:
            raise TypeMismatch(f"takes a triangle of {shape(tensor_type.dims)}")
        return tensor_type

    return infer


_SLICES = "begin_mask: int = 0, end_mask: int = 0, ellipsis_mask: int = 0, new_axis_mask: int = 0"

ROWS: tuple[Operator, ...] = (
    row(
        "StridedSlice",
        f"input_x: tensor, begin: ints, end: ints, strides: ints, {_SLICES}, shrink_axis_mask: int = 0",
        _strided_slice,
        **as_copy(picked("input_x")),
        examples=(
            "StridedSlice(x: float32[4, 6], (1, 2), (3, 6), (1, 2), 0, 0, 0, 0, 0) -> float32[2, 2]",
            "StridedSlice(x: float32[4, 6], (1, 2), (3, 6), (1, 1), 1, 2, 0, 0, 0) -> float32[3, 4]",
            "StridedSlice(x: float32[4, 6], (1,), (3,), (1,), 0, 0, 0, 0, 0) -> float32[2, 6]",
            "StridedSlice(x: float32[4, 6], (0, 0), (4, 100), (1, 1), 0, 0, 0, 0, 0) -> float32[4, 6]",
            "StridedSlice(x: float32[4, 6], (3, 0), (0, 6), (1, 1), 0, 0, 0, 0, 0) -> float32[0, 6]",
            "StridedSlice(x: float32[4, 6], (-1, 0), (-5, 6), (-1, 1), 0, 0, 0, 0, 0) -> float32[4, 6]",
            "StridedSlice(x: float32[4, 6], (0, 0), (4, 0), (1, 1), 0, 0, 0, 2, 0) -> float32[4, 1, 6]",
            "StridedSlice(x: float32[4, 5, 6], (0, -1), (0, 6), (1, 1), 0, 0, 1, 0, 2) -> float32[4, 5]",
            "StridedSlice(x: float32[?, 6], (1, 2), (3, 6), (1, 1), 0, 0, 0, 0, 0) -> float32[?, 4]",
            "StridedSlice(x: float32[?, 6], (0, 2), (1, 6), (1, 1), 0, 0, 0, 0, 1) -> float32[4]",
            "StridedSlice(x: float32[4, 6], (0, 0), (4, n: int64), (1, 1), 0, 0, 0, 0, 0) -> float32[4, ?]",
            "refused: StridedSlice(x: float16[3], (0, 0), (1, 1), (1, 1), 0, 0, 3, 0, 0)",
            "refused: StridedSlice(x: float32[4, 6], (0, 0), (4, 6), (1, 0), 0, 0, 0, 0, 0)",
            "refused: StridedSlice(x: float32[4, 6], (5, 0), (6, 6), (1, 1), 0, 0, 0, 0, 1)",
            "refused: StridedSlice(x: float32[4, 6], (0, 0), (4,), (1, 1), 0, 0, 0, 0, 0)",
        ),
    ),
    row(
        "Slice",
        "input: tensor, begin: ints, size: ints",
        _slice,
        **as_copy(picked("input")),
        examples=(
            "Slice(x: float32[4, 6], (1, 2), (2, -1)) -> float32[2, 4]",
            "Slice(x: float32[4, ?], (1, 2), (2, 3)) -> float32[2, 3]",
            "Slice(x: float32[4, ?], (1, 2), (2, -1)) -> float32[2, ?]",
            "refused: Slice(x: float32[4, 6], (1, 2), (2, 9))",
        ),
    ),
    *(
        row(
            f"SliceExt{suffix}",
            f"input: tensor, dim: int, start: int, end: int, step: int{state}",
            _slice_axis,
            **columns(picked("input")),
            examples=(
                f"SliceExt{suffix}(x: float32[4, 6], -1, 2, 5, 2{monad}) -> float32[4, 2]",
                f"SliceExt{suffix}(x: float32[4, 6], 1, -2, 100, 1{monad}) -> float32[4, 2]",
                f"SliceExt{suffix}(x: float32[4, 6], 1, 5, 2, 1{monad}) -> float32[4, 0]",
                f"SliceExt{suffix}(x: float32[4, ?], 1, 2, 5, 1{monad}) -> float32[4, ?]",
            ),
        )
        for suffix, state, monad, columns in AND_VIEW
    ),
    *(
        row(
            f"Narrow{suffix}",
            f"input: tensor, dim: int, start: int, length: int{state}",
            _narrow,
            **columns(picked("input")),
            examples=(
                f"Narrow{suffix}(x: float32[4, 6], -1, -3, 3{monad}) -> float32[4, 3]",
                f"refused: Narrow{suffix}(x: float32[4, 6], 1, 2, 9{monad})",
            ),
        )
        for suffix, state, monad, columns in AND_VIEW
    ),
    row(
        "SelectExtView",
        "input: tensor, dim: int, index: int, state: monad?",
        _select,
        **as_view(picked("input")),
        examples=("SelectExtView(x: float32[4, 6], -1, -2, u: monad) -> float32[4]",),
    ),
    row(
        "ConstantPadND",
        "input: tensor, padding: ints, value: number = 0.0",
        _pad("input", "padding"),
        kernel=Kernel.MOVE,
        examples=(
            "ConstantPadND(x: float32[4, 6], (1, 2, 3, 4), 0.0) -> float32[11, 9]",
            "ConstantPadND(x: float32[4, 6], (-1, -2), 0) -> float32[4, 3]",
            "ConstantPadND(x: float32[4, ?], (1, 2), 0) -> float32[4, ?]",
        ),
    ),
    row(
        "PadV3",
        "x: tensor, paddings: ints, constant_value: operand? = None; mode: text, paddings_contiguous: bool = True",
        _pad_by_attributes,
        kernel=Kernel.MOVE,
        examples=(
            (
                'PadV3(x: float16[4, 6], tensor int64[2] (0, 3), v: float16[]; mode="constant",'
                " paddings_contiguous=True) -> float16[4, 9]"
            ),
            (
                'PadV3(x: float16[4, 6], (1, 2, 3, 4), v: float16[]; mode="constant", paddings_contiguous=False)'
                " -> float16[10, 10]"
            ),
            (
                'PadV3(x: float16[4, ?], tensor int64[2] (0, 3), v: float16[]; mode="constant",'
                " paddings_contiguous=True) -> float16[?, ?]"
            ),
        ),
        source=CLASSIC,
    ),
    *(
        row(
            f"{sort}Pad{axes}D",
            "input: tensor, padding: ints",
            _pad_space(axes),
            **as_copy(picked("input")),
            examples=(f"{sort}Pad{axes}D({before} -> {after}",),
        )
        for sort in ("Reflection", "Replication")
        for axes, before, after in (
            (1, "x: float32[2, 3, 6], (1, 2))", "float32[2, 3, 9]"),
            (2, "x: float32[2, 3, ?, 6], (1, 2, 3, 4))", "float32[2, 3, ?, 9]"),
            (3, "x: float32[2, 3, 4, 5, 6], (1, 2, 3, 4, 1, 1))", "float32[2, 3, 6, 12, 9]"),
        )
    ),
    row(
        "Tril",
        "x: tensor; diagonal: int = 0",
        _triangle("x"),
        examples=("Tril(x: float32[4, ?]; diagonal=1) -> float32[4, ?]",),
        source=CLASSIC,
    ),
    *(
        row(
            name,
            "input: tensor, diagonal: int = 0",
            _triangle("input"),
            examples=(f"{name}(x: bool[4, ?], 1) -> bool[4, ?]", f"refused: {name}(x: float32[4], 1)"),
        )
        for name in ("TrilExt", "Triu")
    ),
)
