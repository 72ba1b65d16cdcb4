"""What is done to a weight on its way from the source to the result: one order for every reason.

A parameter of a result is one of the source's, or is made of one. What a LoRA adds comes first: it makes the source's
weight (see `stored`), rounded once to the type that the source's graph has for it. Then its numbers are

    converted to a wider element type   dtype
    then padded with zeros              pads    behind each of some equal groups of an axis: the heads of a projection
    then cut                            cuts    to a range of an axis: the halves of a gate's projection

Nothing else tells how a parameter is made than its name, `SOURCE__dtype_float32_pad_0_8_24_cut_1_0_64`: so it does in
the graph, in the output and in the cache, two that are made alike are one, and two that are not have two names.
A source's own parameter may be called so too: whoever reads a name says which names the source has, and those come
first. Weights are converted, padded and cut while they are streamed, a few rows at a time; nothing here needs all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType

Dims: TypeAlias = tuple[int, ...]


class NotEditableError(Exception):
    """Edits that the weight does not take; the message is a clause about it."""


@dataclass(frozen=True, slots=True)
class Pad:
    """`count` zeros behind each of `groups` equal parts of axis `axis`."""

    axis: int
    groups: int
    count: int


@dataclass(frozen=True, slots=True)
class Cut:
    """The elements `begin` to `end`, which it leaves out, of axis `axis`."""

    axis: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class WeightEdits:
    """What is done to one weight, in the order of the fields. Pads and cuts are by axis; of cuts each has one."""

    dtype: DType | None = None
    pads: tuple[Pad, ...] = ()
    cuts: tuple[Cut, ...] = ()

    def then(self, other: WeightEdits, dims: Dims) -> WeightEdits:
        """These and then the others as one; `dims` are the weight's before both.

        Raises NotEditableError where it does not take them, or where no edits in the one order do the same.
        """
        made = self
        if other.dtype is not None:
            if self.dtype not in (None, other.dtype):
                raise NotEditableError(f"is converted to {self.dtype} before it is to {other.dtype}")
            made = replace(made, dtype=other.dtype)
        for pad in other.pads:
            made = made._padded(pad, dims)
        for cut in other.cuts:
            made = made._cut(cut)
        made.dims(dims)
        return made

    def _padded(self, pad: Pad, dims: Dims) -> WeightEdits:
        """A pad behind a cut is one before it, of all groups of the axis, where the cut takes whole ones."""
        cut = next((cut for cut in self.cuts if cut.axis == pad.axis), None)
        if cut is None:
            return replace(self, pads=tuple(sorted((*self.pads, pad), key=lambda one: one.axis)))
        whole, length = replace(self, cuts=()).dims(dims)[pad.axis], cut.end - cut.begin
        size = length // pad.groups if pad.groups > 0 else 0
        if not size or any(number % size for number in (length, cut.begin, whole)):
            raise NotEditableError(f"is cut to {cut.begin}:{cut.end} across groups of {size or length}")
        before = replace(self, cuts=())._padded(Pad(pad.axis, whole // size, pad.count), dims)
        first, last = (edge // size * (size + pad.count) for edge in (cut.begin, cut.end))
        moved = tuple(Cut(one.axis, first, last) if one is cut else one for one in self.cuts)
        return replace(before, cuts=moved)

    def _cut(self, cut: Cut) -> WeightEdits:
        before = next((one for one in self.cuts if one.axis == cut.axis), None)
        if before is not None:
            if not 0 <= cut.begin < cut.end <= before.end - before.begin:
                raise NotEditableError(f"has no elements {cut.begin}:{cut.end} on axis {cut.axis}")
            cut = Cut(cut.axis, before.begin + cut.begin, before.begin + cut.end)
        others = (one for one in self.cuts if one is not before)
        return replace(self, cuts=tuple(sorted((*others, cut), key=lambda one: one.axis)))

    def dims(self, dims: Dims) -> Dims:
        """The shape of a weight of that shape after the edits. Raises NotEditableError where it does not take them."""
        made = list(dims)
        for pad in self.pads:
            if not 0 <= pad.axis < len(dims) or pad.groups < 1 or pad.count < 1 or made[pad.axis] % pad.groups:
                raise NotEditableError(f"has no {pad.groups} groups on axis {pad.axis} of {list(dims)} to be padded")
            made[pad.axis] += pad.groups * pad.count
        for cut in self.cuts:
            if not 0 <= cut.axis < len(dims) or not 0 <= cut.begin < cut.end <= made[cut.axis]:
                raise NotEditableError(f"has no elements {cut.begin}:{cut.end} on axis {cut.axis} of {list(dims)}")
            made[cut.axis] = cut.end - cut.begin
        return tuple(made)

    def sources(self, dims: Dims) -> list[npt.NDArray[np.int64]]:
        """For each axis, where each element of the result stands in the weight of that shape; -1 for a zero."""
        places = [np.arange(size, dtype=np.int64) for size in dims]
        for pad in self.pads:
            groups = places[pad.axis].reshape(pad.groups, -1)
            zeros = np.full((pad.groups, pad.count), -1, np.int64)
            places[pad.axis] = np.concatenate([groups, zeros], axis=1).reshape(-1)
        for cut in self.cuts:
            places[cut.axis] = places[cut.axis][cut.begin : cut.end]
        return places

    def name(self, source: str) -> str:
        """What the parameter is called that is made so of the parameter `source`."""
        words = [] if self.dtype is None else [f"dtype_{self.dtype}"]
        words += [f"pad_{pad.axis}_{pad.groups}_{pad.count}" for pad in self.pads]
        words += [f"cut_{cut.axis}_{cut.begin}_{cut.end}" for cut in self.cuts]
        return f"{source}__{'_'.join(words)}" if words else source


_FLOATS = "|".join(dtype.name for dtype in dtypes.ALL if dtype.is_float)
_N = r"\d{1,18}"
_NAME = re.compile(rf"(.+)__(?=.)(dtype_(?:{_FLOATS}))?((?:_?pad_{_N}_{_N}_{_N})*)((?:_?cut_{_N}_{_N}_{_N})*)")
_NUMBERS = re.compile(rf"({_N})_({_N})_({_N})")


class EditedWeight(NamedTuple):
    """What a parameter is made of: a parameter of the source, by its own name, and what is done to it."""

    source: str
    edits: WeightEdits


def edited_weight(name: str, sources: Container[str]) -> EditedWeight | None:
    """How the parameter of that name is made; None for one of the source's own, and for one that is made of none.

    `sources` are the names of the source's parameters; all names are those without the graph's.
    """
    if name in sources or (match := _NAME.fullmatch(name)) is None or match[1] not in sources:
        return None
    dtype = None if match[2] is None else dtypes.from_name(match[2].removeprefix("dtype_"))
    pads = tuple(Pad(*map(int, found)) for found in _NUMBERS.findall(match[3]))
    edits = WeightEdits(dtype, pads, tuple(Cut(*map(int, found)) for found in _NUMBERS.findall(match[4])))
    # A name that says the same in other words is not one that was given here.
    return EditedWeight(match[1], edits) if edits.name(match[1]) == name else None


def edited_chunks(
    edits: WeightEdits, dims: Dims, dtype: DType, read: Callable[[int, int], bytes], most: int
) -> Iterator[bytes]:
    """The bytes of the edited weight, `most` at a time or, where one is longer, a row (all behind the first axis).

    `dims` and `dtype` are the weight's before the edits; `read` gives its elements from one to another, in row-major
    order.
    """
    first, *others = edits.sources(dims)
    made = dtype if edits.dtype is None else edits.dtype
    row, made_row = int(np.prod(dims[1:], dtype=np.int64)), int(np.prod([len(axis) for axis in others], dtype=np.int64))
    step = max(1, most // max(1, max(made_row * made.itemsize, row * dtype.itemsize)))
    for begin in range(0, len(first), step):
        places = first[begin : begin + step]
        block = np.zeros((len(places), *(len(axis) for axis in others)), made.numpy)
        own = places[places >= 0]
        if own.size:
            # Edits keep the order, so what is taken of the rows is one run of them.
            rows = np.frombuffer(read(int(own[0]) * row, (int(own[-1]) + 1) * row), dtype.numpy)
            rows = rows.reshape(len(own), *dims[1:])
            kept = np.ix_(np.flatnonzero(places >= 0), *(np.flatnonzero(axis >= 0) for axis in others))
            taken = rows[np.ix_(np.arange(len(own)), *(axis[axis >= 0] for axis in others))]
            block[kept] = taken.astype(made.numpy)
        yield block.tobytes()
