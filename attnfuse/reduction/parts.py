"""A part of a graph as a graph of its own: some nodes, what they read as inputs, what nothing of them reads as outputs.

Values keep their names, so that whoever reads the part finds its nodes in the whole. A value that is no tensor of a
known type (a tuple, a function) can be no input: the node that makes it comes along. Constants and functions do, too,
where something of the part reads them. The order of effects is kept between the nodes of the part: behind what is left
out stands the state before any effect. Weights are declared, and have no values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set

from attnfuse.errors import SourceError
from attnfuse.ir.graph import CONSTANT, Model, Node
from attnfuse.ir.questions import keeps_order, orders_effects, reads_memory, value_inputs
from attnfuse.ir.types import TensorType
from attnfuse.mindir.schema import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

_DATA = ("raw_data", "external_data", "float_data", "double_data", "int32_data", "int64_data", "uint64_data")
_FORMAT = ("ir_version", "producer_name", "producer_version", "model_version", "little_endian", "mind_ir_version")


class Cutter:
    """Takes parts of one model; `names` are the nodes of its main graph without constants, in file order."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._nodes = [node for node in model.nodes if node.graph is model.proto.graph and node.op != CONSTANT]
        self.names = [node.name for node in self._nodes]
        self._outputs = {output.name: output for output in model.proto.graph.output}

    def part(self, kept: Iterable[str]) -> ModelProto | None:
        """The nodes `kept`, and what they cannot be without; None where no output would be left.

        Outputs are the values that no node of the part reads, and the model's own.
        """
        nodes = self._closed(kept)
        outputs = self._trim(nodes)
        return self.extract(nodes, outputs) if outputs else None

    def behind(self, outputs: Sequence[str], stops: Set[str]) -> tuple[set[str], list[str]]:
        """Nodes that the outputs are made of, as far back as `stops`; and of the stops those that are read.

        What only orders effects is left out.
        """
        nodes: set[str] = set()
        reached: set[str] = set()
        stack = list(outputs)
        while stack:
            value = stack.pop()
            node = self.model.producer(value)
            if value in stops:
                reached.add(value)
            elif node is not None and node.op != CONSTANT and value not in nodes and not orders_effects(node):
                nodes.add(value)
                stack += value_inputs(node)
        return nodes, sorted(reached)

    def extract(self, nodes: Set[str], outputs: Sequence[str], leaves: Sequence[str] | None = None) -> ModelProto:
        """These nodes as a model; `leaves` are its inputs, if others than what the nodes read and do not make."""
        model = self.model
        writer = _Writer(self, nodes)
        messages = [writer.message(node) for node in self._nodes if node.name in nodes]
        written = [message for message in messages if message is not None]
        results = [self._output(output, writer.stands_for(output)) for output in outputs]
        functions = self._functions(written)
        read = {value for message in written for value in message.input} | {output.name for output in results}
        read |= {value for function in functions for node in function.node for value in node.input}
        made = {message.output[0] for message in written}
        free = [value for value in self._order(read - made) if not model.is_parameter(value)]
        graph = GraphProto(name=model.proto.graph.name)
        graph.input.extend(self._input(value) for value in (free if leaves is None else leaves))
        graph.parameter.extend(_without_data(p) for p in model.proto.graph.parameter if p.name in read)
        constants = (node for node in model.nodes if node.graph is model.proto.graph and node.op == CONSTANT)
        graph.node.extend(node.proto for node in constants if node.name in read)
        graph.node.extend(written)
        graph.output.extend(results)
        return _assembled(model, graph, functions)

    # --- which nodes

    def _closed(self, kept: Iterable[str]) -> set[str]:
        nodes = set(kept)
        for node in reversed(self._nodes):
            if node.name not in nodes or orders_effects(node):
                continue
            for value in (*value_inputs(node), *filter(None, [node.callee])):
                made = self.model.producer(value)
                is_free = made is None or made.op == CONSTANT or orders_effects(made)
                if not is_free and self.model.type_of(value) is None:
                    nodes.add(value)
        return nodes

    def _trim(self, nodes: set[str]) -> list[str]:
        """Take out, in place, what gives nothing that can be an output; the outputs, in file order."""
        read: set[str] = set()
        outputs: list[str] = []
        for node in reversed(self._nodes):
            if node.name not in nodes:
                continue
            is_shown = node.name in self._outputs
            if node.name not in read and not is_shown and self.model.type_of(node.name) is None:
                nodes.remove(node.name)
                continue
            if is_shown or node.name not in read:
                outputs.append(node.name)
            read.update(node.inputs)
            read.update(filter(None, [node.callee]))
        return outputs[::-1]

    # --- what is written

    def _order(self, values: Set[str]) -> Iterator[str]:
        """Inputs of the graph in their order, then values of nodes in theirs; constants are neither."""
        yield from (given.name for given in self.model.proto.graph.input if given.name in values)
        yield from (name for name in self.names if name in values)

    def _input(self, value: str) -> ValueInfoProto:
        given = self.model.input(value)
        return _declared(value, self.model.type_of(value)) if given is None else given

    def _output(self, value: str, name: str) -> ValueInfoProto:
        """The declaration of a value as an output, under the name of what is handed on in its place."""
        own = self._outputs.get(value)
        if own is None:
            return _declared(name, self.model.type_of(value))
        declared = ValueInfoProto()
        declared.CopyFrom(own)
        declared.name = name
        return declared

    def _functions(self, messages: Iterable[NodeProto]) -> list[GraphProto]:
        """The functions that the nodes call or hand on, and those that these do, in file order."""
        functions = {function.name: function for function in self.model.proto.functions}
        found: set[str] = set()
        pending = list(messages) if functions else []
        while pending:
            message = pending.pop()
            for name in (*message.input, message.op_type.removeprefix("REF::")):
                if name in functions and name not in found:
                    found.add(name)
                    pending += functions[name].node
        return [function for name, function in functions.items() if name in found]


