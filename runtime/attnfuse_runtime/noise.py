"""The noise that mindone draws: numpy's generators, float64 normal numbers rounded to the type that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Generators = Union[np.random.Generator, Sequence[np.random.Generator], None]
"""One generator, one for each row of a batch, or None for numbers that are different every time."""


def generator(seed: int) -> np.random.Generator:
    """The generator of a seed: numpy's default one, PCG64, as in mindone's examples."""
    return np.random.default_rng(seed)


def randn(shape: Sequence[int], generators: Generators, dtype: npt.DTypeLike) -> Array:
    """Normal numbers of this shape and type, those of `mindone.diffusers.utils.mindspore_utils.randn_tensor`.

    Raises ValueError where a sequence of generators is not as long as the batch.
    """
    if generators is None:
        generators = np.random.default_rng()
    if isinstance(generators, np.random.Generator):
        return generators.standard_normal(tuple(shape)).astype(dtype)
    if len(generators) == 1:
        return generators[0].standard_normal(tuple(shape)).astype(dtype)
    if len(generators) != shape[0]:
        raise ValueError(
            f"{len(generators)} generators were given for a batch of {shape[0]}; give one for each, or one."
        )
    return np.concatenate([one.standard_normal((1, *shape[1:])).astype(dtype) for one in generators])
