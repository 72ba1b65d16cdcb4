"""Numbers: original and fused graph run on the same inputs and weights, compared with the original in float64.

Two questions, kept apart, and a third about the original alone. Where each bound comes from is derived in
docs/verification.md; none comes from what the rewrite made.

1. Does the fused graph stand for the same mathematics? Both graphs are computed in float64, casts between
   floating-point types dropped. They may then differ by what any file would round: `scale_value` is a float32
   (ALGEBRA_BOUND), and where a bias is stored again as a 16-bit constant, MARGIN times what it costs the original, in
   float64, to have its bias stored so. A wrong scale, mask, axis or operand is orders of magnitude above both.
2. Is the fused graph accurate enough at its own types? It is held to the larger of two errors nobody would object
   to: that of the original graph at its own types, and that of the original with the roundings of an honest fused node
   (`baseline`). A site may be off by no more than that, but for the scatter of two samples of rounding noise, which
   is nothing where there are many elements (`site_margin`); a whole graph, whose layers amplify what they are given,
   by MARGIN times that; AMPLIFIED where the original itself is useless. FLOOR is
   what four float32 roundings cost, the carrier of every run. Of an output of few elements, which scatters as a small
   site does, several draws are judged as one (`pooled`).

A row whose keys all have a large finite number added is another function in float64 than at the type that adds it: that
type loses the scores in the number, and softmax has nothing but equal sums. Where the original's own numbers are nearer
to that, the second question is asked of it, and the first is not (`own_reading`).

An element that the original defines, in float64 or at its own types, and that is NaN or infinite in the fused graph is
a finding; so is one that the original overflows at its own types, unless the fused graph gives the same there.
An element that the original leaves NaN in float64 and at its own types, as it does in a fully masked row, is NaN in
the fused graph too, in both; where it is NaN in one of the two only, a type has decided that. Elements that the
original leaves NaN or infinite are otherwise compared by nobody; where it leaves all of them so, nothing was shown, and
that is a finding.

Relative error is ‖x − reference‖₂ / ‖reference‖₂.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx

from attnfuse.errors import VerificationError
from attnfuse.ir.graph import Model, live_values
from attnfuse.ir.types import Array, TensorType
from attnfuse.mindir import dtypes
from attnfuse.names import counted
from attnfuse.verify.graph.fused_nodes import MalformedError, fused_nodes, read
from attnfuse.verify.lowering import Arithmetic, Rounding, UnsupportedOpError, lower
from attnfuse.verify.names import leaf_name
from attnfuse.verify.numbers import accuracy, finer
from attnfuse.verify.numbers.baseline import honest_rounding, lost_rows
from attnfuse.verify.numbers.execution import Executable
from attnfuse.verify.numbers.inputs import OPEN, Draw, draw_inputs
from attnfuse.verify.numbers.runtime import onnxruntime
from attnfuse.verify.numbers.weights import WeightProvider
from attnfuse.verify.numbers.work import cost, work
from attnfuse.verify.result import OutputFigures

ALGEBRA_BOUND = 2 * 64 * 2.0**-24
MARGIN = 1.25
SCATTER = 4.0
AMPLIFIED = 2.0
FLOOR = 4 * 2.0**-24
ENOUGH = 1024
"""Elements over which the ratio of two roots of sums of squares scatters by 1/√1024, 3 %."""
DRAWS = 16

EXECUTORS = (f"onnxruntime {onnxruntime.__version__}", f"onnx {onnx.__version__}")


class NoRuleError(VerificationError):
    """A graph as a whole cannot be run, for want of a rule: its parts may be, alone."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the graph cannot be run on this machine ({reason}); use --verify static.")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Side:
    """A graph and the values of its weights."""

    model: Model
    weights: WeightProvider

    def run(
        self,
        arithmetic: Arithmetic,
        values: Mapping[str, Array],
        rounding: Mapping[str, Rounding] | None = None,
        *,
        taps: Sequence[str] = (),
        peaks: Sequence[str] = (),
    ) -> list[Array]:
        """The outputs on these inputs, then what is asked for as in `lower`.

        Raises UnsupportedOpError where the graph has no lowering, VerificationError where it cannot be run.
        """
        return self.executable(arithmetic, rounding, tuple(taps), tuple(peaks)).run(values, self.weights)

    def executable(
        self,
        arithmetic: Arithmetic,
        rounding: Mapping[str, Rounding] | None = None,
        taps: tuple[str, ...] = (),
        peaks: tuple[str, ...] = (),
    ) -> Executable:
        """The graph lowered, to be run on any inputs. Raises as `run` does."""
        lowered = lower(self.model, arithmetic, rounding, taps=taps, peaks=peaks)
        return Executable(lowered, arithmetic.value, work(self.model) * cost(arithmetic))


