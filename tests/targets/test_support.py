"""Each kind of limit: a node that keeps to it, and one that does not."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse.ir.types import Literal, TensorType
from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, INT64, DType
from attnfuse.targets.limits import Target
from attnfuse.targets.support import unsupported_reason
from tests.support.graphs import GraphBuilder

LITE = Target("lite", "ascend910b")


class Case:
    """One node over inputs and constants, and what the target has against it."""

    def __init__(self) -> None:
        self.graph = GraphBuilder("part")
        self.count = 0

    def tensor(self, dims: tuple[int, ...] = (2, 3), dtype: DType = FLOAT32) -> str:
        self.count += 1
        return self.graph.input(f"x{self.count}", dims, dtype)

    def constant(self, value: Literal) -> str:
        return self.graph.constant(value)

    def unsupported_reason(self, op: str, *inputs: str, target: Target = LITE) -> str | None:
        self.graph.output(self.graph.node(op, inputs, TensorType((2, 3), FLOAT32)))
        model = self.graph.model()
        return unsupported_reason(target, model, next(node for node in model.nodes if node.op == op))


@pytest.fixture
def case() -> Case:
    return Case()


def test_a_plain_operator_is_taken(case: Case) -> None:
    assert case.unsupported_reason("Add", case.tensor(), case.tensor()) is None


def test_a_refused_operator_is_told_with_its_reason(case: Case) -> None:
    assert case.unsupported_reason("GroupNorm", case.tensor()) == "no adapter (there is one for GroupNormSilu)"


def test_an_operator_of_no_table_is_told(case: Case) -> None:
    assert case.unsupported_reason("Frobnicate", case.tensor()) == "no adapter is known for it"


def test_the_runtime_mindspore_objects_to_nothing(case: Case) -> None:
    assert case.unsupported_reason("GroupNorm", case.tensor(), target=Target("mindspore", "ascend910b")) is None


def test_a_constant_is_no_operator() -> None:
    graph = GraphBuilder("part")
    graph.output(graph.reshape(graph.input("x", (2, 3)), (3, 2)))
    model = graph.model()
    told = {node.op: unsupported_reason(LITE, model, node) for node in model.nodes}
    assert told == {"Constant": None, "Reshape": None}


def test_a_restored_argument_is_a_constant(case: Case) -> None:
    assert case.unsupported_reason("Softmax", case.tensor(), case.constant((-1,))) is None


def test_a_computed_one_is_dropped(case: Case) -> None:
    assert case.unsupported_reason("Softmax", case.tensor(), case.tensor((1,), INT64)) == (
        "its argument axis is computed, and MindSpore Lite drops it"
    )


@pytest.mark.parametrize(("epsilon", "taken"), [(1e-6, True), (float(np.float32(1e-6)), True), (1e-5, False)])
def test_a_lost_argument_has_the_value_that_stands_without_it(case: Case, epsilon: float, taken: bool) -> None:
    message = case.unsupported_reason("RmsNorm", case.tensor(), case.tensor((3,)), case.constant(epsilon))
    assert message == (None if taken else "MindSpore Lite loses its argument epsilon, which is not 1e-06")


def test_a_lost_argument_that_is_computed_is_refused(case: Case) -> None:
    message = case.unsupported_reason("RmsNorm", case.tensor(), case.tensor((3,)), case.tensor(()))
    assert message == "MindSpore Lite loses its argument epsilon, which is not 1e-06"


def test_a_lost_flag(case: Case) -> None:
    kept = case.unsupported_reason("ReduceProd", case.tensor(), case.constant((1,)), case.constant(True))
    assert kept == "MindSpore Lite loses its argument keep_dims, which is not False"


@pytest.mark.parametrize(("axes", "taken"), [((1,), True), ((0, 1), True), ((), False)])
def test_axes_are_written_out(case: Case, axes: tuple[int, ...], taken: bool) -> None:
    message = case.unsupported_reason(
        "ReduceSum", case.tensor(), case.constant(axes), case.constant(False), case.constant(False)
    )
    assert (message is None) == taken


@pytest.mark.parametrize(("shape", "taken"), [((2, 3), True), ((-1, 3), False)])
def test_a_shape_holds_no_minus_one(case: Case, shape: tuple[int, ...], taken: bool) -> None:
    assert (case.unsupported_reason("BroadcastTo", case.tensor(), case.constant(shape)) is None) == taken


def test_a_computed_shape_is_dropped(case: Case) -> None:
    message = case.unsupported_reason("BroadcastTo", case.tensor(), case.tensor((2,), INT64))
    assert message == "its argument shape is computed, and MindSpore Lite drops it"


def test_only_a_made_tuple_is_taken_apart(case: Case) -> None:
    parts = (case.tensor(), case.tensor())
    kinds = tuple(TensorType((2, 3), FLOAT32) for _ in parts)
    made = case.graph.node("MakeTuple", parts, kinds)
    assert case.unsupported_reason("Concat", made, case.constant(0)) is None
    other = Case()
    split = other.graph.node("Split", (other.tensor(), other.constant(0), other.constant(2)), kinds)
    message = other.unsupported_reason("Concat", split, other.constant(0))
    assert message == "its argument tensors is not made by MakeTuple, and MindSpore Lite does not take it apart"


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        ((2, 3), None),
        ((2, 3, 4), "its argument input_x is of rank 3"),
        ((2, 3, 4, 5), "its format is lost, and CANN takes it into no Conv2D before it"),
        ((2,) * 5, "its argument input_x is of rank 5"),
    ],
)
def test_biases_are_added_where_formats_agree(case: Case, dims: tuple[int, ...], expected: str | None) -> None:
    assert case.unsupported_reason("BiasAdd", case.tensor(dims), case.tensor((3,)), case.constant(0)) == expected


@pytest.mark.parametrize(
    ("condition", "other", "taken"), [((2, 3), (2, 3), True), ((1, 3), (2, 3), False), ((2, 3), (), False)]
)
def test_select_does_not_broadcast(case: Case, condition: tuple[int, ...], other: tuple[int, ...], taken: bool) -> None:
    message = case.unsupported_reason("Select", case.tensor(condition, BOOL), case.tensor(), case.tensor(other))
    assert (message is None) == taken


def test_select_of_unknown_sizes_is_refused(case: Case) -> None:
    message = case.unsupported_reason("Select", case.tensor((-1, 3), BOOL), case.tensor((-1, 3)), case.tensor((-1, 3)))
    assert message is not None


@pytest.mark.parametrize(("dtype", "taken"), [(FLOAT32, True), (FLOAT16, True), (INT64, False), (BOOL, False)])
def test_a_quotient_is_of_floats(case: Case, dtype: DType, taken: bool) -> None:
    assert (case.unsupported_reason("Div", case.tensor((2,), dtype), case.tensor((2,), dtype)) is None) == taken


@pytest.mark.parametrize(("dtype", "taken"), [(BOOL, True), (FLOAT32, False)])
def test_logic_is_of_booleans(case: Case, dtype: DType, taken: bool) -> None:
    message = case.unsupported_reason("LogicalNot", case.tensor((2,), dtype))
    assert message == (None if taken else "its argument input is float32[2], which CANN does not compute")


@pytest.mark.parametrize(("dtype", "taken"), [(INT64, True), (BOOL, False), (FLOAT32, False)])
def test_bits_are_of_whole_numbers(case: Case, dtype: DType, taken: bool) -> None:
    message = case.unsupported_reason("BitwiseOr", case.tensor((2,), dtype), case.tensor((2,), dtype))
    assert message == (None if taken else f"its argument x is {dtype}[2], which CANN does not compute")


def test_a_filling_is_of_the_type_of_what_it_fills(case: Case) -> None:
    mask = case.tensor((2, 3), BOOL)
    assert case.unsupported_reason("MaskedFill", case.tensor(), mask, case.tensor(())) is None


@pytest.mark.parametrize("dtype", [FLOAT16, None])
def test_a_filling_of_another_type_is_refused(case: Case, dtype: DType | None) -> None:
    number = case.constant(1.5) if dtype is None else case.tensor((), dtype)
    message = case.unsupported_reason("MaskedFill", case.tensor(), case.tensor((2, 3), BOOL), number)
    found = "a number" if dtype is None else "float16[]"
    assert message == f"CANN wants one element type, and finds float32[2, 3], {found}"


def test_attributes_stand_for_arguments_that_are_not_there(case: Case) -> None:
    assert case.unsupported_reason("Softmax", case.tensor()) is None


@pytest.mark.parametrize("op", ["BiasAdd", "Select", "LogicalNot"])
def test_what_is_no_tensor_of_a_known_type_is_refused(case: Case, op: str) -> None:
    pair = case.graph.node("MakeTuple", (case.tensor(), case.tensor()), (TensorType((2, 3), FLOAT32),) * 2)
    assert case.unsupported_reason(op, pair) is not None


def test_a_tensor_without_elements_is_not_joined(case: Case) -> None:
    parts = [case.tensor(), case.tensor((0, 3))]
    joined = case.graph.node("MakeTuple", parts, tuple(case.graph.type_of(part) for part in parts))
    message = case.unsupported_reason("Concat", joined, case.constant(0))
    assert message == "its argument tensors holds float32[0, 3], a tensor without elements"


def test_tensors_with_elements_are_joined(case: Case) -> None:
    parts = [case.tensor((1, 3)), case.tensor((1, 3))]
    joined = case.graph.node("MakeTuple", parts, tuple(case.graph.type_of(part) for part in parts))
    assert case.unsupported_reason("Concat", joined, case.constant(0)) is None


@pytest.mark.parametrize(("dtype", "taken"), [(FLOAT16, True), (BFLOAT16, False)])
def test_a_convolution_of_videos_is_not_in_bfloat16(case: Case, dtype: DType, taken: bool) -> None:
    message = case.unsupported_reason(
        "Conv3DTranspose", case.tensor((1, 1, 2, 3, 4), dtype), case.tensor((1, 1, 1, 1, 2), dtype)
    )
    assert (message is None) == taken
