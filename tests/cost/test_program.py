"""Rules 1 and 2: what is no kernel at all. A float16 tensor of [4, 64] has 4 · 64 · 2 = 512 bytes."""

from __future__ import annotations

import re

import pytest

from attnfuse.cost import program
from attnfuse.cost.program import NotEstimated, read_program
from attnfuse.ir.graph import Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.mindir.schema import GraphProto
from tests.support.costs import graph, told
from tests.support.graphs import GraphBuilder, fill_type


def test_what_constants_make_is_a_constant_and_is_read_where_it_is_used() -> None:
    # The transposed and scaled weight of 64 · 64 · 2 = 8192 bytes; x of 512 is read, 512 are written.
    text = """
        x: float16[4, 64]
        w = Transpose(w: parameter float16[64, 64], (1, 0))
        MatMulExt(x, Muls(w, 0.5))
    """
    assert told(text) == [("MatMulExt", 512 + 8192, 512)]


def test_views_and_copies_are_no_kernels() -> None:
    text = """
        x: float16[4, 64]
        y = Contiguous(Reshape(ExpandDims(x, 0), (4, 8, 8)))
        Softmax(y, (-1,))
    """
    assert told(text) == [("Softmax", 512, 512)]


def test_a_cast_there_and_back_is_dropped() -> None:
    text = """
        x: float16[4, 64]
        Softmax(Cast(Cast(x, float32), float16), (-1,))
    """
    assert told(text) == [("Softmax", 512, 512)]


def test_a_cast_to_the_same_type_is_dropped() -> None:
    assert told("x: float16[4, 64]; Softmax(Cast(x, float16), (-1,))") == [("Softmax", 512, 512)]


def test_a_cast_of_a_number_is_a_constant() -> None:
    # The number takes 2 bytes.
    text = "x: float16[4, 64]; n = Cast(2.0, float16) -> float16[]; Mul(x, n)"
    assert told(text) == [("Mul", 512 + 2, 512)]


def test_a_cast_there_and_back_stays_for_those_who_read_what_is_between() -> None:
    # Softmax of float32 reads and writes 4 · 64 · 4 = 1024 bytes.
    text = """
        x: float16[4, 64]
        wide = Cast(x, float32)
        return Softmax(wide, (-1,)), Softmax(Cast(wide, float16), (-1,))
    """
    assert told(text) == [("Cast", 512, 1024), ("Softmax", 512, 512), ("Softmax", 1024, 1024)]


def test_a_cast_that_loses_fractions_is_not_undone() -> None:
    # Two Casts, one region: the whole numbers between stay inside.
    assert told("x: float16[4, 64]; Cast(Cast(x, int32), float16)") == [("Cast+Cast", 512, 512)]


def test_a_transposed_view_is_a_kernel_for_the_engine() -> None:
    text = "x: float16[4, 64]; u: monad; Softmax(TransposeView(x, (1, 0), u), (-1,))"
    assert told(text) == [("Softmax", 512, 512), ("TransposeView", 512, 512)]


def test_what_baddbmm_adds_is_an_operation_behind_the_product() -> None:
    # a [2, 4, 8] of 128 bytes, b [2, 8, 16] of 512, the product of 256 and the tensor added to it of 256.
    text = """
        Baddbmm(c: float16[2, 4, 16], a: float16[2, 4, 8], b: float16[2, 8, 16], 1, 1)
    """
    assert told(text) == [("Add", 256 + 256, 256), ("Baddbmm", 128 + 512, 256)]


def test_baddbmm_with_a_beta_of_0_reads_nothing_of_what_it_adds() -> None:
    text = "Baddbmm(c: float16[2, 4, 16], a: float16[2, 4, 8], b: float16[2, 8, 16], 0, 1)"
    assert told(text) == [("Baddbmm", 128 + 512, 256)]


def with_function(calls: int = 2) -> GraphBuilder:
    """A softmax, and calls of a function that is another, one behind the other."""
    g = GraphBuilder("net")
    x = g.input("x", (4, 64), FLOAT16)
    made = g.softmax(x)
    function = g.proto.functions.add(name="block")
    function.input.add(name="block:p").tensor.add(data_type=FLOAT16.wire).dims.extend((4, 64))
    body = function.node.add()
    body.CopyFrom(g.graph.node[-1])
    body.name = body.output[0] = "block:y"
    body.input[0] = "block:p"
    function.output.add(name="block:y").tensor.add(data_type=FLOAT16.wire).dims.extend((4, 64))
    for index in range(calls):
        _add_call(g.graph, f"call{index}", "block", f"call{index - 1}" if index else made)
    g.graph.output.add(name=f"call{calls - 1}").tensor.add(data_type=FLOAT16.wire).dims.extend((4, 64))
    return g


