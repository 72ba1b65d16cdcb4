"""What the terrains look like: heights as the light that falls on them, the package above, compiled graphs below."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Array = np.ndarray[Any, np.dtype[Any]]

_LIGHT = (-1.0, -1.0, 1.0)
"""Where it comes from: the upper left, from above."""
_SHADES = 32
_GAP = 4
_STEEPNESS = 24.0
"""How much a height of the whole range is taken to be in pixels: else plains would be blank."""


def shaded(heights: Array) -> Array:
    """A terrain [height, width] as a picture of 8-bit grey, brighter where it faces the light."""
    scaled = heights.astype(np.float64) / max(float(heights.max()), 1e-9) * _STEEPNESS
    down, right = np.gradient(scaled)
    normal = np.stack([-right, -down, np.ones_like(scaled)])
    normal /= np.linalg.norm(normal, axis=0)
    light = np.array(_LIGHT) / np.linalg.norm(_LIGHT)
    bright = np.clip(np.einsum("i,ihw->hw", light, normal), 0, 1)
    steps = np.round(bright * (_SHADES - 1)) / (_SHADES - 1)
    return np.asarray(np.round(steps * 255), np.uint8)


def sheet(rows: Mapping[str, Array], path: Path) -> None:
    """Write a picture of several terrains [count, height, width] a row, in the order of the mapping."""
    lines = []
    for terrains in rows.values():
        cells = [np.pad(shaded(one), _GAP // 2, constant_values=255) for one in terrains]
        lines.append(np.concatenate(cells, axis=1))
    image = Image.fromarray(np.concatenate(lines, axis=0))
    image.quantize(_SHADES).save(path, optimize=True)
