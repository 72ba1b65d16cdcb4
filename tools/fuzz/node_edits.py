"""Edits of the nodes of a graph: which there are, in which order, what each reads, of which operator it is."""

from __future__ import annotations

from random import Random

from attnfuse.mindir.schema import GraphProto, ModelProto, NodeProto
from tools.fuzz.drawing import (
    TEXTS,
    graph,
    graphs,
    name_of,
    node,
    some,
    tensors,
    value,
)

DEEP = 3_000
"""Nodes in a row: more than Python's stack has frames."""


def drop_node(random: Random, model: ModelProto) -> str:
    """A node less; what reads it is left."""
    g = graph(random, model)
    if not len(g.node):
        return ""
    at = random.randrange(len(g.node))
    message = name_of(g.node[at])
    del g.node[at]
    return f"drop node {message}"


def skip_node(random: Random, model: ModelProto) -> str:
    """A node less; what read it reads its first input."""
    n = node(random, model, constant=False)
    if n is None or not len(n.input) or not len(n.output):
        return ""
    gone, stead = n.output[0], n.input[0]
    for g in graphs(model):
        for other in g.node:
            for at, name in enumerate(other.input):
                if name == gone:
                    other.input[at] = stead
        for output in g.output:
            if output.name == gone:
                output.name = stead
    return f"read {stead[:80]} instead of {gone[:80]}"


def repeat_node(random: Random, model: ModelProto) -> str:
    """A node twice, under its own name or a new one."""
    g = graph(random, model)
    n = some(random, g.node)
    if n is None:
        return ""
    again = g.node.add()
    again.CopyFrom(n)
    if random.random() < 0.7 and len(again.output):
        again.output[0] += "_again"
    return f"repeat node {name_of(n)}"


def move_node(random: Random, model: ModelProto) -> str:
    """A node stands elsewhere, often just beside its place."""
    g = graph(random, model)
    if len(g.node) < 2:
        return ""
    at = random.randrange(len(g.node))
    to = min(len(g.node) - 1, at + 1) if random.random() < 0.5 else random.randrange(len(g.node))
    nodes = list(g.node)
    moved = NodeProto()
    moved.CopyFrom(nodes.pop(at))
    nodes.insert(to, moved)
    kept = GraphProto()
    kept.node.extend(nodes)
    del g.node[:]
    g.node.extend(kept.node)
    return f"move node {name_of(moved)} from {at} to {to}"


def change_inputs(random: Random, model: ModelProto) -> str:
    """Inputs of a node dropped, doubled, swapped, or read from elsewhere."""
    n = node(random, model, constant=False)
    if n is None:
        return ""
    inputs = list(n.input)
    at = random.randrange(len(inputs)) if inputs else 0
    what = random.choice(("drop", "double", "swap", "rewire", "rewire", "rewire", "rewire", "add", "clear"))
    if what == "drop" and inputs:
        del inputs[at]
    elif what == "double" and inputs:
        inputs.insert(at, inputs[at])
    elif what == "swap" and len(inputs) > 1:
        other = random.randrange(len(inputs))
        inputs[at], inputs[other] = inputs[other], inputs[at]
    elif what == "rewire" and inputs:
        inputs[at] = random.choice(TEXTS) if random.random() < 0.05 else value(random, model)
    elif what == "add":
        inputs.append(value(random, model))
    elif what == "clear":
        inputs = []
    del n.input[:]
    n.input.extend(inputs)
    return f"{what} input {at} of {name_of(n)}"


def rewire_alike(random: Random, model: ModelProto) -> str:
    """An input of a node is another value of its type that stands before it."""
    g = graph(random, model)
    at = random.randrange(len(g.node) + 1)
    if at == len(g.node) or not len(g.node[at].input) or g.node[at].op_type == "Constant":
        return ""
    n, where = g.node[at], random.randrange(len(g.node[at].input))
    kinds = {m.output[0]: _declared(m) for m in g.node[:at] if len(m.output)}
    kinds |= {leaf.name: [(t.data_type, *t.dims) for t in leaf.tensor] for leaf in g.input}
    wanted = kinds.get(n.input[where])
    found = some(random, [name for name, kind in kinds.items() if kind == wanted and name != n.input[where]])
    if not found:
        return ""
    n.input[where] = found
    return f"rewire alike input {where} of {name_of(n)}"


def _declared(n: NodeProto) -> list[tuple[int, ...]]:
    held = [t for a in n.attribute for t in tensors(a) if a.name in ("shape", "value")]
    return [(t.data_type, *t.dims) for t in held] or [tuple(a.type for a in n.attribute)]


def change_operator(random: Random, model: ModelProto) -> str:
    """A node of another operator: another entry of the table, a constant, a call, nothing."""
    n = node(random, model)
    if n is None:
        return ""
    primitive = some(random, model.primitives)
    choices = ["Constant", "", "REF::", f"REF::{value(random, model)}", random.choice(TEXTS)]
    choices += [f"REF::{primitive.name}"] * 10 if primitive is not None else []
    n.op_type = random.choice(choices)
    return f"operator of {name_of(n)} is {n.op_type[:80]}"


def change_outputs(random: Random, model: ModelProto) -> str:
    """A node without output, with two, or with one of another name."""
    n = node(random, model)
    if n is None or not len(n.output):
        return ""
    what = random.choice(("none", "two", "text", "taken", "text", "taken"))
    message = name_of(n)
    if what == "none":
        del n.output[:]
    elif what == "two":
        n.output.append(f"{n.output[0]}_2")
    else:
        n.output[0] = random.choice(TEXTS) if what == "text" else value(random, model)
    return f"output of {message}: {what}"


def rename_value(random: Random, model: ModelProto) -> str:
    """A value of another name, wherever it is read."""
    old, new = value(random, model), random.choice(TEXTS)
    for g in graphs(model):
        for leaf in (*g.input, *g.output):
            leaf.name = new if leaf.name == old else leaf.name
        for parameter in g.parameter:
            parameter.name = new if parameter.name == old else parameter.name
        for n in g.node:
            for names in (n.input, n.output):
                for at, name in enumerate(names):
                    if name == old:
                        names[at] = new
    return f"rename {old[:80]} to {new[:40]!r}"


def change_scope(random: Random, model: ModelProto) -> str:
    """A node's module scope is some text."""
    n = node(random, model)
    if n is None:
        return ""
    scope = n.domain
    n.domain = random.choice((*TEXTS, f"{scope}/{scope}", scope.replace("/", "//"), scope.partition("/")[0]))
    return f"scope of {name_of(n)} is {n.domain[:60]!r}"


def chain(random: Random, model: ModelProto) -> str:
    """Thousands of nodes in a row between a node and one of its inputs: copies of a node of one tensor input."""
    g = graph(random, model)
    n = some(random, g.node)
    if n is None or not len(n.input) or n.op_type == "Constant" or not len(n.output):
        return ""
    nodes = list(g.node)
    at = nodes.index(n)
    made = []
    before = n.input[0]
    for number in range(DEEP):
        link = NodeProto()
        link.CopyFrom(n)
        link.output[0] = f"{n.output[0]}_{number}"
        link.input[0] = before
        before = link.output[0]
        made.append(link)
    kept = GraphProto()
    kept.node.extend([*nodes[:at], *made, *nodes[at:]])
    del g.node[:]
    g.node.extend(kept.node)
    g.node[at + DEEP].input[0] = before
    return f"a chain of {DEEP} copies before {name_of(g.node[at + DEEP])}"
