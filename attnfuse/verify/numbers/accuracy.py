"""Is the source accurate in its own type? A fused graph can be as good as its source and the source be far off.

Nothing here judges the rewrite. Where an output of the original at its own types is more than OWN_ERROR off its
float64 value, or not finite where that is, the user is told, with the first module where it happens and the dtype that
holds it: found by running the original again, its values sampled, and as if its 16-bit types were another. Where only
the fused graph is that far off, within what an honest node costs, it is the type asked for that costs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from attnfuse.ir.graph import Model, Node, short_name
from attnfuse.ir.operators.columns import Kernel, Role
from attnfuse.ir.questions import kernel, role
from attnfuse.ir.types import Array
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.modules import Modules
from attnfuse.verify.graph.needed import needed_values
from attnfuse.verify.graph.sites import module_behind
from attnfuse.verify.lowering import Arithmetic, Lowered, lower
from attnfuse.verify.numbers.execution import run
from attnfuse.verify.numbers.weights import WeightProvider
from attnfuse.verify.result import OutputFigures

OWN_ERROR = 0.05
"""Several hundred roundings to bfloat16 in a row, each independent, come to this (docs/verification.md)."""

_LAYERS = (Role.PRODUCT, Role.PROJECTION, Role.FUSED_ATTENTION)


def warn(
    original: Model,
    weights: WeightProvider,
    inputs: Mapping[str, Array],
    reference: Sequence[Array],
    outputs: Sequence[OutputFigures],
) -> tuple[str, ...]:
    """What to tell of a source that is inaccurate in its own types, or becomes so by a cast; else nothing.

    `reference` are the outputs in float64, `outputs` their figures.
    """
    off = [figures for figures in outputs if figures.original > OWN_ERROR or figures.overflowed]
    if not off:
        return _cast(outputs)
    worst = max(off, key=lambda figures: (bool(figures.overflowed), figures.original))
    far = (
        f"leaves {worst.overflowed} of its values NaN or infinite that are finite in float64"
        if worst.overflowed
        else f"is {_percent(worst.original)} off its float64 value"
    )
    own = _types(original)
    message = (
        f"the source itself, in its own types ({' and '.join(d.name for d in own)}), {far} at output {worst.output}"
    )
    where = _first_module(original, weights, inputs)
    if where:
        message += f"; first more than {_percent(OWN_ERROR)} off in {where}"
    trials = {dtype: _error_in(dtype, original, weights, inputs, reference) for dtype in _candidates(own)}
    holds = [dtype.name for dtype, error in trials.items() if error <= OWN_ERROR]
    if trials:
        message += f"; {holds[0]} holds it" if holds else "; no other type that was tried holds it"
        message += f" ({', '.join(f'{dtype.name}: {_percent(error)} off' for dtype, error in trials.items())})"
    return (f"{message}. The fused graph is as good as its source and no better.",)


def _cast(outputs: Sequence[OutputFigures]) -> tuple[str, ...]:
    """What to tell where the source is accurate, and the type that attention is computed in is not."""
    worst = max(outputs, key=lambda figures: figures.fused, default=None)
    if worst is None or worst.fused <= OWN_ERROR:
        return ()
    message = (
        f"the fused graph is {_percent(worst.fused)} off the float64 value at output {worst.output}, and its source "
        f"{_percent(worst.original)}: that is what the type costs that attention is computed in; another one "
        "(--force-cast-dtype), or none, may hold it."
    )
    return (message,)


def _percent(error: float) -> str:
    if not np.isfinite(error):
        return "infinitely far"
    return f"{100 * error:.0f} %" if error >= 0.1 else f"{100 * error:.2g} %"


def _types(model: Model) -> list[DType]:
    """Floating-point types that the graph computes in, the coarsest first; float64 is none of them."""
    found = {tensor_type.dtype.name for node in model.nodes if (tensor_type := model.type_of(node.name)) is not None}
    return [d for d in (dtypes.BFLOAT16, dtypes.FLOAT16, dtypes.FLOAT32) if d.name in found]


def _candidates(own: Sequence[DType]) -> list[DType]:
    """Types to try: the other one of 16 bits, and float32; none where the source has no 16-bit type."""
    low = [d for d in own if d.is_low_precision]
    if not low:
        return []
    return [*(d for d in (dtypes.FLOAT16, dtypes.BFLOAT16) if d not in low), dtypes.FLOAT32]


def _error_in(
    dtype: DType, model: Model, weights: WeightProvider, inputs: Mapping[str, Array], reference: Sequence[Array]
) -> float:
    """The largest relative error of an output, all 16-bit types of the graph taken for that one."""
    lowered = (
        lower(model, Arithmetic.PLAIN) if dtype is dtypes.FLOAT32 else lower(model, Arithmetic.NATIVE, instead=dtype)
    )
    results = run(lowered, inputs, weights)
    return max((_error(a, b) for a, b in zip(results, reference, strict=True)), default=0.0)


def _error(values: Array, exact: Array) -> float:
    """Relative L2 error over what is finite in float64; infinite where the values are not."""
    a, b = values.astype(np.float64), exact.astype(np.float64)
    where = np.isfinite(b)
    if not np.isfinite(a[where]).all():
        return float("inf")
    size = float(np.linalg.norm(b[where]))
    return float(np.linalg.norm(a[where] - b[where])) / size if size else 0.0


def _first_module(model: Model, weights: WeightProvider, inputs: Mapping[str, Array]) -> str:
    """Module and value where the original first leaves its float64 value, in the graph's order; empty where none."""
    needed = needed_values(model)
    nodes = [node for node in model.nodes if node.name in needed and _is_sampled(model, node)]
    names = [node.name for node in nodes]

    def sampled(arithmetic: Arithmetic) -> list[Array]:
        lowered: Lowered = lower(model, arithmetic, samples=names)
        return run(lowered, inputs, weights)[-len(names) :] if names else []

    for node, exact, own in zip(nodes, sampled(Arithmetic.EXACT), sampled(Arithmetic.NATIVE), strict=True):
        if _error(own, exact) > OWN_ERROR:
            module = Modules(model).of(node) or module_behind(model, node.inputs[0])
            return f"module {module} ({short_name(node.name)})" if module else short_name(node.name)
    return ""


def _is_sampled(model: Model, node: Node) -> bool:
    """Whether the node gives the result of a layer: what merely adds or moves may cancel, and means nothing alone."""
    tensor_type = model.type_of(node.name)
    of_layer = role(node) in _LAYERS or kernel(node) is Kernel.CONVOLUTION
    return (
        of_layer
        and tensor_type is not None
        and tensor_type.dtype.is_float
        and tensor_type.is_static
        and tensor_type.size > 0
    )
