"""For operators without a CPU kernel, while a model is built.

Building a model runs operators eagerly, and some constructors of mindone use ones MindSpore 2.7.1 has for Ascend only.
The values they make are constants of the graph, so they must be right, not merely present; each patch computes them
with numpy. While a model is traced nothing runs, and the true operators must be seen: that context is left first.
Imports mindspore.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

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


def _array(value: Any) -> Any:
    return value.asnumpy() if isinstance(value, mindspore.Tensor) else np.asarray(value)


def _stack(tensors: Any, dim: int = 0) -> Any:
    """`StackExt` has no CPU kernel. Grids of positions are made with it."""
    return mindspore.Tensor(np.stack([_array(tensor) for tensor in tensors], axis=dim))


def _outer(left: Any, right: Any) -> Any:
    """`Outer` has no CPU kernel. Rotary and sinusoidal tables are position ⊗ frequency."""
    return mindspore.Tensor(np.outer(_array(left), _array(right)))


def _einsum(equation: str, *operands: Any) -> Any:
    """Ends in operators that have no CPU kernel; used as `_outer` is."""
    return mindspore.Tensor(np.ascontiguousarray(np.einsum(equation, *[_array(x) for x in operands])))


def _repeat_interleave(tensor: Any, repeats: int, dim: int | None = None, *, output_size: int | None = None) -> Any:
    """`RepeatInterleaveInt` has no CPU kernel. Rotary tables repeat each frequency."""
    return mindspore.Tensor(np.repeat(_array(tensor), int(repeats), axis=dim))


def _ones_like(tensor: Any, *, dtype: Any = None) -> Any:
    """`OnesLikeExt` has no CPU kernel. It is the modulus of complex rotary tables."""
    return _tensor(np.ones_like(_array(tensor)), dtype)


_REPLACED: Mapping[str, Callable[..., Any]] = {
    "arange": _arange,
    "einsum": _einsum,
    "empty": _empty,
    "full": _full,
    "linspace": _linspace,
    "ones_like": _ones_like,
    "outer": _outer,
    "randn": _randn,
    "repeat_interleave": _repeat_interleave,
    "stack": _stack,
}


def _unchanged(self: Any, *_: Any, **__: Any) -> Any:
    """The random numbers and zeros that models of transformers fill their weights with, for a checkpoint to overwrite.

    In place, which has no kernel either; and the factor that Würstchen's decoder gives weights that have no values.
    """
    return self


def _filled(self: Any, value: Any) -> Any:
    """`InplaceFillScalar` has no CPU kernel. What a checkpoint fills is left as it is."""
    if not isinstance(self, mindspore.Parameter):
        self.assign_value(_full(self.shape, value, dtype=self.dtype))
    return self


def _weight_norm(self: Any, weight_norm_cell: Any, dim: int = 0) -> None:
    """`WeightNorm` works its weights out as it is made, and of a model without values there is nothing to do that from.

    Left out is what nothing but its own `remove_weight_norm` and its callers' padding read.
    """
    mindspore.nn.Cell.__init__(self)
    shape = tuple(weight_norm_cell.weight.shape)
    self.dim = dim
    self.weight_norm_cell = weight_norm_cell
    self.weight_g = mindspore.Parameter(_empty(shape[0], *(1 for _ in shape[1:])))
    self.weight_v = mindspore.Parameter(_empty(*shape))
    self.use_weight_norm = True


@contextmanager
def cpu_patches() -> Iterator[None]:
    """Replace the functions of `mindspore.mint` that cannot run on a CPU; put the originals back on leaving."""
    with ExitStack() as stack:
        # As a method it runs on a CPU where it is not told the size of its output.
        stack.enter_context(mock.patch.object(mindspore.Tensor, "repeat_interleave", _repeat_interleave))
        for name in ("normal_", "zero_"):
            stack.enter_context(mock.patch.object(mindspore.Tensor, name, _unchanged))
        stack.enter_context(mock.patch.object(mindspore.Tensor, "fill_", _filled))
        stack.enter_context(mock.patch.object(mindspore.Parameter, "__imul__", _unchanged))
        for name, patch in _REPLACED.items():
            stack.enter_context(mock.patch.object(mint, name, patch))
        module = sys.modules.get("mindone.utils.weight_norm")
        if module is not None:
            stack.enter_context(mock.patch.object(module.WeightNorm, "__init__", _weight_norm))
        yield
