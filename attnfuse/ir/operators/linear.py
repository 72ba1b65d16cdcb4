"""Matrix products, with and without a bias."""

from __future__ import annotations

from attnfuse.ir.equations import read_equation
from attnfuse.ir.operators.arguments import Arguments, NotKnown, TypeMismatch
from attnfuse.ir.operators.columns import Kernel, Role
from attnfuse.ir.operators.inference import broadcast, meet, one_type, shape
from attnfuse.ir.operators.row import CLASSIC, OTHER, Infer, Operator, row
from attnfuse.ir.types import TensorType, ValueType

Dims = tuple[int, ...]


def _inner(left: TensorType, right: TensorType, one: int, other: int) -> None:
    """The sizes that a product sums over must be the same."""
    if meet(one, other) is None:
        raise TypeMismatch(f"multiplies {shape(left.dims)} and {shape(right.dims)}, whose inner sizes differ")


def _matrices(left: TensorType, right: TensorType, turn_left: bool, turn_right: bool) -> Dims:
    """The last two sizes of a product of operands that have two at least."""
    (n, k), (other_k, m) = left.dims[-2:], right.dims[-2:]
    if turn_left:
        n, k = k, n
    if turn_right:
        other_k, m = m, other_k
    _inner(left, right, k, other_k)
    return n, m


def _check_rank(tensor_type: TensorType, least: int) -> None:
    if tensor_type.rank < least:
        raise TypeMismatch(f"multiplies {tensor_type}, which has fewer than {least} axes")


def _batched(left: str, right: str) -> Infer:
    """Two transposition flags; the axes before the last two broadcast, as they do on Ascend."""

    def infer(a: Arguments) -> ValueType:
        one, other = a.tensor(left), a.tensor(right)
        _check_rank(one, 2)
        _check_rank(other, 2)
        dtype = one_type(one, other)
        last = _matrices(one, other, a.flag("transpose_a"), a.flag("transpose_b"))
        return TensorType((*broadcast(one.dims[:-2], other.dims[:-2]), *last), dtype)

    return infer


def _with_bias(product: Infer) -> Infer:
    """The product, held to a bias by column of it, where there is one."""

    def infer(a: Arguments) -> ValueType:
        tensor_type, bias = product(a), a.optional_tensor("bias")
        assert isinstance(tensor_type, TensorType)
        if bias is not None and (bias.rank != 1 or meet(bias.dims[0], tensor_type.dims[-1]) is None):
            raise TypeMismatch(f"adds a bias of {shape(bias.dims)} to a product of {shape(tensor_type.dims)}")
        return tensor_type

    return infer


def _batched_ext(a: Arguments) -> ValueType:
    """Three axes each, of which the first is the same."""
    one, other = a.tensor("input"), a.tensor("mat2")
    if one.rank != 3 or other.rank != 3:
        raise TypeMismatch(f"multiplies {shape(one.dims)} and {shape(other.dims)}; it takes three axes each")
    dtype = one_type(one, other)
    return TensorType((_batch(one, other), *_matrices(one, other, False, False)), dtype)


def _batch(one: TensorType, other: TensorType) -> int:
    batch = meet(one.dims[0], other.dims[0])
    if batch is None:
        raise TypeMismatch(f"multiplies {shape(one.dims)} and {shape(other.dims)}, whose batch differs")
    return batch


def _matmul_ext(a: Arguments) -> ValueType:
    """As NumPy: a vector is a row on the left and a column on the right; the axes before the last two broadcast."""
    one, other = a.tensor("input"), a.tensor("other")
    _check_rank(one, 1)
    _check_rank(other, 1)
    dtype = one_type(one, other)
    _inner(one, other, one.dims[-1], other.dims[-2] if other.rank > 1 else other.dims[0])
    dims = broadcast(one.dims[:-2], other.dims[:-2])
    rows = one.dims[-2:-1]
    columns = other.dims[-1:] if other.rank > 1 else ()
    return TensorType((*dims, *rows, *columns), dtype)


