"""LoRAs as the user names them: FILE, or FILE:SCALE."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from attnfuse.errors import SourceError, UsageError
from attnfuse.lora.inversion import GivenInversion, Inversion, read_inversions
from attnfuse.lora.layers import Layer, lora_file, read_layers
from attnfuse.mindir.tensorfile import TensorFile
from attnfuse.output import digest


@dataclass(frozen=True, slots=True)
class GivenLora:
    """A file of a LoRA and the scale that it is merged with."""

    file: Path
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Lora:
    """One that was read: its layers, its scale, and the SHA-256 of its file."""

    file: Path
    scale: float
    sha256: str
    layers: tuple[Layer, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """What of the pipeline it changes."""
        return tuple(dict.fromkeys(layer.part for layer in self.layers))


ADAPTER_NAME = "ip_adapter"
"""What documents call an IP-Adapter."""


@dataclass(frozen=True, slots=True)
class AddedAdapter:
    """An IP-Adapter, whose weights a UNet has beside its own."""

    file: Path
    scale: float
    sha256: str
    parts: tuple[str, ...] = ("unet",)


Given: TypeAlias = GivenLora | GivenInversion
Added: TypeAlias = Lora | Inversion | AddedAdapter
"""What the weights of a checkpoint are changed with while they are streamed."""


def parse_lora(text: str) -> GivenLora:
    """What `FILE` or `FILE:SCALE` names. Raises UsageError."""
    name, _, number = text.rpartition(":")
    if not name or _exists(Path(text)):
        return _checked(text, 1.0)
    try:
        scale = float(number)
    except ValueError:
        return _checked(text, 1.0)
    if not math.isfinite(scale):
        raise UsageError(f"--lora {text}: the scale {number} is not a finite number.")
    return _checked(name, scale)


def _checked(name: str, scale: float) -> GivenLora:
    if not name:
        raise UsageError("--lora needs the path of a file; it was given an empty one.")
    return GivenLora(Path(name), scale)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


def read_loras(given: Sequence[GivenLora], parts: Sequence[str]) -> tuple[Lora, ...]:
    """Read them for a pipeline with these parts.

    Raises SourceError as `read_layers` does, UsageError where one is given twice, under whatever names.
    """
    found: dict[str, Lora] = {}
    for one in given:
        if not _exists(one.file):
            raise SourceError(f"the LoRA {one.file} does not exist.")
        path = lora_file(one.file)
        if not path.is_file():  # reading a pipe would wait for a writer
            raise SourceError(f"the LoRA {path} is no regular file.")
        file = TensorFile(path)
        sha256 = digest(path).sha256
        if sha256 in found:
            raise UsageError(
                f"the LoRA {path} is given twice (as {found[sha256].file} too); give it once, with the sum of both"
                " scales if that is meant."
            )
        found[sha256] = Lora(path, one.scale, sha256, read_layers(file, parts))
    return tuple(found.values())


def read_given(given: Sequence[Given], parts: Sequence[str]) -> tuple[Added, ...]:
    """All that weights are changed with, read for a pipeline with these parts. Raises as the two readers do."""
    loras = read_loras([one for one in given if isinstance(one, GivenLora)], parts)
    return (*loras, *read_inversions([one for one in given if isinstance(one, GivenInversion)], parts))


_KINDS = {Lora: "LoRA", Inversion: "textual inversion", AddedAdapter: "IP-Adapter"}


def check_used(added: Sequence[Added], parts: Collection[str]) -> None:
    """Raise UsageError for what is for none of these parts, which are compiled or stand beside what is."""
    for one in added:
        if not set(parts).intersection(one.parts):
            kind = _KINDS[type(one)]
            raise UsageError(
                f"the {kind} {one.file} is for {', '.join(sorted(one.parts))}, and none of that is compiled; drop it."
            )


def named(kind: str, added: Sequence[Added]) -> dict[str, Path]:
    """The files by the names they have among those that were read."""
    return {f"{kind}/{one.sha256[:12]}/{one.file.name}": one.file for one in added}
