"""Casts that change nothing: to the type that is there, and back to a type that the one between holds all of.

float16 to float32 and back is exact; float32 to float16 and back rounds, and stays.
"""

from __future__ import annotations

from attnfuse.api import DType, Hands, RewriteContext, effective_uses, hands, source
from attnfuse_passes.simplify.rules import Again, Simpler, Step, simplifies

_MOVES = frozenset({Hands.REGROUPED, Hands.MOVED, Hands.REPEATED, Hands.PICKED})
"""What moves numbers about and does nothing else with them: it gives the same before a cast as behind it."""
_FRACTIONS = {"float16": (11, 5), "bfloat16": (8, 8), "float32": (24, 8), "float64": (53, 11)}
"""Digits of the significand, the leading one with them, and bits of the exponent."""
_WHOLE = {
    **{f"int{bits}": (bits - 1, True) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (bits, False) for bits in (8, 16, 32, 64)},
}
"""Digits of the largest number, and whether there are negative ones."""


@simplifies("Cast")
def to_what_it_is(at: RewriteContext) -> Simpler | None:
    """To the type that is there."""
    if at.type(0).dtype is not at.out.dtype:
        return None
    return Simpler("a cast to the same type", at.input(0))


@simplifies("Cast")
def back(at: RewriteContext) -> Simpler | None:
    """Back to the type that another cast came from, with nothing between but nodes that move numbers.

    These are made anew of the narrow type. They are then read by nobody else: a second copy would save nothing.
    """
    value, between = at.input(0), list[Step]()
    through = [value]
    while (node := at.model.producer(value)) is not None and hands(node) in _MOVES and at.out.dtype.is_float:
        kinds = at.model.type_of(node.inputs[0]), at.model.type_of(value)
        alone = len(effective_uses(at.model, value)) == 1
        if None in kinds or not alone or source(node, _MOVES) != node.inputs[0]:
            return None
        between.append(Again(node))
        value = node.inputs[0]
        through.append(value)
    if node is None or hands(node) is not Hands.CONVERTED:
        return None
    narrow, wide = at.tensor(node.inputs[0], "what is cast"), at.tensor(value, "the cast")
    if narrow.dtype is not at.out.dtype or not holds(wide.dtype, narrow.dtype):
        return None
    return Simpler("a cast there and back", node.inputs[0], tuple(reversed(between)), tuple(through))


def holds(wide: DType, narrow: DType) -> bool:
    """Whether the one type has every number of the other."""
    if wide is narrow or narrow.name == "bool":
        return True
    if wide.name in _FRACTIONS and narrow.name in _FRACTIONS:
        pairs = zip(_FRACTIONS[narrow.name], _FRACTIONS[wide.name], strict=True)
        return all(few <= many for few, many in pairs)
    if narrow.name not in _WHOLE:
        return False
    digits, signed = _WHOLE[narrow.name]
    if wide.name in _FRACTIONS:
        return digits <= _FRACTIONS[wide.name][0]
    return wide.name in _WHOLE and digits <= _WHOLE[wide.name][0] and signed <= _WHOLE[wide.name][1]
