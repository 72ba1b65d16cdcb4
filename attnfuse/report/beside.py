"""What is left beside the fused nodes of a finished graph: transposes, pads, slices and splits, and who needs each.

Each is a kernel of its own (docs/cost.md, rules 8 to 10). They are looked for between a fused node and the nearest node
in front of each operand, and behind the result, that does more than hand numbers on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod

from attnfuse.cost.records import SiteNodes
from attnfuse.cost.sorts import Sort, sort_of
from attnfuse.decisions import SiteRecord
from attnfuse.ir.graph import CALL, CONSTANT, Model, Node, NotALiteralError, short_name
from attnfuse.ir.operators.attention import LAYOUTS
from attnfuse.ir.operators.columns import Hands, Role
from attnfuse.ir.operators.row import Operator
from attnfuse.ir.questions import SEQUENCES, behind, factors, hands, inputs_of, makes_tuple, nearest, nodes_of, role
from attnfuse.ir.types import TensorType
from attnfuse.report.model import BesideEntry

_KERNELS = (Sort.TRANSPOSE, Sort.PAD, Sort.PICK, Sort.SPLIT)
_OPERANDS = ("query", "key", "value")
_HEADS_FIRST = "BNSD"
_MOST = 64
"""Nodes that one way is followed over."""


@dataclass(frozen=True, slots=True)
class _Way:
    """What hands on one operand or the result, all of it and the kernels among that; `parts` are the pieces that the
    result is cut into at the end."""

    of: str
    passed: tuple[Node, ...]
    kernels: tuple[Node, ...]
    end: str
    """What stands at the end, as people read it."""
    is_plain: bool
    """Whether that is a linear layer, which makes or takes its last axis whole: it needs no layout."""
    parts: tuple[Node, ...] = ()


def beside(model: Model, sites: Iterable[SiteRecord]) -> tuple[BesideEntry, ...]:
    """Of each fused site of a finished graph, in the order of the sites."""
    return tuple(entry for site, node in _fused(model, sites) for entry in _entries(model, site.id, node))


def source_nodes(model: Model, sites: Iterable[SiteRecord]) -> tuple[SiteNodes, ...]:
    """The nodes that each site consists of in the source, of those that could be read."""
    values = {(node.graph.name, short_name(node.name)): node for node in model.nodes}
    found = []
    for site in sites:
        names = ((site.graph, line.partition(" = ")[0]) for line in site.region)
        region = [values[name] for name in names if name in values]
        if region:
            around = {one.at for one in site.identities if one.operand in _OPERANDS}
            around |= _names(_forward(model, region[-1]))
            core = frozenset(node.name for node in region)
            found.append(SiteNodes(site.id, core, frozenset(around) - core))
    return tuple(found)


def result_nodes(model: Model, sites: Iterable[SiteRecord]) -> tuple[SiteNodes, ...]:
    """Those of each fused site in the finished graph."""
    return tuple(
        SiteNodes(site.id, frozenset((node.name,)), frozenset[str]().union(*map(_names, _ways(model, node))))
        for site, node in _fused(model, sites)
    )


def _names(way: _Way) -> set[str]:
    return {node.name for node in (*way.passed, *way.parts)}


def _fused(model: Model, sites: Iterable[SiteRecord]) -> Iterator[tuple[SiteRecord, Node]]:
    """The sites that are fused, each with its node: the nearest to what it stands for; and where that value is gone, as
    what reads it was written otherwise, the one node that is left over for the one site that is."""
    fused = [site for site in sites if site.status == "fused"]
    near = [(site, nearest(model, site.stands_for or site.anchor, Role.FUSED_ATTENTION)) for site in fused]
    taken = {node.name for _, node in near if node is not None}
    left = [node for node in nodes_of(model, _is_fused) if node.name not in taken] if len(taken) < len(near) else []
    other = left[0] if len(left) == sum(node is None for _, node in near) == 1 else None
    for site, node in near:
        if (one := node or other) is not None:
            yield site, one


def _is_fused(row: Operator) -> bool:
    return row.role is Role.FUSED_ATTENTION


def _ways(model: Model, fused: Node) -> list[_Way]:
    names = [parameter.name for parameter in inputs_of(fused.op)]
    ways = [_back(model, name, fused.inputs[names.index(name)]) for name in _OPERANDS if name in names]
    return [*ways, _forward(model, fused)]


def _entries(model: Model, site: str, fused: Node) -> Iterator[BesideEntry]:
    ways = _ways(model, fused)
    given, _, gives = _layout(model, fused).partition("_")
    # Where heads stand before tokens, whoever makes or takes them so is why a linear layer's are moved.
    others = tuple(
        dict.fromkeys(
            way.end
            for way in ways
            if not way.is_plain and (gives or given if way.of == "result" else given) == _HEADS_FIRST
        )
    )
    told: set[str] = set()
    for way in ways:
        for node in way.kernels:
            if node.name not in told:
                is_layout = way.is_plain and sort_of(node, several=False) is Sort.TRANSPOSE
                yield _entry(model, site, way.of, node, others if is_layout and others else (way.end,))
            told.add(node.name)
        for node in way.parts:
            yield _entry(model, site, way.of, node, tuple(dict.fromkeys(_takers(model, node))))


def _layout(model: Model, fused: Node) -> str:
    """The name of the node's layout; empty where that is no constant."""
    position = [parameter.name for parameter in inputs_of(fused.op)].index("input_layout")
    try:
        number = model.literal(fused.inputs[position])
    except (NotALiteralError, IndexError):
        return ""
    return LAYOUTS.get(number, "") if isinstance(number, int) else ""


