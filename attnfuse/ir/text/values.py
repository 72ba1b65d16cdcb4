"""Types and constants as text, and back. Both are AttributeProto messages: a node's `shape`, a Constant's `value`.

    types       float16[2, 8, ?]      a tensor; ? is a size known at run time only, float16[] has no dimensions
                float16[2] ref "x"    one that is a weight's memory
                int64                 a number that is no tensor
                (float16[2], int64)   a tuple; (float16[2],) of one; [float16[2]] a list
                umonad, iomonad       states: they order effects
                function "name"       a function of the file;  union (function "a", function "b")  one of several
                None
    constants   3, 0.5, -inf, True, None, "text", (1, 2), [1, 2], umonad, iomonad
                3 : int32             of another type than int64, float32
                tensor float16[2] (0.5, 1.0)      the elements in order;  tensor float16[2] 1.0  all the same
                tensor float16[999] bytes"…"      as they lie in the file
                tensor int64[] 1 named "x"        of another name than value0

Anything else is a message, field by field: see `messages`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from attnfuse.ir.text.lexer import Cursor, Token, quoted
from attnfuse.ir.text.messages import (
    data_text,
    float_text,
    has_unknown_fields,
    is_text,
    message_text,
    parse_message,
)
from attnfuse.ir.types import Array
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.mindir.schema import AttributeProto, TensorProto

_A = AttributeProto
_WIRE_NAMES = {d.wire: d.name for d in dtypes.ALL} | {8: "string", 14: "complex64", 15: "complex128", 18: "qint4x2"}
_WIRES = {name: wire for wire, name in _WIRE_NAMES.items()}
_KINDS: dict[str, AttributeProto.AttributeType] = {"None": _A.NONE, "umonad": _A.UMONAD, "iomonad": _A.IOMONAD}
_WORDS: dict[int, str] = {kind: word for word, kind in _KINDS.items()}
_SEQUENCES: dict[int, str] = {_A.TUPLE: "()", _A.LIST: "[]"}
TENSOR_NAME = "value0"
"""What MindSpore calls the tensor of a constant."""
MAX_ELEMENTS = 16
"""Of a tensor that is written element by element."""
_MAX_BYTES = 2**31 - 1
"""Of a tensor: a file holds no more."""
# An attribute's type and a tensor's element type have the same numbers up to 16.
_INTEGERS = {d.wire: d for d in dtypes.ALL if d.numpy.kind in "iu"}
_REALS: tuple[AttributeProto.AttributeType, ...] = (_A.FLOAT, _A.DOUBLE)
_NUMBERS: dict[int, AttributeProto.AttributeType] = {
    int(kind): kind
    for kind in (*_REALS, _A.UINT8, _A.INT8, _A.UINT16, _A.INT16, _A.INT32, _A.INT64, _A.UINT32, _A.UINT64)
}


def _fields(message: AttributeProto | TensorProto) -> set[str]:
    return {field.name for field, _ in message.ListFields()}


class Writer:
    """Types and constants as text. With `keep_data` False, large data are told by their digest.

    `unknown_fields` says that some message of the file has fields the schema does not name, so that each is looked at.
    """

    def __init__(self, *, keep_data: bool = True, unknown_fields: bool = False) -> None:
        self.keep_data = keep_data
        self._unknown_fields = unknown_fields

    def is_known(self, message: AttributeProto | TensorProto) -> bool:
        """Whether nothing in the message is unknown to the schema."""
        return not (self._unknown_fields and has_unknown_fields(message))

    def type(self, proto: AttributeProto) -> str:
        """A type; the attribute's name is not told."""
        short = self._type(proto) if self.is_known(proto) else None
        return message_text(proto, keep_data=self.keep_data) if short is None else short

    def constant(self, proto: AttributeProto) -> str:
        """A constant; the attribute's name is not told."""
        short = self._constant(proto, element=False) if self.is_known(proto) else None
        return message_text(proto, keep_data=self.keep_data) if short is None else short

    def _type(self, proto: AttributeProto) -> str | None:
        kind, fields = proto.type, _fields(proto) - {"name"}
        if kind in _WORDS and fields == {"type"}:
            return _WORDS[kind]
        if kind == _A.TENSORS and fields == {"type", "tensors"} and len(proto.tensors) == 1:
            return self.tensor_type(proto.tensors[0])
        if kind == _A.SCALAR and fields == {"type", "tensors"} and len(proto.tensors) == 1:
            return _scalar_type(proto.tensors[0])
        if kind in _SEQUENCES and fields - {"values"} == {"type", "seq_info"}:
            fixed = _fixed_length(proto)
            return self._sequence(_SEQUENCES[kind], proto.values, self._type) if fixed else None
        if kind == _A.UNIONFUNCCLOSURE and fields == {"type", "values"}:
            return f"union {self._sequence('()', proto.values, self._type)}"
        if kind == _A.FUNCGRAPHCLOSURE and fields == {"type", "s"}:
            name = _utf8(proto.s)
            return None if name is None else f"function {quoted(name)}"
        return None

    def tensor_type(self, proto: TensorProto) -> str | None:
        """`float16[2, 3]`; None where the message holds more than a type and a reference to memory."""
        fields = _fields(proto)
        if fields - {"dims", "ref_key"} != {"data_type"} or proto.data_type not in _WIRE_NAMES:
            return None
        if "ref_key" not in fields:
            return tensor_type_text(proto)
        return f"{tensor_type_text(proto)} ref {quoted(proto.ref_key)}" if is_text(proto.ref_key) else None

    def _constant(self, proto: AttributeProto, *, element: bool) -> str | None:
        kind, fields = proto.type, _fields(proto) - {"name"}
        if kind in _WORDS and fields == {"type"}:
            return _WORDS[kind]
        if kind in _SEQUENCES and fields - {"values"} == {"type"}:
            return self._sequence(_SEQUENCES[kind], proto.values, lambda stored: self._constant(stored, element=True))
        if kind == _A.TENSORS and fields == {"type", "tensors"} and len(proto.tensors) == 1:
            return self._tensor(proto.tensors[0])
        return _scalar(proto, fields, element=element)

    def _sequence(
        self, brackets: str, values: Sequence[AttributeProto], short_form: Callable[[AttributeProto], str | None]
    ) -> str:
        """`(a, b)`, `(a,)`, `[a]`: an element that has a name, or no short form, as a message."""
        texts = []
        for value in values:
            short = None if value.HasField("name") else short_form(value)
            texts.append(message_text(value, keep_data=self.keep_data) if short is None else short)
        comma = "," if len(texts) == 1 and brackets == "()" else ""
        return f"{brackets[0]}{', '.join(texts)}{comma}{brackets[1]}"

    def _tensor(self, proto: TensorProto) -> str | None:
        if _fields(proto) - {"dims"} != {"data_type", "name", "raw_data"} or proto.data_type not in _WIRE_NAMES:
            return None
        if not is_text(proto.name):
            return None
        named = "" if proto.name == TENSOR_NAME else f" named {quoted(proto.name)}"
        return f"tensor {tensor_type_text(proto)} {self.data(proto)}{named}"

    def data(self, proto: TensorProto) -> str:
        """What a tensor holds in `raw_data`: `2.0` of all elements, `(1.0, 2.0)`, or `bytes"…"`."""
        dtype = dtypes.from_wire(proto.data_type)
        message = None
        if dtype is not None and min(proto.dims, default=0) >= 0 and len(proto.raw_data) == _size(proto, dtype):
            message = _elements(np.frombuffer(proto.raw_data, dtype.numpy))
        return data_text(proto.raw_data, keep_data=self.keep_data) if message is None else message


