"""Does the fused graph mean what the original meant? Structure, MindSpore's own inference, numbers.

    structure   our own rules on fused nodes and on the nodes put around them; always
    inference   MindSpore's type and shape inference over the result, in a subprocess; level "static"
    numbers     original and fused run in onnxruntime, against a float64 run of the original; level "full"
    sites       the same for each attention alone, on the values it meets and on drawn ones; level "full"

Level "sampled" does what "full" does on one input only, and of sites and replaced operators that compute the same it
runs one.

This file imports only the records at import time: the inference worker is a module of this package and must not
find protobuf loaded before MindSpore.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from attnfuse.errors import UsageError
from attnfuse.verify.result import (
    LEVELS,
    NOT_VERIFIED,
    ComponentVerification,
    Level,
    OutputFigures,
    SiteFigures,
    Verification,
)

if TYPE_CHECKING:
    from attnfuse.verify.certificate import Held

__all__ = [
    "LEVELS",
    "NOT_VERIFIED",
    "VERIFIED_BATCHES",
    "ComponentVerification",
    "Level",
    "OutputFigures",
    "SiteFigures",
    "Verification",
    "batches_of",
    "check_certificate",
    "data_files",
    "measure_memory",
    "require_executor",
    "verify_alone",
    "verify_batches",
    "verify_component",
]


VERIFIED_BATCHES = (1, 2)
"""Where a component for any batch is verified: at one row some operators broadcast that do not at several."""

_INFERENCE, _NUMBERS = {"mindspore": "trace"}, {"onnx": "verify", "onnxruntime": "verify"}
_EXECUTORS = {
    "static": _INFERENCE,
    "sampled": _INFERENCE | _NUMBERS,
    "full": _INFERENCE | _NUMBERS,
    "memory": _NUMBERS,
    "numbers": _NUMBERS,
}
_DONE = {"memory": "measuring memory", "numbers": "comparing numbers"}
"""What is done → what must be installed → the extra that brings it."""


def require_executor(level: Level | Literal["memory", "numbers"]) -> None:
    """Raise UsageError, before the long work, where what a level, or else what runs graphs, needs is not installed."""
    missing = {module: extra for module, extra in _EXECUTORS[level].items() if not _installed(module)}
    if missing:
        what = _DONE.get(level, f"verification at level {level}")
        extras = ",".join(sorted(set(missing.values())))
        raise UsageError(f"{what} needs {' and '.join(missing)}, not installed here: pip install 'attnfuse[{extras}]'.")


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # it is imported already, by a loader that left no specification
        return True


def verify_component(
    *,
    name: str,
    original: Path,
    fused: Path,
    level: Level,
    seed: int,
    work: Path,
    held: Path | None = None,
    compute: Mapping[str, str] | None = None,
    data: Sequence[Path] = (),
    never_fully_masked: Set[str] = frozenset(),
) -> ComponentVerification:
    """Check one component's rewritten graph against its original.

    `original` and `fused` are .mindir files whose external data lie relative to their own folders; `work` is an
    existing folder for temporary files. `held` is a graph file whose weights hold the original's values, where its own
    files do not. `compute` tells of attention results, by the name of the value in the original, which dtype the policy
    asks them to be computed in; level "full" checks the fused nodes against it.
    `never_fully_masked` are results of which it says that each row has a key: no fully masked row is drawn for them.
    `data` are .npz files, each a set of inputs by name, that level "full" runs the graphs on in place of drawn ones.
    A difference is a finding in the result, not an exception.
    Raises UsageError where MindSpore or onnxruntime is missing or `data` does not fit the graph's inputs, SourceError
    for a file that cannot be read, VerificationError where a check cannot be carried out (one of them crashes, an
    operator without a lowering, an original that MindSpore itself rejects, sizes that are not known).
    """
    require_executor(level)
    from attnfuse.verify.component import check

    return check(
        name=name,
        original=original,
        fused=fused,
        level=level,
        seed=seed,
        work=work,
        held=held,
        compute=compute or {},
        data=data,
        never_fully_masked=never_fully_masked,
    )


def verify_alone(name: str, graph: Path, work: Path) -> ComponentVerification:
    """Check one graph by itself: its structure, and MindSpore's inference over it; level "static".

    Raises as `verify_component` does.
    """
    require_executor("static")
    from attnfuse.verify.component import check_alone

    return check_alone(name, graph, work)


def verify_batches(
    *,
    name: str,
    written: Path,
    pairs: Mapping[int, tuple[Path, Path]],
    level: Level,
    seed: int,
    work: Path,
    held: Path | None = None,
    compute: Mapping[str, str] | None = None,
    data: Mapping[int, Sequence[Path]] | None = None,
    never_fully_masked: Set[str] = frozenset(),
) -> ComponentVerification:
    """Check a component that was written for any batch, at some: `pairs` are original and fused file by batch.

    `data` are files of inputs, by the batch they are of. A fused file is `written` with the declared types of its
    batch. The rest, and what is raised, is `verify_component`'s.
    """
    require_executor(level)
    from attnfuse.verify.batches import check_batches

    return check_batches(
        name=name,
        written=written,
        pairs=pairs,
        level=level,
        seed=seed,
        work=work,
        held=held,
        compute=compute or {},
        data=data or {},
        never_fully_masked=never_fully_masked,
    )


def check_certificate(certificate: Path, original: Path | None = None, fused: Path | None = None) -> Held:
    """Check files against the digests of a `verification.json`: how many, and what it says was not verified of them.

    Raises VerificationError where one differs, and SourceError for a certificate that cannot be read.
    """
    from attnfuse.verify.certificate import check_certificate

    return check_certificate(certificate, original, fused)


def data_files(path: Path, components: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """The files of inputs below `path` for each component: see `attnfuse.verify.numbers.data`.

    Each can be read as an .npz. Raises SourceError for a path that does not exist or a file that cannot be read,
    UsageError where there is nothing for any of the components.
    """
    from attnfuse.verify.numbers.data import check_readable, data_files

    files = data_files(path, components)
    check_readable([file for several in files.values() for file in several])
    return files


def batches_of(files: Sequence[Path], graphs: Mapping[int, bytes]) -> dict[int, list[Path]]:
    """Files of inputs by the batch they are of; `graphs` are the source's at two batches.

    Raises SourceError for a file that cannot be read, UsageError for one whose sizes are of no batch.
    """
    from attnfuse.verify.numbers.data import batches_of

    return batches_of(files, graphs)


def measure_memory(original: Path, fused: Path, seed: int, data: Path | None = None) -> dict[str, int]:
    """Peak memory of both graphs in onnxruntime, in bytes, each beside what is predicted of it.

    `data` is an .npz file of inputs, in place of drawn ones. Graphs with open sizes are measured at its sizes, or at
    some that fit them.
    Raises UsageError where onnxruntime is missing (for open sizes MindSpore) or `data` does not fit, SourceError for a
    file that cannot be read, VerificationError where a run fails.
    """
    require_executor("memory")
    from attnfuse.verify.memory.measurement import measure_memory

    return measure_memory(original, fused, seed, data).to_json()
