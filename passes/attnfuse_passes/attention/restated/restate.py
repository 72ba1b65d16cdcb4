"""States an attention that is spelled in parts as one softmax over all keys, where it then becomes a fused node.

Whether it does is tried on a copy of the graph: the same rewrites that fuse it decide. What would stay a formula stays
as the source has it, since a formula over all keys at once takes the memory that chunks are there to save.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from attnfuse.api import (
    Builder,
    Candidate,
    Context,
    Effects,
    MatchFailure,
    Model,
    OperatorRewrite,
    RewriteContext,
    RewriteOutcome,
    Role,
    Unsupported,
    role,
)
from attnfuse_passes.attention.mask_values import ConstantFolder
from attnfuse_passes.attention.memory import check_reads
from attnfuse_passes.attention.restated.chunks import DIVISIONS, read_chunks
from attnfuse_passes.attention.restated.parts import Write
from attnfuse_passes.attention.restated.reweighted import read_reweighted
from attnfuse_passes.attention.restated.scores import Restated, read_joined
from attnfuse_passes.rewrite import rewrite

Fusing = Callable[[Model, Context], bool]
"""Fuses what a graph has, in place."""


def find_joined(model: Model, known: ConstantFolder) -> list[Restated]:
    """Attentions that are spelled in parts, in file order."""
    found: list[Restated | None] = []
    for node in model.nodes:
        if role(node) is Role.SOFTMAX:
            found.append(read_joined(model, node, known))
        elif node.op in DIVISIONS:
            found += [read_chunks(model, node, known), read_reweighted(model, node)]
    return [restated for restated in found if restated is not None and _reads_in_time(model, restated)]


def _reads_in_time(model: Model, restated: Restated) -> bool:
    """Whether what is read at another place holds the same there: nothing writes to it behind."""
    try:
        for value in restated.reads:
            check_reads(model, value)
    except MatchFailure:
        return False
    return True


def restate(model: Model, context: Context, fusing: Fusing) -> bool:
    """Write those of them as one that then become fused nodes; whether there are any."""
    found = find_joined(model, ConstantFolder(model, Effects.of(model)))
    fits = [restated for restated in found if _becomes_fused(model, context, restated, fusing)]
    if fits:
        _write(model, context, fits)
    return bool(fits)


def _becomes_fused(model: Model, context: Context, restated: Restated, fusing: Fusing) -> bool:
    """Whether it does so in a copy: none of the softmaxes that the copy has is of the restated values."""
    proto = type(model.proto)()
    proto.CopyFrom(model.proto)
    trial, told = Model(proto), replace(context, sites=[], legalised=[], simplified=[], unsupported={}, unneeded={})
    before = {node.name for node in trial.nodes if role(node) is Role.SOFTMAX}
    if not _write(trial, told, [restated]):
        return False
    own = {restated.root.name} | {node.name for node in trial.nodes if role(node) is Role.SOFTMAX} - before
    fusing(trial, told)
    return not any(node.name in own and role(node) is Role.SOFTMAX for node in trial.nodes)


def _write(model: Model, context: Context, several: Sequence[Restated]) -> bool:
    """Write all of them, whole; whether that could be done."""
    instead = {name: write for restated in several for name, write in restated.instead.items()}
    done: list[str] = []
    rewrite(model, context, Effects.of(model), [_Stated(model, instead, done)])
    return len(done) == len(instead)


@dataclass(frozen=True, slots=True)
class _Writing:
    """Writes what stands for a value."""

    form: str = "one attention"

    def unsupported_reason(self, form: Write, candidate: Candidate, at: RewriteContext) -> Unsupported | None:
        """What does not go together shows when it is written, in a copy."""
        return None

    def write(self, build: Builder, form: Write, candidate: Candidate) -> str:
        """The value's other statement."""
        return form(build)


class _Stated(OperatorRewrite[Write]):
    """Puts other values in the place of some, by name, and tells of each that is written."""

    lowerings = (_Writing(),)

    def __init__(self, model: Model, instead: dict[str, Write], done: list[str]) -> None:
        nodes = (model.producer(name) for name in instead)
        self.roots = frozenset(node.op for node in nodes if node is not None)
        self.instead = instead
        self.done = done

    def raise_(self, at: RewriteContext) -> Write | None:
        return self.instead.get(at.node.name)

    def record(self, outcome: RewriteOutcome[Write, Candidate], at: RewriteContext) -> None:
        """The fused node that comes of it is what is reported."""
        if outcome.decision.chosen is not None:
            self.done.append(outcome.node.name)
