"""Work that is handed to workers: whose results come back, and what is left of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from attnfuse import dispatch
from attnfuse.farm.dispatching import Dispatching
from attnfuse.farm.units import Answer
from attnfuse.store.kinds import Kind
from attnfuse.store.store import Store


@dataclass(frozen=True)
class Asked:
    number: int


class Halving:
    """Workers that halve even numbers."""

    count = 2

    def __init__(self) -> None:
        self.texts: list[str] = []

    def perform(self, texts: Mapping[str, str]) -> Iterator[tuple[str, Answer]]:
        for digest, text in [*texts.items()][::-1]:
            self.texts.append(text)
            number = json.loads(text)["request"]["number"]
            yield digest, Answer("it is odd") if number % 2 else Answer("", number // 2)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def contents(store: Store) -> list[str]:
    return [one.key for one in store.listed() if one.kind == Kind.CONTENTS]


def test_results_come_by_name_and_what_was_not_done_is_told_once(store: Store) -> None:
    workers, said = Halving(), list[str]()
    with Dispatching(workers, store, said.append) as dispatching, dispatch.through(dispatching):
        requests = {name: Asked(number) for name, number in {"a": 4, "b": 3, "c": 8, "d": 5, "e": 4}.items()}
        assert dict(dispatch.done("halve", requests)) == {"a": 2, "c": 4, "e": 2}
    assert said == ["it is odd; it is done here"]
    assert len(workers.texts) == 4, "what is asked for twice is done once"
    assert list(dispatch.done("halve", requests)) == []


def test_contents_are_there_as_long_as_they_are_needed(store: Store) -> None:
    with Dispatching(Halving(), store, pytest.fail) as dispatching:
        digest = dispatching.put(b"content")
        assert dispatching.put(b"content") == digest
        assert store.get(Kind.CONTENTS, digest) == b"content"
        dispatching.put(b"another")
        assert len(contents(store)) == 2
    assert contents(store) == []
