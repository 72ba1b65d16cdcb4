"""Operators that sum up an axis, or find its largest element."""

from __future__ import annotations

from attnfuse.ir.operators.arguments import Arguments, TypeMismatch
from attnfuse.ir.operators.columns import Kernel, Role
from attnfuse.ir.operators.inference import axes_of, axis_of, dtype_or, same_as, without_axis
from attnfuse.ir.operators.row import CLASSIC, Infer, Operator, row
from attnfuse.ir.types import TensorType, ValueType
from attnfuse.mindir.dtypes import BOOL, INT32, INT64, DType


def _reduced(tensor_type: TensorType, axes: frozenset[int], keep: bool, dtype: DType) -> ValueType:
    """Those axes go, or stay with one element."""
    if keep:
        dims = tuple(1 if axis in axes else dim for axis, dim in enumerate(tensor_type.dims))
    else:
        dims = tuple(dim for axis, dim in enumerate(tensor_type.dims) if axis not in axes)
    return TensorType(dims, dtype)


def _axes(a: Arguments, name: str, rank: int) -> frozenset[int]:
    """None and () are every axis."""
    given = () if a.is_none(name) else a.integers(name)
    return axes_of(given, rank) or frozenset(range(rank))


def _reduce(operand: str, axis: str = "axis", keep: str = "keep_dims", dtype: DType | None = None) -> Infer:
    def infer(a: Arguments) -> ValueType:
        tensor_type = a.tensor(operand)
        return _reduced(tensor_type, _axes(a, axis, tensor_type.rank), a.flag(keep), dtype or tensor_type.dtype)

    return infer


def _sum(a: Arguments) -> ValueType:
    """With skip_mode no axes are none, not all."""
    tensor_type = a.tensor("x")
    if a.flag("skip_mode") and not a.is_none("axis") and not a.integers("axis"):
        return tensor_type
    return _reduced(tensor_type, _axes(a, "axis", tensor_type.rank), a.flag("keep_dims"), tensor_type.dtype)


def _reduce_to(widened: bool) -> Infer:
    """In the type asked for. Without one a sum of whole numbers is `widened` to int64."""

    def infer(a: Arguments) -> ValueType:
        tensor_type = a.tensor("input")
        own = INT64 if widened and not tensor_type.dtype.is_float else tensor_type.dtype
        return _reduced(tensor_type, _axes(a, "dim", tensor_type.rank), a.flag("keepdim"), dtype_or(a, "dtype", own))

    return infer


def _extreme(a: Arguments) -> ValueType:
    return TensorType((), a.tensor("input").dtype)


def _extreme_of_axis(a: Arguments) -> ValueType:
    """The largest, and where it stands."""
    tensor_type = a.tensor("input")
    axes = frozenset({axis_of(a.integer("dim"), tensor_type.rank)})
    keep = a.flag("keepdim")
    return _reduced(tensor_type, axes, keep, tensor_type.dtype), _reduced(tensor_type, axes, keep, INT64)


def _extreme_with_place(a: Arguments) -> ValueType:
    """Where the largest stands, and the largest."""
    tensor_type = a.tensor("input")
    axes = frozenset({axis_of(a.integer("axis"), tensor_type.rank)})
    keep = a.flag("keep_dims")
    return _reduced(tensor_type, axes, keep, INT64), _reduced(tensor_type, axes, keep, tensor_type.dtype)


def _place(a: Arguments) -> ValueType:
    tensor_type = a.tensor("input_x")
    dtype = dtype_or(a, "output_type", INT32)
    if dtype not in (INT32, INT64):
        raise TypeMismatch(f"is to tell places in {dtype}; it takes int32 or int64")
    return TensorType(without_axis(tensor_type.dims, axis_of(a.integer("axis"), tensor_type.rank)), dtype)


def _cumulated(a: Arguments) -> ValueType:
    tensor_type = a.tensor("input")
    axis_of(a.integer("axis"), tensor_type.rank)
    return tensor_type


