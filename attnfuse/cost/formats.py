"""In which format each kernel takes and gives its tensors, and the kernels that turn one format into another.

Rules 11 and 12: convolutions take and give NC1HWC0, on some SoCs products take and give FRACTAL_NZ. From there the
format spreads to elementwise regions and a few others, forwards and backwards, whatever else these touch (GE,
`HeavyFormatPropagation::RunPropagation`: what it comes to is asked whether it has a kernel of the format, and not what
stands round it); everything else is ND. Where two kernels do not agree, one TransData for each tensor and format reads
the one and writes the other. May import `regions`, `program` and `sorts` of this package.
"""

from __future__ import annotations

from enum import Enum
from math import prod

from attnfuse.cost.program import Ref
from attnfuse.cost.regions import CHANNELS, Groups
from attnfuse.cost.sorts import Sort
from attnfuse.ir.types import TensorType

_ROWS = 16
"""Rows and columns of a block of FRACTAL_NZ."""


class Format(Enum):
    """How a tensor lies in memory."""

    ND = "row-major"
    CHANNELS = "NC1HWC0: channels in blocks of 16"
    BLOCKS = "FRACTAL_NZ: the last two axes in blocks of 16"


_OWN = {Sort.CONVOLUTION: Format.CHANNELS, Sort.RESIZE: Format.CHANNELS}
_FOLLOWS = {
    Format.CHANNELS: (Sort.ELEMENTWISE, Sort.CONCAT),
    Format.BLOCKS: (Sort.ELEMENTWISE, Sort.NORM, Sort.SOFTMAX),
}
_LEAST_RANK = {Format.CHANNELS: 3, Format.BLOCKS: 2}
"""Axes that a tensor has at least for the format to be another one than row-major."""


def up(size: int, block: int) -> int:
    """The next multiple of `block`."""
    return -(-size // block) * block


def bytes_in(tensor_type: TensorType, layout: Format) -> int:
    """Bytes of a tensor in that format, the padding of blocks with it."""
    dims, item = tensor_type.dims, tensor_type.dtype.itemsize
    if layout is Format.CHANNELS and len(dims) >= _LEAST_RANK[layout]:
        return prod((dims[0], up(dims[1], CHANNELS), *dims[2:])) * item
    if layout is Format.BLOCKS and len(dims) >= _LEAST_RANK[layout]:
        return prod((*dims[:-2], up(dims[-2], _ROWS), up(dims[-1], _ROWS))) * item
    return prod(dims) * item


class Formats:
    """The format of every kernel."""

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self.of: dict[int, Format] = {}
        for group, members in groups.members.items():
            self.of[group] = self.own(members)
        for layout in (Format.CHANNELS, Format.BLOCKS):
            if layout in self.of.values():
                self.spread(layout)

    def own(self, members: list[int]) -> Format:
        sorts = {self.groups.operations[at].sort for at in members}
        for sort, layout in _OWN.items():
            if sort in sorts:
                return layout
        if self.groups.soc.products_in_blocks and Sort.PRODUCT in sorts:
            return Format.BLOCKS
        return Format.ND

    def spread(self, layout: Format) -> None:
        """Give the format to those kernels that can have it and touch one that has, and on from these."""
        todo = [group for group in self.of if self.of[group] is layout]
        while todo:
            for group in self.neighbours(todo.pop(), layout):
                if self.of[group] is Format.ND and self.can_follow(self.groups.members[group], layout):
                    self.of[group] = layout
                    todo.append(group)

    def can_follow(self, members: list[int], layout: Format) -> bool:
        operations = [self.groups.operations[at] for at in members]
        if any(operation.sort not in _FOLLOWS[layout] for operation in operations):
            return False
        made = (self.groups.tensors[tensor].tensor_type.rank for operation in operations for tensor in operation.writes)
        if any(rank < _LEAST_RANK[layout] for rank in made):
            return False
        if layout is Format.CHANNELS:
            return all(
                operation.sort is not Sort.CONCAT
                or (operation.axis == 1 and all(ref.dims[1] % CHANNELS == 0 for ref in operation.reads))
                for operation in operations
            )
        return True

    def neighbours(self, group: int, layout: Format) -> set[int]:
        """Kernels that give to and take from this one what no Reshape made another tensor of."""
        groups, found = self.groups, set[int]()
        made = {tensor for at in groups.members[group] for tensor in groups.operations[at].writes}
        for at in groups.members[group]:
            for ref in groups.activations(groups.operations[at]):
                maker = groups.producer.get(ref.tensor)
                if ref.tensor not in made and maker is not None and self.keeps(ref, layout):
                    found.add(groups.group[maker])
        for tensor in made:
            for at in groups.consumers.get(tensor, ()):
                refs = [ref for ref in groups.operations[at].reads if ref.tensor == tensor]
                if all(self.keeps(ref, layout) for ref in refs):
                    found.add(groups.group[at])
        return found - {group}

    def keeps(self, ref: Ref, layout: Format) -> bool:
        """Whether the shape that is read lies in memory as the shape that was made does, in that format."""
        dims = self.groups.tensors[ref.tensor].tensor_type.dims
        if ref.dims == dims:
            return True
        if layout is Format.CHANNELS or min(len(dims), len(ref.dims)) < 2 or dims[-1] != ref.dims[-1]:
            return False
        if _without_ones(dims) == _without_ones(ref.dims):
            return True
        return dims[-2] % _ROWS == 0 and ref.dims[-2] % _ROWS == 0


def _without_ones(dims: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes but for axes of one element before the last two: the blocks are those of one matrix all the same."""
    return (*(size for size in dims[:-2] if size != 1), *dims[-2:])
