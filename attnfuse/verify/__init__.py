"""Does the fused graph mean what the original meant? Structure, MindSpore's own inference, numbers.

    structure   our own rules on fused nodes and on the nodes put around them; always
    inference   MindSpore's type and shape inference over the result, in a subprocess; level "static"
    numbers     original and fused run in onnxruntime, against a float64 run of the original; level "full"
    sites       the same for each attention alone, on the values it meets and on drawn ones; level "full"

This file imports only the records at import time: the inference worker is a module of this package and must not
find protobuf loaded before MindSpore.
"""

from __future__ import annotations

from pathlib import Path

from attnfuse.verify.result import NOT_SHOWN, ComponentVerification, Level, OutputFigures, SiteFigures, Verification

__all__ = [
    "NOT_SHOWN",
    "ComponentVerification",
    "Level",
    "OutputFigures",
    "SiteFigures",
    "Verification",
    "check_certificate",
    "measure_memory",
    "verify_component",
]


def verify_component(
    *, name: str, original: Path, fused: Path, level: Level, seed: int, work: Path
) -> ComponentVerification:
    """Check one component's rewritten graph against its original.

    `original` and `fused` are .mindir files whose external data lie relative to their own folders; `work` is an
    existing folder for temporary files. A difference is a finding in the result, not an exception.
    Raises SourceError for a file that cannot be read, VerificationError where a check cannot be carried out
    (MindSpore or onnxruntime missing or crashing, an operator without a lowering).
    """
    from attnfuse.verify.component import check

    return check(name=name, original=original, fused=fused, level=level, seed=seed, work=work)


def check_certificate(certificate: Path, original: Path | None = None, fused: Path | None = None) -> int:
    """Hold files to the digests of a `verification.json`; the number of files that were.

    Raises VerificationError where one differs, and SourceError for a certificate that cannot be read.
    """
    from attnfuse.verify.certificate import check_certificate

    return check_certificate(certificate, original, fused)


def measure_memory(original: Path, fused: Path, seed: int) -> dict[str, int]:
    """Peak memory of both graphs in onnxruntime, in bytes, beside what the fusing should save.

    Raises SourceError for a file that cannot be read, VerificationError where a run fails.
    """
    from attnfuse.errors import VerificationError

    try:
        from attnfuse.verify.memory import measure_memory
    except ImportError as error:
        raise VerificationError(
            f"--measure-memory needs onnx and onnxruntime ({error}): pip install 'attnfuse[verify]'."
        ) from None
    return measure_memory(original, fused, seed).to_json()
