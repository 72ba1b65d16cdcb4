"""mindone's models run eagerly on a CPU: numpy in place of operators that MindSpore has for Ascend only.

What remains is mindone's own: its modules, in their order, with its weights, and its pipeline. Each function here is
the one operator of its name, in the type of its operands.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias
from unittest import mock

import mindspore
import numpy as np
from mindspore import mint
from scipy.special import erf  # type: ignore[import-untyped]  # MindSpore has it

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def _array(value: Any) -> Array:
    found: Array = value.asnumpy() if isinstance(value, mindspore.Tensor) else np.asarray(value)
    return found


def _tensor(value: Array, like: Any) -> Any:
    return mindspore.Tensor(np.ascontiguousarray(value, _array(like).dtype))


def _conv2d(self: Any, x: Any) -> Any:
    assert self.groups == 1
    weight = _array(self.weight)
    (top, left), (down, across) = ((n, n) if isinstance(n, int) else tuple(n) for n in (self.padding, self.stride))
    padded = np.pad(_array(x), [(0, 0), (0, 0), (top, top), (left, left)])
    slide: Any = np.lib.stride_tricks.sliding_window_view  # whose overloads know no array of any type
    windows = slide(padded, weight.shape[2:], (2, 3))[:, :, ::down, ::across]
    result = np.tensordot(windows, weight, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
    return _tensor(result if self.bias is None else result + _array(self.bias)[:, None, None], x)


def _linear(self: Any, x: Any) -> Any:
    result = _array(x) @ _array(self.weight).T
    return _tensor(result if self.bias is None else result + _array(self.bias), x)


def _normed(values: Array, epsilon: float) -> Array:
    """Over the last axis."""
    result: Array = (values - values.mean(-1, keepdims=True)) / np.sqrt(values.var(-1, keepdims=True) + epsilon)
    return result


def _layer_norm(self: Any, x: Any) -> Any:
    return _tensor(_normed(_array(x), self.eps) * _array(self.weight) + _array(self.bias), x)


def _group_norm(self: Any, x: Any) -> Any:
    values = _array(x)
    each = (1, -1, *[1] * (values.ndim - 2))
    result = _normed(values.reshape(len(values), self.num_groups, -1), self.eps).reshape(values.shape)
    return _tensor(result * _array(self.weight).reshape(each) + _array(self.bias).reshape(each), x)


def _sigmoid(values: Array) -> Array:
    return np.asarray(0.5 * (1 + np.tanh(values / 2)))


def _silu(x: Any, inplace: bool = False) -> Any:
    return _tensor(_array(x) * _sigmoid(_array(x)), x)


def _gelu(x: Any, approximate: str = "none") -> Any:
    assert approximate == "none"
    return _tensor(_array(x) * (1 + erf(_array(x) / math.sqrt(2))) / 2, x)


def _softmax(x: Any, dim: int = -1, *, dtype: Any = None) -> Any:
    powers = np.exp(_array(x) - _array(x).max(dim, keepdims=True))
    return _tensor(powers / powers.sum(dim, keepdims=True), x)


def _baddbmm(bias: Any, left: Any, right: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    return _tensor(beta * _array(bias) + alpha * (_array(left) @ _array(right)), left)


def _interpolate(x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", **rest: Any) -> Any:
    assert mode == "nearest"
    values = _array(x)
    times = [int(scale_factor or 1)] * 2
    if size is not None:
        times = [int(n) // of for n, of in zip(size, values.shape[2:], strict=True)]
    return _tensor(values.repeat(times[0], 2).repeat(times[1], 3), x)


def _embedding(self: Any, ids: Any) -> Any:
    return _tensor(_array(self.weight)[_array(ids)], self.weight)


def _split(x: Any, size: int | Sequence[int], dim: int = 0) -> tuple[Any, ...]:
    values = _array(x)
    ends = np.arange(size, values.shape[dim], size) if isinstance(size, int) else np.cumsum(size)[:-1]
    return tuple(_tensor(part, x) for part in np.split(values, ends, dim))


def _chunk(x: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    return _split(x, -(-_array(x).shape[dim] // chunks), dim)


def _cat(tensors: Sequence[Any], dim: int = 0) -> Any:
    return mindspore.Tensor(np.concatenate([_array(one) for one in tensors], dim))


def _pad(x: Any, given: Sequence[int], mode: str = "constant", value: float = 0) -> Any:
    assert mode == "constant"
    pairs = [(given[i], given[i + 1]) for i in range(0, len(given), 2)][::-1]
    values = _array(x)
    return _tensor(np.pad(values, [(0, 0)] * (values.ndim - len(pairs)) + pairs, constant_values=value or 0), x)


def _of_one(function: Any) -> Any:
    return lambda x: _tensor(function(_array(x)), x)


_PLACES: tuple[tuple[Any, str, Any], ...] = (
    (mint.nn.Conv2d, "construct", _conv2d),
    (mint.nn.Linear, "construct", _linear),
    (mint.nn.LayerNorm, "construct", _layer_norm),
    (mint.nn.GroupNorm, "construct", _group_norm),
    (mint.nn.Embedding, "construct", _embedding),
    (mint.nn.SiLU, "construct", lambda self, x: _silu(x)),
    (mint.nn.Dropout, "construct", lambda self, x: x),
    (mint.nn.functional, "silu", _silu),
    (mint.nn.functional, "gelu", _gelu),
    (mint.nn.functional, "softmax", _softmax),
    (mint.nn.functional, "interpolate", _interpolate),
    (mint.nn.functional, "pad", _pad),
    (mint, "softmax", _softmax),
    (mint, "baddbmm", _baddbmm),
    (mint, "bmm", lambda left, right: _tensor(_array(left) @ _array(right), left)),
    (mint, "matmul", lambda left, right: _tensor(_array(left) @ _array(right), left)),
    (mint, "cat", _cat),
    (mint, "concat", _cat),
    (mint, "split", _split),
    (mint, "chunk", _chunk),
    (mint, "exp", _of_one(np.exp)),
    (mint, "sin", _of_one(np.sin)),
    (mint, "cos", _of_one(np.cos)),
    (mint, "sigmoid", _of_one(_sigmoid)),
    (mint, "zeros_like", _of_one(np.zeros_like)),
    (mindspore.Tensor, "chunk", _chunk),
    (mindspore.Tensor, "split", _split),
)


@contextmanager
def eager() -> Iterator[None]:
    """Have numpy compute what a CPU has no kernel for."""
    with ExitStack() as stack:
        for place, name, function in _PLACES:
            stack.enter_context(mock.patch.object(place, name, function))
        yield
