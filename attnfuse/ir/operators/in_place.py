"""Operators that change an argument's memory, in the order that monads give."""

from __future__ import annotations

from attnfuse.ir.operators.arguments import Arguments, TypeMismatch
from attnfuse.ir.operators.columns import Kernel, writes
from attnfuse.ir.operators.inference import broadcast, meet, same_as, shape
from attnfuse.ir.operators.row import CLASSIC, DEFINED, Infer, Operator, row
from attnfuse.ir.types import TensorType, ValueType


def _in_place(a: Arguments) -> ValueType:
    """The changed operand, whose shape the other one cannot enlarge."""
    tensor_type, other = a.tensor("input"), a.value_type("other")
    if isinstance(other, TensorType):
        broadcast(tensor_type.dims, other.dims[max(0, other.rank - tensor_type.rank) :])
    return tensor_type


def _assigned(a: Arguments) -> ValueType:
    tensor_type, value = a.tensor("variable"), a.tensor("value")
    if tensor_type.rank != value.rank or None in map(meet, tensor_type.dims, value.dims):
        raise TypeMismatch(f"assigns {shape(value.dims)} to {shape(tensor_type.dims)}")
    return tensor_type


def _written(
    name: str, args: str, *examples: str, infer: Infer = _in_place, kernel: Kernel = Kernel.ELEMENTWISE,
    source: str = DEFINED,
) -> Operator:  # fmt: skip
    """An operator that changes its first argument."""
    first = args.partition(":")[0]
    return row(
        name, f"{args}, state: monad", infer, memory=writes(first), kernel=kernel, examples=examples, source=source
    )


ROWS: tuple[Operator, ...] = (
    _written(
        "InplaceAddExt",
        "input: tensor, other: tensor, alpha: number = 1",
        "InplaceAddExt(x: float16[2, 3], y: float16[3], 2, u: monad) -> float16[2, 3]",
        "InplaceAddExt(x: float16[2, 3], y: float32[3], 1, u: monad) -> float16[2, 3]",
    ),
    _written(
        "InplaceAddsExt",
        "input: tensor, other: number, alpha: number = 1",
        "InplaceAddsExt(x: float16[2, 3], 2.0, 1, u: monad) -> float16[2, 3]",
    ),
    _written(
        "InplaceSubExt",
        "input: tensor, other: tensor, alpha: number = 1",
        "InplaceSubExt(x: float16[2, 3], y: float16[3], 1, u: monad) -> float16[2, 3]",
    ),
    *(
        _written(
            name,
            "input: tensor, other: tensor",
            f"{name}(x: float16[2, 3], y: float16[3], u: monad) -> float16[2, 3]",
            f"{name}(x: float16[2, 3], y: float32[3], u: monad) -> float16[2, 3]",
        )
        for name in ("InplaceMul", "InplaceDiv")
    ),
    *(
        _written(name, "input: tensor, other: number", f"{name}(x: float16[2, 3], 2.0, u: monad) -> float16[2, 3]")
        for name in ("InplaceMuls", "InplaceDivs")
    ),
    *(
        _written(name, "input: tensor", f"{name}(x: float16[2, ?], u: monad) -> float16[2, ?]", infer=same_as("input"))
        for name in ("InplaceLog", "InplaceExp", "InplaceReLU")
    ),
    _written(
        "InplaceFillScalar",
        "input: tensor, value: number",
        "InplaceFillScalar(x: float16[2, ?], 1.0, u: monad) -> float16[2, ?]",
        infer=same_as("input"),
        kernel=Kernel.CREATE,
    ),
    _written(
        "InplaceFillTensor",
        "input: tensor, value: tensor",
        "InplaceFillTensor(x: float16[2, ?], v: float16[], u: monad) -> float16[2, ?]",
        infer=same_as("input"),
        kernel=Kernel.CREATE,
    ),
    _written(
        "InplaceMaskedFillScalar",
        "input: tensor, mask: tensor, value: number",
        "InplaceMaskedFillScalar(x: float16[2, ?], m: bool[2, ?], 1.0, u: monad) -> float16[2, ?]",
        infer=same_as("input"),
    ),
    _written(
        "InplaceMaskedFillTensor",
        "input: tensor, mask: tensor, value: tensor",
        "InplaceMaskedFillTensor(x: float16[2, ?], m: bool[2, ?], v: float16[], u: monad) -> float16[2, ?]",
        infer=same_as("input"),
    ),
    _written(
        "InplaceCopy",
        "input: tensor, src: tensor, non_blocking: bool = False",
        "InplaceCopy(x: float16[2, ?], y: float16[2, ?], False, u: monad) -> float16[2, ?]",
        infer=same_as("input"),
        kernel=Kernel.MOVE,
    ),
    _written(
        "Assign",
        "variable: tensor, value: tensor",
        "Assign(w: parameter float16[2], v: float32[2], u: monad) -> float16[2]",
        "refused: Assign(w: parameter float16[2], v: float16[3], u: monad)",
        infer=_assigned,
        kernel=Kernel.MOVE,
    ),
    *(
        _written(
            name,
            "variable: tensor, value: tensor",
            f"{name}(w: parameter float16[2], v: float16[2], u: monad) -> float16[2]",
            infer=same_as("variable"),
        )
        for name in ("AssignAdd", "AssignSub")
    ),
    _written(
        "ScatterUpdate",
        "x: tensor, indices: tensor, updates: tensor",
        "ScatterUpdate(w: parameter float16[4, 2], i: int32[3], v: float16[3, 2], u: monad) -> float16[4, 2]",
        infer=same_as("x"),
        kernel=Kernel.MOVE,
        source=CLASSIC,
    ),
    _written(
        "ScatterNdUpdate",
        "input_x: tensor, indices: tensor, value: tensor",
        "ScatterNdUpdate(w: parameter float16[4, 2], i: int32[3, 1], v: float16[3, 2], u: monad) -> float16[4, 2]",
        infer=same_as("input_x"),
        kernel=Kernel.MOVE,
        source=CLASSIC,
    ),
    _written(
        "KVCacheScatterUpdate",
        "var: tensor, indices: tensor, updates: tensor, axis: int, reduce: enum",
        "KVCacheScatterUpdate(w: parameter float16[2, 3, 4, 5], i: int64[2], v: float16[2, 3, 1, 5], 2, 0, u: monad)"
        " -> float16[2, 3, 4, 5]",
        infer=same_as("var"),
        kernel=Kernel.MOVE,
    ),
)
