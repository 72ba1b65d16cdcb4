"""What is done to a message: each edit changes one thing, as the wire format has it, and says what it did.

An edit is given its own source of random numbers and a message to change in place. It returns one line, or "" where
the message has nothing that it could change. `EDITS` lists them with how often each is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from attnfuse.mindir.schema import AttributeProto, ModelProto, PrimitiveProto
from attnfuse.targets.operators import OPERATORS as TAKEN
from attnfuse.targets.operators import REFUSED
from tools.fuzz.drawing import (
    OTHERS,
    TEXTS,
    graph,
    name_of,
    some,
    value,
    whole,
)
from tools.fuzz.node_edits import (
    chain,
    change_inputs,
    change_operator,
    change_outputs,
    change_scope,
    drop_node,
    move_node,
    rename_value,
    repeat_node,
    rewire_alike,
    skip_node,
)
from tools.fuzz.value_edits import (
    change_attribute,
    change_constant,
    change_elements,
    change_number,
    change_tensor,
    change_type,
    element_type_everywhere,
    size_everywhere,
)

Edit = Callable[[Random, ModelProto], str]

OPERATORS = (*sorted({*TAKEN, *REFUSED}), *OTHERS)


def change_interface(random: Random, model: ModelProto) -> str:
    """An input or output: its type, its name, there twice, gone."""
    g = graph(random, model)
    leaves = g.input if random.random() < 0.5 else g.output
    if not len(leaves):
        return ""
    at = random.randrange(len(leaves))
    leaf, message = leaves[at], leaves[at].name[:60]
    what = random.choice(("type", "type", "type", "name", "twice", "gone", "no type", "two types", "tuple"))
    if what == "type" and len(leaf.tensor):
        return f"{message}: {change_tensor(random, leaf.tensor[0])}"
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
        return f"{message}: {change_elements(random, leaf.attr_info)}"
    return f"{message}: {what}"


def change_parameter(random: Random, model: ModelProto) -> str:
    """A weight: its type, its value, its place beside the graph."""
    g = graph(random, model)
    if not len(g.parameter):
        return ""
    at = random.randrange(len(g.parameter))
    parameter, message = g.parameter[at], g.parameter[at].name[:60]
    what = random.choice(("type", "type", "place", "name", "twice", "gone", "both", "none"))
    if what == "type":
        return f"{message}: {change_tensor(random, parameter)}"
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
    return f"parameter {message}: {what}"


def change_primitive(random: Random, model: ModelProto) -> str:
    """An entry of the table of primitives: of another operator or kind, with other attributes, twice, gone."""
    if not len(model.primitives):
        return ""
    at = random.randrange(len(model.primitives))
    entry = model.primitives[at]
    message = entry.name[:40]
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
        what = change_attribute(random, random.choice(entry.attribute))
    elif what == "attributes":
        what = change_attribute(random, entry.attribute.add(name=random.choice(("side_effect_mem", "mode", "x"))))
    else:
        entry.ClearField(random.choice(("op_type", "prim_type", "name", "instance_name")))
    return f"primitive {message}: {what}"


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
    return f"{name_of(n)} calls a function of its own, {what}"


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
    rewire_alike: 8,
    rename_value: 1,
    change_scope: 1,
    change_number: 8,
    change_constant: 2,
    change_type: 1,
    size_everywhere: 6,
    element_type_everywhere: 3,
    change_primitive: 1,
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
