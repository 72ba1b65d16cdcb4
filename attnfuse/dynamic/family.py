"""Several graphs that are one but for numbers which follow the batch: found by a walk over every field of each.

The messages are compared whole: names, operators, constants, attributes, weights. What differs must be a whole number
on a line through all the batches, or the bytes of a constant that has as many rows as a line says, all equal or counted
from 0. Anything else is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnfuse.dynamic.lines import Line, line_through
from attnfuse.errors import TraceError
from attnfuse.ir.graph import Node, short_name
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.mindir.schema import GraphProto, ModelProto, NodeProto, TensorProto

Path = tuple[str | int, ...]
"""Fields and indices, from a message down to a number or to bytes."""


@dataclass(frozen=True, slots=True)
class Row:
    """A tensor whose rows are all these bytes."""

    data: bytes

    def repeated(self, count: int) -> bytes:
        """So many rows."""
        return self.data * count


@dataclass(frozen=True, slots=True)
class Counted:
    """Whole numbers 0, 1, 2, …, one in each row."""

    dtype: DType

    def repeated(self, count: int) -> bytes:
        """So many numbers."""
        return np.arange(count).astype(self.dtype.numpy).tobytes()


@dataclass(frozen=True, slots=True)
class BatchDependentNumber:
    """One number of a message that follows the batch. With `rows`, the bytes of a tensor of that many rows."""

    path: Path
    line: Line
    rows: Row | Counted | None = None


_NUMBERS = ("dims", "ints", "i")
"""Fields that hold sizes: dimensions, and the elements and scalars of constants. Others (types, say) are no numbers."""

Owner = tuple[str, str]
"""What a place is in: "node", "input" or "output", and the value's name. (An output is told by its place.)"""


@dataclass(frozen=True, slots=True)
class BatchFamily:
    """One of the graphs, and every place in which the others differ from it."""

    component: str
    model: ModelProto
    batch: int
    places: Mapping[Owner, tuple[BatchDependentNumber, ...]]

    def at(self, batch: int) -> ModelProto:
        """The graph at that batch; at those it was found from, byte for byte the graph that was given."""
        made = ModelProto()
        made.CopyFrom(self.model)
        write(made, self.places, batch)
        return made

    def refuse(self, node: Node, why: str) -> TraceError:
        """The graph for any batch cannot be written, for the sake of that node."""
        return TraceError(
            f"component {self.component} cannot be written for any batch: {node.op} {short_name(node.name)}: {why}; "
            "compile it without --dynamic, once for each batch."
        )


def family_of(component: str, models: Mapping[int, ModelProto]) -> BatchFamily:
    """The family of the graphs of one component, by batch; three of them or more.

    Raises TraceError where they are not one.
    """
    batches, messages = tuple(models), tuple(models.values())
    comparison = _Comparison(component, batches)
    places: dict[Owner, tuple[BatchDependentNumber, ...]] = {}
    comparison.expect_equal([_without(m, "graph", "functions") for m in messages], "what surrounds the graph")
    graphs = [(m.graph, *m.functions) for m in messages]
    comparison.expect_one({len(g) for g in graphs}, "the number of functions")
    for at_once in zip(*graphs, strict=True):
        comparison.expect_one({len(g.node) for g in at_once}, f"the number of nodes in {at_once[0].name}")
        comparison.expect_equal([_without(g, "node", "input", "output") for g in at_once], "its weights")
        for kind, lists in (
            ("input", [g.input for g in at_once]),
            ("output", [g.output for g in at_once]),
            ("node", [g.node for g in at_once]),
        ):
            comparison.expect_one({len(messages) for messages in lists}, f"the number of {kind}s")
            for position, several in enumerate(zip(*lists, strict=True)):
                found = comparison.places(several, _place_text(kind, several[0]))
                if found:
                    places[_owner(kind, at_once[0], position)] = found
    return BatchFamily(component, messages[0], batches[0], places)


def write(model: ModelProto, places: Mapping[Owner, Sequence[BatchDependentNumber]], batch: int | None) -> None:
    """Fill the places with the numbers of that batch, or with -1 (declared types only)."""
    for owner, message in owners(model):
        for place in places.get(owner, ()):
            value: int | bytes = -1 if batch is None else place.line.at(batch)
            if place.rows is not None and isinstance(value, int):
                value = place.rows.repeated(value)
            assign(message, place.path, value)


def owners(model: ModelProto) -> Iterator[tuple[Owner, Any]]:
    """Every message that can have places, with what it is called."""
    for graph in (model.graph, *model.functions):
        for kind, messages in (("input", graph.input), ("output", graph.output), ("node", graph.node)):
            for position, message in enumerate(messages):
                yield _owner(kind, graph, position), message


