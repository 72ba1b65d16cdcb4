"""One component, checked at one level: the order of the checks, and what each finding is called.

May import everything of verification but the worker.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from attnfuse.errors import VerificationError
from attnfuse.graph import Model, short_name
from attnfuse.mindir import codec
from attnfuse.output import FileDigest
from attnfuse.verify import certificate, inference, weights
from attnfuse.verify.fused_nodes import fused_nodes
from attnfuse.verify.result import ComponentVerification, Level, OutputFigures, SiteFigures
from attnfuse.verify.structure import check_interface, new_findings


def check(
    *, name: str, original: Path, fused: Path, level: Level, seed: int, work: Path, compute: Mapping[str, str]
) -> ComponentVerification:
    """See `attnfuse.verify.verify_component`."""
    before = Model(codec.parse(codec.read_bytes(original), str(original)))
    after = Model(codec.parse(codec.read_bytes(fused), str(fused)))
    digests: dict[tuple[int, int], FileDigest] = {}
    compared_files = [
        certificate.compared_files(model.proto, where, digests) for model, where in ((before, original), (after, fused))
    ]
    seconds: dict[str, float] = {}
    with _timed(seconds, "structure"):
        findings, old = new_findings(before, after)
        findings += check_interface(before, after)
    notes = [f"already so in the original: {finding}" for finding in old]

    with _timed(seconds, "inference"):
        inferred = inference.infer(after, name, work)
        # What is wrong with the result is told first; without that, a source that is rejected too tells of neither.
        if inferred.rejected is not None and not findings:
            _check_inferable(before, name, work)
    findings += [f"MindSpore's inference: {finding}" for finding in inferred.findings]
    notes.append(f"MindSpore inferred {inferred.compared} node types anew")
    executors = [f"mindspore {inferred.mindspore} (type and shape inference)"]

    outputs: tuple[OutputFigures, ...] = ()
    figures: tuple[SiteFigures, ...] = ()
    warnings: tuple[str, ...] = ()
    if level == "full":
        # Here, so that the static level needs no onnxruntime.
        from attnfuse.verify import numbers, restated_numbers, site_numbers, sites
        from attnfuse.verify.assigned import read_through

        before, after = read_through(before), read_through(after)
        with _timed(seconds, "numbers"):
            weights_of, remarks = weights.both_sides(before.proto, original, after.proto, fused, seed)
            sides = numbers.Side(before, weights_of[0]), numbers.Side(after, weights_of[1])
            found = sites.find(before, after)
            parts = [(site, sites.cut(before, after, site)) for site in found.sites]
            others = [(restated, sites.cut_restated(before, after, restated)) for restated in found.restated]
            pairs = [(site, part) for site, part in parts if part is not None]
            taps = {value: kind for _, part in pairs for value, kind in part.leaves.items()}
            compared = numbers.compare(*sides, seed, taps)
        with _timed(seconds, "sites"):
            results = site_numbers.compare_sites(*sides, pairs, compared.values, seed)
        with _timed(seconds, "restated"):
            whole = [(restated, part) for restated, part in others if part is not None]
            differences, remarked = restated_numbers.compare_restated(*sides, whole, seed)
        outputs, warnings = compared.outputs, compared.warnings
        figures = tuple(result.figures for result in results if result.figures is not None)
        findings += compared.findings
        findings += [finding for result in results for finding in result.findings]
        findings += [*sites.check_compute(found.sites, compute), *differences]
        notes += [*remarks, *compared.notes, *found.notes, *remarked]
        apart = [f"site {site.label}" for site, part in parts if part is None]
        if moved := [short_name(restated.value) for restated, part in others if part is None]:
            apart.append(f"{moved[0]} (of {len(moved)} values written otherwise)")
        notes += [f"{name} goes through a function and was not run alone" for name in apart]
        notes += [note for result in results for note in result.notes]
        executors += numbers.EXECUTORS
    return ComponentVerification(
        name=name,
        level=level,
        seed=seed,
        findings=tuple(findings),
        notes=tuple(notes),
        warnings=warnings,
        executors=tuple(executors),
        fused_nodes=len(fused_nodes(after)),
        outputs=outputs,
        sites=figures,
        original=compared_files[0],
        fused=compared_files[1],
        seconds=seconds,
    )


def _check_inferable(original: Model, name: str, work: Path) -> None:
    """Raise VerificationError where MindSpore cannot infer the original: it then says nothing of the result."""
    rejected = inference.infer(original, name, work).rejected
    if rejected is not None:
        raise VerificationError(
            f"{name} cannot be verified: MindSpore rejects its original graph as it does the result ({rejected}); "
            "use --verify none."
        )


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
