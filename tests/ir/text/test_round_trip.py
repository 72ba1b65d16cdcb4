"""MindIR → text → MindIR gives the same bytes: over the corpus, and over messages that nobody would write."""

from __future__ import annotations

import contextlib
from random import Random

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from attnfuse.ir.graph import read_literal
from attnfuse.ir.text import TextError, parse_model, print_model
from attnfuse.ir.text.lexer import Cursor
from attnfuse.ir.text.messages import message_text, parse_message
from attnfuse.ir.text.values import Writer, parse_constant, parse_type
from attnfuse.ir.types import Array, Literal, TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.schema import AttributeProto, ModelProto
from tests.support.graphs import ValueType, fill_literal, fill_type, transformer
from tests.support.messages import change, data, fill
from tools.corpus import store

NAMES = store.names()
SMALL = transformer(sites=1, heads=2, size=4, length=3).build()


def round_trip(name: str) -> None:
    read = store.read(name)
    text = print_model(ModelProto.FromString(read))
    assert data(parse_model(text)) == read
    # All of it has a readable form.
    assert not any(line.lstrip().startswith(("node ", "parameter {", "primitive {")) for line in text.splitlines())


@pytest.mark.parametrize("name", ["lumina2-float16", "cogvideox-bfloat16", "unet_sd15-float32", "ascend_prior-float16"])
def test_graphs_of_each_kind(name: str) -> None:
    # Functions and closures; lists and memory; views; fused nodes.
    round_trip(name)


@pytest.mark.slow  # ten seconds in all
@pytest.mark.parametrize("name", NAMES)
def test_whole_corpus(name: str) -> None:
    round_trip(name)


SEEDS = st.integers(0, 2**32 - 1).map(Random)


@given(SEEDS)
def test_any_attribute_as_type_and_as_constant(random: Random) -> None:
    proto = AttributeProto()
    fill(proto, random)
    writer = Writer(unknown_fields=True)
    for text, parse in ((writer.type(proto), parse_type), (writer.constant(proto), parse_constant)):
        read = AttributeProto()
        if proto.HasField("name"):
            read.name = proto.name
        parse(Cursor(text), read)
        assert data(read) == data(proto), text


@given(SEEDS)
def test_any_message(random: Random) -> None:
    proto = ModelProto()
    fill(proto, random, depth=4)
    read = ModelProto()
    parse_message(Cursor(message_text(proto)), read)
    assert data(read) == data(proto)


@given(SEEDS)
def test_a_model_with_something_amiss(random: Random) -> None:
    model = ModelProto()
    model.CopyFrom(SMALL)
    for _ in range(random.randint(1, 4)):
        change(model, random)
    assert data(parse_model(print_model(model))) == data(model)


def literals() -> st.SearchStrategy[Literal]:
    scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(width=32) | st.text(max_size=8)
    return st.recursive(scalars, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=8)


@given(literals())
def test_constants(value: Literal) -> None:
    proto = AttributeProto()
    fill_literal(proto, value)
    text = Writer().constant(proto)
    assert not text.startswith(("{", "bytes"))
    read = AttributeProto()
    parse_constant(Cursor(text), read)
    assert data(read) == data(proto)
    assert repr(read_literal(read)) == repr(read_literal(proto))


DTYPES = (np.bool_, np.int8, np.uint16, np.int64, np.uint64, np.float16, np.float32, np.float64, ml_dtypes.bfloat16)


@given(st.sampled_from(DTYPES), arrays.array_shapes(min_dims=0, min_side=0, max_side=5), SEEDS)
def test_tensors(dtype: type, dims: tuple[int, ...], random: Random) -> None:
    kind: np.dtype[np.generic] = np.dtype(dtype)
    size = int(np.prod(dims, dtype=np.int64)) * kind.itemsize
    element = random.randbytes(kind.itemsize)
    held = random.choice((random.randbytes(size), element * (size // kind.itemsize)))
    array: Array = np.frombuffer(held, kind).reshape(dims)
    if dtype is np.bool_:
        array = np.frombuffer(held, np.uint8).reshape(dims) > 100
    proto = AttributeProto()
    fill_literal(proto, array)
    read = AttributeProto()
    parse_constant(Cursor(Writer().constant(proto)), read)
    assert data(read) == data(proto)


def kinds() -> st.SearchStrategy[ValueType]:
    dims = st.lists(st.integers(-2, 9), max_size=4).map(tuple)
    tensors = st.builds(TensorType, dims, st.sampled_from(dtypes.ALL))
    return st.recursive(tensors, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)


@given(kinds())
def test_types(value_type: ValueType) -> None:
    proto = AttributeProto()
    fill_type(proto, value_type)
    text = Writer().type(proto)
    read = AttributeProto()
    parse_type(Cursor(text), read)
    assert data(read) == data(proto)
    if isinstance(value_type, TensorType) and min(value_type.dims, default=0) >= -1:
        assert text == str(value_type)


TEXT = print_model(SMALL)


@settings(max_examples=300)
@given(SEEDS)
def test_damaged_text_is_no_other_error_than_that_of_text(random: Random) -> None:
    at = random.randrange(len(TEXT))
    cut = random.randint(0, 4)
    put = random.choice(("", "(", ")", '"', "%", "[", "nan", "-5", "graph", "\n", "{", "tensor", "}", ":", "bytes"))
    with contextlib.suppress(TextError):  # of anything else, this test fails
        parse_model(TEXT[:at] + put + TEXT[at + cut :])
