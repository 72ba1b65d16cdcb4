"""The short form: a graph as expressions, for tests, examples and documents.

    q: float16[2, 8, 64, 40]; k: float16[2, 8, 64, 40]; v: float16[2, 8, 64, 40]     # inputs
    s = MatMulExt(Muls(q, 0.125), Transpose(k, (0, 1, 3, 2)))
    MatMulExt(Softmax(s, (-1,)), v)                       # the last value is the result; or: return a, b

    statement    ends with its line or with `;`
    x: TYPE      an input, where it is named first: a statement of its own, or an argument. TYPE as in `values`, or
                 `monad`, `function`, `unknown`; `parameter float16[2]` is a weight, and `parameter float16[2] 0.5` one
                 of that value, which is read through Load
    Op(…) -> T   the type of a result, where nothing infers it; `y: T = Op(…)` says the same
    Op(…)[0]     TupleGetItem;  (x, y) of values is MakeTuple
    constants    as in `values`, where they are used; a type's name, as in Cast(x, float32), is MindSpore's number of it
    Op(x; n=1)   attributes of the primitive, after the arguments
    Op(x, n=1)   an argument by its name, of an operator whose signature is known; others that follow take their default

`program_text` prints a graph so, one node a line, that two graphs of the same nodes have the same text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from attnfuse.ir.graph import CALL, CONSTANT, Model, Node, attribute, short_name
from attnfuse.ir.operators.arguments import TypeMismatch
from attnfuse.ir.text.lexer import Cursor, Token, value_name
from attnfuse.ir.text.values import Writer, parse_constant, parse_data, parse_type
from attnfuse.mindir import dtypes
from attnfuse.mindir.schema import AttributeProto, ModelProto, PrimitiveProto, TensorProto

_A = AttributeProto
_STATE = frozenset({"Load", "UpdateState", "Depend"})
_TUPLES = frozenset({"MakeTuple", "TupleGetItem"})
_CONSTANT_WORDS = frozenset({"True", "False", "None", "tensor", "named", "umonad", "iomonad"})
_TYPE_IDS = {dtype.name: dtype.type_id for dtype in dtypes.ALL}
_NAMES_OF_ARGUMENTS = frozenset({"input_names", "output_names"})


@dataclass(frozen=True, slots=True)
class Argument:
    """What is known of an argument: its type as a node's `shape` holds it, and its value if it is a constant."""

    type: AttributeProto | None
    value: AttributeProto | None


Infer: TypeAlias = Callable[[str, Sequence[Argument], Mapping[str, AttributeProto]], AttributeProto | None]
"""The type of an operator's result, from its arguments and the primitive's attributes; None where it is not known.

It may raise TypeMismatch for arguments that the operator does not take."""

Signature: TypeAlias = Callable[[str], Mapping[str, str] | None]
"""The arguments of an operator in order, each with the text of its default, "" of one that must be given; or None."""


def parse_program(
    text: str, *, infer: Infer | None = None, signature: Signature | None = None, like: ModelProto | None = None
) -> ModelProto:
    """The graph that the text describes. Inputs and weights of `like`, an earlier program, are known in it.

    Without `infer`, results have the types that are written, and no others. Raises TextError for text that is no
    program, and, with `infer`, for a result whose type is neither written nor inferred.
    """
    return _Parser(text, infer, signature, like).parse()


