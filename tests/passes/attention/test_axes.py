"""The algebra of layouts against numpy: whatever is done to a view is done to the tensor."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnfuse_passes.attention.axes import _MOST_STATES, UNKNOWN, Atom, Space, View, _State, keys, product


def numbers(dims: tuple[int, ...]) -> Any:
    """An array whose elements are all different."""
    return np.arange(math.prod(dims)).reshape(dims)


def factored(random: Random, size: int) -> list[int]:
    """A random shape of that many elements, now and then with axes of one element."""
    dims: list[int] = []
    while size > 1:
        divisor = random.choice([d for d in range(2, size + 1) if size % d == 0])
        dims.append(divisor)
        size //= divisor
    for _ in range(random.randrange(2)):
        dims.insert(random.randrange(len(dims) + 1), 1)
    return dims


def test_what_a_space_remembers_is_what_a_new_one_works_out() -> None:
    """Whatever other spaces did before: of few sizes and steps, most were seen."""
    for seed in range(400):
        random, again, known, anew = Random(seed), Random(seed), Space(), Space()
        anew._changing = True  # as within a change, nothing is looked up
        dims = (2, 2 + 2 * (seed % 2))
        for space in (known, anew):
            space.identity("x", dims)
        for _ in range(3):
            branch = known.branch()
            before = dict(known._views)
            values = [step(draw, space, numbers(space["x"].dims)) for draw, space in ((random, known), (again, anew))]
            np.testing.assert_array_equal(*values)
            assert known._views == anew._views
            assert branch._views == before
        other = known.fresh(3), anew.fresh(3)
        assert other[0] == other[1]


def test_remembered_spaces_are_forgotten_in_time() -> None:
    for size in range(2, _MOST_STATES + 100):
        space = Space()
        space.identity("x", (size, size))
        assert space["x"].dims == (size, size)
    assert _State.count < _MOST_STATES


def step(random: Random, space: Space, value: Any) -> Any:
    """One random layout operator done to view "x" and to its value; the value unchanged where it is refused."""
    rank = value.ndim
    match random.choice(["reshape", "transpose", "expand", "squeeze", "repeat"]):
        case "reshape":
            dims = factored(random, value.size)
            return value.reshape(dims) if space.reshape("x", dims) else value
        case "transpose":
            order = random.sample(range(rank), rank)
            space.transpose("x", order)
            return value.transpose(order)
        case "expand":
            axis = random.randrange(rank + 1)
            space.expand("x", axis)
            return np.expand_dims(value, axis)
        case "squeeze":
            axes = [i for i in range(rank) if random.random() < 0.5]
            legal = all(value.shape[i] == 1 for i in axes)
            assert space.squeeze("x", axes) == legal
            return value.squeeze(tuple(axes)) if legal else value
        case _ if rank == 0 or value.size > 300:
            return value
        case _:
            axis, times, inner = random.randrange(rank), random.randrange(1, 4), random.random() < 0.5
            space.repeat("x", axis, times, innermost=inner)
            return value.repeat(times, axis) if inner else np.concatenate([value] * times, axis)


@given(st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_any_chain_of_operators_is_what_numpy_does(random: Random) -> None:
    dims = tuple(random.choice([1, 2, 3, 4, 6]) for _ in range(random.randrange(1, 4)))
    source = numbers(dims)
    space = Space()
    space.identity("x", dims)
    value: Any = source
    for _ in range(random.randrange(1, 7)):
        value = step(random, space, value)
        assert space["x"].dims == value.shape
        np.testing.assert_array_equal(space["x"].apply(source), value)


@given(st.randoms(use_true_random=False))
@settings(max_examples=150)
def test_a_reshape_of_row_major_atoms_is_never_refused_without_cause(random: Random) -> None:
    """Regrouping to a coarser shape and back is always possible: atoms are split, not lost."""
    dims = tuple(factored(random, random.choice([6, 8, 12, 24, 36])))
    space = Space()
    space.identity("x", dims)
    assert space.reshape("x", [math.prod(dims)])
    assert space.reshape("x", dims)
    np.testing.assert_array_equal(space["x"].apply(numbers(dims)), numbers(dims))


def common_size(random: Random, one: tuple[int, ...], other: tuple[int, ...]) -> tuple[Space, int, int]:
    """Two views, x of shape `one` and y of shape `other`, each flattened to a random depth of its atoms."""
    space = Space()
    space.identity("x", one)
    space.identity("y", other)
    space.reshape("x", [math.prod(one)])
    space.reshape("y", [math.prod(other)])
    return space, math.prod(one), math.prod(other)


@given(st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_pairing_makes_the_same_atoms_or_says_no(random: Random) -> None:
    """After a pairing both axes are the same atoms, and both views still mean what they meant."""
    size = random.choice([4, 6, 8, 12, 16, 24])
    one, other = tuple(factored(random, size)), tuple(factored(random, random.choice([size, size, 6])))
    space, a, b = common_size(random, one, other)
    paired = space.pair("x", 0, "y", 0, broadcast=False)
    x, y = space["x"], space["y"]
    np.testing.assert_array_equal(x.apply(numbers(one)), numbers((a,)))
    np.testing.assert_array_equal(y.apply(numbers(other)), numbers((b,)))
    if paired:
        assert a == b
        assert keys(x.axes[0]) == keys(y.axes[0])
        assert x.axes == y.axes
    elif a == b:
        # Only factorings whose partial products do not nest can fail.
        bounds = [set(np.cumprod([d for d in dims if d > 1])[:-1]) for dims in (one, other)]
        assert any(max(p, q) % min(p, q) for p in bounds[0] for q in bounds[1])


@given(st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_pairing_splits_the_atom_in_every_view_of_the_space(random: Random) -> None:
    """A third view made from x before the pairing still shares x's atoms after it."""
    size = random.choice([8, 12, 24])
    space = Space()
    space.identity("x", (size, 3))
    space.put("kept", space["x"])
    space.transpose("kept", (1, 0))
    other = factored(random, size)
    space.identity("y", other)
    space.reshape("y", [size])
    assert space.pair("x", 0, "y", 0, broadcast=False)
    assert keys(space["kept"].axes[1]) == keys(space["x"].axes[0]) == keys(space["y"].axes[0])
    np.testing.assert_array_equal(space["kept"].apply(numbers((size, 3))), numbers((size, 3)).T)


