"""Masks and biases of sizes that are not known before run time, read beside the scores.

An operator that adds or fills repeats an axis of one element. So a size that is not known may turn out to be that of
the scores, or 1, and the fused node is given the mask repeated at run time: right for both. Only the axis of the keys
may be left open so. Along another a longer mask would make more rows or batches of the scores, and a fused node takes a
mask longer than the rows it has; along the keys it would leave key and value of different lengths, which no fused node
takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attnfuse.api import MatchFailure
from attnfuse_passes.attention.axes import UNKNOWN, Axis, Space, product


@dataclass(frozen=True, slots=True)
class OpenTerm:
    """A term with a size that is not known: the node that adds it, or fills, and the sizes it has there."""

    at: str
    dims: tuple[int, ...]


def check_open(space: Space, terms: Mapping[str, OpenTerm], key_length: tuple[int, ...]) -> None:
    """Raise MatchFailure for a term, by its view's name, that leaves another size to run time than that of the keys.

    `key_length` are the keys of the atoms of the scores' axis of keys. Where the scores' own size is known, so would
    the term's be: it may be 1 all the same.
    """
    for name, term in terms.items():
        left = [atom.key for atom in space[name].source if atom.size == UNKNOWN]
        if len(left) != term.dims.count(UNKNOWN) or not set(left) <= set(key_length):
            expected = "a mask of known sizes, but for the length of keys that are of unknown length"
            raise MatchFailure("facts.dynamic_mask", term.at, expected, str(list(term.dims)))


def unfold_heads(space: Space, name: str) -> bool:
    """A 4-D mask beside 3-D scores [batch · heads, query, key]: give the scores their head axis."""
    batch, heads, *_ = space[name].dims
    whole, query, key = space["scores"].axes
    count = product(whole)
    if UNKNOWN in (count, batch, heads) or 0 in (batch, heads):  # there is nothing to tell apart by
        return False
    if heads == 1:
        heads = count // batch
    elif batch == 1:
        batch = count // heads
    if batch * heads != count:
        return False
    kept = {at + 1: at for at, axis in ((1, query), (2, key)) if product(axis) == UNKNOWN}
    return space.reshape("scores", (batch, heads, product(query), product(key)), kept)


def regroup(space: Space, name: str, axes: tuple[Axis, ...]) -> None:
    """Give a view back the axes it had: each of as many elements, one for one from the end."""
    now = space[name].axes
    kept = {at: at + len(now) - len(axes) for at, axis in enumerate(axes) if product(axis) == UNKNOWN}
    space.reshape(name, tuple(map(product, axes)), kept)
