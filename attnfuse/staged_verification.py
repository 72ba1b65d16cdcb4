"""Verifies one component that lies in a folder: what the policy asked for of its sites, at which batches.

The check itself is `attnfuse.verify`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from attnfuse.component import Component
from attnfuse.decisions import SiteRecord
from attnfuse.errors import SourceError
from attnfuse.output import digest
from attnfuse.pass_manager import Pass
from attnfuse.policy import Policy, SiteQuery
from attnfuse.records import ComponentResult
from attnfuse.rewriting import at_batches
from attnfuse.serialisation import from_json
from attnfuse.targets import Target
from attnfuse.verify import VERIFIED_BATCHES, ComponentVerification, Level, batches_of, verify_batches, verify_component
from attnfuse.written_weights import hold_original, link_or_copy


@dataclass(frozen=True, slots=True)
class Staged:
    """A component, and what became of its sites. `variables` are the files beside the result's graph; with
    `holds_others` some of the weights in them were edited, or are another component's."""

    component: Component
    sites: Sequence[SiteRecord]
    variables: Sequence[str]
    holds_others: bool

    @classmethod
    def of(cls, result: ComponentResult) -> Staged:
        """A component as it was just compiled."""
        return cls(result.component, result.sites, result.variables, result.holds_others)


def asked_of(policy: Policy, name: str, owner: str, sites: Sequence[SiteRecord]) -> Asked:
    """What the policy says to the fused sites of a component, by their results in the source.

    The dtype asked for where the source's own formula is in none of 16 bits; and those whose rows have a key each.
    """
    compute, never_fully_masked = {}, set()
    for record in sites:
        if record.status != "fused":
            continue
        decision = policy.decide(SiteQuery(name, owner, record.module, record.facts))
        if decision.assume_no_fully_masked_rows:
            never_fully_masked.add(record.anchor)
        own = record.form != "formula" or record.facts.dtype in ("float16", "bfloat16")
        if decision.force_cast_dtype is not None and not own:
            compute[record.anchor] = decision.force_cast_dtype.name
    return Asked(compute, frozenset(never_fully_masked))


@dataclass(frozen=True, slots=True)
class Asked:
    """Dtypes by the results of sites, and the results of those of which every row has a key."""

    compute: dict[str, str] = field(default_factory=dict)
    never_fully_masked: frozenset[str] = frozenset()


def is_as_full(certificate: Mapping[str, Any], level: Level) -> bool:
    """Whether a certificate is of that level or a fuller one."""
    levels = get_args(Level)
    return certificate["level"] in levels and levels.index(certificate["level"]) >= levels.index(level)


def answers(certificate: Mapping[str, Any], asked: Asked, level: Level, seed: int, data: Sequence[Path]) -> bool:
    """Whether a certificate tells what is asked now; of which files it is `still_holds` says."""
    return (
        is_as_full(certificate, level)
        and (level == "static" or certificate["seed"] == seed)
        and (level == "static" or [file["sha256"] for file in certificate["data"]] == [digest(p).sha256 for p in data])
        and certificate.get("compute") == asked.compute
        and certificate.get("never_fully_masked") == sorted(asked.never_fully_masked)
    )


def recorded(certificate: Mapping[str, Any]) -> ComponentVerification:
    """A component's verification as its certificate has it. Raises SourceError where that is damaged."""
    try:
        return from_json(ComponentVerification, certificate)
    except ValueError as error:
        name = certificate.get("name")
        raise SourceError(f"the certificate of {name} is damaged ({error}); verify with --again.") from None


def verify_staged(
    staged: Staged,
    fused: Path,
    work: Path,
    *,
    policy: Policy,
    target: Target,
    passes: Sequence[Pass],
    level: Level,
    seed: int,
    data: Sequence[Path],
) -> ComponentVerification:
    """Check the staged graph `fused` against the source's; a traced one is put beside the same variables for it, unless
    they hold edited weights: the source's own values are then kept apart (see `hold_original`).

    `seed` is that of drawn inputs, `data` are files of given ones, `work` is a folder for what is made on the way.
    Raises VerificationError where the check cannot be carried out.
    """
    component = staged.component
    folder = work / "verify"
    folder.mkdir()
    asked = asked_of(policy, component.asked_as, component.owner, staged.sites)
    compute, never_fully_masked = asked.compute, asked.never_fully_masked
    held = None
    if component.original is None and staged.holds_others:
        held = hold_original(component, fused, work / "held")
    if component.batches:
        at = at_batches(component, policy, target, passes)
        by_batch = batches_of(data, {batch: at(batch)[0] for batch in VERIFIED_BATCHES}) if data else {}
        pairs = {}
        for batch in by_batch or VERIFIED_BATCHES:
            source, made = at(batch)
            place = work / f"at_{batch}"
            pairs[batch] = (
                _beside_weights(place / "original", staged, source, None if held else fused.parent),
                _beside_weights(place / "fused", staged, made, fused.parent),
            )
        return verify_batches(
            name=component.name,
            written=fused,
            pairs=pairs,
            level=level,
            seed=seed,
            work=folder,
            held=held,
            compute=compute,
            data=by_batch,
            never_fully_masked=never_fully_masked,
        )
    original = component.original
    if original is None:
        original = _beside_weights(work / "original", staged, component.data, None if held else fused.parent)
    return verify_component(
        name=component.name,
        original=original,
        fused=fused,
        level=level,
        seed=seed,
        work=folder,
        held=held,
        compute=compute,
        data=data,
        never_fully_masked=never_fully_masked,
    )


def _beside_weights(folder: Path, staged: Staged, data: bytes, variables: Path | None) -> Path:
    """The graph written into a new folder, beside links to the component's weights in `variables`, if it is given."""
    folder.mkdir(parents=True)
    graph = folder / staged.component.graph_name
    graph.write_bytes(data)
    if variables is not None:
        for name in staged.variables:
            linked = folder / name
            linked.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(variables / name, linked)
    return graph
