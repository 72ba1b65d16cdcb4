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
from attnfuse.verify.graph import gaps
from attnfuse.verify.graph.fused_nodes import fused_nodes
from attnfuse.verify.graph.structure import check_interface, check_structure, has_same_types, new_findings
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
        inferred, not_inferred = _inferred(after, name, work)
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
        compute=dict(sorted(compute.items())),
        never_fully_masked=tuple(sorted(never_fully_masked)),
        not_verified=not_inferred,
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
        not_verified=(*result.not_verified, *found.not_verified),
    )


def check_alone(name: str, graph: Path, work: Path) -> ComponentVerification:
    """See `attnfuse.verify.verify_alone`."""
    model = Model(codec.parse(codec.read_bytes(graph), str(graph)))
    seconds: dict[str, float] = {}
    with timed(seconds, "structure"):
        findings = [*check_structure(model), *check_interface(model, model)]
    with timed(seconds, "inference"):
        inferred, not_inferred = _inferred(model, name, work)
    return ComponentVerification(
        name=name,
        level="static",
        seed=0,
        findings=(*findings, *(f"MindSpore's inference: {finding}" for finding in inferred.findings)),
        notes=(f"MindSpore re-inferred {counted(inferred.compared, 'node type')}",),
        executors=(f"mindspore {inferred.mindspore} (type and shape inference)",),
        fused_nodes=len(fused_nodes(model)),
        fused=certificate.compared_files(model.proto, graph, {}),
        seconds=seconds,
        not_verified=not_inferred,
    )


def _inferred(model: Model, name: str, work: Path) -> tuple[inferred_types.Inference, tuple[str, ...]]:
    """What MindSpore infers; where it rejects the graph, without the operators it does not know, which are told."""
    whole = inferred_types.infer(model, name, work)
    foreign = gaps.foreign_gaps(model) if whole.rejected is not None else []
    if not foreign:
        return whole, ()
    rest = inferred_types.infer(gaps.take_out(model, foreign, 1), name, work)
    if rest.rejected is not None:
        return whole, ()
    return rest, tuple(f"{gap.said}; its types were not inferred" for gap in foreign)


def _check_inferable(original: Model, name: str, work: Path) -> None:
    """Raise VerificationError where MindSpore cannot infer the original: it then says nothing of the result."""
    rejected = inferred_types.infer(original, name, work).rejected
    if rejected is not None:
        raise VerificationError(
            f"{name} cannot be verified: MindSpore rejects its original graph as it does the result ({rejected}); "
            "use --verify none."
        )
