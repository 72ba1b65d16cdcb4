"""The numbers of one component: what it is run on, and what is told of several runs.

A graph is run whole on each set of inputs: those of `--data`, or drawn ones. Where it has masks or lengths, two are
drawn: one whose rows are padded, and one whose rows are hidden and seen whole. A result that the original leaves
partly undefined there (a mask of −inf makes NaN of a fully masked row, and the next layer spreads it) is compared once
more on masks whose every row has a key. Of each output the worst run is told. The sites are then run alone, on what
they met in the run that left the least undefined, and on operands of their own.

A graph with open sizes is bound to some first: see `binding`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from attnfuse.errors import VerificationError
from attnfuse.ir.graph import Model, short_name
from attnfuse.ir.inline import inlined
from attnfuse.ir.types import Array, TensorType
from attnfuse.names import counted
from attnfuse.verify import watch
from attnfuse.verify.graph import branches, gaps, sites
from attnfuse.verify.graph.assigned import read_through
from attnfuse.verify.graph.sums import with_named_sums
from attnfuse.verify.inference import binding
from attnfuse.verify.lowering import Arithmetic, UnsupportedOpError, has_rule, lower, unknown_nodes
from attnfuse.verify.numbers import (
    branching,
    comparison,
    data,
    execution,
    expected,
    replaced_operators,
    segments,
    site_numbers,
    weights,
)
from attnfuse.verify.numbers.comparison import Comparison, NoRuleError, Side, problems, rows_without_nan, uncompared
from attnfuse.verify.numbers.inputs import OPEN, Draw, draw_inputs, sampled_draws, whole_draws
from attnfuse.verify.result import ComparedFile, OutputFigures, SiteFigures
from attnfuse.verify.stages import timed


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to verify, and on what. `held` is where the original's weights lie, if not with it; `data` are files of
    inputs; `never_fully_masked` are results of sites whose rows have a key each, by the policy; `compute` the dtypes it
    asks for, by result."""

    name: str
    original: Path
    fused: Path
    seed: int
    work: Path
    held: Path | None = None
    data: Sequence[Path] = ()
    never_fully_masked: Set[str] = frozenset()
    compute: Mapping[str, str] = field(default_factory=dict)
    sampled: bool = False
    """Whether one of several equal parts is enough, and one input."""


@dataclass(slots=True)
class Found:
    """What came of it, in the words and records of a `ComponentVerification`."""

    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    outputs: list[OutputFigures] = field(default_factory=list)
    sites: list[SiteFigures] = field(default_factory=list)
    drawn: list[str] = field(default_factory=list)
    data: list[ComparedFile] = field(default_factory=list)
    not_verified: list[str] = field(default_factory=list)

    def add(self, other: Found, where: str) -> None:
        """Take over what was found at some sizes; `where` tells them."""
        self.findings += [f"at {where}: {finding}" for finding in other.findings]
        self.notes += [f"at {where}: {note}" for note in other.notes]
        self.warnings += [f"at {where}: {warning}" for warning in other.warnings]
        self.outputs += [replace(figures, output=f"{figures.output} at {where}") for figures in other.outputs]
        self.sites += other.sites
        self.drawn += [f"{drawn} at {where}" for drawn in other.drawn]
        self.data += other.data
        self.not_verified += [f"at {where}: {text}" for text in other.not_verified]


@dataclass(frozen=True, slots=True)
class _Feed:
    """A set of real inputs by the original's names; or, with none yet, how to draw it. `label` tells it from others,
    `given` is what to say of real ones where the original has no finite value on them."""

    label: str
    inputs: dict[str, Array] | None
    draw: Draw | None
    given: str = ""


@dataclass(frozen=True, slots=True)
class _Run:
    feed: _Feed
    compared: Comparison

    @property
    def undefined(self) -> int:
        """How many elements the original leaves undefined, over all outputs."""
        return sum(figures.undefined for figures in self.compared.outputs)

    @property
    def is_about_masks(self) -> bool:
        return self.feed.draw not in (None, OPEN)

    def figures(self) -> tuple[OutputFigures, ...]:
        outputs = self.compared.outputs
        return tuple(map(site_numbers.at_own_types, outputs)) if self.is_about_masks else outputs


