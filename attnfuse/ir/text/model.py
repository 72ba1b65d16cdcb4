"""The full form: a whole MindIR file as text, and back to the same bytes.

    mindir with {ir_version: "0.1.1", producer_name: "MindSpore", mind_ir_version: 3}
    primitive "MatMulExt:4" = MatMulExt function
    primitive "Dense:9" = Dense function instance "dense" (output_names=["output"])
    graph "unet"
      attribute phase = "export"
      parameter %to_q.weight : float16[32, 32]
      input %sample : float16[2, 16, 32]
      %u = umonad
      scope "Default/attn1-Attention"
      %Load_1:1 = Load(%to_q.weight, %u) : float16[32, 32] op0
      %Dense_2:2 = Dense(%sample, %Load_1:1) : float16[2, 16, 32] op0
      output %Dense_2:2 : float16[2, 16, 32]
    function "2_then"
      …

Statements stand in the order of the file, one a line; brackets may span lines. Types and constants: see `values`.

    primitive KEY = OP KIND …    an entry of the primitive table; KIND is `primitive` or `function`; its attributes
    parameter                    a weight; `ref "k"` after its type where its key is not its name; then its data:
                                 `= external "file" OFFSET LENGTH`, `= 2.0`, `= (1.0, 2.0)`, `= bytes"…"`, or none
    %c = CONSTANT                a Constant node
    %r = OP(%a, %b) : TYPE       a node; OP is a quoted key where several entries of the table have that operator
    %r = call @f(%a)             a call: of a function, or of a value that is one
    scope S, opN                 a node's scope is S/OP-opN; `loc "…"` is any other one
    with {…}                     fields that the line does not tell otherwise, as in `messages`

    unmarked                     a node without MindSpore's mark `checkpoint`, which others carry in `node_attr`

What is set otherwise than all this (two outputs, a name missing) is a message as a whole: `node {…}`, `input {…}`.

`%name` is `GRAPH:name` of the graph it stands in, `@name` a value or function by its whole name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeVar

from google.protobuf.message import Message

from attnfuse.ir.graph import CONSTANT
from attnfuse.ir.text.lexer import Cursor, Token, quoted, value_name
from attnfuse.ir.text.messages import fields_text, has_unknown_fields, is_text, message_text, parse_message
from attnfuse.ir.text.values import (
    Writer,
    parse_constant,
    parse_data,
    parse_tensor_type,
    parse_type,
)
from attnfuse.mindir.schema import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    PrimitiveProto,
    TensorProto,
    ValueInfoProto,
)

_REFERENCE = "REF::"
_WORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_OPERATOR_SCOPE = re.compile(r"(.*)/(\w+)-op(0|[1-9]\d*)")
_CHECKPOINT = AttributeProto(name="checkpoint", type=AttributeProto.BOOL, i=1).SerializeToString()
_KINDS = {PrimitiveProto.PRIMITIVE: "primitive", PrimitiveProto.PRIMITIVE_FUNCTION: "function"}
_Entry = TypeVar("_Entry", bound=Message)


def print_model(model: ModelProto, *, keep_data: bool = True) -> str:
    """The whole file as text; the bytes of what `parse_model` makes of it are those of the message.

    With `keep_data` False large data are told by their SHA-256: for reading, not for parsing.
    """
    return "\n".join(_Printer(model, keep_data).lines()) + "\n"


class _Printer:
    def __init__(self, model: ModelProto, keep_data: bool) -> None:
        self.model = model
        self.keep_data = keep_data
        self.unknown_fields = has_unknown_fields(model)
        self.values = Writer(keep_data=keep_data, unknown_fields=self.unknown_fields)
        self.operators = {_REFERENCE + p.name: p.op_type for p in model.primitives}
        entries = [p.op_type for p in model.primitives]
        self.single = {op for op in entries if _WORD.fullmatch(op) and entries.count(op) == 1}

    def lines(self) -> Iterator[str]:
        """One after the other."""
        printed = {"graph", "functions", "primitives"}
        if self._own_unknown(self.model):
            yield self._message("mindir", self.model)
            return
        yield f"mindir{self._rest(self.model, printed)}"
        for primitive in self.model.primitives:
            yield self._primitive(primitive)
        if self.model.HasField("graph"):
            yield from self._graph("graph", self.model.graph)
        for function in self.model.functions:
            yield from self._graph("function", function)

    def _own_unknown(self, message: Message) -> bool:
        """Whether the message itself, not one in it, has unknown fields."""
        if not self.unknown_fields:
            return False
        own = type(message)()
        own.CopyFrom(message)
        for field in message.DESCRIPTOR.fields:
            own.ClearField(field.name)
        return bool(own.SerializePartialToString())

    def _plain(self, message: Message) -> bool:
        return not (self.unknown_fields and has_unknown_fields(message))

    def _rest(self, message: Message, printed: set[str]) -> str:
        """` with {…}` of the fields that are not told otherwise."""
        names = [field.name for field, _ in message.ListFields() if field.name not in printed]
        return f" with {fields_text(message, names, keep_data=self.keep_data)}" if names else ""

    def _message(self, word: str, message: Message) -> str:
        return f"{word} {message_text(message, keep_data=self.keep_data)}"

    # --- the table

    def _primitive(self, primitive: PrimitiveProto) -> str:
        fields = {f.name for f, _ in primitive.ListFields()}
        named = all(a.HasField("name") for a in primitive.attribute)
        if not fields >= {"name", "op_type", "prim_type", "instance_name"} or not named or not self._plain(primitive):
            return self._message("primitive", primitive)
        instance = f" instance {quoted(primitive.instance_name)}" if primitive.instance_name else ""
        entries = ", ".join(f"{_word(a.name)}={self.values.constant(a)}" for a in primitive.attribute)
        attributes = f" ({entries})" if entries else ""
        what = f"{_word(primitive.op_type)} {_KINDS[primitive.prim_type]}{instance}{attributes}"
        return f"primitive {quoted(primitive.name)} = {what}"

    # --- a graph

    def _graph(self, word: str, graph: GraphProto) -> Iterator[str]:
        printed = {"name", "node", "parameter", "input", "output", "attribute"}
        if not is_text(graph.name) or not graph.HasField("name") or self._own_unknown(graph):
            yield self._message(word, graph)
            return
        yield f"{word} {quoted(graph.name)}{self._rest(graph, printed)}"
        prefix = graph.name + ":"
        for attribute in graph.attribute:
            yield f"  {self._attribute(attribute)}"
        for parameter in graph.parameter:
            yield f"  {self._parameter(parameter, prefix)}"
        for value in graph.input:
            yield f"  {self._interface('input', value, prefix)}"
        scope = ""
        for node in graph.node:
            match = self._operator_scope(node)
            if match is not None and match[1] != scope:
                scope = match[1]
                yield f"  scope {quoted(scope)}"
            yield f"  {self._node(node, prefix, match)}"
        for value in graph.output:
            yield f"  {self._interface('output', value, prefix)}"

    def _attribute(self, attribute: AttributeProto) -> str:
        if not attribute.HasField("name") or not self._plain(attribute):
            return self._message("attribute", attribute)
        return f"attribute {_word(attribute.name)} = {self.values.constant(attribute)}"

    def _parameter(self, tensor: TensorProto, prefix: str) -> str:
        fields = {f.name for f, _ in tensor.ListFields()} - {"dims"}
        bare = TensorProto(data_type=tensor.data_type, dims=tensor.dims)
        kind = self.values.tensor_type(bare)
        short = (
            fields - {"raw_data", "external_data"} == {"name", "data_type", "ref_key", "compression_type"}
            and tensor.compression_type == TensorProto.NO_COMPRESSION
            and not {"raw_data", "external_data"} <= fields
            and self._plain(tensor)
        )
        external = tensor.external_data
        if "external_data" in fields and len(external.ListFields()) != 3:
            short = False
        if not short or kind is None:
            return self._message("parameter", tensor)
        ref = "" if tensor.ref_key == tensor.name.removeprefix(prefix) else f" ref {quoted(tensor.ref_key)}"
        data = ""
        if "raw_data" in fields:
            data = f" = {self.values.data(tensor)}"
        if "external_data" in fields:
            data = f" = external {quoted(external.location)} {external.offset} {external.length}"
        return f"parameter {_value(tensor.name, prefix)} : {kind}{ref}{data}"

    def _interface(self, word: str, value: ValueInfoProto, prefix: str) -> str:
        """An input or output: a tensor, an attribute that is its type, or without a type."""
        printed = {"name"}
        kind: str | None = None
        if not value.tensor and not value.HasField("attr_info"):
            kind = ""
        elif len(value.tensor) == 1 and not value.HasField("attr_info"):
            printed.add("tensor")
            kind = self.values.tensor_type(value.tensor[0])
        elif value.HasField("attr_info") and not value.tensor and not value.attr_info.HasField("name"):
            printed.add("attr_info")
            kind = self.values.type(value.attr_info)
            if value.attr_info.type == AttributeProto.TENSORS:
                kind = None
        if kind is None or not value.HasField("name") or not self._plain(value):
            return self._message(word, value)
        typed = f" : {kind}" if kind else ""
        return f"{word} {_value(value.name, prefix)}{typed}{self._rest(value, printed)}"

    # --- a node

    def _operator(self, node: NodeProto) -> str | None:
        return self.operators.get(node.op_type)

    def _operator_scope(self, node: NodeProto) -> re.Match[str] | None:
        """The parts of a scope that names the node's own operator."""
        match = _OPERATOR_SCOPE.fullmatch(node.domain)
        return match if match is not None and match[2] == self._operator(node) else None

    def _node(self, node: NodeProto, prefix: str, scope: re.Match[str] | None) -> str:
        named = len(node.output) == 1 and node.HasField("name") and node.name == node.output[0] and is_text(node.name)
        if not named or not self._plain(node):
            return self._message("node", node)
        result = _value(node.name, prefix)
        attributes = node.attribute
        if node.op_type == CONSTANT:
            fields = {f.name for f, _ in node.ListFields()}
            if fields == {"output", "name", "op_type", "attribute"} and [a.name for a in attributes] == ["value"]:
                return f"{result} = {self.values.constant(attributes[0])}"
            return self._message("node", node)
        what = self._what(node, prefix)
        if what is None:
            return self._message("node", node)
        printed = {"input", "output", "name", "op_type", "domain"}
        kind = ""
        if [a.name for a in attributes] == ["shape"]:
            kind = f" : {self.values.type(attributes[0])}"
            printed.add("attribute")
        where = ""
        if scope is not None:
            where = f" op{scope[3]}"
        elif node.HasField("domain"):
            where = f" loc {quoted(node.domain)}"
        mark = "" if node.node_attr else " unmarked"
        if [a.SerializeToString(deterministic=True) for a in node.node_attr] == [_CHECKPOINT]:
            printed.add("node_attr")
        arguments = ", ".join(_value(name, prefix) for name in node.input)
        return f"{result} = {what}({arguments}){kind}{where}{mark}{self._rest(node, printed)}"

    def _what(self, node: NodeProto, prefix: str) -> str | None:
        """The operator of a node, or what it calls."""
        operator = self._operator(node)
        if operator is None:
            callee = node.op_type.removeprefix(_REFERENCE)
            return f"call {_value(callee, prefix)}" if callee != node.op_type else None
        return operator if operator in self.single else quoted(node.op_type.removeprefix(_REFERENCE))