class _Writer:
    """Messages of the nodes of one part: what is read of the order of effects is what the part has of it."""

    def __init__(self, cutter: Cutter, nodes: Set[str]) -> None:
        self._model = cutter.model
        self._nodes = nodes
        self._instead: dict[str, str] = {}
        """What stands for nodes that are left out after all: they order nothing in the part."""

    def stands_for(self, value: str) -> str:
        """The value itself, or the one that is handed on in its place."""
        return self._instead.get(value, value)

    def message(self, node: Node) -> NodeProto | None:
        """The node as it is in the part; None for one that orders nothing there. In file order."""
        if orders_effects(node):
            inputs = [self._state(node.inputs[0]), *(v for v in map(self.stands_for, node.inputs[1:]) if self._made(v))]
        elif keeps_order(node) and not reads_memory(node):
            inputs = [self.stands_for(node.inputs[0]), *filter(self._made, map(self._state, node.inputs[1:]))]
        else:
            inputs = [self._state(value) for value in node.inputs]
        if len(inputs) == 1 < len(node.inputs):
            self._instead[node.name] = inputs[0]
            return None
        if inputs == node.inputs:
            return node.proto
        message = NodeProto()
        message.CopyFrom(node.proto)
        message.input[:] = inputs
        return message

    def _made(self, value: str) -> bool:
        return value in self._nodes

    def _state(self, value: str) -> str:
        """The value; of a state that is left out, the one in front of it."""
        value = self.stands_for(value)
        while value not in self._nodes and (node := self._model.producer(value)) is not None and orders_effects(node):
            value = self.stands_for(node.inputs[0])
        return value


def alone(proto: ModelProto) -> Iterator[ModelProto]:
    """Each function of the model as the main graph, with the functions and constants that it reads."""
    for function in proto.functions:
        made = ModelProto()
        made.CopyFrom(proto)
        body = next(each for each in made.functions if each.name == function.name)
        constants = [node for node in made.graph.node if node.op_type == CONSTANT]
        main = GraphProto(name=body.name, input=body.input, output=body.output, node=[*constants, *body.node])
        others = [each for each in made.functions if each.name != function.name]
        made.graph.CopyFrom(main)
        del made.functions[:]
        made.functions.extend(others)
        try:
            cutter = Cutter(Model(made))
        except SourceError:  # it is called by itself, or has weights of its own
            continue
        part = cutter.part(cutter.names)
        if part is not None:
            yield part


def node_count(model: ModelProto) -> int:
    """Nodes of all graphs of the file; constants are none."""
    return sum(node.op_type != CONSTANT for graph in (model.graph, *model.functions) for node in graph.node)


def _assembled(model: Model, graph: GraphProto, functions: Sequence[GraphProto]) -> ModelProto:
    """A model of these graphs, with what the whole says of its format and of nothing else: a report goes to others."""
    proto = ModelProto(graph=graph, functions=functions)
    for name in _FORMAT:
        if model.proto.HasField(name):
            setattr(proto, name, getattr(model.proto, name))
    operators = {node.op_type for each in (graph, *functions) for node in each.node}
    proto.primitives.extend(entry for reference, entry in model.primitives.items() if reference in operators)
    return proto


def _without_data(parameter: TensorProto) -> TensorProto:
    bare = TensorProto()
    bare.CopyFrom(parameter)
    for name in _DATA:
        bare.ClearField(name)
    return bare


def _declared(value: str, tensor_type: TensorType | None) -> ValueInfoProto:
    assert tensor_type is not None, f"{value} is no tensor of a known type"
    declared = ValueInfoProto(name=value)
    declared.tensor.add(data_type=tensor_type.dtype.wire).dims.extend(tensor_type.dims)
    return declared
