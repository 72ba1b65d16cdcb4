"""The folder that `measure.py` leaves: measured.json, and for each component the files that its tools wrote.

    measured.json
    NAME/build.log             what converter_lite and CANN said
    NAME/fusion_result.json    the engine's count of its fusions
    NAME/op_statistic_*.csv    msprof's time by operator
    NAME/op_summary_*.csv      msprof's time by node
    NAME/align.json            what align.py found

Any of the files may be lacking, and the folder may be put together by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attnfuse import documents
from attnfuse.errors import SourceError
from attnfuse.measured import measure
from attnfuse.measured.records import Aligned

BUILD_LOG, FUSION_RESULT, ALIGN_RESULT = "build.log", "fusion_result.json", "align.json"
STATISTIC, SUMMARY = "op_statistic_*.csv", "op_summary_*.csv"
_INDEX = measure.INDEX


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class MeasuredComponent(_Part):
    """A component: the digest of the graph that was converted, and how often it ran under msprof."""

    name: str
    graph_sha256: str
    runs: int = Field(ge=1)


class Measured(_Part):
    """`attnfuse.measured/1`, which `measure.py` writes."""

    schema_: Literal["attnfuse.measured/1"] = Field(alias="schema")
    board: str | None = None
    versions: dict[str, str] = {}
    components: tuple[MeasuredComponent, ...]


def read_folder(folder: Path) -> Measured:
    """What the folder's measured.json says.

    Raises SourceError where it is not there, damaged, or of another version.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise SourceError(f"{folder} {what}; --measured takes the folder that measure.py wrote.")
    file = folder / _INDEX
    if not file.exists():
        raise SourceError(f"{folder} has no {_INDEX}; --measured takes the folder that measure.py wrote.")
    document = read_json(file)
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != measure.SCHEMA:
        raise SourceError(f"{file} is {schema!r}, and this attnfuse reads {measure.SCHEMA}.")
    try:
        return Measured.model_validate_json(json.dumps(document))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise SourceError(f"{file} is damaged at {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None


def read_json(file: Path) -> Any:
    """The value of a JSON file. Raises SourceError where it cannot be read or is none."""
    try:
        return documents.parse(documents.read_text(file), "JSON")
    except (OSError, ValueError) as error:
        raise SourceError(f"{file} cannot be read: {documents.reason(error)}.") from None


def read_aligned(file: Path) -> tuple[Aligned, ...]:
    """What `align.py --json` wrote, an entry for each output of each run. Raises SourceError where it is damaged."""
    try:
        return tuple(
            Aligned(
                str(entry["file"]),
                str(entry["output"]),
                _figure(entry, "max_abs"),
                _figure(entry, "cosine"),
                tuple(map(str, entry["findings"])),
            )
            for entry in read_json(file)
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise SourceError(f"{file} is not what align.py --json writes; run align.py again.") from None


def _figure(entry: dict[str, Any], name: str) -> float | None:
    value = entry.get(name)
    return None if value is None else float(value)
