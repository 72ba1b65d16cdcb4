"""Which attention of the original each fused node stands for, and that part of both graphs cut out to be run alone.

Pairs are found by names and by nothing the rewriter tells: a rewrite keeps the name of the value it computes anew, so
every value that both graphs have, and that they make in different ways, is a result of a rewrite. That reading is
trusted only if all such values have a fused node behind them on one of the two sides, and keep their type. Then each
being equal proves the whole: all other nodes are the same node on the same operands.

What enters a cut is query, key and value where the two graphs still have them in common; a mask or bias is followed
down to inputs and weights of the graph, because what it can hold is decided by what makes it.

May import `attnfuse.graph`, the reader of fused nodes, the formula's finder and the lowering. Nothing here is shared
with the matcher.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from attnfuse.graph import CALL, CONSTANT, Model, Node, TensorType, attribute, short_name
from attnfuse.mindir.dtypes import DType
from attnfuse.mindir.external import parameter_name
from attnfuse.mindir.schema import GraphProto, ModelProto, NodeProto
from attnfuse.verify.fused_nodes import FUSED_OPS, FusedAttention, MalformedError, read
from attnfuse.verify.lowering import needed_values

_PASS_FIRST = ("Load", "Depend")
"""Operators whose value is their first operand; the others order effects."""

OPERANDS = ("query", "key", "value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One attention that the rewrite touched.

    `output` is the value that both graphs make, each in its own way. `attention` is the fused node behind it in the
    fused graph; None where the rewrite put a formula in place of a fused node. `entries` are the values of both graphs
    that its operands are made from, by operand; equal where query and key are one value.
    """

    output: str
    module: str
    attention: FusedAttention | None
    entries: dict[str, str]
    compute: DType

    @property
    def label(self) -> str:
        """For people: the value, and the weight that feeds its query."""
        return f"{short_name(self.output)} ({self.module})" if self.module else short_name(self.output)


@dataclass(frozen=True, slots=True)
class Cut:
    """Two graphs of one output each, the site's, which take the same values: names are those of the files.

    `entries_are_all` tells whether the original reaches its result through every entry; then whatever value they are
    given is one both graphs could meet, and they may be drawn.
    """

    original: Model
    fused: Model
    leaves: dict[str, TensorType]
    entries_are_all: bool


def find_sites(original: Model, fused: Model) -> tuple[list[Site], list[str]]:
    """The sites in the fused graph's order, and why some or all of them cannot be told apart from the rest."""
    needed = needed_values(fused) & needed_values(original)
    changed = [
        node.name
        for node in fused.nodes
        if node.name in needed
        and node.op != CONSTANT
        and (before := original.producer(node.name)) is not None
        and not _same(original, before, fused, node)
    ]
    sites = []
    for output in changed:
        site = _site(original, fused, output)
        if site is None or original.type_of(output) != fused.type_of(output):
            told = f"{short_name(output)} is made anew and stands for no attention"
            return [], [f"sites were not compared one by one, as the graphs do not name the same values alike: {told}"]
        sites.append(site)
    found = {site.attention.node.name for site in sites if site.attention is not None}
    lost = [
        node.name
        for node in fused.nodes
        if node.op in FUSED_OPS and node.name not in found and original.producer(node.name) is None
    ]
    return sites, [f"fused node {short_name(name)} has no result in the original and was not compared" for name in lost]


def check_compute(sites: Iterable[Site], asked: Mapping[str, str]) -> list[str]:
    """Findings on fused nodes that compute in another dtype than is asked for, by the site's output."""
    return [
        f"site {site.label} computes in {site.compute}, and the policy asks for {asked[site.output]}."
        for site in sites
        if site.attention is not None and site.compute.name != asked.get(site.output, site.compute.name)
    ]


def cut(original: Model, fused: Model, site: Site) -> Cut | None:
    """The site's part of both graphs; None where it calls a function, which is then run with the whole graph only."""
    stops = set(site.entries.values())
    sides = [_behind(model, site.output, stops) for model in (original, fused)]
    if any(node.op == CALL for nodes, _ in sides for node in nodes):
        return None
    leaves = {**sides[0][1], **sides[1][1]}
    parts = [
        _part(model, nodes, leaves, site.output) for model, (nodes, _) in zip((original, fused), sides, strict=True)
    ]
    return Cut(parts[0], parts[1], leaves, stops <= sides[0][1].keys() and stops <= sides[1][1].keys())


# --- pairing


def _same(a: Model, first: Node, b: Model, second: Node) -> bool:
    """Whether two nodes of the same name are the same operator on the same operands."""
    if first.op != second.op or first.proto.attribute != second.proto.attribute:
        return False
    if first.op == CALL:
        return first.proto.op_type == second.proto.op_type and first.inputs == second.inputs
    entries = [m.primitives[n.proto.op_type].attribute for m, n in ((a, first), (b, second))]
    return entries[0] == entries[1] and _operands(a, first) == _operands(b, second)


