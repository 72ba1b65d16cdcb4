"""Values made as long as the batch whose rows are all equal, or counted.

A timestep repeated for every image, a mask of ones: each is one row of a size that is known, and a number of rows that
is not. Zeros, subtracted from the row, make it as long as an input of the graph that has as many rows, by operators
that look at its shape only:

    StridedSlice (the first of every other axis)  →  ZerosLike  →  Cast  →  Reshape [-1, 1, …]  →  Sub from the row

The difference is the row, bit by bit. (A product with ones is it too, but where the row is a constant and another
constant multiplies the product, MindSpore 2.7.1's compiler exchanges the two without end.) A condition is the
LogicalAnd with ones instead, and 0, 1, 2, … the sum of the ones before.
MindSpore Lite takes all of these, whether the batch is chosen among some (`dynamic_batch_size`) or any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attnfuse.dynamic.family import BatchDependentNumber, BatchFamily, Counted, Owner, assign
from attnfuse.dynamic.lines import Line
from attnfuse.ir.builder import Builder
from attnfuse.ir.edit import Edit
from attnfuse.ir.graph import Model, Node, attribute, short_name
from attnfuse.ir.operators.columns import Hands, Kernel
from attnfuse.ir.questions import aliased, argument_name, hands, kernel, sizes_position
from attnfuse.ir.types import UNKNOWN_DIM, TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.schema import NodeProto

_FIRST_DIMENSION = ("attribute", 0, "tensors", 0, "dims", 0)


def is_repeated(node: Node) -> bool:
    """Whether the node repeats an operand to a shape, or as often as a list says, in memory of its own."""
    has_list = sizes_position(node) is not None
    return hands(node) is Hands.REPEATED and has_list and not aliased(node)


def is_filled(node: Node) -> bool:
    """Whether the node fills a shape with one number."""
    return kernel(node) is Kernel.CREATE and sizes_position(node) is not None


class Rows:
    """Stretches values of one graph, into an `Edit`; `declared` are the places in the types of what it made."""

    def __init__(self, model: Model, edit: Edit, family: BatchFamily) -> None:
        self.declared: dict[Owner, tuple[BatchDependentNumber, ...]] = {}
        self._model, self._edit, self._family = model, edit, family
        graph = model.proto.graph
        self._inputs: dict[str, Owner] = {
            value.name: ("input", f"{graph.name}:{position}") for position, value in enumerate(graph.input)
        }

    def stretch_constant(self, node: Node, places: tuple[BatchDependentNumber, ...]) -> None:
        """A tensor of equal rows, or of 0, 1, 2, … one a row."""
        line, rows = next((place.line, place.rows) for place in places if place.rows is not None)
        others = [place for place in places if place.rows is None]
        tensor_type = self._model.type_of(node.name)
        if tensor_type is None or any(place.path[-2:] != ("dims", 0) or place.line != line for place in others):
            raise self._family.refuse(node, "a constant follows the batch in more than its first dimension")
        made = self._builder(node)
        if isinstance(rows, Counted):
            ones = self._filled("OnesLike", made, node, tensor_type, line)
            self._finish(
                made,
                node,
                "CumSum",
                [ones, made.constant(0), made.constant(True), made.constant(False)],
                tensor_type,
                line,
            )
            return
        assert rows is not None
        row = NodeProto()
        row.CopyFrom(node.proto)
        for place in places:
            assign(row, place.path, 1 if place.rows is None else rows.data)
        self._repeat(made, node, made.variant(row), tensor_type, line)

    def stretch_shape(self, node: Node, shape: tuple[object, ...], lines: Mapping[int, Line]) -> None:
        """A node that repeats one row, or fills a shape with one number."""
        tensor_type = self._model.type_of(node.name)
        position = sizes_position(node)
        assert position is not None  # the shape is given there
        sizes = tuple(n for n in shape if isinstance(n, int))
        if tensor_type is None or tuple(lines) != (0,) or not len(shape) == len(sizes) == tensor_type.rank:
            raise self._family.refuse(node, "it follows the batch in more than its first dimension")
        if is_repeated(node):
            operand = self._model.type_of(node.inputs[0])
            longer = (
                operand is not None and operand.rank == tensor_type.rank and self._follows(node.inputs[0], lines[0])
            )
            if argument_name(node, position) == "shape" and longer:
                self._broadcast_rows(node, tensor_type, lines[0])
                return
            if (
                operand is None
                or operand.rank > tensor_type.rank
                or (operand.rank == tensor_type.rank and operand.dims[0] != 1)
            ):
                raise self._family.refuse(node, "it repeats more than one row")
            if operand.dims == (1, *tensor_type.dims[1:]):  # it is the row
                self._repeat(self._builder(node), node, node.inputs[0], tensor_type, lines[0])
                return
        made = self._builder(node)
        row = NodeProto()
        row.CopyFrom(node.proto)
        row.input[position] = made.constant((1, *sizes[1:]))
        declared = attribute(row, "shape")
        assert declared is not None  # its type is known
        declared.tensors[0].dims[0] = 1
        self._repeat(made, node, made.variant(row), tensor_type, lines[0])

    def are_those_of(self, value: str, other: str) -> bool:
        """Whether both values have as many rows at every batch, and nothing else of theirs follows it."""
        places = self._places(value)
        return len(places) == 1 and self._follows(other, places[0].line) and self._follows(value, places[0].line)

    def argue(self, node: Node, arguments: Mapping[int, int | tuple[int, ...]]) -> None:
        """Give the node other constants as arguments, by position."""
        made = self._builder(node)
        for position, value in arguments.items():
            self._edit.arguments[node.name, position] = made.constant(value)
        made.stand_before()

    def _repeat(self, made: Builder, node: Node, row: str, tensor_type: TensorType, line: Line) -> None:
        """Replace the node by `row`, as often as the line says."""
        op, neutral = ("LogicalAnd", "OnesLike") if tensor_type.dtype is dtypes.BOOL else ("Sub", "ZerosLike")
        self._finish(made, node, op, [row, self._filled(neutral, made, node, tensor_type, line)], tensor_type, line)

    def _finish(
        self, made: Builder, node: Node, op: str, inputs: Sequence[str], tensor_type: TensorType, line: Line
    ) -> None:
        """Replace the node by what was made; its first dimension is on the line."""
        if node.graph.name != self._model.proto.graph.name or any(
            use.node is not None and use.node.graph.name != node.graph.name for use in self._model.uses(node.name)
        ):
            raise self._family.refuse(node, "it is used in a function")
        unknown = TensorType((UNKNOWN_DIM, *tensor_type.dims[1:]), tensor_type.dtype)
        made.finish(made.op(op, *inputs, declare=unknown))
        self.declared["node", node.name] = (BatchDependentNumber(_FIRST_DIMENSION, line),)

    def _broadcast_rows(self, node: Node, tensor_type: TensorType, line: Line) -> None:
        """A broadcast of as many rows already: along other axes only, if at all."""
        operand = self._model.type_of(node.inputs[0])
        assert operand is not None
        if operand.dims[1:] == tensor_type.dims[1:]:
            self._edit.rename[node.name] = node.inputs[0]
            self._edit.remove.add(node.name)
            return
        times = (
            1,
            *(1 if size == had else size for size, had in zip(tensor_type.dims[1:], operand.dims[1:], strict=True)),
        )
        made = self._builder(node)
        self._finish(made, node, "Tile", [node.inputs[0], made.constant(times)], tensor_type, line)

    def _follows(self, value: str, line: Line) -> bool:
        """Whether the value has as many rows as the line says, and nothing else of its type follows the batch."""
        sizes = [place for place in self._places(value) if place.rows is None]
        return [(place.path[-2:], place.line) for place in sizes] == [(("dims", 0), line)]

    def _places(self, value: str) -> Sequence[BatchDependentNumber]:
        return self._family.places.get(self._inputs.get(value, ("node", value)), ())

    def _filled(self, op: str, made: Builder, node: Node, tensor_type: TensorType, line: Line) -> str:
        """Zeros or ones, by the operator that makes them, of the type's element type, [rows, 1, …], of its rank."""
        value, source = self._source(node, line)
        rank = source.rank
        counted = TensorType((UNKNOWN_DIM, *(1,) * (rank - 1)), source.dtype)
        if source.dims[1:] != counted.dims[1:]:
            begin, end, step = (0,) * rank, (0,) + (1,) * (rank - 1), (1,) * rank
            masks = (0, 1, 0, 0, 0)  # that of ends is 1: all of the first axis
            arguments = [*map(made.constant, (begin, end, step)), *map(made.constant, masks)]
            value = self._apply(made, "StridedSlice", [value, *arguments], counted, line)
        value = self._apply(made, op, [value], counted, line)
        if source.dtype is not tensor_type.dtype:
            counted = TensorType(counted.dims, tensor_type.dtype)
            value = self._apply(made, "Cast", [value, made.constant(tensor_type.dtype.type_id)], counted, line)
        if tensor_type.rank != rank:
            shape = (UNKNOWN_DIM, *(1,) * (tensor_type.rank - 1))
            value = self._apply(
                made, "Reshape", [value, made.constant(shape)], TensorType(shape, tensor_type.dtype), line
            )
        return value

    def _source(self, node: Node, line: Line) -> tuple[str, TensorType]:
        """An input of the graph with so many rows; one of no more axes than needed."""
        found: list[tuple[int, str, TensorType]] = []
        for value in self._inputs:
            tensor_type = self._model.type_of(value)
            if tensor_type is not None and self._follows(value, line):
                found.append((tensor_type.rank, value, tensor_type))
        if not found:
            raise self._family.refuse(node, "no input has as many rows as it makes")
        _, name, tensor_type = min(found, key=lambda one: one[:2])
        return name, tensor_type

    def _builder(self, node: Node) -> Builder:
        """What makes the nodes that stand before the node, named after it."""
        site = "rows_" + short_name(node.name).replace(":", "_")
        return Builder(self._edit, node, site, share=False)

    def _apply(self, made: Builder, op: str, inputs: Sequence[str], tensor_type: TensorType, line: Line) -> str:
        """One application, of that type when the first dimension, which is on the line, is left open."""
        name = made.op(op, *inputs, declare=tensor_type)
        self.declared["node", name] = (BatchDependentNumber(_FIRST_DIMENSION, line),)
        return name