def _mm(a: Arguments) -> ValueType:
    """Two matrices. MindSpore does not look at their inner sizes here; no kernel could multiply others."""
    one, other = a.tensor("input"), a.tensor("mat2")
    if one.rank != 2 or other.rank != 2:
        raise TypeMismatch(f"multiplies {shape(one.dims)} and {shape(other.dims)}; it takes matrices")
    dtype = one_type(one, other)
    return TensorType(_matrices(one, other, False, False), dtype)


def _dense(a: Arguments) -> ValueType:
    """x times the transposed weight, plus a bias that broadcasts."""
    tensor_type, weight = a.tensor("input"), a.tensor("weight")
    bias = a.optional_tensor("bias")
    _check_rank(tensor_type, 1)
    if weight.rank not in (1, 2):
        raise TypeMismatch(f"has a weight of {shape(weight.dims)}")
    dtype = one_type(tensor_type, weight, bias)
    _inner(tensor_type, weight, tensor_type.dims[-1], weight.dims[-1])
    return TensorType((*tensor_type.dims[:-1], *weight.dims[:-1]), dtype)


def _bias_add(a: Arguments) -> ValueType:
    """The bias belongs to axis 1 (NCHW, NCDHW) or to the last one (NHWC)."""
    tensor_type, bias = a.tensor("input_x"), a.tensor("bias")
    one_type(tensor_type, bias)
    layout = a.choice("data_format", {0: "NCHW", 1: "NHWC", 14: "NCDHW"})
    _check_rank(tensor_type, 2)
    if bias.rank != 1 or meet(bias.dims[0], tensor_type.dims[-1 if layout == "NHWC" else 1]) is None:
        raise TypeMismatch(f"adds a bias of {shape(bias.dims)} to {shape(tensor_type.dims)} in {layout}")
    return tensor_type


def _addmm(a: Arguments) -> ValueType:
    """beta · input + alpha · (mat1 @ mat2), in the input's type."""
    tensor_type, one, other = a.tensor("input"), a.tensor("mat1"), a.tensor("mat2")
    if one.rank != 2 or other.rank != 2:
        raise TypeMismatch(f"multiplies {shape(one.dims)} and {shape(other.dims)}; it takes matrices")
    one_type(one, other)
    dims = _matrices(one, other, False, False)
    return TensorType(broadcast(dims, tensor_type.dims), tensor_type.dtype)


def _baddbmm(a: Arguments) -> ValueType:
    """beta · input + alpha · (batch1 @ batch2): the product's shape, whatever the input's is, in the input's type.

    mindone leaves an input of four axes beside a product of three; MindSpore lets it pass.
    """
    tensor_type, one, other = a.tensor("input"), a.tensor("batch1"), a.tensor("batch2")
    if one.rank != 3 or other.rank != 3:
        raise TypeMismatch(f"multiplies {shape(one.dims)} and {shape(other.dims)}; it takes three axes each")
    one_type(one, other)
    n, m = _matrices(one, other, False, False)
    _batch(one, other)
    return TensorType((one.dims[0], n, m), tensor_type.dtype)


def _einsum(a: Arguments) -> ValueType:
    """What the equation keeps; an index that several operands have is of one size, or broadcasts."""
    operands, text = a.tensors("inputs"), a.get("equation").value
    if not isinstance(text, str):
        raise NotKnown("equation")
    equation = read_equation(text, [operand.rank for operand in operands])
    if equation is None:
        raise TypeMismatch(f"has the equation {text!r} for {', '.join(shape(operand.dims) for operand in operands)}")
    dtype = one_type(*operands)
    sizes: dict[str, int] = {}
    for labels, operand in zip(equation.operands, operands, strict=True):
        for label, dim in zip(labels, operand.dims, strict=True):
            (sizes[label],) = broadcast((sizes.get(label, 1),), (dim,))
    return TensorType(tuple(sizes[label] for label in equation.result), dtype)


