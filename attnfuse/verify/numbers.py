"""Numbers: original and fused graph run on the same inputs and weights, held against the original in float64.

Two questions, kept apart:

1. Does the fused graph stand for the same mathematics? Both graphs are computed in float64, casts between
   floating-point types dropped. They may then differ by what the file itself rounds: `scale_value` is a float32, off by
   at most 2⁻²⁴ of itself, which moves a score s by |s|·2⁻²⁴ and a weight by at most twice that. With scores up to 64
   in size that is ALGEBRA_BOUND. A bias folded into a float16 or bfloat16 constant is rounded in the file too, which
   moves a score by half a unit in its last place: twice that is added (values below NEGLIGIBLE mask, and their
   weight is 0 either way). A wrong scale, mask, axis or operand is orders of magnitude above both.
2. Is the fused graph accurate enough at its own types? Its error may be at most MARGIN times the larger of two
   errors nobody would object to: that of the original graph at its own types, and that of the original formula with
   its attention computed at the type the fused nodes compute in. Both sides are samples of the same rounding noise,
   taken over one output each; 2 leaves room for their scatter and for nothing systematic. FLOOR is what four
   float32 roundings cost, the carrier of every run.

Elements that the original leaves NaN or infinite, in float64 or at its own types, are compared by nobody; where it
leaves all of them so, nothing was shown, and that is a finding.

Relative error is ‖x − reference‖₂ / ‖reference‖₂. May import the lowering, its execution, inputs and weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime

from attnfuse.errors import VerificationError
from attnfuse.graph import Array, Model, TensorType
from attnfuse.mindir.dtypes import DType
from attnfuse.verify.baseline import formula_nodes, products_alone
from attnfuse.verify.execution import run
from attnfuse.verify.fused_nodes import MalformedError, fused_nodes, read
from attnfuse.verify.inputs import draw_inputs
from attnfuse.verify.lowering import Arithmetic, UnsupportedOpError, lower
from attnfuse.verify.names import leaf_name
from attnfuse.verify.result import OutputFigures
from attnfuse.verify.weights import WeightProvider

ALGEBRA_BOUND = 2 * 64 * 2.0**-24
NEGLIGIBLE = -1000.0
MARGIN = 2.0
FLOOR = 4 * 2.0**-24
HALF_UNIT = {"float16": 2.0**-11, "bfloat16": 2.0**-8}

EXECUTORS = (f"onnxruntime {onnxruntime.__version__}", f"onnx {onnx.__version__}")


@dataclass(frozen=True, slots=True)
class Side:
    """A graph and the values of its weights."""

    model: Model
    weights: WeightProvider


@dataclass(frozen=True, slots=True)
class Comparison:
    """Figures per output, what is wrong with them, and remarks; `values` are what was asked for on the way."""

    outputs: tuple[OutputFigures, ...]
    findings: tuple[str, ...]
    notes: tuple[str, ...]
    values: dict[str, Array]


def compare(
    original: Side,
    fused: Side,
    seed: int,
    taps: Mapping[str, TensorType] | None = None,
    inputs: Mapping[str, Array] | None = None,
) -> Comparison:
    """Run both graphs and judge the fused one.

    `taps` are values of the original, with their types, to be handed back as that graph computes them at its own types.
    `inputs` are by the original's names; left out, they are drawn.
    Raises VerificationError where the original cannot be run; that the fused one cannot is a finding.
    """
    inputs = dict(draw_inputs(original.model, seed) if inputs is None else inputs)
    wanted = {value: kind for value, kind in (taps or {}).items() if value not in inputs}
    try:
        exact = lower(original.model, Arithmetic.EXACT)
        reference = run(exact, inputs, original.weights)
        native = run(lower(original.model, Arithmetic.NATIVE, taps=list(wanted)), inputs, original.weights)
        native, tapped = native[: len(reference)], native[len(reference) :]
        values = {value: a.astype(wanted[value].dtype.numpy) for value, a in zip(wanted, tapped, strict=True)} | inputs
        del tapped
        formula = formula_values(original, formula_nodes(original.model, fused.model), inputs, native)
    except UnsupportedOpError as error:
        raise VerificationError(f"the graph cannot be run on this machine ({error}); use --verify static.") from None
    # By position, as a graph's inputs are called after the graph they belong to.
    given = zip(fused.model.proto.graph.input, original.model.proto.graph.input, strict=False)
    same = {a.name: inputs[b.name] for a, b in given if b.name in inputs}
    names = [leaf_name(o.name) for o in original.model.proto.graph.output]
    try:
        algebra = run(lower(fused.model, Arithmetic.EXACT), same, fused.weights)
        result = run(lower(fused.model, Arithmetic.NATIVE), same, fused.weights)
    except (UnsupportedOpError, VerificationError) as error:
        return Comparison((), (f"the fused graph cannot be run, the original can: {error}",), (), values)
    if [r.shape for r in result] != [r.shape for r in reference]:
        told = ", ".join(str(list(r.shape)) for r in result)
        return Comparison((), (f"the fused graph gives outputs of {told} instead of the original's.",), (), values)
    allowed = algebra_bound(fused.model)
    figures = []
    for i, (a, b, c, d, e) in enumerate(zip(reference, native, formula, algebra, result, strict=True)):
        name = names[i] if len(names) == len(reference) else f"{names[0]}[{i}]"
        figures.append(judge(name, reference=a, native=b, formula=c, algebra=d, fused=e, allowed=allowed))
    findings = [finding for figure in figures for finding in problems(figure, f"output {figure.output}")]
    notes = []
    for figure in figures:
        if figure.undefined and figure.compared:
            notes.append(
                f"output {figure.output} was compared without {figure.undefined} of its {math.prod(figure.shape)} "
                "values, which are not finite in the original itself"
            )
    return Comparison(tuple(figures), tuple(findings), tuple(notes), values)


def formula_values(
    original: Side, region: dict[str, DType], values: Mapping[str, Array], native: Sequence[Array]
) -> list[Array]:
    """The original's outputs with the nodes of `region` at their compute types; `native` are those at its own.

    Where that is not finite although the original is, only what the products multiply is rounded.
    """
    if not region:
        return list(native)
    formula = run(lower(original.model, Arithmetic.NATIVE, region), values, original.weights)
    if all(np.isfinite(f).all() or not np.isfinite(n).all() for f, n in zip(formula, native, strict=False)):
        return formula
    return run(
        lower(original.model, Arithmetic.NATIVE, products_alone(original.model, region)), values, original.weights
    )


def algebra_bound(fused: Model) -> float:
    """How far the fused graph may be from the original in float64: what its file itself rounds."""
    rounding = 0.0
    for node in fused_nodes(fused):
        try:
            attention = read(fused, node)
        except MalformedError:
            continue
        if attention.bias is None or not fused.is_literal(attention.bias):
            continue
        bias, kind = fused.literal(attention.bias), fused.type_of(attention.bias)
        if isinstance(bias, np.ndarray) and kind is not None and kind.dtype.is_low_precision:
            values = bias.astype(np.float64) * (attention.scale if attention.bias_before_scale else 1.0)
            counted = np.abs(values[np.isfinite(values) & (values > NEGLIGIBLE)])
            rounding = max(rounding, 2 * HALF_UNIT[kind.dtype.name] * float(counted.max(initial=0.0)))
    return ALGEBRA_BOUND + rounding


def judge(
    name: str, *, reference: Array, native: Array, formula: Array, algebra: Array, fused: Array, allowed: float
) -> OutputFigures:
    """Figures of one output, over the elements that the original defines."""
    exact = reference.astype(np.float64)
    defined = np.isfinite(exact) & np.isfinite(native.astype(np.float64))
    errors = {"original": relative_error(native, exact, defined), "formula": relative_error(formula, exact, defined)}
    finite = [e for e in errors.values() if np.isfinite(e)]
    got = fused.astype(np.float64)
    good = defined & np.isfinite(got)
    return OutputFigures(
        output=name,
        shape=tuple(exact.shape),
        algebra=relative_error(algebra, exact, np.isfinite(exact)),
        algebra_bound=allowed,
        fused=relative_error(fused, exact, good),
        maximum=float(np.max(np.abs(got - exact), initial=0.0, where=good)),
        original=errors["original"],
        formula=errors["formula"],
        bound=MARGIN * max(finite, default=0.0) + FLOOR,
        not_finite=int(np.count_nonzero(defined & ~np.isfinite(got))),
        undefined=int(np.count_nonzero(~defined)),
    )


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


def uncompared(output: str) -> str:
    """What is said where the original defines nothing of a result."""
    return (
        f"{output} could not be compared: the original itself has no finite value there; --data gives it real inputs, "
        "another dtype may hold it, and --verify static asks for no numbers."
    )


def problems(figures: OutputFigures, output: str) -> list[str]:
    """What these figures are out of bounds in; `output` is what the sentences call the result."""
    findings = []
    if not figures.compared:
        findings.append(uncompared(output))
    overflow = (
        "" if np.isfinite(figures.formula) else "; the formula overflows there, so another type may suit it better"
    )
    if figures.not_finite:
        findings.append(f"{output} has {figures.not_finite} values that are NaN or infinite, and not in the original.")
    if not figures.algebra <= figures.algebra_bound:
        findings.append(
            f"{output} computed in float64 differs from the original by {figures.algebra:.2e} (relative), more than "
            f"the {figures.algebra_bound:.2e} that storing the scale and bias costs: the mathematics is another."
        )
    if not figures.fused <= figures.bound:
        findings.append(
            f"{output} is off by {figures.fused:.2e} (relative) from the float64 value, where {figures.bound:.2e} is "
            f"allowed: the original at its own types is off by {figures.original:.2e}, its formula at the compute "
            f"type by {figures.formula:.2e}{overflow}."
        )
    return findings
