"""What a rewrite replaced, found by names, and that part of both graphs cut out to be run alone.

Found by nothing the rewriter says: a rewrite keeps the name of the value it recomputes, so every value that both
graphs have, and that they make in different ways, is a result of a rewrite. It is a site where a fused node is behind
it on one of the two sides, and a replaced operator where there is none. That reading is trusted only if all
such values keep their type, and none has two fused nodes behind it. Then each being equal proves the whole: all other
nodes are the same node on the same operands.

What enters a site's cut is query, key and value where the two graphs still have them in common; a mask or bias is
followed down to inputs and weights of the graph, because what it can hold is decided by what makes it. What enters any
other cut are the nearest values that both graphs have, weights too: other operators ask for no kind of value.

Nothing here is shared with the matcher.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from attnfuse.ir.builder import site_of
from attnfuse.ir.graph import CALL, CONSTANT, Model, Node, attribute, short_name
from attnfuse.ir.questions import factors, makes_tuple, orders_effects, reads_memory, takes_element, value_inputs
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import DType
from attnfuse.mindir.edits import edited_weight
from attnfuse.mindir.external import parameter_name
from attnfuse.mindir.schema import GraphProto, ModelProto, NodeProto
from attnfuse.verify.graph.fused_nodes import FUSED_OPS, FusedAttention, MalformedError, read
from attnfuse.verify.graph.needed import needed_values

"""Operators whose value is their first operand; the others order effects."""

OPERANDS = ("query", "key", "value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One attention that the rewrite touched.

    `output` is the value that both graphs make, each in its own way; several of one `module` are values of one
    attention. `module` is what the report calls it, as the fused graph's own nodes tell; of a graph that tells
    nothing, what holds the weight nearest to its query, numbered where another attention has the same. `attention` is
    the fused node behind it in the fused graph; None where the rewrite put a formula in place of a fused node.
    `entries` are the values of both graphs that its operands are made from, by operand; equal where query and key are
    one value. `beside` are values of both graphs that such an operand is made from too: a norm of a sum, made by one
    operator, reads two.
    """

    output: str
    module: str
    attention: FusedAttention | None
    entries: dict[str, str]
    compute: DType
    beside: frozenset[str] = frozenset()

    @property
    def label(self) -> str:
        """For people: the value, and the attention it is of."""
        return f"{short_name(self.output)} ({self.module})"


@dataclass(frozen=True, slots=True)
class ReplacedOperator:
    """A value, or elements of a tuple, that the fused graph makes with other operators. `op` is the original's."""

    value: str
    op: str
    outputs: tuple[str, ...]
    entries: frozenset[str]


