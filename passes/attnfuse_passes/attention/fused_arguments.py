"""The arguments of a fused node of the source, by meaning, and the node whose output is its attention."""

from __future__ import annotations

import math
from dataclasses import dataclass

from attnfuse.api import MatchFailure, Model, Node, NotALiteralError, inputs_of, takes_element
from attnfuse_passes.attention.lower import FUSED_OPERATORS
from attnfuse_passes.attention.lower.fused import ALL_TOKENS, MENDS_ROWS, FusedOperator

CODE = "structure.fused_arguments"


@dataclass(frozen=True, slots=True)
class FusedArguments:
    """What a fused node is given. `further` names the operands that it has beside these.

    `mask` is not 0 where a key is discarded. `bias` is added to the scores, before they are scaled where the operator
    does that, else after. `layout` is MindSpore's number for it.
    """

    node: Node
    operator: FusedOperator
    bias: str | None
    mask: str | None
    further: tuple[str, ...]
    heads: int
    kv_heads: int | None
    keep_prob: float
    scale: float
    layout: int
    sparse_mode: int
    inner_precise: int
    pre_tokens: int
    next_tokens: int


def read_arguments(model: Model, node: Node) -> FusedArguments:
    """The arguments. Raises MatchFailure where one is not as MindSpore writes it."""
    operator, parameters = FUSED_OPERATORS.get(node.op), inputs_of(node.op)
    if operator is None:
        raise MatchFailure(CODE, node.name, f"one of {', '.join(FUSED_OPERATORS)}", node.op)
    if len(node.inputs) != len(parameters):
        raise MatchFailure(CODE, node.name, f"{node.op} of {len(parameters)} arguments", str(len(node.inputs)))
    arguments = {parameter.name: value for parameter, value in zip(parameters, node.inputs, strict=True)}

    def present(name: str) -> bool:
        try:
            return model.literal(arguments[name]) is not None
        except NotALiteralError:
            return True

    def number(name: str) -> float:
        try:
            literal = model.literal(arguments[name])
        except NotALiteralError:
            literal = None
        if not isinstance(literal, int | float):
            raise MatchFailure(CODE, node.name, f"a literal {name}", "a computed one")
        if not math.isfinite(literal):
            raise MatchFailure(CODE, node.name, f"a finite {name}", str(literal))
        return literal

    heads = int(number(operator.heads))
    if heads < 1:
        raise MatchFailure(CODE, node.name, "at least one head", str(heads))
    further = (p.name for p in parameters if p.optional and p.name not in (operator.mask, operator.bias))
    return FusedArguments(
        node,
        operator,
        bias=arguments[operator.bias] if present(operator.bias) else None,
        mask=arguments[operator.mask] if present(operator.mask) else None,
        further=tuple(name for name in further if present(name)),
        heads=heads,
        kv_heads=None if operator.kv_heads is None else int(number(operator.kv_heads)) or heads,
        keep_prob=number("keep_prob") if "keep_prob" in arguments else 1.0,
        scale=float(number("scale_value")),
        pre_tokens=int(number("pre_tokens")),
        next_tokens=int(number("next_tokens")),
        layout=int(number("input_layout")),
        sparse_mode=int(number("sparse_mode")),
        inner_precise=int(number("inner_precise")),
    )


def literal_scale(model: Model, node: Node) -> float | None:
    """The scale that the node is given, whatever else of it can be read; None where it is no literal number."""
    names = [parameter.name for parameter in inputs_of(node.op)]
    try:
        literal = model.literal(node.inputs[names.index("scale_value")])
    except (NotALiteralError, IndexError, ValueError):
        return None
    return literal if isinstance(literal, float) else None


def check_plain(found: FusedArguments) -> None:
    """Raise MatchFailure unless the node is softmax(mask(scale · QKᵀ + bias)) V, the bias scaled or not, no more."""
    at = found.node.name
    if found.further:
        raise MatchFailure(CODE, at, f"no {found.further[0]}", "one")
    if found.keep_prob != 1.0:
        raise MatchFailure(CODE, at, "no dropout", f"keep_prob {found.keep_prob}")
    if found.sparse_mode != 0 or min(found.pre_tokens, found.next_tokens) < ALL_TOKENS:
        raise MatchFailure(CODE, at, "sparse_mode 0 over all tokens", f"{found.sparse_mode}")
    if (found.mask is not None or found.bias is not None) and found.inner_precise & MENDS_ROWS:
        raise MatchFailure(CODE, at, "rows without a key left as they come", f"inner_precise {found.inner_precise}")


def only_output(model: Model, node: Node) -> Node:
    """The node whose output is the attention: of an operator that makes a tuple, the reader of that element.

    Raises MatchFailure where another is read.
    """
    operator = FUSED_OPERATORS.get(node.op)
    element = None if operator is None else operator.element
    if element is None:
        return node
    readers = [use.node for use in model.uses(node.name)]
    reader = readers[0] if len(readers) == 1 else None
    if reader is None or not takes_element(reader) or not _is_index(model, reader.inputs[1], element):
        expected = f"one reader, of output {element}"
        raise MatchFailure("structure.outputs", node.name, expected, f"{len(readers)} readers")
    return reader


def _is_index(model: Model, value: str, index: int) -> bool:
    return model.is_literal(value) and model.literal(value) == index
