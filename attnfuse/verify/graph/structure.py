"""Rules on the written graph that need nothing but the graph: what MindSpore's inference lets pass, and more.

`check_structure` looks at every fused node and at the plain operators a rewrite puts around one; `check_interface`
at what the outside sees. Findings are sentences; an empty list means nothing is wrong. The limits are those that the
documentation of the two operators states for every product; those of one product are data in `attnfuse.targets`.

May import `attnfuse.ir.graph` and the fused-node reader.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from attnfuse.ir.graph import CALL, CONSTANT, Model, Node, NotALiteralError, short_name, tensor_type
from attnfuse.ir.questions import keeps_order, makes_tuple, orders_effects, takes_element
from attnfuse.ir.types import TensorType, agree, declared_kind
from attnfuse.ir.values import input_kind
from attnfuse.mindir import dtypes
from attnfuse.mindir.external import parameter_name
from attnfuse.mindir.schema import AttributeProto, TensorProto, ValueInfoProto
from attnfuse.verify.graph.fused_nodes import (
    ATTENTION_OUT,
    COMPRESSED_MASK,
    FLASH_ATTENTION_SCORE,
    FUSED_OPS,
    PROMPT_FLASH_ATTENTION,
    FusedAttention,
    MalformedError,
    Sizes,
    output_type,
    read,
    sizes,
)
from attnfuse.verify.names import leaf_name

MAX_HEAD_DIM = 512
_COMPRESSED_MODES = (2, 3, 4)
_MASK_DTYPES = {
    FLASH_ATTENTION_SCORE: ("bool", "uint8"),
    PROMPT_FLASH_ATTENTION: ("bool", "int8", "uint8"),
}


def check_structure(model: Model) -> list[str]:
    """Everything wrong with the fused nodes of the file, and with the declared types around them."""
    return _findings(model, lambda node: node.op in FUSED_OPS or node.op in _PLAIN)


def check_fused_nodes(model: Model) -> list[str]:
    """Everything wrong with the fused nodes of the file; the types of other nodes are held to the operator table."""
    return _findings(model, lambda node: node.op in FUSED_OPS)


def _findings(model: Model, wanted: Callable[[Node], bool]) -> list[str]:
    findings: list[str] = []
    for node in filter(wanted, model.nodes):
        found = _check_fused(model, node) if node.op in FUSED_OPS else _check_declared_type(model, node)
        findings += [f"{node.op} {short_name(node.name)} {problem}." for problem in found]
    return findings


def new_findings(original: Model, fused: Model) -> tuple[list[str], list[str]]:
    """Findings of `fused`, parted into those the rewrite brought and those `original` already had."""
    before = set(check_structure(original))
    found = check_structure(fused)
    return [f for f in found if f not in before], [f for f in found if f in before]


def check_interface(original: Model, fused: Model) -> list[str]:
    """Whether both files take the same inputs, give outputs of the same types, and hold the same weights.

    Weights are compared by name, shape, type and place; their values where both files embed them.
    """
    findings = []
    before, after = original.proto.graph, fused.proto.graph
    for what, left, right in (("input", before.input, after.input), ("output", before.output, after.output)):
        if len(left) != len(right):
            findings.append(f"the graph has {len(right)} {what}s, the original {len(left)}.")
            continue
        for a, b in zip(left, right, strict=True):
            # An output is called after the node that makes it, which a rewrite may change; nobody asks for it by name.
            if what == "input" and leaf_name(a.name) != leaf_name(b.name):
                findings.append(f"{what} {leaf_name(a.name)} is now called {leaf_name(b.name)}.")
            name = leaf_name(a.name)
            told_a, told_b = _declared(a), _declared(b)
            if told_a != told_b:
                findings.append(f"{what} {name} was {told_a} and is {told_b}.")
            made = fused.types_of(b.name)
            nested = isinstance(made, tuple) and None in made  # a result that is a tuple itself has no type there
            if made is not None and not nested and told_b != _told(made) and not _leaves_open(b, made):
                findings.append(f"{what} {name} is declared {told_b} and made as {_told(made)}.")
    return findings + _check_parameters(original, fused)


def _declared(value: ValueInfoProto) -> str:
    """Types of an input or output; several results are a tuple in `attr_info`."""
    if value.HasField("attr_info"):
        return _declared_tuple(value.attr_info)
    return ", ".join(_kind(t) for t in value.tensor)


def _leaves_open(value: ValueInfoProto, made: TensorType | tuple[TensorType | None, ...]) -> bool:
    """Whether the declared type differs only in sizes that it, or what is made, leaves to run time."""
    declared = declared_kind(value.attr_info) if value.HasField("attr_info") else input_kind(value)
    return declared is not None and agree(made, declared)


def _declared_tuple(proto: AttributeProto) -> str:
    """The types in a tuple, of which an element may be a tuple again (ControlNet gives a list and a tensor)."""
    elements = (_declared_tuple(e) if e.values else ", ".join(_kind(t) for t in e.tensors) for e in proto.values)
    return f"({', '.join(elements)})"


def _told(kind: TensorType | tuple[TensorType | None, ...]) -> str:
    return str(kind) if isinstance(kind, TensorType) else f"({', '.join(str(k) for k in kind)})"


def _kind(proto: TensorProto) -> str:
    return str(tensor_type(proto) or f"type {proto.data_type}")


def _check_parameters(original: Model, fused: Model) -> list[str]:
    findings = []
    before = {parameter_name(p): p for p in original.parameters()}
    after = {parameter_name(p): p for p in fused.parameters()}
    findings += [f"parameter {n} is gone." for n in before if n not in after]
    findings += [f"parameter {n} is new." for n in after if n not in before]
    for name, a in before.items():
        b = after.get(name)
        if b is None:
            continue
        if (a.data_type, list(a.dims)) != (b.data_type, list(b.dims)):
            findings.append(f"parameter {name} was {_kind(a)} and is {_kind(b)}.")
        elif a.raw_data and b.raw_data and a.raw_data != b.raw_data:
            findings.append(f"parameter {name} holds other values than in the original.")
    return findings


# --- fused nodes


def _check_fused(model: Model, node: Node) -> list[str]:
    try:
        fused = read(model, node)
        kinds = [model.type_of(v) for v in (fused.query, fused.key, fused.value)]
        query, key, value = (k for k in kinds if k is not None)
        of = sizes(fused, query, key, value)
    except MalformedError as error:
        return [str(error)]
    findings = []
    if not query.dtype.is_low_precision:
        findings.append(f"computes on {query.dtype}; the operator takes float16 and bfloat16")
    if not query.dtype == key.dtype == value.dtype:
        findings.append(f"mixes types: query {query.dtype}, key {key.dtype}, value {value.dtype}")
    if of.head_dim > MAX_HEAD_DIM or of.value_head_dim > MAX_HEAD_DIM:
        findings.append(f"has a head of {max(of.head_dim, of.value_head_dim)} elements, more than {MAX_HEAD_DIM}")
    aligned = of.head_dim % 16 == 0 and of.value_head_dim % 16 == 0
    if not aligned and (node.op == FLASH_ATTENTION_SCORE or query.dtype is dtypes.BFLOAT16):
        findings.append(f"has a head of {of.head_dim} elements, no multiple of 16")
    if node.op == PROMPT_FLASH_ATTENTION and of.head_dim != of.value_head_dim:
        findings.append(f"has a query head of {of.head_dim} and a value head of {of.value_head_dim} elements")
    if not math.isfinite(fused.scale) or fused.scale == 0.0:
        findings.append(f"has scale {fused.scale}")
    if fused.keep_prob != 1.0:
        findings.append(f"drops weights at random (keep_prob {fused.keep_prob})")
    findings += [f"is given a {name}, which attention without dropout or quantisation has not" for name in fused.unused]
    findings += _check_band(fused, of)
    findings += _check_mask(model, fused, of)
    findings += _check_bias(model, fused, of, query)
    findings += _check_result(model, node, output_type(fused, query, of))
    return findings


def _check_band(fused: FusedAttention, of: Sizes) -> list[str]:
    """Tokens outside [−pre, +next] of the diagonal are not computed: the band must hold every one."""
    if fused.sparse_mode in _COMPRESSED_MODES:
        return [] if fused.mask is not None else [f"has sparse_mode {fused.sparse_mode} and no mask"]
    if fused.sparse_mode not in (0, 1):
        return [f"has sparse_mode {fused.sparse_mode}; 0 to 4 are understood"]
    findings = []
    if fused.sparse_mode == 0 and fused.pre_tokens < of.query_length:
        findings.append(f"has pre_tokens {fused.pre_tokens}, which cuts off keys of {of.query_length} queries")
    if fused.sparse_mode == 0 and fused.next_tokens < of.key_length:
        findings.append(f"has next_tokens {fused.next_tokens}, which cuts off some of {of.key_length} keys")
    return findings


def _check_mask(model: Model, fused: FusedAttention, of: Sizes) -> list[str]:
    if fused.mask is None:
        return []
    mask = model.type_of(fused.mask)
    assert mask is not None  # read() takes nothing but tensors for operands
    findings = []
    if mask.dtype.name not in _MASK_DTYPES[fused.node.op]:
        findings.append(f"has a mask of {mask.dtype}; it takes {' or '.join(_MASK_DTYPES[fused.node.op])}")
    b, n, s, t = of.batch, of.heads, of.query_length, of.key_length
    if fused.sparse_mode in _COMPRESSED_MODES:
        accepted: tuple[tuple[int, ...], ...] = ((COMPRESSED_MASK, COMPRESSED_MASK),)
    elif fused.node.op == FLASH_ATTENTION_SCORE:
        accepted = ((b, n, s, t), (b, 1, s, t), (1, 1, s, t), (s, t))
    else:
        accepted = ((s, t), (1, s, t), (b, s, t), (b, 1, s, t), (1, 1, s, t))
    if mask.dims not in accepted:
        findings.append(f"has a mask of {list(mask.dims)}; it takes {' or '.join(str(list(a)) for a in accepted)}")
    return findings


def _check_bias(model: Model, fused: FusedAttention, of: Sizes, query: TensorType) -> list[str]:
    if fused.bias is None:
        return []
    bias = model.type_of(fused.bias)
    assert bias is not None  # read() takes nothing but tensors for operands
    findings = []
    if bias.dtype != query.dtype:
        findings.append(f"has a bias of {bias.dtype} to a query of {query.dtype}")
    tail = (of.heads, of.query_length, of.key_length)
    if bias.dims not in ((of.batch, *tail), (1, *tail)):
        findings.append(f"has a bias of {list(bias.dims)}; it takes [{of.batch} or 1, {', '.join(map(str, tail))}]")
    return findings


def _check_result(model: Model, node: Node, expected: TensorType) -> list[str]:
    findings = []
    declared = model.types_of(node.name)
    if node.op == PROMPT_FLASH_ATTENTION:
        if declared != expected:
            findings.append(f"is declared {declared} and gives {expected}")
        return findings
    if not isinstance(declared, tuple) or len(declared) != ATTENTION_OUT + 1:
        findings.append("is not declared as a tuple of four")
    elif declared[ATTENTION_OUT] != expected:
        findings.append(f"is declared {declared[ATTENTION_OUT]} and gives {expected}")
    for use in model.uses(node.name):
        user = use.node
        if user is None:
            findings.append("is an output of the graph as a tuple")
        elif takes_element(user) and use.position == 0:
            index = _literal(model, user.inputs[1])
            if index != ATTENTION_OUT:
                findings.append(f"is read at index {index}; the attention stands at index {ATTENTION_OUT}")
        elif not (orders_effects(user) or keeps_order(user) or makes_tuple(user)):
            findings.append(f"is used by {user.op} {short_name(user.name)} as a tuple")
    return findings


# --- declared types of plain operators

_PLAIN = (
    "Cast", "Reshape", "Transpose", "TransposeView", "ExpandDims", "TupleGetItem", "ConstantPadND", "PadV3",
    "StridedSlice", "BroadcastTo",
)  # fmt: skip


def _check_declared_type(model: Model, node: Node) -> list[str]:
    """MindSpore recomputes a stale `shape` attribute in silence, and other readers believe it."""
    if node.op in (CONSTANT, CALL) or node.op not in _PLAIN or not node.inputs:
        return []
    if takes_element(node):
        source, index = model.types_of(node.inputs[0]), _literal(model, node.inputs[1])
        if not isinstance(source, tuple) or not isinstance(index, int):
            return []
        if not -len(source) <= index < len(source):
            return [f"reads index {index} of {len(source)} elements"]
        expected = source[index]
    else:
        operand = model.type_of(node.inputs[0])
        if operand is None or not operand.is_static:
            return []
        try:
            expected = _infer(model, node, operand)
        except (ValueError, IndexError) as error:
            return [str(error)]
    declared = model.type_of(node.name)
    if expected is None or declared is None or declared == expected or not declared.is_static:
        return []
    return [f"is declared {declared} and gives {expected}"]


def _infer(model: Model, node: Node, operand: TensorType) -> TensorType | None:
    """Type of the node's result, None where this module does not know. Raises ValueError for an impossible one."""
    arguments = [_literal(model, v) for v in node.inputs[1:]]
    dims, rank = operand.dims, operand.rank
    first = arguments[0] if arguments else None
    if node.op == "Cast":
        dtype = dtypes.from_type_id(first) if isinstance(first, int) else None
        return None if dtype is None else TensorType(dims, dtype)
    if node.op == "ExpandDims":
        if not isinstance(first, int):
            return None
        at = first % (rank + 1)
        return TensorType((*dims[:at], 1, *dims[at:]), operand.dtype)
    numbers = _integers(first)
    if numbers is None:
        return None
    if node.op == "Reshape":
        return TensorType(_reshaped(dims, operand.size, numbers), operand.dtype)
    if node.op in ("Transpose", "TransposeView"):
        perm = [p % rank for p in numbers]
        if sorted(perm) != list(range(rank)):
            raise ValueError(f"permutes {rank} axes by {list(numbers)}")
        return TensorType(tuple(dims[p] for p in perm), operand.dtype)
    if node.op == "BroadcastTo":
        return TensorType(_broadcast(dims, numbers), operand.dtype)
    if node.op in ("ConstantPadND", "PadV3"):
        padded = list(dims)
        for i in range(len(numbers) // 2):
            padded[rank - 1 - i] += numbers[2 * i] + numbers[2 * i + 1]
        return TensorType(tuple(padded), operand.dtype)
    return _sliced(operand, numbers, arguments[1:])


def _reshaped(dims: tuple[int, ...], size: int, target: tuple[int, ...]) -> tuple[int, ...]:
    known = math.prod(d for d in target if d >= 0)
    if target.count(-1) > 1 or (-1 in target and (known == 0 or size % known)):
        raise ValueError(f"reshapes {list(dims)} to {list(target)}")
    result = tuple(size // known if d == -1 else d for d in target)
    if math.prod(result) != size:
        raise ValueError(f"reshapes {list(dims)} to {list(target)}")
    return result


def _broadcast(dims: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
    """A −1 keeps the operand's size."""
    old = (1,) * (len(target) - len(dims)) + dims
    result = tuple(size if wanted == -1 else wanted for size, wanted in zip(old, target, strict=False))
    if len(old) != len(target) or any(size not in (1, wanted) for size, wanted in zip(old, result, strict=True)):
        raise ValueError(f"broadcasts {list(dims)} to {list(target)}")
    return result


def _sliced(operand: TensorType, begin: tuple[int, ...], rest: list[object]) -> TensorType | None:
    """StridedSlice whose masks leave out begins and ends only; with others the answer is left to MindSpore."""
    end, steps, masks = _integers(rest[0]), _integers(rest[1]), rest[2:]
    if end is None or steps is None or len(masks) != 5 or any(mask != 0 for mask in masks[2:]):
        return None
    open_begin, open_end = masks[0], masks[1]
    if not isinstance(open_begin, int) or not isinstance(open_end, int):
        return None
    dims = list(operand.dims)
    for axis, (low, high, step) in enumerate(zip(begin, end, steps, strict=True)):
        first = None if open_begin >> axis & 1 else low
        last = None if open_end >> axis & 1 else high
        dims[axis] = len(range(operand.dims[axis])[first:last:step])
    return TensorType(tuple(dims), operand.dtype)


def _literal(model: Model, value: str) -> object:
    try:
        return model.literal(value)
    except NotALiteralError:
        return NotImplemented  # equal to no literal, and of no literal's type


def _integers(value: object) -> tuple[int, ...] | None:
    """Whole numbers given as a tuple or as a constant vector."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "i":
        return tuple(int(v) for v in value.reshape(-1))
    if isinstance(value, tuple) and all(isinstance(v, int) for v in value):
        return value
    return None
