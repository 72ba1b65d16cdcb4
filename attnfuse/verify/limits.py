"""How much a verification may hold at a time. Imports nothing of the project."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes: of the weights of a step, as they are stored; of scores that are run by rows; of a part of them at a time.

    The C library gives a part of the size that `rows` has out again without asking the system for pages, and half a
    dozen of them lie in a processor's cache. `most` is what the whole process may hold, where the user says.
    """

    weights: int = 2**28
    large: int = 2**26
    rows: int = 2**24
    most: int | None = None

    def under(self, memory: int | None) -> Limits:
        """The same steps, in a process that may hold that many bytes, if it has a limit."""
        known = [most for most in (self.most, memory) if most is not None]
        return replace(self, most=min(known, default=None))


WHOLE = Limits(weights=2**63, large=2**63)
"""A graph is one step, as it is."""

_DEFAULT = Limits()
_LIMITS: ContextVar[Limits] = ContextVar("limits", default=_DEFAULT)


def current() -> Limits:
    """What holds here."""
    return _LIMITS.get()


def within(most: int) -> Limits:
    """Limits by which a process of this size does: parts of it, and never more than without."""
    return Limits(
        weights=min(_DEFAULT.weights, most // 16),
        large=min(_DEFAULT.large, most // 64),
        rows=min(_DEFAULT.rows, most // 256),
        most=most,
    )


@contextmanager
def at_most(most: int | None) -> Iterator[None]:
    """Have the block do with that many bytes, where there is such a limit."""
    with limited(current() if most is None else within(most)):
        yield


@contextmanager
def limited(limits: Limits) -> Iterator[None]:
    """Have other limits hold in the block."""
    token = _LIMITS.set(limits)
    try:
        yield
    finally:
        _LIMITS.reset(token)
