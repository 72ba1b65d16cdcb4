"""Finds the safetensors files of one model folder and lists the tensors in them, reading headers only.

The worker reads it to plan the stream of weights. Imports `contract` of this room, `attnfuse.errors` and
safetensors; no MindSpore.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from attnfuse import documents
from attnfuse.errors import SourceError
from attnfuse.tracing.contract import Library

_STEM: Mapping[Library, str] = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}

_DTYPES = {
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "I64": "int64",
    "I32": "int32",
    "BOOL": "bool",
}


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
    others = sorted(path.name for path in folder.glob("*.bin")) + sorted(path.name for path in folder.glob("*.ckpt"))
    hint = f"; {', '.join(others)} must first be converted to safetensors" if others else ""
    raise SourceError(f"{folder} has no {stem}.safetensors{hint}.")


def read_tensors(files: tuple[Path, ...]) -> Mapping[str, StoredTensor]:
    """List every tensor of `files` by key, in the files' order; SourceError for a file that is not safetensors."""
    tensors: dict[str, StoredTensor] = {}
    for path in files:
        try:
            with safe_open(path, framework="numpy") as file:
                for key in file.keys():  # noqa: SIM118 - safe_open is not a mapping
                    part = file.get_slice(key)
                    dtype = part.get_dtype()
                    tensors[key] = StoredTensor(path, key, _DTYPES.get(dtype, dtype), tuple(part.get_shape()))
        except (OSError, SafetensorError) as error:
            raise SourceError(f"{path} cannot be read as safetensors: {error}.") from None
    return tensors


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
