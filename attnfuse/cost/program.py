"""A graph as the engine's compiler sees it before it fuses anything: operations on tensors, without what costs nothing.

Calls are inlined, tuples taken apart, weights read where they are used. What constants alone make is a constant
(rule 1); Identity, Depend, Contiguous, pairs of Casts and views are no operations (rules 1 and 2).

A tensor is told by a number. An operation reads references: a tensor, and the shape that its views gave it, by which
`regions` and `formats` know where a Reshape stands between. May import `sorts` of this package and `attnfuse.ir`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from attnfuse.cost.flops import (
    attention_flops,
    convolution_flops,
    product_flops,
    transposed_convolution_flops,
)
from attnfuse.cost.sorts import MATRIX_TRANSPOSES, TRANSPOSED_CONVOLUTIONS, Sort, sort_of
from attnfuse.ir.graph import CALL, CONSTANT, Model, Node, live_values, short_name
from attnfuse.ir.operators.arguments import NotKnown, TypeMismatch
from attnfuse.ir.operators.table import operator
from attnfuse.ir.questions import changed, factor_positions, reads_memory
from attnfuse.ir.types import TensorType, ValueType
from attnfuse.ir.values import Values
from attnfuse.mindir.dtypes import BOOL
from attnfuse.mindir.schema import GraphProto

_DEEPEST = 64
"""Calls within each other."""
_MOST = 200_000
"""Nodes carried out, and tensors read by one: of functions and tuples, each twice in the next, nobody sees the end."""


class NotEstimated(Exception):  # noqa: N818  # a verdict about a graph, no failure of this program
    """The graph cannot be estimated; the message says why."""


@dataclass(frozen=True, slots=True)
class Ref:
    """A tensor as an operation sees it."""

    tensor: int
    dims: tuple[int, ...]


@dataclass(slots=True)
class Tensor:
    """Memory of the device. Constants and states (weights that are written) are apart from what is computed."""

    tensor_type: TensorType
    block: int
    """The tensor in whose memory it lies: itself, unless a Concat or Split without a task says otherwise."""
    constant: bool = False
    is_state: bool = False
    bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.bytes = self.tensor_type.size * self.tensor_type.dtype.itemsize


@dataclass(slots=True)
class Operation:
    """What may become a kernel, or part of one."""

    op: str
    sort: Sort
    reads: list[Ref]
    writes: list[int]
    flops: float = 0.0
    passes: int = 1
    """How often the first operand is read."""
    permutation: tuple[int, ...] = ()
    axis: int = 0
    written_in_place: int = 0
    """Bytes written to memory that is there already."""
    node: str = ""
    """The node of the graph that it is, by its value's name; with functions, of several operations the same."""


@dataclass(slots=True)
class Program:
    """Operations in an order in which they can run, that of the engine's nodes (`put_in_converter_order`)."""

    tensors: list[Tensor]
    operations: list[Operation]
    inputs: list[int]
    outputs: list[Ref]


_Entry: TypeAlias = "Ref | tuple[_Entry, ...] | None"


def read_program(model: Model) -> Program:
    """The program of a graph.

    Raises NotEstimated where sizes are left to run time, control flow decides what runs, a type is not known, or a node
    is given what its operator does not take, which no check of the graph could tell.
    """
    reader = _Reader(model)
    graph = model.proto.graph
    entries: dict[str, _Entry] = {}
    for value in graph.input:
        entries[value.name] = reader.given(value.name, reader.values.argument(value.name).value_type)
    reader.program.inputs = [ref.tensor for ref in _refs(entries.values())]
    reader.program.outputs = list(_refs(reader.run(graph, entries)))
    drop_unread_casts(reader.program)
    put_in_converter_order(reader.program)
    return reader.program


def drop_unread_casts(program: Program) -> None:
    """Take out the Casts that nobody reads now that what undid them is gone."""
    read = {ref.tensor for ref in program.outputs}
    kept = []
    for operation in reversed(program.operations):
        if operation.op != "Cast" or operation.writes[0] in read:
            kept.append(operation)
            read |= {ref.tensor for ref in operation.reads}
    program.operations = kept[::-1]


