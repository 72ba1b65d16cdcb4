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
from attnfuse.store.kinds import Kind
from attnfuse.store.places import Place
from attnfuse.store.store import Store
from attnfuse.tracing.blocks.abstracts import Abstract, Constants, from_plain, leaves, to_plain
from attnfuse.tracing.blocks.pieces import BLOCK, MARK, plain_name
from attnfuse.tracing.contract import BlockCache

BlockKey: TypeAlias = tuple[str, tuple[Abstract, ...]]
"""The digest of a cell's fingerprint, and what it is called with."""


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
        return nullcontext() if self._store is None else self._store.claim(Kind.BLOCKS, self._name(key))

    def find(self, key: BlockKey, parameters: int, message: type) -> dict[BlockKey, Traced] | None:
        """The block, a cell with so many parameters, and those within it; None where one of them is not there, or is
        no such block. `message` is MindIR's class."""
        found: dict[BlockKey, Traced] = {}
        missing = [(key, parameters)]
        while missing:
            one, count = missing.pop()
            if one in found:
                continue
            content = None if self._store is None else self._store.get(Kind.BLOCKS, self._name(one))
            traced = None if content is None else self._read(content, message)
            if traced is None or len(traced.parameters) != count or not _is_of(traced, one):
                return None
            found[one] = traced
            missing += [(called.block, len(called.parameters)) for called in traced.calls.values()]
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
        self._store.put(Kind.BLOCKS, self._name(key), json.dumps(told).encode() + b"\n" + message)

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


def _is_of(traced: Traced, key: BlockKey) -> bool:
    """Whether a message is whole, takes what the block is called with, and has the parameters and the blocks within it
    that are told beside it: whoever writes to a store may err in what no digest shows."""
    graph = traced.message.graph
    given = [tuple(one.tensor[0].dims) if len(one.tensor) == 1 else None for one in graph.input]
    names = [plain_name(one.name) for one in graph.parameter]
    stand_ins = [one for one in traced.message.primitives if one.op_type == BLOCK]
    marks = {said.s.decode() for one in stand_ins for said in one.attribute if said.name == "block"}
    results = [None if one is None else list(leaves(one)) for one in (traced.result, traced.made)]
    return (
        given == [leaf.shape for argument in key[1] for leaf in leaves(argument)]
        and {name for name in names if not name.startswith(MARK)} <= set(traced.parameters)
        and marks <= set(traced.calls)
        and len(graph.output) == 1
        and bool(results[0])
        and results[0] == results[1]
    )


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
