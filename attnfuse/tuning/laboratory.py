"""A component rewritten by one assignment after the other: the time estimated of each result, and its error measured.

A result is measured once, by the digest of its graph. With a cache folder that holds beyond this run: what was measured
of the same graphs, weights and inputs by the same sources and libraries is not measured again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from attnfuse import dispatch
from attnfuse.component import Component
from attnfuse.decisions import SiteRecord
from attnfuse.errors import SourceError
from attnfuse.incremental import Incremental
from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.pass_manager import Pass
from attnfuse.policy import Policy
from attnfuse.rewriting import rewrite
from attnfuse.serialisation import from_json
from attnfuse.store.entries import KEY
from attnfuse.store.kinds import Kind
from attnfuse.targets import Target
from attnfuse.tuning.candidates import Candidate, Measured, Weights, handed_over
from attnfuse.tuning.choices import Assignment
from attnfuse.tuning.units import Unit, policy_for
from attnfuse.verify.numbers.comparison import EXECUTORS, Side
from attnfuse.verify.numbers.measuring import Inputs, Yardstick, inputs_of

_KEPT_BYTES = 2**23
"""Graphs of no more bytes are kept from their estimate until they are measured; larger ones are made again."""


@dataclass(frozen=True, slots=True)
class Made:
    """A result: what became of each site, the graph, and the estimated seconds of one run."""

    sites: tuple[SiteRecord, ...]
    data: bytes
    seconds: float


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What is done to a component. Rules of `base` stay as they are."""

    component: Component
    target: Target
    passes: Sequence[Pass]
    base: Policy = field(default_factory=Policy)

    def by(self, policy: Policy) -> Made:
        """Its graph by a policy for what the base leaves open.

        Raises as `rewrite` does, and SourceError where its time cannot be estimated.
        """
        whole = self.base.filled_in(policy.rules)
        rewritten, data = rewrite(self.component, whole, self.target, self.passes)
        after = rewritten.cost.after
        if after is None:
            raise SourceError(
                f"component {self.component.name} cannot be tuned, as what its graph takes is not known: "
                f"{rewritten.cost.not_estimated.rstrip('.')}."
            )
        return Made(rewritten.sites, data, after.seconds)


@dataclass(frozen=True, slots=True)
class Estimated:
    """A result: the digest of its graph, and the estimated seconds of one run; `data` where it is kept."""

    digest: str
    seconds: float
    data: bytes | None


def _estimate(kept: bytes | None) -> Estimated | None:
    """What a cache tells of an assignment; None for what says nothing of the kind."""
    try:
        digest, seconds = json.loads(kept or b"")
    except (RecursionError, TypeError, ValueError):
        return None
    is_one = isinstance(digest, str) and isinstance(seconds, float) and math.isfinite(seconds) and KEY.fullmatch(digest)
    return Estimated(digest, seconds, None) if is_one else None


def _error(kept: bytes | None) -> float | None:
    """The error that a cache tells of, infinite where something overflows; None for what is none."""
    try:
        error = float(kept or b"")
    except ValueError:
        return None
    return error if error >= 0 else None


