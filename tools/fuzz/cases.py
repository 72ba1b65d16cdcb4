"""Mutants of all that is no graph: files of one kind, a few edits, and what is asked of them. A number makes each.

A kind says what sound files are, how they are damaged beside the ways that any file can be, and what reads them. What
reads them goes through the layer of the command line that turns errors into sentences.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import TypeAlias

from attnfuse.cli import exit_codes
from attnfuse.cli.console import encode_what_cannot_be
from attnfuse.cli.entry import ended
from tools.fuzz.byte_edits import Content, Files, Thing, edit_bytes, edit_things
from tools.fuzz.outcomes import Answer, Outcome, answer, said, without_names
from tools.fuzz.watching import WATCH

MOST_EDITS = 3
_ON_END = 20
"""Numbers one after the other that are of one seed, whose other files then need not be laid again."""
_DEAR = 0.1
ATTEMPTS = 8
"""Edits that are tried where none finds anything that it could change."""

Edit: TypeAlias = Callable[[Random, Files], str]
Read: TypeAlias = Callable[[Path], object]
"""Reads the files in a folder: an exit code, or anything else for 0. Raises what the layer turns into sentences."""


@dataclass(frozen=True, slots=True)
class Seed:
    """Sound files by their path in a folder."""

    name: str
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of input. `seeds` gives always the same ones, `edits` are its own with how often each is drawn against
    20 of the edits that any file gets; `reads` are what reads it, by name. `readers` are the modules that do; they may
    write to the folders `own`. Of the reads those that are `dear` are drawn seldom."""

    name: str
    seeds: Callable[[], Sequence[Seed]]
    edits: Mapping[Edit, int]
    reads: Mapping[str, Read]
    readers: tuple[str, ...]
    own: tuple[str, ...] = ()
    dear: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One mutant; `edits` tell what was done, one line each."""

    number: int
    kind: Kind
    seed: str
    files: Mapping[str, Content]
    edits: tuple[str, ...]
    read: str


def make(kind: Kind, number: int, without: Collection[int] = ()) -> Case:
    """The mutant of that number; `without` leaves out some of its edits, the others stay as they are."""
    random = Random(f"{kind.name} {number}")
    seeds = kind.seeds()
    seed = seeds[number // _ON_END % len(seeds)]
    files: Files = dict(seed.files)
    edits: dict[Edit, int] = {**kind.edits, edit_bytes: 15, edit_things: 5}
    told: list[str] = []
    wanted = random.choice((1, 1, 1, 2, MOST_EDITS))
    for at in range(ATTEMPTS):
        if at >= wanted and (told or without):
            break
        own = Random(f"{kind.name} {number}.{at}")
        edit = own.choices(list(edits), list(edits.values()))[0]
        if at not in without and (done := edit(own, files)):
            told.append(done)
    reads = [name for name in kind.reads if name not in kind.dear or random.random() < _DEAR]
    return Case(number, kind, seed.name, files, tuple(told), random.choice(reads))


@dataclass(slots=True)
class Bench:
    """A folder in which cases are run one after the other; a file that stays the same is not written again."""

    folder: Path
    _there: dict[str, Content] = field(default_factory=dict)

    def run(self, case: Case) -> Outcome:
        """Lay the files, have them read, and look at what is there then."""
        into, temporary = self.folder / "in", self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        if not (secret := self.folder / "outside" / "secret").exists():
            secret.parent.mkdir()
            secret.write_bytes(b"{}")
        self._lay(into, case.files)
        before = _seen(into, case.kind.own)
        WATCH.begin((str(self.folder / "outside"), "/etc/hostname"))
        read = partial(case.kind.reads[case.read], into)
        found = answer(case.number, partial(said, partial(through_errors, read)), temporary)
        led_out = WATCH.end()
        outcome = _judged(case, found) if isinstance(found, Answer) else found
        if (after := _seen(into, case.kind.own)) != before:
            self._there.clear()
            shutil.rmtree(into)
            extra = sorted(after.keys() - before.keys())
            changed = sorted(name for name in before if before[name] != after.get(name))
            if not outcome.failed:
                kind = "left behind" if extra else "changed an input"
                outcome = Outcome(case.number, kind, case.read, f"{extra} {changed}")
        if led_out and not outcome.failed:
            outcome = Outcome(case.number, "led out", case.read, led_out)
        if list(temporary.iterdir()):
            shutil.rmtree(temporary)
        return outcome

    def _lay(self, into: Path, files: Mapping[str, Content]) -> None:
        for name in self._there.keys() - files.keys():
            _remove(into / name)
            del self._there[name]
        for name, content in files.items():
            if self._there.get(name) != content:
                _remove(into / name)
                _put(into / name, content, self.folder / "elsewhere")
                self._there[name] = content


def through_errors(read: Callable[[], object]) -> int:
    """Through the layer of the command line that turns errors into sentences; the exit code."""
    encode_what_cannot_be()
    return ended((), read)


def lay(folder: Path, files: Mapping[str, Content]) -> None:
    """Write a case's files into a folder."""
    for name, content in files.items():
        _put(folder / name, content, folder / "elsewhere")


def _judged(case: Case, found: Answer) -> Outcome:
    if found.code in (0, exit_codes.PARTLY_VERIFIED):
        return Outcome(case.number, "taken")
    told = without_names(found.sentence)
    if found.code not in (1, 2, 3, 4) or not found.is_a_sentence:
        return Outcome(case.number, "half a sentence", f"exit {found.code}: {told}", found.stderr.strip())
    return Outcome(case.number, "refused", told, found.stderr.strip())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _put(path: Path, content: Content, elsewhere: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is Thing.FOLDER:
        path.mkdir()
    elif content is Thing.PIPE:
        os.mkfifo(path)
    elif content is Thing.LINK:
        elsewhere.write_bytes(b"{}")
        path.symlink_to(elsewhere)
    else:
        path.symlink_to(path.name if content is Thing.CIRCLE else "not-there")


def _seen(folder: Path, but: Collection[str]) -> dict[str, tuple[int, int]]:
    """Every file below a folder, but for those in these folders of it: its size, and when it was last written."""
    found = {}
    waiting = [str(folder)] if folder.is_dir() else []
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in but:
                        waiting.append(entry.path)
                else:
                    state = entry.stat(follow_symlinks=False)
                    found[entry.path] = state.st_size, state.st_mtime_ns
    return found
