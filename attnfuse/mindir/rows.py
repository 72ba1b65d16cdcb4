"""Rows that a table gets behind its own: tensors of other files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Rows:
    """Tensor `key` of the safetensors file `file`, `count` rows of the table it is put behind."""

    file: Path
    key: str
    count: int

    @property
    def taken(self) -> None:
        """All of the tensor is."""
        return

    @property
    def identity(self) -> list[Any]:
        """What it is beside its file, as JSON values."""
        return [self.key, self.count]
