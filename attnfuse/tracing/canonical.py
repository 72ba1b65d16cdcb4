"""Gives a traced MindIR model names that depend on nothing but the graph.

MindSpore names values after counters and the Python variables they passed through (in no fixed order), and writes
into the graph's attributes the time of the trace and the address of the cell. Here a value becomes
`<component>:<op>_<position>:<position>`, and the rest goes.
Worker side, but imports nothing: it edits the message it is given.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def canonicalise(model: Any, component: str) -> None:
    """Rename the values of `model`, a MindIR ModelProto, in place; inputs and parameters keep their own names.

    The root graph is named `component`; other functions keep their names, which nodes refer to by string.
    """
    operators = {f"REF::{primitive.name}": primitive.op_type for primitive in model.primitives}
    names: dict[str, str] = {}
    position = 0
    root = model.graph.name
    for graph in (model.graph, *model.functions):
        prefix = component if graph.name == root else graph.name
        for value in (*graph.input, *graph.parameter):
            names[value.name] = f"{prefix}:{value.name.partition(':')[2]}"
        for node in graph.node:
            # What is no operator is a function or a value (a closure) that the node calls.
            operator = operators.get(node.op_type, "Constant" if node.op_type == "Constant" else "call")
            for output in node.output:
                # The loader shows what stands between the first colon and the last.
                names[output] = f"{prefix}:{operator}_{position}:{position}"
                position += 1

    for graph in (model.graph, *model.functions):
        for value in (*graph.input, *graph.parameter, *graph.output):
            value.name = names[value.name]
        for node in graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names[name] for name in node.output]
            node.name = names.get(node.name, node.name)
            called = node.op_type.removeprefix("REF::")
            if called in names:
                node.op_type = f"REF::{names[called]}"
        for attribute in graph.attribute:
            if attribute.name == "compile_phase":
                attribute.s = b"export.mindir"
        graph.attribute.sort(key=lambda attribute: attribute.name)
        # Where and what a backward graph was read from: a path of this machine, and of no use to inference.
        graph.ClearField("bprop_hash")
        graph.ClearField("bprop_filepath")
    _name_references(model)
    model.graph.name = component
    model.primitives.sort(key=lambda primitive: primitive.name)  # written in the order of their addresses


def _name_references(model: Any) -> None:
    """Give values that share memory (views and what they are views of) numbers in place of addresses."""
    numbers: dict[str, str] = {}

    def visit(attributes: Iterable[Any]) -> None:
        for attribute in attributes:
            for tensor in attribute.tensors:
                if tensor.ref_key.startswith("0x"):
                    tensor.ref_key = numbers.setdefault(tensor.ref_key, f"memory_{len(numbers)}")
            visit(attribute.values)

    for graph in (model.graph, *model.functions):
        for node in graph.node:
            visit(node.attribute)
        for output in graph.output:
            visit([output.attr_info])