def _entry(model: Model, site: str, of: str, node: Node, needed_by: tuple[str, ...]) -> BesideEntry:
    return BesideEntry(site, of, node.op, short_name(node.name), _bytes(model, node), needed_by)


def _takers(model: Model, node: Node) -> Iterator[str]:
    """Who takes a piece, or what is made of it by handing its numbers on."""
    for use in model.uses(node.name):
        reader = use.node
        if reader is None:
            yield f"output {short_name(node.name)}"
        elif _handed_on(model, reader) == node.name:
            yield from _takers(model, reader)
        else:
            yield f"{reader.op} {short_name(reader.name)}"


def _back(model: Model, of: str, value: str) -> _Way:
    passed: list[Node] = []
    for _ in range(_MOST):
        node = model.producer(value)
        before = None if node is None else _handed_on(model, node)
        if node is None or before is None:
            break
        passed.append(node)
        value = before
    end = model.producer(value)
    return _Way(
        of,
        tuple(passed),
        _kernels(model, passed),
        _told(model, value),
        end is not None and end.op not in (CALL, CONSTANT) and _is_linear(model, end),
    )


def _forward(model: Model, fused: Node) -> _Way:
    passed: list[Node] = []
    value, reader = fused.name, None
    for _ in range(_MOST):
        readers = {use.node.name: use.node for use in model.uses(value) if use.node is not None}
        reader = next(iter(readers.values())) if len(readers) == 1 else None
        if reader is None or reader.op == CALL or _handed_on(model, reader) != value:
            break
        passed.append(reader)
        value = reader.name
    kernels = _kernels(model, passed)
    if reader is not None:
        plain = reader.op != CALL and _is_linear(model, reader)
        return _Way("result", tuple(passed), kernels, f"{reader.op} {short_name(reader.name)}", plain)
    parts = {use.node.name: use.node for use in model.uses(value) if use.node is not None}
    cut = tuple(node for node in parts.values() if node.op != CALL and _is_kernel(model, node))
    return _Way("result", tuple(passed), kernels, _told(model, value), bool(cut), cut)


def _is_linear(model: Model, node: Node) -> bool:
    """Whether the node is a product, or adds a bias to one."""
    if factors(node) is not None:
        return True
    if hands(node) is not Hands.COMPUTED or not any((t := model.type_of(v)) and t.rank == 1 for v in node.inputs):
        return False
    made = (model.producer(behind(model, value, SEQUENCES)) for value in node.inputs)
    return any(one is not None and one.op not in (CALL, CONSTANT) and factors(one) is not None for one in made)


def _handed_on(model: Model, node: Node) -> str | None:
    """The argument whose numbers the node hands on: as they are, in another type, shape or order, or some of them."""
    if node.op in (CALL, CONSTANT):
        return None
    sort = _sort(model, node)
    if sort is Sort.CONCAT:
        return _beside_constants(model, node)
    if sort is Sort.PAD or hands(node) in (Hands.SAME, Hands.CONVERTED, Hands.REGROUPED, Hands.MOVED, Hands.PICKED):
        return node.inputs[0] if node.inputs and role(node) is not Role.LOOKUP else None
    return None


def _sort(model: Model, node: Node) -> Sort:
    return sort_of(node, several=not isinstance(model.types_of(node.name), TensorType))


def _beside_constants(model: Model, node: Node) -> str | None:
    """The one value that is joined with constants alone, as zeros are put behind heads for MindSpore Lite."""
    makers = [model.producer(value) for value in node.inputs]
    parts = [value for made in makers if made is not None and makes_tuple(made) for value in made.inputs]
    open_parts = [value for value in parts if not model.is_literal(value)]
    return open_parts[0] if len(open_parts) == 1 < len(parts) else None


def _kernels(model: Model, nodes: Iterable[Node]) -> tuple[Node, ...]:
    return tuple(node for node in nodes if _is_kernel(model, node))


def _is_kernel(model: Model, node: Node) -> bool:
    """Whether it is one of those that are counted; a Transpose that moves axes of one element only is no kernel."""
    sort = _sort(model, node)
    if sort is Sort.CONCAT:
        return _beside_constants(model, node) is not None
    if sort is not Sort.TRANSPOSE:
        return sort in _KERNELS
    before = model.type_of(node.inputs[0])
    try:
        order = model.literal(node.inputs[1])
    except (NotALiteralError, IndexError):
        return True
    if before is None or not isinstance(order, tuple):
        return True
    moved = [axis % before.rank for axis in order if isinstance(axis, int) and before.dims[axis % before.rank] != 1]
    return moved != sorted(moved)


def _bytes(model: Model, node: Node) -> int:
    """Read and written: a pad reads its operand, a slice no more than it writes, the parts of a split are all."""
    sort, made = _sort(model, node), model.type_of(node.name)
    if sort is Sort.CONCAT:
        return 2 * _size(made) if _size(made) >= 0 else -1
    read = made if sort is Sort.PICK else model.type_of(node.inputs[0])
    sizes = [_size(tensor_type) for tensor_type in (read, read if sort is Sort.SPLIT else made)]
    return -1 if -1 in sizes else sum(sizes)


def _size(tensor_type: TensorType | None) -> int:
    return (
        -1 if tensor_type is None or not tensor_type.is_static else prod(tensor_type.dims) * tensor_type.dtype.itemsize
    )


def _told(model: Model, value: str) -> str:
    node = model.producer(value)
    return f"input {short_name(value)}" if node is None else f"{node.op} {short_name(node.name)}"
