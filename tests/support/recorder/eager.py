"""What mindone's pipelines call of MindSpore and a CPU has no kernel for, by numpy: shapes and types are MindSpore's.

Pipelines run eagerly around their models. Values hardly matter where models are stubs; shapes and element types do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any, Final
from unittest import mock

import mindspore
import numpy as np
from mindspore import mint

from attnfuse.tracing.patches import cpu_patches


def array(value: Any) -> Any:
    """The numbers of a tensor, or whatever numpy makes of another value."""
    return value.asnumpy() if isinstance(value, mindspore.Tensor) else np.asarray(value)


def tensor(values: Any, dtype: Any = None) -> Any:
    """A tensor of these values, in float32 where they are float64 and nothing else is asked for."""
    found = np.ascontiguousarray(values)
    if found.dtype == np.float64:
        found = found.astype(np.float32)
    made = mindspore.Tensor(found.reshape(np.shape(values)))
    return made if dtype is None else made.astype(dtype)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, mindspore.Tensor) else value


def _shape(size: tuple[Any, ...]) -> tuple[int, ...]:
    if len(size) == 1 and not isinstance(size[0], int):
        size = tuple(size[0])
    return tuple(int(_plain(n)) for n in size)


def _of(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one tensor, element by element or along `dim`, that keeps floating-point types."""

    def run(x: Any, *given: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
        axes = {"axis": dim if dim is not None else (given[0] if given else None)}
        options = {**axes, "keepdims": keepdim} if function in _ALONG else {}
        found = function(array(x), **options)
        kind = getattr(x, "dtype", None)
        keep = kind if dtype is None and np.asarray(found).dtype.kind == "f" else dtype
        return tensor(found, keep)

    return run


_ALONG: Final = (np.sum, np.any, np.max, np.min, np.std)


def _cat(tensors: Any, dim: int = 0) -> Any:
    return tensor(np.concatenate([array(each) for each in tensors], axis=dim))


def _split(x: Any, sizes: Any, dim: int = 0, *, axis: int | None = None) -> tuple[Any, ...]:
    dim = dim if axis is None else axis
    whole, values = x.shape[dim], array(x)
    lengths = [sizes] * (whole // sizes) if isinstance(sizes, int) else list(sizes)
    if sum(lengths) < whole:
        lengths.append(whole - sum(lengths))
    return tuple(tensor(each) for each in np.split(values, np.cumsum(lengths)[:-1], axis=dim))


def _chunk(x: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    return _split(x, -(-x.shape[dim] // chunks), dim)


def _pad(x: Any, places: Any, mode: str = "constant", value: Any = 0.0) -> Any:
    pairs = [(int(places[i]), int(places[i + 1])) for i in range(0, len(places), 2)][::-1]
    values = array(x)
    before = [(0, 0)] * (values.ndim - len(pairs))
    if mode == "replicate":
        return tensor(np.pad(values, [*before, *pairs], mode="edge"))
    return tensor(np.pad(values, [*before, *pairs], constant_values=value))


def _interpolate(x: Any, size: Any = None, scale_factor: Any = None, **_: Any) -> Any:
    """Nearest neighbours, whatever the mode."""
    axes = x.ndim - 2
    if size is None:
        factors = [scale_factor] * axes if isinstance(scale_factor, int | float) else list(scale_factor)
        size = [int(n * factor) for n, factor in zip(x.shape[2:], factors, strict=True)]
    size = [size] * axes if isinstance(size, int) else [int(_plain(n)) for n in size]
    values = array(x)
    for axis, n in enumerate(size, start=2):
        values = np.take(values, np.arange(n) * values.shape[axis] // n, axis=axis)
    return tensor(values)


def _filled(value: Any) -> Callable[..., Any]:
    def run(*given: Any, size: Any = None, dtype: Any = None, **_: Any) -> Any:
        return tensor(np.full(_shape(given if size is None else tuple(size)), value, np.float32), dtype)

    return run


def _like(value: Any) -> Callable[..., Any]:
    return lambda x, *, dtype=None, **_: tensor(np.full_like(array(x), value), dtype)


def _argsort(x: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    values = -array(x) if descending else array(x)
    return tensor(np.argsort(values, axis=dim, kind="stable"))


def _norm(x: Any, p: Any = None, dim: Any = None, keepdim: bool = False, **_: Any) -> Any:
    axes = tuple(dim) if isinstance(dim, list) else dim
    values = array(x).astype(np.float32)
    return tensor(np.sqrt(np.sum(values**2, axis=axes, keepdims=keepdim)), x.dtype)


def _most(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    if dim is None:
        return tensor(np.max(array(x)), x.dtype)
    values = array(x)
    return tensor(np.max(values, axis=dim, keepdims=keepdim)), tensor(np.argmax(values, axis=dim))


def _least(x: Any, other: Any = None) -> Any:
    if isinstance(other, mindspore.Tensor):
        return tensor(np.minimum(array(x), array(other)), x.dtype)
    return tensor(np.min(array(x)), x.dtype)


def _where(condition: Any, left: Any = None, right: Any = None) -> Any:
    if left is None:
        return tuple(tensor(each) for each in np.nonzero(array(condition)))
    return tensor(np.where(array(condition), array(left), array(right)), getattr(left, "dtype", None))


MINT: Final[Mapping[str, Callable[..., Any]]] = {
    "any": _of(np.any),
    "argsort": _argsort,
    "cat": _cat,
    "chunk": _chunk,
    "clamp": lambda x, min=None, max=None: tensor(np.clip(array(x), min, max), x.dtype),  # noqa: A006
    "concat": _cat,
    "cos": _of(np.cos),
    "cumprod": lambda x, dim: tensor(np.cumprod(array(x), axis=dim), x.dtype),
    "cumsum": lambda x, dim: tensor(np.cumsum(array(x), axis=dim)),
    "equal": lambda x, other: bool(np.array_equal(array(x), array(other))),
    "exp": _of(np.exp),
    "full_like": lambda x, value, *, dtype=None: tensor(np.full_like(array(x), _plain(value)), dtype),
    "index_select": lambda x, dim, index: tensor(np.take(array(x), array(index), axis=dim)),
    "log": _of(np.log),
    "max": _most,
    "maximum": lambda x, other: tensor(np.maximum(array(x), array(other))),
    "meshgrid": lambda *tensors, indexing="ij": tuple(
        tensor(each) for each in np.meshgrid(*[array(one) for one in tensors], indexing=indexing)
    ),
    "min": _least,
    "norm": _norm,
    "ones": _filled(1),
    "ones_like": _like(1),
    "permute": lambda x, dims: tensor(np.transpose(array(x), dims)),
    "reshape": lambda x, shape: tensor(np.reshape(array(x), shape)),
    "sin": _of(np.sin),
    "split": _split,
    "sqrt": _of(np.sqrt),
    "std": _of(np.std),
    "sum": _of(np.sum),
    "tile": lambda x, dims: tensor(np.tile(array(x), dims)),
    "unsqueeze": lambda x, dim: tensor(np.expand_dims(array(x), dim)),
    "where": _where,
    "zeros": _filled(0),
    "zeros_like": _like(0),
}


def _repeat(x: Any, *repeats: Any) -> Any:
    """As torch has it: how often along each axis."""
    return tensor(np.tile(array(x), _shape(repeats)), x.dtype)


def _set(self: Any, places: Any, value: Any) -> None:
    values = array(self).copy()
    places = (
        tuple(array(p) if isinstance(p, mindspore.Tensor) else p for p in places)
        if isinstance(places, tuple)
        else (array(places) if isinstance(places, mindspore.Tensor) else places)
    )
    values[places] = array(value)
    self.assign_value(tensor(values, self.dtype))


def _scatter(self: Any, dim: int, index: Any, source: Any) -> Any:
    values = array(self).copy()
    np.put_along_axis(values, array(index).astype(np.int64), array(source), axis=dim)
    self.assign_value(tensor(values, self.dtype))
    return self


def _filled_in(self: Any, mask: Any, value: Any) -> Any:
    self.assign_value(tensor(np.where(array(mask), value, array(self)), self.dtype))
    return self


def _convolved(x: Any, weight: Any, *_: Any, **__: Any) -> Any:
    """Zeros: what blurs a picture before it is made smaller."""
    height, width = (n - k + 1 for n, k in zip(x.shape[2:], weight.shape[2:], strict=True))
    return tensor(np.zeros((x.shape[0], weight.shape[0], height, width), np.float32), x.dtype)


METHODS: Final[Mapping[str, Callable[..., Any]]] = {
    "__setitem__": _set,
    "chunk": _chunk,
    "cpu": lambda x: x,
    "cumsum": lambda x, dim: tensor(np.cumsum(array(x), axis=dim), x.dtype),
    "clone": lambda x: tensor(array(x)),
    "masked_fill_": _filled_in,
    "new_ones": lambda x, *size, dtype=None: tensor(np.ones(_shape(size), np.float32), dtype or x.dtype),
    "repeat": _repeat,
    "scatter_": _scatter,
    "split": _split,
}
"""Of tensors."""


def _importing(name: str, value: object) -> list[ModuleType]:
    """The modules of mindone that imported it by its name before: they hold it themselves."""
    modules = [module for place, module in sys.modules.items() if place.startswith("mindone.")]
    return [module for module in modules if vars(module).get(name) is value]


@contextmanager
def eager() -> Iterator[None]:
    """Put them in place, with those that models are built with; put the originals back on leaving."""
    with ExitStack() as stack:
        stack.enter_context(cpu_patches())
        for name, function in MINT.items():
            if hasattr(mint, name):
                stack.enter_context(mock.patch.object(mint, name, function))
        for name, function in METHODS.items():
            stack.enter_context(mock.patch.object(mindspore.Tensor, name, function, create=True))
        stack.enter_context(mock.patch.object(mint.nn.functional, "conv2d", _convolved))
        original = mint.nn.functional.pad
        for module in (mint.nn.functional, *_importing("pad", original)):
            stack.enter_context(mock.patch.object(module, "pad", _pad))
        stack.enter_context(mock.patch.object(mint.nn.functional, "interpolate", _interpolate))
        yield
