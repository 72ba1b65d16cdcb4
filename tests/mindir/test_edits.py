"""Edits of weights: what their names say, how they follow each other, and what they make of numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnfuse.mindir.dtypes import FLOAT16, FLOAT32
from attnfuse.mindir.edits import Cut, NotEditableError, Pad, WeightEdits, edited_chunks, edited_weight
from attnfuse.verify.graph.edited import edited
from tests.support.graphs import seeded

HEADS = WeightEdits(pads=(Pad(0, 4, 8),))


def apply(edits: WeightEdits, value: np.ndarray, most: int = 64) -> np.ndarray:  # type: ignore[type-arg]
    """As it is streamed."""
    flat = value.reshape(-1)
    chunks = edited_chunks(edits, value.shape, FLOAT16, lambda first, last: flat[first:last].tobytes(), most)
    dtype = FLOAT16 if edits.dtype is None else edits.dtype
    return np.frombuffer(b"".join(chunks), dtype.numpy).reshape(edits.dims(value.shape))


def test_zeros_stand_behind_each_head() -> None:
    value = seeded("w", (6, 2), FLOAT16)
    found = apply(WeightEdits(pads=(Pad(0, 3, 1),)), value)
    np.testing.assert_array_equal(found[[0, 1, 3, 4, 6, 7]], value)
    assert not found[[2, 5, 8]].any()


@st.composite
def edits_of(draw: st.DrawFn) -> tuple[tuple[int, ...], WeightEdits]:
    """A shape, and edits that it takes."""
    dims = draw(st.lists(st.sampled_from([1, 2, 4, 6]), min_size=1, max_size=3))
    made = WeightEdits(draw(st.sampled_from([None, FLOAT32])))
    for axis, size in enumerate(dims):
        if draw(st.booleans()):
            groups = draw(st.sampled_from([n for n in (1, 2, 3) if size % n == 0]))
            made = made.then(WeightEdits(pads=(Pad(axis, groups, draw(st.integers(1, 3))),)), tuple(dims))
        if draw(st.booleans()):
            whole = made.dims(tuple(dims))[axis]
            begin = draw(st.integers(0, whole - 1))
            made = made.then(WeightEdits(cuts=(Cut(axis, begin, draw(st.integers(begin + 1, whole))),)), tuple(dims))
    return tuple(dims), made


@given(edits_of(), st.integers(1, 40))
def test_streaming_and_verification_agree(drawn: tuple[tuple[int, ...], WeightEdits], most: int) -> None:
    dims, edits = drawn
    value = seeded("w", dims, FLOAT16)
    expected = edited(value, edits)
    found = apply(edits, value, most)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(found, expected)


@given(edits_of())
def test_a_name_says_how_a_weight_is_made(drawn: tuple[tuple[int, ...], WeightEdits]) -> None:
    _, edits = drawn
    name = edits.name("a.weight")
    found = edited_weight(name, {"a.weight"})
    if edits == WeightEdits():
        assert name == "a.weight"
        assert found is None
    else:
        assert found == ("a.weight", edits)


@pytest.mark.parametrize(
    "name",
    [
        "w__pad_0_4_8",  # of a source's own name
        "other__pad_0_4_8",
        "w__cut_0_0_4_pad_0_4_8",
        "w__pad_00_4_8",
        "w__dtype_int8",
        "w__pad_0_4",
        "w__",
    ],
)
def test_another_name_says_nothing(name: str) -> None:
    assert edited_weight(name, {"w", "w__pad_0_4_8"}) is None


def test_the_source_is_the_longest_name() -> None:
    assert edited_weight("w__pad_0_4_8__pad_0_4_8", {"w", "w__pad_0_4_8"}) == ("w__pad_0_4_8", HEADS)


def test_a_pad_behind_a_cut_is_one_before_it() -> None:
    half = WeightEdits(cuts=(Cut(0, 8, 16),))
    both = half.then(WeightEdits(pads=(Pad(0, 2, 3),)), (16, 2))
    assert both == WeightEdits(pads=(Pad(0, 4, 3),), cuts=(Cut(0, 14, 28),))
    value = seeded("w", (16, 2), FLOAT16)
    np.testing.assert_array_equal(edited(value, both), edited(value[8:], WeightEdits(pads=(Pad(0, 2, 3),))))


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (WeightEdits(cuts=(Cut(0, 3, 16),)), WeightEdits(pads=(Pad(0, 1, 3),)), "cut to 3:16 across groups of 13"),
        (WeightEdits(cuts=(Cut(0, 0, 8),)), WeightEdits(cuts=(Cut(0, 4, 9),)), "no elements 4:9"),
        (WeightEdits(), WeightEdits(pads=(Pad(0, 3, 8),)), "no 3 groups on axis 0"),
        (WeightEdits(), WeightEdits(pads=(Pad(2, 1, 8),)), "no 1 groups on axis 2"),
        (WeightEdits(), WeightEdits(cuts=(Cut(1, 2, 2),)), "no elements 2:2"),
        (WeightEdits(FLOAT16), WeightEdits(FLOAT32), "converted to float16 before"),
    ],
)
def test_what_has_no_one_order_is_refused(first: WeightEdits, second: WeightEdits, told: str) -> None:
    with pytest.raises(NotEditableError, match=told):
        first.then(second, (16, 2))