def put_in_converter_order(program: Program) -> None:
    """Put the operations in the order in which MindSpore's converter makes the engine's nodes of them.

    The order of the file is lost when a graph is loaded. The converter lists its nodes anew, depth first from what the
    graph gives, of each node the last operand first (`GetOrderedCNodes` of graph_ir/convert.cc, `TopoSort` of
    graph_utils.cc: operands are put on a stack from first to last). A program that changes memory in place keeps the
    order of the file, for effects are not among its operands.
    """
    maker = {tensor: at for at, operation in enumerate(program.operations) for tensor in operation.writes}
    todo = [maker[ref.tensor] for ref in program.outputs if ref.tensor in maker]
    seen, order = set[int](), dict[int, None]()
    while todo:
        at = todo[-1]
        if at in seen:
            order[todo.pop()] = None
            continue
        seen.add(at)
        reads = program.operations[at].reads
        todo += [maker[ref.tensor] for ref in reads if ref.tensor in maker and maker[ref.tensor] not in order]
    if len(order) == len(program.operations):
        program.operations = [program.operations[at] for at in order]


def is_operator(node: Node) -> bool:
    """Whether the node is neither a constant nor a call."""
    return node.op not in (CONSTANT, CALL)


def _named(value: str) -> str:
    """A value's name for people."""
    return short_name(value) if value.count(":") > 1 else value.rpartition(":")[2]


def _refs(entries: Iterable[_Entry]) -> Iterator[Ref]:
    pending = list(entries)[::-1]
    looked_at = 0
    while pending:
        entry = pending.pop()
        looked_at += 1
        if looked_at > _MOST:
            raise NotEstimated(f"a tuple holds more than {_MOST} values")
        if isinstance(entry, Ref):
            yield entry
        elif isinstance(entry, tuple):
            pending += reversed(entry)


