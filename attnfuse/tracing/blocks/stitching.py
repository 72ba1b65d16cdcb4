"""Puts traced pieces together to one graph, as MindSpore's own passes would have left it.

Stand-ins give way to what was traced of their blocks, weights renamed for each occurrence. What MindSpore does across
the border of blocks is done here: equal constants and equal nodes are one, a Reshape of a Reshape is one Reshape, and a
tuple that is taken apart again is none. All weights are read from one state, as nothing in a graph that is put together
writes: a node that might is a reason not to. Imports no protobuf.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attnfuse.tracing.blocks.drafts import (
    STATE,
    Draft,
    NotPutTogetherError,
    Several,
    State,
    Value,
    Wanted,
    in_order,
)
from attnfuse.tracing.blocks.pieces import BLOCK, LEAF, MARK, RESULT, Piece, PieceCall, Tree, plain_name
from attnfuse.tracing.blocks.scopes import scopes_of, within

_RANDOM = re.compile("[Rr]and|[Dd]ropout|Bernoulli|Multinomial|Normal$|Uniform|Generator")
"""Operators of which two with equal inputs are not equal."""
_READERS = re.compile("View$|^Embedding$")
"""Operators that take the state and only read: other names of the memory they are given; a table, unless its norm is
limited in place."""
_MAX_NORM = 3
"""Which input of Embedding limits the norm; None where none does."""
_TUPLES = ("MakeTuple", "make_list", "MakeList")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a piece is put in: for which occurrence, and which scope its nodes are in instead of which."""

    occurrence: int
    scope: str
    traced_as: str

    def of(self, scope: str) -> str:
        """The scope of a node of the piece, in the model."""
        return self.scope + scope[len(self.traced_as) :] if within(scope, self.traced_as) else self.scope


