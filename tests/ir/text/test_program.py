"""The short form: what is written is the graph that is meant, and what is printed is read as the same nodes again."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnfuse.ir.graph import Model
from attnfuse.ir.text import TextError, infer, parse_program, program_text, region_lines
from attnfuse.ir.types import TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.schema import AttributeProto, PrimitiveProto
from tests.support import oracle
from tests.support.graphs import GraphBuilder, operators
from tests.support.spellings import spell

ATTENTION = """
q: float16[2, 8, 64, 40]; k: float16[2, 8, 64, 40]; v: float16[2, 8, 64, 40]
s = MatMulExt(Muls(q, 0.125), Transpose(k, (0, 1, 3, 2)));  o = MatMulExt(Softmax(s, (-1,)), v)
"""


def test_types_are_inferred_and_the_last_value_is_the_result() -> None:
    model = Model(parse_program(ATTENTION, infer=infer))
    assert operators(model) == ["Muls", "Transpose", "MatMulExt", "Softmax", "MatMulExt"]
    assert [value.name.partition(":")[2] for value in model.proto.graph.input] == ["q", "k", "v"]
    (output,) = model.proto.graph.output
    assert output.name.partition(":")[2] == "o:5"
    assert str(model.type_of(output.name)) == "float16[2, 8, 64, 40]"
    assert list(output.tensor[0].dims) == [2, 8, 64, 40]
    scores = model.producer("1_program_construct_1:s:3")
    assert scores is not None
    assert str(model.type_of(scores.name)) == "float16[2, 8, 64, 64]"


def test_the_graph_is_the_one_that_the_builder_makes() -> None:
    g = GraphBuilder("program")
    q, k, v = (g.input(name, (2, 8, 64, 40), dtypes.FLOAT16) for name in "qkv")
    s = g.matmul_ext(g.muls(q, 0.125), g.transpose(k, (0, 1, 3, 2)))
    g.output(g.matmul_ext(g.softmax(s), v))
    assert program_text(Model(parse_program(ATTENTION, infer=infer))) == program_text(g.model())


def test_printed() -> None:
    model = Model(parse_program(ATTENTION, infer=infer))
    text = (
        "v1 = Muls(q, 0.125)\n"
        "v2 = Transpose(k, (0, 1, 3, 2))\n"
        "v3 = MatMulExt(v1, v2)\n"
        "v4 = Softmax(v3, (-1,))\n"
        "v5 = MatMulExt(v4, v)\n"
        "return v5\n"
    )
    assert program_text(model) == text
    assert region_lines(model, model.nodes)[0] == (
        "CNode_1:1 = Muls(1_program_construct_1:q, 0.125) : float16[2, 8, 64, 40]"
    )


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_what_is_printed_is_read_again(seed: int) -> None:
    # Spellings hold constants of all kinds, masks, tuples and views.
    model = spell(Random(seed), None).model()
    text = program_text(model)
    assert program_text(Model(parse_program(text, like=model.proto))) == text


def test_an_input_is_declared_where_it_is_named_first() -> None:
    model = Model(parse_program("Add(x: float32[2], Mul(x, y: float32[2]))", infer=infer))
    assert [value.name.partition(":")[2] for value in model.proto.graph.input] == ["x", "y"]


def test_a_weight_is_read_through_load_and_tied_to_the_result() -> None:
    model = Model(parse_program("Add(x: float32[2], w: parameter float32[2] (0.5, 2.0))", infer=infer))
    assert operators(model) == ["Load", "Add", "MakeTuple", "UpdateState", "Depend"]
    (weight,) = model.proto.graph.parameter
    assert np.frombuffer(weight.raw_data, np.float32).tolist() == [0.5, 2.0]
    assert oracle.run(model, {"x": np.ones(2)})[0].tolist() == [1.5, 3.0]
    assert program_text(model) == "v1 = Add(x, w)\nreturn v1\n"


def test_a_weight_that_was_written_to_is_read_as_it_is_then() -> None:
    g = GraphBuilder()
    first = g.weight("w", (2,))
    state = g.node("UpdateState", [g.monad(), first], None)
    again = g.node("Load", [f"{g.prefix}:w", state], TensorType((2,), dtypes.FLOAT32))
    g.output(g.add(first, again))
    assert program_text(g.model()) == "v1 = UpdateState(umonad, w)\nv2 = Load(w, v1)\nv3 = Add(w, v2)\nreturn v3\n"


def test_a_result_has_no_inputs_name() -> None:
    text = "v1: float32[2]; Add(Abs(v1), v1)"
    printed = "v_1 = Abs(v1)\nv_2 = Add(v_1, v1)\nreturn v_2\n"
    assert program_text(Model(parse_program(text, infer=infer))) == printed


def test_what_a_primitive_calls_its_arguments_is_not_told() -> None:
    text = 'Op(x: float32[2]; input_names=["x"], n=1) -> float32[2]'
    assert program_text(Model(parse_program(text))) == "v1 = Op(x; n=1)\nreturn v1\n"


def test_tuples_and_their_elements() -> None:
    model = Model(parse_program("t = (x: float32[2], y: float16[3]); return t[1], x"))
    assert operators(model) == ["MakeTuple", "TupleGetItem", "MakeTuple"]
    types = model.types_of(model.nodes[-1].name)
    assert isinstance(types, tuple)
    assert [str(tensor_type) for tensor_type in types] == ["float16[3]", "float32[2]"]


def test_a_types_name_is_its_number() -> None:
    model = Model(parse_program("Cast(x: float32[2], float16)", infer=infer))
    assert str(model.type_of(model.nodes[-1].name)) == "float16[2]"
    assert model.literal(model.nodes[-1].inputs[1]) == 42


def test_attributes_make_a_primitive_of_their_own() -> None:
    proto = parse_program(
        'Conv(x: float32[2]; pad=(1, 1), mode="same") -> float32[2]; Conv(x) -> float32[2]; return x', infer=infer
    )
    assert [(entry.name, entry.prim_type) for entry in proto.primitives] == [
        ("Conv:0", PrimitiveProto.PRIMITIVE),
        ("Conv:1", PrimitiveProto.PRIMITIVE_FUNCTION),
    ]
    assert [a.name for a in proto.primitives[0].attribute] == ["pad", "mode"]
    assert [e.ints[0] for e in proto.primitives[0].attribute[0].values] == [1, 1]


def test_values_of_no_tensor_type() -> None:
    model = Model(
        parse_program("Load(x: float32[2], u: monad) -> float32[2]; Op(n: int64, z: unknown) -> (int64, bool)")
    )
    types = {value.name.partition(":")[2]: value.attr_info.type for value in model.proto.graph.input}
    assert types == {"x": 0, "u": AttributeProto.UMONAD, "n": AttributeProto.SCALAR, "z": 0}


def test_a_type_that_is_written_as_unknown_is_left_out() -> None:
    proto = parse_program("y: unknown = Op(f: function, u: monad); Op(y) -> unknown", infer=infer)
    assert [[a.name for a in node.attribute] for node in proto.graph.node] == [[], []]
    assert [value.attr_info.type for value in proto.graph.input] == [
        AttributeProto.FUNCGRAPHCLOSURE,
        AttributeProto.UMONAD,
    ]


def signature(op: str) -> dict[str, str] | None:
    return {"x": "", "scale": "1.0", "heads": "1", "mask": "None"} if op == "Fused" else None


def test_arguments_by_name() -> None:
    model = Model(parse_program("Fused(x: float32[2], heads=8) -> float32[2]", signature=signature))
    assert program_text(model) == "v1 = Fused(x, 1.0, 8, None)\nreturn v1\n"


@pytest.mark.parametrize(
    ("text", "line", "column", "sentence"),
    [
        ("", 1, 1, "a program has at least one statement."),
        ("x: float32[2]\nAbs(y)", 2, 5, "nothing is called 'y'; an input is declared where it is named first"),
        ("Strange(x: float32[2])", 1, 1, "the type of this Strange is not known; write it: Strange(…) -> T."),
        ("y = Abs(x: float32[2])\ny = Abs(y)", 2, 1, "y is there already; take another name."),
        ("Abs(x: float32[2]) Abs(x)", 1, 20, "expected the end of the statement, found 'Abs'."),
        ("Abs(x: float32[2]); Abs(x: float32[2])", 1, 26, "x is there already, and has its type."),
        ("Abs(x: float32[2]; 5)", 1, 20, "expected the name of an attribute, found '5'."),
        ("return x: float32[2]\nAbs(x)", 2, 1, "nothing may follow what is returned; found 'Abs'."),
        ("w: parameter int64", 1, 1, "a weight is a tensor."),
        ("w: parameter float32[2] = Abs(x: float32[2])", 1, 1, "w is declared as something that no operator makes."),
        ("Fused(x: float32[2], head=8)", 1, 22, "Fused has no argument 'head'; it has x, scale, heads, mask."),
        ("Fused(y: float32[2], x=y)", 1, 1, "Fused is given 'x' twice."),
        ("Abs(x: float32[2], out=x)", 1, 20, "the arguments of Abs are not known by name; write them in their order."),
        ("Fused(heads=8)", 1, 1, "Fused needs its argument 'x'."),
        ("Fused(heads=8, x: float32[2])", 1, 16, "after an argument by name, the others have their names too."),
    ],
)
def test_what_is_wrong_and_where(text: str, line: int, column: int, sentence: str) -> None:
    with pytest.raises(TextError) as caught:
        parse_program(text, infer=infer, signature=signature)
    assert caught.value.sentence.startswith(sentence)
    assert (caught.value.line, caught.value.column) == (line, column)


@given(
    st.integers(0, len(ATTENTION) - 1), st.sampled_from(["(", ")", ";", ":", "=", "[", "1", '"', "x", "->", "return "])
)
def test_damaged_text_is_no_other_error_than_that_of_text(at: int, put: str) -> None:
    try:
        parse_program(ATTENTION[:at] + put + ATTENTION[at + 1 :])
    except TextError as error:
        assert str(error)  # noqa: PT017  # of anything else, this test fails


def test_the_type_of_a_result_may_be_written_before_or_after() -> None:
    one = parse_program("x: float32[2]; y: float16[2] = Op(x)", infer=infer)
    other = parse_program("x: float32[2]; y = Op(x) -> float16[2]", infer=infer)
    assert one == other
    assert Model(one).type_of("1_program_construct_1:y:1") == TensorType((2,), dtypes.FLOAT16)
