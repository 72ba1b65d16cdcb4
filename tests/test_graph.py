"""Edits to an indexed graph: the primitive table they keep, and the uses they move."""

from __future__ import annotations

from attnfuse.graph import Edit, Model
from attnfuse.mindir.schema import AttributeProto, PrimitiveProto
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


def test_a_function_that_is_dropped_is_gone() -> None:
    model, _, _ = chain()
    for name in ("7_kept", "8_dropped", "9_kept"):
        model.proto.functions.add(name=name)
    edit = Edit(Model(model.proto))
    edit.drop_functions.add("8_dropped")
    edit.apply()
    assert [function.name for function in model.proto.functions] == ["7_kept", "9_kept"]
