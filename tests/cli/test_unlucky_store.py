"""A cache in an object store that answers late or wrongly, at any moment: the output is that of a compile without one,
or there is one sentence; it does not take for ever, and nothing is taken that was damaged."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from attnfuse.store import remote
from attnfuse.store.entries import FORMAT
from attnfuse.store.store import Store
from tests.cli.conftest import Answer, Command, tree
from tests.farm.conftest import trace_by, write_pipeline
from tests.support.tracer import Tracer
from tests.support.unlucky import PROTOCOL, Answered, Unlucky, before, late

PLACE = f"{PROTOCOL}://farm/cache"
PATIENCE = 0.5
"""Seconds that an answer may take, where some are late."""


@pytest.fixture(autouse=True)
def tracer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracer:
    found = Tracer()
    trace_by(found, monkeypatch, tmp_path / "sources")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return found


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store in memory, empty."""
    fsspec.register_implementation(PROTOCOL, Unlucky, clobber=True)
    monkeypatch.setattr(Unlucky, "store", {})
    monkeypatch.setattr(Unlucky, "pseudo_dirs", [""])


class Compile:
    """A compile of a small pipeline with that cache; `sound` is what it makes without."""

    def __init__(self, command: Command, tmp_path: Path) -> None:
        self._command = command
        self._place = tmp_path
        self._count = itertools.count()
        self.source = write_pipeline(tmp_path / "in")
        assert self.run("sound").code == 0
        self.sound = tree(tmp_path / "sound")

    def run(self, out: str, *options: str) -> Answer:
        return self._command("compile", self.source, "-o", self._place / out, *options, "--progress", "never")

    def cached(self, place: str = PLACE) -> Answer:
        """It is whole, or there is nothing and one sentence."""
        out = f"out-{next(self._count)}"
        answer = self.run(out, "--cache-dir", place)
        if answer.code == 0:
            assert tree(self._place / out) == self.sound
            assert "Traceback" not in answer.err
        else:
            assert answer.code == 2, answer.err
            assert f"the cache {place} cannot be written: " in answer.error
            assert not (self._place / out).exists()
        return answer


@pytest.fixture
def compile_(command: Command, tmp_path: Path, tracer: Tracer) -> Compile:
    return Compile(command, tmp_path)


