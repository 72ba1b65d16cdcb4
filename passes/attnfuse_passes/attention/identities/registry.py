"""The registry of identities: small algebraic identities, found by the operator they are about.

To teach attnfuse a spelling, write one function in one file of this folder:

    @identity("scale.muls", ops=("Muls",), identity="(c·x)·y = c·(x·y)",
            examples=("Muls(x: float32[2, 3], 0.5)",),
            counter_examples=("Muls(x: float32[2, 3], c: float32[2, 3])",))
    def muls(model, node): ...

It returns the value to go on at and the effect, or None where the identity does not hold. Where an identity is allowed
(on query/key/value, on the scores, on the weights) follows from its effect, see `ALLOWED`. The tests collect every
identity's examples: each is evaluated against its effect in float64, and each counter-example must be refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import chain

from attnfuse.api import Extension, Model
from attnfuse_passes.attention.identities.steps import (
    AddTerm,
    AtLeast,
    Convert,
    DivideBySum,
    FillWhere,
    IdentityRule,
    Layout,
    NanToZero,
    Ordered,
    Same,
    Scale,
    ScaleBy,
    ShiftRows,
    Step,
    SubtractLogSum,
    is_effect,
)


class SitePart(Enum):
    """Where in softmax(scale · QKᵀ + bias) V a value stands."""

    OPERAND = "query or key"
    VALUE = "value"
    SCORES = "scores"
    WEIGHTS = "attention weights"
    RESULT = "product with value"


# softmax is not linear, so a factor or a term may be moved past Q·Kᵀ but never past the softmax; a value that is not
# a number can only come from a fully masked row, so replacing it is a statement about the weights. A softmax does not
# see what is subtracted from a whole row; and rows may be divided by their sum before the product with value or behind.
ALLOWED: dict[SitePart, tuple[type, ...]] = {
    SitePart.OPERAND: (Same, Scale, Convert, Layout),
    SitePart.VALUE: (Same, Convert, Layout),
    SitePart.SCORES: (
        Same,
        Ordered,
        Scale,
        ScaleBy,
        AtLeast,
        Convert,
        Layout,
        AddTerm,
        FillWhere,
        ShiftRows,
        SubtractLogSum,
    ),
    SitePart.WEIGHTS: (Same, Ordered, Convert, Layout, NanToZero, DivideBySum),
    SitePart.RESULT: (Same, Convert, DivideBySum),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """One identity. The examples are programs, see `attnfuse.ir.text.program`: each is about its last node."""

    name: str
    ops: tuple[str, ...]
    identity: str
    examples: tuple[str, ...]
    counter_examples: tuple[str, ...]
    rule: IdentityRule


_BY_OP: dict[str, list[Identity]] = {}


_PLUGGED: dict[str, list[tuple[Identity, Extension]]] = {}
"""Those of plugins, with what brings them."""


def identity(
    name: str,
    *,
    ops: tuple[str, ...],
    identity: str,
    examples: tuple[str, ...],
    counter_examples: tuple[str, ...] = (),
) -> Callable[[IdentityRule], IdentityRule]:
    """Register a rule under the operators it is about."""

    def register(rule: IdentityRule) -> IdentityRule:
        entry = Identity(name, ops, identity, examples, counter_examples, rule)
        for op in ops:
            _BY_OP.setdefault(op, []).append(entry)
        return rule

    return register


def extend(extensions: Iterable[Extension]) -> None:
    """Read by these identities of plugins too, after our own, and by no others that were added before.

    Raises PluginError for what is no identity, and for a name that another has.
    """
    _PLUGGED.clear()
    taken = {entry.name for entry in all_identities()}
    for extension in extensions:
        entry = extension.value
        if not isinstance(entry, Identity):
            raise extension.refused("is no Identity of attnfuse_passes.api")
        if entry.name != extension.name:
            raise extension.refused(f"calls itself {entry.name!r}")
        if entry.name in taken:
            raise extension.refused("has the name of one that attnfuse has itself")
        for op in entry.ops:
            _PLUGGED.setdefault(op, []).append((entry, extension))


def all_identities() -> tuple[Identity, ...]:
    """Every identity of our own, once each, by name."""
    return tuple(sorted({p.name: p for entries in _BY_OP.values() for p in entries}.values(), key=lambda p: p.name))


MOVES = ("cast", "pass", "layout", "repeat")
"""The families of identities that hand numbers on, rounded or elsewhere."""


def read_back(model: Model, value: str, place: SitePart, families: tuple[str, ...] = ()) -> Step | None:
    """The first identity that applies to the node making `value`, at that place; of these families, if any are named.

    An identity that reads back itself names them, or chains of its operators would be read again and again.
    """
    node = model.producer(value)
    if node is None:
        return None
    ours = ((entry, None) for entry in _BY_OP.get(node.op, ()))
    for entry, extension in chain(ours, _PLUGGED.get(node.op, ())):
        if families and entry.name.partition(".")[0] not in families:
            continue
        found = entry.rule(model, node)
        if found is not None and extension is not None:
            _check_found(model, found, extension)
        if found is not None and isinstance(found[1], ALLOWED[place]):
            return Step(node, found[0], found[1], f"{entry.name}: {entry.identity}")
    return None


def _check_found(model: Model, found: object, extension: Extension) -> None:
    """Raise PluginError where what a plugin's identity says is no value of the graph with an effect."""
    if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], str) and is_effect(found[1])):
        raise extension.refused(f"gave {found!r}, which is not a value and an effect of attnfuse_passes.api")
    name = found[0]
    if model.producer(name) is None and not (model.is_input(name) or model.is_parameter(name)):
        raise extension.refused(f"goes on at {name!r}, which is no value of the graph")
