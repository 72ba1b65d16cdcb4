"""Graphs as text for people: a file as a whole, a file made of text, and what each pass left.

Says nothing itself: only the command line prints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnfuse import documents
from attnfuse.errors import InternalError, OutputError, SourceError, UsageError
from attnfuse.ir.graph import Model
from attnfuse.ir.text import TextError, parse_model, print_model, program_text
from attnfuse.mindir import codec
from attnfuse.names import suggestion
from attnfuse.output import write_file
from attnfuse.pass_manager import Pass, Ran

EVERY_PASS = ("all", "*")


def graph_as_text(path: Path, *, short: bool = False) -> str:
    """The graph file as text, of which `graph_of_text` makes the same bytes again; `short`: its main graph for reading.

    Raises SourceError for a file that is no graph, InternalError where its text is not the whole of it.
    """
    proto = codec.parse(codec.read_bytes(path), str(path))
    if short:
        return program_text(Model(proto), keep_data=False)
    text = print_model(proto)
    if codec.serialise(parse_model(text)) != codec.serialise(proto):
        raise InternalError(f"the text of {path} is not the whole of it.")
    return text


def graph_of_text(path: Path) -> bytes:
    """The bytes of the graph that a text file describes.

    Raises SourceError for a file that is no text, or text that is no graph, with line and column.
    """
    try:
        text = documents.read_text(path)
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read: {documents.reason(error)}.") from None
    try:
        data = codec.serialise(parse_model(text))
    except TextError as error:
        raise SourceError(f"{path}: {error}") from None
    codec.parse(data, str(path))
    return data


@dataclass(frozen=True, slots=True)
class PrintAfter:
    """Called after each pass: tells the graph after some passes.

    Into `folder`, where there is one, as COMPONENT.after-PASS.txt and whole; else through `say`, large data left out.
    """

    passes: frozenset[str]
    folder: Path | None
    say: Callable[[str], None]

    def __call__(self, component: str, ran: Ran) -> None:
        name = ran.step.id
        if name not in self.passes:
            return
        if self.folder is None:
            self.say(f"# {component} after {name}\n{print_model(ran.model.proto, keep_data=False)}")
            return
        file = f"{component.replace(' ', '-')}.after-{name}.txt"
        write_file(self.folder / file, print_model(ran.model.proto).encode())


def print_after(
    wanted: Sequence[str], folder: Path | None, passes: Iterable[Pass], say: Callable[[str], None]
) -> PrintAfter | None:
    """What `--print-graph-after` asks for; None where it asks for nothing. Makes the folder.

    Raises UsageError for a pass that is not installed, with the nearest that is; OutputError for a bad folder.
    """
    if not wanted:
        if folder is not None:
            raise UsageError("--print-graph-to says where to; say after which pass with --print-graph-after, or all.")
        return None
    known = [step.id for step in passes]
    chosen: set[str] = set()
    for name in wanted:
        if name not in (*known, *EVERY_PASS):
            raise UsageError(f"there is no pass {name!r}; {suggestion(name, [*known, EVERY_PASS[0]])}")
        chosen.update(known if name in EVERY_PASS else [name])
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"the folder {folder} cannot be made: {error.strerror or error}.") from None
    return PrintAfter(frozenset(chosen), folder, say)
