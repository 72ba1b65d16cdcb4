"""What is done to a message: each edit changes one thing, as the wire format has it, and says what it did.

An edit is given its own source of random numbers and a message to change in place. It returns one line, or "" where
the message has nothing that it could change. `EDITS` lists them with how often each is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from attnfuse.mindir.schema import AttributeProto, GraphProto, ModelProto, NodeProto, PrimitiveProto, TensorProto
from attnfuse.targets.operators import OPERATORS as TAKEN
from attnfuse.targets.operators import REFUSED
from tools.fuzz.drawing import (
    ATTRIBUTE_TYPES,
    ELEMENT_TYPES,
    OTHERS,
    REAL,
    TEXTS,
    graph,
    graphs,
    node,
    some,
    tensors,
    types,
    value,
    whole,
)

Edit = Callable[[Random, ModelProto], str]

OPERATORS = (*sorted({*TAKEN, *REFUSED}), *OTHERS)

DEEP = 3_000
"""Nodes in a row: more than Python's stack has frames."""


def _told(n: NodeProto) -> str:
    return (n.output[0] if len(n.output) else n.name)[:80]


# --- nodes


def drop_node(random: Random, model: ModelProto) -> str:
    """A node less; what reads it is left."""
    g = graph(random, model)
    if not len(g.node):
        return ""
    at = random.randrange(len(g.node))
    told = _told(g.node[at])
    del g.node[at]
    return f"drop node {told}"


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
    return f"repeat node {_told(n)}"


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
    return f"move node {_told(moved)} from {at} to {to}"


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
    return f"{what} input {at} of {_told(n)}"


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
    return f"rewire alike input {where} of {_told(n)}"


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
    return f"operator of {_told(n)} is {n.op_type[:80]}"


def change_outputs(random: Random, model: ModelProto) -> str:
    """A node without output, with two, or with one of another name."""
    n = node(random, model)
    if n is None or not len(n.output):
        return ""
    what = random.choice(("none", "two", "text", "taken", "text", "taken"))
    told = _told(n)
    if what == "none":
        del n.output[:]
    elif what == "two":
        n.output.append(f"{n.output[0]}_2")
    else:
        n.output[0] = random.choice(TEXTS) if what == "text" else value(random, model)
    return f"output of {told}: {what}"


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
    return f"scope of {_told(n)} is {n.domain[:60]!r}"


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
    return f"a chain of {DEEP} copies before {_told(g.node[at + DEEP])}"


# --- types and values


def _change_dims(random: Random, tensor: TensorProto) -> str:
    dims = list(tensor.dims)
    at = random.randrange(len(dims)) if dims else 0
    what = random.choice(("size", "size", "size", "size", "more", "less", "swap", "none"))
    if what == "size" and dims:
        dims[at] = whole(random, dims[at])
    elif what == "less" and dims:
        del dims[at]
    elif what == "swap" and len(dims) > 1:
        other = random.randrange(len(dims))
        dims[at], dims[other] = dims[other], dims[at]
    elif what == "none":
        dims = []
    else:
        dims.insert(at, whole(random))
    del tensor.dims[:]
    tensor.dims.extend(dims)
    return f"dims {dims}"


