"""Identities of scores clamped to what their type holds, which changes no number of the type.

Behind a mask the clamp is there for sums below the smallest number: −∞ becomes that number, and a row of them a mean.
"""

from __future__ import annotations

import math

from attnfuse.api import Model, Node, NotALiteralError
from attnfuse_passes.attention.identities.product import same_shape
from attnfuse_passes.attention.identities.registry import identity
from attnfuse_passes.attention.identities.steps import AtLeast, Effect, Same
from attnfuse_passes.attention.uniform import uniform


def _clamped(model: Model, node: Node, value: str, low: float, high: float) -> tuple[str, Effect] | None:
    """The effect of max(low, min(high, value)), where both bounds are outside of the type or its own largest number."""
    tensor_type = model.type_of(value)
    if tensor_type is None or not same_shape(model, node, value):
        return None
    largest = tensor_type.dtype.largest
    if not (low <= -largest and high >= largest):
        return None
    return value, Same() if math.isinf(low) else AtLeast(low)


def _bound(model: Model, value: str, without: float) -> float | None:
    """The number a bound is, `without` where there is none; None where it is not known before run time."""
    try:
        if model.literal(value) is None:
            return without
    except NotALiteralError:
        pass
    return uniform(model, value)


@identity(
    "clamp.range",
    ops=("ClampScalar", "ClampTensor"),
    identity="clamp(x, min, max) = x where min and max are the type's own",
    examples=(
        "ClampScalar(x: float16[2, 3], -65504.0, 65504.0)",
        "ClampScalar(x: float32[2, 3], None, 3.4028234663852886e38)",
        "ClampTensor(x: float16[2, 3], tensor float16[] -65504.0, tensor float16[] 65504.0)",
    ),
    counter_examples=(
        "ClampScalar(x: float16[2, 3], -65503.0, 65504.0)",
        "ClampScalar(x: float32[2, 3], -65504.0, 65504.0)",
        "ClampScalar(x: float16[2, 3], -65504.0, 50.0)",
        "ClampScalar(x: int64[2, 3], None, 5)",
        "ClampTensor(x: float16[2, 3], low: float16[], tensor float16[] 65504.0)",
    ),
)
def clamp(model: Model, node: Node) -> tuple[str, Effect] | None:
    """Both bounds are literals, or not given."""
    value, *bounds = node.inputs[:3]
    if len(bounds) != 2:
        return None
    low, high = _bound(model, bounds[0], -math.inf), _bound(model, bounds[1], math.inf)
    return None if low is None or high is None else _clamped(model, node, value, low, high)


@identity(
    "clamp.one_side",
    ops=("Maximum", "Minimum"),
    identity="max(x, c) = x where c is the type's smallest number, min(x, c) = x where it is the largest",
    examples=(
        "Maximum(x: float16[2, 3], tensor float16[] -65504.0)",
        "Maximum(tensor float32[1] -3.4028234663852886e38, x: float32[2, 3])",
        "Minimum(x: float16[2, 3], tensor float16[] 65504.0)",
    ),
    counter_examples=(
        "Maximum(x: float32[2, 3], tensor float32[] -65504.0)",
        "Maximum(x: float16[2, 3], y: float16[2, 3])",
        "Minimum(x: float16[2, 3], tensor float16[] -65504.0)",
        "Maximum(x: float16[2, 3], tensor float16[] 0.0)",
    ),
)
def one_side(model: Model, node: Node) -> tuple[str, Effect] | None:
    """The bound on either side of the value."""
    for value, bound in (node.inputs[:2], node.inputs[1::-1]):
        number = uniform(model, bound)
        if number is None:
            continue
        low, high = (number, math.inf) if node.op == "Maximum" else (-math.inf, number)
        found = _clamped(model, node, value, low, high)
        if found is not None:
            return found
    return None