@dataclass(frozen=True, slots=True)
class Part(Side):
    """A side that is small and run on many inputs: what it was lowered to is held, and lowered once."""

    _lowered: dict[object, Executable] = field(default_factory=dict)

    def executable(
        self,
        arithmetic: Arithmetic,
        rounding: Mapping[str, Rounding] | None = None,
        taps: tuple[str, ...] = (),
        peaks: tuple[str, ...] = (),
    ) -> Executable:
        """As of any side, and the same one where it was asked for before."""
        key = arithmetic, frozenset((rounding or {}).items()), taps, peaks
        if key not in self._lowered:
            # Not super(): dataclasses with slots are made anew, and the method would look in the class that was.
            self._lowered[key] = Side.executable(self, arithmetic, rounding, taps, peaks)
        return self._lowered[key]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Figures per output, what is wrong with them, and remarks; `values` are what was asked for on the way."""

    outputs: tuple[OutputFigures, ...]
    findings: tuple[str, ...]
    notes: tuple[str, ...]
    values: dict[str, Array]
    warnings: tuple[str, ...] = ()
    """What the user has to know of the source itself."""


def compare(
    original: Side,
    fused: Side,
    seed: int,
    taps: Mapping[str, TensorType] | None = None,
    inputs: Mapping[str, Array] | None = None,
    *,
    draw: Draw | None = None,
    no_fully_masked_rows: bool = False,
) -> Comparison:
    """Run both graphs and judge the fused one.

    `taps` are values of the original, with their types, to be handed back as that graph computes them at its own types.
    `inputs` are by the original's names; left out, they are drawn as `draw` says, and more of them where an output has
    too few elements for one draw to tell. `no_fully_masked_rows`: the policy rules such rows out, and what stands in
    them is nobody's.
    Raises NoRuleError where the original has a node without a rule, VerificationError where it cannot be run for
    another reason; that the fused one cannot is a finding.
    """
    is_drawn = inputs is None
    inputs = dict(draw_inputs(original.model, seed, draw or OPEN) if inputs is None else inputs)
    wanted = {value: tensor_type for value, tensor_type in (taps or {}).items() if value not in inputs}
    # By position, as a graph's inputs are called after the graph they belong to.
    given = zip(fused.model.proto.graph.input, original.model.proto.graph.input, strict=False)
    same = {a.name: inputs[b.name] for a, b in given if b.name in inputs}
    rounding = honest_rounding(original.model, fused.model)
    asked = Asked(original, fused, inputs, same, rounding)
    try:
        native, values = _at_own_types(original, inputs, wanted)
        formula = formula_values(original, rounding, inputs, native)
        finer_runs = asked.in_finer_types(native)
        exact = finer_runs or asked.original_in(Arithmetic.EXACT)
        reference, allowed = exact.reference, exact.allowed
    except UnsupportedOpError as error:
        raise NoRuleError(str(error)) from None
    names = output_names(original.model, len(reference))
    try:
        algebra = finer_runs.algebra if finer_runs is not None else fused.run(Arithmetic.EXACT, same)
        result = fused.run(Arithmetic.NATIVE, same)
    except (UnsupportedOpError, VerificationError) as error:
        return Comparison((), (f"the fused graph cannot be run, the original can: {error}",), (), values)
    if [r.shape for r in result] != [r.shape for r in reference]:
        message = ", ".join(str(list(r.shape)) for r in result)
        return Comparison((), (f"the fused graph gives outputs of {message} instead of the original's.",), (), values)
    if any(relative_error(d, a, np.isfinite(a)) > f for a, d, f in zip(reference, algebra, allowed, strict=True)):
        outputs = [Reference(*pair) for pair in zip(reference, allowed, strict=True)]
        read_so = own_reading(original, fused.model, inputs, outputs, native, algebra)
        reference, allowed = [output.exact for output in read_so], [output.allowed for output in read_so]
    figures = []
    for i, (a, b, c, d, e, f) in enumerate(zip(reference, native, formula, algebra, result, allowed, strict=True)):
        judged = judge(names[i], reference=a, native=b, formula=c, algebra=d, fused=e, allowed=f)
        figures.append(replace(judged, not_nan=0) if no_fully_masked_rows else judged)
    if is_drawn and any(map(is_undecided, figures)):
        further = _further_draws(original, fused, seed, draw or OPEN, draws_of(figures))
        figures = [pooled(f, again) if is_undecided(f) else f for f, *again in zip(figures, *further, strict=True)]
    findings = [finding for figure in figures for finding in problems(figure, f"output {figure.output}")]
    notes = []
    for figure in figures:
        if figure.undefined and figure.compared:
            notes.append(
                f"output {figure.output} was compared without {figure.undefined} of its {math.prod(figure.shape)} "
                "values, which are not finite in the original itself"
            )
    warnings = accuracy.warn(original.model, original.weights, inputs, reference, figures)
    return Comparison(tuple(figures), tuple(findings), tuple(notes), values, warnings)


def output_names(model: Model, count: int) -> list[str]:
    """What the graph's `count` outputs are called, an element of a tuple `name[0]`."""
    names: list[str] = []
    for output in model.proto.graph.output:
        types, name = model.types_of(output.name), leaf_name(output.name)
        names += [f"{name}[{i}]" for i in range(len(types))] if isinstance(types, tuple) else [name]
    # Elements of an element are counted through.
    return names if len(names) == count else [f"{names[0].partition('[')[0]}[{i}]" for i in range(count)]


