"""What an earlier run of a batch finished, so that it is not done again.

An entry is finished as long as its options, attnfuse, the files it reads (by name, size and times) and its output are
what they were. The state is a JSON file beside the batch; without it, or where it is damaged, all is done again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Literal

from attnfuse.errors import OutputError
from attnfuse.output import MANIFEST, identity
from attnfuse.serialisation import parse_json, to_json
from attnfuse.store.entries import key_of


@dataclass(frozen=True, slots=True)
class Finished:
    """An entry that was written: what it was made of, and what tells its output from another."""

    made_of: str
    output: str


@dataclass(slots=True)
class _State:
    schema: Literal["attnfuse.batch-state/1"] = "attnfuse.batch-state/1"
    finished: dict[str, Finished] = field(default_factory=dict)


class BatchState:
    """The state of a batch, by the outputs of its entries."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._state = _State()
        with suppress(OSError, ValueError):
            self._state = parse_json(_State, file.read_bytes())

    def is_finished(self, output: Path, made_of: str) -> bool:
        """Whether the entry with that output was made of the same, and stands."""
        known = self._state.finished.get(str(output))
        return known is not None and known == Finished(made_of, _stands(output))

    def finish(self, output: Path, made_of: str) -> None:
        """Keep that the entry was written. Raises OutputError where the file cannot be."""
        self._state.finished[str(output)] = Finished(made_of, _stands(output))
        new = self._file.with_name(f".{self._file.name}-{os.getpid()}")
        try:
            new.write_text(json.dumps(to_json(self._state), indent=1), encoding="utf-8")
            new.replace(self._file)
        except OSError as error:
            raise OutputError(f"the state {self._file} cannot be written: {error.strerror or error}.") from None
        finally:
            with suppress(OSError):
                new.unlink(missing_ok=True)


def made_of(told: Sequence[str], paths: Iterable[Path]) -> str:
    """What an entry is made of: what is told (its options, what traces and rewrites), and the files that it reads."""
    return key_of(json.dumps([list(told), _states(paths)]))


def _stands(output: Path) -> str:
    """What tells the output from another, or from one that was edited: its files as they are."""
    beside = output.with_name(f"{output.stem}.{MANIFEST}")  # of a single graph
    return key_of(json.dumps(_states([output] if output.is_dir() else [output, beside])))


def _states(paths: Iterable[Path]) -> list[list[object]]:
    return [[str(path), *astuple(identity(path.stat()))] for given in paths for path in _files(given)]


def _files(path: Path) -> list[Path]:
    try:
        if not path.is_dir():
            return [path] if path.exists() else []
    except OSError:  # no name of a file
        return []
    found = (Path(folder) / name for folder, _, names in os.walk(path, followlinks=True) for name in names)
    return sorted(file for file in found if file.exists())
