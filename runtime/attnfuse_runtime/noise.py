"""The noise that mindone draws: numpy's generators, float64 normal numbers rounded to the type that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from attnfuse_runtime.errors import InputError

Array = npt.NDArray[Any]
Generators = Union[np.random.Generator, Sequence[np.random.Generator], None]
"""One generator, one for each row of a batch, or None for numbers that are different every time."""


def generator(seed: int) -> np.random.Generator:
    """The generator of a seed: numpy's default one, PCG64, as in mindone's examples."""
    return np.random.default_rng(seed)


def randn(shape: Sequence[int], generators: Generators, dtype: npt.DTypeLike) -> Array:
    """Normal numbers of this shape and type, those of `mindone.diffusers.utils.mindspore_utils.randn_tensor`.

    Those of "bfloat16", which numpy lacks, are float32 that it would hold. Raises InputError where a sequence of
    generators is not as long as the batch.
    """
    if generators is None:
        generators = np.random.default_rng()
    if isinstance(generators, np.random.Generator):
        return _rounded(generators.standard_normal(tuple(shape)), dtype)
    if len(generators) == 1:
        return randn(shape, generators[0], dtype)
    if len(generators) != shape[0]:
        raise InputError(
            f"{len(generators)} generators were given for a batch of {shape[0]}; give one for each, or one."
        )
    return np.concatenate([randn((1, *shape[1:]), one, dtype) for one in generators])


def _rounded(values: Array, dtype: npt.DTypeLike) -> Array:
    if dtype != "bfloat16":
        return values.astype(dtype)
    bits = values.astype(np.float32).view(np.uint32)
    # To nearest, and to even where two are as near.
    bits = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return bits.view(np.float32)