def _at_own_types(
    original: Side, inputs: Mapping[str, Array], wanted: Mapping[str, TensorType]
) -> tuple[list[Array], dict[str, Array]]:
    """The original's outputs at its own types; and the inputs with the values that are wanted of it, in their types."""
    types = list(wanted.values())
    count = 0

    def kept(number: int, array: Array) -> Array:
        return array if number < count else array.astype(types[number - count].dtype.numpy)

    executable = original.executable(Arithmetic.NATIVE, taps=tuple(wanted))
    count = executable.results - len(types)
    results = executable.run(inputs, original.weights, kept)
    return results[:count], dict(zip(wanted, results[count:], strict=True)) | dict(inputs)


@dataclass(frozen=True, slots=True)
class Exact:
    """The original's outputs without roundings between, with how far the fused graph's, `algebra`, may be from each;
    `peaks` are what was asked of the original besides."""

    reference: list[Array]
    allowed: list[float]
    algebra: list[Array]
    peaks: list[Array]


@dataclass(frozen=True, slots=True)
class Asked:
    """Two graphs, their inputs, what an honest fused node rounds of the original, and values whose peaks are told."""

    original: Side
    fused: Side
    values: Mapping[str, Array]
    same: Mapping[str, Array]
    rounding: Mapping[str, Rounding]
    peaks: Sequence[str] = ()

    def original_in(self, arithmetic: Arithmetic) -> Exact:
        """The original's part of it; of the fused graph nothing."""
        results = self.original.run(arithmetic, self.values, peaks=self.peaks)
        count = len(results) - len(self.peaks)
        reference = [a.astype(np.float64) if a.dtype == np.float32 else a for a in results[:count]]
        allowed = algebra_bounds(
            self.original, self.fused.model, self.rounding, self.values, reference, arithmetic=arithmetic
        )
        return Exact(reference, allowed, [], results[count:])

    def in_finer_types(self, native: Sequence[Array]) -> Exact | None:
        """Both graphs in the next finer types, where that shows what float64 would show; `native` is the original at
        its own types."""
        models = (self.original.model, self.fused.model)
        if not finer.is_worth(*models):
            return None
        try:
            exact = self.original_in(Arithmetic.FINER)
            algebra = self.fused.run(Arithmetic.FINER, self.same)
        except (UnsupportedOpError, VerificationError):
            return None  # float64 tells whether it is the graph's fault
        if [a.shape for a in algebra] != [a.shape for a in exact.reference]:
            return None
        outputs = (
            finer.Evidence(
                apart=relative_error(b, a, np.isfinite(a)),
                allowed=allowed,
                own=relative_error(own, a, np.isfinite(a)),
                elements=a.size,
                finite=all(np.isfinite(values).all() for values in (a, b, own)),
            )
            for a, b, own, allowed in zip(exact.reference, algebra, native, exact.allowed, strict=True)
        )
        return replace(exact, algebra=algebra) if finer.decides(models, outputs) else None