def space_of(**dims: tuple[int, ...]) -> Space:
    space = Space()
    for name, shape in dims.items():
        space.identity(name, shape)
    return space


def test_axes_of_one_element_have_no_atoms() -> None:
    assert space_of(x=(1, 3, 1))["x"].axes[0] == ()
    assert product(()) == 1


def test_pairing_one_element_with_more_is_a_broadcast() -> None:
    space = space_of(x=(1,), y=(4,))
    assert not space.pair("x", 0, "y", 0, broadcast=False)
    assert space.pair("x", 0, "y", 0, broadcast=True)
    assert space["x"].axes == ((),)
    assert space.pair("y", 0, "x", 0, broadcast=True)
    assert space_of(x=(1,), y=(1,)).pair("x", 0, "y", 0, broadcast=False)


@pytest.mark.parametrize("broadcast", [True, False])
def test_pairing_different_sizes_is_refused(broadcast: bool) -> None:
    space = space_of(x=(4,), y=(6,))
    assert not space.pair("x", 0, "y", 0, broadcast=broadcast)
    assert not space_of(x=(0,), y=(0,)).pair("x", 0, "y", 0, broadcast=broadcast)


def test_pairing_factorings_that_do_not_nest_is_refused() -> None:
    """(2·3) and (3·2) have no common refinement: the boundary after 2 is inside 3."""
    space = space_of(x=(2, 3), y=(3, 2))
    space.reshape("x", [6])
    space.reshape("y", [6])
    assert not space.pair("x", 0, "y", 0, broadcast=False)