class _Parser:
    def __init__(self, text: str, infer: Infer | None, signature: Signature | None, like: ModelProto | None) -> None:
        self.cursor = Cursor(text)
        self.infer = infer
        self.signature = signature
        self.made = ModelProto(
            ir_version="0.1.1", producer_name="MindSpore", model_version="2.7.1", little_endian=True, mind_ir_version=3
        )
        self.graph = self.made.graph
        self.graph.name = "1_program_construct_1" if like is None else like.graph.name
        self.names: dict[str, str] = {}
        """Values by the names that the text gives them."""
        self.types: dict[str, AttributeProto] = {}
        self.constants: dict[bytes, str] = {}
        self.values: dict[str, AttributeProto] = {}
        """Constants by the name of their node."""
        self.loads: list[str] = []
        self.count = 0
        for parameter in like.graph.parameter if like is not None else ():
            self._parameter(parameter.name.removeprefix(self.graph.name + ":"), parameter)
        for value in like.graph.input if like is not None else ():
            name = value.name.removeprefix(self.graph.name + ":")
            self.graph.input.add().CopyFrom(value)
            self.names[name] = value.name
            kind = _declared(value.tensor, value.attr_info)
            if kind is not None:
                self.types[value.name] = kind

    def parse(self) -> ModelProto:
        """The message."""
        cursor = self.cursor
        result: str | None = None
        cursor.skip_lines(";")
        while cursor.next.kind != "end":
            if cursor.accept("return"):
                values = [self._expression()]
                while cursor.accept(","):
                    values.append(self._expression())
                result = values[0] if len(values) == 1 else self._node("MakeTuple", values)
                cursor.skip_lines(";")
                if cursor.next.kind != "end":
                    raise cursor.error(f"nothing may follow what is returned; found {cursor.found()}.")
                break
            result = self._statement()
            if cursor.next.kind not in ("newline", "end") and not cursor.sees(";"):
                raise cursor.error(f"expected the end of the statement, found {cursor.found()}.")
            cursor.skip_lines(";")
        if result is None:
            raise cursor.error("a program has at least one statement.")
        self._finish(result)
        return self.made

    def _finish(self, result: str) -> None:
        """Name the result, after all that was loaded."""
        if self.loads:
            monad = self._constant(AttributeProto(name="value", type=_A.UMONAD))
            loaded = self._node("MakeTuple", self.loads)
            state = self._node("UpdateState", [monad, loaded], kind=AttributeProto(type=_A.UMONAD))
            result = self._node("Depend", [result, state], kind=self.types.get(result))
        output = self.graph.output.add(name=result)
        kind = self.types.get(result)
        if kind is not None and kind.type == _A.TENSORS:
            output.tensor.extend(kind.tensors)
        elif kind is not None:
            output.denotation = "Tuple"
            output.attr_info.CopyFrom(kind)

    # --- statements and expressions

    def _statement(self) -> str:
        """`name = …`, `name: type = …`, or an expression, which may be the declaration of an input."""
        cursor = self.cursor
        token = cursor.next
        if token.kind not in ("name", "value") or cursor.after_next().text not in ("=", ":"):
            return self._expression()
        name = self._name(token)
        following = cursor.after_next().text
        if following == ":":
            if name in self.names:
                return self._expression()
            cursor.take()
            value = self._declaration(name, token)
            if not cursor.accept("="):
                return value
            kind = self._withdraw(name, value, token)
        else:
            cursor.take()
            cursor.expect("=")
            kind = None
        if name in self.names:
            raise cursor.error(f"{name} is there already; take another name.", token)
        self.names[name] = self._expression(name, kind)
        return self.names[name]

    def _withdraw(self, name: str, value: str, token: Token) -> AttributeProto:
        """The type of an input that turned out to be the type of a result."""
        kind = self.types.pop(value, AttributeProto())
        if not self.graph.input or self.graph.input[-1].name != value:
            raise self.cursor.error(f"{name} is declared as something that no operator makes.", token)
        del self.graph.input[-1], self.names[name]
        return kind

    def _name(self, token: Token) -> str:
        if token.kind == "name":
            return token.text
        name = token.text[1:]
        return self.cursor.unquoted(token, 1) if name.startswith('"') else name

    def _expression(self, name: str | None = None, kind: AttributeProto | None = None) -> str:
        """A value; `name` and `kind` are those of the node that makes it."""
        cursor = self.cursor
        token = cursor.next
        if token.kind == "name" and cursor.after_next().text == "(":
            value = self._call(name, kind)
        elif (token.kind == "name" and token.text not in _CONSTANT_WORDS) or token.kind == "value":
            value = self._named()
        elif cursor.sees("(") and not self._is_constant():
            value = self._tuple(name)
        else:
            proto = AttributeProto(name="value")
            parse_constant(cursor, proto)
            value = self._constant(proto)
        while cursor.accept("["):
            index = cursor.integer()
            cursor.expect("]")
            value = self._element(value, index)
        return value

    def _is_constant(self) -> bool:
        """Whether the brackets that come next hold constants alone."""
        return all(
            token.kind not in ("name", "value") or token.text in _CONSTANT_WORDS or token.text in _TYPE_IDS
            for token in self.cursor.within_brackets()
        )

    def _named(self) -> str:
        """A value by its name, or an input that is declared here."""
        cursor = self.cursor
        token = cursor.take()
        name = self._name(token)
        if name in self.names:
            if cursor.sees(":"):
                raise cursor.error(f"{name} is there already, and has its type.")
            return self.names[name]
        if not cursor.sees(":"):
            if name in _TYPE_IDS:
                return self._constant(AttributeProto(name="value", type=_A.INT64, i=_TYPE_IDS[name]))
            raise cursor.error(
                f"nothing is called {name!r}; an input is declared where it is named first: x: T.", token
            )
        return self._declaration(name, token)

    def _tuple(self, name: str | None) -> str:
        cursor = self.cursor
        cursor.expect("(")
        values = []
        while not cursor.accept(")"):
            values.append(self._expression())
            if not cursor.sees(")"):
                cursor.expect(",")
        return self._node("MakeTuple", values, name=name)

    def _call(self, name: str | None, kind: AttributeProto | None) -> str:
        cursor = self.cursor
        token = cursor.take()
        cursor.expect("(")
        arguments: list[str] = []
        named: dict[str, str] = {}
        while not cursor.sees(")", ";"):
            if cursor.next.kind == "name" and cursor.after_next().text == "=":
                word = cursor.take()
                cursor.expect("=")
                named[self._known_argument(token.text, word)] = self._expression()
            elif named:
                raise cursor.error("after an argument by name, the others have their names too.")
            else:
                arguments.append(self._expression())
            if not cursor.sees(")", ";"):
                cursor.expect(",")
        attributes: list[AttributeProto] = []
        while not cursor.accept(")"):
            cursor.take()
            attributes.append(AttributeProto(name=cursor.expect_kind("name", "the name of an attribute").text))
            cursor.expect("=")
            parse_constant(cursor, attributes[-1])
            if not cursor.sees(",", ")"):
                raise cursor.error(f"expected ',' or ')', found {cursor.found()}.")
        if cursor.accept("->") or cursor.accept(":"):
            kind = self._type()
        if named:
            arguments = self._in_order(token, arguments, named)
        return self._node(token.text, arguments, kind=kind, name=name, attributes=attributes, token=token)

    def _known_argument(self, op: str, word: Token) -> str:
        known = self.signature(op) if self.signature is not None else None
        if known is None:
            raise self.cursor.error(f"the arguments of {op} are not known by name; write them in their order.", word)
        if word.text not in known:
            raise self.cursor.error(f"{op} has no argument {word.text!r}; it has {', '.join(known)}.", word)
        return word.text

    def _in_order(self, token: Token, arguments: list[str], named: dict[str, str]) -> list[str]:
        assert self.signature is not None
        known = self.signature(token.text) or {}
        if again := [name for name in list(known)[: len(arguments)] if name in named]:
            raise self.cursor.error(f"{token.text} is given {again[0]!r} twice.", token)
        for name, default in list(known.items())[len(arguments) :]:
            if name not in named:
                if not default:
                    raise self.cursor.error(f"{token.text} needs its argument {name!r}.", token)
                proto = AttributeProto(name="value")
                parse_constant(Cursor(default), proto)
                named[name] = self._constant(proto)
            arguments.append(named[name])
        return arguments

    # --- what is made

    def _declaration(self, name: str, token: Token) -> str:
        """An input or a weight, whose type comes after the colon that is next."""
        cursor = self.cursor
        cursor.expect(":")
        if cursor.accept("parameter"):
            kind = AttributeProto()
            parse_type(cursor, kind)
            if kind.type != _A.TENSORS:
                raise cursor.error("a weight is a tensor.", token)
            tensor = kind.tensors[0]
            if cursor.next.kind in ("number", "data") or cursor.sees("(", "True", "False"):
                parse_data(cursor, tensor)
            return self._parameter(name, tensor)
        value = f"{self.graph.name}:{name}"
        self.names[name] = value
        declared = self.graph.input.add(name=value)
        kind = self._type()
        if not kind.HasField("type"):
            return value
        self.types[value] = kind
        if kind.type == _A.TENSORS:
            declared.tensor.extend(kind.tensors)
        else:
            declared.attr_info.CopyFrom(kind)
        return value

    def _type(self) -> AttributeProto:
        """A type; without one itself where it is `unknown`."""
        kind = AttributeProto()
        if self.cursor.accept("monad"):
            kind.type = _A.UMONAD
        elif self.cursor.sees("function") and self.cursor.after_next().kind != "text":
            self.cursor.take()
            kind.type = _A.FUNCGRAPHCLOSURE
        elif not self.cursor.accept("unknown"):
            parse_type(self.cursor, kind)
        return kind

    def _parameter(self, name: str, tensor: TensorProto) -> str:
        """A weight as MindSpore writes one; the value is what Load reads."""
        leaf = self.graph.parameter.add()
        leaf.CopyFrom(tensor)
        leaf.name, leaf.ref_key = f"{self.graph.name}:{name}", name
        leaf.compression_type = TensorProto.NO_COMPRESSION
        kind = AttributeProto(type=_A.TENSORS)
        kind.tensors.add(data_type=tensor.data_type, dims=tensor.dims)
        monad = self._constant(AttributeProto(name="value", type=_A.UMONAD))
        self.names[name] = self._node("Load", [leaf.name, monad], kind=kind)
        self.loads.append(self.names[name])
        return self.names[name]

    def _constant(self, proto: AttributeProto) -> str:
        """A Constant node; one per value, as MindSpore writes them."""
        key = proto.SerializeToString(deterministic=True)
        if key not in self.constants:
            is_tensor = proto.type == _A.TENSORS
            name = f"{'Parameter' if is_tensor else 'ValueNode'}_{len(self.constants)}"
            self.constants[key] = name
            node = self.graph.node.add(name=name, op_type=CONSTANT)
            node.output.append(name)
            node.attribute.add().CopyFrom(proto)
            self.values[name] = proto
            if is_tensor:
                kind = AttributeProto(type=_A.TENSORS)
                kind.tensors.add(data_type=proto.tensors[0].data_type, dims=proto.tensors[0].dims)
                self.types[name] = kind
        return self.constants[key]

    def _element(self, value: str, index: int) -> str:
        place = AttributeProto(name="value", type=_A.INT64, i=index)
        return self._node("TupleGetItem", [value, self._constant(place)])

    def _node(
        self,
        op: str,
        arguments: Sequence[str],
        *,
        kind: AttributeProto | None = None,
        name: str | None = None,
        attributes: Sequence[AttributeProto] = (),
        token: Token | None = None,
    ) -> str:
        """A node of that operator; `token` is where the text names it."""
        try:
            kind = kind or self._inferred(op, arguments, attributes)
        except TypeMismatch as mismatch:
            raise self.cursor.error(f"this {op} {mismatch}.", token) from mismatch
        if kind is None and self.infer is not None and op not in _TUPLES:
            raise self.cursor.error(f"the type of this {op} is not known; write it: {op}(…) -> T.", token)
        self.count += 1
        value = f"{self.graph.name}:{name or f'CNode_{self.count}'}:{self.count}"
        node = self.graph.node.add(name=value, op_type=self._primitive(op, attributes))
        node.domain = f"Default/{op}-op{self.count}"
        node.input.extend(arguments)
        node.output.append(value)
        node.node_attr.add(name="checkpoint", type=_A.BOOL, i=1)
        if kind is not None and kind.HasField("type"):
            self.types[value] = kind
            shape = node.attribute.add()
            shape.CopyFrom(kind)
            shape.name = "shape"
        return value

    def _primitive(self, op: str, attributes: Sequence[AttributeProto]) -> str:
        """The operator's entry in the primitive table, made where there is none with these attributes."""
        kind = PrimitiveProto.PRIMITIVE if attributes or op in _STATE | _TUPLES else PrimitiveProto.PRIMITIVE_FUNCTION
        wanted = [a.SerializeToString(deterministic=True) for a in attributes]
        same = [entry for entry in self.made.primitives if entry.op_type == op]
        for entry in same:
            if [a.SerializeToString(deterministic=True) for a in entry.attribute] == wanted:
                return f"REF::{entry.name}"
        entry = self.made.primitives.add(name=f"{op}:{len(same)}", op_type=op, instance_name="", prim_type=kind)
        entry.attribute.extend(attributes)
        return f"REF::{entry.name}"

    def _inferred(
        self, op: str, arguments: Sequence[str], attributes: Sequence[AttributeProto]
    ) -> AttributeProto | None:
        if op == "MakeTuple":
            types = [self.types.get(value) for value in arguments]
            known = [kind for kind in types if kind is not None]
            if len(known) < len(types):
                return None
            made = AttributeProto(type=_A.TUPLE)
            made.values.extend(known)
            made.seq_info.is_dyn_len = False
            return made
        if op == "TupleGetItem":
            whole, index = self.types.get(arguments[0]), self.values[arguments[1]].i
            known_length = whole is not None and whole.type == _A.TUPLE
            return whole.values[index] if whole is not None and known_length and index < len(whole.values) else None
        if self.infer is None:
            return None
        written = [Argument(self.types.get(value), self.values.get(value)) for value in arguments]
        return self.infer(op, written, {a.name: a for a in attributes})


