"""A graph that was put together is written as MindSpore writes one."""

from __future__ import annotations

import pytest

from attnfuse.mindir import codec
from attnfuse.mindir.schema import ModelProto
from attnfuse.tracing.blocks.drafts import Draft, Wanted, in_order
from attnfuse.tracing.blocks.writing import write
from attnfuse.tracing.canonical import canonicalise
from tools.corpus import store


def draft_of(message: ModelProto) -> Wanted:
    """The graph as it would be wanted, had it been put together."""
    table = {f"REF::{primitive.name}": number for number, primitive in enumerate(message.primitives)}
    made: dict[str, Draft | str] = {given.name: given.name for given in message.graph.input}
    made |= {parameter.name: parameter.name.partition(":")[2] for parameter in message.graph.parameter}
    for node in message.graph.node:
        number = table.get(node.op_type)
        op = "Constant" if number is None else message.primitives[number].op_type
        scope = node.domain.rpartition("/")[0]
        made[node.output[0]] = Draft(node, number, op, [made[name] for name in node.input], scope)
    parameters = tuple((parameter.name.partition(":")[2], parameter) for parameter in message.graph.parameter)
    return Wanted(made[message.graph.output[0].name], tuple(message.primitives), parameters)


@pytest.mark.parametrize("name", ["sd3-float16", "unet_sdxl-float16", "flux-float16", "clip_text_mask-float32"])
def test_order_names_and_scopes_are_those_of_mindspore(name: str) -> None:
    message = codec.parse(store.read(name), name)
    made = write(draft_of(message), message)
    canonicalise(made, message.graph.name)
    assert [node.output[0] for node in made.graph.node] == [node.output[0] for node in message.graph.node]
    assert [list(node.input) for node in made.graph.node] == [list(node.input) for node in message.graph.node]
    assert [node.domain for node in made.graph.node] == [node.domain for node in message.graph.node]
    assert made.graph.parameter == message.graph.parameter
    assert made.graph.output == message.graph.output
    # Only the numbers of primitives may be others: MindSpore gives some to constants.
    for graph in (made, message):
        names = {f"REF::{primitive.name}": f"REF::{primitive.op_type}" for primitive in graph.primitives}
        for node in graph.graph.node:
            node.op_type = names.get(node.op_type, node.op_type)
    assert made.graph == message.graph


def test_memory_of_one_occurrence_is_not_that_of_another() -> None:
    message = codec.parse(store.read("clip_text_mask-float32"), "clip")
    wanted = draft_of(message)
    viewed = [draft for draft in in_order(wanted.output) if draft.op == "Reshape"][:2]
    for occurrence, draft in enumerate(viewed):
        draft.occurrence = occurrence
        declared = draft.type_attribute()
        declared.tensors[0].ref_key = "0x1"
    made = write(wanted, message)
    keys = [a.tensors[0].ref_key for node in made.graph.node for a in node.attribute if a.tensors]
    assert [key for key in keys if key.startswith("0x")] == ["0x1_0", "0x1_1"]
