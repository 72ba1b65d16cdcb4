"""Rules on the written graph that need nothing but the graph: what MindSpore's inference lets pass, and more.

`check_structure` looks at every fused node, and holds the types of the others to the operator table; `check_interface`
looks at what the outside sees. Findings are sentences; an empty list means nothing is wrong. The limits are those that
the documentation of the two operators states for every product; those of one product are data in `attnfuse.targets`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from attnfuse.ir.check import Sort, check_graph
from attnfuse.ir.graph import Model, Node, NotALiteralError, read_tensor, short_name, tensor_type
from attnfuse.ir.questions import keeps_order, makes_tuple, orders_effects, takes_element
from attnfuse.ir.types import TensorType, agree, declared_type
from attnfuse.ir.values import input_type
from attnfuse.mindir import dtypes
from attnfuse.mindir.edits import NotEditableError, WeightEdits, edited_weight
from attnfuse.mindir.external import parameter_name
from attnfuse.mindir.schema import AttributeProto, TensorProto, ValueInfoProto
from attnfuse.names import counted
from attnfuse.verify.graph.edited import edited
from attnfuse.verify.graph.fused_nodes import (
    COMPRESSED_MASK,
    FUSED_OPS,
    MEANINGS,
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


def check_structure(model: Model) -> list[str]:
    """Everything wrong with the fused nodes of the file, and with the types of all others."""
    types = (str(finding) for finding in check_graph(model) if finding.sort is Sort.TYPES)
    return list(dict.fromkeys((*check_fused_nodes(model), *types)))


def check_fused_nodes(model: Model) -> list[str]:
    """Everything wrong with the fused nodes of the file: more than the operator table, which holds every node, says."""
    return [
        f"{node.op} {short_name(node.name)} {problem}."
        for node in model.nodes
        if node.op in FUSED_OPS
        for problem in _check_fused(model, node)
    ]


def new_findings(original: Model, fused: Model) -> tuple[list[str], list[str]]:
    """Findings of `fused`, parted into those the rewrite brought and those `original` already had."""
    before = set(check_structure(original))
    found = check_structure(fused)
    return [f for f in found if f not in before], [f for f in found if f in before]


def check_interface(original: Model, fused: Model) -> list[str]:
    """Whether both files take the same inputs, give outputs of the same types, and hold the same weights.

    Weights are compared by name, shape and type, edited ones with what their name says; their values where both files
    embed them.
    """
    findings = []
    before, after = original.proto.graph, fused.proto.graph
    for what, left, right in (("input", before.input, after.input), ("output", before.output, after.output)):
        if len(left) != len(right):
            findings.append(f"the graph has {_listed(right, what)}, the original {_listed(left, what)}.")
            continue
        for a, b in zip(left, right, strict=True):
            # An output is called after the node that makes it, which a rewrite may change; nobody asks for it by name.
            if what == "input" and leaf_name(a.name) != leaf_name(b.name):
                findings.append(f"{what} {leaf_name(a.name)} is now called {leaf_name(b.name)}.")
            name = leaf_name(a.name)
            was, now = _declared(a), _declared(b)
            if was != now:
                findings.append(f"{what} {name} was {was} and is {now}.")
            made = fused.types_of(b.name)
            nested = isinstance(made, tuple) and None in made  # a result that is a tuple itself has no type there
            # An output that declares no type contradicts none: the source left it open, and so does what is written.
            if now and made is not None and not nested and now != _text(made) and not _leaves_open(b, made):
                findings.append(f"{what} {name} is declared {now} and made as {_text(made)}.")
    return findings + _check_parameters(original, fused)


def has_same_types(original: Model, fused: Model) -> bool:
    """Whether the files take and give values of the same types, as many: whether both can be run and compared."""
    before, after = original.proto.graph, fused.proto.graph
    sides = ((graph.input, graph.output) for graph in (before, after))
    one, other = ([list(map(_declared, values)) for values in side] for side in sides)
    return one == other


def _listed(values: Sequence[ValueInfoProto], what: str) -> str:
    """`2 inputs (q, k)`."""
    return f"{counted(len(values), what)} ({', '.join(leaf_name(value.name) for value in values)})"


def _declared(value: ValueInfoProto) -> str:
    """Types of an input or output; several results are a tuple in `attr_info`."""
    if value.HasField("attr_info"):
        return _declared_tuple(value.attr_info)
    return ", ".join(_kind(t) for t in value.tensor)


def _leaves_open(value: ValueInfoProto, made: TensorType | tuple[TensorType | None, ...]) -> bool:
    """Whether the declared type differs only in sizes that it, or what is made, leaves to run time."""
    declared = declared_type(value.attr_info) if value.HasField("attr_info") else input_type(value)
    return declared is not None and agree(made, declared)


def _declared_tuple(proto: AttributeProto) -> str:
    """The types in a tuple, of which an element may be a tuple again (ControlNet gives a list and a tensor)."""
    elements = (_declared_tuple(e) if e.values else ", ".join(_kind(t) for t in e.tensors) for e in proto.values)
    return f"({', '.join(elements)})"


def _text(value_type: TensorType | tuple[TensorType | None, ...]) -> str:
    return str(value_type) if isinstance(value_type, TensorType) else f"({', '.join(str(k) for k in value_type)})"


def _kind(proto: TensorProto) -> str:
    return str(tensor_type(proto) or f"type {proto.data_type}")


def _check_parameters(original: Model, fused: Model) -> list[str]:
    """A weight is the original's, or made of one as its name says, which alone may then be gone."""
    findings = []
    before = {parameter_name(p): p for p in original.parameters()}
    after = {parameter_name(p): p for p in fused.parameters()}
    made = {name: found for name in after if (found := edited_weight(name, before)) is not None}
    replaced = {found.source for found in made.values()}
    findings += [f"parameter {n} is gone." for n in before if n not in after and n not in replaced]
    findings += [f"parameter {n} is new." for n in after if n not in before and n not in made]
    for name, found in made.items():
        findings += _check_made(name, after[name], before[found.source], found.edits)
    for name, a in before.items():
        b = after.get(name)
        if b is None:
            continue
        if (a.data_type, list(a.dims)) != (b.data_type, list(b.dims)):
            findings.append(f"parameter {name} was {_kind(a)} and is {_kind(b)}.")
        elif a.raw_data and b.raw_data and a.raw_data != b.raw_data:
            findings.append(f"parameter {name} holds other values than in the original.")
    return findings


