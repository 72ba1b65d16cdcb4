"""Configurations of a pipeline's folder, as diffusers writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from attnfuse_runtime.errors import FolderError

_LARGEST: Final = 3.4e38
_SMALLEST: Final = 1e-45
"""Of float32."""
_MOST_BLOCKS: Final = 16
_NUMBERS: Final = ("scaling_factor", "shift_factor")
_LISTS: Final = ("latents_mean", "latents_std")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file. Raises FolderError where there is none."""
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise FolderError(f"{path} is no file; copy it again from the pipeline.")
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise FolderError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise FolderError(f"{path} is no JSON object; copy it again from the pipeline.")
    return found


def read_vae(path: Path) -> dict[str, Any]:
    """The configuration of a VAE, without a shift that is null. Raises FolderError where no loop could use it."""
    config = read_json(path)
    if config.get("shift_factor", 0) is None:
        del config["shift_factor"]  # as Stable Diffusion's VAEs have it
    blocks = config.get("block_out_channels", [0])
    if not isinstance(blocks, list) or not 1 <= len(blocks) <= _MOST_BLOCKS:
        raise FolderError(f"{path}: block_out_channels is no list of blocks; copy it again from the pipeline.")
    for name in _NUMBERS:
        if name in config and not _is_number(config[name]):
            raise FolderError(f"{path}: {name} is no number; copy it again from the pipeline.")
    if "scaling_factor" in config and abs(config["scaling_factor"]) < _SMALLEST:
        raise FolderError(
            f"{path}: scaling_factor is 0 or next to it, and latents are divided by it; copy it from the pipeline."
        )
    for name in _LISTS:
        numbers = config.get(name)
        if numbers is not None and (not isinstance(numbers, list) or not all(map(_is_number, numbers))):
            raise FolderError(f"{path}: {name} is no list of numbers; copy it again from the pipeline.")
    return config


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST
