"""Safetensors files of any element types, written byte by byte: packages that save them know fewer types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path

_BYTES = {"BOOL": 1, "I8": 1, "U8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4}
_BYTES |= {"F32": 4, "I64": 8, "F64": 8}

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]
"""Element type, in safetensors' name, and shape, by key."""


def write_stored(
    path: Path, tensors: Tensors, data: Mapping[str, bytes] | None = None, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a file of such tensors; of those that `data` does not give, every value is zero."""
    header: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    body = b""
    for key, (dtype, shape) in tensors.items():
        content = (data or {}).get(key, bytes(_BYTES[dtype] * prod(shape)))
        header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(content)]}
        body += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
