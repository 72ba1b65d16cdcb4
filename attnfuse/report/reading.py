"""A report that was written before, and what was verified of it, from an output or a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from attnfuse import documents
from attnfuse.errors import SourceError
from attnfuse.output import REPORT, VERIFICATION, OutputPlace, no_output
from attnfuse.report.model import Report

_GRAPH = ".mindir"


def read_report(path: Path) -> tuple[Report, dict[str, Any] | None]:
    """The report of an output (a folder, or a graph that has its documents beside it), or in a file, and its
    certificate.

    A file that `--report` wrote has the certificate in it; else it is the verification.json beside the report.

    Raises SourceError where there is no report, or one that is damaged or of another version.
    """
    file = _file(path)
    document = _read(file)
    inside = document.pop("verification", None)
    try:
        report = Report.model_validate_json(json.dumps(document))
    except ValidationError as error:
        raise SourceError(f"{file} {_what_is_wrong(document, error)}.") from None
    return report, inside if inside is not None else _beside(file)


def _file(path: Path) -> Path:
    if path.is_dir():
        if not (path / REPORT).exists():
            raise SourceError(f"{no_output(path)}.")
        return path / REPORT
    if path.suffix == _GRAPH:
        return path.with_name(OutputPlace(path, is_file=True).beside(REPORT))
    return path


def _read(file: Path) -> dict[str, Any]:
    try:
        found = documents.parse(documents.read_text(file), "JSON")
    except (OSError, ValueError) as error:
        raise SourceError(f"the report {file} cannot be read: {documents.reason(error)}.") from None
    if not isinstance(found, dict):
        raise SourceError(f"{file} is no report of attnfuse; name an output or its {REPORT}.")
    return found


def _what_is_wrong(document: dict[str, Any], error: ValidationError) -> str:
    schema, wanted = document.get("schema"), Report.model_fields["schema_"].default
    if schema != wanted:
        return f"is {schema!r}, and this attnfuse reads {wanted}"
    first = error.errors(include_url=False)[0]
    return f"is damaged at {'.'.join(map(str, first['loc']))}: {first['msg']}"


def _beside(file: Path) -> dict[str, Any] | None:
    if not file.name.endswith(REPORT):
        return None
    beside = file.with_name(file.name.removesuffix(REPORT) + VERIFICATION)
    return _read(beside) if beside.is_file() else None
