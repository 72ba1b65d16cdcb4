"""What mindone's schedulers use of MindSpore, by numpy in float64: their own formulas without float32's rounding.

`NAMES` are for the namespace of a scheduler's module. Noise is drawn by mindone's own function.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

import numpy as np


class Tensor(np.ndarray[Any, Any]):
    """An array with the methods of a tensor that schedulers call."""

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return np.asarray(array).view(Tensor)  # a number too: it has the methods

    def __getitem__(self, key: Any) -> Any:
        return np.asarray(super().__getitem__(key)).view(Tensor)

    def to(self, dtype: Any = None) -> Any:
        return self if dtype is None else self.astype(dtype)

    def abs(self) -> Any:
        return np.abs(self)

    def asnumpy(self) -> Any:
        return np.asarray(self)

    def unsqueeze(self, axis: int) -> Any:
        return np.expand_dims(self, axis)

    def clamp(self, least: Any, most: Any) -> Any:
        return np.clip(self, least, most)

    def sum(self, axis: Any = None, *given: Any, dim: Any = None, **options: Any) -> Any:
        return super().sum(axis if dim is None else dim, *given, **options)

    @staticmethod
    def from_numpy(array: Any) -> Any:
        return tensor(array)


def tensor(value: Any, dtype: Any = None) -> Any:
    """A tensor: float64 where it is floating-point and nothing else is asked for."""
    found = np.asarray(value)
    return found.astype(dtype or (np.float64 if found.dtype.kind == "f" else found.dtype)).view(Tensor)


def _randn(shape: Any, generator: Any = None, dtype: Any = None) -> Any:
    import mindspore as ms
    from mindone.diffusers.utils.mindspore_utils import randn_tensor

    return tensor(randn_tensor(tuple(shape), generator=generator, dtype=ms.float64).asnumpy())


NAMES: Final[dict[str, Any]] = {
    "ms": SimpleNamespace(
        Tensor=Tensor,
        tensor=tensor,
        float32=np.float64,
        float64=np.float64,
        int16=np.int16,
        int32=np.int32,
        int64=np.int64,
    ),
    "mint": SimpleNamespace(
        exp=np.exp,
        expm1=np.expm1,
        log=np.log,
        sqrt=np.sqrt,
        pow=np.power,
        reshape=np.reshape,
        sum=lambda value, dim: np.sum(value, axis=dim),
        clamp=lambda value, min, max: np.minimum(np.maximum(value, min), max),  # noqa: A006
        stack=lambda values, dim=0: np.stack(values, axis=dim).view(Tensor),
    ),
    "randn_tensor": _randn,
}
