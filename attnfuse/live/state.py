"""Leaves cells as they were: tracing switches training off and marks every cell with phase, scope and hook tables.

Works on any objects with a `__dict__`; imports nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_CONTAINERS = (dict, list, set)


@contextmanager
def untouched(objects: Iterable[object]) -> Iterator[None]:
    """Put the attributes of each object back on leaving, and the contents of the containers that they hold."""
    before = [(thing.__dict__, _frozen(thing.__dict__)) for thing in objects]
    try:
        yield
    finally:
        for attributes, kept in before:
            _restore(attributes, kept)


def _frozen(attributes: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Each attribute's value, and a copy of it where it is a container that may change in place."""
    return {
        name: (value, copy.copy(value) if isinstance(value, _CONTAINERS) else None)
        for name, value in attributes.items()
    }


def _restore(attributes: dict[str, Any], kept: dict[str, tuple[Any, Any]]) -> None:
    for value, content in kept.values():
        if content is not None and not _same(value, content):
            value.clear()
            value.extend(content) if isinstance(value, list) else value.update(content)
    attributes.clear()
    attributes.update({name: value for name, (value, _) in kept.items()})


def _same(value: Any, content: Any) -> bool:
    """Whether a container still holds the very same things: what a tensor says to `==` is no answer."""
    if len(value) != len(content):
        return False
    if isinstance(value, set):
        return bool(value == content)
    now, then = (x.items() if isinstance(x, dict) else enumerate(x) for x in (value, content))
    return all(k == key and v is old for (k, v), (key, old) in zip(now, then, strict=True))