_FLAGS = "transpose_a: bool = False, transpose_b: bool = False"

ROWS: tuple[Operator, ...] = (
    row(
        "MatMul",
        f"input: tensor, mat2: tensor, {_FLAGS}, bias: tensor? = None",  # CANN takes a bias, MindSpore none
        _with_bias(_batched("input", "mat2")),
        kernel=Kernel.PRODUCT,
        role=Role.PRODUCT,
        examples=(
            "MatMul(x: float16[8, 4], y: float16[3, 8], True, True) -> float16[4, 3]",
            "MatMul(x: float16[?, 8], y: float16[8, 3], False, False) -> float16[?, 3]",
            "MatMul(x: float16[4, ?], y: float16[8, 3], False, False) -> float16[4, 3]",
            "refused: MatMul(x: float16[4, 8], y: float16[7, 3], False, False)",
            "refused: MatMul(x: float16[4, 8], y: float32[8, 3], False, False)",
        ),
    ),
    row(
        "BatchMatMul",
        f"x: tensor, y: tensor, {_FLAGS}",
        _batched("x", "y"),
        kernel=Kernel.PRODUCT,
        role=Role.PRODUCT,
        examples=(
            "BatchMatMul(x: float16[2, 8, 4], y: float16[2, 3, 8], True, True) -> float16[2, 4, 3]",
            "BatchMatMul(x: float16[?, 4, 8], y: float16[2, 8, 3], False, False) -> float16[2, 4, 3]",
            "refused: BatchMatMul(x: float16[2, 4, 8], y: float16[3, 8, 3], False, False)",
        ),
    ),
    row(
        "BatchMatMulExt",
        "input: tensor, mat2: tensor",
        _batched_ext,
        kernel=Kernel.PRODUCT,
        role=Role.PRODUCT,
        examples=(
            "BatchMatMulExt(x: float16[?, 4, 8], y: float16[2, 8, 3]) -> float16[2, 4, 3]",
            "refused: BatchMatMulExt(x: float16[2, 4, 8], y: float16[1, 8, 3])",
            "refused: BatchMatMulExt(x: float16[2, 4, 8], y: float16[2, 7, 3])",
            "refused: BatchMatMulExt(x: float16[2, 4, 8], y: float32[2, 8, 3])",
        ),
    ),
    row(
        "MatMulExt",
        "input: tensor, other: tensor",
        _matmul_ext,
        kernel=Kernel.PRODUCT,
        role=Role.PRODUCT,
        examples=(
            "MatMulExt(x: float16[2, 1, 4, 8], y: float16[5, 8, 3]) -> float16[2, 5, 4, 3]",
            "MatMulExt(x: float16[4, 8], y: float16[8]) -> float16[4]",
            "MatMulExt(x: float16[8], y: float16[8]) -> float16[]",
            "MatMulExt(x: float16[8], y: float16[2, 8, 3]) -> float16[2, 3]",
            "refused: MatMulExt(x: float16[2, 4, 8], y: float32[2, 8, 3])",
        ),
    ),
    *(
        row(
            name,
            "input: tensor, other: tensor",
            _matmul_ext,
            kernel=Kernel.PRODUCT,
            role=Role.PRODUCT,
            examples=(f"{name}(x: float16[2, 4, 8], y: float16[2, 8, 3]) -> float16[2, 4, 3]",),
            source=OTHER,
        )
        for name in ("Matmul", "Bmm")
    ),
    row(
        "Mm",
        "input: tensor, mat2: tensor",
        _mm,
        kernel=Kernel.PRODUCT,
        role=Role.PRODUCT,
        examples=("Mm(x: float16[4, 8], y: float16[8, 3]) -> float16[4, 3]",),
    ),
    row(
        "Dense",
        "input: tensor, weight: tensor, bias: tensor? = None",
        _dense,
        kernel=Kernel.PRODUCT,
        role=Role.PROJECTION,
        examples=(
            "Dense(x: float16[2, ?, 8], w: float16[3, 8], b: float16[3]) -> float16[2, ?, 3]",
            "Dense(x: float16[8], w: float16[3, 8], None) -> float16[3]",
            "Dense(x: float16[2, 8], w: float16[8], None) -> float16[2]",
            "refused: Dense(x: float16[2, 4, 8], w: float16[3, 7], None)",
            "refused: Dense(x: float16[2, 4, 8], w: float32[3, 8], None)",
        ),
    ),
    row(
        "Einsum",
        "inputs: tensors; equation: text",
        _einsum,
        kernel=Kernel.PRODUCT,
        role=Role.PRODUCT,
        examples=(
            'Einsum((x: float16[2, 4, 8], y: float16[2, 3, 8]); equation="bid,bjd->bij") -> float16[2, 4, 3]',
            'Einsum((x: float16[5, 2, 4, 8], y: float16[5, 2, 3, 8]); equation="...id, ...jd") -> float16[5, 2, 4, 3]',
            'Einsum((x: float16[2, ?]); equation="ij->ji") -> float16[?, 2]',
            'refused: Einsum((x: float16[2, 4, 8], y: float16[3, 8]); equation="bid,bjd->bij")',
            'refused: Einsum((x: float16[2, 8], y: float16[3, 7]); equation="id,jd->ij")',
            'refused: Einsum((x: float16[2, 8], y: float16[3, 8]); equation="id,jd->ik")',
        ),
        source=CLASSIC,
    ),
    row(
        "BiasAdd",
        "input_x: tensor, bias: tensor, data_format: enum",
        _bias_add,
        examples=(
            "BiasAdd(x: float16[2, 4, 5, 6], b: float16[4], 0) -> float16[2, 4, 5, 6]",
            "BiasAdd(x: float16[2, 5, 6, 4], b: float16[4], 1) -> float16[2, 5, 6, 4]",
            "BiasAdd(x: float16[2, 4, 5, 6, 7], b: float16[4], 14) -> float16[2, 4, 5, 6, 7]",
            "refused: BiasAdd(x: float16[2, 4, 5, 6], b: float16[6], 0)",
            "refused: BiasAdd(x: float16[2, 4], b: float32[4], 0)",
        ),
    ),
    row(
        "Addmm",
        "input: tensor, mat1: tensor, mat2: tensor, beta: number = 1, alpha: number = 1",
        _addmm,
        kernel=Kernel.PRODUCT,
        role=Role.PROJECTION,
        examples=(
            "Addmm(x: float16[3], a: float16[?, 8], b: float16[8, 3], 1, 0.5) -> float16[?, 3]",
            "Addmm(x: float32[4, 3], a: float16[4, 8], b: float16[8, 3], 1, 1) -> float32[4, 3]",
            "refused: Addmm(x: float16[4, 3], a: float16[4, 7], b: float16[8, 3], 1, 1)",
        ),
    ),
    row(
        "Baddbmm",
        "input: tensor, batch1: tensor, batch2: tensor, beta: number = 1, alpha: number = 1",
        _baddbmm,
        kernel=Kernel.PRODUCT,
        role=Role.PRODUCT,
        examples=(
            "Baddbmm(x: float16[1, 4, 3], a: float16[2, 4, 8], b: float16[2, 8, 3], 0, 0.5) -> float16[2, 4, 3]",
            "Baddbmm(x: float16[2, 1, 4, 3], a: float16[2, 4, 8], b: float16[2, 8, 3], 1, 1) -> float16[2, 4, 3]",
            "Baddbmm(x: float16[?, 4, 3], a: float16[?, 4, 8], b: float16[2, 8, 3], 1, 1) -> float16[?, 4, 3]",
            "refused: Baddbmm(x: float16[2, 4, 3], a: float16[2, 4, 8], b: float16[2, 7, 3], 1, 1)",
        ),
    ),
)
