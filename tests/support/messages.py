"""Messages of the format that nobody would write: filled at random, and changed at random."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_F = FieldDescriptor
_AnyField: TypeAlias = Any  # of the implementation in C or the one in Python: type checkers see two classes
UNKNOWN = b"\xfa\x3f\x03abc"
"""A field of a number (1023) that no message of the schema has."""
_TEXTS = ("", "a", "value", "shape", "value0", "g:x", "@p", 'a "quoted" one', "two\nlines", "→ é", "a:#b", "REF::a")
_INTEGERS = {
    _F.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    _F.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    _F.CPPTYPE_UINT32: (0, 2**32 - 1),
    _F.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def data(message: Message) -> bytes:
    """The message's bytes, whether or not all is there that the schema requires."""
    return message.SerializePartialToString(deterministic=True)


def fill(message: Message, random: Random, depth: int = 2) -> None:
    """Set some of the fields, messages within messages `depth` deep."""
    for field in message.DESCRIPTOR.fields:
        if random.random() < 0.3 and (depth or field.message_type is None):
            _set(message, field, random, depth)
    if random.random() < 0.05:
        message.MergeFromString(UNKNOWN)


def change(message: Message, random: Random) -> None:
    """Set, clear or add one thing somewhere in the message."""
    chosen = random.choice([message, *_inner(message)])
    field: _AnyField = random.choice(chosen.DESCRIPTOR.fields)
    if random.random() < 0.1:
        chosen.MergeFromString(UNKNOWN)
    elif random.random() < 0.3:
        chosen.ClearField(field.name)
    else:
        _set(chosen, field, random, 1)


def _inner(message: Message) -> Iterator[Message]:
    for descriptor, value in message.ListFields():
        field: _AnyField = descriptor
        if field.message_type is not None:
            for held in value if field.is_repeated else (value,):
                yield held
                yield from _inner(held)


def _set(message: Message, field: _AnyField, random: Random, depth: int) -> None:
    if field.message_type is None:
        draw = _drawer(field)
        if field.is_repeated:
            getattr(message, field.name).extend(draw(random) for _ in range(random.randint(1, 3)))
        else:
            setattr(message, field.name, draw(random))
        return
    held = getattr(message, field.name)
    for target in [held.add() for _ in range(random.randint(1, 2))] if field.is_repeated else [held]:
        target.SetInParent()
        fill(target, random, max(0, depth - 1))


def _drawer(field: _AnyField) -> Callable[[Random], Any]:
    if field.enum_type is not None:
        numbers = [value.number for value in field.enum_type.values]
        return lambda random: random.choice(numbers)
    if field.cpp_type == _F.CPPTYPE_BOOL:
        return lambda random: random.random() < 0.5
    if field.cpp_type in _INTEGERS:
        least, most = _INTEGERS[field.cpp_type]
        return lambda random: random.choice((0, 1, 7, least, most, random.randint(least, most), random.randint(0, 20)))
    if field.cpp_type in (_F.CPPTYPE_FLOAT, _F.CPPTYPE_DOUBLE):
        code = "<f" if field.cpp_type == _F.CPPTYPE_FLOAT else "<d"
        return lambda random: random.choice((0.0, -0.0, 0.1, 1e-30, _any_float(code, random), float("inf")))
    if field.type == _F.TYPE_BYTES:
        return lambda random: random.choice((b"", b"text", random.randbytes(random.randint(0, 80))))
    return lambda random: random.choice(_TEXTS)


def _any_float(code: str, random: Random) -> float:
    """Of any bits: subnormal, NaN with a payload."""
    return float(struct.unpack(code, random.randbytes(struct.calcsize(code)))[0])
