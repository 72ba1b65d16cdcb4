"""Identities of conversions between float types, and of nodes that pass their input on unchanged."""

from __future__ import annotations

from attnfuse.api import Model, Node, NotALiteralError, dtypes
from attnfuse_passes.attention.identities.registry import identity
from attnfuse_passes.attention.identities.steps import Convert, Effect, Ordered, Same

# Every value of the left type is a value of the right one.
_WIDER = {
    ("float16", "float32"),
    ("float16", "float64"),
    ("bfloat16", "float32"),
    ("bfloat16", "float64"),
    ("float32", "float64"),
}


@identity(
    "cast.float",
    ops=("Cast",),
    identity="cast(x) = x, exactly where the type widens",
    examples=(
        "Cast(x: float16[2, 3], float32)",
        "Cast(x: float32[2, 3], float16)",
        "Cast(x: float32[2, 3], float32)",
        "Cast(x: bfloat16[2, 3], float32)",
        "Cast(x: bfloat16[2, 3], float16)",
        "Cast(x: float16[2, 3], bfloat16)",
    ),
    counter_examples=("Cast(x: int64[2, 3], float32)", "Cast(x: float32[2, 3], int64)", "Cast(x: bool[2], float32)"),
)
def cast(model: Model, node: Node) -> tuple[str, Effect] | None:
    """Between float types only: from anything else a cast is a computation."""
    value = node.inputs[0]
    tensor_type = model.type_of(value)
    try:
        number = model.literal(node.inputs[1])
    except NotALiteralError:
        return None
    target = dtypes.from_type_id(number) if isinstance(number, int) else None
    if tensor_type is None or target is None or not (tensor_type.dtype.is_float and target.is_float):
        return None
    if tensor_type.dtype == target:
        return value, Same()
    return value, Convert(tensor_type.dtype, target, wider=(tensor_type.dtype.name, target.name) in _WIDER)


@identity(
    "pass.through",
    ops=("Contiguous", "Clone", "TensorMove", "StopGradient", "Identity"),
    identity="f(x) = x",
    examples=(
        "Contiguous(x: float32[2, 3])",
        "Clone(x: float32[2, 3])",
        "TensorMove(x: float32[2, 3])",
        "StopGradient(x: float32[2, 3])",
        "Identity(x: float32[2, 3])",
    ),
    counter_examples=("Contiguous(x: unknown) -> float32[2, 3]",),
)
def pass_through(model: Model, node: Node) -> tuple[str, Effect] | None:
    """Copying a value or ordering its bytes."""
    return (node.inputs[0], Same()) if _same_type(model, node) else None


@identity(
    "pass.ordered",
    ops=("Load", "Depend"),
    identity="load(x) = x, where nothing else reaches x",
    examples=(
        "Load(MatMulExt(q: float32[2, 5], k: float32[5, 3]), u: monad)",
        "Depend(MatMulExt(q: float32[2, 5], k: float32[5, 3]), u: monad)",
    ),
    counter_examples=("w: parameter float32[2, 3]",),
)
def ordered(model: Model, node: Node) -> tuple[str, Effect] | None:
    """Reading a value after an effect on it (an in-place addition in MindSpore 2.10 graphs).

    Equal to the value only if no other effect can come in between: that its uses are the region's own is an obligation
    of the match. A weight's Load is no such thing and stays.
    """
    if model.producer(node.inputs[0]) is None or not _same_type(model, node):
        return None
    return node.inputs[0], Ordered()


def _same_type(model: Model, node: Node) -> bool:
    tensor_type = model.type_of(node.inputs[0])
    return tensor_type is not None and tensor_type == model.type_of(node.name)