def _operands(model: Model, node: Node) -> list[str | bytes]:
    """Names of the operands; of constants what they hold, as their names only count them."""
    found: list[str | bytes] = []
    for value in _values(model, node):
        made = model.producer(value)
        held = attribute(made.proto, "value") if made is not None and made.op == CONSTANT else None
        found.append(value if held is None else held.SerializeToString(deterministic=True))
    return found


def _values(model: Model, node: Node) -> Iterator[str]:
    """Operands that carry a value, not the order of effects."""
    for value in node.inputs[:1] if node.op in _PASS_FIRST else node.inputs:
        made = model.producer(value)
        if made is None or made.op != "UpdateState":
            yield value


def _site(original: Model, fused: Model, output: str) -> Site | None:
    behind = [_new_behind(fused, output, original), _new_behind(original, output, fused)]
    attentions = [[node for node in nodes if node.op in FUSED_OPS] for nodes in behind]
    if len(attentions[0]) > 1 or not any(attentions):
        return None
    model, node = (fused, attentions[0][0]) if attentions[0] else (original, attentions[1][0])
    other = original if model is fused else fused
    try:
        attention = read(model, node)
    except MalformedError:
        return None
    entries = {name: _common(model, other, getattr(attention, name)) for name in OPERANDS}
    query = model.type_of(attention.query)
    if query is None or None in entries.values():
        return None
    return Site(
        output=output,
        module=_module(model, attention.query),
        attention=attention if model is fused else None,
        entries={name: value for name, value in entries.items() if value is not None},
        compute=query.dtype,
    )


def _new_behind(model: Model, output: str, other: Model) -> list[Node]:
    """The node that makes `output`, and the nodes behind it that the other graph does not have."""
    found, seen, stack = [], set(), [output]
    while stack:
        value = stack.pop()
        node = model.producer(value)
        if value in seen or node is None or (value != output and _exists(other, value)):
            continue
        seen.add(value)
        found.append(node)
        stack += _values(model, node)
    return found


def _exists(model: Model, value: str) -> bool:
    return model.producer(value) is not None or model.is_input(value) or model.is_parameter(value)


def _common(model: Model, other: Model, value: str) -> str | None:
    """The nearest value that both graphs have on the way back from an operand.

    Casts, layouts and padding have one operand of the tensor's size; a factor or a condition beside it is smaller.
    """
    while not _exists(other, value):
        node = model.producer(value)
        known = {} if node is None else {v: t.size for v in node.inputs if (t := model.type_of(v)) and t.is_static}
        if not known:
            return None
        value = max(known, key=lambda name: known[name])
    return value


def _module(model: Model, query: str) -> str:
    """Name of the nearest weight behind the query, without the weight's own last word: the projection it came from."""
    seen, level = {query}, [query]
    while level:
        for value in level:
            if model.is_parameter(value):
                parameter = next(p for p in model.parameters() if p.name == value)
                return parameter_name(parameter).rpartition(".")[0]
        behind = (v for value in level if (node := model.producer(value)) is not None for v in _values(model, node))
        level = [v for v in dict.fromkeys(behind) if v not in seen]
        seen.update(level)
    return ""


# --- cutting


def _behind(model: Model, output: str, stops: Iterable[str]) -> tuple[list[Node], dict[str, TensorType]]:
    """Nodes that `output` is made of, in file order, and types of what enters: stops and inputs of the graph."""
    nodes: set[str] = set()
    leaves: dict[str, TensorType] = {}
    stack = [output]
    seen: set[str] = set()
    stopped = set(stops)
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        node = None if value in stopped else model.producer(value)
        kind = model.type_of(value)
        if node is not None:
            nodes.add(value)
            stack += _values(model, node)
        elif kind is not None and (value in stopped or not model.is_parameter(value)):
            leaves[value] = kind
    ordered = [node for node in model.nodes if node.name in nodes]
    # Functions use constants of the top graph, which stands first among a model's nodes.
    return ordered, dict(sorted(leaves.items()))


def _part(model: Model, nodes: list[Node], leaves: dict[str, TensorType], output: str) -> Model:
    graph = GraphProto(name="site")
    used = {value for node in nodes for value in node.inputs}
    for value, kind in leaves.items():
        tensor = graph.input.add(name=value).tensor.add()
        tensor.dims.extend(kind.dims)
        tensor.data_type = kind.dtype.wire
    graph.parameter.extend(p for p in model.parameters() if p.name in used and p.name not in leaves)
    for node in nodes:
        message = NodeProto()
        message.CopyFrom(node.proto)
        del message.input[:]
        message.input.extend(_values(model, node))
        graph.node.append(message)
    graph.output.add(name=output)
    operators = {node.proto.op_type for node in nodes}
    table = [entry for reference, entry in model.primitives.items() if reference in operators]
    return Model(ModelProto(graph=graph, primitives=table))