def _add_call(graph: GraphProto, name: str, callee: str, argument: str) -> None:
    call = graph.node.add(name=name, op_type=f"REF::{callee}", input=[argument], output=[name])
    fill_type(call.attribute.add(name="shape"), TensorType((4, 64), FLOAT16))


def test_a_called_function_counts_once_for_each_call() -> None:
    operations = read_program(Model(with_function().proto)).operations
    assert [operation.op for operation in operations] == ["Softmax"] * 3


def test_a_function_that_gives_nothing_is_not_estimated() -> None:
    g = with_function()
    del g.proto.functions[0].output[:]
    with pytest.raises(NotEstimated, match="call0 calls block, which gives nothing"):
        read_program(Model(g.proto))


def test_calls_within_calls_are_not_followed_to_any_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that calls itself is none that `Model` takes."""
    monkeypatch.setattr(program, "_DEEPEST", 3)
    g = with_function()
    callee = "block"
    for level in range(4):
        function = g.proto.functions.add(name=f"f{level}")
        function.input.add(name=f"f{level}:p").tensor.add(data_type=FLOAT16.wire).dims.extend((4, 64))
        _add_call(function, f"f{level}:a", callee, f"f{level}:p")
        function.output.add(name=f"f{level}:a")
        callee = f"f{level}"
    for call in g.graph.node[-2:]:
        call.op_type = f"REF::{callee}"
    with pytest.raises(NotEstimated, match="called too deep within each other: f0"):
        read_program(Model(g.proto))


def test_functions_that_double_calls_are_not_counted_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_MOST", 1000)
    g = with_function()
    callee = "block"
    for level in range(40):
        function = g.proto.functions.add(name=f"f{level}")
        function.input.add(name=f"f{level}:p").tensor.add(data_type=FLOAT16.wire).dims.extend((4, 64))
        _add_call(function, f"f{level}:a", callee, f"f{level}:p")
        _add_call(function, f"f{level}:b", callee, f"f{level}:a")
        function.output.add(name=f"f{level}:b")
        callee = f"f{level}"
    for call in g.graph.node[-2:]:
        call.op_type = f"REF::{callee}"
    with pytest.raises(NotEstimated, match="functions are called too often"):
        read_program(Model(g.proto))


@pytest.mark.parametrize(
    ("text", "node"),
    [
        # No rule of inference holds these: what the file says of the product is taken for true.
        ("x: float16[4]; MatMulExt(x, 2.0) -> float16[4]", "MatMulExt"),
        ("x: float16[4]; FlashAttentionScore(x) -> float16[4]", "FlashAttentionScore"),
        ("x: float16[]; Transpose(x, (1, 0)) -> float16[]", "Transpose"),
    ],
)
def test_a_node_that_is_given_what_it_does_not_take_is_not_estimated(text: str, node: str) -> None:
    with pytest.raises(NotEstimated, match=node):
        read_program(graph(text))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x: float16[?, 64]; Softmax(x, (-1,))", "sizes are left to run time: x is float16[?, 64]"),
        ("x: float16[4]; Nonsense(x) -> unknown", "the type of CNode"),
        ("x: float16[4]; f: function; c: bool[]; s = Switch(c, f, f) -> float16[4]; Neg(s)", "a Switch"),
    ],
)
def test_what_is_not_known_before_run_time_is_not_estimated(text: str, why: str) -> None:
    with pytest.raises(NotEstimated, match=re.escape(why)):
        read_program(graph(text))


@pytest.mark.parametrize(
    ("make", "count", "why"),
    [("MakeTuple({0})", 2000, ""), ("MakeTuple({0}, {0})", 40, "a tuple holds more than 1000 values")],
)
def test_tuples_may_be_deep_but_not_endless(make: str, count: int, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_MOST", 1000 if why else 10_000)
    lines = [f"t{i + 1} = {make.format(f't{i}')} -> unknown" for i in range(count)]
    text = "\n".join(["t0: float16[4]", *lines, f"Nonsense(t{count}) -> float16[4]"])
    if why:
        with pytest.raises(NotEstimated, match=why):
            read_program(graph(text))
    else:
        assert [operation.op for operation in read_program(graph(text)).operations] == ["Nonsense"]


def test_what_nobody_needs_does_not_count() -> None:
    assert told("x: float16[4, 64]; y = Nonsense(x) -> unknown; Softmax(x, (-1,))") == [("Softmax", 512, 512)]
