"""What is the same error: its class, where it came from, and what it says but for numbers."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from attnfuse.errors import InternalError, SourceError, UsageError
from attnfuse.reduction.errors import Failure


def failure(raiser: Callable[[], object]) -> Failure:
    try:
        raiser()
    except Exception as error:
        return Failure.of(error)
    raise AssertionError("nothing was raised")


def refused(what: str) -> None:
    raise SourceError(what)


def looked_up(key: object) -> object:
    known: dict[object, object] = {}
    return known[key]


def caused(cause: Callable[[], object]) -> None:
    try:
        cause()
    except Exception as error:
        raise InternalError("broken") from error


def endless(depth: int) -> int:
    return endless(depth + 1) + 1


def test_numbers_make_no_other_error_and_words_do() -> None:
    first = failure(lambda: refused("Dense CNode_12:12 gives [2, 3]."))
    assert failure(lambda: refused("Dense CNode_7:7 gives [4, 3].")).key == first.key
    assert failure(lambda: refused("Add CNode_12:12 gives [2, 3].")).key != first.key
    assert first.said == "Dense CNode_12:12 gives [2, 3]."


def test_a_defect_is_told_by_its_place() -> None:
    first = failure(lambda: looked_up("a"))
    assert failure(lambda: looked_up("b")).key == first.key
    assert failure(lambda: looked_up([])).key != first.key  # TypeError
    assert first.key[1] == f"{__name__}.looked_up, line {looked_up.__code__.co_firstlineno + 2}"
    assert first.said == "KeyError: 'a'"


def test_the_place_is_that_of_the_first_cause() -> None:
    assert failure(lambda: caused(lambda: looked_up("a"))).key != failure(lambda: caused(lambda: endless(0))).key
    assert "looked_up" in failure(lambda: caused(lambda: looked_up("a"))).key[1]


@pytest.mark.parametrize("library", [lambda: json.loads("{"), lambda: np.zeros(2).reshape(3)])
def test_the_place_is_none_of_a_library(library: Callable[[], object]) -> None:
    assert failure(library).key[1].startswith(f"{__name__}.")


def test_a_recursion_may_end_anywhere() -> None:
    assert failure(lambda: endless(0)).key == failure(lambda: endless(3)).key == ("RecursionError", "")


def test_another_class_is_another_error() -> None:
    def usage(what: str) -> None:
        raise UsageError(what)

    assert failure(lambda: usage("x")).key[0] != failure(lambda: refused("x")).key[0]
