"""Numbers of one attention at a time: what the rewrite put there, compared with the formula that was there.

Two kinds of values enter a site.

1. Real ones: query, key, value and mask as the original graph, at its own types, has them there when it runs on the
   drawn inputs. Both questions of `comparison` are asked of them: is it the same mathematics, and is it accurate
   enough.
   Unlike in the whole graph, a site's error cannot hide behind those of the layers around it.
2. Drawn ones: query and key such that scores are around 1 (`mixed`) and around ±30 (`large`), masks with hidden and
   seen keys in each row. Only the mathematics is asked for, in float64. This re-derives, from the two graphs alone,
   what the matcher proved: whatever the operands are, the node's documented formula gives what the original gives.
   Where the site has a mask, a length or a bias of its own, further draws pad its rows on the left and on the right,
   leave them a single key, or none. There both questions are asked, as what a fully masked row means is decided by
   what the types can hold: see `at_own_types`, and `assumed` for rows that no report promises anything of.

Sites that compute the same are drawn for once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

import numpy as np

from attnfuse.errors import VerificationError
from attnfuse.ir.graph import CONSTANT, Model, Node, short_name
from attnfuse.ir.graph import tensor_type as type_of_tensor
from attnfuse.ir.types import Array
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.mindir.edits import edited_weight
from attnfuse.mindir.external import parameter_name
from attnfuse.names import counted
from attnfuse.serialisation import Number
from attnfuse.verify.graph.sites import OPERANDS, Cut, Site
from attnfuse.verify.lowering import Arithmetic, UnsupportedOpError
from attnfuse.verify.numbers.accuracy import OWN_ERROR
from attnfuse.verify.numbers.assumed import spared
from attnfuse.verify.numbers.baseline import LOST, hiding_number, honest_rounding
from attnfuse.verify.numbers.comparison import (
    DRAWS,
    FLOOR,
    Asked,
    Part,
    Reference,
    Side,
    algebra_bounds,
    draws_of,
    formula_values,
    is_undecided,
    judge,
    may_be_chance,
    measured_margin,
    own_reading,
    pooled,
    problems,
    relative_error,
    rows_without_nan,
    site_margin,
)
from attnfuse.verify.numbers.scores import scores_of
from attnfuse.verify.numbers.site_draws import operands
from attnfuse.verify.result import OutputFigures, SiteFigures


@dataclass(frozen=True, slots=True)
class SiteResult:
    """One site's figures (None where it could not be run), what is wrong, and remarks."""

    figures: SiteFigures | None
    findings: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drawn:
    """On drawn operands: the relative error in float64, how large it may be there, and the elements that the original
    alone leaves NaN; of drawn masks all figures."""

    error: Number
    bound: Number
    not_nan: int
    judged: OutputFigures | None = None
    spared: int = 0


@dataclass(frozen=True, slots=True)
class Judged:
    """Figures of a site on some values, the largest size of each value that is a score, and of how many elements the
    original at its own types is no measure (`assumed`)."""

    figures: OutputFigures
    peaks: dict[str, Number]
    spared: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """What was found of sites elsewhere: by their place, `on_met`; and `on_drawn`, by what they compute (`key_of`) and
    whether rows without a key are ruled out."""

    met: Mapping[int, Judged | str] = field(default_factory=dict)
    drawn: Mapping[tuple[bytes, bool], dict[str, Drawn]] = field(default_factory=dict)


NOTHING = Known()


def compare_sites(
    original: Side,
    fused: Side,
    pairs: Sequence[tuple[Site, Cut]],
    values: Mapping[str, Array],
    seed: int,
    never_fully_masked: Set[str] = frozenset(),
    given: str = "",
    *,
    are_about_masks: bool = False,
    known: Known = NOTHING,
) -> list[SiteResult]:
    """Compare each site with its formula.

    `values` are those of the cuts' leaves in the original graph's run, in their own types; `are_about_masks`: the run
    was on masks drawn to hide whole rows, too. `never_fully_masked` are results of sites whose rows have a key each, by
    the policy. `given` says which real inputs the values are of, if of any. What is `known` is not run again. Raises
    VerificationError where the original's part cannot be run; that the fused one cannot is a finding.
    """
    drawn = dict(known.drawn)
    results = []
    for number, (site, part) in enumerate(pairs):
        sides = Part(part.original, original.weights), Part(part.fused, fused.weights)
        ruled_out = site.output in never_fully_masked
        met = known.met.get(number)
        if met is None:
            own, leaves = values.get(site.output), {value: values[value] for value in part.leaves}
            met = on_met(
                site, part, sides, leaves, own, seed, no_fully_masked_rows=ruled_out, is_about_masks=are_about_masks
            )
        if isinstance(met, str):
            results.append(SiteResult(None, (f"site {site.label} {met}.",), ()))
            continue
        key = (key_of(part), ruled_out)
        if part.entries_are_all and key not in drawn:
            drawn[key] = on_drawn(site, part, sides, seed, no_fully_masked_rows=ruled_out)
        results.append(_result(site, part, met, drawn.get(key, {}), given))
    return results


