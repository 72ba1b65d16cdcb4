"""The full form as people read it, and what is told of text that is none."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.text import TextError, parse_model, print_model
from attnfuse.ir.text.lexer import Cursor
from attnfuse.ir.text.values import Writer, parse_constant, parse_type
from attnfuse.mindir import dtypes
from attnfuse.mindir.schema import AttributeProto, ModelProto, TensorProto
from tests.support.graphs import GraphBuilder


def small() -> ModelProto:
    g = GraphBuilder("unet")
    x = g.input("x", (2, 4), dtypes.FLOAT16)
    g.scope = "Default/norm-LayerNorm"
    y = g.add(g.muls(x, 0.125), np.array([1, 2, 0.1, -np.inf], np.float16))
    g.output(g.concat([y, x], -1))
    return g.build()


TEXT = """\
mindir with {ir_version: "0.1.1", producer_name: "MindSpore", model_version: "2.7.1", little_endian: True, \
mind_ir_version: 3}
primitive "Muls:0" = Muls function
primitive "Add:0" = Add function
primitive "MakeTuple:0" = MakeTuple primitive
primitive "Concat:0" = Concat function
graph "1_unet_construct_1"
  input %x : float16[2, 4]
  @ValueNode_0 = 0.125
  scope "Default/norm-LayerNorm"
  %CNode_1:1 = Muls(%x, @ValueNode_0) : float16[2, 4] op1
  @Parameter_1 = tensor float16[4] (1.0, 2.0, 0.1, -inf)
  %CNode_2:2 = Add(%CNode_1:1, @Parameter_1) : float16[2, 4] op2
  %CNode_3:3 = MakeTuple(%CNode_2:2, %x) : (float16[2, 4], float16[2, 4]) op3
  @ValueNode_2 = -1
  %CNode_4:4 = Concat(%CNode_3:3, @ValueNode_2) : float16[2, 8] op4
  output %CNode_4:4 : float16[2, 8]
