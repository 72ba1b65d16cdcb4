"""The `manifest.json` of a folder that attnfuse wrote: its graphs, what each takes and gives, and what it has fixed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from attnfuse_runtime.errors import FolderError

MANIFEST: Final = "manifest.json"
SCHEMA: Final = "attnfuse.manifest/2"
_DTYPES: Final = frozenset(
    {
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "bfloat16", "float32", "float64"),
    }
)
"""The types of inputs and outputs, by the names that attnfuse gives them."""
_UNKNOWN: Final = "unknown"
"""What it calls any other."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph: its name, its dimensions (-1 where they are open), and the name of its type."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        """For people: `sample float16[2, 4, 64, 64]`."""
        return f"{self.name} {self.dtype}{list(self.shape)}"

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape is one of the tensor's."""
        return len(shape) == len(self.shape) and all(a in (-1, b) for a, b in zip(self.shape, shape))


@dataclass(frozen=True)
class Component:
    """One graph of a folder.

    `graph` is its file, `variables` those of its weights, `config` the configuration for MindSpore Lite, if there is
    one. `base` is the component at the folder's first size, of one at another, and `sharing` are all that share files
    of weights with it, itself among them. `fixed` says, by name, what the graph has fixed of what a pipeline may set.
    """

    name: str
    owner: str
    graph: Path
    variables: tuple[Path, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    config: Path | None = None
    base: str | None = None
    sharing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Size:
    """One of several sizes that a folder has graphs for.

    `height` and `width` are pixels, `batch` counts pictures, or films of so many `frames`; None where nobody knows.
    `components` are the graphs of this size by the names that they have at the first; what is not there is the same at
    both.
    """

    height: int | None
    width: int | None
    batch: int | None
    components: Mapping[str, str]
    frames: int | None = None


@dataclass(frozen=True)
class Manifest:
    """What a folder holds. `runtime` is whom it was compiled for, "lite" or "mindspore".

    `pipeline` is what the components were compiled for and are from, as docs/output.md of attnfuse lists it ("height",
    "guidance_rows", "vae", ...); nothing where they are graphs alone. `sizes` are those that there are graphs for, the
    first first, where they are several.
    """

    folder: Path
    runtime: str
    soc: str
    components: Mapping[str, Component]
    pipeline: Mapping[str, Any] = field(default_factory=dict)
    sizes: tuple[Size, ...] = ()

    def at(self, size: Size) -> Manifest:
        """The manifest with the graphs of a size in the places of those of the first."""
        of_size = {name: self.components[other] for name, other in size.components.items()}
        return replace(self, components={**self.components, **of_size})


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder, whose files are all there, graphs, weights and what is from the source of their sizes.

    Configurations for MindSpore Lite, and what is for people, may have been edited.
    Raises FolderError where it was not written by attnfuse, or by another version, or is not whole.
    """
    document = _document(folder)
    try:
        found = Manifest(
            folder,
            document["runtime"],
            document["soc"],
            {entry["name"]: _component(folder, entry, _sharing(document, entry)) for entry in document["components"]},
            document["pipeline"] or {},
            _sizes(document),
        )
        fixed = {_below(folder, name) for name in found.pipeline.get("files", ())}
        fixed |= {path for one in found.components.values() for path in (one.graph, *one.variables)}
        sizes = {name: int(digest["bytes"]) for name, digest in document["outputs"].items()}
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
        raise FolderError(f"{folder / MANIFEST} was changed by somebody: it lacks what attnfuse writes.") from None
    for name, size in sizes.items():
        path = _below(folder, name)
        if not path.is_file():
            raise FolderError(f"{folder} lacks {name}, which its {MANIFEST} lists; copy the folder again, all of it.")
        if path in fixed and path.stat().st_size != size:
            raise FolderError(
                f"{path} has {path.stat().st_size} bytes where {MANIFEST} says {size}; copy the folder again."
            )
    return found


def _document(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise FolderError(f"{folder} is no folder that attnfuse compile wrote: it has no {MANIFEST}; name its output.")
    try:
        document = json.loads(path.read_bytes())
        schema = document["schema"]
    except (ValueError, KeyError, TypeError, RecursionError):
        schema = None
    if schema != SCHEMA:
        raise FolderError(
            f"{path} is of the schema {schema!r} and this reads {SCHEMA!r}; use the versions of attnfuse and "
            "attnfuse-runtime that belong together."
        )
    return dict(document)


def _sharing(document: Mapping[str, Any], entry: Mapping[str, Any]) -> tuple[str, ...]:
    first = entry["base"] or entry["name"]
    return tuple(one["name"] for one in document["components"] if first in (one["name"], one["base"]))


def _component(folder: Path, entry: Mapping[str, Any], sharing: tuple[str, ...]) -> Component:
    inputs = tuple(map(_tensor, entry["inputs"]))
    if strange := [one.name for one in inputs if one.dtype == _UNKNOWN]:
        raise FolderError(
            f"the graph {entry['name']} in {folder} takes {', '.join(strange)} of a type that numpy has no arrays of;"
            " run it with the runtime that it was made for."
        )
    return Component(
        name=entry["name"],
        owner=entry["owner"],
        graph=_below(folder, entry["graph"]),
        variables=tuple(_below(folder, name) for name in entry["variables"]),
        inputs=inputs,
        outputs=tuple(map(_tensor, entry["outputs"])),
        fixed={one["name"]: one["value"] for one in entry["fixed"]},
        config=None if entry["config"] is None else _below(folder, entry["config"]),
        base=entry["base"],
        sharing=sharing,
    )


def _below(folder: Path, name: str) -> Path:
    """A file of the folder. Raises FolderError for a name that leads out of it."""
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts or "\0" in name:
        raise FolderError(f"{folder / MANIFEST} names {name!r}, which is no file of its folder; copy the folder again.")
    return folder / name


def _sizes(document: Mapping[str, Any]) -> tuple[Size, ...]:
    names = {entry["name"] for entry in document["components"]}
    told = (document["pipeline"] or {}).get("sizes", ())
    return tuple(
        Size(
            one["height"],
            one["width"],
            one["batch"],
            # Of a compile of some components, those that were left out have no graph.
            {str(of): str(name) for of, name in one["components"].items() if name in names},
            one["frames"],
        )
        for one in told
    )


def _tensor(entry: Mapping[str, Any]) -> Tensor:
    if not isinstance(entry["name"], str) or entry["dtype"] not in (*_DTYPES, _UNKNOWN):
        raise ValueError(entry)
    return Tensor(entry["name"], tuple(int(size) for size in entry["shape"]), entry["dtype"])