def is_undecided(figures: OutputFigures) -> bool:
    """Whether one draw shows nothing: it is off by more than what is allowed, and has few elements."""
    finite = (figures.fused, figures.original, figures.baseline)
    few = math.prod(figures.shape) < ENOUGH
    return few and not figures.fused <= figures.tolerance and all(map(math.isfinite, finite))


def may_be_chance(figures: OutputFigures) -> bool:
    """Whether a site is off by more than what is allowed, and by no more than what a graph is."""
    most = MARGIN * max(figures.original, figures.baseline) + FLOOR
    return not figures.fused <= figures.tolerance and figures.fused <= most


def draws_of(figures: Sequence[OutputFigures]) -> int:
    """How many draws of these outputs, the first among them, have ENOUGH elements; DRAWS at most."""
    fewest = min(math.prod(f.shape) for f in figures if is_undecided(f))
    return min(DRAWS, math.ceil(ENOUGH / max(fewest, 1)))


def _further_draws(original: Side, fused: Side, seed: int, draw: Draw, count: int) -> list[tuple[OutputFigures, ...]]:
    """Figures of every output on `count` - 1 other draws."""
    drawn = (draw_inputs(original.model, seed + n, draw) for n in range(1, count))
    return [compare(original, fused, seed, inputs=inputs).outputs for inputs in drawn]


def pooled(figures: OutputFigures, again: Sequence[OutputFigures]) -> OutputFigures:
    """The first draw's figures with errors and tolerance the root mean square over all draws of finite errors."""
    every = [f for f in (figures, *again) if all(map(math.isfinite, (f.fused, f.original, f.baseline)))]

    def together(values: Iterable[float]) -> float:
        return float(np.sqrt(np.mean(np.square(list(values)))))

    return replace(
        figures,
        fused=together(f.fused for f in every),
        original=together(f.original for f in every),
        baseline=together(f.baseline for f in every),
        tolerance=together(f.tolerance for f in every),
        max_abs=max(f.max_abs for f in every),
    )


def formula_values(
    original: Side, rounding: Mapping[str, Rounding], values: Mapping[str, Array], native: Sequence[Array]
) -> list[Array]:
    """The original's outputs with the roundings of an honest fused node; `native` are those without."""
    if not rounding:
        return list(native)
    return original.run(Arithmetic.NATIVE, values, rounding)


def algebra_bounds(
    original: Side,
    fused: Model,
    rounding: Mapping[str, Rounding],
    values: Mapping[str, Array],
    exact: Sequence[Array],
    *,
    arithmetic: Arithmetic = Arithmetic.EXACT,
) -> list[float]:
    """How far each output may be from the original's, `exact`, in float64: what any file would have to round.

    Where the fused file stores a bias again, the original is run once more, without roundings, with its scores moved by
    what storing their bias costs. What the file holds decides whether that is asked, and never how much it is.
    """
    stored = {name: r for name, r in rounding.items() if r.stored or r.result}
    if not stored or not stores_a_bias(original.model, fused):
        return [ALGEBRA_BOUND] * len(exact)
    moved = original.run(arithmetic, values, stored)
    bounds = []
    for a, b in zip(exact, moved, strict=True):
        truth = a.astype(np.float64)
        costs = relative_error(b, truth, np.isfinite(truth) & np.isfinite(b.astype(np.float64)))
        bounds.append(ALGEBRA_BOUND + MARGIN * costs)
    return bounds


@dataclass(frozen=True, slots=True)
class Reference:
    """An output in float64, and how far the fused graph's may be from it there."""

    exact: Array
    allowed: float


