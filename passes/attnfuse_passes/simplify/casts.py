"""Casts that change nothing: to the type that is there, and back to a type that the one between holds all of.

float16 to float32 and back is exact; float32 to float16 and back rounds, and stays. A cast to fewer bytes goes before
what joins elementwise results: these are then written, joined and read in the smaller type.
"""

from __future__ import annotations

from dataclasses import dataclass

from attnfuse.api import (
    CALL,
    CONSTANT,
    Builder,
    DType,
    Hands,
    Kernel,
    Node,
    RewriteContext,
    dtypes,
    effective_uses,
    hands,
    kernel,
    makes_tuple,
    source,
)
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
    moved = _moved(at, at.input(0)) if at.out.dtype.is_float else _Moved(at.input(0))
    node = None if moved is None else at.model.producer(moved.value)
    if moved is None or node is None or hands(node) is not Hands.CONVERTED:
        return None
    narrow, wide = at.tensor(node.inputs[0], "what is cast"), at.tensor(moved.value, "the cast")
    if narrow.dtype is not at.out.dtype or not holds(wide.dtype, narrow.dtype):
        return None
    return Simpler("a cast there and back", node.inputs[0], moved.steps, (*moved.through, moved.value))


@simplifies("Cast")
def before_joining(at: RewriteContext) -> Simpler | None:
    """Of float32 to two bytes, of what elementwise operations made and nothing but this cast reads, put together.

    Each part is cast instead, in the kernel that makes it: the same numbers are rounded the same way. Chains of float64
    and of whole numbers other rules look at as a whole.
    """
    if at.type(0).dtype is not dtypes.FLOAT32 or not at.out.dtype.is_low_precision:
        return None
    moved = _moved(at, at.input(0))
    join = None if moved is None else at.model.producer(moved.value)
    if moved is None or join is None or hands(join) is not Hands.JOINED or not _is_alone(at, moved.value):
        return None
    tuple_ = at.model.producer(join.inputs[0])
    if tuple_ is None or not makes_tuple(tuple_) or not _is_alone(at, tuple_.name):
        return None
    parts = tuple(tuple_.inputs)
    if not all(_is_elementwise(at, part) and _is_alone(at, part) for part in parts):
        return None
    steps: tuple[Step, ...] = (_CastParts(at.node, parts), Again(join), *moved.steps)
    through = (*moved.through, moved.value, *parts)
    return Simpler("a cast of what is joined", tuple_.name, steps, through)


@dataclass(frozen=True, slots=True)
class _CastParts:
    """A tuple of what `cast` makes of each part."""

    cast: Node
    parts: tuple[str, ...]

    def write(self, build: Builder, value: str) -> str:
        arguments = self.cast.inputs[1:]
        return build.op("MakeTuple", *(build.again(self.cast.name, (part, *arguments)) for part in self.parts))


@dataclass(frozen=True, slots=True)
class _Moved:
    """A value, and the steps that move its numbers to where a node reads them; `through` is what they make."""

    value: str
    steps: tuple[Step, ...] = ()
    through: tuple[str, ...] = ()


def _moved(at: RewriteContext, value: str) -> _Moved | None:
    """What stands before the nodes that move numbers; None where one of these is read by others as well."""
    steps, through = list[Step](), list[str]()
    while (node := at.model.producer(value)) is not None and hands(node) in _MOVES:
        types = at.model.type_of(node.inputs[0]), at.model.type_of(value)
        if None in types or not _is_alone(at, value) or source(node, _MOVES) != node.inputs[0]:
            return None
        steps.append(Again(node))
        through.append(value)
        value = node.inputs[0]
    return _Moved(value, tuple(reversed(steps)), tuple(through))


def _is_alone(at: RewriteContext, value: str) -> bool:
    return len(effective_uses(at.model, value)) == 1


def _is_elementwise(at: RewriteContext, value: str) -> bool:
    node = at.model.producer(value)
    return node is not None and node.op not in (CALL, CONSTANT) and kernel(node) is Kernel.ELEMENTWISE


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
