"""Says what lies in a folder where a model's weights were looked for, and what to do with it.

Imports `contract` of this package and `attnfuse.mindir.foreign`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from attnfuse.mindir.foreign import UNFINISHED, UNFINISHED_DOWNLOAD
from attnfuse.tracing.contract import Library

STEM: Mapping[Library, str] = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
"""What a library calls its files of weights, without their suffixes."""

OTHER_FORMATS = (".bin", ".ckpt", ".pt", ".pth", ".gguf", ".msgpack", ".h5", ".onnx", ".npz", ".pkl")
"""What files of weights end in that are no safetensors files."""


def in_its_place(folder: Path, library: Library) -> str:
    """What lies in a folder that has no weights under the names that are read; empty where nothing does."""
    return "".join(f"; {', '.join(files)}{what}" for what, files in _found(folder, library) if files)


def _found(folder: Path, library: Library) -> Iterator[tuple[str, list[str]]]:
    """What is to be said of files, and their names."""
    names = sorted(path.name for path in folder.glob("*"))
    stored = [name for name in names if name.endswith(".safetensors") and (folder / name).is_file()]
    lost = [name for name in names if (folder / name).is_symlink() and not (folder / name).exists()]
    yield f": {UNFINISHED_DOWNLOAD}", [name for name in names if name.endswith(UNFINISHED)]
    yield ": a link to what is not there; fetch it again", lost
    shards = [name for name in stored if "-of-" in name]
    yield f": shards, without their index {STEM[library]}.safetensors.index.json", shards
    whole = [name for name in stored if "-of-" not in name]
    others = {other: [name for name in whole if _is_named_by(other, name)] for other in STEM if other != library}
    for other, files in others.items():
        yield f": named as {other} names its files; {library} reads {STEM[library]}.safetensors", files
    told = [name for files in others.values() for name in files]
    yield ": no file of the name that is read", [name for name in whole if name not in told]
    formats = [name for name in names if name.endswith(OTHER_FORMATS)]
    yield " must first be converted to safetensors (docs/checkpoints.md says how)", formats
    yield f": {UNFINISHED_DOWNLOAD}", _in_the_hub(folder)


def _is_named_by(library: Library, name: str) -> bool:
    return name.startswith(f"{STEM[library]}.")


def _in_the_hub(folder: Path) -> list[str]:
    """Files that the hub's client had not finished when it ended, of a snapshot's folder in its cache.

    Layout: huggingface_hub, "Understand caching": models--ORGANISATION--NAME/{blobs,snapshots/REVISION}.
    """
    snapshot = next((path for path in (folder, *folder.parents) if path.parent.name == "snapshots"), None)
    if snapshot is None:
        return []
    return [f"blobs/{path.name}" for path in sorted((snapshot.parents[1] / "blobs").glob("*.incomplete"))]