def own_reading(
    original: Side,
    fused: Model,
    values: Mapping[str, Array],
    outputs: Sequence[Reference],
    native: Sequence[Array],
    algebra: Sequence[Array],
) -> list[Reference]:
    """The outputs as they are; or, where the original at its own types, `native`, is nearer to that, with rows level
    whose scores their own type loses in what is added to them.

    In float64 nothing is lost, whatever is added: there only a fused graph, `algebra`, that keeps the scores of such a
    row is another function. One that keeps the rest of what is added, as the source does there, is none.
    """
    lost = lost_rows(original.model, fused)
    if not lost:
        return list(outputs)
    levelled = original.run(Arithmetic.EXACT, values, lost)
    unscored: list[Array] | None = None
    found = []
    for position, (output, row, own, result) in enumerate(zip(outputs, levelled, native, algebra, strict=True)):
        if not is_nearer(own, row, output.exact):
            found.append(output)
        elif relative_error(result, output.exact, np.isfinite(output.exact)) > output.allowed:
            found.append(Reference(row, math.inf))
        else:
            if unscored is None:
                kept = lost_rows(original.model, fused, keeps_bias=True)
                unscored = original.run(Arithmetic.EXACT, values, kept)
            bias = unscored[position]
            is_of_bias = relative_error(result, bias, np.isfinite(bias)) <= output.allowed
            found.append(Reference(row, math.inf if is_of_bias else output.allowed))
    return found


def is_nearer(own: Array, levelled: Array, exact: Array) -> bool:
    """Whether the first is nearer to the second than to the third, where all are finite."""
    one, other, own = (values.astype(np.float64) for values in (levelled, exact, own))
    where = np.isfinite(one) & np.isfinite(other) & np.isfinite(own)
    distances = [float(np.linalg.norm((own - values)[where])) for values in (one, other)]
    return distances[0] < distances[1]


def stores_a_bias(original: Model, fused: Model) -> bool:
    """Whether the bias of a fused node is made from a 16-bit constant that the original does not have."""
    before: set[bytes] | None = None
    for node in fused_nodes(fused):
        try:
            bias = read(fused, node).bias
        except MalformedError:
            continue
        for array in _arrays(fused, live_values(fused, (bias,))) if bias is not None else ():
            if before is None:
                before = {constant.tobytes() for constant in _arrays(original, (n.name for n in original.nodes))}
            if array.tobytes() not in before:
                return True
    return False


def _arrays(model: Model, values: Iterable[str]) -> Iterator[Array]:
    """The 16-bit floating-point constants among the values."""
    for value in values:
        literal = model.literal(value) if model.is_literal(value) else None
        if isinstance(literal, np.ndarray) and dtypes.of_array(literal).is_low_precision:
            yield literal


def site_margin(rounded: int) -> float:
    """How many times the formula's error a site may be off by, of which the smallest tensor has `rounded` elements.

    A root of a sum of squares of n independent errors scatters by 1/√(2n) of itself, and the ratio of two such by 1/√n:
    SCATTER times that, and never more than MARGIN.
    """
    return min(MARGIN, 1 + SCATTER / math.sqrt(max(rounded, 1)))


def measured_margin(ratios: Sequence[float]) -> float:
    """The same over many draws, by how far the `ratios` of the site's error to the formula's scatter from draw to draw.

    Elements are not independent where a softmax is flat: all queries share the roundings of the values. SCATTER
    standard errors of the ratios' mean are allowed, and never more than MARGIN.
    """
    return min(MARGIN, 1 + SCATTER * float(np.std(ratios, ddof=1)) / math.sqrt(len(ratios)))


