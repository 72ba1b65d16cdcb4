"""Attributes and the containers they hold are put back, whatever happens in between."""

from __future__ import annotations

import pytest

from attnfuse.live.state import untouched


class Thing:
    """Anything with attributes."""

    def __init__(self) -> None:
        self.training = True
        self.flags = {"training": True}
        self.names = ["a"]
        self.seen = {1}
        self.hooks: dict[str, int] | None = None
        self.child = object()


def disturb(thing: Thing) -> None:
    thing.training = False
    thing.flags["training"] = False
    thing.flags["phase"] = True
    thing.names.append("b")
    thing.seen.clear()
    thing.hooks = {}
    del thing.child
    thing.scope = "Default/unet"  # type: ignore[attr-defined]


@pytest.mark.parametrize("fails", [False, True])
def test_put_back(fails: bool) -> None:
    thing = Thing()
    before = dict(thing.__dict__)
    kept = thing.flags, thing.names, thing.seen
    try:
        with untouched([thing]):
            disturb(thing)
            if fails:
                raise ValueError
    except ValueError:
        assert fails
    assert thing.__dict__ == before
    assert list(thing.__dict__) == list(before)
    assert thing.flags == {"training": True}
    assert thing.names == ["a"]
    assert thing.seen == {1}
    assert all(one is other for one, other in zip(kept, (thing.flags, thing.names, thing.seen), strict=True))


def test_what_is_not_compared_is_not_asked_to_be() -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise AssertionError("a tensor's == is a tensor")

        def __hash__(self) -> int:
            return 0

    thing = Thing()
    thing.child = odd = Odd()
    held: list[object] = [odd]
    thing.held = held  # type: ignore[attr-defined]
    with untouched([thing]):
        held[0] = Odd()
    assert thing.child is odd
    assert held[0] is odd
    assert len(held) == 1
