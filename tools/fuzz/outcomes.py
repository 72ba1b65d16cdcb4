"""What came of a mutant, and the bounds it is run in: no exit code 70, nothing that escapes, no hang, no memory without
end, nothing left behind, and each refusal a whole sentence."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import resource
import signal
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from attnfuse.cli import exit_codes

SECONDS = 10
"""Of processor time, after which a command hangs: a busy machine makes none."""
WAITING = 120
"""Of a clock on the wall, after which it waits for what never comes."""
MEMORY = 2 << 30
"""Bytes of address space that a command may take beyond what the process has."""
FAILURES = (
    "defect",
    "escaped",
    "hang",
    "left behind",
    "changed an input",
    "led out",
    "half a sentence",
    "no place named",
)


_LOOKED_AT = 500
"""Characters of a sentence: of one without spaces, a pattern takes time with the square of its length."""
MEMORY_FOLDER = next((folder for folder in ("/dev/shm",) if os.access(folder, os.W_OK)), None)
"""Where folders of files are quick to make; None for the usual place."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a mutant: `kind` is one of those that README.md lists, of which FAILURES must not be.

    `where` tells failures of one cause apart from others: the innermost frames of ours, or the sentence without names.
    `reached`: of a graph, whether it was parsed and taken as far as the passes, whatever they said of it.
    """

    number: int
    kind: str
    where: str = ""
    detail: str = ""
    reached: bool = False

    @property
    def failed(self) -> bool:
        return self.kind in FAILURES


class HangError(BaseException):
    """Out of time. Not an Exception: nothing on the way may take it for an error of its own."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Exit code and output of a command that ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def sentence(self) -> str:
        """The last line it said."""
        message = self.stderr.strip()
        return message.split("\n")[-1] if message else ""

    @property
    def is_a_sentence(self) -> bool:
        """Whether the last line tells an error, whole."""
        return self.sentence.startswith("error: ") and self.sentence.endswith(".")


def said(run: Callable[[], int]) -> Answer:
    """What a command says, and its exit code."""
    stdout, stderr = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = run()
    out, err = (stream.buffer.getvalue().decode(errors="replace") for stream in (stdout, stderr))
    return Answer(code, out, err)


def answer(number: int, work: Callable[[], Answer], temporary: Path) -> Answer | Outcome:
    """The answer, or the outcome where it ends as nothing may; `temporary` is an empty folder for temporary files."""
    with _temporary(temporary):
        try:
            with limits(), warnings.catch_warnings():
                warnings.simplefilter("error")  # nothing but sentences of ours is to be read on stderr
                found = work()
        except HangError as error:
            return Outcome(number, "hang", _frames(error), "".join(traceback.format_exception(error)))
        except BaseException as error:  # that is what is looked for
            return Outcome(number, "escaped", _frames(error), "".join(traceback.format_exception(error)))
    left = sorted(path.name for path in temporary.iterdir())
    if found.code == exit_codes.DEFECT:
        kept = next((temporary / name for name in left if name.startswith("attnfuse-defect-")), None)
        frames = found.stderr if kept is None else "".join(json.loads(kept.read_text("utf-8"))["traceback"])
        return Outcome(number, "defect", _text_frames(frames), frames)
    if left:
        return Outcome(number, "left behind", "", f"exit {found.code}: {left}")
    return found


def without_names(sentence: str) -> str:
    """A sentence by which refusals of one cause are the same."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|/\S+|\S*:\S*|\d+|\[[^\]]*\]", "…", sentence[:_LOOKED_AT])[:100]


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
        raise HangError(f"more than {SECONDS} s of processor time, or {WAITING} s of waiting")

    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    handlers = {number: signal.signal(number, ring) for number in (signal.SIGPROF, signal.SIGALRM)}
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, before[1]))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WAITING)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def _frames(error: BaseException) -> str:
    return _text_frames("".join(traceback.format_exception(error)))


def _text_frames(text: str) -> str:
    """The exception and the two innermost frames of ours; of an invariant, its sentence without names."""
    found = re.findall(
        r'File "[^"]*/((?:attnfuse|attnfuse_passes|attnfuse_runtime)/[^"]+)", line (\d+), in (\S+)', text
    )
    last = text.strip().splitlines()[-1] if text.strip() else ""
    kind = re.sub(r"'[^']*'|\S*:\d\S*|\d+|\[[^\]]*\]", "…", last[:_LOOKED_AT])[:90]
    return f"{kind} <- " + " <- ".join(f"{path}:{line} {name}" for path, line, name in reversed(found[-2:]))
