"""Inputs to run a component on: drawn once per seed, of the kind each input's type, name and use ask for.

May import `attnfuse.graph` and `attnfuse.mindir`.
"""

from __future__ import annotations

import zlib

import numpy as np

from attnfuse.graph import Array, Literal, Model, TensorType
from attnfuse.mindir import dtypes
from attnfuse.verify.names import leaf_name

TIMESTEPS = 1000
"""Diffusion schedules count their steps below this."""

_LOOKUPS = {"Embedding": (1, 0), "Gather": (0, 1)}
"""Operator → positions of the table and of the indices."""

_THROUGH = ("Cast", "Reshape", "ExpandDims", "Load", "Depend", "FlattenExt", "Squeeze", "BroadcastTo", "StridedSlice")


def draw_inputs(model: Model, seed: int) -> dict[str, Array]:
    """A value per graph input, by its name, in its declared type.

    Latents and embeddings are normal; time steps whole numbers below 1000; masks 0 and 1 (or false and true) with
    both present in every row, so that no row is masked whole whichever way round the mask is meant; whole numbers
    that look something up stay within the table. Sizes must be known.
    """
    drawn = {}
    for value in model.proto.graph.input:
        kind = model.type_of(value.name)
        if kind is not None:
            drawn[value.name] = _draw(model, value.name, kind, seed)
    return drawn


def _draw(model: Model, value: str, kind: TensorType, seed: int) -> Array:
    name = leaf_name(value).lower()
    generator = np.random.Generator(np.random.Philox(zlib.crc32(f"{seed}:{name}".encode())))
    dims = kind.dims
    if "mask" in name or kind.dtype is dtypes.BOOL:
        mask = generator.integers(0, 2, dims)
        if mask.ndim and mask.shape[-1] > 1:
            mask[..., 0], mask[..., -1] = 1, 0
        elif mask.ndim:
            mask[...] = 1
        return mask.astype(kind.dtype.numpy)
    if "timestep" in name or name in ("t", "time"):
        if kind.dtype.is_float and _is_multiplied(model, value):
            return generator.uniform(0.0, 1.0, dims).astype(kind.dtype.numpy)
        return generator.integers(1, TIMESTEPS, dims).astype(kind.dtype.numpy)
    if not kind.dtype.is_float:
        rows = _table_rows(model, value)
        if "position" in name:  # positions run on in order, as a text encoder gets them
            return np.broadcast_to(np.arange(dims[-1] if dims else 1), dims).astype(kind.dtype.numpy)
        return generator.integers(0, rows or 2, dims).astype(kind.dtype.numpy)
    return generator.standard_normal(dims).astype(kind.dtype.numpy)


def _is_multiplied(model: Model, value: str) -> bool:
    """Whether the graph itself multiplies the time by the number of steps, or more, as it then counts from 0 to 1.

    Flow matching does; Stable Cascade multiplies its ratio by 10000, which float16 does not hold of a number of steps.
    """
    stack = [value]
    while stack:
        for use in model.uses(stack.pop()):
            node = use.node
            if node is None or use.position != 0:
                continue
            if node.op in ("Muls", "Mul") and model.is_literal(node.inputs[1]):
                return (_number(model.literal(node.inputs[1])) or 0) >= TIMESTEPS
            if node.op in _THROUGH:
                stack.append(node.name)
    return False


def _number(literal: Literal) -> float | None:
    """A constant number, as a scalar or an array of one element."""
    if isinstance(literal, np.ndarray):
        return float(literal.item()) if literal.size == 1 else None
    return float(literal) if isinstance(literal, int | float) else None


def _table_rows(model: Model, value: str) -> int | None:
    """Rows of the smallest table this input looks up, through casts and reshapes."""
    rows: list[int] = []
    stack, seen = [value], set()
    while stack:
        current = stack.pop()
        if current in seen:
            continue
        seen.add(current)
        for use in model.uses(current):
            node = use.node
            if node is None:
                continue
            if node.op in _LOOKUPS and use.position == _LOOKUPS[node.op][1]:
                table = model.type_of(node.inputs[_LOOKUPS[node.op][0]])
                if table is not None and table.rank:
                    rows.append(table.dims[0])
            elif node.op in _THROUGH and use.position == 0:
                stack.append(node.name)
    return min(rows, default=None)