def check_numbers(before: Model, after: Model, request: Request, seconds: dict[str, float]) -> Found:
    """Run both graphs and every part that was rewritten. Raises as `attnfuse.verify.verify_component` does."""
    sets = data.read_sets(before, request.data)
    found = Found(data=[given.file for given in sets])
    provided, remarks = weights.both_sides(
        before.proto, request.original, after.proto, request.fused, request.seed, request.held, request.work
    )
    if binding.is_open(before):
        for bound in binding.bind(before, after, [given.inputs for given in sets], request.name, request.work):
            graphs = bound.graphs()
            sides = Side(graphs[0], provided[0]), Side(graphs[1], provided[1])
            chosen = [sets[number] for number in bound.sets]
            found.add(_at_sizes(sides, chosen, request, seconds), bound.label)
    else:
        sides = Side(before, provided[0]), Side(after, provided[1])
        made = _at_sizes(sides, sets, request, seconds)
        made.data, found = found.data, made
    found.notes[:0] = remarks
    return found


def _at_sizes(
    sides: tuple[Side, Side], sets: Sequence[data.DataSet], request: Request, seconds: dict[str, float]
) -> Found:
    """The same for graphs of known sizes: along each path, where they decide what runs."""
    if not branching.have_branches(sides):
        before, after = (replace(side, model=read_through(side.model)) for side in sides)
        return _of_nodes((before, after), sets, request, seconds)
    found = Found()
    taken: set[branches.Choice] = set()
    for run in branching.runs(sides, sets):
        taken.update(run.path.choices)
        if run.sides is None:
            found.findings.append(f"along {run.path.label}: {run.fault.rstrip('.')}.")
            continue
        asked = replace(
            request,
            compute=branches.in_all_runs(run.path, request.compute),
            never_fully_masked=branches.in_all_runs(run.path, dict.fromkeys(request.never_fully_masked, "")).keys(),
        )
        found.add(_of_nodes(run.sides, run.sets, asked, seconds), run.path.label)
    found.not_verified += branching.not_taken(sides[0].model, taken)
    return found


def _of_nodes(
    sides: tuple[Side, Side], sets: Sequence[data.DataSet], request: Request, seconds: dict[str, float]
) -> Found:
    """The same for graphs in which each node is run, once.

    A rewrite takes calls away first: what it replaced is found in the original without them, which is shown to be the
    original.
    """
    found = Found()
    with timed(seconds, "numbers"):
        sides, is_whole = _without_unknown(sides, found)
        if is_whole:
            sides = (_without_calls(sides[0], request.seed, found), sides[1])
        sides, written = _paired(sides, request.seed)
        before, after = (side.model for side in sides)
        parts = [(site, sites.cut(before, after, site)) for site in written.sites]
        others = [(replaced, sites.cut_replaced(before, after, replaced)) for replaced in written.replaced]
        pairs = [(site, part) for site, part in parts if part is not None]
        whole = [(replaced, part) for replaced, part in others if part is not None]
        if request.sampled:
            pairs, whole = _distinct(pairs, found, "site"), _distinct(whole, found, "replaced operator")
        taps = {value: tensor_type for _, part in pairs for value, tensor_type in part.leaves.items()}
        made = ((site.output, before.type_of(site.output)) for site, _ in pairs)
        taps |= {value: tensor_type for value, tensor_type in made if tensor_type is not None}
        feeds = len(sets[:1] if request.sampled else sets) or len(_draws(before, request))
        watch.expect(expected.whole(before, after, feeds) + expected.sites(pairs) + expected.replaced(whole))
        try:
            met = _met(_run_whole(sides, _feeds(before, sets, request), taps, request, found))
        except NoRuleError as error:
            alone = "only sites and replaced operators were run, each alone on drawn operands"
            found.not_verified.append(f"the graph as a whole, {alone}: {error.reason}")
            pairs = [(site, part) for site, part in pairs if _can_be_run(f"site {site.label}", part, found)]
            whole = [(r, part) for r, part in whole if _can_be_run(f"{r.op} {short_name(r.value)}", part, found)]
            met = _Met({k: v for _, part in pairs for k, v in draw_inputs(part.original, request.seed).items()})
    with timed(seconds, "sites"):
        ruled_out = request.never_fully_masked
        known = segments.known_sites(
            *sides, pairs, met.values, request.seed, ruled_out, are_about_masks=met.is_about_masks
        )
        results = site_numbers.compare_sites(
            *sides,
            pairs,
            met.values,
            request.seed,
            ruled_out,
            met.given,
            are_about_masks=met.is_about_masks,
            known=known,
        )
    del met  # what the sites met is much of what is held
    with timed(seconds, "restated"):
        of_others = segments.known_replaced(*sides, whole, request.seed)
        differences, remarked = replaced_operators.compare_replaced(*sides, whole, request.seed, of_others)
    found.sites += [result.figures for result in results if result.figures is not None]
    found.findings += [finding for result in results for finding in result.findings]
    found.findings += [*sites.check_compute(written.sites, request.compute), *differences]
    apart = [f"site {site.label}" for site, part in parts if part is None]
    if moved := [short_name(replaced.value) for replaced, part in others if part is None]:
        apart.append(f"{moved[0]} (of {counted(len(moved), 'replaced operator')})")
    found.notes += [*written.notes, *remarked]
    found.notes += [f"{name} goes through a function and was not run alone" for name in apart]
    found.notes += [note for result in results for note in result.notes]
    return found


