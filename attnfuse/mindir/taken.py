"""Weights that are some rows of a tensor of a file, or one with its axes exchanged: read without a copy of the file.

Checkpoints under the names that models were first published with hold query, key and value as one tensor, or a
projection the other way round. Free of protobuf: what is loaded beside MindSpore may import it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from attnfuse.mindir.dtypes import DType
from attnfuse.mindir.tensorfile import CHUNK_BYTES, TensorFile


@dataclass(frozen=True, slots=True)
class Taken:
    """What of tensor `key` of a file a weight is.

    `rows` are runs of its first axis, one after the other, in parts of which all of it has `of`; none means all of it.
    With `transposed` the two axes are exchanged then.
    """

    key: str
    rows: tuple[tuple[int, int], ...] = ()
    of: int = 1
    transposed: bool = False

    def shape(self, whole: tuple[int, ...]) -> tuple[int, ...]:
        """The weight's, of a tensor of that shape. Raises ValueError where it cannot be taken of one."""
        if (self.rows and (not whole or whole[0] % self.of)) or (self.transposed and len(whole) != 2):
            raise ValueError
        if self.rows:
            whole = (sum(last - first for first, last in self.rows) * (whole[0] // self.of), *whole[1:])
        return whole[::-1] if self.transposed else whole


def read_taken(
    file: TensorFile, taken: Taken, dtype: DType, overflow: list[str], first: int = 0, last: int | None = None
) -> Iterator[bytes]:
    """The elements of the weight from `first` to `last`, which is left out: see `TensorFile.read`.

    A tensor whose axes are exchanged is held whole meanwhile, which only projections of texts are.
    """
    whole = file.entry(taken.key).shape
    last = prod(taken.shape(whole)) if last is None else last
    if taken.transposed:
        values = np.frombuffer(b"".join(_runs(file, taken, dtype, overflow, 0, prod(whole))), dtype.numpy)
        values = np.ascontiguousarray(values.reshape(-1, whole[1]).T).reshape(-1)[first:last]
        step = CHUNK_BYTES // dtype.itemsize
        yield from (values[at : at + step].tobytes() for at in range(0, values.size, step))
    else:
        yield from _runs(file, taken, dtype, overflow, first, last)


def _runs(file: TensorFile, taken: Taken, dtype: DType, overflow: list[str], first: int, last: int) -> Iterator[bytes]:
    """Those elements of the runs of rows, one after the other."""
    if not taken.rows:
        yield from file.read(taken.key, dtype, overflow, first, last)
        return
    part = prod(file.entry(taken.key).shape) // taken.of
    begin = 0
    for lower, upper in taken.rows:
        end = begin + (upper - lower) * part
        offset = lower * part - begin
        if max(first, begin) < min(last, end):
            yield from file.read(taken.key, dtype, overflow, max(first, begin) + offset, min(last, end) + offset)
        begin = end


def values_taken(file: TensorFile, taken: Taken) -> npt.NDArray[Any]:
    """All values of the weight, in the type of the file."""
    values = file.values(taken.key)
    if taken.rows:
        part = len(values) // taken.of
        values = np.concatenate([values[lower * part : upper * part] for lower, upper in taken.rows])
    return values.T if taken.transposed else values