def fails(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


MET: dict[str, Callable[..., None]] = {
    "too late": late(4 * PATIENCE),
    "refused": fails(ConnectionRefusedError(111, "Connection refused")),
    "forbidden": fails(PermissionError(13, "Forbidden")),
    "in no way it knows": fails(KeyError("ContentLength")),
}


@pytest.mark.parametrize(
    ("what", "warm"),
    [("too late", False), ("too late", True), ("refused", False), ("forbidden", True), ("in no way it knows", True)],
)
def test_it_goes_away_on_the_way(what: str, warm: bool, compile_: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    """From some call on. The first is made before anything else, and the only one that is an error."""
    if warm:
        assert compile_.cached().code == 0
    if what == "too late":
        monkeypatch.setattr(remote, "_ANSWER_SECONDS", PATIENCE)
    for first in (1, 2, 5):
        count = itertools.count(1)

        def meet(call: str, path: str, first: int = first, count: Any = count) -> None:
            if next(count) >= first:
                MET[what]()

        with monkeypatch.context() as patch:
            patch.setattr(Unlucky, "meet", staticmethod(meet))
            began = time.monotonic()
            answer = compile_.cached()
            assert time.monotonic() - began < 60, "it waits for some answers, and no more"
        assert answer.code == (2 if first == 1 else 0)
        if answer.code == 0 and next(count) > first:
            assert f"the cache {PLACE} cannot be " in answer.err
        assert all(Store(PLACE).is_whole(one) for one in Store(PLACE).listed())
    assert compile_.cached().code == 0


def test_an_answer_that_is_late_is_waited_for(
    compile_: Compile, tracer: Tracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Unlucky, "meet", staticmethod(late(PATIENCE / 20)))
    monkeypatch.setattr(remote, "_ANSWER_SECONDS", 20 * PATIENCE)
    for _ in range(2):
        answer = compile_.cached()
        assert (answer.code, "cannot be" in answer.err) == (0, False)
    assert len(tracer.traced) == 2, "once without the cache, and once with it"


OTHER = b"another object's content"


def bodies(what: str) -> Callable[[str, str, Any], Any]:
    """Answers that are wrong, of all objects but the mark."""

    def change(call: str, path: str, content: Any) -> Any:
        if path.endswith("/format"):
            return content
        if call == "read":
            wrong = {"cut off": content[:-7], "another's": OTHER}
            return wrong.get(what, content)
        if call == "write":
            return {"lost": None, "half written": content[: len(content) // 2]}.get(what, content)
        if call == "info" and what in SIZES:
            return {**content, "size": SIZES[what]}
        return content

    return change


SIZES: dict[str, Any] = {"of no bytes": 0, "of no size": None, "of too many": 2**50}
BODIES = ("cut off", "another's", "lost", "half written", *SIZES)


def test_what_it_answers_is_wrong(compile_: Compile, tracer: Tracer, monkeypatch: pytest.MonkeyPatch) -> None:
    for what in BODIES:
        Unlucky.store.clear()
        traced = len(tracer.traced)
        with monkeypatch.context() as patch:
            patch.setattr(Unlucky, "change", staticmethod(bodies(what)))
            for _ in range(2):
                assert compile_.cached().code == 0
            assert len(tracer.traced) == traced + 2, f"{what}: what cannot be had is traced each time"
        assert compile_.cached().code == 0
        assert len(tracer.traced) <= traced + 3


def test_every_second_call_fails(compile_: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client does not try again itself is not tried again: the cache is away for the rest of the run."""
    count = itertools.count()
    monkeypatch.setattr(Unlucky, "meet", staticmethod(lambda *_: next(count) % 2 and fails(OSError("500"))()))
    for _ in range(3):
        assert compile_.cached().code == 0


def test_a_listing_that_is_not_of_now(compile_: Compile, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has what is gone, and has not what is there; and says of some neither how large nor how old they are."""
    assert compile_.cached().code == 0
    whole = {one.key for one in Store(PLACE).listed()}
    assert len(whole) >= 4

    def stale(call: str, path: str, content: Any) -> Any:
        if call != "list":
            return content
        known, *others = (one for one in sorted(content.items()) if "/format" not in one[0])
        gone = known[0][:-64] + 64 * "0", {**known[1], "size": None}
        dates: list[Any] = ["2020-01-01T00:00:00+00:00", "a date", None, object()]
        return dict([gone, *((p, {**told, "created": date}) for (p, told), date in zip(others, dates, strict=False))])

    with monkeypatch.context() as patch:
        patch.setattr(Unlucky, "change", staticmethod(stale))
        told = command("cache", PLACE, "--max-age", "30d", "--json")
        assert told.code == 0, told.err
        assert sum(kind["objects"] for kind in told.document["removed"].values()) == 1, "what is of 2020"
        assert command("cache", PLACE, "--bad").code == 0
    left = {one.key for one in Store(PLACE).listed()}
    assert len(left) == len(whole) - 1
    assert compile_.cached().code == 0


@pytest.mark.parametrize("what", ["too late", "forbidden"])
def test_its_entries_cannot_be_listed(what: str, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(PLACE)
    monkeypatch.setattr(remote, "_LISTING_SECONDS", PATIENCE)
    monkeypatch.setattr(Unlucky, "meet", staticmethod(lambda call, path: MET[what]() if call == "list" else None))
    answer = command("cache", PLACE)
    assert answer.code == 2
    assert f"the cache {PLACE} cannot be read or written: " in answer.error


# --- before a real one


ERROR = b'<?xml version="1.0"?><Error><Code>%s</Code><Message>so it is</Message></Error>'
XML = {"Content-Type": "application/xml"}


def minutes_later(answer: Answered) -> Answered:
    time.sleep(90)
    return answer


ANSWERS: dict[str, Callable[[Answered], Answered | None]] = {
    "late": minutes_later,
    "500": lambda answer: (500, XML, ERROR % b"InternalError"),
    "503": lambda answer: (503, XML, ERROR % b"SlowDown"),
    "403": lambda answer: (403, XML, ERROR % b"AccessDenied"),
    "cut off": lambda answer: (*answer[:2], answer[2][:-5]),
    "another's": lambda answer: (answer[0], {}, OTHER) if answer[2] else answer,
    "broken off": lambda answer: None,
}


@pytest.mark.slow
@pytest.mark.parametrize("what", ANSWERS)
def test_before_a_real_one(
    what: str, store_address: str, bucket: str, compile_: Compile, tracer: Tracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the client that is used, and what it tries again: all of it within minutes, and mostly within one."""
    assert compile_.cached(bucket).code == 0
    monkeypatch.setattr(remote, "_ANSWER_SECONDS", 20.0)
    count = itertools.count()
    first = 0

    def change(method: str, path: str, answer: Answered) -> Answered | None:
        is_due = next(count) >= first and FORMAT in path
        return ANSWERS[what](answer) if is_due else answer

    with before(store_address, change) as unlucky, monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", unlucky)
        for first in (3, 0):  # noqa: B007  # `change` reads it
            count = itertools.count()
            began = time.monotonic()
            compile_.cached(bucket)
            assert time.monotonic() - began < 180
    traced = len(tracer.traced)
    assert compile_.cached(bucket).code == 0
    assert len(tracer.traced) - traced <= 1
    assert all(Store(bucket).is_whole(one) for one in Store(bucket).listed())


def test_a_short_burst_is_tried_again(
    store_address: str, bucket: str, compile_: Compile, tracer: Tracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the client: nothing is told, and nothing made twice."""
    assert compile_.cached(bucket).code == 0
    count = itertools.count()

    def change(method: str, path: str, answer: Answered) -> Answered | None:
        return (503, XML, ERROR % b"SlowDown") if 3 <= next(count) < 5 else answer

    with before(store_address, change) as unlucky, monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", unlucky)
        answer = compile_.cached(bucket)
    assert (answer.code, "cannot be" in answer.err) == (0, False)
    assert len(tracer.traced) == 2