def _change_tensor(random: Random, tensor: TensorProto) -> str:
    what = random.random()
    if what < 0.55:
        return _change_dims(random, tensor)
    if what < 0.75:
        tensor.data_type = random.choice(ELEMENT_TYPES)
        return f"element type {tensor.data_type}"
    if what < 0.9:
        data = tensor.raw_data
        tensor.raw_data = random.choice(
            (b"", data[:-1], data + b"\0", data * 2, data[: len(data) // 2], b"\xff" * len(data), bytes(len(data)))
        )
        return f"{len(tensor.raw_data)} bytes of data"
    tensor.ClearField("raw_data")
    for field in (tensor.float_data, tensor.double_data):
        field.extend(random.choice(REAL) for _ in range(random.randrange(5)))
    for numbers in (tensor.int64_data, tensor.int32_data, tensor.uint64_data):
        numbers.extend(random.randrange(2**31) for _ in range(random.randrange(3)))
    return "data in other fields"


def _retype(random: Random, attribute: AttributeProto) -> str:
    attribute.type = random.choice(ATTRIBUTE_TYPES)
    return f"attribute of type {attribute.type}"


def _change_elements(random: Random, attribute: AttributeProto) -> str:
    values = list(attribute.values)
    what = random.choice(("drop", "double", "empty", "retype", "nest"))
    if what == "drop" and values:
        del attribute.values[random.randrange(len(values))]
    elif what == "double" and values:
        attribute.values.append(random.choice(values))
    elif what == "retype" and values:
        return _change_attribute(random, random.choice(values))
    elif what == "nest":
        inner = AttributeProto()
        inner.CopyFrom(attribute)
        for _ in range(random.choice((1, 2, 80))):
            outer = AttributeProto(name=attribute.name, type=AttributeProto.TUPLE)
            outer.values.append(inner)
            inner = outer
        attribute.CopyFrom(inner)
    else:
        del attribute.values[:]
    return f"elements: {what}"


def _change_attribute(random: Random, attribute: AttributeProto) -> str:
    held = list(tensors(attribute))
    what = random.random()
    if held and what < 0.5:
        return _change_tensor(random, random.choice(held))
    if what < 0.6:
        return _retype(random, attribute)
    if len(attribute.values) and what < 0.8:
        return _change_elements(random, attribute)
    if what < 0.87:
        attribute.tensors.add(data_type=random.choice(ELEMENT_TYPES)).dims.extend((whole(random),))
        return "a tensor more"
    numbers = attribute.ints
    if len(numbers):
        at = random.randrange(len(numbers))
        numbers[at] = whole(random, numbers[at])
    attribute.i = whole(random, attribute.i)
    attribute.f = random.choice(REAL)
    attribute.d = random.choice(REAL)
    for reals in (attribute.floats, attribute.doubles):
        for at in range(len(reals)):
            reals[at] = random.choice(REAL)
    attribute.s = random.choice((b"", b"\xff\xfe", b"none", b"x" * 1_000))
    return f"numbers {attribute.i}, {attribute.f}"


def change_type(random: Random, model: ModelProto) -> str:
    """The type of a node's result: other sizes, another element type, a tuple, none."""
    n = node(random, model, constant=False)
    if n is None:
        return ""
    shape = next((a for a in n.attribute if a.name == "shape"), None)
    if shape is None:
        return ""
    what = random.random()
    if what < 0.12:
        n.attribute.remove(shape)
        return f"no type of {_told(n)}"
    if what < 0.2:
        n.attribute.add().CopyFrom(shape)
        return f"type of {_told(n)} twice: {_change_attribute(random, n.attribute[-1])}"
    return f"type of {_told(n)}: {_change_attribute(random, shape)}"


def change_constant(random: Random, model: ModelProto) -> str:
    """The value of a constant."""
    n = node(random, model, constant=True)
    if n is None or not len(n.attribute):
        return ""
    if random.random() < 0.05:
        del n.attribute[:]
        return f"no value of {_told(n)}"
    return f"value of {_told(n)}: {_change_attribute(random, n.attribute[0])}"


def change_number(random: Random, model: ModelProto) -> str:
    """A number of a constant, of the same kind: a size, an axis, a factor."""
    n = node(random, model, constant=True)
    if n is None or not len(n.attribute):
        return ""
    a = n.attribute[0]
    element = some(random, a.values) or a
    if len(element.ints):
        element.ints[0] = whole(random, element.ints[0])
    elif len(element.floats):
        element.floats[0] = random.choice(REAL)
    elif element.HasField("i"):
        element.i = whole(random, element.i)
    elif element.HasField("f"):
        element.f = random.choice(REAL)
    elif len(element.tensors):
        return f"value of {_told(n)}: {_change_tensor(random, element.tensors[0])}"
    else:
        return ""
    return f"number of {_told(n)}: {element.ints[:1] or element.floats[:1] or (element.i, element.f)}"


def size_everywhere(random: Random, model: ModelProto) -> str:
    """A size is another one wherever it occurs: the graph still agrees with itself, as far as this goes."""
    sizes = sorted({dim for tensor in types(model) for dim in tensor.dims})
    old = some(random, sizes)
    if old is None:
        return ""
    new = whole(random, old) if random.random() < 0.7 else -1
    for tensor in types(model):
        for at, dim in enumerate(tensor.dims):
            if dim == old:
                tensor.dims[at] = new
    for g in graphs(model):
        for n in g.node:
            for a in n.attribute if n.op_type == "Constant" else ():
                for element in (a, *a.values):
                    for at, number in enumerate(element.ints):
                        if number == old > 1:
                            element.ints[at] = new
    return f"size {old} is {new} everywhere"


def element_type_everywhere(random: Random, model: ModelProto) -> str:
    """An element type is another one wherever it occurs."""
    found = sorted({tensor.data_type for tensor in types(model)})
    old = some(random, found)
    if old is None:
        return ""
    new = random.choice(ELEMENT_TYPES)
    for tensor in types(model):
        if tensor.data_type == old:
            tensor.data_type = new
    return f"element type {old} is {new} everywhere"


# --- the interface, weights, functions, the table of primitives


def change_interface(random: Random, model: ModelProto) -> str:
    """An input or output: its type, its name, there twice, gone."""
    g = graph(random, model)
    leaves = g.input if random.random() < 0.5 else g.output
    if not len(leaves):
        return ""
    at = random.randrange(len(leaves))
    leaf, told = leaves[at], leaves[at].name[:60]
    what = random.choice(("type", "type", "type", "name", "twice", "gone", "no type", "two types", "tuple"))
    if what == "type" and len(leaf.tensor):
        return f"{told}: {_change_tensor(random, leaf.tensor[0])}"
    if what == "name":
        leaf.name = random.choice(TEXTS) if random.random() < 0.5 else value(random, model)
    elif what == "twice":
        leaves.add().CopyFrom(leaf)
    elif what == "gone":
        del leaves[at]
    elif what == "no type":
        del leaf.tensor[:]
    elif what == "two types" and len(leaf.tensor):
        leaf.tensor.add().CopyFrom(leaf.tensor[0])
    else:
        leaf.attr_info.type = AttributeProto.TUPLE
        leaf.attr_info.values.add(type=AttributeProto.TENSORS).tensors.extend(leaf.tensor)
        return f"{told}: {_change_elements(random, leaf.attr_info)}"
    return f"{told}: {what}"


def change_parameter(random: Random, model: ModelProto) -> str:
    """A weight: its type, its value, its place beside the graph."""
    g = graph(random, model)
    if not len(g.parameter):
        return ""
    at = random.randrange(len(g.parameter))
    parameter, told = g.parameter[at], g.parameter[at].name[:60]
    what = random.choice(("type", "type", "place", "name", "twice", "gone", "both", "none"))
    if what == "type":
        return f"{told}: {_change_tensor(random, parameter)}"
    if what == "place":
        external = parameter.external_data
        elsewhere = ("", "../data_0", "/etc/hostname", "\0", "x")
        external.location = random.choice((*(external.location,) * 3, *elsewhere))
        external.offset, external.length = whole(random, external.offset), whole(random, external.length)
    elif what == "name":
        parameter.name = random.choice(TEXTS)
    elif what == "twice":
        g.parameter.add().CopyFrom(parameter)
    elif what == "gone":
        del g.parameter[at]
    elif what == "both":
        parameter.raw_data = b"\0\0"
        parameter.external_data.location = "graph_variables/data_0"
    else:
        parameter.ClearField("raw_data")
        parameter.ClearField("external_data")
    return f"parameter {told}: {what}"


def change_primitive(random: Random, model: ModelProto) -> str:
    """An entry of the table of primitives: of another operator or kind, with other attributes, twice, gone."""
    if not len(model.primitives):
        return ""
    at = random.randrange(len(model.primitives))
    entry = model.primitives[at]
    told = entry.name[:40]
    what = random.choice(("operator", "operator", "operator", "kind", "name", "twice", "gone", "attributes", "none"))
    if what == "operator":
        entry.op_type = random.choice(OPERATORS)
        what = entry.op_type
    elif what == "kind":
        entry.prim_type = (
            PrimitiveProto.PRIMITIVE
            if entry.prim_type == PrimitiveProto.PRIMITIVE_FUNCTION
            else PrimitiveProto.PRIMITIVE_FUNCTION
        )
    elif what == "name":
        entry.name = random.choice(TEXTS)
    elif what == "twice":
        model.primitives.add().CopyFrom(entry)
    elif what == "gone":
        del model.primitives[at]
    elif what == "attributes" and len(entry.attribute):
        what = _change_attribute(random, random.choice(entry.attribute))
    elif what == "attributes":
        what = _change_attribute(random, entry.attribute.add(name=random.choice(("side_effect_mem", "mode", "x"))))
    else:
        entry.ClearField(random.choice(("op_type", "prim_type", "name", "instance_name")))
    return f"primitive {told}: {what}"


def function_of_rest(random: Random, model: ModelProto) -> str:
    """A node becomes a call of a new function that holds it; the function may be wrong in how it is called."""
    g = graph(random, model)
    n = some(random, [m for m in g.node if m.op_type != "Constant" and len(m.output)])
    if n is None:
        return ""
    name = f"{model.graph.name}_made"
    body = model.functions.add(name=name)
    inner = body.node.add()
    inner.CopyFrom(n)
    inner.output[0] = f"{name}:{n.output[0]}"
    for at in range(len(n.input)):
        if random.random() < 0.8:
            inner.input[at] = f"{name}:in{at}"
            body.input.add(name=inner.input[at]).tensor.add(data_type=1).dims.extend((2, 3))
    what = random.choice(("as it is", "recursive", "no output", "few arguments", "many arguments", "by value"))
    if what == "recursive":
        again = body.node.add(name="again", op_type=f"REF::{name}")
        again.output.append(f"{name}:again")
        again.input.extend(inner.input)
    if what != "no output":
        body.output.add(name=(body.node[-1] if what == "recursive" else inner).output[0])
    arguments = [read for at, read in enumerate(n.input) if inner.input[at] != read]
    arguments = arguments[1:] if what == "few arguments" else arguments
    arguments += [n.input[0]] if what == "many arguments" and len(n.input) else []
    del n.input[:]
    n.input.extend(arguments)
    n.op_type = f"REF::{name}" if what != "by value" else f"REF::{value(random, model)}"
    return f"{_told(n)} calls a function of its own, {what}"


def change_function(random: Random, model: ModelProto) -> str:
    """A function is gone, there twice, of another name, or empty."""
    if not len(model.functions):
        return ""
    at = random.randrange(len(model.functions))
    what = random.choice(("gone", "twice", "name", "empty", "call itself"))
    f = model.functions[at]
    if what == "gone":
        del model.functions[at]
    elif what == "twice":
        model.functions.add().CopyFrom(f)
    elif what == "name":
        f.name = random.choice((*TEXTS, model.graph.name))
    elif what == "empty":
        del f.node[:]
    else:
        n = some(random, f.node)
        if n is not None:
            n.op_type = f"REF::{f.name}"
    return f"function {at}: {what}"


def change_header(random: Random, model: ModelProto) -> str:
    """What the file says of itself."""
    field = random.choice(("model_version", "producer_name", "ir_version", "graph"))
    text = random.choice((*TEXTS, "2.7.1", "2.10.0", "9", "2.7.x", "2..7", "-1.0"))
    if field == "graph":
        model.graph.name = text
    else:
        setattr(model, field, text)
    return f"{field} is {text[:40]!r}"


GENTLE: dict[Edit, int] = {
    skip_node: 4,
    rewire_alike: 6,
    rename_value: 1,
    change_scope: 1,
    change_number: 8,
    change_constant: 2,
    change_type: 1,
    size_everywhere: 6,
    element_type_everywhere: 3,
    change_primitive: 2,
    move_node: 1,
    function_of_rest: 1,
    change_header: 1,
}
"""Edits after which a graph may still be one."""

EDITS: dict[Edit, int] = {
    rewire_alike: 4,
    drop_node: 2,
    skip_node: 6,
    repeat_node: 2,
    move_node: 2,
    change_inputs: 10,
    change_operator: 5,
    change_outputs: 2,
    rename_value: 3,
    change_scope: 2,
    chain: 1,
    change_type: 12,
    change_constant: 8,
    change_number: 10,
    size_everywhere: 10,
    element_type_everywhere: 5,
    change_interface: 6,
    change_parameter: 4,
    change_primitive: 8,
    function_of_rest: 3,
    change_function: 2,
    change_header: 1,
}
