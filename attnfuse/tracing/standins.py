"""CPU stand-ins for operators that have no CPU kernel, in force only while a model is built.

Building a model runs operators eagerly, and some constructors of mindone use ones MindSpore 2.7.1 has for Ascend
only. The values they make are constants of the graph, so they must be right, not merely present; each stand-in
computes them with numpy. While a model is traced nothing runs, and the true operators must be seen: leave the
context first. Worker side: imports mindspore.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mindspore
import numpy as np
from mindspore import mint


def _tensor(values: Any, dtype: Any) -> Any:
    return mindspore.Tensor(values, dtype=dtype) if dtype is not None else mindspore.Tensor(values)


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, mindspore.Tensor) else value


def _shape(size: tuple[Any, ...]) -> tuple[int, ...]:
    """`f(2, 3)` and `f((2, 3))` mean the same."""
    if len(size) == 1 and not isinstance(size[0], int):
        size = tuple(size[0])
    return tuple(int(n) for n in size)


def _arange(start: Any = 0, end: Any = None, step: Any = 1, *, dtype: Any = None) -> Any:
    """`Arange` has no CPU kernel. Sinusoidal position tables of transformers start from it."""
    first, last = (0, start) if end is None else (start, end)
    values = np.arange(_number(first), _number(last), _number(step))
    if dtype is None:
        dtype = mindspore.int64 if values.dtype.kind in "iu" else mindspore.float32
    return _tensor(values, dtype)


def _linspace(start: Any, end: Any, steps: int, *, dtype: Any = None) -> Any:
    """`LinSpaceExt` has no CPU kernel. Positional grids of patch embeddings are made with it."""
    return _tensor(np.linspace(_number(start), _number(end), steps, dtype=np.float32), dtype)


def _full(size: Any, fill_value: Any, *, dtype: Any = None) -> Any:
    """`FillScalar` has no CPU kernel. Causal masks that are constants of a model are made with it."""
    value = _number(fill_value)
    if dtype is None:
        dtype = (
            mindspore.bool_
            if isinstance(value, bool)
            else mindspore.int64
            if isinstance(value, int)
            else mindspore.float32
        )
    return _tensor(np.full(_shape((size,)), value), dtype)


def _empty(*size: Any, dtype: Any = None, device: Any = None) -> Any:
    """`mint.empty` allocates on Ascend only. `RMSNorm` makes its weight so, for a checkpoint to fill."""
    return _tensor(np.zeros(_shape(size), np.float32), dtype)


def _randn(*size: Any, generator: Any = None, dtype: Any = None) -> Any:
    """`Randn` has no CPU kernel. Fourier time embeddings draw a table so, for a checkpoint to fill: zeros will do."""
    return _tensor(np.zeros(_shape(size), np.float32), dtype)


_STAND_INS: dict[str, Callable[..., Any]] = {
    "arange": _arange,
    "empty": _empty,
    "full": _full,
    "linspace": _linspace,
    "randn": _randn,
}


@contextmanager
def cpu_stand_ins() -> Iterator[None]:
    """Replace the functions of `mindspore.mint` that cannot run on a CPU; put the originals back on leaving."""
    originals = {name: getattr(mint, name) for name in _STAND_INS}
    try:
        for name, stand_in in _STAND_INS.items():
            setattr(mint, name, stand_in)
        yield
    finally:
        for name, original in originals.items():
            setattr(mint, name, original)