"""


def test_a_graph_reads_so() -> None:
    assert print_model(small()) == TEXT


def test_comments_spaces_and_lines_within_brackets_are_free() -> None:
    text = TEXT.replace("(%x, @V", "(\n    %x,  # the input\n\n    @V").replace("  scope", "\n# a scope\n     scope")
    assert parse_model(text) == small()


def test_text_can_be_edited() -> None:
    model = Model(parse_model(TEXT.replace("0.125", "0.25").replace('"1_unet_construct_1"', '"other"')))
    assert model.literal("ValueNode_0") == 0.25
    assert model.producer("other:CNode_4:4") is not None


def test_an_operator_of_several_primitives_is_named_by_its_key() -> None:
    model = small()
    model.primitives.add(name="Add:1", op_type="Add", instance_name="", prim_type=2).attribute.add(
        name="inplace", type=AttributeProto.BOOL, i=1
    )
    text = print_model(model)
    assert 'primitive "Add:1" = Add function (inplace=True)' in text
    assert '%CNode_2:2 = "Add:0"(%CNode_1:1, @Parameter_1)' in text
    assert parse_model(text) == model


def test_where_weights_lie() -> None:
    model = small()
    for name, fill in (
        ("w", {}),
        ("v", {"raw_data": bytes(8)}),
        ("m", {"raw_data": np.arange(2, dtype="<f4").tobytes()}),
    ):
        model.graph.parameter.add(
            name=f"{model.graph.name}:{name}", ref_key=name, data_type=1, dims=[2], compression_type=0, **fill
        )
    empty = f"{model.graph.name}:e"
    model.graph.parameter.add(name=empty, ref_key="e", data_type=1, dims=[0], compression_type=0, raw_data=b"")
    external = model.graph.parameter[0].external_data
    external.location, external.offset, external.length = "unet_variables/data_0", 4096, 8
    model.graph.parameter[1].ref_key = "other"
    text = print_model(model)
    assert '  parameter %w : float32[2] = external "unet_variables/data_0" 4096 8\n' in text
    assert '  parameter %v : float32[2] ref "other" = 0.0\n' in text
    assert "  parameter %m : float32[2] = (0.0, 1.0)\n" in text
    assert "  parameter %e : float32[0] = ()\n" in text
    assert parse_model(text) == model


@pytest.mark.parametrize(
    "proto",
    [
        AttributeProto(type=AttributeProto.BOOL, i=2),
        AttributeProto(type=AttributeProto.INT8, i=300),
        AttributeProto(type=AttributeProto.UINT16, i=-1),
        AttributeProto(type=AttributeProto.INT64, ints=[3]),
        AttributeProto(type=AttributeProto.INT64),
        AttributeProto(type=AttributeProto.STRING, s=b"\xff"),
        AttributeProto(type=AttributeProto.SCALAR, tensors=[TensorProto(data_type=7, dims=[1])]),
        AttributeProto(type=AttributeProto.TENSORS, tensors=[TensorProto(data_type=17, dims=[2])]),
        AttributeProto(type=AttributeProto.TENSORS, tensors=[TensorProto(data_type=1, name="x", raw_data=b"abc")]),
        AttributeProto(type=AttributeProto.TUPLE, values=[AttributeProto(name="x", type=AttributeProto.NONE)]),
    ],
    ids=lambda proto: " ".join(str(proto).split()),
)
def test_what_a_short_form_would_change_has_none(proto: AttributeProto) -> None:
    writer = Writer()
    for text, parse in ((writer.type(proto), parse_type), (writer.constant(proto), parse_constant)):
        read = AttributeProto()
        parse(Cursor(text), read)
        assert read == proto, text


@pytest.mark.parametrize("name", ["1_unet_construct_1:", "1_unet_construct_1", "", "1_unet_construct_1::", "@", "a b"])
def test_any_name_of_a_value(name: str) -> None:
    model = small()
    model.graph.input[0].name = name
    for node in model.graph.node:
        node.input[:] = [name if value.endswith(":x") else value for value in node.input]
    assert parse_model(print_model(model)) == model


def test_a_compressed_weight_is_told_whole() -> None:
    model = small()
    model.graph.parameter.add(name="w", ref_key="w", data_type=1, dims=[2], compression_type=2)
    assert "  parameter {dims: [2], data_type: 1" in print_model(model)
    assert parse_model(print_model(model)) == model


def test_large_data_can_be_left_out_and_are_then_no_graph() -> None:
    g = GraphBuilder("unet")
    x = g.input("x", (1000,))
    g.output(g.add(x, np.arange(1000, dtype=np.float32)))
    text = print_model(g.build(), keep_data=False)
    assert len(text) < 2000
    with pytest.raises(TextError, match=r"left out when this was printed") as caught:
        parse_model(text)
    assert text.splitlines()[caught.value.line - 1].lstrip().startswith("@Parameter_0 = tensor float32[1000] sha256")


def line_of(part: str) -> int:
    return next(number for number, line in enumerate(TEXT.splitlines(), 1) if part in line)


@pytest.mark.parametrize(
    ("old", "new", "column", "sentence"),
    [
        ("mindir with {", "mindir of {", 8, "expected the end of the line, found 'of'."),
        ("Muls(%x", "Mulls(%x", 16, "the table has no primitive of operator Mulls."),
        ("Muls(%x", '"Muls:9"(%x', 16, "the table has no primitive 'Muls:9'."),
        ("Muls(%x, @ValueNode_0)", "Muls(%x, 0.125)", 25, "expected a value such as %name, found '0.125'."),
        ("Muls(%x,", "Muls(%x]", 23, "']' closes nothing that is open."),
        (": float16[2, 4]\n", ": float17[2, 4]\n", 14, "there is no type 'float17'; known:"),
        (": float16[2, 4]\n", ": float16[2, 0.5]\n", 25, "expected a whole number, found '0.5'."),
        ("(1.0, 2.0, 0.1", "(1.0, 0.1", 36, "float16[4] has 4 elements, and here are 3."),
        ("2.0, 0.1", "2.0, 1e6", 47, "1e6 is too large for float16."),
        ("= -1", "= -1 : uint8", 18, "-1 is no uint8."),
        ("= -1", "= minus", 18, "expected a constant, found 'minus'."),
        (
            "output %",
            "result %",
            3,
            "expected a value, input, output, parameter, attribute, scope or node",
        ),
        ("op2", "op2 op3", 66, "expected the end of the line, found 'op3'."),
        ("producer_name", "producer", 35, "ModelProto has no field 'producer'; it has ir_version,"),
        ("True, mind", "Yes, mind", 102, "expected True or False, found 'Yes'."),
        ('/norm-LayerNorm"', "/norm-LayerNorm", 9, "'\"' starts nothing that is known here."),
        ("-inf)", "-inf", 36, "'(' is never closed."),
    ],
)
def test_what_is_wrong_and_where(old: str, new: str, column: int, sentence: str) -> None:
    damaged = TEXT.replace(old, new, 1)
    with pytest.raises(TextError) as caught:
        parse_model(damaged)
    assert caught.value.sentence.startswith(sentence)
    assert (caught.value.line, caught.value.column) == (line_of(old.strip()), column)
    assert str(caught.value) == f"line {caught.value.line}, column {column}: {caught.value.sentence}"


def test_no_recursion_without_end() -> None:
    with pytest.raises(TextError, match="more than 100 brackets are open"):
        parse_model(TEXT.replace("= -1", "= " + "(" * 100_000))


def test_short_text_that_would_be_a_large_tensor_is_refused() -> None:
    with pytest.raises(TextError, match="has more bytes than a file holds"):
        parse_model(TEXT.replace("= -1", "= tensor float32[1000000, 1000000] 0.5"))