def _cumulated_to(a: Arguments) -> ValueType:
    tensor_type = a.tensor("input")
    axis_of(a.integer("dim"), tensor_type.rank)
    return TensorType(tensor_type.dims, dtype_or(a, "dtype", INT64 if tensor_type.dtype is BOOL else tensor_type.dtype))


def _vector_norm(a: Arguments) -> ValueType:
    tensor_type = a.tensor("x")
    return _reduced(
        tensor_type, _axes(a, "dim", tensor_type.rank), a.flag("keepdim"), dtype_or(a, "dtype", tensor_type.dtype)
    )


def _softmax(operand: str, axis: str) -> Infer:
    def infer(a: Arguments) -> ValueType:
        tensor_type = a.tensor(operand)
        axes_of(a.integers(axis), tensor_type.rank)
        return tensor_type

    return infer


def _log_softmax_to(a: Arguments) -> ValueType:
    tensor_type = a.tensor("input")
    if not a.is_none("dim"):
        axis_of(a.integer("dim"), tensor_type.rank)
    return TensorType(tensor_type.dims, dtype_or(a, "dtype", tensor_type.dtype))


def _classic(name: str, operand: str = "x") -> Operator:
    return row(
        name,
        f"{operand}: tensor, axis: ints = (), keep_dims: bool = False",
        _reduce(operand),
        kernel=Kernel.REDUCE,
        examples=(
            f"{name}(x: float16[2, ?, 4], (-1, 0), False) -> float16[?]",
            f"{name}(x: int32[2, 3, 4], (), True) -> int32[1, 1, 1]",
            f"refused: {name}(x: float16[2, 3, 4], (3,), False)",
        ),
    )