def tensor_type_text(proto: TensorProto) -> str:
    """`float16[2, ?]`, of an element type that has a name."""
    return f"{_WIRE_NAMES[proto.data_type]}[{', '.join('?' if d == -1 else str(d) for d in proto.dims)}]"


def _scalar_type(proto: TensorProto) -> str | None:
    known = _fields(proto) == {"dims", "data_type"} and proto.data_type in _WIRE_NAMES
    return _WIRE_NAMES[proto.data_type] if known and list(proto.dims) == [0] else None


def _fixed_length(proto: AttributeProto) -> bool:
    return [(field.name, value) for field, value in proto.seq_info.ListFields()] == [("is_dyn_len", False)]


def _utf8(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _scalar(proto: AttributeProto, fields: set[str], *, element: bool) -> str | None:
    """A number or a text. A scalar stands in `i`, `f`, `d` or `s`, an element of a tuple in `ints` and so on."""
    kind = proto.type
    if kind == _A.BOOL:
        return str(bool(proto.i)) if fields == {"type", "i"} and proto.i in (0, 1) else None
    field = _scalar_field(kind, element=element)
    if field is None or fields != {"type", field}:
        return None
    stored = getattr(proto, field)
    if element and len(stored) != 1:
        return None
    value = stored[0] if element else stored
    if kind == _A.STRING:
        text = _utf8(value)
        return None if text is None else quoted(text)
    if kind in _REALS:
        if value != value and np.float64(value).tobytes() != np.float64("nan").tobytes():
            return None
        text = float_text(value, single=kind == _A.FLOAT)
        return text if kind == _A.FLOAT else f"{text} : float64"
    least, most = _limits(_INTEGERS[kind])
    if not least <= value <= most:
        return None
    return str(value) if kind == _A.INT64 else f"{value} : {_INTEGERS[kind]}"


def _limits(dtype: DType) -> tuple[int, int]:
    """The least and the greatest number of an integer type."""
    bits = 8 * dtype.itemsize
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dtype.numpy.kind == "i" else (0, 2**bits - 1)


def _scalar_field(kind: int, *, element: bool) -> str | None:
    """The field of an attribute that holds a number or text of that type."""
    if kind in _INTEGERS:
        return "ints" if element else "i"
    return {
        int(_A.FLOAT): "floats" if element else "f",
        int(_A.DOUBLE): "doubles" if element else "d",
        int(_A.STRING): "strings" if element else "s",
    }.get(kind)


def _size(proto: TensorProto, dtype: DType) -> int:
    """Bytes of a tensor's data."""
    total = dtype.itemsize
    for dim in proto.dims:
        total *= dim
    return total


def _elements(array: Array) -> str | None:
    """The elements as text where they are few or all the same and can be told so."""
    if not array.size:
        return "()"
    data, itemsize = array.tobytes(), array.itemsize
    if data == data[:itemsize] * array.size:
        return _element(array[0])
    if array.size > MAX_ELEMENTS:
        return None
    texts = [_element(value) for value in array]
    return None if any(text is None for text in texts) else f"({', '.join(filter(None, texts))})"


def _element(value: np.generic) -> str | None:
    """The shortest text that is read as just that number; None for a NaN of unusual bits."""
    if value.dtype.kind in "biu":
        return str(value)
    for text in (str(value), repr(float(value.astype(np.float64)))):
        if np.float64(text).astype(value.dtype).tobytes() == value.tobytes():
            return text
    return None


# --- parsing


def parse_type(cursor: Cursor, proto: AttributeProto) -> None:
    """Write the type at the cursor into the attribute. Raises TextError."""
    if cursor.sees("{") or cursor.next.kind == "data":
        parse_message(cursor, proto)
    elif cursor.sees("(", "["):
        _parse_sequence(cursor, proto, parse_type)
        proto.seq_info.is_dyn_len = False
    elif cursor.accept("union"):
        if not cursor.sees("("):
            raise cursor.error(f"expected '(', found {cursor.found()}.")
        _parse_sequence(cursor, proto, parse_type)
        proto.type = _A.UNIONFUNCCLOSURE
    elif cursor.accept("function"):
        proto.type, proto.s = _A.FUNCGRAPHCLOSURE, cursor.text_literal().encode()
    elif cursor.sees(*_KINDS):
        proto.type = _KINDS[cursor.take().text]
    else:
        wire = _parse_dtype(cursor)
        if cursor.sees("["):
            proto.type = _A.TENSORS
            parse_tensor_type(cursor, proto.tensors.add(), wire)
        else:
            proto.type = _A.SCALAR
            proto.tensors.add(data_type=wire).dims.append(0)


def _parse_dtype(cursor: Cursor) -> int:
    token = cursor.expect_kind("name", "a type such as float16[2, 3]")
    wire = _WIRES.get(token.text)
    if wire is None:
        raise cursor.error(f"there is no type {token.text!r}; known: {', '.join([*_WIRES, *_KINDS])}.", token)
    return wire


def parse_tensor_type(cursor: Cursor, proto: TensorProto, wire: int | None = None) -> None:
    """Write `float16[2, 3]`, or what comes after the element type `wire`, into the message. Raises TextError."""
    proto.data_type = _parse_dtype(cursor) if wire is None else wire
    cursor.expect("[")
    while not cursor.accept("]"):
        proto.dims.append(-1 if cursor.accept("?") else cursor.integer())
        if not cursor.sees("]"):
            cursor.expect(",")
    if cursor.accept("ref"):
        proto.ref_key = cursor.text_literal()


def _parse_sequence(
    cursor: Cursor, proto: AttributeProto, parse_element: Callable[[Cursor, AttributeProto], None]
) -> None:
    is_list = cursor.take().text == "["
    proto.type = _A.LIST if is_list else _A.TUPLE
    while not cursor.accept("]" if is_list else ")"):
        parse_element(cursor, proto.values.add())
        if not cursor.sees("]", ")"):
            cursor.expect(",")


def parse_constant(cursor: Cursor, proto: AttributeProto, *, element: bool = False) -> None:
    """Write the constant at the cursor into the attribute. Raises TextError."""
    token = cursor.next
    if cursor.sees("{") or token.kind == "data":
        parse_message(cursor, proto)
    elif cursor.sees("(", "["):
        _parse_sequence(cursor, proto, lambda inner, stored: parse_constant(inner, stored, element=True))
    elif cursor.sees(*_KINDS):
        proto.type = _KINDS[cursor.take().text]
    elif cursor.sees("True", "False"):
        proto.type, proto.i = _A.BOOL, int(cursor.take().text == "True")
    elif cursor.accept("tensor"):
        proto.type = _A.TENSORS
        _parse_tensor(cursor, proto.tensors.add())
    elif token.kind == "text":
        proto.type = _A.STRING
        _put(proto, cursor.text_literal().encode(), element=element)
    elif token.kind == "number":
        _parse_number(cursor, proto, element=element)
    else:
        raise cursor.error(f"expected a constant, found {cursor.found()}.")


def _put(proto: AttributeProto, value: int | float | bytes, *, element: bool) -> None:
    field = _scalar_field(proto.type, element=element)
    assert field is not None
    if element:
        getattr(proto, field).append(value)
    else:
        setattr(proto, field, value)


def is_real(token: Token) -> bool:
    """Whether a number is written as one that may have a fraction: `1.0`, `1e-5`, `inf`."""
    return any(c in token.text for c in ".en")


def _parse_number(cursor: Cursor, proto: AttributeProto, *, element: bool) -> None:
    token = cursor.take()
    wire = int(_A.FLOAT) if is_real(token) else int(_A.INT64)
    if cursor.accept(":"):
        wire = _parse_dtype(cursor)
    if wire not in _NUMBERS:
        raise cursor.error(f"no constant of type {_WIRE_NAMES[wire]} is written as a number.", token)
    proto.type = _NUMBERS[wire]
    value = _integer(cursor, token, _INTEGERS[wire]) if wire in _INTEGERS else float(token.text)
    _put(proto, value, element=element)


def _integer(cursor: Cursor, token: Token, dtype: DType) -> int:
    least, most = _limits(dtype)
    if is_real(token) or len(token.text) > 20 or not least <= int(token.text) <= most:
        raise cursor.error(f"{token.text} is no {dtype}.", token)
    return int(token.text)


def _parse_tensor(cursor: Cursor, proto: TensorProto) -> None:
    parse_tensor_type(cursor, proto)
    parse_data(cursor, proto)
    proto.name = cursor.text_literal() if cursor.accept("named") else TENSOR_NAME


def parse_data(cursor: Cursor, proto: TensorProto) -> None:
    """Write the elements at the cursor into a tensor whose type is written. Raises TextError."""
    if cursor.next.kind == "data":
        proto.raw_data = cursor.data()
        return
    start = cursor.next
    dtype = dtypes.from_wire(proto.data_type)
    if dtype is None or min(proto.dims, default=0) < 0:
        raise cursor.error(f"the elements of {tensor_type_text(proto)} can only be written as bytes.")
    total = _size(proto, dtype)
    if total > _MAX_BYTES:
        raise cursor.error(f"{tensor_type_text(proto)} has more bytes than a file holds.")
    if not cursor.accept("("):
        proto.raw_data = _parse_element(cursor, dtype) * (total // dtype.itemsize)
        return
    elements = []
    while not cursor.accept(")"):
        elements.append(_parse_element(cursor, dtype))
        if not cursor.sees(")"):
            cursor.expect(",")
    if len(elements) * dtype.itemsize != total:
        wanted = total // dtype.itemsize
        raise cursor.error(f"{tensor_type_text(proto)} has {wanted} elements, and here are {len(elements)}.", start)
    proto.raw_data = b"".join(elements)


def _parse_element(cursor: Cursor, dtype: DType) -> bytes:
    if dtype is dtypes.BOOL:
        token = cursor.expect_kind("name", "True or False")
        if token.text not in ("True", "False"):
            raise cursor.error(f"expected True or False, found {token.text!r}.", token)
        return np.bool_(token.text == "True").tobytes()
    token = cursor.expect_kind("number", f"a number of type {dtype}")
    if not dtype.is_float:
        return np.array(_integer(cursor, token, dtype), dtype.numpy).tobytes()
    value = np.float64(token.text)
    with np.errstate(over="ignore"):
        stored = value.astype(dtype.numpy)
    if np.isinf(stored) and not np.isinf(value):
        raise cursor.error(f"{token.text} is too large for {dtype}.", token)
    return stored.tobytes()
