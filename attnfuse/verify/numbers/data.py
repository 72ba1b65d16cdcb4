"""`--data`: real inputs for verification, from .npz files.

A file holds one set: an array per input of the graph, by the name the manifest gives it. Nothing of a file is believed:
arrays are read only after their header agrees with the graph, and none that has to be unpickled.
"""

from __future__ import annotations

import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from attnfuse.errors import SourceError, UsageError
from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array, TensorType
from attnfuse.mindir import codec, dtypes
from attnfuse.output import digest
from attnfuse.verify.names import leaf_name
from attnfuse.verify.result import ComparedFile

SUFFIX = ".npz"
LARGEST = 1 << 33
"""Bytes of one array, where the graph leaves its size open."""

_HEADERS: dict[tuple[int, int], Callable[[object], tuple[tuple[int, ...], bool, np.dtype[np.generic]]]] = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}
"""Version of the format → what reads shape, order and type."""
_DAMAGED = (
    *(ArithmeticError, EOFError, OSError, RuntimeError, TypeError, ValueError),
    *(lzma.LZMAError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
"""What zipfile, what unpacks for it, and numpy's readers raise for files that are not what they begin as."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """One set of inputs: values by the graph's own names, each of its input's type, and the file they are from."""

    file: ComparedFile
    inputs: dict[str, Array]

    @property
    def label(self) -> str:
        """For people: name and the start of its SHA-256."""
        return f"data {self.file.name} (sha256 {self.file.sha256[:12]})"

    def fault(self) -> str:
        """What is to be said of the numbers where the original has no finite value on them: which inputs hold NaN."""
        spoilt = [leaf_name(name) for name, value in self.inputs.items() if _has_nan(value)]
        if spoilt:
            return f"whose {', '.join(spoilt)} {'holds' if len(spoilt) == 1 else 'hold'} NaN"
        return "whose numbers lie outside what the graph is defined for, or overflow its types"


def _has_nan(value: Array) -> bool:
    return _kind_of(value.dtype) == "float" and bool(np.isnan(value).any())


def data_files(path: Path, components: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """The files of each component.

    A file is for one component. A folder holds, of each, NAME.npz or a folder NAME of .npz files; of one component
    alone it may hold the .npz files themselves. Raises SourceError where there is no such path, UsageError where it has
    nothing for any of the components.
    """
    if path.is_file():
        if len(components) != 1:
            raise UsageError(
                f"--data {path} is one file, and there are {len(components)} components: choose one, or name a folder "
                f"that holds {SUFFIX} files or folders called after components."
            )
        return {components[0]: (path,)}
    if not path.is_dir():
        raise SourceError(f"--data {path} does not exist.")
    found = {}
    for name in components:
        own = [path / f"{name}{SUFFIX}", *_inside(path / name)]
        found[name] = tuple(file for file in own if file.is_file())
    if len(components) == 1 and not any(found.values()):
        found[components[0]] = tuple(_inside(path))
    if not any(found.values()):
        wanted = ", ".join(f"{name}{SUFFIX}" for name in components[:3])
        raise UsageError(
            f"--data {path} holds no {SUFFIX} file of inputs; looked for: {wanted}, or a folder so called."
        )
    return found


def _inside(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob(f"*{SUFFIX}") if file.is_file())


def check_readable(files: Sequence[Path]) -> None:
    """Raise SourceError, before the long work, for a file that is no .npz, or has to be unpickled."""
    for file in files:
        with _opened(file) as archive:
            for info in archive.infolist():
                _header(file, archive, info)


def read_sets(model: Model, files: Sequence[Path]) -> list[DataSet]:
    """Each file as a set of inputs of the graph.

    Raises SourceError for a file that cannot be read as an .npz, UsageError where names, shapes or types are not those
    of the graph's inputs.
    """
    return [_read(model, file) for file in files]


def batches_of(files: Sequence[Path], graphs: Mapping[int, bytes]) -> dict[int, list[Path]]:
    """Files by the batch they are of, from the source's graphs at two batches: sizes grow by the same from one to the
    next. Raises SourceError for a file that cannot be read, UsageError for one whose sizes are of no batch."""
    (one, first), (two, second) = ((b, input_types(Model(codec.parse(g, "a traced graph")))) for b, g in graphs.items())
    found: dict[int, list[Path]] = {}
    for file in files:
        with _opened(file) as archive:
            entries = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            _check_names(file, first, entries)
            shapes = {name: _header(file, archive, info)[0] for name, info in entries.items()}
        batches = {
            one + (size - a) * (two - one) / (b - a)
            for name, (_, tensor_type) in first.items()
            for a, b, size in zip(tensor_type.dims, second[name][1].dims, shapes[name], strict=False)
            if a != b
        }
        batch = batches.pop() if len(batches) == 1 else 0.0
        if batch < 1 or batch != int(batch):
            given_shapes = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
            raise UsageError(
                f"{file}: {given_shapes} is of no one batch; at batch {one} the graph takes {_listed(first)}."
            )
        found.setdefault(int(batch), []).append(file)
    return found


def _listed(wanted: Mapping[str, tuple[str, TensorType]]) -> str:
    return ", ".join(f"{name} {tensor_type}" for name, (_, tensor_type) in wanted.items())


def _read(model: Model, file: Path) -> DataSet:
    wanted = input_types(model)
    try:
        found = digest(file)
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror or error}.") from None
    inputs = {}
    with _opened(file) as archive:
        entries = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        _check_names(file, wanted, entries)
        for name, (value, tensor_type) in wanted.items():
            inputs[value] = _array(file, archive, entries[name], name, tensor_type)
    return DataSet(ComparedFile(file.name, found.sha256, found.bytes), inputs)


def input_types(model: Model) -> dict[str, tuple[str, TensorType]]:
    """Of each input by the manifest's name: the graph's own name, and its type.

    Raises UsageError for a graph with an input that no array can be.
    """
    wanted = {}
    for value in model.proto.graph.input:
        tensor_type, name = model.type_of(value.name), leaf_name(value.name)
        if tensor_type is None:
            raise UsageError(f"input {name} is no tensor of a known type: --data cannot give it.")
        wanted[name] = (value.name, tensor_type)
    return wanted


def described_inputs(model: Model) -> str:
    """What a file for this graph holds: `sample float16[2, 4, 64, 64], timestep int64[1]`."""
    types = ((leaf_name(v.name), model.type_of(v.name)) for v in model.proto.graph.input)
    return ", ".join(f"{name} {tensor_type}" for name, tensor_type in types)


def _check_names(file: Path, wanted: Mapping[str, object], entries: Mapping[str, object]) -> None:
    missing, extra = ([n for n in a if n not in b] for a, b in ((wanted, entries), (entries, wanted)))
    if missing or extra:
        without = f"lacks {', '.join(missing)}" if missing else ""
        has = f"has {', '.join(extra)}, which no input is called" if extra else ""
        raise UsageError(
            f"{file} {' and '.join(filter(None, (without, has)))}; "
            f"the graph's inputs are {', '.join(wanted) or 'none'}."
        )


def _opened(file: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror or error}.") from None
    except _DAMAGED:
        raise SourceError(f"{file} is no {SUFFIX} file; write one with numpy.savez.") from None


def _header(
    file: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo
) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Shape and type of an array that is not read yet."""
    name = info.filename.removesuffix(".npy")
    try:
        with archive.open(info) as stream:
            version = npy.read_magic(stream)  # type: ignore[no-untyped-call]
            if version not in _HEADERS:
                raise ValueError(version)
            shape, _, dtype = _HEADERS[version](stream)
    except _DAMAGED:
        raise SourceError(f"{file}: {name} is no array of numpy; write the file with numpy.savez.") from None
    if dtype.hasobject:
        raise SourceError(f"{file}: {name} holds Python objects, which are not unpickled; save arrays of numbers.")
    return shape, dtype


def _array(file: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, tensor_type: TensorType) -> Array:
    shape, dtype = _header(file, archive, info)
    fits = len(shape) == tensor_type.rank and all(b in (a, -1) for a, b in zip(shape, tensor_type.dims, strict=False))
    if not fits or (not tensor_type.is_static and 0 in shape):
        raise UsageError(f"{file}: {name} is of shape {list(shape)}, and the graph takes {tensor_type}.")
    if int(np.prod(shape, dtype=object)) * dtype.itemsize > LARGEST and not tensor_type.is_static:
        raise UsageError(f"{file}: {name} of shape {list(shape)} is larger than {LARGEST >> 30} GiB.")
    is_bit_pattern = tensor_type.dtype is dtypes.BFLOAT16 and dtype == np.dtype(
        "V2"
    )  # how numpy stores a type that it does not know
    if not is_bit_pattern and _kind_of(dtype) != _kind_of(tensor_type.dtype.numpy):
        raise UsageError(f"{file}: {name} is {dtype}, and the graph takes {tensor_type}.")
    try:
        with archive.open(info) as stream:
            values: Array = npy.read_array(stream, allow_pickle=False)  # type: ignore[no-untyped-call]
    except MemoryError:
        raise SourceError(f"{file}: {name} of shape {list(shape)} does not fit into memory.") from None
    except _DAMAGED:
        raise SourceError(f"{file}: {name} ends too early or is damaged; write the file again.") from None
    return values.view(tensor_type.dtype.numpy) if is_bit_pattern else _converted(file, name, values, tensor_type)


def _kind_of(dtype: np.dtype[np.generic]) -> str:
    """Numbers with a fraction, whole numbers, truth values; anything else is of its own kind."""
    if dtype == dtypes.BFLOAT16.numpy or dtype.kind == "f":
        return "float"
    return "int" if dtype.kind in "iu" else "bool" if dtype.kind == "b" else dtype.kind


def _converted(file: Path, name: str, values: Array, tensor_type: TensorType) -> Array:
    """In the input's type, where that holds every one of the numbers."""
    with np.errstate(over="ignore", invalid="ignore"):
        made = values.astype(tensor_type.dtype.numpy)
    same = made.astype(np.float64) == values.astype(np.float64) if tensor_type.dtype.is_float else made == values
    if tensor_type.dtype.is_float:
        same |= np.isnan(values.astype(np.float64))
    if not np.all(same):
        raise UsageError(
            f"{file}: {name} is {values.dtype} with numbers that {tensor_type.dtype} does not hold; round them to "
            f"{tensor_type.dtype} first, as the pipeline does."
        )
    return made
