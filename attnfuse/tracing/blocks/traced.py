"""What was traced of one cell, and blocks that other processes traced: for other models, sizes and pipelines.

A block is known by the fingerprint of its cell and by what it is called with; where it was traced, and what its weights
are called there, does not count, as they are renamed for each occurrence anyway. Worker side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from attnfuse.errors import AttnfuseError
from attnfuse.store.entries import key_of
from attnfuse.store.places import Place
from attnfuse.store.store import Store
from attnfuse.tracing.blocks.abstracts import Abstract, Constants, from_plain, to_plain
from attnfuse.tracing.contract import BlockCache

BlockKey: TypeAlias = tuple[str, tuple[Abstract, ...]]
"""The digest of a cell's fingerprint, and what it is called with."""

_KIND = "blocks"


@dataclass(frozen=True, slots=True)
class Called:
    """One stand-in: the block that it is for, the names of that block's own parameters, and its scope."""

    block: BlockKey
    parameters: tuple[str, ...]
    scope: str


@dataclass(slots=True)
class Traced:
    """One traced cell: its message, what it gives, and the blocks that stand-ins in it are for, by mark.

    `kind` is the cell's class, `scope` that of the cell where it was traced, `parameters` the names of its parameters
    there, in the order of its fingerprint, `owners` the scopes of the cells that hold them. `made` is what its graph
    gives: the same tensors as `result`, in a plainer structure where MindSpore does not take it.
    """

    kind: str
    scope: str
    parameters: tuple[str, ...]
    owners: Mapping[str, str]
    message: Any
    result: Abstract | None
    made: Abstract | None
    calls: Mapping[str, Called]


class KeptBlocks:
    """The blocks of a cache; `patches` are those in force, which change what cells of one fingerprint compute."""

    def __init__(self, cache: BlockCache | None, patches: tuple[str, ...], constants: Constants) -> None:
        self._store = None if cache is None else _opened(cache)
        self._made_by = ["" if cache is None else cache.made_by, *patches]
        self._constants = constants

    @property
    def is_there(self) -> bool:
        """Whether there is a cache at all."""
        return self._store is not None

    def claimed(self, key: BlockKey) -> AbstractContextManager[None]:
        """Have others wait that are about to trace the same block, or wait for one that does."""
        return nullcontext() if self._store is None else self._store.claim(_KIND, self._name(key))

    def find(self, key: BlockKey, message: type) -> dict[BlockKey, Traced] | None:
        """The block and those within it; None where one of them is not there. `message` is MindIR's class."""
        found: dict[BlockKey, Traced] = {}
        missing = [key]
        while missing:
            one = missing.pop()
            if one in found:
                continue
            content = None if self._store is None else self._store.get(_KIND, self._name(one))
            traced = None if content is None else self._read(content, message)
            if traced is None:
                return None
            found[one] = traced
            missing += [called.block for called in traced.calls.values()]
        return found

    def keep(self, key: BlockKey, traced: Traced) -> None:
        """Keep a block that was traced; those within it were kept before."""
        if self._store is None or traced.result is None or traced.made is None:
            return
        told = {
            "kind": traced.kind,
            "scope": traced.scope,
            "parameters": list(traced.parameters),
            "owners": dict(traced.owners),
            "result": to_plain(traced.result, self._constants),
            "made": to_plain(traced.made),
            "calls": {
                mark: {
                    "digest": called.block[0],
                    "arguments": [to_plain(one) for one in called.block[1]],
                    "parameters": list(called.parameters),
                    "scope": called.scope,
                }
                for mark, called in traced.calls.items()
            },
        }
        message = traced.message.SerializeToString(deterministic=True)
        self._store.put(_KIND, self._name(key), json.dumps(told).encode() + b"\n" + message)

    def _name(self, key: BlockKey) -> str:
        digest, told = key
        return key_of(json.dumps([*self._made_by, digest, [to_plain(one) for one in told]]))

    def _read(self, content: bytes, kind: type) -> Traced | None:
        head, _, written = content.partition(b"\n")
        try:
            told = json.loads(head)
            message = kind()
            message.ParseFromString(written)
            return Traced(
                kind=told["kind"],
                scope=told["scope"],
                parameters=tuple(told["parameters"]),
                owners=dict(told["owners"]),
                message=message,
                result=from_plain(told["result"], self._constants),
                made=from_plain(told["made"]),
                calls={mark: _called(one) for mark, one in told["calls"].items()},
            )
        except Exception:  # whatever is wrong with it, of JSON or of protobuf: it is made anew
            return None


def _opened(cache: BlockCache) -> Store | None:
    """The store; None where it cannot be had now, which only takes longer."""
    place: Place = Path(cache.place) if cache.is_folder else cache.place
    try:
        return Store(place, cache.key_file)
    except AttnfuseError:
        return None


def _called(told: Any) -> Called:
    arguments = tuple(from_plain(one) for one in told["arguments"])
    return Called((told["digest"], arguments), tuple(told["parameters"]), told["scope"])