ROWS: tuple[Operator, ...] = (
    *map(_classic, ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")),
    row(
        "ReduceSum",
        "x: tensor, axis: ints = (), keep_dims: bool = False, skip_mode: bool = False",
        _sum,
        kernel=Kernel.REDUCE,
        examples=(
            "ReduceSum(x: float16[2, 3, 4], (1,), True, False) -> float16[2, 1, 4]",
            "ReduceSum(x: float16[2, 3, 4], (), False, True) -> float16[2, 3, 4]",
            "ReduceSum(x: bool[2, 3, 4], (), False, False) -> bool[]",
        ),
    ),
    *(
        row(
            name,
            f"{operand}: tensor, axis: ints? = None, keep_dims: bool = False",
            _reduce(operand, dtype=BOOL),
            kernel=Kernel.REDUCE,
            examples=(f"{name}(x: bool[2, ?, 4], (2,), True) -> bool[2, ?, 1]",),
        )
        for name, operand in (("ReduceAll", "input"), ("ReduceAny", "x"))
    ),
    *(
        row(
            name,
            "input: tensor, dim: ints? = None, keepdim: bool = False, dtype: dtype? = None",
            _reduce_to(widened),
            kernel=Kernel.REDUCE,
            examples=(
                f"{name}(x: float16[2, 3, 4], (1,), False, None) -> float16[2, 4]",
                f"{name}(x: int32[2, 3, 4], None, True, None) -> {whole}[1, 1, 1]",
                f"{name}(x: float16[2, 3, 4], None, False, float32) -> float32[]",
                *(("SumExt(x: int64[2, 3], (1,), False, 31) -> int32[2]",) if widened else ()),
            ),
        )
        for name, widened, whole in (("MeanExt", False, "int32"), ("SumExt", True, "int64"))
    ),
    row(
        "ProdExt",
        "input: tensor, dim: int? = None, keepdim: bool = False, dtype: dtype? = None",
        _reduce_to(True),
        kernel=Kernel.REDUCE,
        examples=(
            "ProdExt(x: float16[2, 3], -1, True, None) -> float16[2, 1]",
            "ProdExt(x: int32[2, 3], None, False, None) -> int64[]",
        ),
    ),
    *(
        row(
            name,
            "input: tensor",
            _extreme,
            kernel=Kernel.REDUCE,
            examples=(f"{name}(x: int32[2, ?]) -> int32[]",),
        )
        for name in ("Max", "Min")
    ),
    row(
        "MaxDim",
        "input: tensor, dim: int, keepdim: bool = False",
        _extreme_of_axis,
        kernel=Kernel.REDUCE,
        examples=(
            "MaxDim(x: float16[2, 3], 1, True) -> (float16[2, 1], int64[2, 1])",
            "MaxDim(x: float16[2, 3], -2, False) -> (float16[3], int64[3])",
        ),
    ),
    row(
        "ArgMaxWithValue",
        "input: tensor, axis: int = 0, keep_dims: bool = False",
        _extreme_with_place,
        kernel=Kernel.REDUCE,
        examples=("ArgMaxWithValue(x: float16[2, ?], 0, True) -> (int64[1, ?], float16[1, ?])",),
    ),
    row(
        "LogSumExp",
        "input: tensor, dim: ints, keepdim: bool = False",
        _reduce("input", "dim", "keepdim"),
        kernel=Kernel.REDUCE,
        examples=("LogSumExp(x: float16[2, ?], (-1,), True) -> float16[2, 1]",),
    ),
    row(
        "Argmax",
        "input_x: tensor, axis: int = -1, output_type: dtype? = None",
        _place,
        kernel=Kernel.REDUCE,
        examples=(
            "Argmax(x: float16[2, 3], -1, int32) -> int32[2]",
            "Argmax(x: float16[2, ?], 0, int64) -> int64[?]",
            "refused: Argmax(x: float16[2, 3], 5, int32)",
            "refused: Argmax(x: float16[2, 3], -1, float32)",
        ),
    ),
    row(
        "CumSum",
        "input: tensor, axis: int, exclusive: bool = False, reverse: bool = False",
        _cumulated,
        kernel=Kernel.REDUCE,
        examples=("CumSum(x: float16[2, ?], 1, False, False) -> float16[2, ?]",),
    ),
    row(
        "CumsumExt",
        "input: tensor, dim: int, dtype: dtype? = None",
        _cumulated_to,
        kernel=Kernel.REDUCE,
        examples=(
            "CumsumExt(x: bool[2, 3], 1, None) -> int64[2, 3]",
            "CumsumExt(x: int32[2, 3], 1, None) -> int32[2, 3]",
            "CumsumExt(x: float16[2, 3], 1, float32) -> float32[2, 3]",
        ),
    ),
    row(
        "LinalgVectorNorm",
        "x: tensor, ord: number = 2, dim: ints? = None, keepdim: bool = False, dtype: dtype? = None",
        _vector_norm,
        kernel=Kernel.REDUCE,
        examples=(
            "LinalgVectorNorm(x: float16[2, 3], 2.0, (1,), True, None) -> float16[2, 1]",
            "LinalgVectorNorm(x: float16[2, 3], 2.0, None, False, float32) -> float32[]",
        ),
    ),
    row(
        "L2Normalize",
        "x: tensor; axis: ints, epsilon: float = 0.0001",
        same_as("x"),
        kernel=Kernel.NORM,
        role=Role.NORM,
        examples=("L2Normalize(x: float16[2, 3]; axis=1, epsilon=1e-12) -> float16[2, 3]",),
        source=CLASSIC,
    ),
    row(
        "Softmax",
        "input: tensor, axis: ints = -1",
        _softmax("input", "axis"),
        kernel=Kernel.SOFTMAX,
        role=Role.SOFTMAX,
        examples=(
            "Softmax(x: float16[2, ?], (-1,)) -> float16[2, ?]",
            "refused: Softmax(x: float16[2, 3], (5,))",
        ),
    ),
    row(
        "LogSoftmax",
        "logits: tensor, axis: int = -1",
        _softmax("logits", "axis"),
        kernel=Kernel.SOFTMAX,
        examples=(
            "LogSoftmax(x: float16[2, 3], -1) -> float16[2, 3]",
            "refused: LogSoftmax(x: float16[2, 3], 3)",
        ),
    ),
    row(
        "LogSoftmaxExt",
        "input: tensor, dim: int? = None, dtype: dtype? = None",
        _log_softmax_to,
        kernel=Kernel.SOFTMAX,
        examples=("LogSoftmaxExt(x: float16[2, 3], 1, float32) -> float32[2, 3]",),
    ),
)