@dataclass(frozen=True, slots=True)
class Found:
    """What was replaced, in the fused graph's order; `notes` say why some or all could not be found."""

    sites: tuple[Site, ...]
    replaced: tuple[ReplacedOperator, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """Two graphs of the same outputs, which take the same values: names are those of the files.

    `entries_are_all` tells whether the original reaches its result through every entry; then whatever value they are
    given is one both graphs could meet, and they may be drawn.
    """

    original: Model
    fused: Model
    leaves: dict[str, TensorType]
    entries_are_all: bool


def find(original: Model, fused: Model) -> Found:
    """Every value that both graphs have and make in different ways."""
    made_of = Behind(original)
    sites: list[Site] = []
    replaced: list[ReplacedOperator] = []
    for output, op in changed_values(original, fused):
        made = _replacement(original, fused, made_of, output, op)
        if made is None or original.types_of(output) != fused.types_of(output):
            message = f"{short_name(output)} was replaced and replaces neither one attention nor none"
            return Found(
                (),
                (),
                (f"sites were not compared one by one, as the graphs do not name the same values alike: {message}",),
            )
        if isinstance(made, Site):
            sites.append(made)
        elif made.outputs:
            replaced.append(made)
    found = {site.attention.node.name for site in sites if site.attention is not None}
    lost = tuple(
        f"fused node {short_name(node.name)} has no result in the original and was not compared"
        for node in fused.nodes
        if node.op in FUSED_OPS and node.name not in found and original.producer(node.name) is None
    )
    return Found(tuple(_numbered(sites)), tuple(replaced), lost)


def changed_values(original: Model, fused: Model) -> list[tuple[str, str]]:
    """The values that both graphs need and make in different ways, as the fused graph has them, with the original's
    operators."""
    needed = needed_values(fused) & needed_values(original)
    return [
        (node.name, before.op)
        for node in fused.nodes
        if node.name in needed
        and node.op != CONSTANT
        and (before := original.producer(node.name)) is not None
        and not same_node(original, before, fused, node)
    ]


def _told(fused: Model, output: str, attention: FusedAttention | None) -> str | None:
    """The site that the nodes in the attention's place were written for, by themselves.

    One without weights is called as its value is, of which a node's name takes letters and digits only.
    """
    made = fused.producer(output) if attention is None else attention.node
    told = None if made is None else site_of(made)
    return short_name(output) if told == re.sub(r"[^\w.#]", "_", short_name(output)) else told


def _numbered(sites: Iterable[Site]) -> Iterator[Site]:
    """Each with a name that no site of another attention has."""
    made: dict[str, list[str]] = {}
    for site in sites:
        own = site.output if site.attention is None else site.attention.node.name
        name = site.module or short_name(own)
        others = made.setdefault(name, [])
        if own not in others:
            others.append(own)
        number = others.index(own) + 1
        yield replace(site, module=name if number == 1 else f"{name}#{number}")


def check_compute(sites: Iterable[Site], asked: Mapping[str, str]) -> list[str]:
    """Findings on fused nodes that compute in another dtype than is asked for, by the site's output."""
    return [
        f"site {site.label} computes in {site.compute}, and the policy asks for {asked[site.output]}."
        for site in sites
        if site.attention is not None and site.compute.name != asked.get(site.output, site.compute.name)
    ]


def cut(original: Model, fused: Model, site: Site) -> Cut | None:
    """The site's part of both graphs; None where it calls a function, or is in one that the fused graph does not call:
    it is then run with the whole graph only."""
    return _cut(original, fused, (site.output,), {*site.entries.values(), *site.beside})


def cut_replaced(original: Model, fused: Model, replaced: ReplacedOperator) -> Cut | None:
    """The part of both graphs that makes the value; None as of a site."""
    return _cut(original, fused, replaced.outputs, replaced.entries)


# --- pairing


def same_node(a: Model, first: Node, b: Model, second: Node) -> bool:
    """Whether two nodes of the same name are the same operator on the same operands."""
    if first.proto.attribute != second.proto.attribute:
        return False
    if first.op == second.op == CALL:
        return first.proto.op_type == second.proto.op_type and first.inputs == second.inputs
    return same_operator(a, first, b, second) and _operands(a, first) == _operands(b, second)


def same_operator(a: Model, first: Node, b: Model, second: Node) -> bool:
    """Whether two nodes are of the same operator, and of the same attributes."""
    if first.op != second.op or first.op == CALL:
        return False
    entries = [m.primitives[n.proto.op_type].attribute for m, n in ((a, first), (b, second))]
    return bool(entries[0] == entries[1])


def constant_operands(model: Model, node: Node) -> list[bytes | None]:
    """What the node's operands hold that are constants, in their order; None for each other one."""
    return [operand if isinstance(operand, bytes) else None for operand in _operands(model, node)]


def _operands(model: Model, node: Node) -> list[str | bytes]:
    """Names of the operands; of constants what they hold, as their names only count them."""
    found: list[str | bytes] = []
    for value in _values(model, node):
        made = model.producer(value)
        constant = attribute(made.proto, "value") if made is not None and made.op == CONSTANT else None
        found.append(value if constant is None else constant.SerializeToString(deterministic=True))
    return found


def _values(model: Model, node: Node) -> Iterator[str]:
    """Operands that carry a value, not the order of effects."""
    for value in value_inputs(node):
        made = model.producer(value)
        if made is None or not orders_effects(made):
            yield value


def _replacement(
    original: Model, fused: Model, made_of: Behind, output: str, op: str
) -> Site | ReplacedOperator | None:
    behind = [new_behind(fused, output, original), new_behind(original, output, fused)]
    attentions = [[node for node in nodes if node.op in FUSED_OPS] for nodes in behind]
    if not any(attentions):
        nearest = nearest_common(original, fused, made_of, output) - _edited_weights(original, fused)
        return ReplacedOperator(output, op, elements_read(original, fused, output), nearest)
    if len(attentions[0]) > 1:
        return None
    model, node = (fused, attentions[0][0]) if attentions[0] else (original, attentions[1][0])
    other = original if model is fused else fused
    try:
        attention = read(model, node)
    except MalformedError:
        return None
    entries = {name: _common(model, other, getattr(attention, name)) for name in OPERANDS}
    query = model.type_of(attention.query)
    if query is None or not all(entries.values()):
        return None
    return Site(
        output=output,
        module=_told(fused, output, attention if model is fused else None) or module_behind(model, attention.query),
        attention=attention if model is fused else None,
        entries={name: values[0] for name, values in entries.items()},
        compute=query.dtype,
        beside=frozenset(value for values in entries.values() for value in values[1:]),
    )


def new_behind(model: Model, output: str, other: Model) -> list[Node]:
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


def elements_read(original: Model, fused: Model, value: str) -> tuple[str, ...]:
    """The value, or of a tuple what is read of it in both graphs: others need not be computed by either."""
    if original.type_of(value) is not None:
        return (value,)
    users = (use.node for use in original.uses(value))
    read = dict.fromkeys(node.name for node in users if node is not None and takes_element(node))
    return tuple(name for name in read if fused.type_of(name) is not None)


def nearest_common(original: Model, fused: Model, made_of: Behind, output: str) -> frozenset[str]:
    """The nearest tensors behind `output` that both graphs have, and of these only what is not made of the others.

    One graph may read a value, and the other what that value is a view of, however many views away: drawn apart they
    would not agree.
    """

    def behind(value: str) -> set[str]:
        return _frontier(fused, value, original) | _frontier(original, value, fused)

    sides = (_frontier(original, output, fused), _frontier(fused, output, original))
    while (value := _made_of_the_others(original, made_of, *sides)) is not None:
        for side in sides:
            if value in side:
                side.remove(value)
                side |= behind(value)
    nearest = sides[0] | sides[1]
    return frozenset(value for value in nearest if not (made := behind(value)) or not made <= nearest)


def _made_of_the_others(original: Model, made_of: Behind, one: set[str], other: set[str]) -> str | None:
    """A value that one graph reads and that is made of what only the other reads; of these, first one that the other
    does not read too. A weight that only one of them reads is no reason to look behind what both read."""
    for mine, others in ((one - other, other - one), (other - one, one - other)):
        for value in sorted(mine):
            if made_of.has(value, others):
                return value
    apart = {value for value in one ^ other if not original.is_parameter(value)}
    return next((value for value in sorted(one & other) if made_of.has(value, apart)), None)


class Behind:
    """What every value of a graph is made of: a bit for each value, so that a question is one operation.

    Each value is asked about several times, and most of a graph is behind it: to walk there each time takes minutes.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._bits: dict[str, int] = {}
        self._known: dict[str, int] = {}

    def has(self, value: str, wanted: Set[str]) -> bool:
        """Whether one of the wanted values is behind this one."""
        if not wanted:
            return False
        mask = 0
        for each in wanted:
            mask |= self._bit(each)
        return bool(self._of(value) & mask)

    def _bit(self, value: str) -> int:
        return self._bits.setdefault(value, 1 << len(self._bits))

    def _of(self, value: str) -> int:
        """The bits of all that is behind a value; its operands first, without recursion, as graphs are deep."""
        stack = [value]
        while stack:
            top = stack[-1]
            if top in self._known:
                stack.pop()
                continue
            node = self._model.producer(top)
            operands = [] if node is None else list(_values(self._model, node))
            unknown = [each for each in operands if each not in self._known]
            if unknown:
                stack += unknown
                continue
            bits = 0
            for each in operands:
                bits |= self._known[each] | self._bit(each)
            self._known[top] = bits
            stack.pop()
        return self._known[value]


def _frontier(model: Model, output: str, other: Model) -> set[str]:
    """The nearest tensors behind `output` that the other graph has too.

    Those of whole numbers and truth values are followed further: not any index or condition will do.
    """
    found, seen, stack = set(), {output}, [output]
    while stack:
        node = model.producer(stack.pop())
        for value in _values(model, node) if node is not None else ():
            if value in seen:
                continue
            seen.add(value)
            made = model.producer(value)
            tensor_type = model.type_of(value)
            known = tensor_type is not None and tensor_type.dtype.is_float and tensor_type == other.type_of(value)
            if known and (made is None or made.op != CONSTANT):
                found.add(value)
            else:
                stack.append(value)
    return found


def _edited_weights(original: Model, fused: Model) -> set[str]:
    """The original's weights of which the fused graph has edited ones: drawn for themselves, both would differ."""
    parameters = {parameter_name(parameter): parameter.name for parameter in original.parameters()}
    made = (edited_weight(parameter_name(parameter), parameters) for parameter in fused.parameters())
    return {parameters[found.source] for found in made if found is not None}


def _exists(model: Model, value: str) -> bool:
    return model.producer(value) is not None or model.is_input(value) or model.is_parameter(value)


def _common(model: Model, other: Model, value: str) -> list[str]:
    """The nearest tensors that both graphs have on the way back from an operand.

    Casts, layouts and padding have one operand of the tensor's size; a factor beside it is smaller, a condition is of
    truth values, and what it is joined with to be padded leads to none. A product that is made anew is followed to what
    its weight multiplies, which may be smaller, a norm to what it norms: several tensors of one size, where it takes
    their sum.
    """
    if model.type_of(value) is not None and _exists(other, value):
        return [value]
    node = model.producer(value)
    if node is None:
        return []
    if takes_element(node):
        return _common(model, other, node.inputs[0])
    joined = [v for v in joined_operands(model, node) if not _is_new_weight(model, other, v)]
    if factors(node) is not None:
        joined = [v for v in joined if _weight(model, v) is None] or joined
    known = {v: t.size for v in joined if (t := model.type_of(v)) and t.is_static and t.dtype.is_float}
    largest = [v for v, size in known.items() if size == max(known.values())]
    if not largest:  # of a tuple's element, or of a size not known before run time
        return []
    return list(dict.fromkeys(found for v in largest for found in _common(model, other, v)))


def _is_new_weight(model: Model, other: Model, value: str) -> bool:
    """Whether the value is a weight that the other graph does not have."""
    weight = _weight(model, value)
    return weight is not None and not other.is_parameter(weight)


def _weight(model: Model, value: str) -> str | None:
    """The weight that the value is, as it is or as it is read."""
    node = model.producer(value)
    weight = node.inputs[0] if node is not None and reads_memory(node) else value
    return weight if model.is_parameter(weight) else None


def joined_operands(model: Model, node: Node) -> Iterator[str]:
    """Operands that are computed, also those in a tuple."""
    for value in node.inputs:
        made = model.producer(value)
        if made is not None and makes_tuple(made):
            yield from joined_operands(model, made)
        elif not model.is_literal(value):
            yield value


def module_behind(model: Model, value: str) -> str:
    """Name of the nearest weight behind a value, without the weight's own last word: the projection it came from."""
    seen, level = {value}, [value]
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


def _cut(original: Model, fused: Model, outputs: Sequence[str], stops: Set[str]) -> Cut | None:
    sides = [_behind(model, outputs, stops) for model in (original, fused)]
    if any(node.op == CALL for nodes, _ in sides for node in nodes):
        return None
    given = {value.name for model in (original, fused) for value in model.proto.graph.input}
    if (sides[0][1].keys() ^ sides[1][1].keys()) - given - stops:
        return None
    leaves = {**sides[0][1], **sides[1][1]}
    parts = [_part(model, nodes, leaves, outputs) for model, (nodes, _) in zip((original, fused), sides, strict=True)]
    return Cut(parts[0], parts[1], leaves, stops <= sides[0][1].keys() and stops <= sides[1][1].keys())


def _behind(model: Model, outputs: Sequence[str], stops: Set[str]) -> tuple[list[Node], dict[str, TensorType]]:
    """Nodes that the outputs are made of, in file order, and types of what enters: stops and inputs of the graph."""
    nodes: set[str] = set()
    leaves: dict[str, TensorType] = {}
    stack = list(outputs)
    seen: set[str] = set()
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        node = None if value in stops else model.producer(value)
        tensor_type = model.type_of(value)
        if node is not None:
            nodes.add(value)
            stack += _values(model, node)
        elif tensor_type is not None and (value in stops or not model.is_parameter(value)):
            leaves[value] = tensor_type
    ordered = [node for node in model.nodes if node.name in nodes]
    # Functions use constants of the top graph, which stands first among a model's nodes.
    return ordered, dict(sorted(leaves.items()))


def _part(model: Model, nodes: list[Node], leaves: dict[str, TensorType], outputs: Sequence[str]) -> Model:
    graph = GraphProto(name="site")
    used = {value for node in nodes for value in node.inputs}
    for value, tensor_type in leaves.items():
        tensor = graph.input.add(name=value).tensor.add()
        tensor.dims.extend(tensor_type.dims)
        tensor.data_type = tensor_type.dtype.wire
    graph.parameter.extend(p for p in model.parameters() if p.name in used and p.name not in leaves)
    for node in nodes:
        message = NodeProto()
        message.CopyFrom(node.proto)
        del message.input[:]
        message.input.extend(_values(model, node))
        graph.node.append(message)
    for output in outputs:
        graph.output.add(name=output)
    operators = {node.proto.op_type for node in nodes}
    table = [entry for reference, entry in model.primitives.items() if reference in operators]
    return Model(ModelProto(graph=graph, primitives=table))
