"""Each attention of a compiled graph on several real inputs, and its formula on the same.

On one input the error of a site and that of its formula are two samples of rounding noise: of n elements their ratio
scatters by 1/√n, and which is the larger one is chance where both are of one size. The root mean squares over k inputs
scatter by 1/√(k n), and how far the ratio scatters from input to input is measured: what is above 1 by no more than a
few of its standard errors is not shown to be above it.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from attnfuse.compiler import CompileRequest, loaded
from attnfuse.ir.graph import Model
from attnfuse.ir.inline import inlined
from attnfuse.ir.types import Array, TensorType
from attnfuse.mindir import codec
from attnfuse.progress import Silent
from attnfuse.rewriting import rewrite
from attnfuse.tuning.candidates import Weights
from attnfuse.verify.graph import sites
from attnfuse.verify.graph.assigned import read_through
from attnfuse.verify.lowering import Arithmetic
from attnfuse.verify.numbers.baseline import honest_rounding
from attnfuse.verify.numbers.comparison import Part, Side, formula_values, relative_error
from attnfuse.verify.numbers.data import read_sets

_Errors: TypeAlias = tuple[float, float, float]
"""Of what was fused, of the formula, and of the formula with a fused node's roundings."""


@dataclass(frozen=True)
class SiteErrors:
    """Relative errors of one attention against float64, and of its formula, in the same order of inputs."""

    name: str
    fused: tuple[float, ...]
    own: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Of the root mean squares."""
        return _root_mean_square(self.fused) / _root_mean_square(self.own)

    @property
    def standard_error(self) -> float:
        """Of that ratio, by how far the inputs' own ratios scatter."""
        ratios = [one / other for one, other in zip(self.fused, self.own, strict=True)]
        return float(np.std(ratios, ddof=1)) / math.sqrt(len(ratios))

    @property
    def above(self) -> float:
        """How many standard errors the ratio is above 1; of one below it, less than 0."""
        apart = self.ratio - 1
        return apart / self.standard_error if self.standard_error else math.copysign(math.inf, apart) if apart else 0.0


def together(several: Sequence[SiteErrors]) -> SiteErrors:
    """All attentions as one: on each input, the root mean square of the errors as shares of the formula's."""
    owns = [_root_mean_square(one.own) for one in several]
    shares = [
        SiteErrors("", tuple(np.array(one.fused) / own), tuple(np.array(one.own) / own))
        for one, own in zip(several, owns, strict=True)
    ]
    fused, own = (
        tuple(_root_mean_square(values) for values in zip(*errors, strict=True))
        for errors in ([one.fused for one in shares], [one.own for one in shares])
    )
    return SiteErrors("all", fused, own)


def on_inputs(request: CompileRequest, files: Sequence[Path]) -> tuple[SiteErrors, ...]:
    """The errors of each attention that the request's policy fuses, on what it meets where the source, of one
    component, is run on each of these files.

    Raises as a compile does, and as verification for files that do not fit.
    """
    with (
        tempfile.TemporaryDirectory(prefix="realweights-") as folder,
        loaded(request, Path(folder), Silent()) as source,
    ):
        (component,) = source.components
        _, data = rewrite(component, request.policy, request.target, source.passes)
        values = Path(folder) / "values"
        values.mkdir()
        weights = Weights.of(component, 0, values)
        before = read_through(inlined(Model(component.parse())))
        after = read_through(Model(codec.parse(data, component.where)))
        cuts = [
            (site.module, Part(part.original, weights.original), Part(part.fused, weights.rewritten), part.leaves)
            for site in sites.find(before, after).sites
            if (part := sites.cut(before, after, site)) is not None
        ]
        wanted = {value: kind for *_, leaves in cuts for value, kind in leaves.items()}
        original, errors = Part(before, weights.original), dict[str, list[_Errors]]()
        for one in read_sets(before, files) if cuts else ():
            met = _met(original, one.inputs, wanted)
            for module, formula, fused, leaves in cuts:
                errors.setdefault(module, []).append(_errors(formula, fused, {value: met[value] for value in leaves}))
    return tuple(SiteErrors(name, *_pair(found)) for name, found in errors.items())


def _met(original: Side, inputs: Mapping[str, Array], leaves: Mapping[str, TensorType]) -> dict[str, Array]:
    """These values where the original runs at its own types, in their types; and the inputs."""
    wanted = {value: kind for value, kind in leaves.items() if value not in inputs}
    results = original.run(Arithmetic.NATIVE, inputs, taps=tuple(wanted))[-len(wanted) :]
    given = zip(wanted.items(), results, strict=True)
    return {value: array.astype(kind.dtype.numpy) for (value, kind), array in given} | dict(inputs)


def _errors(formula: Side, fused: Side, values: Mapping[str, Array]) -> _Errors:
    """Of what was fused, of the formula at its own types, and of it with the roundings that the fused node's type
    asks for, as verification has them."""
    exact = formula.run(Arithmetic.EXACT, values)[0].astype(np.float64)
    native = formula.run(Arithmetic.NATIVE, values)
    rounded = formula_values(formula, honest_rounding(formula.model, fused.model), values, native)
    where = np.isfinite(exact)
    got, own, honest = (
        relative_error(one[0], exact, where) for one in (fused.run(Arithmetic.NATIVE, values), native, rounded)
    )
    return got, own, honest


def _pair(found: Sequence[_Errors]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Errors of the fused node, and the larger of the formula's two."""
    fused, *owns = zip(*found, strict=True)
    return fused, max(owns, key=_root_mean_square)


def _root_mean_square(values: Iterable[float]) -> float:
    return float(np.sqrt(np.mean(np.square(list(values)))))
