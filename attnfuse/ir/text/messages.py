"""Any message of the format as text, field by field, and back: for what has no shorter form.

    {name: "x", type: INT64, i: 3, values: [{…}, {…}], s: bytes"…", unknown: bytes"…"}

`unknown` are fields the schema does not name. A message that cannot be told so (a name that is not UTF-8, a NaN of
other bits than the usual) is `bytes"…"` as a whole. What is parsed has the bytes of what was printed.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from attnfuse.ir.text.lexer import Cursor, quoted

_AnyField: TypeAlias = Any  # of the implementation in C or the one in Python: type checkers see two classes
_KEEP = 64
"""Bytes that are printed even where data are left out."""
_F = FieldDescriptor
_INTEGERS = {
    _F.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    _F.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    _F.CPPTYPE_UINT32: (0, 2**32 - 1),
    _F.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def is_text(value: object) -> bool:
    """Whether a field of text is one: protobuf hands out bytes where it is not UTF-8."""
    return isinstance(value, str)


class _NoFieldsError(Exception):
    """The message cannot be told field by field."""


def float_text(value: float, *, single: bool = False) -> str:
    """The shortest number that reads back as `value`, which is a float32 where `single`; always with `.`, `e` or n."""
    text = repr(float(value))
    if single:
        shorter = str(np.float32(value))
        text = shorter if np.float32(float(shorter)) == np.float32(value) else text
    return text if any(c in text for c in ".en") else f"{text}.0"


def has_unknown_fields(message: Message) -> bool:
    """Whether it, or a message in it, has a field the schema does not name."""
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return len(known.SerializePartialToString()) != len(message.SerializePartialToString())


def data_text(data: bytes, *, keep_data: bool) -> str:
    """`bytes"…"`, or where data are left out and there are many, `sha256"…"`."""
    if keep_data or len(data) <= _KEEP:
        return f'bytes"{base64.b64encode(data).decode()}"'
    return f'sha256"{hashlib.sha256(data).hexdigest()}"'


def message_text(message: Message, *, keep_data: bool = True) -> str:
    """The message; with `keep_data` False, large data are told by their digest, and cannot be parsed."""
    try:
        return _fields(message, keep_data)
    except _NoFieldsError:
        return data_text(message.SerializePartialToString(deterministic=True), keep_data=keep_data)


def fields_text(message: Message, names: list[str], *, keep_data: bool = True) -> str:
    """`{name: value, …}` of these fields alone, an absent repeated one as []. The message has no unknown fields."""
    parts = []
    for name in names:
        field = message.DESCRIPTOR.fields_by_name[name]
        parts.append(f"{name}: {_field(field, getattr(message, name), keep_data)}")
    return "{" + ", ".join(parts) + "}"


def _fields(message: Message, keep_data: bool) -> str:
    parts = [f"{field.name}: {_field(field, value, keep_data)}" for field, value in message.ListFields()]
    if has_unknown_fields(message):
        rest = type(message)()
        rest.CopyFrom(message)
        for field in message.DESCRIPTOR.fields:
            rest.ClearField(field.name)
        if unknown := rest.SerializePartialToString(deterministic=True):
            parts.append(f"unknown: {data_text(unknown, keep_data=keep_data)}")
    return "{" + ", ".join(parts) + "}"


def _field(field: _AnyField, value: Any, keep_data: bool) -> str:
    if field.is_repeated:
        return "[" + ", ".join(_value(field, element, keep_data) for element in value) + "]"
    return _value(field, value, keep_data)


def _value(field: _AnyField, value: Any, keep_data: bool) -> str:
    if field.message_type is not None:
        return message_text(value, keep_data=keep_data)
    if field.enum_type is not None:
        return str(field.enum_type.values_by_number[value].name)  # a number it has no name for is an unknown field
    kind = field.cpp_type
    if kind == _F.CPPTYPE_BOOL:
        return str(value)
    if kind in _INTEGERS:
        return str(value)
    if kind in (_F.CPPTYPE_FLOAT, _F.CPPTYPE_DOUBLE):
        if value != value and struct.pack("<d", value) != struct.pack("<d", float("nan")):
            raise _NoFieldsError
        return float_text(value, single=kind == _F.CPPTYPE_FLOAT)
    if field.type == _F.TYPE_BYTES:
        return data_text(value, keep_data=keep_data)
    if not is_text(value):
        raise _NoFieldsError
    return quoted(value)


def parse_message(cursor: Cursor, message: Message) -> list[str]:
    """Add what stands at the cursor to the message; the names of the fields that were given.

    A repeated field that is given replaces what the message has in it. Raises TextError.
    """
    if cursor.next.kind == "data":
        start = cursor.next
        try:
            message.MergeFromString(cursor.data())
        except DecodeError:
            raise cursor.error(f"these bytes are no {message.DESCRIPTOR.name}.", start) from None
        return []
    cursor.expect("{")
    given: list[str] = []
    while not cursor.accept("}"):
        token = cursor.expect_kind("name", "the name of a field")
        cursor.expect(":")
        if token.text == "unknown":
            message.MergeFromString(cursor.data())
        else:
            field = message.DESCRIPTOR.fields_by_name.get(token.text)
            if field is None:
                known = ", ".join(message.DESCRIPTOR.fields_by_name)
                raise cursor.error(f"{message.DESCRIPTOR.name} has no field {token.text!r}; it has {known}.", token)
            message.ClearField(field.name)
            _parse_field(cursor, message, field)
        given.append(token.text)
        if not cursor.sees("}"):
            cursor.expect(",")
    return given


def _parse_field(cursor: Cursor, message: Message, field: _AnyField) -> None:
    if not field.is_repeated:
        if field.message_type is not None:
            inner = getattr(message, field.name)
            inner.SetInParent()
            parse_message(cursor, inner)
        else:
            setattr(message, field.name, _parse_value(cursor, field))
        return
    cursor.expect("[")
    elements = getattr(message, field.name)
    while not cursor.accept("]"):
        if field.message_type is not None:
            parse_message(cursor, elements.add())
        else:
            elements.append(_parse_value(cursor, field))
        if not cursor.sees("]"):
            cursor.expect(",")


def _parse_value(cursor: Cursor, field: _AnyField) -> Any:
    if field.enum_type is not None:
        token = cursor.expect_kind("name", f"a {field.enum_type.name}")
        known = field.enum_type.values_by_name.get(token.text)
        if known is None:
            raise cursor.error(f"there is no {field.enum_type.name} {token.text!r}.", token)
        return known.number
    kind = field.cpp_type
    if kind == _F.CPPTYPE_BOOL:
        token = cursor.expect_kind("name", "True or False")
        if token.text not in ("True", "False"):
            raise cursor.error(f"expected True or False, found {token.text!r}.", token)
        return token.text == "True"
    if kind in _INTEGERS:
        return cursor.integer(*_INTEGERS[kind])
    if kind in (_F.CPPTYPE_FLOAT, _F.CPPTYPE_DOUBLE):
        return cursor.real()
    if field.type == _F.TYPE_BYTES:
        return cursor.data()
    return cursor.text_literal()