class _Reader:
    def __init__(self, model: Model) -> None:
        self.model = model
        self.values = model.remembered(Values)
        self.program = Program([], [], [], [])
        self.functions = {graph.name: graph for graph in model.graphs[1:]}
        self.weights: dict[str, Ref] = {}
        self.states = {
            self.stored_in(value) for node in model.nodes if is_operator(node) for value in changed(model, node)
        }
        self.needed: dict[str, set[str]] = {}
        self.depth = self.carried_out = 0
        self.casts: dict[int, int] = {}
        """The tensor that each Cast reads, by the one it makes."""

    def stored_in(self, value: str) -> str:
        """The parameter that a value is read from, through Load; the value itself where there is none."""
        node = self.model.producer(value)
        while node is not None and is_operator(node) and reads_memory(node):
            value = node.inputs[0]
            node = self.model.producer(value)
        return value

    def tensor(self, tensor_type: TensorType, name: str, *, constant: bool = False, is_state: bool = False) -> Ref:
        if not tensor_type.is_static:
            raise NotEstimated(f"sizes are left to run time: {_named(name)} is {tensor_type}")
        number = len(self.program.tensors)
        self.program.tensors.append(Tensor(tensor_type, number, constant, is_state))
        return Ref(number, tensor_type.dims)

    def given(self, name: str, value_type: ValueType) -> _Entry:
        """An input of the graph."""
        if isinstance(value_type, TensorType):
            return self.tensor(value_type, name)
        return tuple(self.given(name, element) for element in value_type) if isinstance(value_type, tuple) else None

    def entry(self, value: str, entries: dict[str, _Entry]) -> _Entry:
        """What a value is; weights and constants are made when they are first asked for."""
        if value in entries:
            return entries[value]
        if value not in self.weights:
            value_type = self.values.argument(value).value_type
            if not isinstance(value_type, TensorType):
                return None
            is_state = value in self.states
            self.weights[value] = self.tensor(value_type, value, constant=not is_state, is_state=is_state)
        return self.weights[value]

    def run(self, graph: GraphProto, entries: dict[str, _Entry]) -> list[_Entry]:
        """Carry out a graph on `entries`, the values of its inputs."""
        outputs = [output.name for output in graph.output]
        needed = self.needed.get(graph.name)
        if needed is None:
            needed = self.needed[graph.name] = live_values(self.model, outputs)
        for message in graph.node:
            node = self.model.producer(message.output[0])
            if node is None or node.op == CONSTANT or node.name not in needed:
                continue
            self.carried_out += 1
            if self.carried_out > _MOST:
                raise NotEstimated(f"functions are called too often: {_named(node.name)} is one node too many")
            try:
                entries[node.name] = self.call(node, entries) if node.op == CALL else self.node(node, entries)
            except (NotKnown, TypeMismatch) as error:
                raise NotEstimated(f"{_named(node.name)}: the arguments of {node.op} are not known ({error})") from None
            except (LookupError, ArithmeticError, ValueError) as error:
                # What reads an operator takes it as its row and CANN have it; a graph need not.
                raise NotEstimated(f"{_named(node.name)} is given what {node.op} does not take") from error
        return [self.entry(output, entries) for output in outputs]

    def call(self, node: Node, entries: dict[str, _Entry]) -> _Entry:
        callee = self.functions.get(node.proto.op_type.removeprefix("REF::"))
        if callee is None:
            raise NotEstimated(f"control flow decides what runs: {_named(node.name)} calls a value")
        if not len(callee.output):
            raise NotEstimated(f"{_named(node.name)} calls {callee.name}, which gives nothing")
        if self.depth == _DEEPEST:
            raise NotEstimated(f"functions are called too deep within each other: {callee.name}")
        given = [self.entry(name, entries) for name in node.inputs]
        self.depth += 1
        outputs = self.run(callee, dict(zip((value.name for value in callee.input), given, strict=True)))
        self.depth -= 1
        return outputs[0]

    def node(self, node: Node, entries: dict[str, _Entry]) -> _Entry:
        value_type = self.values.argument(node.name).value_type
        sort = sort_of(node, isinstance(value_type, tuple))
        if sort is Sort.SAME:
            return self.entry(node.inputs[0], entries)
        if sort is Sort.CONTROL:
            raise NotEstimated(f"control flow decides what runs: {_named(node.name)} is a {node.op}")
        if sort is Sort.NUMBERS:
            return None
        given = tuple(self.entry(value, entries) for value in node.inputs)
        if sort is Sort.TUPLE:
            return given
        if sort is Sort.ELEMENT:
            return self.element(node, given[0])
        refs = list(_refs(given))
        folded = sort is Sort.CREATE or all(self.program.tensors[ref.tensor].constant for ref in refs)
        if sort is Sort.VIEW and refs and isinstance(value_type, TensorType):
            if not value_type.is_static:
                raise NotEstimated(f"sizes are left to run time: {_named(node.name)} is {value_type}")
            return Ref(refs[0].tensor, value_type.dims)
        if node.op == "Cast" and not folded and isinstance(value_type, TensorType):
            undone = self.cast_back(refs[0], value_type)
            if undone is not None:
                return undone
        results = self.results(node, value_type, constant=folded)
        return results if folded else self.operation(node, sort, given, refs, results)

    def cast_back(self, ref: Ref, tensor_type: TensorType) -> Ref | None:
        """What a Cast gives that undoes the one before it, or none (rule 1); None for a Cast that does something.

        GE counts as a loss only what makes whole numbers or truth values of floats (transop_util.cc).
        """
        tensors = self.program.tensors
        if tensors[ref.tensor].tensor_type.dtype is tensor_type.dtype:
            return Ref(ref.tensor, tensor_type.dims)
        source = self.casts.get(ref.tensor)
        if source is None or tensors[source].tensor_type.dtype is not tensor_type.dtype:
            return None
        between = tensors[ref.tensor].tensor_type.dtype
        if between is BOOL or (tensor_type.dtype.is_float and not between.is_float):
            return None
        return Ref(source, tensor_type.dims)

    def results(self, node: Node, value_type: ValueType, *, constant: bool) -> _Entry:
        if isinstance(value_type, TensorType):
            return self.tensor(value_type, node.name, constant=constant)
        if isinstance(value_type, tuple):
            return tuple(self.results(node, element, constant=constant) for element in value_type)
        if value_type is None:
            raise NotEstimated(f"the type of {_named(node.name)} ({node.op}) is not known")
        return None

    def element(self, node: Node, several: _Entry) -> _Entry:
        index = self.values.argument(node.inputs[1]).value
        if isinstance(several, Ref) or several is None or not isinstance(index, int):
            raise NotEstimated(f"what {_named(node.name)} takes out of a tuple is not known")
        return several[index]

    def operation(self, node: Node, sort: Sort, given: tuple[_Entry, ...], refs: list[Ref], results: _Entry) -> _Entry:
        writes = [ref.tensor for ref in _refs([results])]
        done = Operation(node.op, sort, refs, writes, node=node.name)
        first = self.program.tensors[writes[0]].tensor_type.dims if writes else ()
        if sort is Sort.WRITE:
            done.reads, done.writes = refs[1:], []
            done.written_in_place = sum(self.program.tensors[ref.tensor].bytes for ref in refs[1:])
            results = refs[0]
        elif sort is Sort.PRODUCT:
            return self.product(node, given, done, results)
        elif sort is Sort.ATTENTION:
            # The statistics beside the result are for training, the kernel need not write them.
            done.writes = writes[-1:]
            done.flops = self.attention(node, refs)
        elif sort is Sort.CONVOLUTION and len(refs) > 1:
            if node.op in TRANSPOSED_CONVOLUTIONS:
                done.flops = transposed_convolution_flops(refs[1].dims, refs[0].dims)
            else:
                done.flops = convolution_flops(refs[1].dims, first)
        elif sort is Sort.GROUP_NORM:
            done.passes = 2
        elif node.op == "AddLayerNorm" and self.values.arguments(node).get("additional_output").value is not True:
            done.writes = writes[:-1]  # the sum is not given out
        elif sort is Sort.TRANSPOSE:
            done.permutation = self.permutation(node, refs[0].dims)
        elif sort in (Sort.CONCAT, Sort.SPLIT):
            whole = self.program.tensors[writes[0]].tensor_type.dims if sort is Sort.CONCAT else refs[0].dims
            done.axis = self.axis(node, whole)
        elif node.op == "Cast":
            self.casts[writes[0]] = refs[0].tensor
        self.program.operations.append(done)
        return results

    def product(self, node: Node, given: tuple[_Entry, ...], done: Operation, results: _Entry) -> _Entry:
        """A product; what torch's addmm adds to it is an operation behind it, as CANN has it."""
        positions = factor_positions(node)
        if positions is None:
            self.program.operations.append(done)
            return results
        result = self.program.tensors[done.writes[0]].tensor_type
        (factor,) = _refs([given[positions[1]]])
        done.flops = product_flops(factor.dims, result.dims)
        self.program.operations.append(done)
        if not positions[0]:
            return results
        named = self.values.arguments(node)
        beta, alpha = (named.get(name).value for name in ("beta", "alpha"))
        added = list(_refs([given[0]])) if beta != 0 else []
        done.reads = list(_refs(given[1:]))
        if added or alpha != 1:
            between = self.tensor(result, node.name)
            done.writes, last = [between.tensor], done.writes
            self.program.operations.append(Operation("Add", Sort.ELEMENTWISE, [between, *added], last, node=node.name))
        return results

    def attention(self, node: Node, refs: list[Ref]) -> float:
        named, known = self.values.arguments(node), operator(node.op).signature.positions
        if "input_layout" not in known or "sparse_mode" not in known:
            return 0.0  # an operator of somebody else's: its arithmetic is not known
        layout, mode = (named.integer(name) for name in ("input_layout", "sparse_mode"))
        return attention_flops(layout, mode, refs[0].dims, refs[1].dims, refs[2].dims)

    def permutation(self, node: Node, dims: tuple[int, ...]) -> tuple[int, ...]:
        """Which axis of the operand each axis of the result is; of no axes where the node is no transposition."""
        named, rank = self.values.arguments(node), len(dims)
        positions = operator(node.op).signature.positions
        order = list(range(rank))
        for name in ("dims", "input_perm"):
            if name in positions:
                return tuple(axis % rank for axis in named.integers(name))
        if "dim0" in positions:
            one, other = named.integer("dim0") % rank, named.integer("dim1") % rank
            order[one], order[other] = other, one
            return tuple(order)
        return (*order[:-2], rank - 1, rank - 2) if node.op in MATRIX_TRANSPOSES and rank > 1 else ()

    def axis(self, node: Node, dims: tuple[int, ...]) -> int:
        """Along which axis of the whole parts are joined or taken, a new one where they are stacked; else the last."""
        named = self.values.arguments(node)
        for name in ("axis", "dim", "split_dim"):
            if name in operator(node.op).signature.positions:
                return named.integer(name) % max(len(dims), 1)
        return len(dims) - 1