def _declared(tensors: Sequence[TensorProto], info: AttributeProto) -> AttributeProto | None:
    """The type of an input, as a node's `shape` would hold it."""
    if tensors:
        kind = AttributeProto(type=_A.TENSORS)
        kind.tensors.extend(tensors)
        return kind
    return info if info.HasField("type") else None


# --- printing


def region_lines(model: Model, nodes: Sequence[Node]) -> tuple[str, ...]:
    """The nodes in graph order, each with its type: `CNode_1:1 = Muls(x, 0.125) : float16[2, 4]`; no constants."""
    writer = Writer(keep_data=False)
    lines = []
    for node in sorted((node for node in nodes if node.op != CONSTANT), key=lambda n: n.index):
        kind = attribute(node.proto, "shape")
        typed = "" if kind is None else f" : {writer.type(kind)}"
        names = {value: short_name(value) for value in node.inputs}
        lines.append(f"{short_name(node.name)} = {_application(model, node, names, writer)}{typed}")
    return tuple(lines)


def program_text(model: Model, *, keep_data: bool = True) -> str:
    """The main graph, one node a line, without types: nodes by number from the result up, inputs by their names.

    So two graphs of the same nodes have the same text, whatever their nodes are called and in which order they stand.
    Nodes that the result does not need are not in it, nor how weights are read: what Load reads has the weight's name.
    With `keep_data` False large data are told by their SHA-256.
    """
    writer = Writer(keep_data=keep_data)
    graph = model.proto.graph
    leaves = (*(value.name for value in graph.input), *(value.name for value in graph.parameter))
    names = {value: _own(graph.name, value) for value in leaves}
    names |= {node.name: names[node.inputs[0]] for node in model.nodes if _reads_weight(model, node)}
    outputs = [_before_tying(model, output.name) for output in graph.output]
    letter = "v"
    while any(name.startswith(letter) and name[len(letter) :].isdecimal() for name in names.values()):
        letter += "_"
    lines: list[str] = []
    stack = outputs[::-1]
    while stack:
        node = model.producer(stack[-1])
        if stack[-1] in names or node is None or node.op == CONSTANT:
            stack.pop()
            continue
        waiting = [value for value in _needs(node) if value not in names and not _is_ready(model, value)]
        if waiting:
            stack += reversed(waiting)
            continue
        names[node.name] = f"{letter}{len(lines) + 1}"
        lines.append(f"{names[node.name]} = {_application(model, node, names, writer)}")
    results = ", ".join(_value_text(model, value, names, writer) for value in outputs)
    return "\n".join([*lines, f"return {results}"]) + "\n"


