"""The `manifest.json` of a folder that attnfuse wrote: its graphs, what each takes and gives, and what it has fixed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from attnfuse_runtime.errors import FolderError

MANIFEST: Final = "manifest.json"
SCHEMA: Final = "attnfuse.manifest/2"


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
    one. `fixed` says, by name, what the graph has fixed of what a pipeline may set.
    """

    name: str
    owner: str
    graph: Path
    variables: tuple[Path, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    config: Path | None = None


@dataclass(frozen=True)
class Manifest:
    """What a folder holds. `runtime` is whom it was compiled for, "lite" or "mindspore".

    `pipeline` is what the components were compiled for and are from, as docs/output.md of attnfuse lists it ("height",
    "guidance_rows", "vae", ...); nothing where they are graphs alone.
    """

    folder: Path
    runtime: str
    soc: str
    components: Mapping[str, Component]
    pipeline: Mapping[str, Any] = field(default_factory=dict)


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
            {entry["name"]: _component(folder, entry) for entry in document["components"]},
            document["pipeline"] or {},
        )
        fixed = {folder / name for name in found.pipeline.get("files", ())}
        fixed |= {path for one in found.components.values() for path in (one.graph, *one.variables)}
        sizes = {name: int(digest["bytes"]) for name, digest in document["outputs"].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise FolderError(f"{folder / MANIFEST} was changed by somebody: it lacks what attnfuse writes.") from None
    for name, size in sizes.items():
        path = folder / name
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


def _component(folder: Path, entry: Mapping[str, Any]) -> Component:
    return Component(
        name=entry["name"],
        owner=entry["owner"],
        graph=folder / entry["graph"],
        variables=tuple(folder / name for name in entry["variables"]),
        inputs=tuple(map(_tensor, entry["inputs"])),
        outputs=tuple(map(_tensor, entry["outputs"])),
        fixed={one["name"]: one["value"] for one in entry["fixed"]},
        config=None if entry["config"] is None else folder / entry["config"],
    )


def _tensor(entry: Mapping[str, Any]) -> Tensor:
    return Tensor(entry["name"], tuple(int(size) for size in entry["shape"]), entry["dtype"])
