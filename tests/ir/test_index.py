"""The index that changes keep is the one that the changed message, read anew, would have."""

from __future__ import annotations

import random

import pytest

from attnfuse.errors import SourceError
from attnfuse.ir.check import Checker, check_graph
from attnfuse.ir.edit import Edit
from attnfuse.ir.graph import Model, Node
from attnfuse.mindir import codec
from attnfuse.mindir.schema import ModelProto, NodeProto, TensorProto
from tests.support.graphs import GraphBuilder
from tools import freeze
from tools.corpus import store

NAMES = ["ascend_unet_sdxl-float16", "clip_text_mask-float16", "cogvideox-float32", "lumina2-float16"]
"""The last two have functions."""


def picture(model: Model) -> dict[str, object]:
    """All that an index tells, by names."""
    values = [*model._producers, *model._parameters, *model._inputs, *model._functions]
    return {
        "nodes": [(n.name, n.op, n.index, n.inputs, n.reference, n.callee, n.graph.name) for n in model.nodes],
        "messages": [[m.output[0] for m in graph.node] for graph in model.graphs],
        "fields": [(list(n.proto.input), n.proto.op_type) for n in model.nodes],
        "producers": {name: node.index for name, node in model._producers.items()},
        "held": all(model.producer(node.name) is node for node in model.nodes),
        "leaves": [sorted(model._parameters), sorted(model._inputs)],
        "primitives": list(model.primitives),
        "operators": sorted(model._operators.items()),
        "uses": {
            value: [(use.node and use.node.name, use.position) for use in model.uses(value)] for value in sorted(values)
        },
        "read by": sorted(model._uses),
        "types": {value: model.types_of(value) for value in values},
        "literals": {value: repr(model.literal(value)) for value in values if model.is_literal(value)},
    }


def check(model: Model) -> None:
    kept = picture(model)
    anew = picture(Model(model.proto))
    for what, told in anew.items():
        assert kept[what] == told, what