def _is_first_state(model: Model, value: str) -> bool:
    """Whether it is the state before any effect."""
    node = model.producer(value)
    constant = attribute(node.proto, "value") if node is not None and node.op == CONSTANT else None
    return constant is not None and constant.type == _A.UMONAD


def _reads_weight(model: Model, node: Node) -> bool:
    """Whether the node loads a weight that nothing wrote to before."""
    return node.op == "Load" and model.is_parameter(node.inputs[0]) and _is_first_state(model, node.inputs[1])


def _before_tying(model: Model, output: str) -> str:
    """The value that an output is, where it was tied to the reading of weights alone."""
    node = model.producer(output)
    state = model.producer(node.inputs[1]) if node is not None and node.op == "Depend" else None
    if node is None or state is None or state.op != "UpdateState" or not _is_first_state(model, state.inputs[0]):
        return output
    loaded = model.producer(state.inputs[1])
    loads = [] if loaded is None else [model.producer(value) for value in loaded.inputs]
    tied = all(load is not None and _reads_weight(model, load) for load in loads)
    return node.inputs[0] if loaded is not None and loaded.op == "MakeTuple" and tied else output


def _needs(node: Node) -> list[str]:
    return [*node.inputs, node.proto.op_type.removeprefix("REF::")] if node.op == CALL else list(node.inputs)


