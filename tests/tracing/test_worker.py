"""What the worker reads off a traced graph; needs no MindSpore."""

from __future__ import annotations

import pytest

from attnfuse.errors import TraceError
from attnfuse.mindir.schema import GraphProto
from attnfuse.tracing.contract import TensorSpec
from attnfuse.tracing.worker import read_outputs


def graph(*elements: int) -> GraphProto:
    """A graph whose result is a tuple: of a tensor for 1, of a tuple of that many tensors for another number."""
    proto = GraphProto()
    output = proto.output.add(name="out", denotation="Tuple")
    for count in elements:
        value = output.attr_info.values.add()
        tensors = [value.tensors] if count == 1 else [value.values.add().tensors for _ in range(count)]
        for tensor in tensors:
            tensor.add(dims=[2, 3], data_type=10)
    return proto


def test_a_tuple_of_tensors() -> None:
    assert read_outputs(graph(1, 1), ("down", "mid")) == (
        TensorSpec("down", (2, 3), "float16"),
        TensorSpec("mid", (2, 3), "float16"),
    )


def test_an_output_that_is_a_tuple_is_told_by_its_name() -> None:
    with pytest.raises(TraceError, match=r"the model's output down is no tensor, but a tuple or nothing\."):
        read_outputs(graph(4, 1), ("down", "mid"))


def test_where_names_and_outputs_are_not_as_many_it_is_told_by_its_number() -> None:
    with pytest.raises(TraceError, match="the model's output 0 is no tensor"):
        read_outputs(graph(0), ("down", "mid"))


def test_other_numbers_of_outputs() -> None:
    with pytest.raises(TraceError, match="the model returned 1 tensors, and the outputs are down, mid"):
        read_outputs(graph(1), ("down", "mid"))