def _paired(sides: tuple[Side, Side], seed: int) -> tuple[tuple[Side, Side], sites.Found]:
    """Both graphs, and what was replaced: cut at sums that only the original has a name for, where that holds."""
    before, after = sides
    named = with_named_sums(before.model, after.model)
    paired = replace(after, model=named.model)
    written = sites.find(before.model, paired.model)
    guessed = [replaced for replaced in written.replaced if replaced.value in named.guesses]
    parts = [(one, part) for one in guessed if (part := sites.cut_replaced(before.model, paired.model, one))]
    holds = len(parts) == len(named.guesses) and not replaced_operators.compare_replaced(before, paired, parts, seed)[0]
    return ((before, paired), written) if holds else (sides, sites.find(before.model, after.model))


@dataclass(frozen=True, slots=True)
class _Met:
    """The values that sites are run on: those of a run, where there was one, of real inputs that `given` tells."""

    values: dict[str, Array]
    given: str = ""
    is_about_masks: bool = False


def _met(run: _Run) -> _Met:
    return _Met(run.compared.values, run.feed.given, run.is_about_masks)


def _can_be_run(name: str, part: sites.Cut, found: Found) -> bool:
    """Whether both graphs of a part can; one that cannot is not verified."""
    unknown = [*unknown_nodes(part.original).values(), *unknown_nodes(part.fused).values()]
    found.not_verified += [f"{name}: {reason}" for reason in unknown[:1]]
    return not unknown


_Found = TypeVar("_Found", sites.Site, sites.ReplacedOperator)


def _distinct(parts: Sequence[tuple[_Found, sites.Cut]], found: Found, what: str) -> list[tuple[_Found, sites.Cut]]:
    """The first of those that compute the same."""
    chosen: dict[bytes, tuple[_Found, sites.Cut]] = {}
    for one, part in parts:
        chosen.setdefault(site_numbers.key_of(part), (one, part))
    if parts:
        found.notes.append(f"sampled: {len(chosen)} of {counted(len(parts), what)} run, one of those that are alike")
    return list(chosen.values())


# --- whole graphs


def _without_unknown(sides: tuple[Side, Side], found: Found) -> tuple[tuple[Side, Side], bool]:
    """Both graphs without the nodes that cannot be run, and without calls then; and whether there was no such node."""
    try:
        if not any(unknown_nodes(side.model) for side in sides):
            return sides, True
        flat = inlined(sides[0].model), inlined(sides[1].model)
        cuts = gaps.find_gaps(*flat, (unknown_nodes(flat[0]), unknown_nodes(flat[1])), has_rule)
    except UnsupportedOpError:
        return sides, True  # told by whoever runs them
    found.not_verified += [gap.said for gap in cuts]
    before, after = gaps.take_out(flat[0], cuts, 0), gaps.take_out(flat[1], cuts, 1)
    return (Side(before, sides[0].weights), Side(after, sides[1].weights)), False


def _without_calls(original: Side, seed: int, found: Found) -> Side:
    """The original with calls inlined; a finding where that gives other numbers than the original as it is."""
    flat = inlined(original.model)
    if flat is original.model:
        return original
    inputs = draw_inputs(flat, seed, OPEN)
    try:
        lowered = [lower(model, Arithmetic.EXACT) for model in (original.model, flat)]
    except UnsupportedOpError:
        return Side(flat, original.weights)  # told by whoever runs it
    given = [execution.run(each, inputs, original.weights) for each in lowered]
    for one, other in zip(*given, strict=True):
        if not np.array_equal(one, other, equal_nan=one.dtype.kind == "f"):
            found.findings.append("the original without its calls gives other numbers than with them.")
            break
    return Side(flat, original.weights)


def _feeds(model: Model, sets: Sequence[data.DataSet], request: Request) -> Iterator[_Feed]:
    """One after the other: inputs of a real size are gigabytes together."""
    for given in sets[:1] if request.sampled else sets:
        inputs = given.inputs
        if any(value.name not in inputs for value in model.proto.graph.input):  # those of nodes that were taken out
            inputs = {**draw_inputs(model, request.seed), **inputs}
        yield _Feed(given.label, inputs, None, f"{given.label}, {given.fault()}")
    if sets:
        return
    for draw in _draws(model, request):
        yield _drawn(request.seed, draw)