def _is_ready(model: Model, value: str) -> bool:
    """Whether a value is told where it is used: a constant, or a function."""
    node = model.producer(value)
    return node is None or node.op == CONSTANT


def _own(prefix: str, name: str) -> str:
    """A value of a graph by its own name, in the form of a name where it is none."""
    own = name.removeprefix(prefix + ":")
    return own if own.isidentifier() and own not in _CONSTANT_WORDS else value_name("%", own)


def _application(model: Model, node: Node, names: Mapping[str, str], writer: Writer) -> str:
    arguments = ", ".join(_value_text(model, value, names, writer) for value in node.inputs)
    if node.op == CALL:
        callee = node.proto.op_type.removeprefix("REF::")
        return f"call {names.get(callee, value_name('@', callee))}({arguments})"
    entries = model.primitives[node.proto.op_type].attribute if node.proto.op_type in model.primitives else ()
    written = [f"{a.name}={writer.constant(a)}" for a in entries if a.name not in _NAMES_OF_ARGUMENTS]
    return f"{node.op}({arguments}{'; ' if written else ''}{', '.join(written)})"


def _value_text(model: Model, value: str, names: Mapping[str, str], writer: Writer) -> str:
    """An argument: a constant itself, or a name."""
    node = model.producer(value)
    constant = attribute(node.proto, "value") if node is not None and node.op == CONSTANT else None
    if constant is not None:
        return writer.constant(constant)
    return names.get(value) or value_name("@", value)
