"""Verifies one component of a compile before it is published: what the policy asked for of its sites, at which batches.

The check itself is `attnfuse.verify`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attnfuse.pass_manager import Pass
from attnfuse.policy import Policy, SiteQuery
from attnfuse.records import ComponentResult
from attnfuse.rewriting import at_batches
from attnfuse.targets import Target
from attnfuse.verify import VERIFIED_BATCHES, ComponentVerification, Level, batches_of, verify_batches, verify_component
from attnfuse.written_weights import hold_original


def verify_staged(
    result: ComponentResult,
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
    component = result.component
    folder = work / "verify"
    folder.mkdir()
    compute, never_fully_masked = _asked(policy, result)
    held = None
    if component.original is None and result.rewritten.edited:
        held = hold_original(component, fused, work / "held")
    if component.batches:
        at = at_batches(component, policy, target, passes)
        by_batch = batches_of(data, {batch: at(batch)[0] for batch in VERIFIED_BATCHES}) if data else {}
        pairs = {}
        for batch in by_batch or VERIFIED_BATCHES:
            source, made = at(batch)
            place = work / f"at_{batch}"
            pairs[batch] = (
                _beside_weights(place / "original", result, source, None if held else fused.parent),
                _beside_weights(place / "fused", result, made, fused.parent),
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
        original = _beside_weights(work / "original", result, component.data, None if held else fused.parent)
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


def _beside_weights(folder: Path, result: ComponentResult, data: bytes, variables: Path | None) -> Path:
    """The graph written into a new folder, beside links to the component's weights in `variables`, if it is given."""
    folder.mkdir(parents=True)
    graph = folder / result.component.graph_name
    graph.write_bytes(data)
    if variables is not None:
        for name in result.variables:
            linked = folder / name
            linked.parent.mkdir(parents=True, exist_ok=True)
            linked.hardlink_to(variables / name)
    return graph


def _asked(policy: Policy, result: ComponentResult) -> tuple[dict[str, str], frozenset[str]]:
    """What the policy says to the fused sites, by their results in the source.

    The dtype asked for where the source's own formula is in none of 16 bits; and those whose rows have a key each.
    """
    asked, never_fully_masked = {}, set()
    for record in result.sites:
        if record.status != "fused":
            continue
        decision = policy.decide(SiteQuery(result.name, result.component.owner, record.module, record.facts))
        if decision.assume_no_fully_masked_rows:
            never_fully_masked.add(record.anchor)
        own = record.form != "formula" or record.facts.dtype in ("float16", "bfloat16")
        if decision.force_cast_dtype is not None and not own:
            asked[record.anchor] = decision.force_cast_dtype.name
    return asked, frozenset(never_fully_masked)
