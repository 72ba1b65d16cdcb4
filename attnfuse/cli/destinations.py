"""Checks of where a report, a picture or a folder of printed graphs is to lie, before the long work."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from attnfuse.errors import OutputError, UsageError
from attnfuse.output import DOCUMENTS, OutputPlace, check_replaceable
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


_NAMES_A_FILE = ("source", "loras", "inversions", "ip_adapter", "vae", "config")
"""Parameters whose texts may be paths, with a scale or a token behind; any other that is a path is a Path."""


def check_writable(file: Path, what: str = "report") -> None:
    """Look, before the long work, whether a report, or `what`, can be written to a file.

    Raises OutputError where it cannot, UsageError where the command line names the same file for something else.
    """
    try:
        check_replaceable(file, f"the {what} {file}")
        _check_named_once(file, what)
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise OutputError(f"the {what} {file} cannot be written: {error.strerror or error}.") from None


def _check_named_once(file: Path, what: str) -> None:
    named = [(name, path) for name, path in _named() if _is_same(path, file)]
    if len(named) > any(path == file for _, path in named):  # one of them may be where it is named itself
        names = " and as ".join(dict.fromkeys(name for name, _ in named))
        raise UsageError(f"{file} is given as {names}; name another place for the {what}.")


def _named() -> Iterator[tuple[str, Path]]:
    """The paths that the command is given, each with the option that names it."""
    context = click.get_current_context(silent=True)
    if context is None:
        return
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        name = parameter.opts[0] if isinstance(parameter, click.Option) else (parameter.name or "").upper()
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Path):
                yield name, one
            elif isinstance(one, str) and parameter.name in _NAMES_A_FILE:
                texts = {one, one.rpartition(":")[0], one.rpartition("@")[0]} - {""}
                yield from ((name, Path(text)) for text in sorted(texts))


def _is_same(path: Path, file: Path) -> bool:
    """Whether both names are of one file, which there may be or not."""
    try:
        if path.exists() and file.exists():
            return path.samefile(file)
        return os.path.realpath(path) == os.path.realpath(file)
    except (OSError, ValueError):  # what is no name of a file is none of this one
        return False