def _draws(model: Model, request: Request) -> tuple[Draw, ...]:
    if request.never_fully_masked:
        return (OPEN,)
    return sampled_draws(model) if request.sampled else whole_draws(model)


def _drawn(seed: int, draw: Draw) -> _Feed:
    return _Feed(f"inputs drawn with seed {seed}, {draw.label}", None, draw)


def _run_whole(
    sides: tuple[Side, Side], feeds: Iterator[_Feed], taps: Mapping[str, TensorType], request: Request, found: Found
) -> _Run:
    """Add to what is found; the run that left the least undefined, with the values asked for."""
    runs: list[_Run] = []
    best: _Run | None = None
    for feed in _with_open(feeds, request.seed, runs):
        run = _Run(feed, _compare(sides, feed, taps, request))
        if best is None or run.undefined < best.undefined:
            best = run
        # Only the best one's values are kept: they are large.
        runs.append(_Run(_light(feed), replace(run.compared, values={})))
    assert best is not None  # there is one feed at least
    _report(runs, sides[0].model, found)
    found.warnings += _warnings(runs)
    return replace(best, feed=_light(best.feed))


def _warnings(runs: Sequence[_Run]) -> list[str]:
    """What the user has to know of the source: of real inputs and of masks that leave each row a key, each; else what
    holds on every one, as a fully masked row may be far off for that reason alone."""
    usual = [run for run in runs if not run.is_about_masks]
    if usual:
        return list(dict.fromkeys(text for run in usual for text in run.compared.warnings))
    return list(runs[0].compared.warnings) if all(run.compared.warnings for run in runs) else []


def _light(feed: _Feed) -> _Feed:
    """The feed without its arrays."""
    return replace(feed, inputs=None)


def _with_open(feeds: Iterator[_Feed], seed: int, runs: list[_Run]) -> Iterator[_Feed]:
    """The feeds; and masks that leave each row a key, where those that do not have left something unanswered."""
    yield from feeds
    if runs[0].is_about_masks and _is_unanswered(runs):
        yield _drawn(seed, OPEN)


def _is_unanswered(runs: Sequence[_Run]) -> bool:
    """Whether of some output no run defines all, or none asks whether it is the same mathematics."""
    for several in zip(*(run.figures() for run in runs), strict=False):
        if not any(f.undefined == 0 and f.tolerance_in_float64 < float("inf") for f in several):
            return True
    return False


def _compare(sides: tuple[Side, Side], feed: _Feed, taps: Mapping[str, TensorType], request: Request) -> Comparison:
    is_ruled_out = bool(request.never_fully_masked)
    try:
        return comparison.compare(
            *sides, request.seed, taps, feed.inputs, draw=feed.draw, no_fully_masked_rows=is_ruled_out
        )
    except NoRuleError:
        raise
    except VerificationError as error:
        if feed.draw is None:
            raise VerificationError(f"on {feed.label}: {error}") from None
        raise


def _report(runs: Sequence[_Run], model: Model, found: Found) -> None:
    """Findings of every run, and of each output the worst figures."""
    compared = {f.output for run in runs for f in run.figures() if f.compared}
    is_labelled = len(runs) > 1 or runs[0].feed.draw is None
    for run in runs:
        label = f"on {run.feed.label}: " if is_labelled else ""
        found.drawn += [run.feed.draw.label] if run.feed.draw is not None else []
        usual = {text for figures in run.compared.outputs for text in problems(figures, f"output {figures.output}")}
        texts = [text for text in run.compared.findings if text not in usual]
        for figures in run.figures():
            if figures.compared:
                texts += problems(figures, f"output {figures.output}")
                continue
            texts += rows_without_nan(figures.not_nan, f"output {figures.output}")
            if figures.output in compared:
                found.notes.append(f"{label}the original gives output {figures.output} no finite value")
        found.findings += [label + text for text in dict.fromkeys(texts)]
        found.notes += [label + note for note in run.compared.notes]
    outputs: dict[str, list[OutputFigures]] = {}
    for run in runs:
        for figures in run.figures():
            outputs.setdefault(figures.output, []).append(figures)
    for output, several in outputs.items():
        if output not in compared:
            given = ", and on ".join(run.feed.given for run in runs if run.feed.given)
            asked = "" if given else f" Such a file holds {data.described_inputs(model)}."
            found.findings.append(uncompared(f"output {output}", given) + asked)
        # The order of the runs decides among equals, so that the same is told each time.
        found.outputs.append(max(several, key=_badness))


def _badness(figures: OutputFigures) -> tuple[bool, bool, float]:
    """What is worse is larger; a run that compared nothing tells nothing."""
    return figures.compared, not figures.passed, figures.fused / figures.tolerance
