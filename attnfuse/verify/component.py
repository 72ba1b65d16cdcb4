"""One component, checked at one level: the order of the checks, and what each finding is called.

May import everything of verification but the worker.
"""

from __future__ import annotations

import time
from pathlib import Path

from attnfuse.graph import Model
from attnfuse.mindir import codec
from attnfuse.verify import inference
from attnfuse.verify.fused_nodes import fused_nodes
from attnfuse.verify.result import ComponentVerification, Level
from attnfuse.verify.structure import check_interface, new_findings


def check(*, name: str, original: Path, fused: Path, level: Level, seed: int, work: Path) -> ComponentVerification:
    """See `attnfuse.verify.verify_component`."""
    before = Model(codec.parse(codec.read_bytes(original), str(original)))
    after = Model(codec.parse(codec.read_bytes(fused), str(fused)))
    seconds: dict[str, float] = {}
    start = time.perf_counter()
    findings, old = new_findings(before, after)
    findings += check_interface(before, after)
    notes = [f"already so in the original: {finding}" for finding in old]
    seconds["structure"] = time.perf_counter() - start

    start = time.perf_counter()
    inferred = inference.infer(after, name, work)
    findings += [f"MindSpore's inference: {finding}" for finding in inferred.findings]
    notes.append(f"MindSpore inferred {inferred.compared} node types anew")
    seconds["inference"] = time.perf_counter() - start
    return ComponentVerification(
        name=name,
        level=level,
        seed=seed,
        findings=tuple(findings),
        notes=tuple(notes),
        executors=(f"mindspore {inferred.mindspore} (type and shape inference)",),
        fused_nodes=len(fused_nodes(after)),
        seconds=seconds,
    )
