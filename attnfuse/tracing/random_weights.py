"""Writes safetensors files of random weights (or none), tensor by tensor, the same bytes on every machine.

Used by the demo pipeline, `tools/make_checkpoint.py` and tests. Imports numpy, and
what of `attnfuse.mindir` is free of protobuf.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from attnfuse.mindir import dtypes, tensorfile
from attnfuse.mindir.dtypes import DType

#: Elements generated at a time; 4 Mi float32 values and their random bits stay under 100 MB.
_CHUNK = 1 << 22

# The sum of four independent 16-bit lanes is near enough to normal, and, unlike a generator's normal(), it is
# integer arithmetic on the raw Philox stream: no libm, no numpy version, no CPU changes a bit of it.
_LANES = 4
_LANE_MEAN = (2**16 - 1) / 2
_LANE_STD = ((2**32 - 1) / 12) ** 0.5


def write_random(path: Path, tensors: Iterable[tuple[str, tuple[int, ...]]], dtype: str, seed: str) -> int:
    """Write `path` as a safetensors file of random weights and return the number of its elements.

    `tensors` are (name, shape), stored in that order as `dtype` (float16, bfloat16 or float32). A value depends
    on nothing but `seed`, the tensor's name and its place in it. Scales keep activations near 1 through the
    depth of a diffusion model, safe in float16, with attention scores that vary by a few units.
    """
    tensors = list(tensors)
    stored = dtypes.from_name(dtype)
    text, size = _header(tensors, stored)
    with path.open("wb") as file:
        file.write(text)
        for name, shape in tensors:
            for chunk in _values(name, shape, seed):
                file.write(chunk.astype(stored.numpy).tobytes())
    return size // stored.itemsize


def write_zeros(path: Path, tensors: Iterable[tuple[str, tuple[int, ...]]], dtype: str) -> int:
    """Write what `write_random` does with zeros in place of values, as a hole: it takes no place on most disks."""
    stored = dtypes.from_name(dtype)
    text, size = _header(list(tensors), stored)
    with path.open("wb") as file:
        file.write(text)
        file.truncate(len(text) + size)
    return size // stored.itemsize


def _header(tensors: Sequence[tuple[str, tuple[int, ...]]], dtype: DType) -> tuple[bytes, int]:
    """What such a file begins with, and how many bytes of data follow it."""
    return tensorfile.write_header(((name, dtype, shape) for name, shape in tensors), format="pt")


def _values(name: str, shape: tuple[int, ...], seed: str) -> Iterator[npt.NDArray[np.float32]]:
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")
    bits = np.random.Philox(key=key)
    mean, std = _moments(name, shape)
    count = int(np.prod(shape, dtype=np.int64))
    for start in range(0, count, _CHUNK):
        lanes = bits.random_raw(min(_CHUNK, count - start)).astype("<u8", copy=False).view("<u2")
        total = lanes.reshape(-1, _LANES).sum(axis=1, dtype=np.float32)
        yield (total - np.float32(_LANES * _LANE_MEAN)) * np.float32(std / (_LANES**0.5 * _LANE_STD)) + np.float32(mean)


def _moments(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and standard deviation of a tensor's values, by its role."""
    module, _, leaf = name.rpartition(".")
    owner = module.rpartition(".")[2]
    if "norm" in owner:
        return (1.0, 0.1) if leaf == "weight" else (0.0, 0.1)
    if leaf == "bias":
        return 0.0, 0.02
    if owner == "token_embedding":
        return 0.0, 0.5
    if owner == "position_embedding":
        return 0.0, 0.1
    gain = 1.0
    if owner in {"to_q", "to_k", "query", "key", "q_proj", "k_proj"}:
        gain = 1.6  # normalised inputs: scores with a standard deviation of 1.6² before the softmax
    elif owner in {"conv2", "proj_out", "out_proj", "fc2"} or module.endswith(("to_out.0", "net.2", "proj_attn")):
        gain = 0.5  # ends of residual branches: the sum over the depth stays small
    fan_in = float(np.prod(shape[1:], dtype=np.int64))
    return 0.0, gain / fan_in**0.5
