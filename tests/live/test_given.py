"""Rules given in Python: None is mindone's None, and types may be objects."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from attnfuse.errors import PolicyError
from attnfuse.live import front
from attnfuse.live.given import NOT_GIVEN, given_policy
from attnfuse.policy import PassOption, SiteQuery


class MindSporeType:
    """As MindSpore's types print themselves."""

    def __str__(self) -> str:
        return "BFloat16"


def cast(policy: Any = None, keyword: object = NOT_GIVEN) -> str | None:
    """What a site of the UNet is cast to."""
    found = given_policy(policy, keyword, ()).decide(SiteQuery("unet", "unet", "mid.attn1"))
    return None if found.force_cast_dtype is None else found.force_cast_dtype.name


@pytest.mark.parametrize(
    ("keyword", "expected"),
    [
        (NOT_GIVEN, "float16"),
        (None, None),
        ("none", None),
        ("bfloat16", "bfloat16"),
        (MindSporeType(), "bfloat16"),
        (ml_dtypes.bfloat16, "bfloat16"),
        (np.float16, "float16"),
        (np.dtype("float16"), "float16"),
    ],
)
def test_the_keyword(keyword: object, expected: str | None) -> None:
    assert cast(keyword=keyword) == expected
    assert cast(policy=[{"match": "*", "force_cast_dtype": "bfloat16"}], keyword=keyword) == (
        "bfloat16" if keyword is NOT_GIVEN else expected
    )
    if keyword is not NOT_GIVEN:
        assert cast(policy={"defaults": {"force_cast_dtype": keyword}}) == expected
        assert cast(policy=[{"match": "unet", "force_cast_dtype": keyword}]) == expected


def test_what_selects_by_type_takes_types_too() -> None:
    (rule,) = given_policy([{"match": "*", "dtype": np.float32, "flash": False}], NOT_GIVEN, ()).rules
    assert rule.dtype == "float32"


def test_options_of_passes_come_with_the_policy() -> None:
    given = given_policy({"pass": {"fuse": {"largest_constant": 3}}}, NOT_GIVEN, ["vae"])
    assert given.options == (PassOption("policy [pass.fuse]", "fuse", "largest_constant", 3),)
    assert len(given.rules) == 1


def test_left_out_it_is_not_given() -> None:
    assert (front.compile.__kwdefaults__ or {})["force_cast_dtype"] is NOT_GIVEN


@pytest.mark.parametrize("given", [{"policy": [{"match": "[" * 1_001, "flash": False}]}, {"no_flash": ["[" * 1_001]}])
def test_patterns_longer_than_any_path(given: dict[str, Any]) -> None:
    whole: dict[str, Any] = {"policy": None, "no_flash": (), **given}
    with pytest.raises(PolicyError, match=r"a pattern of 1001 characters, '\[+…', and no module's path is longer"):
        given_policy(whole["policy"], NOT_GIVEN, whole["no_flash"])