def on_met(
    site: Site,
    part: Cut,
    sides: tuple[Part, Part],
    values: Mapping[str, Array],
    own: Array | None,
    seed: int,
    *,
    no_fully_masked_rows: bool,
    is_about_masks: bool,
) -> Judged | str:
    """A site on the values it met, those of its leaves; or why that cannot be compared at all.

    `own` is what the original gave there at its own types, where that is known. Raises as `compare_sites` does.
    """
    result = _fused_result(site, part, sides[1], values)
    if isinstance(result, str):
        return result
    found = _figures(site, part, sides, values, result, own, is_about_masks=is_about_masks)
    figures = found.figures
    if part.entries_are_all and (is_undecided(figures) or may_be_chance(figures)):
        figures = _on_more(site, part, sides, seed, figures)
    if no_fully_masked_rows:
        figures = replace(figures, not_nan=0)
    return replace(found, figures=at_own_types(figures) if is_about_masks else figures)


def _fused_result(site: Site, part: Cut, fused: Side, values: Mapping[str, Array]) -> Array | str:
    """What stands in the site's place gives, at its own types; or why that cannot be compared at all."""
    try:
        (result,) = fused.run(Arithmetic.NATIVE, values)
    except (UnsupportedOpError, VerificationError) as error:
        return f"cannot be run: {error}"
    tensor_type = part.original.type_of(site.output)
    if tensor_type is not None and tensor_type.dims != result.shape:
        return f"gives {list(result.shape)} and the original {list(tensor_type.dims)}"
    return result


def _figures(
    site: Site,
    part: Cut,
    sides: tuple[Side, Side],
    values: Mapping[str, Array],
    result: Array,
    own: Array | None = None,
    *,
    is_about_masks: bool,
    samples: int = 1,
) -> Judged:
    """Figures of the fused `result` on these values, and what belongs to them.

    They are one of as many `samples`, which are judged as one. `own` is what the original gives on them at its own
    types, where that is known.
    """
    original, fused = sides
    scores = scores_of(part.original)
    native = original.run(Arithmetic.NATIVE, values)[0] if own is None else own
    rounding = honest_rounding(part.original, part.fused)
    asked = Asked(original, fused, values, values, rounding, scores)
    finer_runs = None if is_about_masks else asked.in_finer_types([native])
    exact = finer_runs or asked.original_in(Arithmetic.EXACT)
    output = Reference(exact.reference[0], exact.allowed[0])
    (algebra,) = exact.algebra or fused.run(Arithmetic.EXACT, values)
    formula = formula_values(original, rounding, values, [native])[0]
    peaks = {value: float(peak) for value, peak in zip(scores, exact.peaks, strict=True)}

    def judged(output: Reference, native: Array, formula: Array) -> OutputFigures:
        return judge(
            short_name(site.output),
            reference=output.exact,
            native=native,
            formula=formula,
            algebra=algebra,
            fused=result,
            allowed=output.allowed,
            margin=site_margin(_rounded(site, part) * samples),
        )

    if not is_about_masks:
        return Judged(judged(output, native, formula), peaks)
    (read,) = own_reading(original, part.fused, values, [output], [native], [algebra])
    figures = judged(read, native, formula)
    if figures.passed or (rest := spared(original, part.fused, values, output, native, formula, algebra)) is None:
        return Judged(figures, peaks)
    return Judged(judged(rest.reference, rest.native, rest.formula), peaks, rest.count)


def _on_more(site: Site, part: Cut, sides: tuple[Part, Part], seed: int, met: OutputFigures) -> OutputFigures:
    """Figures of a site that may be off by chance, over the values it met and as many drawn ones as tell."""
    samples = draws_of([met]) if is_undecided(met) else DRAWS
    again = []
    for n in range(1, samples):
        made = operands(site, part, sides[0], seed + n, no_fully_masked_rows=True)[0]
        (result,) = sides[1].run(Arithmetic.NATIVE, made.values)
        again.append(_figures(site, part, sides, made.values, result, is_about_masks=False, samples=samples).figures)
    found = pooled(met, again)
    known = [f for f in (met, *again) if math.isfinite(f.fused) and 0 < max(f.original, f.baseline) < math.inf]
    if len(known) < DRAWS:
        return found
    ratios = [f.fused / max(f.original, f.baseline) for f in known]
    allowed = measured_margin(ratios) * max(found.original, found.baseline) + FLOOR
    return replace(found, tolerance=max(found.tolerance, allowed))


