"""Finds the safetensors files of one model folder and lists the tensors in them, reading headers only.

The worker reads it to plan the stream of weights, the plan to learn how they are stored. Imports `contract` and
`in_its_place` of this package, `attnfuse.documents`, `attnfuse.errors` and what of `attnfuse.mindir` is free of
protobuf; no MindSpore.
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
from attnfuse.mindir.key_names import misfit
from attnfuse.mindir.taken import Taken, values_taken
from attnfuse.mindir.tensorfile import TensorFile
from attnfuse.tracing.contract import Library
from attnfuse.tracing.in_its_place import OTHER_FORMATS, STEM, in_its_place

FLOAT8_DTYPES = tuple(dtype.name for dtype in dtypes.FLOAT8)
"""Float types of eight bits, every value of which float16, bfloat16 and float32 hold exactly."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Tensor `key` of safetensors file `file`; `dtype` in numpy's name, or safetensors' own where it has none.

    Of a file under original names `key` is what diffusers calls the tensor, and `taken` says what of the file it is.
    """

    file: Path
    key: str
    dtype: str
    shape: tuple[int, ...]
    taken: Taken | None = None

    @property
    def key_in_file(self) -> str:
        """What the tensor is called in the file."""
        return self.key if self.taken is None else self.taken.key

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def find_files(folder: Path, library: Library, variant: str = "") -> tuple[Path, ...]:
    """Return the safetensors files that hold a model: one, or the shards its index names.

    Where there are both a single file and an index (`<stem>.safetensors.index.json`), mindone's diffusers reads
    the index and mindone's transformers the file. A folder that has only a variant (`<stem>.fp16.safetensors`) is
    read as that variant, which in mindone the user names; with several variants and no plain file none is right. A
    `variant` that is named comes first, where the folder has it; else it is as without.

    Raises SourceError where there are none, several variants, or missing shards.
    """
    stem = STEM[library]
    if variant and (named := _of_variant(folder, library, variant)):
        return _shards(named[0])
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
    raise SourceError(f"{folder} has no {stem}.safetensors{in_its_place(folder, library)}.")


def _of_variant(folder: Path, library: Library, variant: str) -> list[Path]:
    """The file, and the index, of a variant of a model's weights, as far as they are there."""
    stem = STEM[library]
    found = [folder / f"{stem}.{variant}.safetensors", folder / f"{stem}.safetensors.index.{variant}.json"]
    return [path for path in (found[::-1] if library == "diffusers" else found) if path.is_file()]


def is_of_variant(folder: Path, library: Library, variant: str) -> bool:
    """Whether a model's folder has weights of that variant."""
    return bool(_of_variant(folder, library, variant))


def has_weights(folder: Path) -> bool:
    """Whether there is a file in a folder that holds weights, in whatever format."""
    return any(path.suffix in (".safetensors", *OTHER_FORMATS) for path in folder.glob("*"))


def is_gguf(path: Path) -> bool:
    """Whether a file is of the format GGUF (github.com/ggml-org/ggml, docs/gguf.md), whatever it is called."""
    try:
        if not path.is_file():  # reading a pipe would wait for a writer
            return False
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


def stored_tensors(folder: Path, library: Library, variant: str = "") -> Mapping[str, StoredTensor]:
    """The tensors of a model's checkpoint by key; none where it is not there or cannot be read, which a trace tells."""
    try:
        return read_tensors(find_files(folder, library, variant))
    except SourceError:
        return {}


def damage(folder: Path, library: Library, variant: str = "") -> str:
    """Why the files of a model's checkpoint cannot be read, or what they hold that is no model; nothing where they can,
    and do, or there are none.
    """
    try:
        files = find_files(folder, library, variant)
    except SourceError:
        return ""
    try:
        tensors = read_tensors(files)
    except SourceError as error:
        return str(error).rstrip(".")
    problem = misfit(tensors)
    return f"{files[0]} {problem}" if problem else ""


def read_values(tensor: StoredTensor) -> npt.NDArray[Any]:
    """The values of one tensor in its own type; floats of eight bits and bfloat16, which numpy lacks, in float32.

    Raises SourceError for a type that the format has and this project does not read.
    """
    values = values_taken(TensorFile(tensor.file), tensor.taken or Taken(tensor.key)).reshape(tensor.shape)
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