def _check_made(name: str, made: TensorProto, source: TensorProto, edits: WeightEdits) -> list[str]:
    """Type, shape and, where both files embed them, values of a weight that is made of one of the original's."""
    wanted = tensor_type(source)
    try:
        wanted = None if wanted is None else TensorType(edits.dims(wanted.dims), edits.dtype or wanted.dtype)
    except NotEditableError as error:
        return [f"parameter {name} is made of one that {error}."]
    if wanted is None or wanted != tensor_type(made):
        return [f"parameter {name} is {_kind(made)}, and what it is made of gives {wanted}."]
    if source.raw_data and made.raw_data and edited(read_tensor(source), edits).tobytes() != made.raw_data:
        return [f"parameter {name} holds other values than what it is made of gives."]
    return []


# --- fused nodes


def _check_fused(model: Model, node: Node) -> list[str]:
    try:
        fused = read(model, node)
        types = [model.type_of(v) for v in (fused.query, fused.key, fused.value)]
        query, key, value = (k for k in types if k is not None)
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
    if not aligned and (fused.meaning.is_aligned or query.dtype is dtypes.BFLOAT16):
        findings.append(f"has a head of {of.head_dim} elements, no multiple of 16")
    if fused.meaning.is_square and of.head_dim != of.value_head_dim:
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
    meaning = fused.meaning
    if mask.dtype.name not in meaning.mask_dtypes:
        findings.append(f"has a mask of {mask.dtype}; it takes {' or '.join(meaning.mask_dtypes)}")
    sizes_of = {"B": of.batch, "N": of.heads, "S": of.query_length, "T": of.key_length, "1": 1}
    if fused.sparse_mode in _COMPRESSED_MODES:
        accepted: tuple[tuple[int, ...], ...] = ((COMPRESSED_MASK, COMPRESSED_MASK),)
    else:
        accepted = tuple(tuple(sizes_of[letter] for letter in word) for word in meaning.mask_sizes)
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
    element = MEANINGS[node.op].element
    if element is None:
        if declared != expected:
            findings.append(f"is declared {declared} and gives {expected}")
        return findings
    if not isinstance(declared, tuple) or len(declared) != element + 1:
        findings.append(f"is not declared as a tuple of {element + 1}")
    elif declared[element] != expected:
        findings.append(f"is declared {declared[element]} and gives {expected}")
    for use in model.uses(node.name):
        user = use.node
        if user is None:
            findings.append("is an output of the graph as a tuple")
        elif takes_element(user) and use.position == 0:
            index = _literal(model, user.inputs[1])
            if index != element:
                findings.append(f"is read at index {index}; the attention is at index {element}")
        elif not (orders_effects(user) or keeps_order(user) or makes_tuple(user)):
            findings.append(f"is used by {user.op} {short_name(user.name)} as a tuple")
    return findings


def _literal(model: Model, value: str) -> object:
    try:
        return model.literal(value)
    except NotALiteralError:
        return NotImplemented  # equal to no literal, and of no literal's type
