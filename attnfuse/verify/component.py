"""One component, checked at one level: the order of the checks, and what each finding is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path

from attnfuse.errors import VerificationError
from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.names import counted
from attnfuse.output import FileDigest
from attnfuse.verify import certificate
from attnfuse.verify.graph.fused_nodes import fused_nodes
from attnfuse.verify.graph.structure import check_interface, has_same_types, new_findings
from attnfuse.verify.inference import inferred_types
from attnfuse.verify.result import ComponentVerification, Level
from attnfuse.verify.stages import timed


def check(
    *,
    name: str,
    original: Path,
    fused: Path,
    level: Level,
    seed: int,
    work: Path,
    held: Path | None = None,
    compute: Mapping[str, str],
    data: Sequence[Path] = (),
    never_fully_masked: Set[str] = frozenset(),
) -> ComponentVerification:
    """See `attnfuse.verify.verify_component`."""
    before = Model(codec.parse(codec.read_bytes(original), str(original)))
    after = Model(codec.parse(codec.read_bytes(fused), str(fused)))
    if data:
        # Before anything is run: a name that is wrong is told at once.
        from attnfuse.verify.numbers.data import read_sets

        read_sets(before, data)
    digests: dict[tuple[int, int], FileDigest] = {}
    compared_files = [
        certificate.compared_files(model.proto, where, digests) for model, where in ((before, original), (after, fused))
    ]
    seconds: dict[str, float] = {}
    with timed(seconds, "structure"):
        findings, old = new_findings(before, after)
        findings += check_interface(before, after)
    notes = [f"already so in the original: {finding}" for finding in old]

    with timed(seconds, "inference"):
        inferred = inferred_types.infer(after, name, work)
        # What is wrong with the result is told first; without that, a source that is rejected too tells of neither.
        if inferred.rejected is not None and not findings:
            _check_inferable(before, name, work)
    findings += [f"MindSpore's inference: {finding}" for finding in inferred.findings]
    notes.append(f"MindSpore re-inferred {counted(inferred.compared, 'node type')}")
    executors = [f"mindspore {inferred.mindspore} (type and shape inference)"]
    result = ComponentVerification(
        name=name,
        level=level,
        seed=seed,
        findings=tuple(findings),
        notes=tuple(notes),
        executors=tuple(executors),
        fused_nodes=len(fused_nodes(after)),
        original=compared_files[0],
        fused=compared_files[1],
        seconds=seconds,
    )
    if level == "static":
        return result
    if not has_same_types(before, after):
        return replace(result, notes=(*result.notes, "neither graph was run: their inputs or outputs differ"))
    # Here, so that the static level needs no onnxruntime.
    from attnfuse.verify.numbers import comparison, full

    request = full.Request(
        name=name,
        original=original,
        fused=fused,
        seed=seed,
        work=work,
        held=held,
        data=data,
        never_fully_masked=never_fully_masked,
        compute=compute,
        sampled=level == "sampled",
    )
    found = full.check_numbers(before, after, request, seconds)
    return replace(
        result,
        findings=(*result.findings, *found.findings),
        notes=(*result.notes, *found.notes),
        warnings=tuple(found.warnings),
        executors=(*result.executors, *comparison.EXECUTORS),
        outputs=tuple(found.outputs),
        sites=tuple(found.sites),
        drawn=tuple(found.drawn),
        data=tuple(found.data),
    )


def _check_inferable(original: Model, name: str, work: Path) -> None:
    """Raise VerificationError where MindSpore cannot infer the original: it then says nothing of the result."""
    rejected = inferred_types.infer(original, name, work).rejected
    if rejected is not None:
        raise VerificationError(
            f"{name} cannot be verified: MindSpore rejects its original graph as it does the result ({rejected}); "
            "use --verify none."
        )
