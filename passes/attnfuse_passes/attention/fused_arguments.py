"""The arguments of a fused node of the source, by meaning, and the node whose output is its attention."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from attnfuse.api import MatchFailure, Model, Node, NotALiteralError, inputs_of, takes_element
from attnfuse_passes.attention.lower import FUSED_OPERATORS
from attnfuse_passes.attention.lower.fused import ALL_TOKENS, MENDS_ROWS, FusedOperator
from attnfuse_passes.attention.mask_values import ConstantFolder
from attnfuse_passes.attention.normal_form import Band

CODE = "structure.fused_arguments"
TRIANGLE = 2048
"""Rows and columns of the mask that sparse_mode 2, 3 and 4 want, whatever the lengths."""
_DEFAULT, _ALL, _UPPER_LEFT, _LOWER_RIGHT, _BAND = range(5)
"""sparse_mode: the mask within pre_tokens and next_tokens of the diagonal, the mask alone, causal from the upper left
and from the lower right corner, and pre_tokens and next_tokens of the diagonal to the lower right corner."""


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

    @property
    def has_triangle(self) -> bool:
        """Whether what is given as the mask only says that the mode is computed with the triangle."""
        return self.sparse_mode in (_UPPER_LEFT, _LOWER_RIGHT, _BAND)


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
    """Raise MatchFailure unless the node is softmax(mask(scale · QKᵀ + bias)) V, the bias scaled or not, no more.

    What its sparse_mode discards is asked of `band_of`.
    """
    at = found.node.name
    if found.further:
        raise MatchFailure(CODE, at, f"no {found.further[0]}", "one")
    if found.keep_prob != 1.0:
        raise MatchFailure(CODE, at, "no dropout", f"keep_prob {found.keep_prob}")
    if (found.mask is not None or found.bias is not None) and found.inner_precise & MENDS_ROWS:
        raise MatchFailure(CODE, at, "rows without a key left as they come", f"inner_precise {found.inner_precise}")


def band_of(found: FusedArguments, query_length: int, key_length: int, known: ConstantFolder) -> Band | None:
    """The keys that the node's sparse_mode discards beside its mask; None where it discards none.

    In modes 2, 3 and 4 what is given as the mask says nothing more, and has to be the triangle that they are computed
    with. Raises MatchFailure where it is not known to be that, where a mask is missing, and where what is discarded
    depends on lengths that are not known before run time. `known` knows the values of weights too.

    Source: CANN's documentation of aclnnFlashAttentionScore and aclnnPromptFlashAttention.
    """
    at, mode, mask = found.node.name, found.sparse_mode, found.mask
    if mode not in range(5):
        raise MatchFailure(CODE, at, "a sparse_mode of 0 to 4", str(mode))
    if mode and mask is None:
        raise MatchFailure(CODE, at, f"a mask with sparse_mode {mode}", "none")
    if mode == _ALL or mask is None or (mode == _DEFAULT and min(found.pre_tokens, found.next_tokens) >= ALL_TOKENS):
        return None
    if mode != _DEFAULT:
        _check_triangle(found, mask, known)
    if min(query_length, key_length) < 0:
        raise MatchFailure("facts.dynamic_mask", at, f"known lengths with sparse_mode {mode}", "unknown ones")
    corner = key_length - query_length
    band = {
        _DEFAULT: Band(found.pre_tokens, found.next_tokens),
        _UPPER_LEFT: Band(ALL_TOKENS, 0),
        _LOWER_RIGHT: Band(ALL_TOKENS, corner),
        _BAND: Band(found.pre_tokens - corner, found.next_tokens + corner),
    }[mode]
    if query_length * key_length > known.largest:
        expected = f"at most {known.largest} scores with sparse_mode {mode}"
        raise MatchFailure(CODE, at, expected, f"{query_length} × {key_length}")
    discarded = band.discarded(query_length, key_length)
    if bool(discarded.all(-1).any()):
        raise MatchFailure("facts.fully_masked_rows", at, "a key for each query", f"a query with none in {band}")
    own = known.value(mask) if mode == _DEFAULT else None
    is_told = own is not None and bool(((own != 0) | ~discarded).all())  # the mask discards as much
    return band if discarded.any() and not is_told else None


def _check_triangle(found: FusedArguments, mask: str, known: ConstantFolder) -> None:
    value = known.value(mask)
    expected = f"with sparse_mode {found.sparse_mode}, a mask of 1 above the diagonal of {TRIANGLE} × {TRIANGLE}"
    if value is None:
        raise MatchFailure(CODE, found.node.name, expected, "one that is not known")
    if value.shape[-2:] != (TRIANGLE, TRIANGLE) or value.size != TRIANGLE**2:
        raise MatchFailure(CODE, found.node.name, expected, f"one of {list(value.shape)}")
    if not np.array_equal(value.reshape(TRIANGLE, TRIANGLE) != 0, np.triu(np.ones((TRIANGLE, TRIANGLE), np.bool_), 1)):
        raise MatchFailure(CODE, found.node.name, expected, "another")


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
