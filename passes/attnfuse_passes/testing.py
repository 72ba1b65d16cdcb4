"""For the tests of identities that plugins bring.

Numbers need the verify extra; pytest is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from attnfuse.testing import node_of, numbers_of
from attnfuse_passes.attention.axes import Space
from attnfuse_passes.attention.identities.registry import Identity
from attnfuse_passes.attention.identities.steps import (
    AddTerm,
    AtLeast,
    Convert,
    DivideBySum,
    Effect,
    FillWhere,
    Layout,
    NanToZero,
    Ordered,
    Same,
    Scale,
    ScaleBy,
    ShiftRows,
    SubtractLogSum,
)

Array = npt.NDArray[Any]


def check_identity(identity: Identity) -> None:
    """The examples of an identity: what it says of each is what the operator computes, and no counter-example is read.

    Raises AssertionError that says which is not so, and for an identity without examples of both kinds or of each of
    its operators; TextError for what is no text of a node; VerificationError for an operator whose numbers are not
    known.
    """
    for what, texts in (("example", identity.examples), ("counter-example", identity.counter_examples)):
        _hold(bool(texts), f"{identity.name} has no {what}")
    shown = {node_of(text)[1].op for text in identity.examples}
    missing = sorted(set(identity.ops) - shown)
    _hold(not missing, f"{identity.name} has no example of {', '.join(missing)}")
    for text in identity.examples:
        _check_example(identity, text)
    for text in identity.counter_examples:
        model, node = node_of(text)
        _hold(node.op in identity.ops, f"{identity.name}: {text!r} is of an operator that it is not about")
        _hold(identity.rule(model, node) is None, f"{identity.name} reads its counter-example {text!r}")


def _hold(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def _check_example(identity: Identity, text: str) -> None:
    model, node = node_of(text)
    found = identity.rule(model, node)
    if found is None:
        raise AssertionError(f"{identity.name} does not read its example {text!r}")
    value, effect = found
    others = {AddTerm: "term", FillWhere: "condition", ScaleBy: "value", ShiftRows: "by", DivideBySum: "of"}
    named = [getattr(effect, field) for kind, field in others.items() if isinstance(effect, kind)]
    output, x, *rest = numbers_of(model, [node.name, value, *named])
    expected = applied(effect, x, dict(zip(named, rest, strict=True)))
    what = f"{identity.name}: {text!r} is not what {effect} says"
    _hold(output.shape == expected.shape, what)
    np.testing.assert_allclose(output, expected, rtol=1e-12, atol=0, err_msg=what)


def applied(effect: Effect, x: Array, values: Mapping[str, Array]) -> Array:
    """What the effect says the node makes of its input `x`; `values` are those of other values it names."""
    match effect:
        case Same() | Ordered() | Convert():
            return x
        case Scale(factor):
            return np.asarray(factor * x)
        case ScaleBy(value, divides):
            return np.asarray(x / values[value] if divides else x * values[value])
        case AtLeast(low):
            return np.maximum(x, low)
        case AddTerm(term, factor):
            return np.asarray(x + factor * values[term])
        case FillWhere(condition, when, fill):
            return np.where(values[condition] == when, fill, x)
        case NanToZero():
            return np.where(np.isnan(x), 0.0, x)
        case ShiftRows(by):
            return np.asarray(x - values[by])
        case SubtractLogSum(axis, c):
            return np.asarray(x - np.log(np.exp(c * x).sum(axis=axis, keepdims=True)) / c)
        case DivideBySum(of, axes, _, epsilon, floor):
            return np.asarray(x / np.maximum(values[of].sum(axis=axes, keepdims=True) + epsilon, floor))
        case Layout(apply):
            space = Space()
            space.identity("x", x.shape)
            _hold(apply(space, "x"), "its layout cannot be expressed")
            return space["x"].apply(x)
