"""Writes a graph that was put together as MindSpore would have: order, numbers of operators and of primitives.

Imports no protobuf.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from attnfuse.tracing.blocks.drafts import Draft, Wanted, in_order


def write(wanted: Wanted, top: Any) -> Any:
    """The ModelProto of the graph; what is no node, parameter or primitive is that of `top`.

    MindSpore counts nodes and primitives with one counter, in the order in which it comes upon them.
    """
    model = type(top)()
    model.CopyFrom(top)
    graph, root = model.graph, model.graph.name
    for name in ("node", "parameter"):
        graph.ClearField(name)
    model.ClearField("primitives")
    inputs = {given.name for given in graph.input}
    for name, template in wanted.parameters:
        parameter = graph.parameter.add()
        parameter.CopyFrom(template)
        parameter.name = f"{root}:{name}"
        if parameter.ref_key:
            parameter.ref_key = name
    names: dict[int, str] = {}
    references: dict[int, str] = {}
    scopes: Counter[str] = Counter()
    count = 0
    for position, draft in enumerate(in_order(wanted.output)):
        node = graph.node.add()
        names[id(draft)] = name = f"{root}:{draft.op}_{position}:{position}"
        node.output.append(name)
        node.name = name
        _copy(draft, node)
        if draft.operator is None:
            node.op_type = "Constant"
            continue
        count += 1
        if draft.operator not in references:
            count += 1
            primitive = model.primitives.add()
            primitive.CopyFrom(wanted.primitives[draft.operator])
            primitive.name = f"{primitive.op_type}:{count}"
            references[draft.operator] = f"REF::{primitive.name}"
        node.op_type = references[draft.operator]
        for taken in draft.inputs:
            if isinstance(taken, Draft):
                node.input.append(names[id(taken)])
            else:
                node.input.append(taken if taken in inputs else f"{root}:{taken}")
        node.domain = f"{draft.scope}/{draft.op}-op{scopes[f'{draft.scope}/{draft.op}']}"
        scopes[f"{draft.scope}/{draft.op}"] += 1
    output = wanted.output
    graph.output[0].name = names[id(output)] if isinstance(output, Draft) else output
    return model


def _copy(draft: Draft, node: Any) -> None:
    """What a node says beside its name, its operator and its inputs."""
    for attribute in draft.template.attribute:
        if attribute.name != "shape" or draft.declared is None:
            node.attribute.add().CopyFrom(attribute)
    if draft.declared is not None:
        node.attribute.add().CopyFrom(draft.declared)
    node.node_attr.extend(draft.template.node_attr)
    node.primal_attr.extend(draft.template.primal_attr)
    _own_memory(node.attribute, draft.occurrence)


def _own_memory(attributes: Iterable[Any], occurrence: int) -> None:
    """Values share memory within one occurrence of a block only: addresses of another trace are other memory."""
    for attribute in attributes:
        for tensor in attribute.tensors:
            if tensor.ref_key.startswith("0x"):
                tensor.ref_key = f"{tensor.ref_key}_{occurrence}"
        _own_memory(attribute.values, occurrence)
