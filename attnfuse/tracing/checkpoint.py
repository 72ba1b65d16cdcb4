"""Finds the safetensors files of one model folder and lists the tensors in them, reading headers only.

The worker reads it to plan the stream of weights, the plan to learn how they are stored. Imports `contract` of this
package, `attnfuse.documents`, `attnfuse.errors` and what of `attnfuse.mindir` is free of protobuf; no MindSpore.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from attnfuse import documents
from attnfuse.errors import SourceError
from attnfuse.mindir import dtypes
from attnfuse.mindir.tensorfile import TensorFile
from attnfuse.tracing.contract import Library

_STEM: Mapping[Library, str] = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}

FLOAT8_DTYPES = tuple(dtype.name for dtype in dtypes.FLOAT8)
"""Float types of eight bits, every value of which float16, bfloat16 and float32 hold exactly."""

#: What other formats of weights end in.
_OTHER_FORMATS = (".bin", ".ckpt", ".pt", ".pth", ".gguf", ".msgpack", ".h5", ".onnx", ".npz", ".pkl")


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Tensor `key` of safetensors file `file`; `dtype` in numpy's name, or safetensors' own where it has none."""

    file: Path
    key: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def find_files(folder: Path, library: Library) -> tuple[Path, ...]:
    """Return the safetensors files that hold a model: one, or the shards its index names.

    Where there are both a single file and an index (`<stem>.safetensors.index.json`), mindone's diffusers reads
    the index and mindone's transformers the file. A folder that has only a variant (`<stem>.fp16.safetensors`) is
    read as that variant, which in mindone the user names; with several variants and no plain file none is right.

    Raises SourceError where there are none, several variants, or missing shards.
    """
    stem = _STEM[library]
    single, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    for path in (index, single) if library == "diffusers" else (single, index):
        if path.is_file():
            return _shards(path)
    variants = sorted(
        path
        for pattern in (f"{stem}.*.safetensors", f"{stem}.safetensors.index.*.json")
        for path in folder.glob(pattern)
        if "-of-" not in path.name
    )
    if len(variants) == 1:
        return _shards(variants[0])
    if variants:
        names = ", ".join(path.name for path in variants)
        raise SourceError(f"{folder} has several variants of its weights and no {stem}.safetensors: {names}.")
    raise SourceError(f"{folder} has no {stem}.safetensors{_instead(folder, stem)}.")


def _instead(folder: Path, stem: str) -> str:
    """What lies in a folder in place of a model's weights, and what to do with it; empty where nothing does."""
    names = sorted(path.name for path in folder.glob("*"))
    partial = (".incomplete", ".part", ".aria2")
    stored = [name for name in names if name.endswith(".safetensors")]
    found = {
        ": the download was not finished": [name for name in names if name.endswith(partial)],
        f": shards, without their index {stem}.safetensors.index.json": [name for name in stored if "-of-" in name],
        ": no file of the name that is read": [name for name in stored if "-of-" not in name],
        " must first be converted to safetensors": [name for name in names if name.endswith(_OTHER_FORMATS)],
    }
    return "".join(f"; {', '.join(files)}{what}" for what, files in found.items() if files)


def has_weights(folder: Path) -> bool:
    """Whether there is a file in a folder that holds weights, in whatever format."""
    return any(path.suffix in (".safetensors", *_OTHER_FORMATS) for path in folder.glob("*"))


def is_gguf(path: Path) -> bool:
    """Whether a file is of the format GGUF (github.com/ggml-org/ggml, docs/gguf.md), whatever it is called."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"GGUF"
    except OSError:
        return False


def read_tensors(files: tuple[Path, ...]) -> Mapping[str, StoredTensor]:
    """List every tensor of `files` by key, in the files' order; SourceError for a file that is not safetensors."""
    tensors: dict[str, StoredTensor] = {}
    for path in files:
        for key, entry in TensorFile(path).tensors.items():
            dtype = dtypes.from_safetensors(entry.stored)
            tensors[key] = StoredTensor(path, key, entry.stored if dtype is None else dtype.name, entry.shape)
    return tensors


def read_metadata(path: Path) -> Mapping[str, str]:
    """What a safetensors file's header says beside its tensors; nothing where it cannot be read."""
    try:
        return TensorFile(path).metadata
    except SourceError:
        return {}


def stored_tensors(folder: Path, library: Library) -> Mapping[str, StoredTensor]:
    """The tensors of a model's checkpoint by key; none where it is not there or cannot be read, which a trace tells."""
    try:
        return read_tensors(find_files(folder, library))
    except SourceError:
        return {}


def damage(folder: Path, library: Library) -> str:
    """Why the files of a model's checkpoint cannot be read; nothing where they can, or there are none."""
    try:
        files = find_files(folder, library)
    except SourceError:
        return ""
    try:
        read_tensors(files)
    except SourceError as error:
        return str(error).rstrip(".")
    return ""


def read_values(tensor: StoredTensor) -> npt.NDArray[Any]:
    """The values of one tensor in its own type; floats of eight bits and bfloat16, which numpy lacks, in float32.

    Raises SourceError for a type that the format has and this project does not read.
    """
    values = TensorFile(tensor.file).values(tensor.key)
    return values.astype(np.float32) if tensor.dtype in (*FLOAT8_DTYPES, "bfloat16") else values


def _shards(path: Path) -> tuple[Path, ...]:
    if path.suffix != ".json":
        return (path,)
    try:
        names = sorted(set(documents.parse(documents.read_text(path), "JSON")["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise SourceError(f"{path} cannot be read as an index of safetensors shards.") from None
    if not names or not all(isinstance(name, str) for name in names):
        raise SourceError(f"{path} cannot be read as an index of safetensors shards.")
    for name in names:
        if Path(name).name != name:
            raise SourceError(f"{path} names shard {name!r}, which is not a file of its own folder.")
        if not (path.parent / name).is_file():
            raise SourceError(f"{path} names shard {name}, which does not exist.")
    return tuple(path.parent / name for name in names)
