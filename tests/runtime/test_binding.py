"""Inputs are bound by name, and cast where no number is lost to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnfuse_runtime.binding import BoundComponent, bind
from attnfuse_runtime.errors import BackendError, InputError
from attnfuse_runtime.manifest import Component, Tensor

UNET = Component(
    name="unet",
    owner="unet",
    graph=Path("unet_graph.mindir"),
    variables=(),
    inputs=(Tensor("sample", (2, -1), "float16"), Tensor("timestep", (1,), "int32"), Tensor("scale", (), "bfloat16")),
    outputs=(Tensor("sample", (2, -1), "float16"),),
)
GIVEN: dict[str, Any] = {"scale": np.float64(2), "timestep": np.asarray([981]), "sample": np.ones((2, 3))}


def test_by_name_and_in_the_graphs_types() -> None:
    bound = bind(UNET, GIVEN)
    assert list(bound) == ["sample", "timestep", "scale"]
    assert [(one.dtype.name, one.shape) for one in bound.values()] == [
        ("float16", (2, 3)),
        ("int32", (1,)),
        ("float32", ()),  # numpy has no bfloat16
    ]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sample": None}, "unet was not given sample; it takes sample float16[2, -1], timestep int32[1]"),
        ({"noise": np.zeros(1)}, "unet has no noise"),
        ({"sample": np.zeros((3, 3))}, "takes sample float16[2, -1], and was given one of [3, 3]"),
        ({"sample": np.zeros(2)}, "was given one of [2]"),
        ({"timestep": np.asarray([981.0])}, "was given float64; give whole numbers"),
        ({"sample": np.ones((2, 3), np.int64)}, "was given int64; give floating-point numbers"),
        ({"sample": np.asarray([["a"], ["b"]])}, "give floating-point numbers"),
        ({"timestep": np.asarray([2**31])}, "numbers that int32 does not hold"),
        ({"sample": np.full((2, 1), 1e5)}, "numbers that float16 does not hold"),
    ],
)
def test_what_is_refused(changed: dict[str, Any], said: str) -> None:
    given = {name: value for name, value in {**GIVEN, **changed}.items() if value is not None}
    with pytest.raises(InputError, match=r"^[^\n]*\.$") as raised:
        bind(UNET, given)
    assert said in str(raised.value)


def test_numbers_that_are_none_stay() -> None:
    given = np.asarray([[np.inf], [np.nan]])
    np.testing.assert_array_equal(bind(UNET, {**GIVEN, "sample": given})["sample"], given.astype(np.float16))


def test_outputs_have_names_and_are_those_of_the_manifest() -> None:
    output = np.zeros((2, 5), np.float16)
    assert BoundComponent(UNET, lambda values: [output])(**GIVEN)["sample"] is output


@pytest.mark.parametrize("wrong", [[], [np.zeros((2, 5))] * 2, [np.zeros(5)]])
def test_outputs_that_are_not_those_of_the_manifest(wrong: list[Any]) -> None:
    with pytest.raises(BackendError, match=r"is the graph that of the manifest\?"):
        BoundComponent(UNET, lambda values: wrong)(**GIVEN)
