"""A component for any batch: the written file's types, and the whole check at some batches.

The written file goes through MindSpore's inference with its batch left open. At each batch it is then compared with the
source's graph of that batch, as a file that differs from the written one in nothing but its declared types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path

from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.names import counted
from attnfuse.verify import certificate
from attnfuse.verify.component import check
from attnfuse.verify.inference import inferred_types
from attnfuse.verify.result import ComponentVerification, Level


def check_batches(
    *,
    name: str,
    written: Path,
    pairs: Mapping[int, tuple[Path, Path]],
    level: Level,
    seed: int,
    work: Path,
    held: Path | None = None,
    compute: Mapping[str, str],
    data: Mapping[int, Sequence[Path]],
    never_fully_masked: Set[str],
) -> ComponentVerification:
    """See `attnfuse.verify.verify_batches`."""
    model = Model(codec.parse(codec.read_bytes(written), str(written)))
    inferred = inferred_types.infer(model, name, work)
    findings = [f"MindSpore's inference, for any batch: {finding}" for finding in inferred.findings]
    notes = [f"MindSpore re-inferred {counted(inferred.compared, 'node type')} for any batch"]
    results: dict[int, ComponentVerification] = {}
    for batch, (original, fused) in pairs.items():
        result = check(
            name=name,
            original=original,
            fused=fused,
            level=level,
            seed=seed,
            work=work,
            held=held,
            compute=compute,
            data=data.get(batch, ()),
            never_fully_masked=never_fully_masked,
        )
        findings += [f"at batch {batch}: {finding}" for finding in result.findings]
        notes += [f"at batch {batch}: {note}" for note in result.notes]
        results[batch] = result
    return replace(
        next(iter(results.values())),
        findings=tuple(findings),
        notes=tuple(notes),
        warnings=tuple(
            f"at batch {batch}: {message}" for batch, result in results.items() for message in result.warnings
        ),
        outputs=tuple(
            replace(figures, output=f"{figures.output} at batch {batch}")
            for batch, result in results.items()
            for figures in result.outputs
        ),
        sites=tuple(figures for result in results.values() for figures in result.sites),
        fused=certificate.compared_files(model.proto, written, {}),
        drawn=tuple(f"{drawn} at batch {batch}" for batch, result in results.items() for drawn in result.drawn),
        data=tuple(file for result in results.values() for file in result.data),
        not_verified=tuple(
            f"at batch {batch}: {text}" for batch, result in results.items() for text in result.not_verified
        ),
        seconds={
            f"{stage} at batch {batch}": seconds
            for batch, result in results.items()
            for stage, seconds in result.seconds.items()
        },
    )
