"""Facts of the scores of one attention: how large they may get, what their factors vary along, what they take."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from attnfuse.api import MatchFailure, Model, Node
from attnfuse_passes.attention.axes import Space, keys
from attnfuse_passes.attention.normal_form import Bias, Fill, RunTimeFactor, flat
from attnfuse_passes.attention.softmax import CODE


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


def scaled_terms(
    terms: Mapping[str, Bias | Fill], node: Node, factor: float, *, shifted: bool
) -> dict[str, Bias | Fill]:
    """The terms of scores that `node` multiplies. `shifted`: each row is less by its largest number, and so in range.

    Raises MatchFailure where the factor turns what a row is less by into its smallest number; and for masked scores
    that are clamped, where it brings what was −∞ nearer to the scores or out of the type's range.
    """
    if shifted and factor < 0:
        raise MatchFailure("facts.scale", node.name, "a factor above 0 behind what is subtracted", repr(factor))
    if factor != 1.0 and any(isinstance(term, Bias) and term.clamped for term in terms.values()):
        expected, found = "no factor behind a clamp of masked scores", repr(factor)
        raise MatchFailure("facts.fully_masked_rows", node.name, expected, found)
    found_terms = {name: term.times(factor) for name, term in terms.items()}
    if not shifted:
        return found_terms
    return {
        name: replace(term, peak=before.peak) if isinstance(term, Bias) and isinstance(before, Bias) else term
        for (name, term), before in zip(found_terms.items(), terms.values(), strict=True)
    }


def are_own_rows(shifts: Sequence[tuple[Node, frozenset[int]]], row: Collection[int], *, masked: bool) -> bool:
    """Whether all that is subtracted is each row's own: of each the node, and the atoms that it is the same number for.

    Raises MatchFailure for what differs within a row, as only what is one number for all of it changes no softmax; and
    for masked scores that something is subtracted from beside a number of several rows: a row of −∞ that is made no
    number makes none of those.
    """
    for node, along in shifts:
        if not along.issuperset(row):
            raise MatchFailure(CODE, node.name, "one number subtracted from the scores of all keys", "one for each")
    is_own = all(along.issubset(row) for _, along in shifts)
    if masked and not is_own and len(shifts) > 1:
        expected, found = "one number subtracted from each row of masked scores", "one for several rows, and others"
        raise MatchFailure("facts.fully_masked_rows", shifts[-1][0].name, expected, found)
    return is_own


def clamped_terms(terms: Mapping[str, Bias | Fill], node: Node, low: float, *, shifted: bool) -> dict[str, Bias | Fill]:
    """The terms of scores that `node` clamps to `low` and more, the smallest number of their type.

    Raises MatchFailure where each row is less by a number of its own already (`shifted`): a row of −∞ less −∞ is not a
    number, and stays so.
    """
    if shifted and terms:
        expected = "masked scores that are clamped in front of what is subtracted from a row"
        raise MatchFailure("facts.fully_masked_rows", node.name, expected, node.op)
    return {name: term.at_least(low) for name, term in terms.items()}


def dims_of(space: Space, *names: str) -> str:
    """The sizes of some views, for people."""
    return " and ".join(str(list(space[name].dims)) for name in names)
