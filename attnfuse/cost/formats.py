"""In which format each kernel takes and gives its tensors, and the kernels that turn one format into another.

Rules 11 and 12: convolutions take and give NC1HWC0, on some SoCs products take and give FRACTAL_NZ; elementwise
regions and a few others follow where all they touch is of one format, everything else is ND. Where two kernels do not
agree, one TransData for each tensor and format reads the one and writes the other. May import `regions`, `program` and
`sorts` of this package.
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


def up(size: int, block: int) -> int:
    """The next multiple of `block`."""
    return -(-size // block) * block


def bytes_in(tensor_type: TensorType, layout: Format) -> int:
    """Bytes of a tensor in that format, the padding of blocks with it."""
    dims, item = tensor_type.dims, tensor_type.dtype.itemsize
    if layout is Format.CHANNELS and len(dims) > 2:
        return prod((dims[0], up(dims[1], CHANNELS), *dims[2:])) * item
    if layout is Format.BLOCKS and len(dims) > 1:
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
        """Give the format to those kernels that can have it and touch no other."""
        candidates = {
            group
            for group, members in self.groups.members.items()
            if self.of[group] is Format.ND and self.can_follow(members, layout)
        }
        neighbours = {group: self.neighbours(group, layout) for group in candidates}
        todo = list(candidates)
        while todo:
            group = todo.pop()
            if group not in candidates:
                continue
            if any(n is None or (n not in candidates and self.of[n] is not layout) for n in neighbours[group]):
                candidates.discard(group)
                todo += [n for n in neighbours[group] if n is not None and n in candidates]
        while touching := {g for g in candidates if any(n is not None and self.of[n] is layout for n in neighbours[g])}:
            for group in touching:
                self.of[group] = layout
            candidates -= touching

    def can_follow(self, members: list[int], layout: Format) -> bool:
        operations = [self.groups.operations[at] for at in members]
        if any(operation.sort not in _FOLLOWS[layout] for operation in operations):
            return False
        if layout is Format.CHANNELS:
            return all(
                operation.sort is not Sort.CONCAT
                or (operation.axis == 1 and all(ref.dims[1] % CHANNELS == 0 for ref in operation.reads))
                for operation in operations
            )
        return True

    def neighbours(self, group: int, layout: Format) -> set[int | None]:
        """Kernels that give to and take from this one; None for what is row-major: the graph's own, and reshaped."""
        groups, found = self.groups, set[int | None]()
        made = {tensor for at in groups.members[group] for tensor in groups.operations[at].writes}
        for at in groups.members[group]:
            for ref in groups.activations(groups.operations[at]):
                if ref.tensor not in made:
                    maker = groups.producer.get(ref.tensor)
                    found.add(None if maker is None or not self.keeps(ref, layout) else groups.group[maker])
        for tensor in made:
            if tensor in groups.results:
                found.add(None)
            for at in groups.consumers.get(tensor, ()):
                if groups.group[at] != group:
                    refs = [ref for ref in groups.operations[at].reads if ref.tensor == tensor]
                    found.add(groups.group[at] if all(self.keeps(ref, layout) for ref in refs) else None)
        return found

    def keeps(self, ref: Ref, layout: Format) -> bool:
        """Whether the shape that is read lies in memory as the shape that was made does, in that format."""
        dims = self.groups.tensors[ref.tensor].tensor_type.dims
        if ref.dims == dims:
            return True
        if layout is Format.CHANNELS or min(len(dims), len(ref.dims)) < 2 or dims[-1] != ref.dims[-1]:
            return False
        return dims[-2] % _ROWS == 0 and ref.dims[-2] % _ROWS == 0
