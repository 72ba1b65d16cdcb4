"""Work that a command has done by workers: see `attnfuse.dispatch`.

Contents are in the cache by their digest for as long as the command runs: what many of them would come to is gigabytes,
and nobody asks for them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from attnfuse.farm.station import made_here
from attnfuse.farm.units import Unit, Workers
from attnfuse.store.entries import key_of
from attnfuse.store.kinds import Kind
from attnfuse.store.places import Listed, PlaceError
from attnfuse.store.store import Store


class Dispatching:
    """A dispatcher for as long as the context lasts; `tell` is told, once each, why something was not done.

    `asked` counts the units that workers were asked for, `done` those that they did.
    """

    def __init__(self, workers: Workers, store: Store, tell: Callable[[str], None]) -> None:
        self._workers = workers
        self._store = store
        self._tell = tell
        self._put: set[str] = set()
        self._told: set[str] = set()
        self.asked = self.done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for digest in sorted(self._put):
            with suppress(PlaceError):
                self._store.remove(Listed(Kind.CONTENTS, digest, 0, 0.0))

    def put(self, content: bytes) -> str:
        """See `attnfuse.dispatch.Dispatcher`."""
        digest = key_of(content)
        if digest not in self._put:
            self._put.add(digest)
            self._store.put(Kind.CONTENTS, digest, content)
        return digest

    def perform(self, kind: str, requests: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """See `attnfuse.dispatch.Dispatcher`."""
        units = {name: Unit.of(kind, self._store, made_here(), asked) for name, asked in requests.items()}
        names: dict[str, list[str]] = {}
        self.asked += len({unit.digest for unit in units.values()})
        for name, unit in units.items():
            names.setdefault(unit.digest, []).append(name)
        for digest, answer in self._workers.perform({digest: units[same[0]].text for digest, same in names.items()}):
            if answer.error:
                self._say(f"{answer.error}; it is done here")
                continue
            self.done += 1
            for name in names[digest]:
                yield name, answer.result

    def _say(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._tell(text)
