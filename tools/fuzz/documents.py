"""Edits of documents: one place of a JSON or TOML value gets another value, goes, comes twice, or takes another's."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any, TypeAlias

from tools.fuzz.byte_edits import Files

Slot: TypeAlias = tuple[Any, Any]
"""A list or table, and the index or key of one of its values."""

NUMBERS = (
    *(0, 1, 2, 3, 7, 64, 255, 65536, -1, -2, 1 << 31, (1 << 31) - 1, 1 << 53, 1 << 63, (1 << 63) - 1, 1 << 64),
    *(-(1 << 63), 10**30, 10**400, 0.5, -0.0, 1.0, 1e-300, 1e308, 1e22, float("inf"), float("-inf"), float("nan")),
)
TEXTS = (
    *("", " ", "x", "0", "-1", "1e999", "None", "null", "float16", "bfloat16", "auto", "*", "**", "[", "a.b.c"),
    *("../outside/secret", "../../outside/secret", "/etc/hostname", ".", "..", "/", "a/b", "a\\b", "~", "-", "--help"),
    *("nul\0here", "new\nline", "tab\t", "\r", "\u2028", "\ud800", "é√𝔸\u202e", "%s{0}[red]", "n" * 300, "n" * 70_000),
    *("(", "((a|a)+)+(a|a)+(a|a)+(a|a)+(a|a)+x", "(?R)", "((a{99}){99}){99}", "[[:alpha:]"),
)
VALUES: tuple[Any, ...] = (None, True, False, [], {}, [None], [[]], {"": None}, ["x", "y"], [0], *NUMBERS, *TEXTS)
_NESTED = 300
_MOST = 3_000
"""Places that are looked at of one document."""


def slots(value: Any) -> Iterator[Slot]:
    """Every place in a document but the whole, the outer ones first."""
    waiting = [value]
    seen = 0
    while waiting and seen < _MOST:
        at = waiting.pop(0)
        keys = list(at) if isinstance(at, dict) else range(len(at)) if isinstance(at, list) else ()
        for key in keys:
            seen += 1
            yield at, key
            waiting.append(at[key])


def edit(random: Random, document: Any) -> tuple[Any, str]:
    """The document with one place changed, and what was done; the document is changed in place where it can be."""
    places = list(slots(document))
    if not places or random.random() < 0.01:
        return copy.deepcopy(random.choice(VALUES)), "another document"
    at, key = random.choice(places)
    what = random.choice(("value", "value", "value", "near", "near", "gone", "name", "twice", "swap", "copy", "nest"))
    told = f"{what} at {str(key)[:40]!r}"
    if what == "gone":
        del at[key]
    elif what == "name" and isinstance(at, dict):
        new = random.choice((*TEXTS, *(str(k) for _, k in places)))
        at[new] = at.pop(key)
        return document, f"{told}: {new[:40]!r}"
    elif what == "twice" and isinstance(at, list):
        at.insert(key, copy.deepcopy(at[key]))
    elif what in ("swap", "copy"):
        other, place = random.choice(places)
        mine, theirs = copy.deepcopy(at[key]), copy.deepcopy(other[place])
        at[key] = theirs
        if what == "swap" and other is not at:
            other[place] = mine
    elif what == "nest":
        at[key] = _nested(random, at[key])
    else:
        at[key] = new = _near(random, at[key]) if what == "near" else copy.deepcopy(random.choice(VALUES))
        told = f"{told}: {repr(new)[:40]}"
    return document, told


def _near(random: Random, value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool) or value is None:
        return random.choice((True, False, None))
    if isinstance(value, int | float):
        return random.choice((value + 1, value - 1, -value, value * 2, *NUMBERS))
    if isinstance(value, str):
        return random.choice((value[:-1], value + "x", value.upper(), value * 2, f"../{value}", *TEXTS))
    if isinstance(value, list):
        return random.choice((value[::-1], value[1:], value * 2, [*value, None], []))
    return random.choice(({}, dict(list(value.items())[1:]), {**value, "x": None}))


def _nested(random: Random, value: Any) -> Any:
    for _ in range(random.choice((1, 1, 2, _NESTED))):
        value = [value] if random.random() < 0.5 else {"x": value}
    return value


def to_json(random: Random, document: Any) -> bytes:
    """As JSON, in one of the ways that it can be written."""
    try:
        text = json.dumps(document, ensure_ascii=random.random() < 0.5)
    except (ValueError, RecursionError):  # a number of more digits than Python writes; what holds itself
        return b"{}"
    return text.encode(errors="surrogatepass")


def edited_json(random: Random, content: bytes) -> tuple[bytes, str]:
    """A JSON file with one place changed; nothing told where it is none any more."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return content, ""
    document, told = edit(random, document)
    return to_json(random, document), told


def edited_toml(random: Random, content: bytes) -> tuple[bytes, str]:
    """A TOML file with one place changed; nothing told where it is none any more."""
    try:
        document = tomllib.loads(content.decode())
    except (ValueError, RecursionError):
        return content, ""
    document, told = edit(random, document)
    try:
        return to_toml(document), told
    except RecursionError:
        return content, ""


def to_toml(document: Any) -> bytes:
    """As TOML: tables by their headers where they are outer ones, all else inline. What TOML has not is left out."""
    if not isinstance(document, dict):
        return f"x = {_inline(document)}\n".encode(errors="surrogatepass")
    plain = [f"{_key(k)} = {_inline(v)}\n" for k, v in document.items() if not _is_outer(v) and v is not None]
    for key, value in document.items():
        for table in value if isinstance(value, list) else (value,):
            if _is_outer(value):
                header = f"[[{_key(key)}]]" if isinstance(value, list) else f"[{_key(key)}]"
                plain += [header, "\n", *(f"{_key(k)} = {_inline(v)}\n" for k, v in table.items() if v is not None)]
    return "".join(plain).encode(errors="surrogatepass")


def _is_outer(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)
    )


def _key(key: object) -> str:
    return _inline(str(key))


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_inline(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(one) for one in value if one is not None) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def edit_json(random: Random, files: Files) -> str:
    """A place of one of the JSON files."""
    return _edit_one(random, files, (".json",), edited_json)


def edit_toml(random: Random, files: Files) -> str:
    """A place of one of the TOML files."""
    return _edit_one(random, files, (".toml",), edited_toml)


def _edit_one(
    random: Random, files: Files, suffixes: tuple[str, ...], edited: Callable[[Random, bytes], tuple[bytes, str]]
) -> str:
    names = [name for name, content in files.items() if name.endswith(suffixes) and isinstance(content, bytes)]
    if not names:
        return ""
    name = random.choice(names)
    content = files[name]
    assert isinstance(content, bytes)
    files[name], told = edited(random, content)
    return f"{name}: {told}" if told else ""