@dataclass(slots=True)
class Bench:
    """What estimates and measures one component, by assignments of forms to `units`.

    `tell` is told of each measurement. `known` is asked before anything is run.
    """

    rewriting: Rewriting
    units: Sequence[Unit]
    yardstick: Yardstick
    weights: Weights
    known: Incremental
    of: str
    seed: int
    tell: Callable[[str], None]
    estimates: dict[Assignment, Estimated] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)
    """Errors, by the digest of the graph, that were measured elsewhere."""
    asked: set[str] = field(default_factory=set)
    """Those that were to be."""
    handed_over: str | None = None
    """What whoever measures elsewhere is told of the component; empty where that cannot be."""

    @classmethod
    def open(
        cls,
        rewriting: Rewriting,
        units: Sequence[Unit],
        files: Sequence[Path],
        seed: int,
        known: Incremental,
        work: Path,
        tell: Callable[[str], None],
    ) -> tuple[Bench, Inputs]:
        """For a component, on the inputs of the files or drawn ones. Raises as `inputs_of` and `Weights.of` do."""
        model = Model(rewriting.component.parse())
        inputs = inputs_of(model, files, seed)
        weights = Weights.of(rewriting.component, seed, work)
        yardstick = Yardstick(Side(model, weights.original), inputs)
        of = json.dumps([known.source_of(rewriting.component), inputs.told, seed, EXECUTORS])
        return cls(rewriting, units, yardstick, weights, known, of, seed, tell), inputs

    def take(self, assignment: Assignment, made: Made) -> None:
        """A result that was made already."""
        kept = made.data if len(made.data) <= _KEPT_BYTES else None
        self.estimates[assignment] = found = Estimated(hashlib.sha256(made.data).hexdigest(), made.seconds, kept)
        self.known.keep(
            Kind.MEASURED_ESTIMATE, self._key_of(assignment), json.dumps([found.digest, found.seconds]).encode()
        )

    def seconds(self, assignment: Assignment) -> float:
        """See `search.Laboratory`."""
        return self._estimated(assignment).seconds

    def prepare(self, assignments: Iterable[Assignment]) -> None:
        """See `search.Laboratory`: whoever does work for this process measures those that were not measured before."""
        dispatcher = dispatch.current()
        if dispatcher is None:
            return
        asked: dict[str, Assignment] = {}
        for assignment in assignments:
            digest = self._estimated(assignment).digest
            is_known = digest in self.errors or digest in self.asked
            if not is_known and _error(self.known.told(Kind.MEASURED_ERROR, [self.of, digest])) is None:
                asked[digest] = assignment
        if not asked:
            return
        self._recall_exact()
        if self.handed_over is None:
            component = self.rewriting.component
            self.handed_over = handed_over(component, self.yardstick, self.seed, self.known.digests, dispatcher) or ""
            if not self.handed_over:
                self.tell(f"warning: {component.name}: what it is measured by cannot be handed over; it is done here")
        if not self.handed_over:
            return
        self.asked.update(asked)
        candidates = {
            digest: Candidate(self.handed_over, dispatcher.put(self._data(assignment)))
            for digest, assignment in asked.items()
        }
        for digest, result in dispatch.done(dispatch.CANDIDATE, candidates):
            self.measured[digest] = error = from_json(Measured, result).error
            self.known.keep(Kind.MEASURED_ERROR, [self.of, digest], repr(error).encode())
            self.yardstick.did()

    def error(self, assignment: Assignment, what: str) -> float:
        """See `search.Laboratory`."""
        self.prepare([assignment])
        estimated = self._estimated(assignment)
        if estimated.digest not in self.errors:
            self.errors[estimated.digest] = found = self._measured(estimated, assignment)
            off = f"off by {found:.2e}" if np.isfinite(found) else "not finite"
            self.tell(f"{self.rewriting.component.name}: {what}: {off}")
        if estimated.data is not None:
            self.estimates[assignment] = Estimated(estimated.digest, estimated.seconds, None)
        return self.errors[estimated.digest]

    def expect(self, runs: int) -> None:
        """See `search.Laboratory`."""
        self.yardstick.expect(runs)

    def is_of(self, assignment: Assignment, data: bytes) -> bool:
        """Whether the assignment gives that graph."""
        return self._estimated(assignment).digest == hashlib.sha256(data).hexdigest()

    def _estimated(self, assignment: Assignment) -> Estimated:
        if assignment not in self.estimates:
            estimated = _estimate(self.known.told(Kind.MEASURED_ESTIMATE, self._key_of(assignment)))
            if estimated is None:
                self.take(assignment, self._made(assignment))
            else:
                self.estimates[assignment] = estimated
        return self.estimates[assignment]

    def _key_of(self, assignment: Assignment) -> list[str]:
        """What the graph of an assignment is made of and by."""
        said = [[unit.module, choice.settings] for unit, choice in zip(self.units, assignment, strict=True)]
        passes = [f"{type(step).__module__}.{type(step).__qualname__} {step!r}" for step in self.rewriting.passes]
        component, target = self.rewriting.component, self.rewriting.target
        base = [repr(rule) for rule in self.rewriting.base.rules]
        told = [component.name, component.owner, said, passes, target.runtime, target.soc, base]
        return [self.of, json.dumps(told)]

    def _made(self, assignment: Assignment) -> Made:
        return self.rewriting.by(policy_for(self.rewriting.component.asked_as, self.units, assignment))

    def _measured(self, estimated: Estimated, assignment: Assignment) -> float:
        if estimated.digest in self.measured:
            return self.measured[estimated.digest]
        key = [self.of, estimated.digest]
        told = _error(self.known.told(Kind.MEASURED_ERROR, key))
        if told is not None:
            return told
        self._recall_exact()
        graph = Model(codec.parse(self._data(assignment), self.rewriting.component.where))
        error = self.yardstick.error(Side(graph, self.weights.rewritten))
        self.known.keep(Kind.MEASURED_ERROR, key, repr(error).encode())
        return error

    def _data(self, assignment: Assignment) -> bytes:
        """The graph that it gives."""
        return self._estimated(assignment).data or self._made(assignment).data

    def _recall_exact(self) -> None:
        """The original's float64 values, as an earlier run has them; else they are run, and kept."""
        if self.yardstick.is_known:
            return
        kept = self.known.told(Kind.MEASURED_EXACT, [self.of])
        if kept is not None and self.yardstick.recall(kept):
            return
        if self.known.keeps and (made := self.yardstick.kept()) is not None:
            self.known.keep(Kind.MEASURED_EXACT, [self.of], made)
