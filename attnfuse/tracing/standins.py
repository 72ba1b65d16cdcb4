"""Stand-ins: for operators without a CPU kernel while a model is built, for sources that cannot be traced after.

Building a model runs operators eagerly, and some constructors of mindone use ones MindSpore 2.7.1 has for Ascend
only. The values they make are constants of the graph, so they must be right, not merely present; each stand-in
computes them with numpy (`cpu_stand_ins`). While a model is traced nothing runs, and the true operators must be seen:
that context is left first.

Some methods of mindone hold what MindSpore's graph mode cannot take, on Ascend either. `TRACING` has what is put in
their place during a trace, each the same computation in words that can be traced, and each says why. Worker side:
imports mindspore, and mindone late.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import mindspore
import numpy as np
from mindspore import mint

from attnfuse.tracing.decoder_standins import text_decoder, two_axes


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


_STAND_INS: Mapping[str, Callable[..., Any]] = {
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

    In place, which has no kernel either.
    """
    return self


@contextmanager
def cpu_stand_ins() -> Iterator[None]:
    """Replace the functions of `mindspore.mint` that cannot run on a CPU; put the originals back on leaving."""
    with ExitStack() as stack:
        # As a method it runs on a CPU where it is not told the size of its output.
        stack.enter_context(_replaced(mindspore.Tensor, "repeat_interleave", _repeat_interleave))
        for name in ("normal_", "zero_"):
            stack.enter_context(_replaced(mindspore.Tensor, name, _unchanged))
        for name, stand_in in _STAND_INS.items():
            stack.enter_context(_replaced(mint, name, stand_in))
        yield


@contextmanager
def _masked_attention() -> Iterator[None]:
    """`1.0 in attn_mask`, in two `scaled_dot_product_attention`s, becomes a call of Python in the graph.

    It asks whether a mask that is not boolean holds a 1; a graph that MindIR can hold cannot ask. That of `Attention`
    then takes the formula, which it takes anyway where the flash operator is not available, as while we trace. That of
    `layers_compat` computes the formula and then overwrites the result with flash attention's, mask or no mask.
    """
    from mindone.diffusers.models import layers_compat
    from mindone.diffusers.models.attention_processor import Attention

    def scaled_dot_product_attention(  # type: ignore[no-untyped-def]
        self, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None
    ):
        return self.math_attention_op(query, key, value, attn_mask)

    def flash_attention(  # type: ignore[no-untyped-def]
        query,
        key,
        value,
        attn_mask=None,
        dropout_p=0.0,
        is_causal=False,
        scale=None,
        enable_gqa=False,
        backend="flash",
    ):
        if query.dtype in (mindspore.float16, mindspore.bfloat16):
            return layers_compat.flash_attention_op(query, key, value, attn_mask, keep_prob=1 - dropout_p, scale=scale)
        return layers_compat.flash_attention_op(
            query.to(mindspore.float16),
            key.to(mindspore.float16),
            value.to(mindspore.float16),
            attn_mask,
            keep_prob=1 - dropout_p,
            scale=scale,
        ).to(query.dtype)

    original = layers_compat.scaled_dot_product_attention
    importers = [
        module
        for name, module in sorted(sys.modules.items())
        if name.startswith("mindone.") and getattr(module, "scaled_dot_product_attention", None) is original
    ]
    with ExitStack() as stack:
        stack.enter_context(_replaced(Attention, "scaled_dot_product_attention", scaled_dot_product_attention))
        for module in importers:
            stack.enter_context(_replaced(module, "scaled_dot_product_attention", flash_attention))
        yield


@contextmanager
def _replaced(owner: Any, name: str, stand_in: Any) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, stand_in)
    try:
        yield
    finally:
        setattr(owner, name, original)


TRACING: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    "masked_attention": _masked_attention,
    "text_decoder": text_decoder,
    "two_axes": two_axes,
}
"""By the name an entry of the table of specifications asks for it under."""


@contextmanager
def tracing_stand_ins(names: Sequence[str]) -> Iterator[None]:
    """Put the named stand-ins in place; put the originals back on leaving."""
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(TRACING[name]())
        yield
