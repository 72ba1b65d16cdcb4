"""Facts of the scores of one attention: how large they may get, what their factors vary along, what they take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from attnfuse.api import MatchFailure, Model, Node
from attnfuse_passes.attention.axes import Space, keys
from attnfuse_passes.attention.normal_form import RunTimeFactor, flat


def largest_score(model: Model, node: Node) -> float:
    """The largest number that the node's result can hold."""
    tensor_type = model.type_of(node.name)
    return math.inf if tensor_type is None or not tensor_type.dtype.is_float else tensor_type.dtype.largest


def query_factors(space: Space, factors: Mapping[str, RunTimeFactor]) -> tuple[RunTimeFactor, ...]:
    """The factors with their atoms; all axes have been paired. Raises MatchFailure where one varies within a head."""
    made = tuple(replace(factor, source=space[name].source) for name, factor in factors.items())
    own = set(keys(flat(space["batch"].axes)))
    for factor in made:
        if not own.issuperset(keys(factor.source)):
            expected, found = "one factor for all queries and keys of a head", "one that varies along them"
            raise MatchFailure("facts.scale", factor.value, expected, found)
    return made


def dims_of(space: Space, *names: str) -> str:
    """The sizes of some views, for people."""
    return " and ".join(str(list(space[name].dims)) for name in names)