class Stitcher:
    """Puts pieces together; `models[i]` is the ModelProto of `pieces[i]`."""

    def __init__(self, pieces: Sequence[Piece], models: Sequence[Any]) -> None:
        self._pieces = pieces
        self._models = models
        self._primitives: list[Any] = []
        self._primitive_of: dict[bytes, int] = {}
        self._references: dict[int, dict[str, int]] = {}
        self._scopes = [scopes_of(piece, model) for piece, model in zip(pieces, models, strict=True)]
        self._constants: dict[bytes, Draft] = {}
        self._made: dict[tuple[Any, ...], Draft] = {}
        self._loads: dict[int | str, Draft] = {}
        self._readers: set[int] = set()
        self._parameters: dict[str, Any] = {}
        self._monad: Draft | None = None
        self._templates: dict[str, tuple[Any, int]] = {}
        self._occurrences = 0
        self._unread: set[Value] = set()

    def wanted(self) -> Wanted:
        """The whole graph. Raises NotPutTogetherError where it cannot be had."""
        top = self._models[0]
        inputs: dict[str, Value] = {given.name: given.name for given in top.graph.input}
        found = self._piece(0, inputs, {}, _Place(0, "Default", "Default"))
        output = self._with_state(self._one(found))
        order = self._parameter_order(0, {})
        used = {taken for node in in_order(output) for taken in node.inputs if isinstance(taken, str)}
        kept = [name for name in order if name in used or name in self._unread]
        return Wanted(output, tuple(self._primitives), tuple((name, self._parameters[name]) for name in kept))

    # --- one piece

    def _piece(self, number: int, inputs: Mapping[str, Value], renamed: Mapping[str, str], place: _Place) -> Value:
        """Put a piece in; return what it gives."""
        model, piece = self._models[number], self._pieces[number]
        if model.functions:
            raise NotPutTogetherError(f"the graph of {piece.kind} has functions")
        operators = self._operators(number)
        values: dict[str, Value] = dict(inputs)
        for parameter in model.graph.parameter:
            plain = plain_name(parameter.name)
            if plain.startswith(MARK):
                values[parameter.name] = plain
                continue
            if number and plain not in renamed:
                raise NotPutTogetherError(f"{piece.kind} reads {plain}, which is not its own")
            values[parameter.name] = renamed.get(plain, plain)
            self._parameters.setdefault(renamed.get(plain, plain), parameter)
        read = {name for node in model.graph.node for name in node.input}
        self._unread |= {values[p.name] for p in model.graph.parameter if p.name not in read}
        for node in model.graph.node:
            made = node.output[0]
            if node.op_type == "Constant":
                values[made] = self._constant(node)
                continue
            operator = operators.get(node.op_type)
            if operator is None:
                raise NotPutTogetherError(f"the graph of {piece.kind} calls {node.op_type}")
            taken = [self._value(values, name) for name in node.input]
            op = self._primitives[operator].op_type
            if op == BLOCK:
                values[made] = self._block(piece.calls[self._key(operator)], taken, renamed, place)
            elif op == RESULT:
                values[made] = taken[0]
            else:
                scope = place.of(self._scopes[number][made])
                values[made] = self._node(Draft(node, operator, op, [], scope, place.occurrence), taken)
        return values[model.graph.output[0].name]

    @staticmethod
    def _value(values: Mapping[str, Value], name: str) -> Value:
        if name not in values:
            raise NotPutTogetherError(f"{name} stands for a function")
        return values[name]

    def _block(self, call: PieceCall, taken: Sequence[Value], renamed: Mapping[str, str], place: _Place) -> Value:
        """Put in the block that a stand-in is for: its mark comes first, which nothing needs here."""
        model = self._models[call.piece]
        leaves = [
            leaf for tree, value in zip(call.arguments, taken[1:], strict=True) for leaf in self._leaves(tree, value)
        ]
        inputs = {given.name: leaf for given, leaf in zip(model.graph.input, leaves, strict=True)}
        names = {theirs: renamed.get(ours, ours) for theirs, ours in call.parameters.items()}
        self._occurrences += 1
        inner = _Place(self._occurrences, place.of(call.scope), self._pieces[call.piece].scope)
        found = self._piece(call.piece, inputs, names, inner)
        if call.result == LEAF:
            return found
        return Several(tuple(self._leaves(call.result, found)))

    def _leaves(self, tree: Tree, value: Value) -> list[Value]:
        """The tensors of a structure, of a value that has it."""
        if tree == LEAF:
            if isinstance(value, Several):
                raise NotPutTogetherError("several values stand where a block has one")
            return [value]
        if not has_leaves(tree):
            return []
        parts = value.parts if isinstance(value, Several) else [self._element(value, i) for i in range(len(tree))]
        return [leaf for part, one in zip(tree, parts, strict=True) for leaf in self._leaves(part, one)]

    # --- nodes

    def _node(self, node: Draft, taken: Sequence[Value]) -> Value:
        """What a node comes to, that is given `taken`."""
        if node.op == "Load":
            return self._load(node, taken[0])
        if node.op == "UpdateState":
            self._templates.setdefault(node.op, (node.template, self._operator_of(node)))
            return STATE
        if node.op == "Depend":
            self._templates.setdefault(node.op, (node.template, self._operator_of(node)))
            if isinstance(taken[1], State):
                return taken[0]
        if node.op in _TUPLES:
            self._templates.setdefault(node.op, (node.template, self._operator_of(node)))
            return Several(tuple(taken), node)
        if node.op == "TupleGetItem" and isinstance(taken[0], Several):
            return taken[0].parts[_whole_number(taken[1])]
        stateful = any(isinstance(value, State) or value is self._monad for value in taken)
        if stateful:
            _check_reader(node, taken)
        node.inputs = [self._one(value) for value in taken]
        if node.op == "Reshape" and isinstance(node.inputs[0], Draft) and node.inputs[0].op == "Reshape":
            node.inputs[0] = node.inputs[0].inputs[0]
        if _RANDOM.search(node.op):
            raise NotPutTogetherError(f"{node.op} draws numbers")
        if stateful:  # MindSpore has two of them read at different times
            self._readers.add(id(node))
            return node
        attributes = b"".join(_bytes(one) for one in node.template.attribute if one.name != "shape")
        key = (node.operator, *map(_identity, node.inputs), attributes)
        return self._made.setdefault(key, node)

    def _load(self, node: Draft, parameter: Value) -> Value:
        if isinstance(parameter, str) and parameter.startswith(MARK):
            return parameter
        if isinstance(parameter, str) and parameter not in self._parameters:
            raise NotPutTogetherError("an input is read from memory")
        taken = self._one(parameter)  # a weight, or another name of memory
        if _identity(taken) not in self._loads:
            node.inputs = [taken, self._state()]
            self._loads[_identity(taken)] = node
        return self._loads[_identity(taken)]

    def _state(self) -> Draft:
        if self._monad is None:
            raise NotPutTogetherError("weights are read in no order")
        return self._monad

    def _constant(self, template: Any) -> Draft:
        key = b"|".join(_bytes(one) for one in sorted(template.attribute, key=lambda one: one.name))
        if key not in self._constants:
            self._constants[key] = Draft(template, None, "Constant")
            if any(one.name == "value" and one.type == one.UMONAD for one in template.attribute):
                self._monad = self._constants[key]
            if any(one.name == "value" and one.type == one.IOMONAD for one in template.attribute):
                raise NotPutTogetherError("the graph writes something out")
        return self._constants[key]

    def _one(self, value: Value) -> Draft | str:
        """The value as an operator takes it: several of them as a tuple."""
        if isinstance(value, State):
            return self._state()
        if not isinstance(value, Several):
            return value
        parts = [self._one(part) for part in value.parts]
        maker = value.maker
        if maker is None:
            like = next((part for part in parts if isinstance(part, Draft)), None)
            if like is None:
                raise NotPutTogetherError("a tuple of inputs alone is given")
            template, operator = self._fresh("MakeTuple", like)
            maker = Draft(template, operator, "MakeTuple", declared=self._tuple_of(parts))
        key = (maker.operator, *map(_identity, parts))
        if key not in self._made:
            maker.inputs = parts
            self._made[key] = maker
        return self._made[key]

    def _element(self, value: Value, index: int) -> Draft:
        """An element of a tuple that one node makes."""
        declared = value.type_attribute() if isinstance(value, Draft) else None
        if declared is None or len(declared.values) <= index:
            raise NotPutTogetherError("a tuple is taken that nothing is known of")
        assert isinstance(value, Draft)
        template, operator = self._fresh("TupleGetItem", value)
        shape = type(declared)()
        shape.CopyFrom(declared.values[index])
        shape.name = "shape"
        node = Draft(template, operator, "TupleGetItem", scope=value.scope, declared=shape)
        constant = type(template)(op_type="Constant")
        constant.attribute.add(name="value", type=shape.INT64, i=index)
        node.inputs = [value, self._constant(constant)]
        return self._made.setdefault((operator, *map(_identity, node.inputs), b""), node)

    def _tuple_of(self, parts: Sequence[Draft | str]) -> Any:
        """The attribute that says the type of a tuple of these."""
        kinds = [part.type_attribute() if isinstance(part, Draft) else None for part in parts]
        known = [kind for kind in kinds if kind is not None]
        if len(known) < len(kinds):
            raise NotPutTogetherError("a tuple is given whose elements have no type")
        made = type(known[0])(name="shape", type=known[0].TUPLE)
        for kind in known:
            made.values.add().CopyFrom(kind)
            made.values[-1].ClearField("name")
        return made

    # --- tables

    def _operators(self, number: int) -> Mapping[str, int]:
        """By reference, the places of a piece's primitives in the table of all."""
        if number not in self._references:
            self._references[number] = {f"REF::{p.name}": self._operator(p) for p in self._models[number].primitives}
        return self._references[number]

    def _operator(self, primitive: Any) -> int:
        kept = type(primitive)()
        kept.CopyFrom(primitive)
        kept.ClearField("name")
        kept.ClearField("instance_name")
        kept.attribute.sort(key=lambda one: one.name)  # MindSpore writes them in no fixed order
        key = _bytes(kept)
        if key not in self._primitive_of:
            self._primitive_of[key] = len(self._primitives)
            self._primitives.append(primitive)
        return self._primitive_of[key]

    def _key(self, operator: int) -> str:
        attribute = next(one for one in self._primitives[operator].attribute if one.name == "block")
        return str(attribute.s.decode())

    @staticmethod
    def _operator_of(node: Draft) -> int:
        assert node.operator is not None
        return node.operator

    def _fresh(self, op: str, like: Draft) -> tuple[Any, int]:
        """A node of that operator, which has no attributes, and the operator's place in the table."""
        primitive = type(self._primitives[0])(op_type=op, instance_name="")
        primitive.prim_type = primitive.PRIMITIVE
        node = type(like.template)()
        node.node_attr.extend(like.template.node_attr)
        return node, self._operator(primitive)

    def _template(self, op: str) -> tuple[Any, int]:
        """A node of that operator to copy, and the operator's place in the table."""
        if op not in self._templates:
            for number, model in enumerate(self._models):
                references = self._operators(number)
                for node in model.graph.node:
                    place = references.get(node.op_type)
                    if place is not None and self._primitives[place].op_type == op:
                        self._templates[op] = (node, place)
                        return self._templates[op]
            raise NotPutTogetherError(f"no piece has a node of {op} to copy")
        return self._templates[op]

    # --- the end

    def _with_state(self, output: Draft | str) -> Draft | str:
        """The output behind the state after all that was read, as MindSpore writes it.

        What Load reads comes to one UpdateState, as a tuple; every other reader has its own.
        """
        nodes = list(in_order(output))
        loads = [node for node in nodes if node.op == "Load"]
        read = [self._one(Several(tuple(loads))) if len(loads) > 1 else loads[0]] if loads else []
        read += [node for node in nodes if id(node) in self._readers]
        if not read:
            return output
        state = self._state()
        for one in read:
            template, operator = self._template("UpdateState")
            state = Draft(template, operator, "UpdateState", [state, one])
        template, operator = self._template("Depend")
        declared = output.type_attribute() if isinstance(output, Draft) else None
        return Draft(template, operator, "Depend", [output, state], declared=declared)

    def _parameter_order(self, number: int, renamed: Mapping[str, str]) -> list[str]:
        """Parameters in the order in which MindSpore meets them, each once; a block's where its mark is."""
        found: dict[str, None] = {}
        piece = self._pieces[number]
        for parameter in self._models[number].graph.parameter:
            plain = plain_name(parameter.name)
            call = piece.calls.get(plain.removeprefix(MARK)) if plain.startswith(MARK) else None
            if call is not None:
                names = {theirs: renamed.get(ours, ours) for theirs, ours in call.parameters.items()}
                found.update(dict.fromkeys(self._parameter_order(call.piece, names)))
            elif not plain.startswith(MARK):
                found[renamed.get(plain, plain)] = None
        return list(found)


def has_leaves(tree: Tree) -> bool:
    """Whether there is a tensor in a structure."""
    return tree == LEAF or (isinstance(tree, list) and any(map(has_leaves, tree)))


def _check_reader(node: Draft, taken: Sequence[Value]) -> None:
    """Raise where a node that takes the state may change something."""
    limited = node.op == "Embedding" and not (len(taken) > _MAX_NORM and _is_none(taken[_MAX_NORM]))
    if limited or not _READERS.search(node.op):
        raise NotPutTogetherError(f"{node.op} may change what is read elsewhere")


def _is_none(value: Value) -> bool:
    return isinstance(value, Draft) and any(
        one.name == "value" and one.type == one.NONE for one in value.template.attribute
    )


def _whole_number(value: Value) -> int:
    if isinstance(value, Draft) and value.op == "Constant":
        for one in value.template.attribute:
            if one.name == "value":
                return int(one.i)
    raise NotPutTogetherError("an element is taken that is not known by its number")


def _identity(value: Draft | str) -> int | str:
    return value if isinstance(value, str) else id(value)


def _bytes(message: Any) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))
