"""Edits to an indexed graph: the primitive table they keep, and the uses they move."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from attnfuse.errors import SourceError
from attnfuse.ir.edit import Edit
from attnfuse.ir.graph import CALL, Model, read_tensor
from attnfuse.mindir.dtypes import INT32
from attnfuse.mindir.schema import AttributeProto, ModelProto, PrimitiveProto, TensorProto
from tests.support.graphs import GraphBuilder

LEGACY = PrimitiveProto.PRIMITIVE


def axis(value: int) -> AttributeProto:
    return AttributeProto(name="axis", type=AttributeProto.INT64, i=value)


def chain() -> tuple[Model, str, str]:
    """x → Neg → Abs, the output; with the two values."""
    g = GraphBuilder()
    first = g.op("Neg", g.input("x", (2,)))
    last = g.op("Abs", first)
    g.output(last)
    return g.model(), first, last


def test_each_set_of_attributes_has_a_primitive_of_its_own() -> None:
    model, _, _ = chain()
    edit = Edit(model)
    references = [edit.primitive("Stack", LEGACY, [axis(i)]) for i in (0, 1, 0, 2)]
    assert references == [f"REF::Stack:attnfuse{n}" for n in ("", "_2", "", "_3")]
    assert [p.attribute[0].i for p in edit.new_primitives.values()] == [0, 1, 2]


def test_the_order_of_attributes_makes_no_other_primitive() -> None:
    model, _, _ = chain()
    edit, num = Edit(model), AttributeProto(name="num", type=AttributeProto.INT64, i=2)
    assert edit.primitive("Stack", LEGACY, [axis(0), num]) == edit.primitive("Stack", LEGACY, [num, axis(0)])


def test_a_primitive_of_the_file_serves_where_kind_and_attributes_are_equal() -> None:
    model, _, _ = chain()
    edit = Edit(model)
    assert edit.primitive("Neg", PrimitiveProto.PRIMITIVE_FUNCTION) == "REF::Neg:0"
    assert edit.primitive("Neg", LEGACY) == "REF::Neg:attnfuse"
    assert edit.primitive("Neg", PrimitiveProto.PRIMITIVE_FUNCTION, [axis(0)]) == "REF::Neg:attnfuse_2"


def test_a_name_the_file_has_is_not_taken_again() -> None:
    model, _, _ = chain()
    model.proto.primitives.add(name="Stack:attnfuse", op_type="Stack", prim_type=LEGACY).attribute.append(axis(5))
    edit = Edit(Model(model.proto))
    assert edit.primitive("Stack", LEGACY, [axis(5)]) == "REF::Stack:attnfuse"
    assert edit.primitive("Stack", LEGACY, [axis(0)]) == "REF::Stack:attnfuse_2"


def test_a_renamed_output_is_an_output_of_the_other_value() -> None:
    model, first, last = chain()
    edit = Edit(model)
    edit.rename[last] = first
    edit.remove.add(last)
    edit.apply()
    assert [output.name for output in model.proto.graph.output] == [first]
    assert model.uses(first)[-1].node is None


def test_a_renamed_value_is_called_by_its_other_name() -> None:
    model, first, last = chain()
    model.proto.graph.node.add(name="call", op_type=f"REF::{last}", output=["call"])
    edit = Edit(Model(model.proto))
    edit.rename[last] = first
    edit.remove.add(last)
    edit.apply()
    assert [use.node.name for use in edit.model.uses(first) if use.node is not None] == ["call"]


def call(arguments: int) -> ModelProto:
    """A call of a function of one input."""
    g = GraphBuilder()
    x = g.input("x", (2,))
    g.graph.node.add(name="call", op_type="REF::inner", output=["call"], input=[x] * arguments)
    g.graph.output.add(name="call")
    inner = g.proto.functions.add(name="inner")
    inner.input.add(name="inner:x")
    inner.output.add(name="inner:x")
    return g.proto


def test_a_call_has_as_many_arguments_as_the_function() -> None:
    assert Model(call(1)).nodes[0].op == CALL
    for arguments in (0, 2):
        with pytest.raises(SourceError, match=f"node call calls inner with {arguments} arguments, which takes 1"):
            Model(call(arguments))


def test_names_are_defined_once() -> None:
    model, _, _ = chain()
    model.proto.primitives.append(model.proto.primitives[1])
    with pytest.raises(SourceError, match="primitive 'Abs:0' is defined twice"):
        Model(model.proto)
    proto = call(1)
    proto.functions.append(proto.functions[0])
    with pytest.raises(SourceError, match="function 'inner' is defined twice"):
        Model(proto)
    model, _, last = chain()
    model.proto.functions.add(name=last)
    with pytest.raises(SourceError, match="is defined twice"):
        Model(model.proto)


def test_values_have_names() -> None:
    """Each refusal names the graph or the node: of what has no name nothing else is known."""
    g = GraphBuilder("net")
    g.output(g.op("Neg", g.input("x", (2,))))
    sound, without = g.build(), ModelProto()
    changes: list[tuple[Callable[[ModelProto], object], str]] = [
        (lambda p: setattr(p.graph.input[0], "name", ""), "an input of '1_net_construct_1' has no name"),
        (lambda p: p.graph.parameter.add(data_type=1), "a parameter of '1_net_construct_1' has no name"),
        (lambda p: p.graph.node[0].output.__setitem__(0, ""), "node 0 of '1_net_construct_1', '.*CNode_1:1', gives a"),
        (lambda p: p.graph.node[0].input.__setitem__(0, ""), "CNode_1:1 uses a value without a name, which nothing"),
        (lambda p: setattr(p.graph.output[0], "name", ""), "output '' of '1_net_construct_1' is not defined"),
    ]
    for change, message in changes:
        without.CopyFrom(sound)
        change(without)
        with pytest.raises(SourceError, match=message):
            Model(without)


def test_numbers_are_read_as_their_type_holds_them() -> None:
    kind = TensorProto(dims=[2], data_type=INT32.wire, float_data=[float("nan"), 1e30])
    assert read_tensor(kind).dtype == np.int32
