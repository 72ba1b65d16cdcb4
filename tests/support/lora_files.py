"""LoRA files of random factors, in the namings that trainers write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

Shape = tuple[int, ...]


def factors(name: str, shape: Shape, rank: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """`up` and `down` for a weight of that shape, of a linear layer or a convolution."""
    random = np.random.default_rng([len(name), *name.encode()])
    ones = (1,) * (len(shape) - 2)
    up = random.standard_normal((shape[0], rank, *ones), np.float32) / rank
    return up, random.standard_normal((rank, *shape[1:]), np.float32) / np.float32(np.sqrt(shape[1]))


def rank_of(number: int) -> int:
    """The ranks of a file's layers differ."""
    return (3, 4, 7)[number % 3]


def kohya(modules: Mapping[str, Iterable[tuple[str, Shape]]], alpha: float | None = 2.0) -> dict[str, Any]:
    """Tensors as kohya's scripts name them: modules by prefix (`lora_unet`), each with its weight's shape."""
    tensors: dict[str, Any] = {}
    for prefix, layers in modules.items():
        for number, (module, shape) in enumerate(layers):
            name = f"{prefix}_{module.replace('.', '_')}"
            up, down = factors(name, shape, rank_of(number))
            tensors |= {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}
            if alpha is not None:
                tensors[f"{name}.alpha"] = np.float32(alpha)
    return tensors


def peft(
    modules: Mapping[str, Iterable[tuple[str, Shape]]], alphas: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Tensors as diffusers saves PEFT's: modules by the pipeline's attribute. `alphas` are by that too."""
    tensors: dict[str, Any] = {}
    for part, layers in modules.items():
        for number, (module, shape) in enumerate(layers):
            name = f"{part}.{module}"
            up, down = factors(name, shape, rank_of(number))
            tensors |= {f"{name}.lora_B.weight": up, f"{name}.lora_A.weight": down}
            if alphas is not None:
                tensors[f"{name}.alpha"] = np.float32(alphas[part])
    return tensors


def write(
    path: Path,
    tensors: Mapping[str, Any],
    dtype: type[np.generic] = np.float32,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Save them in that type; alphas in theirs."""
    save_file(
        {
            key: np.ascontiguousarray(value if key.endswith(".alpha") else value.astype(dtype))
            for key, value in tensors.items()
        },
        path,
        None if metadata is None else dict(metadata),
    )
    return path
