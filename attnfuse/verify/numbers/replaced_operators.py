"""Numbers of replaced operators, one value at a time: other operators that must be the same function.

Both parts are run in float64 on drawn operands, weights drawn too, once for all that compute the same; nothing is run
where that would be node by node one graph (`same_nodes`). The whole graph alone would not do: there a small mistake, an
epsilon of another size, is within what rounding costs. What the file itself rounds is allowed: a number that an
operator takes as it is may have become a constant of the tensor's own type. BOUND is for float32 constants, sixteen
roundings of them; 16-bit ones are allowed a unit in their last place, of types that the original itself computes in
there: a constant of a coarser type than the source's is a mistake, no rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from attnfuse.errors import VerificationError
from attnfuse.ir.graph import CONSTANT, Model, short_name
from attnfuse.mindir import dtypes
from attnfuse.names import counted
from attnfuse.verify import watch
from attnfuse.verify.graph.sites import Cut, ReplacedOperator
from attnfuse.verify.lowering import Arithmetic, UnsupportedOpError, lower
from attnfuse.verify.numbers.comparison import Side, relative_error
from attnfuse.verify.numbers.inputs import draw_inputs
from attnfuse.verify.numbers.same_nodes import are_same
from attnfuse.verify.numbers.site_numbers import key_of
from attnfuse.verify.numbers.work import cost, work

BOUND = 16 * 2.0**-24


def compare_replaced(
    original: Side,
    fused: Side,
    parts: Sequence[tuple[ReplacedOperator, Cut]],
    seed: int,
    known: Mapping[bytes, str | None] = MappingProxyType({}),
) -> tuple[list[str], list[str]]:
    """Findings and notes. An operator without a lowering, in either part, is a finding: nothing was shown of it.

    What is `known` (`difference`) of parts, by what they compute (`key_of`), is not run again.
    """
    checked = dict(known)
    findings = []
    for replaced, part in parts:
        key = key_of(part)
        if key not in checked:
            sides = Side(part.original, original.weights), Side(part.fused, fused.weights)
            checked[key] = difference(*sides, seed)
        if (differs := checked[key]) is not None:
            name = f"{replaced.op} {short_name(replaced.value)}"
            findings.append(f"{name} was replaced, and its replacement {differs}.")
    notes = [f"{counted(len(parts), 'replaced operator')} checked ({len(checked)} distinct)"] if parts else []
    return findings, notes


def difference(original: Side, fused: Side, seed: int) -> str | None:
    """In what two parts differ on operands that are drawn; None where they are the same function."""
    try:
        if _are_same(original, fused):
            watch.did(cost(Arithmetic.EXACT) * (work(original.model) + work(fused.model)))
            return None
    except (UnsupportedOpError, VerificationError) as error:
        return f"cannot be run: {error}"
    values = draw_inputs(original.model, seed)
    try:
        exact = original.run(Arithmetic.EXACT, values)
        result = fused.run(Arithmetic.EXACT, values)
    except (UnsupportedOpError, VerificationError) as error:
        return f"cannot be run: {error}"
    if [r.shape for r in result] != [e.shape for e in exact]:
        return f"gives {[list(r.shape) for r in result]} instead of {[list(e.shape) for e in exact]}"
    bound = BOUND + _rounding(original.model, fused.model)
    for e, r in zip(exact, result, strict=True):
        defined = np.isfinite(e.astype(np.float64))
        if defined.size and not defined.any():
            return "could not be compared: the original gives no number on what was drawn"
        off = relative_error(r, e.astype(np.float64), defined)
        if not off <= bound:
            return f"differs in float64 by {off:.2e} (relative) on drawn operands, more than {bound:.2e}"
    return None


def _are_same(original: Side, fused: Side) -> bool:
    """Whether what would be run is one graph. Raises UnsupportedOpError where one of the two has no lowering."""
    before, after = (lower(side.model, Arithmetic.EXACT) for side in (original, fused))
    return are_same(before, after, (original.weights, fused.weights))


def _rounding(original: Model, fused: Model) -> float:
    """A unit of the last place of the coarsest 16-bit constant that only the fused part has."""
    own = {
        tensor_type.dtype.name for node in original.nodes if (tensor_type := original.type_of(node.name)) is not None
    }
    before = {array.tobytes() for _, array in _constants(original)}
    fresh = [name for name, array in _constants(fused) if name in own and array.tobytes() not in before]
    return max((2 * dtypes.from_name(name).unit_roundoff for name in fresh), default=0.0)


def _constants(model: Model) -> list[tuple[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]]:
    """Constant arrays of 16-bit floating-point types, with the type's name."""
    found = []
    for node in model.nodes:
        value = model.literal(node.name) if node.op == CONSTANT and model.is_literal(node.name) else None
        if isinstance(value, np.ndarray):
            kind = next((d for d in dtypes.ALL if d.numpy == value.dtype), None)
            if kind is not None and kind.is_low_precision:
                found.append((kind.name, value))
    return found
