"""Run in a subprocess: `python -m tools.matrix.worker FOLDER ROW.json RESULT.json PARENT` compiles one row.

Through the product's own door, `attnfuse.compiler`, with full verification. The parent reads a missing result as a
crash.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from attnfuse import compiler
from attnfuse.compiler import CompileOutcome, CompileRequest, VerifyLevel
from attnfuse.errors import AttnfuseError, InternalError, TraceError, VerificationError
from attnfuse.processes import die_with
from attnfuse.verify.result import OutputFigures
from tools.matrix.rows import cause_of, given_of, shapes_of


def main(arguments: list[str]) -> None:
    """Compile the row and write the result."""
    folder, row, result = Path(arguments[0]), json.loads(Path(arguments[1]).read_text()), Path(arguments[2])
    die_with(int(arguments[3]))
    started = time.monotonic()
    found = compile_row(folder, row["group"], row["component"], row["dtype"])
    peaks = [resource.getrusage(who).ru_maxrss * 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    found |= {"seconds": round(time.monotonic() - started, 1), "peak_bytes": max(peaks)}
    result.write_text(json.dumps({**row, **found}, indent=1, ensure_ascii=False), encoding="utf-8")


def compile_row(folder: Path, group: str, component: str, dtype: str) -> dict[str, Any]:
    """Compile one component of the group in `folder`; what the table tells of it.

    `traced` is false where it could not be, with the `reason`. `error` is any other end of the compile.
    """
    with tempfile.TemporaryDirectory(prefix="matrix-") as work:
        request = CompileRequest(
            source=str(folder),
            output=Path(work) / "out",
            components=(component,),
            dtype=dtype,
            shapes=shapes_of(group),
            given=given_of(folder),
        )
        try:
            outcome, unable = _compiled(request)
            found = _found(outcome)
            if unable:
                told = dict.fromkeys(_told(error, folder, component) for error in unable)
                found |= {"full": False, "findings": [*found["findings"], *told]}
            elif not found["full"]:
                found["static"] = _found(compiler.compile(replace(request, verify="static")))["full"]
        except TraceError as error:
            return {
                "traced": False,
                "reason": ": ".join(filter(None, (_told(error, folder, component), cause_of(group)))),
            }
        except InternalError as error:
            return {"traced": True, "error": f"a defect of attnfuse: {_told(error, folder, component)}"}
        except AttnfuseError as error:
            return {"traced": True, "error": _told(error, folder, component)}
        return found


def _compiled(request: CompileRequest) -> tuple[CompileOutcome, list[VerificationError]]:
    """Verified as far as that can be carried out, and why not further."""
    unable: list[VerificationError] = []
    levels: tuple[VerifyLevel, ...] = ("full", "static")
    for level in levels:
        try:
            return compiler.compile(replace(request, verify=level)), unable
        except VerificationError as error:
            unable.append(error)
    return compiler.compile(replace(request, verify="none")), unable


def _found(outcome: CompileOutcome) -> dict[str, Any]:
    (entry,) = outcome.report.components
    checked = None
    if outcome.verification is not None:
        (checked,) = outcome.verification.components
    sites = Counter(site.status if site.status == "fused" else f"{site.status}: {site.code}" for site in entry.sites)
    reasons = sorted({f"{s.status} {s.code}: {s.reason}" for s in entry.sites if s.status in ("missed", "kept")})
    return {
        "traced": True,
        "sites": dict(sorted(sites.items())),
        "reasons": reasons,
        "unsupported": {one.op: one.count for one in entry.unsupported},
        # A full verification holds it too; where that failed, it is asked apart. None: it could not be carried out.
        "static": checked.passed if checked else None,
        "full": checked is not None and checked.passed,
        "findings": list(checked.findings) if checked else [],
        "error_of_outputs": max((figures.fused for figures in checked.outputs), default=0.0) if checked else 0.0,
        "share_of_outputs": _share(checked.outputs) if checked else 0.0,
        "share_of_sites": _share(site.figures for site in checked.sites) if checked else 0.0,
    }


def _share(figures: Iterable[OutputFigures]) -> float:
    """The largest part that an error is of what is allowed."""
    return max((one.fused / one.tolerance if one.fused else 0.0 for one in figures), default=0.0)


def _told(error: AttnfuseError, folder: Path, component: str) -> str:
    """The message without places of this machine, and without the component's name, which the row has."""
    text = " ".join(str(error).split()).replace(f"{folder}/", "").replace(str(folder), folder.name)
    for start in (f"component {component} cannot be traced: ", f"{folder.name}: component {component}: "):
        text = text.removeprefix(start)
    return text.rstrip(".")


if __name__ == "__main__":
    main(sys.argv[1:])