def test_pairing_an_unknown_size_names_the_same_atom() -> None:
    space = space_of(x=(UNKNOWN, 2), y=(UNKNOWN,), z=(5,))
    assert space.pair("x", 0, "y", 0, broadcast=False)
    assert keys(space["x"].axes[0]) == keys(space["y"].axes[0])
    assert space.pair("x", 0, "y", 0, broadcast=False)
    assert space.pair("z", 0, "x", 0, broadcast=False)
    assert space["x"].dims == (5, 2)
    assert space["y"].dims == (5,)


def test_an_unknown_size_is_not_paired_with_a_group() -> None:
    space = space_of(x=(UNKNOWN,), y=(2, UNKNOWN))
    assert space.reshape("y", [UNKNOWN])
    assert not space.pair("x", 0, "y", 0, broadcast=False)


def test_an_unknown_size_is_moved_and_never_split() -> None:
    space = space_of(x=(UNKNOWN, 12))
    assert space.reshape("x", [UNKNOWN, 3, 4])
    assert space["x"].dims == (UNKNOWN, 3, 4)
    space.transpose("x", (1, 0, 2))
    assert space["x"].dims == (3, UNKNOWN, 4)
    assert space.reshape("x", [3, UNKNOWN])
    assert space.reshape("x", [3, UNKNOWN, 2])
    assert space["x"].dims == (3, UNKNOWN, 2)
    assert not space.reshape("x", [2, UNKNOWN, 4])
    assert not space.reshape("x", [3, UNKNOWN, 5])


def test_what_is_left_for_an_unknown_dimension_must_be_unknown() -> None:
    """-1 in a type means "not known": a known group in its place would be a claim about another tensor."""
    assert not space_of(x=(4, 3)).reshape("x", [UNKNOWN, 3])
    assert not space_of(x=(UNKNOWN, 4)).reshape("x", [UNKNOWN, UNKNOWN])
    assert not space_of(x=(UNKNOWN, 4)).reshape("x", [8])


@pytest.mark.parametrize(
    ("before", "after"),
    [((4,), [3]), ((2, 3), [2]), ((2, 3), [2, 3, 2]), ((6,), [4, 2]), ((3, 4), [2, 6]), ((0, 2), [0]), ((2,), [0, 2])],
)
def test_shapes_that_do_not_factor_along_the_atoms_are_refused(before: tuple[int, ...], after: list[int]) -> None:
    assert not space_of(x=before).reshape("x", after)


def test_repeated_atoms_are_those_the_source_lacks() -> None:
    space = space_of(x=(2, 3))
    assert space["x"].repeated == frozenset()
    space.repeat("x", 1, 4, innermost=True)
    (_, (own, extra)) = space["x"].axes
    assert space["x"].repeated == {extra.key}
    assert own.size == 3
    assert extra.size == 4
    space.repeat("x", 0, 1, innermost=True)
    assert space["x"].dims == (2, 12)


def test_whole_and_elementwise_repetition_are_told_apart() -> None:
    """Tile repeats [a b a b], RepeatInterleave [a a b b]: only the latter is what grouped heads mean."""
    x = np.array([5, 7])
    for inner, expected in ((False, [5, 7, 5, 7]), (True, [5, 5, 7, 7])):
        space = space_of(x=(2,))
        space.repeat("x", 0, 2, innermost=inner)
        np.testing.assert_array_equal(space["x"].apply(x), expected)


def test_a_product_with_an_unknown_atom_is_unknown() -> None:
    assert product((Atom(1, 3), Atom(2, UNKNOWN))) == UNKNOWN
    assert product((Atom(1, 3), Atom(2, 4))) == 12


def test_names() -> None:
    space = space_of(x=(2,))
    assert "x" in space
    assert "y" not in space
    view = View((), ())
    space.put("y", view)
    assert space["y"] is view