def _rounded(site: Site, part: Cut) -> int:
    """Elements of the smallest tensor that the attention rounds: query, key, value or result."""
    operands = site.entries.values() if site.attention is None else (getattr(site.attention, name) for name in OPERANDS)
    model = part.original if site.attention is None else part.fused
    types = (*(model.type_of(value) for value in operands), part.original.type_of(site.output))
    return min((known.size for known in types if known is not None and known.is_static), default=1)


def _result(
    site: Site,
    part: Cut,
    met: Judged,
    drawn: Mapping[str, Drawn],
    given: str,
) -> SiteResult:
    where, figures, peaks = f"site {site.label}", met.figures, met.peaks
    findings = [*problems(figures, where, given), *(f"{where} {text}" for text in _types(site, part))]
    findings += [f"{where} {text}" for text in _reached(part.original, peaks)]
    for how, on in drawn.items():
        if on.judged is not None:
            on_these = f"{where} on drawn operands ({how})"
            is_compared = on.judged.compared
            findings += problems(on.judged, on_these) if is_compared else rows_without_nan(on.not_nan, on_these)
            continue
        findings += rows_without_nan(on.not_nan, f"{where} on {how} drawn operands")
        if not on.error <= on.bound:
            findings.append(
                f"{where} on {how} drawn operands, in float64, differs from the original by {on.error:.2e} (relative), "
                f"more than the {on.bound:.2e} that storing the scale and bias costs: it is another function."
            )
    notes = [f"{where}: {text}" for text in _overflow(part.original, site.compute, peaks)]
    if site.attention is not None and site.attention.is_fast and not figures.fused <= figures.original:
        notes.append(
            f"{where}: scores are held in float16, as high performance asks for: off by {figures.fused:.2e} "
            f"(relative), the formula at its own types by {figures.original:.2e}"
        )
    if count := max([met.spared, *(on.spared for on in drawn.values())]):
        notes.append(
            f"{where}: on drawn masks scores reach {LOST:g} in rows without a key, where they are assumed to stay "
            f"below: {counted(count, 'value')} there were held to the mean of value, or to attention, in float64"
        )
    if figures.undefined and figures.compared:
        notes.append(f"{where}: the original itself gives values that are NaN or infinite")
    if not drawn:
        notes.append(f"{where}: ran on no drawn operands, as the original does not reach it through them all")
    compared = SiteFigures(
        module=site.module,
        compute_dtype=site.compute.name,
        largest_score=list(peaks.values())[-1] if peaks else None,
        drawn={how: on.error for how, on in drawn.items()},
        figures=figures,
    )
    return SiteResult(compared, tuple(findings), tuple(notes))


def _types(site: Site, part: Cut) -> list[str]:
    """A source that is float16 or bfloat16 all through asks for that type: no policy casts between the two."""
    types = [part.leaves[value].dtype for value in site.entries.values() if value in part.leaves]
    result = part.original.type_of(site.output)
    own = {kind.name for kind in [*types, *([result.dtype] if result is not None else [])]}
    if len(own) == 1 and types[0].is_low_precision and types[0] is not site.compute:
        return [f"computes in {site.compute}, and the original in {types[0]}."]
    return []


# --- scores


def _overflow(original: Model, compute: DType, peaks: Mapping[str, float]) -> list[str]:
    """The first scores that the formula's own type, or the type the site is computed in, cannot hold."""
    for value, peak in peaks.items():
        tensor_type = original.type_of(value)
        own = tensor_type.dtype if tensor_type is not None else dtypes.FLOAT32
        what = f"scores reach {peak:.4g} at {short_name(value)}"
        if own.is_low_precision and not peak <= own.largest:
            return [f"{what}, more than {own} holds: the original overflows there"]
        if compute.is_low_precision and not peak <= compute.largest:
            return [f"{what}, more than {compute} holds: right only where the kernel keeps scores in float32"]
    return []


