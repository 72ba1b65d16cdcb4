"""kill -9 at moments drawn at random: what a compile with cache and verification leaves of its output and its cache.

Of a small graph each run is a fork of this process, which has imported all, and MindSpore's answers are those of the
first run: they take as long as a fork of MindSpore does, and no processor. Of the demo a run is a command as a user
starts it, with two jobs, MindSpore in processes of its own.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from attnfuse import cli, processes
from attnfuse.store.entries import FORMAT, opened
from tests.support.graphs import transformer
from tests.support.split import write_split
from tools.bench.interrupt import environment, marked

WORKER = "attnfuse.verify.inference.worker"
_INFERENCE_SECONDS = 0.1
_WHOLE_EVERY = 25
"""After so many kills one run comes to its end, and has to tidy up after them."""
_TOLD_EVERY = 25
WITH, WITHOUT = "with a cache", "without a cache"
"""A run that finds a cache is shorter, so that its moment is drawn out of less."""
_ORPHANS = 5.0
"""Seconds in which what a killed process started ends by itself."""

Tree = Mapping[str, bytes]
Run = Callable[[Sequence[str]], "Running"]


@dataclass(slots=True)
class Answers:
    """`processes.run` that asks MindSpore each question once, and keeps the answer in a folder."""

    folder: Path
    plain: Callable[..., subprocess.CompletedProcess[str]]

    def run(
        self, command: Sequence[str], *, said: str = "", seconds: float = math.inf, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """See `attnfuse.processes.run`."""
        if WORKER not in command:
            return self.plain(command, said=said, seconds=seconds, **options)
        jobs = json.loads(said)["graphs"]
        asked = hashlib.sha256(b"".join(Path(job["source"]).read_bytes() for job in jobs)).hexdigest()
        kept = self.folder / asked
        if not kept.is_dir():
            answer = self.plain(command, said=said, seconds=seconds, **options)
            kept.mkdir(parents=True)
            for at, job in enumerate(jobs):
                shutil.copyfile(job["target"], kept / str(at))
            (kept / "stdout").write_text(answer.stdout, encoding="utf-8")
        time.sleep(_INFERENCE_SECONDS)
        for at, job in enumerate(jobs):
            shutil.copyfile(kept / str(at), job["target"])
        return subprocess.CompletedProcess(command, 0, (kept / "stdout").read_text(encoding="utf-8"), "")


class Running:
    """A run that was started: `kill` it, or wait for its end."""

    def __init__(self, pid: int, mark: str = "") -> None:
        self.pid, self.mark = pid, mark

    def ended(self, seconds: float) -> int | None:
        """Its exit code; None where it still runs after that many seconds."""
        handle = os.pidfd_open(self.pid)
        try:
            if not select.select([handle], [], [], None if math.isinf(seconds) else seconds)[0]:
                return None
        finally:
            os.close(handle)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> tuple[int, ...]:
        """Kill it, and name the processes that it leaves."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        until = time.monotonic() + _ORPHANS
        while (left := marked(self.mark) if self.mark else []) and time.monotonic() < until:
            time.sleep(0.05)
        return tuple(left)


def forked(arguments: Sequence[str]) -> Running:
    """The command in a fork."""
    pid = os.fork()
    if pid == 0:
        _become(arguments)
    return Running(pid)


def _become(arguments: Sequence[str]) -> NoReturn:
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        os._exit(cli.run(arguments))
    finally:
        os._exit(99)


