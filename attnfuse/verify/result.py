"""What a verification found: plain records, which are the certificate's schema too.

Kept apart from the code that verifies, so that the worker process that imports MindSpore can live in this
package without pulling in protobuf.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from pydantic import computed_field

from attnfuse.serialisation import Number, Unsaved, from_json, to_json
from attnfuse.version import __version__

Level: TypeAlias = Literal["static", "sampled", "full"]
"""From the least to the most: "sampled" runs one of several equal blocks, and the whole on one input."""
LEVELS: tuple[Level, ...] = get_args(Level)

SCHEMA = "attnfuse.verification/2"

NOT_VERIFIED = (
    "no Ascend kernel ran: whether a device accepts the fused nodes is unverified",
    "how accurate an Ascend kernel computes is unverified: the figures are of the documented formula",
)


@dataclass(frozen=True, slots=True)
class OutputFigures:
    """Errors of one graph output against the float64 run of the original graph.

    All but `max_abs`, the largest |fused − reference|, are ‖x − reference‖₂ / ‖reference‖₂. `fused_in_float64` is of
    the fused graph computed in float64, `fused` of the fused graph at its own types, `original` of the original graph
    at its own types, `baseline` of the original graph with the roundings of an honest fused node. `tolerance` is what
    `fused` may reach, `tolerance_in_float64` what `fused_in_float64` may reach. All are over the elements that the
    original defines; an output of which it defines none has not passed.
    """

    output: str
    shape: tuple[int, ...]
    fused_in_float64: Number
    tolerance_in_float64: Number
    fused: Number
    max_abs: Number
    original: Number
    baseline: Number
    tolerance: Number
    not_finite: int
    """Elements of the fused output that are NaN or infinite where the original has a number."""
    undefined: int = 0
    """Elements that the original leaves NaN or infinite, in float64 or at its own types: nothing is known of them."""

    overflowed: int = 0
    """Elements of the original that are finite in float64, and NaN or infinite at its own types."""

    not_nan: int = 0
    """Elements that the original leaves NaN, in float64 and at its own types, and of which the fused graph makes
    something else in one of the two: a fully masked row has another result."""

    @property
    def compared(self) -> bool:
        """Whether there was anything to compare, where there are elements at all."""
        size = math.prod(self.shape)
        return self.undefined < size or not size

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated properties
    @property
    def passed(self) -> bool:
        is_same = self.fused_in_float64 <= self.tolerance_in_float64
        is_defined_alike = self.not_finite == 0 and self.not_nan == 0
        return self.compared and is_defined_alike and is_same and self.fused <= self.tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFigures:
    """One attention alone, on the values that enter it in the original graph, and on drawn ones.

    `figures` are those of the site's result, of the parts of both graphs. `module` is what the report calls the site,
    or what feeds its query in a graph that does not tell: entries with the same one are results of one site, or of one
    at several sizes. `largest_score` is the largest |scale · QKᵀ| met, None where the graph has no value of that kind.
    `drawn` is the relative L2 error in float64 on each kind of drawn operands.
    """

    module: str
    compute_dtype: str
    largest_score: Number | None
    drawn: dict[str, Number]
    figures: OutputFigures


@dataclass(frozen=True, slots=True)
class ComparedFile:
    """A file that was compared: its name relative to its graph's folder, its SHA-256 in hexadecimal, its size."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentVerification:
    """One component: findings (empty when it passed), figures per output at level "full", and how it was checked.

    `notes` are facts that are no failure: what was already odd in the source, how weights and inputs were drawn.
    `warnings` are such facts that the user has to know: a source that is inaccurate in its own type. `executors` name
    what ran, with versions.
    """

    name: str
    level: Level
    seed: int
    findings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    executors: tuple[str, ...] = ()
    fused_nodes: int = 0
    outputs: tuple[OutputFigures, ...] = ()
    sites: tuple[SiteFigures, ...] = ()
    original: tuple[ComparedFile, ...] = ()
    fused: tuple[ComparedFile, ...] = ()
    """Files of the two sides, the graph first, then what holds its weights."""
    drawn: tuple[str, ...] = ()
    """What was drawn for each whole run, in words; empty where `data` was given, and at level "static"."""
    data: tuple[ComparedFile, ...] = ()
    """Files of the inputs that were given."""
    compute: dict[str, str] = field(default_factory=dict)
    """The dtypes that the policy asks sites to be computed in, by their results; empty where none is known."""
    never_fully_masked: tuple[str, ...] = ()
    """Results of sites of which the policy says that each row has a key: other rows were not asked about."""
    not_verified: tuple[str, ...] = ()
    """What this level asks for and could not be verified, in words: operators that cannot be run here."""
    seconds: Unsaved[dict[str, float]] = field(default_factory=dict, compare=False)
    """Wall time per stage; never part of the JSON, which must not depend on the machine."""

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated properties
    @property
    def passed(self) -> bool:
        return not self.findings

    def to_json(self) -> Any:
        """Plain values, ready for a JSON encoder."""
        return to_json(self)

    @property
    def doubt(self) -> str:
        """What of its figures no verification that passed can have; nothing where there is no such thing."""
        if self.findings:
            return f"it has a finding: {self.findings[0]}"
        if self.level != "static" and not self.outputs and not self.not_verified:
            return f"it is of level {self.level}, and has no figures of any output"
        named = [(f"output {figures.output}", figures) for figures in self.outputs]
        named += [(f"site {site.module}", site.figures) for site in self.sites]
        for name, figures in named:
            if not figures.passed:
                return f"the figures of {name} are not within their tolerance"
            if min(figures.fused, figures.fused_in_float64) < 0:
                return f"an error of {name} is below zero"
            if not math.isfinite(figures.tolerance):
                return f"{name} has no tolerance"
        unknown = [site.module for site in self.sites if any(math.isnan(error) for error in site.drawn.values())]
        return f"an error of site {unknown[0]} is no number" if unknown else ""


@dataclass(frozen=True, slots=True)
class Verification:
    """All components of one compile."""

    components: tuple[ComponentVerification, ...]

    @property
    def passed(self) -> bool:
        return all(c.passed for c in self.components)

    @property
    def complete(self) -> bool:
        """Whether all was verified that the level asks for."""
        return not any(c.not_verified for c in self.components)

    @property
    def findings(self) -> tuple[str, ...]:
        """Every finding, with its component's name in front."""
        return tuple(f"{c.name}: {finding}" for c in self.components for finding in c.findings)

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for a JSON encoder."""
        return {
            "schema": SCHEMA,
            "attnfuse": __version__,
            "passed": self.passed,
            "complete": self.complete,
            "components": [c.to_json() for c in self.components],
            "not_verified": list(NOT_VERIFIED),
        }


def fault_of(certificate: Mapping[str, Any]) -> str:
    """Why an entry of a certificate stands for no verification that passed, in words; nothing where it does.

    Its figures are held to their own tolerances again: a certificate is a file that anybody can write to.
    """
    try:
        found = from_json(ComponentVerification, certificate)
    except ValueError as error:
        return str(error)
    missing = [key for key in found.to_json() if key not in certificate]
    return f"it has no {missing[0]}" if missing else found.doubt
