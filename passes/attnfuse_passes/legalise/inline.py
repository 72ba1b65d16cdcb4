"""Calls of functions that are called once: their nodes in the caller's place.

MindSpore leaves such functions where a part of a model is compiled by itself (a block of CogVideoX). The nodes keep
their names, which are unique in the file, so whoever knows a node of the function finds it. A function that is called
more than once, or handed about as a value, stays.
"""

from __future__ import annotations

from attnfuse.api import CALL, CONSTANT, Edit, GraphProto, Legalised, Model, Node, NodeProto


def inline(model: Model) -> list[Legalised]:
    """Change the model in place; one record for each call that is gone."""
    done: list[Legalised] = []
    while calls := _calls(model):
        edit = Edit(model)
        top = model.proto.graph
        for call, function in calls:
            # A function may use any constant of the top graph; its nodes must then stand behind them.
            late = [node for node in _constants(model, function) if node.graph is top and node.index > call.index]
            late = [node for node in late if node.name not in edit.remove]
            edit.remove.update(node.name for node in late)
            moved: list[NodeProto] = [node.proto for node in late]
            edit.before[call.name] = [*moved, *function.node]
            edit.remove.add(call.name)
            edit.rename.update(zip((value.name for value in function.input), call.inputs, strict=True))
            edit.rename[call.name] = function.output[0].name
            edit.drop_functions.add(function.name)
            done.append(Legalised(CALL, tuple(sorted({node.op for node in model.nodes if node.graph is function}))))
        edit.apply()
    return done


def _calls(model: Model) -> list[tuple[Node, GraphProto]]:
    """Calls in the top graph of functions that nothing else refers to."""
    functions = {function.name: function for function in model.proto.functions}
    found = []
    for node in model.nodes:
        if node.op != CALL or node.graph is not model.proto.graph:
            continue
        function = functions.get(node.proto.op_type.removeprefix("REF::"))
        if function is not None and len(model.uses(function.name)) == 1 and len(function.output) == 1:
            found.append((node, function))
    return found


def _constants(model: Model, function: GraphProto) -> list[Node]:
    """The constants that the function's nodes use, each once."""
    names = dict.fromkeys(name for message in function.node for name in message.input)
    nodes = (model.producer(name) for name in names)
    return [node for node in nodes if node is not None and node.op == CONSTANT]