def started(temporary: Path) -> Run:
    """What starts the command as a user does, with temporary files in that folder."""

    def start(arguments: Sequence[str]) -> Running:
        mark = f"{os.getpid()}-{time.monotonic_ns()}"
        process = subprocess.Popen(
            [sys.executable, "-m", "attnfuse", *arguments],
            env=environment(temporary, mark),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return Running(process.pid, mark)

    return start


@dataclass(slots=True)
class Found:
    """What kills left: how many runs were killed, by what stood before, and what must not be, in words."""

    killed: Counter[str] = field(default_factory=Counter)
    whole: int = 0
    ended: int = 0
    wrong: list[str] = field(default_factory=list)

    def table(self) -> str:
        """For people."""
        rows = [f"{times:>6}  killed where {stood}" for stood, times in sorted(self.killed.items())]
        rows += [
            f"{self.ended:>6}  came to their end before",
            f"{self.whole:>6}  let go on to their end, and all whole",
        ]
        return "\n".join([*rows, *self.wrong, f"{len(self.wrong)} partial outputs, damaged caches or processes left"])


def kills(count: int, seed: int, *, demo: bool = False) -> int:
    """Kill as many runs, print what they left; 1 where that is anything."""
    with tempfile.TemporaryDirectory(prefix="attnfuse-kills-") as made:
        folder, before = Path(made), (tempfile.tempdir, processes.run)
        (folder / "tmp").mkdir()
        if demo:
            source, start, more = "demo:stable-diffusion", started(folder / "tmp"), ["--jobs", "2"]
        else:
            source = str(write_split(folder / "in", builder=transformer(sites=2)))
            start, more = forked, ["--verify", "full"]
        tempfile.tempdir = str(folder / "tmp")
        processes.run = Answers(folder / "answers", processes.run).run
        try:
            found = _killed(folder, [source, *more], start, count, seed)
        finally:
            tempfile.tempdir, processes.run = before
    print(found.table())
    return 1 if found.wrong else 0


def _killed(folder: Path, options: Sequence[str], start: Run, count: int, seed: int) -> Found:
    place, cache = folder / "place", folder / "cache"
    place.mkdir()
    out = place / "out"
    command = ["compile", *options, "-o", str(out), "--cache-dir", str(cache), "--progress", "never"]
    before = _made(start, [*command, "--no-flash", "*"], out)
    shutil.rmtree(out)
    shutil.rmtree(cache)
    after = _made(start, command, out)
    shutil.rmtree(out)
    shutil.rmtree(cache)
    seconds = {WITHOUT: _seconds(start, command, out)}
    shutil.rmtree(out)
    seconds[WITH] = _seconds(start, command, out)
    random_ = random.Random(seed)
    found, trial, told = Found(), 0, 0
    while (killed := sum(found.killed.values())) < count:
        trial += 1
        if trial % _TOLD_EVERY == 0:
            print(f"{killed} killed, {found.whole + found.ended} ended, {len(found.wrong)} wrong", file=sys.stderr)
        for text in found.wrong[told:]:  # as they come: whoever stops the run has seen them
            print(text, file=sys.stderr)
        told = len(found.wrong)
        stood, cached = _set_up(random_, out, cache, before)
        run, moment = start(command), random_.uniform(0, seconds[cached])
        if trial % _WHOLE_EVERY == 0:
            code = run.ended(math.inf)
            found.whole += 1
            found.wrong += [*_not_whole(out, after, code), *_left(place, cache)]
            continue
        if (code := run.ended(moment)) is not None:
            found.ended += 1
            found.wrong += _not_whole(out, after, code)
            continue
        left = run.kill()
        found.killed[f"{stood}, {cached}"] += 1
        found.wrong += [f"trial {trial}: process {pid} ran on" for pid in left]
        held = tree(out)
        allowed = (
            [after, before]
            if stood == "another output stood"
            else [after, None]
            if stood == "nothing stood"
            else [after]
        )
        if held not in allowed:
            found.wrong.append(f"trial {trial}: where {stood}, the output is partial: {sorted(held or {})}")
        found.wrong += [f"trial {trial}: {text}" for text in damaged(cache)]
    return found


def _made(start: Run, command: Sequence[str], out: Path) -> Tree:
    """What the command makes when it comes to its end."""
    code, made = start(command).ended(math.inf), tree(out)
    if code not in (0, 5) or made is None:
        raise RuntimeError(f"attnfuse {' '.join(command)} ended with code {code}")
    return made


def _seconds(start: Run, command: Sequence[str], out: Path) -> float:
    """How long it takes."""
    began = time.monotonic()
    _made(start, command, out)
    return time.monotonic() - began


def _set_up(random_: random.Random, out: Path, cache: Path, before: Tree) -> tuple[str, str]:
    """Have nothing, another output, or the same one stand there, with a cache or without; which."""
    if random_.random() < 0.25:
        shutil.rmtree(cache, ignore_errors=True)
    return _stand(random_, out, before), WITH if cache.exists() else WITHOUT


def _stand(random_: random.Random, out: Path, before: Tree) -> str:
    stood = random_.choice(("nothing stood", "another output stood", "the same stood"))
    if stood == "the same stood" and (held := tree(out)) is not None and held != before:
        return stood
    shutil.rmtree(out, ignore_errors=True)
    if stood == "nothing stood":
        return stood
    for name, content in before.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    return "another output stood"


def tree(folder: Path) -> Tree | None:
    """Every file below a folder; None where there is none."""
    if not folder.exists():
        return None
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def damaged(cache: Path) -> Iterator[str]:
    """The entries of a cache that are not whole."""
    for path in sorted((cache / FORMAT).glob("*/*")):
        kind = path.parent.name
        if kind not in ("writing", "claims") and opened(kind, path.name, path.read_bytes(), None) is None:
            yield f"the entry {kind}/{path.name} of the cache is damaged"


def _not_whole(out: Path, wanted: Tree, code: int | None) -> list[str]:
    held = tree(out)
    return (
        []
        if code in (0, 5) and held == wanted
        else [f"a run that was not killed ended with code {code}: {sorted(held or {})}"]
    )


def _left(place: Path, cache: Path) -> list[str]:
    """What a run that came to its end has to have removed."""
    left = [path.name for path in place.iterdir() if path.name != "out"]
    left += [path.name for path in (cache / FORMAT / "writing").glob("*")]  # of a run that failed there may be none
    return [f"left behind: {name}" for name in left]
