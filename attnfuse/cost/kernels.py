"""The kernels a device runs: what each reads and writes in which memory, and its arithmetic.

May import `regions`, `formats`, `program` and `sorts` of this package.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from attnfuse.cost.formats import Format, Formats, bytes_in
from attnfuse.cost.program import Operation, Program, Ref
from attnfuse.cost.regions import Groups
from attnfuse.cost.sorts import TRANSDATA, Sort
from attnfuse.ir.types import TensorType
from attnfuse.targets.socs import Soc


@dataclass(slots=True)
class Kernel:
    """One task of the device, or none where `is_task` is not set: then it only renames memory."""

    what: str
    reads: list[int]
    """Buffers, each once."""
    writes: list[int]
    bytes_read: int
    bytes_written: int
    flops: float = 0.0
    dtype: str = ""
    """In which the arithmetic is done."""
    is_task: bool = True
    nodes: tuple[str, ...] = ()
    """The nodes of the graph that it carries out; of a TransData, those of the kernel that wants the format."""

    @property
    def bytes(self) -> int:
        """Read and written."""
        return self.bytes_read + self.bytes_written


@dataclass(slots=True)
class Schedule:
    """Kernels in an order in which they can run, and the memory they run in."""

    kernels: list[Kernel] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    """Bytes of each buffer."""
    within: dict[int, int] = field(default_factory=dict)
    """The buffer in whose memory another lies."""
    fixed: list[int] = field(default_factory=list)
    """Buffers that are never freed: the graph's inputs and results."""
    weights: set[int] = field(default_factory=set)
    """Buffers apart from the others: constants and what is kept between runs."""

    def block(self, buffer: int) -> int:
        """The buffer whose memory it is."""
        while buffer in self.within:
            buffer = self.within[buffer]
        return buffer


def schedule(program: Program, soc: Soc) -> Schedule:
    """The kernels of a program on that SoC."""
    return scheduled(Groups(program, soc))


def scheduled(groups: Groups) -> Schedule:
    """The kernels that operations were grouped into."""
    return _Scheduler(groups).run()


class _Scheduler:
    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self.formats = Formats(groups)
        self.done = Schedule()
        self.buffers: dict[tuple[int, Format, tuple[int, ...]], int] = {}
        self.made_in: dict[int, Format] = {}
        self.nodes: tuple[str, ...] = ()
        """Those of the kernel that is being made."""

    def run(self) -> Schedule:
        groups = self.groups
        for tensor in groups.program.inputs:
            self.done.fixed.append(self.buffer(tensor, Format.ND))
        for group in groups.in_order():
            self.kernel(group)
        self.nodes = ()
        for ref in groups.program.outputs:
            self.done.fixed.append(self.read(ref, Format.ND))
        return self.done

    def buffer(self, tensor: int, layout: Format, dims: tuple[int, ...] = ()) -> int:
        """The memory of a tensor in a format; `dims` are those it is read in, where blocks depend on them."""
        number, is_new = self.allocated(tensor, layout, dims)
        inner, block = number, self.groups.tensors[tensor].block
        while is_new and block != tensor:
            outer, is_new = self.allocated(block, layout, ())
            self.done.within[inner] = outer
            inner, tensor, block = outer, block, self.groups.tensors[block].block
        return number

    def allocated(self, tensor: int, layout: Format, dims: tuple[int, ...]) -> tuple[int, bool]:
        """As `buffer`, but for what it lies in; and whether it was not there yet."""
        about = self.groups.tensors[tensor]
        key = (tensor, layout, () if layout is Format.ND else dims or about.tensor_type.dims)
        known = self.buffers.get(key)
        if known is not None:
            return known, False
        self.buffers[key] = number = len(self.done.sizes)
        self.done.sizes.append(bytes_in(TensorType(dims or about.tensor_type.dims, about.tensor_type.dtype), layout))
        if about.constant or about.is_state:
            self.done.weights.add(number)
        return number, True

    def read(self, ref: Ref, layout: Format) -> int:
        """The memory that holds a tensor in that format; where there is none yet, a TransData makes it."""
        about = self.groups.tensors[ref.tensor]
        if about.constant or about.is_state:
            return self.buffer(ref.tensor, Format.ND)
        made, kept = self.made_in.get(ref.tensor, Format.ND), self.formats.keeps(ref, layout)
        buffer = self.buffer(ref.tensor, made)
        if made is layout and kept:
            return buffer
        if made is not Format.ND:
            buffer = self.turned(buffer, ref.tensor, Format.ND, ())
        return buffer if layout is Format.ND else self.turned(buffer, ref.tensor, layout, () if kept else ref.dims)

    def turned(self, source: int, tensor: int, layout: Format, dims: tuple[int, ...]) -> int:
        """The memory of the tensor in that format, written by a TransData from `source` if it is not there yet."""
        before, sizes = len(self.done.sizes), self.done.sizes
        buffer = self.buffer(tensor, layout, dims)
        if buffer >= before:
            self.done.kernels.append(
                Kernel(TRANSDATA, [source], [buffer], sizes[source], sizes[buffer], nodes=self.nodes)
            )
        return buffer

    def kernel(self, group: int) -> None:
        groups, layout = self.groups, self.formats.of[group]
        operations = [groups.operations[at] for at in groups.members[group]]
        made = {tensor for operation in operations for tensor in operation.writes}
        self.nodes = tuple(operation.node for operation in operations)
        reads: dict[int, int] = {}
        for operation in operations:
            for position, ref in enumerate(operation.reads):
                if ref.tensor in made:
                    continue
                buffer = self.read(ref, layout)
                size = self.done.sizes[buffer] * (operation.passes if position == 0 else 1)
                if operation.sort is Sort.PICK and position == 0:
                    size = min(size, sum(groups.tensors[tensor].bytes for tensor in operation.writes))
                reads[buffer] = max(reads.get(buffer, 0), size)
        writes = []
        for operation in operations:
            for tensor in operation.writes:
                inside = groups.consumers.get(tensor, ())
                if tensor in groups.results or not inside or any(groups.group[at] != group for at in inside):
                    self.made_in[tensor] = layout
                    writes.append(self.buffer(tensor, layout))
        written = sum(self.done.sizes[buffer] for buffer in writes)
        self.done.kernels.append(
            Kernel(
                "+".join(operation.op for operation in operations),
                list(reads),
                writes,
                sum(reads.values()),
                written + sum(operation.written_in_place for operation in operations),
                sum(operation.flops for operation in operations),
                self.arithmetic(operations),
                group not in groups.free,
                self.nodes,
            )
        )

    def arithmetic(self, operations: list[Operation]) -> str:
        """The element type of the operation that has the kernel's arithmetic."""
        most = max(operations, key=lambda operation: operation.flops)
        return self.groups.tensors[most.reads[0].tensor].tensor_type.dtype.name if most.reads else ""
