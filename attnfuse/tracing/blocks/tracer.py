"""Traces a model in pieces: which cells are cut out, what each gives, and what is traced of it.

A cell is cut out where equal ones occur so often that a trace of its own costs less than it saves; of nested ones the
outermost, and what is traced of that is cut again. While a piece is traced, MindSpore asks what each stand-in gives.
Where a block with those arguments was traced before, that is known; else it is guessed from others of its class, or
from its source. Where neither says anything, the trace is given up, the block traced, and the trace begun again.
Afterwards every guess is compared with a trace of the block. Worker side.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from mindspore import nn
from mindspore.train import mind_ir_pb2

from attnfuse.errors import TraceError
from attnfuse.tracing.blocks import stand_ins
from attnfuse.tracing.blocks.abstracts import (
    NONE,
    Abstract,
    Constants,
    Fixed,
    Group,
    Leaf,
    UnknownTypeError,
    describe,
    has_dictionary,
    leaves,
    places,
    plain,
    tree,
    with_leaves,
)
from attnfuse.tracing.blocks.fingerprints import Fingerprints, repeated
from attnfuse.tracing.blocks.guesses import guessed_result, guessed_structure
from attnfuse.tracing.blocks.pieces import Piece, PieceCall, plain_name
from attnfuse.tracing.blocks.traced import BlockKey, Called, KeptBlocks, Traced
from attnfuse.tracing.contract import BlockCache, TensorKind
from attnfuse.tracing.worker import first_line

WORTH = 60
"""Cells that must be spared for a block to be cut out: to trace one by itself costs about what so many cells cost."""
_CHOICES = 5
"""Times that the choice of blocks is gone over; seldom does it change more than once."""
_LAZY = "_cell_init_args"
_ATTEMPTS = 200
"""Traces that are begun in all, before the model is given up: each failure but the last teaches something."""

Compile: TypeAlias = Callable[[Any, Sequence[TensorKind]], Any]
"""Compiles a cell called with such tensors; returns the MindIR message."""


class NoBlocksError(TraceError):
    """The model is to be traced whole; the message says why."""


@dataclass(slots=True)
class _Attempt:
    """One trace under way: what stand-ins were called with, and what was said that they give.

    `hidden` has arguments, by stand-in and place, that stand-ins are not called with: see `_unwritable`.
    `unknown` is the call of which that could not be said, and why not, where it never can.
    """

    cut: Mapping[str, Any]
    structures: Mapping[str, Abstract]
    hidden: Mapping[str, Mapping[int, Abstract]]
    calls: dict[str, dict[tuple[Abstract, ...], Abstract]] = field(default_factory=dict)
    unknown: tuple[str, tuple[Abstract, ...], str] | None = None
    given: Abstract | None = None


class Tracer:
    """Traces one model.

    `entry` is the class of cells that call another, `cache` has the blocks of other traces, `patches` are those in
    force. `kept` counts the blocks that were traced here and are for others now.
    """

    def __init__(
        self,
        compile_cell: Compile,
        entry: type,
        worth: int = WORTH,
        cache: BlockCache | None = None,
        patches: tuple[str, ...] = (),
    ) -> None:
        self._compile = compile_cell
        self._entry = entry
        self._worth = worth
        self._prints = Fingerprints()
        self._constants = Constants()
        self._known: dict[BlockKey, Traced] = {}
        self._kept = KeptBlocks(cache, (*patches, f"worth {worth}"), self._constants)
        self.kept = 0
        self._found_unfit = False  # whether a trace showed that a class or cell is not to be cut out
        self._structures: dict[str, Abstract] = {}
        self._own_structures: dict[int, Abstract] = {}  # of cells, by id, that differ in it from others of their kind
        self._patterns: dict[type, list[tuple[Abstract, tuple[int, ...]]]] = {}
        self._irregular: set[type] = set()
        self._whole: dict[int, str] = {}  # classes and cells that are not to be cut out, by id, and why
        self._scopes: dict[int, str] = {}
        self._owners: dict[str, str] = {}  # scopes of the cells that hold parameters, by name
        self._attempts = 0
        self._given: Abstract | None = None  # what a block was last seen to give
        self._writer: stand_ins.Writer | None = None

    @property
    def began(self) -> bool:
        """Whether MindSpore traced anything yet."""
        return self._attempts > 0

    def pieces(self, cell: Any, inputs: Sequence[TensorKind], folder: Path) -> tuple[tuple[Piece, ...], Any]:
        """Trace a cell in pieces; write them to the folder. Return them and the message of what is around the blocks.

        Raises NoBlocksError where the cell is to be traced whole.
        """
        self._name_scopes(cell, "Default")
        if not self._choose(cell):
            raise NoBlocksError(self._why_none())
        with tempfile.TemporaryDirectory() as sources, without_lazy_inline(cell):
            self._writer = stand_ins.Writer(Path(sources), self._entry, self._constants)
            top = self._trace(cell, cell, inputs)
        if not top.calls and not self._choose(cell):
            raise NoBlocksError(self._why_none())
        return self._written(top, folder), top.message

    def share(self, cell: Any, inputs: Sequence[TensorKind], number: int, of: int) -> None:
        """Trace every `of`-th of the blocks that a trace of the cell would, from that `number` on, for the cache.

        Nothing is confirmed: a block that was called otherwise than was guessed is one that nobody asks for.
        """
        self._name_scopes(cell, "Default")
        if not self._choose(cell):
            return
        with tempfile.TemporaryDirectory() as sources, without_lazy_inline(cell):
            self._writer = stand_ins.Writer(Path(sources), self._entry, self._constants)
            for one, told in self._called(cell, inputs)[number::of]:
                if not self._found_unfit:  # then nothing would be kept
                    self._traced_or_refused(one, told)

    def _called(self, cell: Any, inputs: Sequence[TensorKind]) -> list[tuple[Any, tuple[Abstract, ...]]]:
        """A cell of each distinct block that is called in `cell`, as far as is known, with what it is called with."""
        while True:
            self._attempts += 1
            cut = self._choose(cell)
            attempt = _Attempt(cut, {key: self._structure(child) for key, child in cut.items()}, {})
            progress = self._progress()
            self._attempt(attempt, cell, inputs)
            if attempt.unknown is None or self._attempts > _ATTEMPTS:
                break
            self._learn(attempt)
            if self._progress() == progress:
                break
        found: dict[BlockKey, tuple[Any, tuple[Abstract, ...]]] = {}
        for key, called in attempt.calls.items():
            for told in called:
                found.setdefault(self._key(cut[key], told), (cut[key], told))
        return list(found.values())

    def _name_scopes(self, cell: Any, scope: str) -> None:
        """The scope that MindSpore gives nodes of each cell: names and classes of the cells it is in."""
        self._scopes[id(cell)] = scope
        for several in (cell._params.values(), *cell._params_list.values()):
            for parameter in several:
                if parameter is not None:  # held by several, it is of none
                    self._owners[parameter.name] = "" if parameter.name in self._owners else scope
        for name, child in cell._cells.items():
            if child is not None and id(child) not in self._scopes:
                self._name_scopes(child, f"{scope}/{name}-{type(child).__name__}")

    def _why_none(self) -> str:
        reasons = sorted(set(self._whole.values()))
        return reasons[0] if reasons else "no block occurs often enough"

    # --- which cells

    def _choose(self, cell: Any) -> dict[str, Any]:
        """The outermost cells below `cell` that are to be cut out, by key.

        What is within one that is cut out does not count, as it is not traced here: a cell that was chosen for that
        alone is not, and what is within it then counts.
        """
        chosen = self._outermost(cell, repeated((below for _, below in cell.cells_and_names()), self._prints))
        for _ in range(_CHOICES):
            counts = repeated(_outside(cell, {id(one) for one in chosen}), self._prints)
            before, chosen = chosen, self._outermost(cell, counts)
            if list(map(id, before)) == list(map(id, chosen)):
                break
        return {str(number): child for number, child in enumerate(chosen)}

    def _outermost(self, cell: Any, counts: Mapping[str, int]) -> list[Any]:
        """The outermost cells below `cell` that pay, where there are so many of each kind."""
        chosen: list[Any] = []
        pending = list(reversed(_children(cell)))
        seen: set[int] = set()
        while pending:
            child = pending.pop()
            if id(child) in seen:
                continue
            seen.add(id(child))
            if self._pays(child, counts) and self._can_be_cut(child):
                chosen.append(child)
            else:
                pending += reversed(_children(child))
        return chosen

    def _pays(self, cell: Any, counts: Mapping[str, int]) -> bool:
        kind, known = type(cell), self._prints.of(cell)
        if isinstance(cell, (nn.CellList, nn.SequentialCell, nn.CellDict)) or kind.__module__.startswith("mindspore."):
            return False
        return (counts.get(known.digest, 0) - 1) * known.size >= self._worth

    def _can_be_cut(self, cell: Any) -> bool:
        kind = type(cell)
        if id(kind) not in self._whole:
            reason = stand_ins.why_not(kind)
            if reason:
                self._refuse(kind, kind, reason)
        if "construct" in vars(cell):
            self._refuse(cell, kind, "its construct is its own, not its class's")
        return id(kind) not in self._whole and id(cell) not in self._whole

    def _refuse(self, what: Any, kind: type, reason: str) -> None:
        self._whole.setdefault(id(what), f"{kind.__name__}: {reason}")

    def _found(self, what: Any, kind: type, reason: str) -> None:
        """As `_refuse`, of what a trace showed and the class alone does not."""
        self._found_unfit = True
        self._refuse(what, kind, reason)

    # --- tracing with cells cut out

    def _trace(self, cell: Any, entry: Any, inputs: Sequence[TensorKind]) -> Traced:
        """Trace `entry`, which calls `cell` or is it. Raises what MindSpore does where no guess can be the cause."""
        hidden: Mapping[str, Mapping[int, Abstract]] = {}
        while True:
            self._attempts += 1
            if self._attempts > _ATTEMPTS:
                raise NoBlocksError("the types of its blocks are not found out")
            cut = self._choose(cell)
            attempt = _Attempt(cut, {key: self._structure(child) for key, child in cut.items()}, hidden)
            progress = self._progress()
            message, error = self._attempt(attempt, entry, inputs)
            right = self._confirm(attempt)
            if attempt.unknown is not None and right:
                self._learn(attempt)
            elif message is not None and right:
                return self._made(cell, message, attempt)
            if self._progress() != progress:
                hidden = {}
            elif right and message is None and not hidden and (found := _unwritable(attempt)):
                hidden = found
            else:
                raise error if error is not None else NoBlocksError("its blocks give now this, now that")

    def _made(self, cell: Any, message: Any, attempt: _Attempt) -> Traced:
        """What an attempt came to in which every guess was right."""
        names = (plain_name(parameter.name) for parameter in message.graph.parameter)
        return Traced(
            kind=type(cell).__name__,
            scope=self._scopes[id(cell)],
            parameters=self._parameters(cell),
            owners={name: self._owners[name] for name in names if self._owners.get(name)},
            message=message,
            result=attempt.given,
            made=attempt.given,
            calls={
                mark: Called(self._key(one, next(iter(called))), self._parameters(one), self._scopes[id(one)])
                for mark, called in attempt.calls.items()
                for one in (attempt.cut[mark],)
            },
        )

    def _parameters(self, cell: Any) -> tuple[str, ...]:
        return tuple(parameter.name for parameter in self._prints.of(cell).parameters)

    def _key(self, cell: Any, told: tuple[Abstract, ...]) -> BlockKey:
        return self._prints.of(cell).digest, told

    def _progress(self) -> tuple[int, ...]:
        return len(self._known), len(self._whole), len(self._own_structures)

    def _attempt(self, attempt: _Attempt, entry: Any, inputs: Sequence[TensorKind]) -> tuple[Any, Exception | None]:
        assert self._writer is not None
        with self._writer.replaced(attempt.cut, attempt.structures, attempt.hidden), self._asked(attempt):
            try:
                return self._compile(entry, inputs), None
            except Exception as error:  # MindSpore raises what the stand-in does, or something else about it
                return None, error

    @contextmanager
    def _asked(self, attempt: _Attempt) -> Iterator[None]:
        """Answer what MindSpore asks of stand-ins."""

        def given(result: Mapping[str, Any]) -> None:
            told = describe(result, self._constants)
            if attempt.given is None or plain(attempt.given) != plain(told):
                attempt.given = self._given = told

        stand_ins.BlockOperator.infer = staticmethod(lambda key, arguments: self._infer(attempt, key, arguments))
        stand_ins.ResultOperator.told = staticmethod(given)
        try:
            yield
        finally:
            del stand_ins.BlockOperator.infer, stand_ins.ResultOperator.told

    def _infer(self, attempt: _Attempt, key: str, arguments: Sequence[Mapping[str, Any]]) -> Abstract:
        try:
            told = tuple(describe(argument, self._constants) for argument in arguments)
        except UnknownTypeError as error:
            attempt.unknown = (key, (), f"it is called with {error}")
            raise
        hidden = attempt.hidden.get(key, {})
        told = tuple(hidden.get(place, one) for place, one in enumerate(told))
        called = attempt.calls.setdefault(key, {})
        for known, result in called.items():
            if known == told or tuple(map(plain, known)) == told:  # seen again after dictionaries became tuples
                return result
        predicted = self._predict(attempt.cut[key], told)
        if predicted is not None and not _alike(predicted, attempt.structures[key]):
            self._own_structures[id(attempt.cut[key])] = predicted
            predicted = None
        if predicted is None:
            attempt.unknown = (key, told, "")
            raise UnknownTypeError("what a block gives")
        called[told] = predicted
        return predicted

    def _predict(self, cell: Any, told: tuple[Abstract, ...]) -> Abstract | None:
        """What the block gives, known or guessed."""
        known = self._known.get((self._prints.of(cell).digest, told))
        if known is not None:
            return known.result
        structure, given = self._structure(cell), [leaf for one in told for leaf in leaves(one)]
        for pattern, where in self._patterns.get(type(cell), ()):
            if type(cell) not in self._irregular and _alike(pattern, structure) and max(where, default=-1) < len(given):
                return with_leaves(pattern, iter([given[place] for place in where]))
        return guessed_result(type(cell), told) if self._is_new(type(cell)) else None

    def _is_new(self, kind: type) -> bool:
        """Whether nothing was learnt of a class yet."""
        return kind not in self._patterns and kind not in self._irregular

    def _structure(self, cell: Any) -> Abstract:
        """The structure that is expected of what a block gives: as last time, as others of its class, as its source."""
        known = self._own_structures.get(id(cell), self._structures.get(self._prints.of(cell).digest))
        if known is not None:
            return known
        patterns = self._patterns.get(type(cell))
        if patterns:
            return patterns[0][0]
        guess = guessed_structure(type(cell)) if self._is_new(type(cell)) else None
        return Leaf((), "") if guess is None else guess

    def _learn(self, attempt: _Attempt) -> None:
        """Trace the block that could not be told of, or do not cut it out any more."""
        assert attempt.unknown is not None
        key, told, reason = attempt.unknown
        cell = attempt.cut[key]
        if reason:
            self._found(type(cell), type(cell), reason)
        else:
            self._traced_or_refused(cell, told)

    def _confirm(self, attempt: _Attempt) -> bool:
        """Whether each block gives what was said; those that were not traced yet are.

        Up to the first that gives something else: with what the others were called may follow from that.
        """
        for key, called in attempt.calls.items():
            cell = attempt.cut[key]
            if len(called) > 1:
                self._found(cell, type(cell), f"it is called in {len(called)} ways")
                return False
            for told, guessed in called.items():
                found = self._traced_or_refused(cell, told)
                if found is None or found.result != guessed:
                    return False
        return True

    # --- one block

    def _traced_or_refused(self, cell: Any, told: tuple[Abstract, ...]) -> Traced | None:
        """What was traced of a block, here or elsewhere; None where its class is found not to be cut out."""
        key = self._key(cell, told)
        if key not in self._known:
            if not (self._kept.is_there and self._is_for_all(cell)):
                return self._traced_here(cell, told)
            with self._kept.claimed(key):
                if not self._recalled(cell, key):
                    traced = self._traced_here(cell, told)
                    if traced is not None and self._is_for_all(cell):
                        self._kept.keep(key, traced)
                        self.kept += 1
                    return traced
        return self._known[key]

    def _is_for_all(self, cell: Any) -> bool:
        """Whether what is traced of a cell is what any model would have traced of an equal one.

        Where it was found that a class is not to be cut out, what is traced of another cell may have one of it inside
        that elsewhere is cut out of it.
        """
        return self._prints.of(cell).lasts and not self._found_unfit

    def _recalled(self, cell: Any, key: BlockKey) -> bool:
        """Take a block, and those within it, from the cache, if they are there."""
        found = self._kept.find(key, len(self._parameters(cell)), mind_ir_pb2.ModelProto)
        if found is None:
            return False
        for (digest, told), traced in found.items():
            self._known.setdefault((digest, told), traced)
            assert traced.result is not None
            self._structures[digest] = traced.result
        self._remember(cell, found[key], key[1])
        return True

    def _traced_here(self, cell: Any, told: tuple[Abstract, ...]) -> Traced | None:
        kind = type(cell)
        try:
            traced = self._trace_block(cell, told)
        except NoBlocksError:
            raise
        except Exception as error:
            self._found(kind, kind, f"it cannot be traced by itself ({first_line(error)})")
            return None
        reason = self._why_unfit(traced)
        if reason:
            self._found(kind, kind, reason)
            return None
        self._known[self._key(cell, told)] = traced
        self._remember(cell, traced, told)
        return traced

    def _trace_block(self, cell: Any, told: tuple[Abstract, ...]) -> Traced:
        """Trace one block; of what it gives, dictionaries are taken apart, which MindSpore does not write."""
        assert self._writer is not None
        self._given = None
        try:
            return self._trace(cell, *self._writer.entry(cell, told))
        except NoBlocksError:
            raise
        except Exception:
            given = self._last_given()
            if given is None or not has_dictionary(given):
                raise
        traced = self._trace(cell, *self._writer.entry(cell, told, given))
        assert traced.made is not None
        traced.result = with_leaves(given, leaves(traced.made))
        return traced

    def _last_given(self) -> Abstract | None:
        return self._given

    def _why_unfit(self, traced: Traced) -> str:
        result = traced.result
        if traced.message.functions:
            return "its graph has functions"
        if result is None or next(leaves(result), None) is None:
            return "it gives no tensor"
        if not all(stand_ins.is_literal(self._constants.value(fixed)) for fixed in _fixed(result)):
            return "it gives a tensor that is known while tracing"
        return ""

    def _remember(self, cell: Any, traced: Traced, told: tuple[Abstract, ...]) -> None:
        """How what a block gives follows from what it takes, as a guess for others of its class."""
        assert traced.result is not None
        self._structures[self._prints.of(cell).digest] = traced.result
        where = places(traced.result, told)
        if where is None:
            self._irregular.add(type(cell))
            return
        patterns = self._patterns.setdefault(type(cell), [])
        if not any(_alike(traced.result, known) and where == other for known, other in patterns):
            patterns.append((traced.result, where))

    # --- what is left behind

    def _written(self, top: Traced, folder: Path) -> tuple[Piece, ...]:
        """Write the messages of all pieces that are part of the model; the first is `top`."""
        found: list[Traced] = [top]
        numbers = {id(top): 0}
        for traced in found:  # grows
            for one in traced.calls.values():
                called = self._known[one.block]
                if id(called) not in numbers:
                    numbers[id(called)] = len(found)
                    found.append(called)
        pieces = []
        for number, traced in enumerate(found):
            file = f"piece_{number}.mindir"
            (folder / file).write_bytes(traced.message.SerializeToString(deterministic=True))
            calls = {mark: self._call(one, numbers) for mark, one in traced.calls.items()}
            pieces.append(Piece(file, traced.kind, calls, traced.scope, dict(traced.owners)))
        return tuple(pieces)

    def _call(self, one: Called, numbers: Mapping[int, int]) -> PieceCall:
        called = self._known[one.block]
        assert called.made is not None
        return PieceCall(
            piece=numbers[id(called)],
            parameters=dict(zip(called.parameters, one.parameters, strict=True)),
            arguments=[tree(abstract) for abstract in one.block[1]],
            result=tree(called.made),
            scope=one.scope,
        )


@contextmanager
def without_lazy_inline(cell: Any) -> Iterator[None]:
    """Have MindSpore inline every cell below, those too that `lazy_inline` marks: it makes functions of them."""
    marked = [vars(below) for _, below in cell.cells_and_names() if _LAZY in vars(below)]
    marks = [held.pop(_LAZY) for held in marked]
    try:
        yield
    finally:
        for held, mark in zip(marked, marks, strict=True):
            held[_LAZY] = mark


def _unwritable(attempt: _Attempt) -> dict[str, dict[int, Abstract]]:
    """By stand-in and place, arguments that MindSpore cannot write to a file: constant structures that hold None.

    When a trace is begun again with nothing learnt, stand-ins are called with the same again, and need not be told.
    """
    found = {
        key: {place: one for place, one in enumerate(told) if _holds_none(one) and not any(leaves(one))}
        for key, called in attempt.calls.items()
        for told in called
    }
    return {key: places for key, places in found.items() if places}


def _holds_none(abstract: Abstract) -> bool:
    return isinstance(abstract, Group) and (NONE in abstract.parts or any(map(_holds_none, abstract.parts)))


def _outside(cell: Any, chosen: Collection[int]) -> Iterator[Any]:
    """Each cell below `cell` once, those that are chosen, by id, too, but none below them."""
    pending, seen = _children(cell), set()
    while pending:
        below = pending.pop()
        if id(below) not in seen:
            seen.add(id(below))
            yield below
            pending += [] if id(below) in chosen else _children(below)


def _children(cell: Any) -> list[Any]:
    return [child for child in cell._cells.values() if child is not None]


def _alike(one: Abstract, other: Abstract) -> bool:
    """Whether two structures are the same but for their tensors."""
    nothing = Leaf((), "")
    return _emptied(one, nothing) == _emptied(other, nothing)


def _emptied(abstract: Abstract, leaf: Leaf) -> Abstract:
    return with_leaves(abstract, iter([leaf] * len(list(leaves(abstract)))))


def _fixed(abstract: Abstract) -> Iterator[Fixed]:
    if isinstance(abstract, Fixed):
        yield abstract
    elif isinstance(abstract, Group):
        for part in abstract.parts:
            yield from _fixed(part)
