"""Safetensors files for mutants: written byte by byte, since what saves them knows no broken ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import prod
from random import Random
from typing import Any, TypeGuard

from tools.fuzz.byte_edits import Files
from tools.fuzz.documents import edit, to_json

SIZES = {"BOOL": 1, "I8": 1, "U8": 1, "F8_E4M3": 1, "F16": 2, "BF16": 2, "F32": 4, "I32": 4, "I64": 8, "F64": 8}
"""Bytes of an element, by the format's names of types."""
_OTHERS = ("F8_E5M2", "U16", "U64", "C64", "F4", "F6_E2M3", "f32", "", "X")
_SUFFIX = ".safetensors"
_MOST = 1 << 16
"""Elements of a tensor that is laid out anew."""


def tensor_file(
    tensors: Mapping[str, tuple[str, Sequence[int]]],
    data: Mapping[str, bytes] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """A file of tensors by type and shape; values that `data` does not give are small."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    body = b""
    for key, (dtype, shape) in tensors.items():
        size = SIZES[dtype] * prod(shape)
        content = (data or {}).get(key, bytes(at % 60 for at in range(size)))
        header[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(body), len(body) + len(content)]}
        body += content
    return _whole(json.dumps(header).encode(), body)


def _whole(header: bytes, body: bytes) -> bytes:
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + body


def edit_tensors(random: Random, files: Files) -> str:
    """A tensor, or the header, of one of the files; where it can be, the file holds together after it."""
    names = [name for name, content in files.items() if name.endswith(_SUFFIX) and isinstance(content, bytes)]
    if not names:
        return ""
    name = random.choice(names)
    content = files[name]
    assert isinstance(content, bytes)
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
    except (ValueError, RecursionError):
        return ""
    body = content[8 + length :]
    if not isinstance(header, dict) or not all(_is_entry(key, entry) for key, entry in header.items()):
        return ""
    what = random.choice(("header", "header", "length", "tensor", "tensor", "tensor", "tensor", "tensor"))
    if what == "length":
        wrong = random.choice((0, 1, length - 1, length + 8, len(content), 2**40, 2**63, 2**64 - 1))
        files[name] = wrong.to_bytes(8, "little") + content[8:]
        return f"{name}: a header of {wrong} bytes"
    if what == "header":
        changed, told = edit(random, header)
        files[name] = _whole(to_json(random, changed), body)
        return f"{name}: header: {told}"
    return _edit_tensor(random, files, name, header, body)


def _is_entry(key: str, entry: object) -> bool:
    if key == "__metadata__":
        return True
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        return False
    offsets, shape = entry.get("data_offsets"), entry.get("shape")
    return _are_sizes(offsets) and _are_sizes(shape) and len(offsets) == 2 and prod(shape) < _MOST


def _are_sizes(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(size) is int and 0 <= size < _MOST for size in value)


def _edit_tensor(random: Random, files: Files, name: str, header: dict[str, Any], body: bytes) -> str:
    """Another type, shape, name or value of a tensor, in a file that is laid out anew."""
    held = {k: (e["dtype"], e["shape"], body[slice(*e["data_offsets"])]) for k, e in header.items() if k[:2] != "__"}
    if not held:
        return ""
    key = random.choice(list(held))
    dtype, shape, data = held[key]
    what = random.choice(("type", "shape", "shape", "name", "gone", "twice", "value", "type name", "scalar"))
    if what == "type" and dtype in SIZES:
        dtype = random.choice(list(SIZES))
    elif what == "shape" and isinstance(shape, list):
        shape = random.choice((shape[::-1], [*shape, 1], [1, *shape], shape[1:], [0, *shape], [0], [prod(shape)], []))
    elif what == "scalar":
        shape = []
    elif what == "type name":
        dtype = random.choice(_OTHERS)
    elif what == "value":
        data = random.choice((b"\xff", b"\x7f", b"\x80", b"\x7c", b"\0")) * len(data)
    if what == "gone":
        del held[key]
    elif what in ("name", "twice"):
        other = random.choice((f"{key}x", key.rpartition(".")[0], f"{key}.weight", "", "__metadata__", *held))
        held[other] = held[key] if what == "twice" else held.pop(key)
    else:
        size = SIZES.get(dtype, 1) * prod(shape)
        held[key] = dtype, shape, (data * (size // max(len(data), 1) + 1))[:size].ljust(size, b"\0")
    made: dict[str, Any] = {k: e for k, e in header.items() if k[:2] == "__"}
    laid = b""
    for k, (t, s, d) in held.items():
        made[k] = {"dtype": t, "shape": s, "data_offsets": [len(laid), len(laid) + len(d)]}
        laid += d
    files[name] = _whole(json.dumps(made).encode(errors="surrogatepass"), laid)
    return f"{name}: {what} of {key[:60]}"
