"""What a worker does with a unit, whatever its kind, and what it says where it cannot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from attnfuse import incremental
from attnfuse.errors import MemoryLimitError
from attnfuse.farm import perform as perform_package
from attnfuse.farm.perform import perform
from attnfuse.farm.station import Station, made_here
from attnfuse.farm.units import Answer, Unit
from attnfuse.serialisation import parse_json
from attnfuse.store.entries import key_of
from attnfuse.store.kinds import Kind
from attnfuse.store.store import Store


def echo(request: object, station: Station) -> Answer:
    return Answer("", {"asked": request, "content": station.content(key_of(b"known")).decode()})


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perform_package, "KINDS", {"echo": echo})
    monkeypatch.setattr(perform_package, "_known", {})


def done(text: str, memory: int | None = None) -> Answer:
    return parse_json(Answer, perform(text, memory))


def unit(place: Path, made_by: Mapping[str, str] | None = None, kind: str = "echo") -> Unit:
    return Unit.of(kind, Store(place), {} if made_by is None else made_by, {"number": 1})


def test_a_kind_does_it_with_what_is_in_the_cache(tmp_path: Path) -> None:
    Store(tmp_path).put(Kind.CONTENTS, key_of(b"known"), b"known")
    answer = done(unit(tmp_path, made_here()).text)
    assert answer == Answer("", {"asked": {"number": 1}, "content": "known"})


def test_a_content_that_is_not_there_or_another(tmp_path: Path) -> None:
    assert "does not find in the cache what it is to work on" in done(unit(tmp_path).text).error
    Store(tmp_path).put(Kind.CONTENTS, key_of(b"known"), b"another")
    assert "does not find in the cache what it is to work on" in done(unit(tmp_path).text).error


def test_what_is_no_unit_is_told(tmp_path: Path) -> None:
    assert "Unit" in done("{}").error
    assert "Unit" in done('{"schema": "attnfuse.unit/2"}').error
    assert done("no JSON").error
    assert "no unit of the kind 'other' is known" in done(unit(tmp_path, kind="other").text).error


def test_a_worker_that_would_compute_otherwise_says_in_what_it_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {**made_here(), "numpy": "0.1", "processor": "another", "a plugin": "1"}
    text = unit(tmp_path, other).text
    assert "would give other figures, as these differ there: a plugin, numpy, processor" in done(text).error
    monkeypatch.setattr(incremental, "is_edited", lambda: True)
    assert "start it again" in done(unit(tmp_path, made_here()).text).error


def test_a_worker_with_another_key_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [tmp_path / name for name in ("ours", "theirs")]
    for number, key in enumerate(keys):
        key.write_text(f"{number}" * 32)
    cache = tmp_path / "cache"
    asked = {key: Unit.of("echo", Store(cache, key), {}, {"number": 1}).text for key in (None, *keys)}
    answers: dict[tuple[Path | None, Path | None], str] = {}
    for here in (None, *keys):
        monkeypatch.setattr(perform_package, "_known", {})
        if here is not None:
            monkeypatch.setenv("ATTNFUSE_CACHE_KEY", str(here))
        Store(cache, here).put(Kind.CONTENTS, key_of(b"known"), b"known")
        answers |= {(there, here): done(text).error for there, text in asked.items()}
    ours, theirs = keys
    assert not any(answers[both, both] for both in (None, ours, theirs))
    assert "has no key for the cache (ATTNFUSE_CACHE_KEY), and the command has one" in answers[ours, None]
    assert "has another key for the cache (ATTNFUSE_CACHE_KEY), and the command has one" in answers[ours, theirs]
    assert "has a key for the cache (ATTNFUSE_CACHE_KEY), and the command has none" in answers[None, ours]


def test_what_takes_more_than_the_worker_may_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def large(request: object, station: Station) -> Answer:
        raise MemoryLimitError("as verification has it", 3 * 2**30)

    monkeypatch.setattr(perform_package, "KINDS", {"echo": large})
    answer = done(unit(tmp_path).text, 2**30)
    assert answer.error.endswith("may hold 1.00 GiB, and would need about 3.0 GiB for it")
