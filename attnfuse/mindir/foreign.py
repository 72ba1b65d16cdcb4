"""What a file is that is not what was looked for, told by how it begins, by its size, and by its name last.

Formats: Git LFS pointers (git-lfs, docs/spec.md), GGUF (ggml-org/ggml, docs/gguf.md), safetensors
(huggingface/safetensors, "Format"), PyTorch's zip archives and older pickles, HDF5, PNG and JPEG.

Free of protobuf: what is loaded beside MindSpore may import it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

UNFINISHED = (".incomplete", ".part", ".partial", ".aria2", ".crdownload", ".download")
"""What the names of downloads end in that were not finished."""

UNFINISHED_DOWNLOAD = "the download was not finished"
OF_PYTORCH = "which can run code when it is read: convert it to safetensors (docs/checkpoints.md says how)"

_LFS = b"version https://git-lfs.github.com/spec/"
_LFS_SIZE = re.compile(rb"^size (\d{1,18})$", re.MULTILINE)
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_BY_NAME = {
    ".msgpack": "holds weights of Flax (msgpack); convert them to safetensors",
    ".h5": "holds weights of TensorFlow (HDF5); convert them to safetensors",
    ".onnx": "is a model of ONNX; give the pipeline folder that it was exported from",
    ".om": "is a model that ATC compiled; give the pipeline folder that it was made from",
    ".ms": "is a model that MindSpore Lite's converter made; give the .mindir that it was made from",
}
_HEAD_BYTES = 512
MAX_HEADER = 100 * 2**20
"""What the safetensors package accepts."""


def what_lies_there(path: Path) -> str:
    """What the file is and what to do about it, in words that follow its name; nothing where that is not known.

    A whole safetensors file, and a MindIR, is nothing to tell of. Raises OSError where it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if path.name.endswith(UNFINISHED):
        return f"is part of a file: {UNFINISHED_DOWNLOAD}; fetch it again"
    if head.startswith(_LFS):
        size = _LFS_SIZE.search(head)
        of = "" if size is None else f" of {int(size[1])} bytes"
        return f"is a Git LFS pointer to a file{of}, and not that file: run git lfs pull where it was cloned"
    if head.startswith(b"GGUF"):
        return "is a GGUF file, whose weights are quantised; give the unquantised checkpoint"
    if head.startswith(b"PK\x03\x04"):
        return f"is a file of PyTorch's, or another archive, {OF_PYTORCH}"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return f"is a pickle, {OF_PYTORCH}"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return _BY_NAME[".h5"]
    if head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1")):
        return "is a picture, and no model or weights; give the file that was meant"
    if re.match(rb"\s*<(!doctype html|html|\?xml)", head, re.IGNORECASE):
        return "is a web page, as a server sends it in place of a file it does not hand out; fetch it again"
    if path.suffix in _PICKLES:
        return f"is called as PyTorch's files are, {OF_PYTORCH}"
    if path.suffix in _BY_NAME:
        return _BY_NAME[path.suffix]
    return _length_differs(path, head)


def _length_differs(path: Path, head: bytes) -> str:
    """By how much a safetensors file is shorter or longer than its header says; nothing where it is not."""
    size, length = path.stat().st_size, int.from_bytes(head[:8], "little")
    if head[8:9] != b"{" or len(head) < 10 or length > MAX_HEADER:
        return ""
    if 8 + length > size:
        if path.suffix != ".safetensors":
            return ""
        return f"ends within its header, {8 + length - size} bytes early: {UNFINISHED_DOWNLOAD}; fetch it again"
    with path.open("rb") as file:
        file.seek(8)
        text = file.read(length)
    try:
        entries = json.loads(text).items()
        ends = [int(entry["data_offsets"][1]) for key, entry in entries if key != "__metadata__"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError):
        return ""
    wanted = 8 + length + max(ends, default=0)
    if size < wanted:
        missing = f"is {wanted - size} bytes shorter than its header says ({size} of {wanted})"
        return f"{missing}: {UNFINISHED_DOWNLOAD}; fetch it again"
    if size > wanted:
        return f"is {size - wanted} bytes longer than its header says ({size}, not {wanted}); fetch it again"
    return ""