def _reached(original: Model, peaks: Mapping[str, float]) -> list[str]:
    """Scores that the number reaches which is filled in to hide keys: that none does is assumed."""
    number, largest = hiding_number(original), max(peaks.values(), default=0.0)
    if number is None or not largest > -number / 2:
        return []
    text = (
        f"has scores of {largest:.4g}, and {number:g}, which hides keys there, hides them from scores above "
        f"{number / 2:g} only: that they stay above that was assumed."
    )
    return [text]


# --- drawn operands


def on_drawn(
    site: Site, part: Cut, sides: tuple[Side, Side], seed: int, *, no_fully_masked_rows: bool
) -> dict[str, Drawn]:
    """What each draw of a site shows, by its label. Raises as `compare_sites` does.

    What storing a bias costs depends on the weights it moves, so each draw has its own bound: where the values
    of the graph's run leave a row a single weight, the bias costs nothing there, and much where scores are small.
    """
    original, fused = sides
    rounding = honest_rounding(part.original, part.fused)
    drawn: dict[str, Drawn] = {}
    for made in operands(site, part, original, seed, no_fully_masked_rows=no_fully_masked_rows):
        if not made.masked:
            exact = original.run(Arithmetic.EXACT, made.values)[0]
            result = fused.run(Arithmetic.EXACT, made.values)[0]
            bound = algebra_bounds(original, part.fused, rounding, made.values, [exact])[0]
            not_nan = 0 if no_fully_masked_rows else _not_nan(original, made.values, exact, result)
            drawn[made.label] = Drawn(relative_error(result, exact, np.isfinite(exact)), bound, not_nan)
            continue
        result = fused.run(Arithmetic.NATIVE, made.values)[0]
        found = _figures(site, part, sides, made.values, result, is_about_masks=True)
        figures, judged = found.figures, at_own_types(found.figures)
        drawn[made.label] = Drawn(
            figures.fused_in_float64, figures.tolerance_in_float64, figures.not_nan, judged, found.spared
        )
    return drawn


def _not_nan(original: Side, values: Mapping[str, Array], exact: Array, result: Array) -> int:
    """How many elements the original leaves NaN, in float64 and at its own types, and the fused graph, in float64,
    does not."""
    missed = np.isnan(exact) & ~np.isnan(result)
    if missed.any():
        missed &= np.isnan(original.run(Arithmetic.NATIVE, values)[0].astype(np.float64))
    return int(np.count_nonzero(missed))


def at_own_types(figures: OutputFigures) -> OutputFigures:
    """Figures on drawn masks, without the question of the mathematics where the original is itself far from it.

    A score that float16 absorbs in an added −65504 comes back in float64: what a row of them means is decided by the
    original's own rounding, and its float64 value is nobody's. There the result is still compared, within AMPLIFIED
    times the original's error.
    """
    if figures.original <= OWN_ERROR:
        return figures
    return replace(figures, tolerance_in_float64=float("inf"))


def key_of(part: Cut) -> bytes:
    """Equal for cuts that compute the same: the two graphs with their values numbered in place of named.

    A weight is any of its type, and one that is made of another is told by that and by how it is made.
    """
    numbers: dict[str, bytes] = {}
    described: list[bytes] = []
    sources = {parameter_name(p): p.name for p in part.original.parameters()}

    def number(value: str) -> bytes:
        return numbers.setdefault(value, b"%d" % len(numbers))

    def operand(model: Model, value: str) -> bytes:
        made = model.producer(value)
        return number(value) if made is None or made.op != CONSTANT else b"=" + attributes_of(model, made)

    def attributes_of(model: Model, node: Node) -> bytes:
        entry = model.primitives.get(node.proto.op_type)
        attributes = [*node.proto.attribute, *(entry.attribute if entry is not None else ())]
        return b",".join(a.SerializeToString(deterministic=True) for a in attributes)

    for model in (part.original, part.fused):
        # Nodes first: they give the numbers. The order of inputs and weights is that of their names, and constants
        # stand where the first of the graph's nodes reads them.
        for node in model.nodes:
            if node.op != CONSTANT:
                operands = b" ".join(operand(model, v) for v in node.inputs)
                described += [node.op.encode(), operands, attributes_of(model, node), number(node.name)]
        given = []
        for p in model.parameters():
            made = edited_weight(parameter_name(p), sources)
            told = str(type_of_tensor(p)) if made is None else f"{made.edits} of {number(sources[made.source])!r}"
            given.append(b"w:" + number(p.name) + b"=" + told.encode())
        given += [b"in:" + number(v.name) + str(model.type_of(v.name)).encode() for v in model.proto.graph.input]
        described += [*sorted(given), b"out:" + b" ".join(number(o.name) for o in model.proto.graph.output)]
    return b"\n".join(described)