def judge(
    name: str,
    *,
    reference: Array,
    native: Array,
    formula: Array,
    algebra: Array,
    fused: Array,
    allowed: float,
    margin: float = MARGIN,
) -> OutputFigures:
    """Figures of one output, over the elements that the original defines.

    It may be off by `margin` times what the original is, and by AMPLIFIED where that is more than OWN_ERROR.
    """
    exact, own, got = (values.astype(np.float64) for values in (reference, native, fused))
    defined = np.isfinite(exact) & np.isfinite(own)
    errors = {"original": relative_error(native, exact, defined), "formula": relative_error(formula, exact, defined)}
    own_error = max((e for e in errors.values() if np.isfinite(e)), default=0.0)
    margin = margin if own_error <= accuracy.OWN_ERROR else AMPLIFIED
    good = defined & np.isfinite(got)
    return OutputFigures(
        output=name,
        shape=tuple(exact.shape),
        fused_in_float64=relative_error(algebra, exact, np.isfinite(exact)),
        tolerance_in_float64=allowed,
        fused=relative_error(fused, exact, good),
        max_abs=float(np.max(np.abs(got - exact), initial=0.0, where=good)),
        original=errors["original"],
        baseline=errors["formula"],
        tolerance=margin * own_error + FLOOR,
        not_finite=int(np.count_nonzero(_lost(exact, own, got))),
        undefined=int(np.count_nonzero(~defined)),
        overflowed=int(np.count_nonzero(np.isfinite(exact) & ~np.isfinite(own))),
        not_nan=int(np.count_nonzero(np.isnan(exact) & np.isnan(own) & ~(np.isnan(got) & _is_nan(algebra)))),
    )


def _is_nan(values: Array) -> Array:
    return np.isnan(values.astype(np.float64))


def _lost(exact: Array, own: Array, got: Array) -> Array:
    """Where the fused graph has no number and the original has one.

    What the original has in float64 only is not lost where the fused graph gives the very NaN or infinity that the
    original gives at its own types: that overflow is the source's.
    """
    same = (np.isnan(got) & np.isnan(own)) | (got == own)
    lost: Array = ~np.isfinite(got) & (np.isfinite(own) | (np.isfinite(exact) & ~same))
    return lost


def relative_error(values: Array, exact: Array, where: Array) -> float:
    """Relative L2 error over the chosen elements; infinite where one of the values is not finite."""
    if not where.any():
        return 0.0
    chosen, truth = values.astype(np.float64)[where], exact[where]
    if not np.isfinite(chosen).all():
        return float("inf")
    size = float(np.linalg.norm(truth))
    error = float(np.linalg.norm(chosen - truth))
    return error / size if size else error


def uncompared(output: str, given: str = "") -> str:
    """What is said where the original defines nothing of a result; `given` says on which real inputs, if on any."""
    message = f"{output} could not be compared: the original itself has no finite value there"
    if given:
        return f"{message} on {given}; give other numbers, or use --verify static, which asks for none."
    return (
        f"{message}; --data gives it real inputs, another dtype may hold it, and --verify static asks for no numbers."
    )


def rows_without_nan(count: int, output: str) -> list[str]:
    """What is wrong where the fused graph makes something else of `count` elements that the original leaves NaN."""
    if not count:
        return []
    where = f"in {counted(count, 'place')} where the original is, in float64 and at its own types"
    return [f"{output} is not NaN {where}: a fully masked row has another result."]


def problems(figures: OutputFigures, output: str, given: str = "") -> list[str]:
    """What these figures are out of bounds in; `output` is what the sentences call the result, `given` as above."""
    findings = [*([] if figures.compared else [uncompared(output, given)]), *rows_without_nan(figures.not_nan, output)]
    overflow = (
        "" if np.isfinite(figures.baseline) else "; the formula overflows there, so another type may suit it better"
    )
    if figures.not_finite:
        findings.append(f"{output} has {figures.not_finite} values that are NaN or infinite, and not in the original.")
    if not figures.fused_in_float64 <= figures.tolerance_in_float64:
        error, tolerance = figures.fused_in_float64, figures.tolerance_in_float64
        findings.append(
            f"{output} computed in float64 differs from the original by {error:.2e} (relative), more than the "
            f"{tolerance:.2e} that storing the scale and bias costs: the mathematics is another."
        )
    if not figures.fused <= figures.tolerance:
        findings.append(
            f"{output} is off by {figures.fused:.2e} (relative) from the float64 value, where {figures.tolerance:.2e} "
            f"is allowed: the original at its own types is off by {figures.original:.2e}, with an honest fused node's "
            f"roundings by {figures.baseline:.2e}{overflow}."
        )
    return findings
