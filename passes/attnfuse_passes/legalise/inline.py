"""Calls of functions that are called once: their nodes in the caller's place.

MindSpore leaves such functions where a part of a model is compiled by itself (a block of CogVideoX). The nodes keep
their names, which are unique in the file, so whoever knows a node of the function finds it. A function that is called
more than once, or handed about as a value, stays.

A constant that several functions use stands in whichever comes first in the file. Where one of them is inlined it moves
to the top graph, whose constants every function may use.
"""

from __future__ import annotations

from attnfuse.api import CALL, CONSTANT, Edit, GraphProto, Legalised, Model, Node, NodeProto


def inline(model: Model) -> list[Legalised]:
    """Change the model in place; one record for each call that is gone."""
    done: list[Legalised] = []
    while calls := _calls(model):
        _share_constants(model, [function for _, function in calls])
        edit = Edit(model)
        top = model.proto.graph
        calls = _calls(model)  # nodes of the model as it is now
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


def _share_constants(model: Model, functions: list[GraphProto]) -> None:
    """Move the constants to the top graph that stand in one function and are used in another, if either is inlined."""
    edit, top = Edit(model), model.proto.graph
    inlined = {function.name for function in functions}
    moved: list[NodeProto] = []
    for node in model.nodes:
        if node.op != CONSTANT or node.graph is top:
            continue
        users = {use.node.graph.name for use in model.uses(node.name) if use.node is not None}
        if users - {node.graph.name} and (users | {node.graph.name}) & inlined:
            moved.append(node.proto)
            edit.remove.add(node.name)
    if moved:
        edit.before[top.node[0].output[0]] = moved
        edit.apply()


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
