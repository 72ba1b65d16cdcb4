"""A mutant goes through the command line, in this process, and what came of it is told.

The command line is the whole path: arguments, parsing, passes, checks, report, files. What must not happen is an exit
code of 70, an exception that gets out, a hang, memory without end, a file left behind, a refusal that is no sentence or
that does not say where.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import resource
import shutil
import signal
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from attnfuse import cli
from attnfuse.cli import exit_codes
from attnfuse.cost.compare import DEFECT
from attnfuse.errors import SourceError, UsageError
from attnfuse.mindir import codec
from attnfuse.mindir.schema import ModelProto
from tools.fuzz.mutants import Mutant
from tools.fuzz.seeds import WEIGHTS

SECONDS = 10
"""Of processor time, after which a command hangs: a busy machine makes none."""
MEMORY = 2 << 30
"""Bytes of address space that a command may take beyond what the process has."""
FAILURES = ("defect", "escaped", "hang", "left behind", "half a sentence", "no place named")
_EXPLAINED = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a mutant: `kind` is one of those that README.md lists, of which FAILURES must not be.

    `where` tells failures of one cause apart from others: the innermost frames of ours, or the sentence without names.
    """

    number: int
    kind: str
    where: str = ""
    detail: str = ""

    @property
    def failed(self) -> bool:
        return self.kind in FAILURES


class HangError(BaseException):
    """Out of time. Not an Exception: nothing on the way may take it for an error of its own."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder in which mutants are run one after the other."""

    folder: Path

    def run(self, mutant: Mutant) -> Outcome:
        """Run the mutant's command; the folder is then as it was."""
        graph = self.folder / "graph.mindir"
        graph.write_bytes(mutant.data)
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "policy.toml").unlink()
        if mutant.policy is not None:
            (self.folder / "policy.toml").write_text(mutant.policy, encoding="utf-8")
        variables = self.folder / WEIGHTS
        variables.parent.mkdir(exist_ok=True)
        if not variables.exists() or variables.stat().st_size != mutant.weights:
            variables.unlink(missing_ok=True)  # not truncated: an output may be linked to it
            with variables.open("wb") as file:
                file.truncate(mutant.weights)
        paths = {"GRAPH": graph, "OUT": self.folder / "out" / "it", "POLICY": self.folder / "policy.toml"}
        paths["OUT.mindir"] = self.folder / "out" / "it.mindir"
        temporary = self.folder / "tmp"
        for folder in (temporary, self.folder / "out"):
            folder.mkdir(exist_ok=True)
        try:
            return self._judge(mutant, [str(paths.get(a, a)) for a in mutant.command], temporary)
        finally:
            shutil.rmtree(temporary)
            shutil.rmtree(self.folder / "out")

    def _judge(self, mutant: Mutant, arguments: list[str], temporary: Path) -> Outcome:
        with _temporary(temporary):
            try:
                with limits(), warnings.catch_warnings():
                    warnings.simplefilter("error")  # nothing but sentences of ours is to be read on stderr
                    code, stdout, stderr = _call(arguments)
                    sites = re.findall(r"^\S+ +\S+ +(\S.*)$", stdout, re.MULTILINE) if arguments[0] == "explain" else []
                    for site in sites[:_EXPLAINED]:
                        code, _, stderr = _call([*arguments, "--", site])
            except HangError as error:
                return Outcome(mutant.number, "hang", _frames(error), "".join(traceback.format_exception(error)))
            except BaseException as error:  # that is what is looked for
                return Outcome(mutant.number, "escaped", _frames(error), "".join(traceback.format_exception(error)))
        left = sorted(path.name for path in temporary.iterdir())
        if code == exit_codes.DEFECT:
            frames = "".join(json.loads((temporary / left[0]).read_text("utf-8"))["traceback"]) if left else stderr
            return Outcome(mutant.number, "defect", _text_frames(frames), frames)
        written = sorted(path.name for path in (self.folder / "out").iterdir())
        if left or (code != 0 and written):
            return Outcome(mutant.number, "left behind", "", f"exit {code}: {left} {written}")
        if DEFECT in (printed := " ".join(f"{stdout} {stderr}".split())):  # lines are wrapped
            message = printed[printed.index(DEFECT) :][:200]
            return Outcome(mutant.number, "defect", message, message)
        if code == 0:
            return Outcome(mutant.number, "written")
        return _refusal(mutant, code, stderr)


def _call(arguments: list[str]) -> tuple[int, str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = cli.run(arguments)
    return code, stdout.getvalue(), stderr.getvalue()


def _refusal(mutant: Mutant, code: int, stderr: str) -> Outcome:
    message = stderr.strip()
    sentence = message.splitlines()[-1] if message else ""
    without_names = re.sub(r"'[^']*'|\"[^\"]*\"|/\S+|\S*:\S*|\d+|\[[^\]]*\]", "…", sentence)[:100]
    if (
        code not in (UsageError.exit_code, SourceError.exit_code)
        or not sentence.startswith("error: ")
        or not sentence.endswith(".")
    ):
        return Outcome(mutant.number, "half a sentence", f"exit {code}: {without_names}", message)
    if code == UsageError.exit_code:
        return Outcome(mutant.number, "usage", without_names, message)
    if not mutant.parses:
        return Outcome(mutant.number, "no message", without_names, message)
    named = names_a_place(sentence, codec.parse(mutant.data, "a mutant"))
    return Outcome(mutant.number, "refused" if named else "no place named", without_names, message)


def names_a_place(sentence: str, message: ModelProto) -> bool:
    """Whether the sentence has the name of a node, value, parameter, function or primitive of the file."""
    for graph in (message.graph, *message.functions):
        names = [graph.name, *(primitive.name for primitive in message.primitives)]
        names += [value.name for values in (graph.input, graph.output) for value in values]
        names += [parameter.name for parameter in graph.parameter]
        for node in graph.node:
            names += [*node.output, *node.input, node.name]
        for name in names:
            for told in (name, name.split(":", 1)[1] if name.count(":") >= 2 else name, name.partition(":")[2]):
                if told and (" ".join(told.split()) in sentence or repr(told)[1:-1] in sentence):
                    return True
    return False


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[None]:
    """Temporary files go into `folder`."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """Bounds of time and memory. Code that never comes back to Python is ended by the process that waits for this."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise HangError(f"more than {SECONDS} s of processor time")

    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGPROF, ring)
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, before[1]))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def _frames(error: BaseException) -> str:
    return _text_frames("".join(traceback.format_exception(error)))


def _text_frames(text: str) -> str:
    """The exception and the two innermost frames of ours; of an invariant, its sentence without names."""
    found = re.findall(r'File "[^"]*/((?:attnfuse|attnfuse_passes)/[^"]+)", line (\d+), in (\S+)', text)
    last = text.strip().splitlines()[-1] if text.strip() else ""
    kind = re.sub(r"'[^']*'|\S*:\d\S*|\d+|\[[^\]]*\]", "…", last)[:90]
    return f"{kind} <- " + " <- ".join(f"{path}:{line} {name}" for path, line, name in reversed(found[-2:]))
