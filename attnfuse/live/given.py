"""The rules that are given in Python: a policy, and the keywords that come after it.

Types are named as on the command line or are objects: MindSpore's, numpy's. None is what it is in mindone, "no cast".
Imports no MindSpore; types tell their name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeAlias

from attnfuse.errors import UsageError
from attnfuse.policy import CAST_NAMES, CastName, Policy, command_line_rules, policy_of, read_policy

PolicyLike: TypeAlias = str | os.PathLike[str] | Mapping[str, Any] | Sequence[Mapping[str, Any]]


class NotGiven(Enum):
    """The type of `NOT_GIVEN`, as type checkers want it."""

    TOKEN = 0

    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_GIVEN: Final = NotGiven.TOKEN
"""Stands for a keyword that was left out, where None has a meaning of its own."""


def dtype_name(dtype: object) -> str:
    """What a type is called on the command line: "float16" of `mindspore.float16`, `numpy.float16` and "float16"."""
    return str(getattr(dtype, "__name__", dtype)).lower()


def cast_name(dtype: object) -> CastName:
    """What attention is cast to, of a name, a type, or None, which is "none". Raises UsageError for anything else."""
    name = "none" if dtype is None else dtype_name(dtype)
    for known in CAST_NAMES:
        if name == known:
            return known
    message = repr(dtype) if isinstance(dtype, str) else str(dtype)
    raise UsageError(
        f"force_cast_dtype {message} is not one of {', '.join(CAST_NAMES)}, nor mindspore.float16 or such."
    )


def given_policy(policy: PolicyLike | None, force_cast_dtype: object | NotGiven, no_flash: Sequence[str]) -> Policy:
    """The policy's rules, then those of the keywords, and its options of passes.

    Raises UsageError and PolicyError for what cannot be understood.
    """
    if isinstance(no_flash, str):
        raise UsageError("no_flash is a list of patterns, not one string.")
    last = command_line_rules(None if force_cast_dtype is NOT_GIVEN else cast_name(force_cast_dtype), no_flash)
    if policy is None:
        return Policy(last)
    if isinstance(policy, str | os.PathLike):
        return read_policy(Path(policy)).and_then(last)
    document = policy if isinstance(policy, Mapping) else {"rules": list(policy)}
    return policy_of(_named(document), "policy").and_then(last)


def _named(document: Mapping[str, Any]) -> dict[str, Any]:
    """A policy in which types are names; what is no table of settings is left for the policy to refuse."""
    named = dict(document)
    if isinstance(named.get("defaults"), Mapping):
        named["defaults"] = _settings(named["defaults"])
    if isinstance(named.get("rules"), Sequence):
        named["rules"] = [_settings(rule) if isinstance(rule, Mapping) else rule for rule in named["rules"]]
    return named


def _settings(entry: Mapping[str, Any]) -> dict[str, Any]:
    settings = dict(entry)
    if "force_cast_dtype" in settings and not isinstance(settings["force_cast_dtype"], str):
        settings["force_cast_dtype"] = cast_name(settings["force_cast_dtype"])
    if settings.get("dtype") is not None:
        settings["dtype"] = dtype_name(settings["dtype"])
    return settings