@pytest.mark.parametrize("runtime", ["lite", "mindspore"])
@pytest.mark.parametrize("name", NAMES)
def test_after_every_edit_of_every_pass(name: str, runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    apply, edits, checker = Edit.apply, 0, Checker()
    left: dict[Node, bytes] = {}

    def applied(edit: Edit) -> None:
        nonlocal edits, left
        # Nobody changes a message but through an edit: who knows a Node again relies upon that.
        messages = {node: node.proto.SerializeToString() for node in edit.model.nodes}
        assert all(messages[node] == was for node, was in left.items() if node in messages)
        picture(edit.model)  # so that there is something to forget
        changes = not edit.is_empty
        apply(edit)
        left = {node: node.proto.SerializeToString() for node in edit.model.nodes}
        if changes:
            assert checker.check(edit.model) == check_graph(edit.model)
            check(edit.model)
            edits += 1

    monkeypatch.setattr(Edit, "apply", applied)
    outcome = freeze.outcome(store.read(name), freeze.Configuration(runtime, "default", "ascend910b"))
    assert edits or outcome in ("source", freeze.SOURCE)


def two_graphs() -> ModelProto:
    """A graph of 30 nodes that read each other, and a function of 10 that also reads the graph's constants."""
    g = GraphBuilder()
    values = [g.input("x", (2,)), g.input("y", (2,)), g.weight("w", (2,))]
    draw = random.Random(7)
    for _ in range(30):
        values.append(g.op("Add", draw.choice(values[-8:]), draw.choice(values)))
    g.output(values[-1])
    constant = g.constant(3.0)
    proto, add = g.build(), g.graph.node[3]
    inner = proto.functions.add(name="inner")
    inner.input.add(name="inner:x")
    last = "inner:x"
    for number in range(10):
        made = inner.node.add(name=f"inner:{number}", op_type="REF::Add:0", output=[f"inner:{number}"])
        made.input.extend([last, constant])
        made.attribute.add().CopyFrom(next(a for a in add.attribute if a.name == "shape"))
        last = made.output[0]
    inner.output.add(name=last)
    proto.graph.node.add(name="call", op_type="REF::inner", output=["call"], input=[values[0]])
    return proto


def drawn(model: Model, draw: random.Random, run: int) -> tuple[Edit, dict[str, list[str]]]:
    """Changes that keep the graph in order, and the values of each graph's nodes as they then stand."""
    edit = Edit(model)
    wanted: dict[str, list[str]] = {graph.name: [] for graph in model.graphs}

    def like(message: NodeProto, name: str) -> NodeProto:
        made = NodeProto()
        made.CopyFrom(message)
        made.name = made.output[0] = name
        return made

    for node in model.nodes:
        order, message = wanted[node.graph.name], node.proto
        binary = node.op == "Add"
        if binary and draw.random() < 0.2:
            # Two nodes in front, the second of which reads the first.
            first, second = (like(message, f"{node.name}-{run}-{n}") for n in (1, 2))
            second.input[draw.randrange(2)] = first.name
            edit.before[node.name] = [first, second]
            order += [first.name, second.name]
            if draw.random() < 0.5:
                instead = like(message, node.name)
                instead.input[0] = second.name
                edit.replace[node.name] = instead
        elif binary and draw.random() < 0.15:
            edit.arguments[node.name, draw.randrange(2)] = node.inputs[0]
            order.append(node.name)
            continue
        if binary and node.name not in edit.replace and draw.random() < 0.15:
            edit.rename[node.name] = draw.choice(node.inputs)
            edit.remove.add(node.name)
        else:
            order.append(node.name)
    return edit, wanted


def test_after_edits_at_random() -> None:
    draw, model = random.Random(3), Model(two_graphs())
    for run in range(10):
        picture(model)
        edit, wanted = drawn(model, draw, run)
        edit.apply()
        assert {graph.name: [n.output[0] for n in graph.node] for graph in model.graphs} == wanted
        check(model)
    assert Model(model.proto).nodes


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_is_what_its_message_read_anew_would_be(name: str) -> None:
    model = Model(codec.parse(store.read(name), name))
    assert picture(model.copy()) == picture(Model(model.proto))


def test_an_edit_of_a_copy_leaves_the_other_as_it_is() -> None:
    draw, model = random.Random(5), Model(two_graphs())
    told, message = picture(model), model.proto.SerializeToString()
    copy = model.copy()
    for run in range(3):
        drawn(copy, draw, run)[0].apply()
        check(copy)
    assert (picture(model), model.proto.SerializeToString()) == (told, message)
    assert copy.proto.SerializeToString() != message


def test_what_changes_touched_is_known_of_a_model_and_its_copies() -> None:
    model = Model(two_graphs())
    then, first = list(model.history), adds(model)[0]
    copy, other = model.copy(), Model(model.proto)
    edit = Edit(copy)
    edit.arguments[adds(copy)[1], 0] = model.proto.graph.input[0].name
    edit.apply()
    assert copy.touched_since(then) == {adds(copy)[1]}
    assert copy.touched_since(copy.history) == model.touched_since(then) == set()
    assert model.touched_since(copy.history) is other.touched_since(then) is copy.touched_since([]) is None
    edit = Edit(copy)
    edit.remove.add(first)
    edit.rename[first] = model.proto.graph.input[0].name
    readers = {use.node.name for use in copy.uses(first) if use.node is not None}
    edit.apply()
    assert copy.touched_since(then) == {first, adds(model)[1], *readers}
    copy.index()
    assert copy.touched_since(then) is None


def test_a_node_that_stays_is_the_same_object() -> None:
    model = Model(two_graphs())
    edit, _ = drawn(model, random.Random(1), 0)
    stay = [node for node in model.nodes if node.name not in edit.remove | edit.replace.keys()]
    edit.apply()
    held = set(map(id, model.nodes))
    assert all(id(node) in held and node.proto is node.graph.node[node.index] for node in stay)
    assert edit.remove
    assert edit.replace


def test_weights_and_primitives_come_with_what_reads_them() -> None:
    model = Model(two_graphs())
    node = next(node for node in model.nodes if node.op == "Add")
    edit = Edit(model)
    edit.new_weights = {name: TensorProto(name=name, data_type=1, dims=[2]) for name in ("graph:v", "graph:idle")}
    made = NodeProto()
    made.CopyFrom(node.proto)
    made.input[1] = "graph:v"
    made.op_type = edit.primitive("Mul", edit.model.proto.primitives[0].prim_type)
    edit.replace[node.name] = made
    edit.apply()
    check(model)
    assert model.is_parameter("graph:v")
    assert not model.is_parameter("graph:idle")
    again = model.producer(node.name)
    assert again is not None
    assert again.op == "Mul"


def adds(model: Model) -> list[str]:
    return [node.name for node in model.nodes if node.op == "Add" and node.graph is model.proto.graph]


def without_maker(edit: Edit) -> None:
    edit.remove.add(adds(edit.model)[0])


def twice(edit: Edit) -> None:
    first, second, *_ = adds(edit.model)
    node = edit.model.producer(first)
    assert node is not None
    edit.before[second] = [node.proto]


def too_early(edit: Edit) -> None:
    first, *_, last = adds(edit.model)
    edit.rename[first] = last


def without_output(edit: Edit) -> None:
    edit.remove.add(edit.model.proto.graph.output[0].name)


def unlisted(edit: Edit) -> None:
    edit.drop_primitives.add("REF::Add:0")


def unnamed(edit: Edit) -> None:
    edit.before[adds(edit.model)[0]] = [NodeProto(name="a", op_type="REF::Add:0", output=[""])]


def too_few(edit: Edit) -> None:
    edit.before["call"] = [NodeProto(name="a", op_type="REF::inner", output=["a"])]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (without_maker, "which nothing before it defines"),
        (twice, "is defined twice"),
        (too_early, "which nothing before it defines"),
        (without_output, "is not defined"),
        (unlisted, "is not in the primitive table"),
        (unnamed, "gives a value without a name"),
        (too_few, "calls inner with 0 arguments, which takes 1"),
    ],
)
def test_an_edit_that_leaves_a_graph_inconsistent_is_refused(damage: object, told: str) -> None:
    edit = Edit(Model(two_graphs()))
    assert callable(damage)
    damage(edit)
    with pytest.raises(SourceError, match=told):
        edit.apply()