def _owner(kind: str, graph: GraphProto, position: int) -> Owner:
    if kind == "node":
        return kind, graph.node[position].output[0]
    return kind, f"{graph.name}:{position}"


def _place_text(kind: str, message: Any) -> str:
    if isinstance(message, NodeProto):
        return f"node {short_name(message.output[0])}"
    return f"{kind} {short_name(message.name)}"


def _without(message: Any, *fields: str) -> bytes:
    copy = type(message)()
    copy.CopyFrom(message)
    for field in fields:
        copy.ClearField(field)
    return bytes(copy.SerializeToString(deterministic=True))


def assign(message: Any, path: Path, value: int | bytes) -> None:
    """Write the number or the bytes at the path."""
    for step in path[:-1]:
        message = message[step] if isinstance(step, int) else getattr(message, step)
    last = path[-1]
    if isinstance(last, int):
        message[last] = value
    else:
        setattr(message, last, value)


@dataclass(frozen=True, slots=True)
class _Comparison:
    component: str
    batches: tuple[int, ...]

    def refuse(self, what: str) -> TraceError:
        message = " and ".join(map(str, self.batches[:2]))
        return TraceError(
            f"component {self.component} is not one graph at every batch: {what} differs between batch {message}; "
            "compile it without --dynamic, once for each batch."
        )

    def expect_one(self, values: set[int], what: str) -> None:
        if len(values) > 1:
            raise self.refuse(what)

    def expect_equal(self, messages: Sequence[bytes], what: str) -> None:
        if any(message != messages[0] for message in messages):
            raise self.refuse(what)

    def places(self, messages: Sequence[Any], place: str) -> tuple[BatchDependentNumber, ...]:
        """Where the messages differ. Most do not: they are compared by their bytes first."""
        first = messages[0].SerializeToString(deterministic=True)
        if all(message.SerializeToString(deterministic=True) == first for message in messages[1:]):
            return ()
        return tuple(self._walk(messages, (), place))

    def _walk(self, messages: Sequence[Any], path: Path, place: str) -> Iterator[BatchDependentNumber]:
        fields = [[field.name for field, _ in message.ListFields()] for message in messages]
        if any(names != fields[0] for names in fields):
            raise self.refuse(place)
        for name in fields[0]:
            values = [getattr(message, name) for message in messages]
            if isinstance(messages[0], TensorProto) and name == "raw_data":
                yield from self._rows(messages, (*path, name), place)
            else:
                yield from self._values(values, (*path, name), place)

    def _values(self, values: Sequence[Any], path: Path, message: str) -> Iterator[BatchDependentNumber]:
        first = values[0]
        if hasattr(first, "ListFields"):
            yield from self._walk(values, path, message)
        elif isinstance(first, str | bytes | bool | float):
            if any(value != first for value in values):
                raise self.refuse(message)
        elif isinstance(first, int):
            if any(value != first for value in values):
                field = next(step for step in reversed(path) if isinstance(step, str))
                line = line_through(values, self.batches) if field in _NUMBERS else None
                if line is None:
                    raise self.refuse(message)
                yield BatchDependentNumber(path, line)
        else:  # a repeated field
            if len({len(value) for value in values}) > 1:
                raise self.refuse(message)
            for position, elements in enumerate(zip(*values, strict=True)):
                yield from self._values(elements, (*path, position), message)

    def _rows(self, tensors: Sequence[TensorProto], path: Path, message: str) -> Iterator[BatchDependentNumber]:
        """A tensor's bytes: the same in all, or so many rows, all equal or counted, as its first dimension says."""
        first = tensors[0]
        if all(tensor.raw_data == first.raw_data for tensor in tensors):
            return
        counts = [tensor.dims[0] if tensor.dims else 0 for tensor in tensors]
        line = line_through(counts, self.batches) if all(counts) else None
        if line is None or line.slope == 0:
            raise self.refuse(message)
        kind = dtypes.from_wire(first.data_type)
        forms: list[Row | Counted] = [Row(first.raw_data[: len(first.raw_data) // counts[0]])]
        if kind is not None and kind.numpy.kind == "i" and set(first.dims[1:]) <= {1}:
            forms.append(Counted(kind))
        for form in forms:
            if all(tensor.raw_data == form.repeated(count) for tensor, count in zip(tensors, counts, strict=True)):
                yield BatchDependentNumber(path, line, form)
                return
        raise self.refuse(f"{message}, a constant whose rows are neither equal nor counted,")
