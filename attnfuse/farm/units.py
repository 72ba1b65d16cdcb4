"""What is asked of a worker, and what it answers: JSON texts, so that any machine reads them, and none runs them.

A unit is of some kind, which says what is done and what the request holds. What passes beside these texts is in the
cache that the unit names. Whoever hands units on and takes answers need know no kind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from attnfuse.serialisation import to_json
from attnfuse.store.entries import key_of
from attnfuse.store.places import Place
from attnfuse.store.store import Store

TRIES = 3
"""A unit whose workers died so often is not asked for again: it may be what they died of."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Do the work of that `kind` that `request`, plain JSON values, asks for, with the cache at `place`.

    `made_by` has, by name, what has to be the same where it is done: a worker with other files or versions says in
    which it differs, and does nothing. `signer` tells of the key that entries are signed with (`Store.signer`): a
    worker with another key, or with none, does nothing either.
    """

    schema: Literal["attnfuse.unit/1"]
    kind: str
    place: str
    is_folder: bool
    signer: str
    made_by: Mapping[str, str]
    request: Any

    @classmethod
    def of(cls, kind: str, store: Store, made_by: Mapping[str, str], request: Any) -> Unit:
        """A unit of a kind, with that cache; `request` is a record, or its JSON values."""
        place = store.place
        is_folder = isinstance(place, Path)
        where = str(place.resolve() if isinstance(place, Path) else place)
        plain = request if isinstance(request, dict) else to_json(request)
        return cls("attnfuse.unit/1", kind, where, is_folder, store.signer, made_by, plain)

    @property
    def cache(self) -> Place:
        """Where the cache is."""
        return Path(self.place) if self.is_folder else self.place

    @property
    def text(self) -> str:
        """What is sent."""
        return json.dumps(to_json(self), sort_keys=True)

    @property
    def digest(self) -> str:
        """What tells it from others: units of one digest have one answer."""
        return key_of(self.text)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a unit: `error` is one sentence, empty where it was done; `result` is of its kind, plain JSON."""

    error: str = ""
    result: Any = None


class Workers(Protocol):
    """Workers that units are sent to."""

    @property
    def count(self) -> int:
        """How many units are done at a time."""

    def perform(self, texts: Mapping[str, str]) -> Iterator[tuple[str, Answer]]:
        """Have these units done, texts by digest; answers come as they are there, one for each."""


Farm = AbstractContextManager[Workers]
