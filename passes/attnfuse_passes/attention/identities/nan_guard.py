"""Identities of guards: weights that are not a number, which only a fully masked row has, become 0."""

from __future__ import annotations

from attnfuse.api import Model, Node, NotALiteralError, Role, role
from attnfuse_passes.attention.identities.product import same_shape
from attnfuse_passes.attention.identities.registry import identity
from attnfuse_passes.attention.identities.steps import Effect, NanToZero
from attnfuse_passes.attention.uniform import uniform


@identity(
    "nan.guard",
    ops=("Select", "Where", "MaskedFill"),
    identity="where(isnan(P), 0, P): only a fully masked row is not a number",
    examples=(
        "Select(IsNan(p: float32[2, 3]), tensor float32[] 0.0, p)",
        "Where(IsNaN(p: float32[2, 3]), tensor float32[] 0.0, p)",
        "MaskedFill(p: float32[2, 3], IsNan(p), 0.0)",
        "Select(NotEqual(p: float32[2, 3], p), ZerosLikeExt(p, None), p)",
        "Select(Equal(p: float32[2, 3], p), p, tensor float32[2, 3] 0.0)",
        "Select(LogicalNot(IsNan(p: float32[2, 3])), p, tensor float32[] 0.0)",
        "Select(IsFinite(p: float32[2, 3]), p, tensor float32[] 0.0)",
    ),
    counter_examples=(
        "Select(m: bool[2, 3], tensor float32[] 0.0, p: float32[2, 3])",
        "Select(IsNan(p: float32[2, 3]), tensor float32[] 1.0, p)",
        "Select(IsNan(other: float32[2, 3]), tensor float32[] 0.0, p: float32[2, 3])",
        "Select(IsInf(p: float32[2, 3]), tensor float32[] 0.0, p)",
        "Select(NotEqual(p: float32[2, 3], other: float32[2, 3]), tensor float32[] 0.0, p)",
        "Select(Equal(p: float32[2, 3], p), tensor float32[] 0.0, p)",
        "Select(NotEqual(p: float32[2, 3], p), p, tensor float32[] 0.0)",
        "Select(Equal(p: float32[2, 3], tensor float32[] 0.5), p, tensor float32[] 0.0)",
        "MaskedFill(p: float32[2, 3], IsFinite(p), 0.0)",
    ),
)
def nan_guard(model: Model, node: Node) -> tuple[str, Effect] | None:
    """The condition must test the very value that is guarded, and the replacement be zero everywhere."""
    if node.op == "MaskedFill":
        kept, condition, filled = node.inputs[:3]
    else:
        condition, filled, kept = node.inputs[:3]
    found = _tested(model, condition)
    if found is None:
        return None
    value, when_nan = found
    if not when_nan:
        kept, filled = filled, kept
    if kept != value or uniform(model, filled) != 0.0 or not same_shape(model, node, value):
        return None
    return value, NanToZero()


def _tested(model: Model, condition: str) -> tuple[str, bool] | None:
    """The value tested, and whether the test is true where it is no number, or false there and nowhere else.

    x == x holds of all but NaN. Attention weights are never infinite, so that all of them but NaN are finite.
    """
    test = model.producer(condition)
    if test is None:
        return None
    if test.op == "LogicalNot":
        found = _tested(model, test.inputs[0])
        return None if found is None else (found[0], not found[1])
    if role(test) is Role.NAN_TEST:
        return test.inputs[0], True
    if test.op in ("Equal", "NotEqual") and test.inputs[0] == test.inputs[1]:
        return test.inputs[0], test.op == "NotEqual"
    return (test.inputs[0], False) if test.op == "IsFinite" else None


@identity(
    "nan.to_num",
    ops=("NanToNum",),
    identity="nan_to_num(P, 0): attention weights are never infinite",
    examples=("NanToNum(p: float32[2, 3], 0.0, None, None)", "NanToNum(p: float32[2, 3], None, 1.0, -1.0)"),
    counter_examples=(
        "NanToNum(p: float32[2, 3], 1.0, None, None)",
        "NanToNum(p: float32[2, 3], n: float32[], None, None)",
    ),
)
def nan_to_num(model: Model, node: Node) -> tuple[str, Effect] | None:
    """By 0, which is the default."""
    value = node.inputs[0]
    try:
        number = model.literal(node.inputs[1]) if len(node.inputs) > 1 else None
    except NotALiteralError:
        return None
    is_zero = number is None or (isinstance(number, int | float) and number == 0)
    return (value, NanToZero()) if is_zero and same_shape(model, node, value) else None
