"""What is looked for: the rewrite differs from the original, by verification's own judgement and on what it draws.

Structure comes first, as it needs no numbers: a finding of it is looked for by its sentence, which names the node. Then
every site and replaced operator is judged alone, as a graph of its own that is given drawn inputs; what verification
compares is small there. Only where all of these are equal are the whole graphs run. Operators that are the same
function may round more or less often: an error at the graph's own types alone, which is one of the whole graph, is
looked for where it is as many times what is allowed as it is there. MindSpore's inference is not asked: `attnfuse
verify` says what it finds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from attnfuse.errors import VerificationError
from attnfuse.ir.graph import Model
from attnfuse.ir.inline import inlined
from attnfuse.mindir.schema import ModelProto
from attnfuse.reduction.pairs import Pair
from attnfuse.reduction.parts import node_count
from attnfuse.reduction.search import Graphs, Search, Tell
from attnfuse.verify.graph import sites
from attnfuse.verify.graph.assigned import read_through
from attnfuse.verify.graph.structure import check_interface, has_same_types, new_findings
from attnfuse.verify.lowering import Arithmetic, UnsupportedOpError, lower
from attnfuse.verify.numbers import full
from attnfuse.verify.numbers.site_numbers import key_of

Finds: TypeAlias = Callable[[Graphs], list[str]]

_SHOWS_NOTHING = "could not be compared"
"""In the findings that say that no number was to be had: those are of what was drawn."""

_ROUNDING = re.compile(r"(^|: )output \S+ is off by ")
"""In those of outputs at the graph's own types (see `attnfuse.verify.numbers.comparison`)."""


def begin(original: ModelProto, fused: ModelProto, seed: int, work: Path, tell: Tell) -> tuple[Search, Finds] | None:
    """A pair that differs, to be made smaller by `pairs.shrink`, and what is found in one; None where nothing differs.

    Raises VerificationError where that cannot be told: the graphs cannot be run on this machine, or do not take and
    give the same.
    """
    before, after = (read_through(inlined(Model(graph))) for graph in (original, fused))
    wanted = set(_structure((before.proto, after.proto)))
    bare = Pair((before.proto, after.proto)).part(None, frozenset())

    def wrong(graphs: Graphs) -> list[str]:
        return sorted(wanted.intersection(_structure(graphs)))

    if wanted and bare is not None and wrong(bare):
        tell(f"structure: {min(wanted)}")
        return _search(bare, wrong, tell)
    if not has_same_types(before, after):
        raise VerificationError("the two graphs take or give values of other types; attnfuse verify says which.")

    def another(graphs: Graphs) -> list[str]:
        found = _judged(graphs, seed, work)
        return [] if found is None else found.differences

    for graphs in _parts(before, after, tell):
        if another(graphs):
            return _search(graphs, another, tell)
    tell("no site and no replaced operator differs alone; both graphs are run whole")
    whole = None if bare is None else _numbers(bare, seed, work)
    if bare is None or whole is None or not (whole.differences or whole.roundings):
        return None
    if whole.differences:
        return _search(bare, another, tell)
    least = whole.off

    def as_far_off(graphs: Graphs) -> list[str]:
        found = _judged(graphs, seed, work)
        return [] if found is None or found.off < least else found.roundings

    return _search(bare, as_far_off, tell)


def _search(first: Graphs, found: Finds, tell: Tell) -> tuple[Search, Finds]:
    return Search(first, lambda graphs: bool(found(graphs)), tell), found


def _structure(graphs: Graphs) -> list[str]:
    before, after = map(Model, graphs)
    return [*new_findings(before, after)[0], *check_interface(before, after)]


def _parts(before: Model, after: Model, tell: Tell) -> Iterator[Graphs]:
    """The part of each site and replaced operator, small ones first; of those that compute the same, one."""
    found = sites.find(before, after)
    pair = Pair((before.proto, after.proto))
    cuts: list[tuple[tuple[str, ...], set[str], sites.Cut | None]] = [
        ((site.output,), {*site.entries.values(), *site.beside}, sites.cut(before, after, site)) for site in found.sites
    ]
    cuts += [(one.outputs, set(one.entries), sites.cut_replaced(before, after, one)) for one in found.replaced]
    distinct: dict[bytes, Graphs] = {}
    for outputs, stops, cut in cuts:
        # What the original does not reach through every entry cannot be drawn.
        if cut is None or not cut.entries_are_all or (key := key_of(cut)) in distinct:
            continue
        graphs = pair.part(outputs, stops, one_sided=stops)
        if graphs is not None:
            distinct[key] = graphs
    tell(f"{len(found.sites)} sites and {len(found.replaced)} replaced operators, {len(distinct)} of them distinct")
    yield from sorted(distinct.values(), key=lambda graphs: sum(map(node_count, graphs)))


@dataclass(frozen=True, slots=True)
class _Judged:
    """What verification finds in the numbers of a pair.

    `roundings` are of outputs whose error at the graph's own types is more than is allowed of a whole graph, where
    one operator rounds more often than another that is the same function; `off` is the largest such error, in what is
    allowed.
    """

    differences: list[str]
    roundings: list[str]
    off: float


def _judged(graphs: Graphs, seed: int, work: Path) -> _Judged | None:
    """None where verification cannot run one of the graphs: nothing is known of them."""
    try:
        for graph in graphs:
            lower(read_through(Model(graph)), Arithmetic.EXACT)
        return _numbers(graphs, seed, work)
    except (UnsupportedOpError, VerificationError):
        return None


def _numbers(graphs: Graphs, seed: int, work: Path) -> _Judged | None:
    """Raises VerificationError where a graph cannot be run."""
    before, after = map(Model, graphs)
    if not has_same_types(before, after):
        return None
    here = work / "part.mindir"  # no weight of a part lies beside it
    request = full.Request(name="part", original=here, fused=here, seed=seed, work=work)
    found = full.check_numbers(before, after, request, {})
    told = [text for text in found.findings if _SHOWS_NOTHING not in text]
    roundings = [text for text in told if _ROUNDING.search(text)]
    off = max((figures.fused / figures.tolerance for figures in found.outputs if figures.compared), default=0.0)
    return _Judged([text for text in told if text not in roundings], roundings, off)
