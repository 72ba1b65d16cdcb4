"""Sums that a fused norm gives out, called in the fused graph as in the original.

Both graphs are cut at values that they call alike. A rewrite keeps the names of what it recomputes, but not of the sum
that an AddLayerNorm hands on beside its norm: the original's may stand behind a quotient by 1, which is gone. In a
transformer that is the residual, and without it each value would be cut out with all blocks before it, so that the work
grows with the square of their number.

A name is a claim like any other: a value that both graphs have, made in different ways, is compared by itself. Where
both summands are the original's it is no guess. Where only one is, as behind a layer whose own result has no name any
longer, whoever cuts there holds the claim to numbers first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attnfuse.ir.graph import Model
from attnfuse.ir.questions import takes_element
from attnfuse.mindir.schema import ModelProto
from attnfuse.verify.graph.known import number_of

_SUM = 3
"""Which of AddLayerNorm's results is the sum (CANN's documentation of the operator)."""
_BY_A_NUMBER = ("Mul", "Muls", "Div", "Divs", "RealDiv")


@dataclass(frozen=True, slots=True)
class Named:
    """The fused graph with those names, and which of them, as the original has them, are guesses."""

    model: Model
    guesses: frozenset[str]


def with_named_sums(original: Model, fused: Model) -> Named:
    """The fused graph with those names; itself where there are none to give.

    A sum has the original's name where that graph has exactly one sum of the same two values, of the same type; or of
    one of them, where the original does not have the other.
    """
    known = _sums(original)
    called: dict[str, str] = {}
    guesses: set[str] = set()
    outputs = {output.name for output in fused.proto.graph.output}
    for node in fused.nodes:
        if node.op != "AddLayerNorm":
            continue
        plain = (_plain(fused, value) for value in node.inputs[:2])
        summands = frozenset(name for value in plain if _has(original, name := called.get(value, value)))
        names = [name for name, added in known if summands and summands <= added]
        for use in fused.uses(node.name):
            made = use.node
            if made is None or not takes_element(made) or _number(fused, made.inputs[1]) != _SUM:
                continue
            fits = len(names) == 1 and original.type_of(names[0]) == fused.type_of(made.name)
            if fits and not _has(fused, names[0]) and made.name not in outputs and names[0] not in called.values():
                called[made.name] = names[0]
                if len(summands) == 1:
                    guesses.add(names[0])
    return Named(_renamed(fused, called) if called else fused, frozenset(guesses))


def _sums(model: Model) -> list[tuple[str, frozenset[str]]]:
    """The sums of a graph with what is added."""
    return [
        (node.name, frozenset(_plain(model, value) for value in node.inputs[:2]))
        for node in model.nodes
        if node.op == "Add" or (node.op == "AddExt" and _number(model, node.inputs[2]) == 1.0)
    ]


def _plain(model: Model, value: str) -> str:
    """What is read through products with 1 and quotients by 1."""
    node = model.producer(value)
    while node is not None and node.op in _BY_A_NUMBER and _number(model, node.inputs[1]) == 1.0:
        if model.type_of(node.inputs[0]) != model.type_of(value):
            break
        value = node.inputs[0]
        node = model.producer(value)
    return value


def _number(model: Model, value: str) -> float | None:
    return number_of(model.literal(value)) if model.is_literal(value) else None


def _has(model: Model, value: str) -> bool:
    return model.producer(value) is not None or model.is_input(value) or model.is_parameter(value)


def _renamed(model: Model, called: Mapping[str, str]) -> Model:
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    for graph in (proto.graph, *proto.functions):
        for node in graph.node:
            for names in (node.input, node.output):
                for position, name in enumerate(names):
                    if name in called:
                        names[position] = called[name]
            node.name = called.get(node.name, node.name)
    return Model(proto)
