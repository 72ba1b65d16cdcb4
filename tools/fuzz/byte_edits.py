"""Edits of files whatever they hold: bytes that are others, too many or too few, and what is no file at all."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from enum import Enum
from random import Random
from typing import TypeAlias


class Thing(Enum):
    """What may lie where a file is looked for."""

    FOLDER = "a folder"
    CIRCLE = "a link to itself"
    DANGLING = "a link to what is not there"
    PIPE = "a pipe"
    LINK = "a link to a file elsewhere"


Content: TypeAlias = bytes | Thing
Files: TypeAlias = MutableMapping[str, Content]

BEGINNINGS = (
    *(b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
    *(b"PK\x03\x04", b"GGUF\x03\0\0\0", b"\x80\x04\x95", b"\x89HDF\r\n\x1a\n", b"<!DOCTYPE html><html>", b"\x93NUMPY"),
)
PIECES = (
    *(b"\0", b"\xff", b"\x80", b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\\u0000", b"\\ud800", b"\n", b"\r"),
    *(b"null", b"NaN", b"Infinity", b"1e999", b"-", b"0x", b"9" * 5_000, b"[" * 100_000, b'{"":' * 50_000, b" " * 99),
    *(b"'", b"#", b"=", b"\xf0\x9d\x94\xb8", b"../", b"\xed\xa0\x80"),
)


def edited_bytes(random: Random, data: bytes) -> tuple[bytes, str]:
    """Other bytes, and what was done."""
    at = random.randrange(len(data) + 1)
    end = min(len(data), at + random.choice((1, 1, 2, 8, 64, 1_000)))
    what = random.choice(("bit", "byte", "insert", "delete", "cut", "repeat", "begin", "number", "empty", "append"))
    if what == "bit" and at < len(data):
        return data[:at] + bytes((data[at] ^ (1 << random.randrange(8)),)) + data[at + 1 :], f"a bit at {at}"
    if what == "byte" and at < len(data):
        return data[:at] + random.randbytes(end - at) + data[end:], f"{end - at} bytes at {at}"
    if what == "delete":
        return data[:at] + data[end:], f"{end - at} bytes less at {at}"
    if what == "cut":
        return data[:at], f"cut at {at}"
    if what == "repeat":
        return data[:end] + data[at:end] * random.choice((1, 3, 50)) + data[end:], f"bytes at {at} again"
    if what == "begin":
        beginning = random.choice(BEGINNINGS)
        return beginning + (data if random.random() < 0.5 else b""), f"begins with {beginning[:12]!r}"
    if what == "number" and (found := list(re.finditer(rb"-?\d+(\.\d+)?", data[:100_000]))):
        number, piece = random.choice(found), random.choice((b"9" * 5_000, b"1e999", b"-0", b"1" * 20, b"00", b"0x1"))
        return data[: number.start()] + piece + data[number.end() :], f"number at {number.start()}: {piece[:12]!r}"
    if what == "empty" and random.random() < 0.2:
        return b"", "empty"
    piece = random.choice(PIECES)
    at = len(data) if what == "append" else at
    return data[:at] + piece + data[at:], f"{piece[:12]!r} at {at}"


def edit_bytes(random: Random, files: Files) -> str:
    """Bytes of a file, the smaller files as likely as the larger."""
    names = [name for name, content in files.items() if isinstance(content, bytes)]
    if not names:
        return ""
    name = random.choice(names)
    content = files[name]
    assert isinstance(content, bytes)
    files[name], told = edited_bytes(random, content)
    return f"{name}: {told}"


def edit_things(random: Random, files: Files) -> str:
    """A file is not there, is no file, is another's, or lies under another's name."""
    if not files:
        return ""
    name, other = random.choice(list(files)), random.choice(list(files))
    what = random.choice(("gone", "gone", "thing", "other", "swap"))
    if what == "gone":
        del files[name]
        return f"{name}: gone"
    if what == "thing":
        files[name] = thing = random.choice(list(Thing))
        return f"{name}: {thing.value}"
    files[name], before = files[other], files[name]
    if what == "swap":
        files[other] = before
    return f"{name}: that of {other}"
