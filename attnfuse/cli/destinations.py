"""Checks of where a report, a picture or a folder of printed graphs is to lie, before the long work."""

from __future__ import annotations

import tempfile
from pathlib import Path

from attnfuse.errors import OutputError, UsageError
from attnfuse.output import DOCUMENTS, OutputPlace
from attnfuse.source_files import SUFFIX


def check_apart(what: str, report: Path, source: Path | None, output: Path | None) -> None:
    """Raise UsageError where the report, or `what`, would be written over, or into, the source or the output."""
    path = report.resolve()
    for other in filter(None, (source, output)):
        resolved = other.resolve()
        graph = resolved if resolved.suffix == SUFFIX else None
        # Weights beside a graph lie in a folder of this name, and those of source and output may be one file.
        among_weights = graph is not None and any(
            folder.parent == graph.parent and folder.name.endswith("_variables") for folder in path.parents
        )
        if path == resolved or resolved in path.parents or among_weights:
            raise UsageError(f"the {what} {report} would lie in or over {other}; name another place for it.")
    if output is not None and output.suffix == SUFFIX:
        target = OutputPlace(output.resolve(), is_file=True)
        if path in (target.folder / target.beside(name) for name in DOCUMENTS):
            raise UsageError(f"the {what} {report} would lie over what is written beside {output}; name another place.")


def check_writable(file: Path, what: str = "report") -> None:
    """Raise OutputError, before the long work, where a report, or `what`, cannot be written."""
    try:
        if file.is_dir():
            raise OutputError(f"the {what} {file} is a folder; name a file.")
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise OutputError(f"the {what} {file} cannot be written: {error.strerror or error}.") from None