def _word(text: str) -> str:
    return text if _WORD.fullmatch(text) else quoted(text)


def _value(name: str, prefix: str) -> str:
    own = name.startswith(prefix)
    return value_name("%", name.removeprefix(prefix)) if own else value_name("@", name)


def parse_model(text: str) -> ModelProto:
    """The file that the text is. Raises TextError, with line and column, where it is none.

    Whether values are defined, and types right, is not looked at: `attnfuse.ir.graph.Model` and the checks do that.
    """
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self.cursor = Cursor(text)
        self.model = ModelProto()
        self.keys: dict[str, list[str]] = {}
        """Keys of the primitive table, by operator."""
        self.operators: dict[str, str] = {}
        """Operators, by key."""
        self.prefix = ""
        self.scope = ""

    def parse(self) -> ModelProto:
        """The message."""
        cursor = self.cursor
        cursor.skip_lines()
        if not cursor.accept("mindir"):
            raise cursor.error(
                "the full form of a graph starts with 'mindir' (what --short prints is for reading only); "
                f"found {cursor.found()}."
            )
        if cursor.sees("{") or cursor.next.kind == "data":
            parse_message(cursor, self.model)
        else:
            self._rest(self.model)
        cursor.end_line()
        while cursor.accept("primitive"):
            self._primitive(self.model.primitives.add())
            cursor.end_line()
        while cursor.next.kind != "end":
            if cursor.accept("graph"):
                if self.model.HasField("graph"):
                    raise cursor.error("there is a graph already; others are called 'function'.")
                self.model.graph.SetInParent()
                self._graph(self.model.graph)
            elif cursor.accept("function"):
                self._graph(self.model.functions.add())
            else:
                raise cursor.error(f"expected 'graph' or 'function', found {cursor.found()}.")
        return self.model

    def _rest(self, message: Message) -> list[str]:
        """Fields after `with`; their names."""
        return parse_message(self.cursor, message) if self.cursor.accept("with") else []

    def _as_message(self, message: Message) -> bool:
        """Take a whole message where one is next."""
        if not self.cursor.sees("{") and self.cursor.next.kind != "data":
            return False
        parse_message(self.cursor, message)
        return True

    def _word(self, what: str) -> str:
        if self.cursor.next.kind == "text":
            return self.cursor.text_literal()
        return self.cursor.expect_kind("name", what).text

    # --- the table

    def _primitive(self, primitive: PrimitiveProto) -> None:
        cursor = self.cursor
        if not self._as_message(primitive):
            primitive.name = cursor.text_literal()
            cursor.expect("=")
            primitive.op_type = self._word("an operator")
            kinds = {word: kind for kind, word in _KINDS.items()}
            token = cursor.expect_kind("name", "'primitive' or 'function'")
            if token.text not in kinds:
                raise cursor.error(f"expected 'primitive' or 'function', found {token.text!r}.", token)
            primitive.prim_type = kinds[token.text]
            primitive.instance_name = cursor.text_literal() if cursor.accept("instance") else ""
            if cursor.accept("("):
                while not cursor.accept(")"):
                    self._named(primitive.attribute.add(name=self._word("the name of an attribute")))
                    if not cursor.sees(")"):
                        cursor.expect(",")
        self.keys.setdefault(primitive.op_type, []).append(primitive.name)
        self.operators[primitive.name] = primitive.op_type

    def _named(self, attribute: AttributeProto) -> None:
        self.cursor.expect("=")
        parse_constant(self.cursor, attribute)

    # --- a graph

    def _graph(self, graph: GraphProto) -> None:
        cursor = self.cursor
        if self._as_message(graph):
            cursor.end_line()
            return
        graph.name = cursor.text_literal()
        self._rest(graph)
        cursor.end_line()
        self.prefix, self.scope = graph.name + ":", ""
        while cursor.next.kind != "end" and not cursor.sees("function", "graph"):
            self._statement(graph)
            cursor.end_line()

    def _statement(self, graph: GraphProto) -> None:
        cursor = self.cursor
        if cursor.next.kind == "value":
            self._node(graph.node.add())
        elif cursor.accept("scope"):
            self.scope = cursor.text_literal()
        elif cursor.accept("node"):
            parse_message(cursor, graph.node.add())
        elif cursor.accept("input"):
            self._interface(graph.input.add())
        elif cursor.accept("output"):
            self._interface(graph.output.add())
        elif cursor.accept("parameter"):
            self._parameter(graph.parameter.add())
        elif cursor.accept("attribute"):
            attribute = graph.attribute.add()
            if not self._as_message(attribute):
                attribute.name = self._word("the name of an attribute")
                self._named(attribute)
        else:
            known = "a value, input, output, parameter, attribute, scope or node"
            raise cursor.error(f"expected {known}, found {cursor.found()}.")

    def _value(self) -> str:
        sigil, name = self.cursor.value()
        return self.prefix + name if sigil == "%" else name

    def _parameter(self, tensor: TensorProto) -> None:
        cursor = self.cursor
        if self._as_message(tensor):
            return
        tensor.name = self._value()
        cursor.expect(":")
        parse_tensor_type(cursor, tensor)
        if not tensor.HasField("ref_key"):
            tensor.ref_key = tensor.name.removeprefix(self.prefix)
        tensor.compression_type = TensorProto.NO_COMPRESSION
        if not cursor.accept("="):
            return
        if not cursor.accept("external"):
            parse_data(cursor, tensor)
            return
        tensor.external_data.location = cursor.text_literal()
        tensor.external_data.offset = cursor.integer()
        tensor.external_data.length = cursor.integer()

    def _interface(self, value: ValueInfoProto) -> None:
        cursor = self.cursor
        if self._as_message(value):
            return
        value.name = self._value()
        if cursor.accept(":"):
            kind = AttributeProto()
            parse_type(cursor, kind)
            if kind.type == AttributeProto.TENSORS:
                value.tensor.extend(kind.tensors)
            else:
                value.attr_info.CopyFrom(kind)
        self._rest(value)

    # --- a node

    def _node(self, node: NodeProto) -> None:
        cursor = self.cursor
        node.name = self._value()
        node.output.append(node.name)
        cursor.expect("=")
        token = cursor.next
        if cursor.accept("call"):
            node.op_type = _REFERENCE + self._value()
            operator = None
        elif cursor.after_next().text == "(" and token.kind in ("name", "text"):
            operator, key = self._operator(cursor.take())
            node.op_type = _REFERENCE + key
        else:
            node.op_type = CONSTANT
            value = node.attribute.add(name="value")
            parse_constant(cursor, value)
            return
        cursor.expect("(")
        while not cursor.accept(")"):
            node.input.append(self._value())
            if not cursor.sees(")"):
                cursor.expect(",")
        if cursor.accept(":"):
            parse_type(cursor, node.attribute.add(name="shape"))
        self._where(node, operator)
        marked = not cursor.accept("unmarked")
        if "node_attr" not in self._rest(node) and marked:
            node.node_attr.add(name="checkpoint", type=AttributeProto.BOOL, i=1)

    def _operator(self, token: Token) -> tuple[str, str]:
        """An operator and its key in the primitive table."""
        if token.kind == "text":
            key = self.cursor.unquoted(token, 0)
            if key not in self.operators:
                raise self.cursor.error(f"the table has no primitive {key!r}.", token)
            return self.operators[key], key
        keys = self.keys.get(token.text, [])
        if len(keys) != 1:
            message = f"{len(keys)} primitives of operator" if keys else "no primitive of operator"
            hint = f"; name one by its key: {', '.join(map(quoted, keys))}" if keys else ""
            raise self.cursor.error(f"the table has {message} {token.text}{hint}.", token)
        return token.text, keys[0]

    def _where(self, node: NodeProto, operator: str | None) -> None:
        """The scope of a node: `op0` or `loc "…"`."""
        token = self.cursor.next
        if self.cursor.accept("loc"):
            node.domain = self.cursor.text_literal()
        elif token.kind == "name" and re.fullmatch(r"op\d+", token.text):
            if operator is None:
                raise self.cursor.error("a call has no operator that its scope could name; write loc.", token)
            node.domain = f"{self.scope}/{operator}-{self.cursor.take().text}"
