"""Work that other processes may do: what somebody who has such work asks for, whoever has the workers.

The work is a function of a request, which is plain JSON, and of contents that it names by their digest. Whoever has
such work asks `current` who would take it, and does what comes back without a result itself, by the same function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import safetensors.numpy

from attnfuse.mindir import dtypes
from attnfuse.serialisation import to_json

CANDIDATE: Final = "candidate"
"""A rewrite to be measured: see `attnfuse.tuning.candidates`."""

SEGMENT: Final = "segment"
"""A part of two graphs that is verified alone: see `attnfuse.verify.numbers.segments`."""

Contents: TypeAlias = Callable[[str], bytes]
"""Gives the content of a digest. Raises LookupError where it is not to be had."""


class Dispatcher(Protocol):
    """Has other processes do work."""

    def put(self, content: bytes) -> str:
        """Have them find this content; its digest."""

    def perform(self, kind: str, requests: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Have requests of a kind done, each a record under a name of the caller's; results, as plain JSON values, come
        with these names as they are there. What could not be done has none."""


_DISPATCHER: ContextVar[Dispatcher | None] = ContextVar("dispatcher", default=None)


def current() -> Dispatcher | None:
    """Who has work done elsewhere; None where all of it is done here."""
    return _DISPATCHER.get()


@contextmanager
def through(dispatcher: Dispatcher | None) -> Iterator[None]:
    """Have work of the block done by the dispatcher's workers."""
    token = _DISPATCHER.set(dispatcher)
    try:
        yield
    finally:
        _DISPATCHER.reset(token)


def done(kind: str, requests: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The results of those requests that somebody else does, if anybody does."""
    dispatcher = current()
    if dispatcher is not None and requests:
        yield from dispatcher.perform(kind, {name: to_json(request) for name, request in requests.items()})


def packed(arrays: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """Arrays by name, of any type that a graph has, as a safetensors file; numpy's part of that knows no bfloat16."""
    held = {}
    for name, array in arrays.items():
        dtype = dtypes.of_array(array)
        plain = array.view(np.uint16) if dtype is dtypes.BFLOAT16 else array
        held[f"{dtype.name} {name}"] = np.ascontiguousarray(plain).reshape(plain.shape)
    return safetensors.numpy.save(held)


def unpacked(content: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays that `packed` has. Raises ValueError for other bytes."""
    found = {}
    try:
        held = safetensors.numpy.load(content)
    except safetensors.SafetensorError as error:
        raise ValueError(f"what holds arrays is damaged ({error})") from None
    for called, array in held.items():
        name, _, own = called.partition(" ")
        found[own] = array.view(dtypes.from_name(name).numpy)
    return found
