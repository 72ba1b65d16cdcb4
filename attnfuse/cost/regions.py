"""Which operations become one kernel, by the rules of CANN's graph engine, and which become none.

Sources of the rules: docs/cost.md. In the order in which the engine applies them: what leaves no task; a bias or a Pad
that goes into the product or convolution beside it; Add with the LayerNorm behind it; a reduction with its elementwise
neighbours; on SoCs where it is so, elementwise operations behind a product or convolution; and last, connected
elementwise operations, a region. May import `program` and `sorts` of this package and `attnfuse.targets`.
"""

from __future__ import annotations

from collections.abc import Iterable

from attnfuse.cost.program import Operation, Program, Ref
from attnfuse.cost.sorts import ADDITIONS, CHANNEL_ADDITIONS, LAYER_NORMS, MATRIX_ADDITIONS, Sort
from attnfuse.targets.socs import Soc

_MOST_CONSUMERS = 6
"""Consumers up to which what an operation makes may stay in the core (FE, automatic_buffer_fusion.cc)."""
_BEHIND_REDUCTION = 5
"""Operations of one input that a reduction takes in behind itself (TbeReduceElemwiseFusionPass)."""
_BEHIND_PRODUCT = 2
"""Operations that a product or convolution takes in behind itself, where it takes any (ATbeMatMulElemwise)."""
_BLOCK = 32
"""Bytes of which a part of a Concat without a task is a multiple (concat_notask_pass.cc)."""
CHANNELS = 16
"""Channels to a block of the convolutions' format NC1HWC0."""
_PADS = 255
_SPACE = 2


class Groups:
    """Operations by kernel. `free` are those that leave no task: what they make lies in what they read, or the other
    way round, which `Tensor.block` tells.
    """

    def __init__(self, program: Program, soc: Soc) -> None:
        self.program, self.soc = program, soc
        self.operations, self.tensors = program.operations, program.tensors
        self.producer: dict[int, int] = {}
        self.consumers: dict[int, list[int]] = {}
        for at, operation in enumerate(self.operations):
            for tensor in operation.writes:
                self.producer[tensor] = at
            for ref in operation.reads:
                if not self.tensors[ref.tensor].constant:
                    self.consumers.setdefault(ref.tensor, []).append(at)
        self.results = {ref.tensor for ref in program.outputs}
        self.free: set[int] = set()
        self.group = list(range(len(self.operations)))
        self.members: dict[int, list[int]] = {at: [at] for at in self.group}
        for at, operation in enumerate(self.operations):
            self.named(at, operation)
        self.regions()

    # --- what is asked of the program

    def only_consumer(self, tensor: int) -> int | None:
        """The one operation that reads the tensor, once; None where there are others or the graph gives it out."""
        found = self.consumers.get(tensor, [])
        return found[0] if len(found) == 1 and tensor not in self.results else None

    def is_constant(self, ref: Ref) -> bool:
        return self.tensors[ref.tensor].constant

    def activations(self, operation: Operation) -> list[Ref]:
        """What the operation reads and no constant makes."""
        return [ref for ref in operation.reads if not self.is_constant(ref)]

    def alone(self, at: int) -> bool:
        """Whether no rule has joined the operation to another yet."""
        return len(self.members[self.group[at]]) == 1

    def join(self, one: int, other: int) -> None:
        """Make the kernels of two operations one."""
        kept, gone = self.group[one], self.group[other]
        if kept != gone:
            self.members[kept] += self.members.pop(gone)
            for at in self.members[kept]:
                self.group[at] = kept

    # --- rules that name operators

    def named(self, at: int, operation: Operation) -> None:
        sort = operation.sort
        if sort is Sort.TRANSPOSE:
            if self.moves_nothing(operation) or self.goes_into_product(operation):
                self.leave_out(at, operation.writes[0], operation.reads[0].tensor)
        elif sort is Sort.CONCAT:
            if self.is_concat_free(operation):
                self.free.add(at)
                for ref in operation.reads:
                    self.tensors[ref.tensor].block = operation.writes[0]
        elif sort is Sort.SPLIT:
            if operation.axis == 0:
                self.free.add(at)
                for tensor in operation.writes:
                    self.tensors[tensor].block = operation.reads[0].tensor
        elif sort is Sort.PAD:
            self.pad(at, operation)
        elif sort in (Sort.PRODUCT, Sort.CONVOLUTION):
            self.product(at, operation)
        elif sort is Sort.NORM and self.soc.add_layer_norm and operation.op in LAYER_NORMS:
            self.add_layer_norm(at, operation)
        elif sort is Sort.REDUCE:
            self.reduction(at, operation)

    def leave_out(self, at: int, tensor: int, block: int) -> None:
        self.free.add(at)
        self.tensors[tensor].block = block

    def moves_nothing(self, operation: Operation) -> bool:
        """Rule 8: only axes of size 1 change their place."""
        dims = operation.reads[0].dims
        kept = [axis for axis in operation.permutation if dims[axis] != 1]
        return bool(operation.permutation) and kept == sorted(kept)

    def goes_into_product(self, operation: Operation) -> bool:
        """Rule 8: the last two axes are swapped, and a product alone reads the result."""
        order = operation.permutation
        rank = len(order)
        consumer = self.only_consumer(operation.writes[0])
        return (
            rank > 1
            and order == (*range(rank - 2), rank - 1, rank - 2)
            and consumer is not None
            and self.operations[consumer].sort is Sort.PRODUCT
            and self.same_shape(consumer, operation.writes[0])
        )

    def same_shape(self, consumer: int, tensor: int) -> bool:
        """Whether the operation reads the tensor in the shape it was made in: no Reshape stands between."""
        dims = self.tensors[tensor].tensor_type.dims
        return all(ref.dims == dims for ref in self.operations[consumer].reads if ref.tensor == tensor)

    def is_concat_free(self, operation: Operation) -> bool:
        """Rule 9: nothing stands before the axis, every part is whole blocks, and made by a kernel for this alone."""
        before, taken = operation.reads[0].dims[: operation.axis], [ref.tensor for ref in operation.reads]
        if any(size != 1 for size in before) or operation.writes[0] in self.results or len(set(taken)) < len(taken):
            return False
        makers = [self.producer.get(tensor) for tensor in taken]
        if None in makers or len(set(makers)) < len(makers) or self.free & {*makers}:
            return False
        channels = operation.axis == 1 and len(operation.reads[0].dims) >= 4
        return all(
            self.tensors[ref.tensor].bytes % _BLOCK == 0
            and self.tensors[ref.tensor].block == ref.tensor
            and not (channels and ref.dims[1] % CHANNELS)
            for ref in operation.reads
        )

    def pad(self, at: int, operation: Operation) -> None:
        """Rule 10: height and width are padded for one convolution of two dimensions."""
        before, behind = operation.reads[0].dims, self.tensors[operation.writes[0]].tensor_type.dims
        consumer = self.only_consumer(operation.writes[0])
        if consumer is None or len(before) != 4 or before[:_SPACE] != behind[:_SPACE]:
            return
        reader = self.operations[consumer]
        if (
            reader.sort is not Sort.CONVOLUTION
            or len(reader.reads) < 2
            or reader.reads[0].tensor != operation.writes[0]
        ):
            return
        window = reader.reads[1].dims[_SPACE:]
        added = [after - size for size, after in zip(before[_SPACE:], behind[_SPACE:], strict=True)]
        if all(total <= min(2 * (size - 1), _PADS) for total, size in zip(added, window, strict=True)):
            self.join(consumer, at)

    def product(self, at: int, operation: Operation) -> None:
        """Rule 3: a bias of one axis behind its only product or convolution; then rule 6."""
        last = at
        behind = self.elementwise_behind(last)
        if behind is not None and self.adds_bias(behind, operation.sort):
            self.join(at, behind)
            last = behind
        if not self.soc.fuses_behind_products:
            return
        for _ in range(_BEHIND_PRODUCT):
            behind = self.elementwise_behind(last)
            if behind is None:
                return
            self.join(at, behind)
            last = behind

    def elementwise_behind(self, at: int) -> int | None:
        """The elementwise operation that alone reads what this one makes, in the shape it is made in."""
        made = self.operations[at].writes
        consumer = self.only_consumer(made[0]) if len(made) == 1 else None
        if consumer is None or self.operations[consumer].sort is not Sort.ELEMENTWISE or not self.alone(consumer):
            return None
        return consumer if self.same_shape(consumer, made[0]) else None

    def adds_bias(self, at: int, sort: Sort) -> bool:
        """Rule 3: whether the operation adds what a product, or a convolution, takes for its bias."""
        if self.operations[at].op not in (MATRIX_ADDITIONS if sort is Sort.PRODUCT else CHANNEL_ADDITIONS):
            return False
        constants = [ref for ref in self.operations[at].reads if self.is_constant(ref)]
        if len(constants) != 1 or len(constants[0].dims) != 1 or len(self.operations[at].reads) != 2:
            return False
        dims = self.tensors[self.operations[at].writes[0]].tensor_type.dims
        axis = -1 if sort is Sort.PRODUCT else 1
        return constants[0].dims[0] == dims[axis]

    def add_layer_norm(self, at: int, operation: Operation) -> None:
        """Rule 7: the sum of two tensors of one shape, behind which a LayerNorm of the last axis stands."""
        read = operation.reads[0]
        made_by = self.producer.get(read.tensor)
        cast = None
        if made_by is not None and self.operations[made_by].op == "Cast" and self.same_shape(at, read.tensor):
            cast, made_by = made_by, self.producer.get(self.operations[made_by].reads[0].tensor)
        if made_by is None or not self.alone(made_by) or self.operations[made_by].op not in ADDITIONS:
            return
        added = self.operations[made_by]
        total = self.tensors[added.writes[0]].tensor_type.dims
        if any(self.is_constant(ref) or ref.dims != total for ref in added.reads) or read.dims != total:
            return
        if cast is not None and not self.alone(cast):
            return
        self.join(at, made_by)
        if cast is not None:
            self.join(at, cast)

    def reduction(self, at: int, operation: Operation) -> None:
        """Rule 5: one elementwise operation that feeds this alone, and operations of one input behind it."""
        tensor = operation.reads[0].tensor
        before = self.producer.get(tensor)
        if (
            before is not None
            and self.operations[before].sort is Sort.ELEMENTWISE
            and self.alone(before)
            and self.only_consumer(tensor) == at
            and self.same_shape(at, tensor)
        ):
            self.join(at, before)
        last = at
        for _ in range(_BEHIND_REDUCTION):
            behind = self.elementwise_behind(last)
            if behind is None or len(self.activations(self.operations[behind])) != 1:
                return
            self.join(at, behind)
            last = behind

    # --- regions

    def regions(self) -> None:
        """Rule 4: join connected elementwise operations, unless another kernel stands between two of them.

        `above` holds for each kernel a bit for every kernel before it. Operations come in an order in which they can
        run, so a path from a region to one of its later members through others ends in what that member reads.
        """
        order = self.in_order()
        above: dict[int, int] = {}
        size: dict[int, int] = {}
        has_readers: set[int] = set()
        for group in order:
            at = self.members[group][0]
            read = {self.group[self.producer[t]] for t in self.read_outside(group) if t in self.producer}
            seen = 0
            for other in read:
                seen |= above[other] | 1 << other
            above[group] = seen
            operation = self.operations[at]
            if operation.sort is Sort.ELEMENTWISE and len(self.members[group]) == 1:
                size[group] = 1
                group = self.into_regions(at, operation, above, size, has_readers)
            has_readers |= read - {group}

    def into_regions(
        self, at: int, operation: Operation, above: dict[int, int], size: dict[int, int], has_readers: set[int]
    ) -> int:
        """Join the operation to the regions it reads from, one after the other; gives the kernel it is in then."""
        for ref in operation.reads:
            made_by = self.producer.get(ref.tensor)
            if made_by is None:
                continue
            region, own = self.group[made_by], self.group[at]
            if region == own or region not in size or size[region] + size[own] > self.soc.region_limit:
                continue
            if (
                ref.dims != self.tensors[ref.tensor].tensor_type.dims
                or len(self.consumers[ref.tensor]) > _MOST_CONSUMERS
            ):
                continue
            if self.between(region, own, above):
                continue
            grown = above[own] & ~above[region] & ~(1 << region)
            self.join(region, at)
            size[region] += size.pop(own)
            above[region] |= above.pop(own) & ~(1 << region)
            if own in has_readers or region in has_readers:
                for other, seen in above.items():
                    if seen & (1 << region | 1 << own):
                        above[other] = seen | grown | above[region] | 1 << region
            if own in has_readers:
                has_readers.add(region)
        return self.group[at]

    def between(self, region: int, own: int, above: dict[int, int]) -> bool:
        """Whether a third kernel reads from one of them, and is read by the other, however far."""
        for one, other in ((region, own), (own, region)):
            for member in self.members[other]:
                for ref in self.operations[member].reads:
                    made_by = self.producer.get(ref.tensor)
                    if made_by is None:
                        continue
                    third = self.group[made_by]
                    if third not in (region, own) and above[third] >> one & 1:
                        return True
        return False

    def read_outside(self, group: int) -> Iterable[int]:
        """Tensors that the kernel reads and does not make, each once."""
        members = self.members[group]
        if len(members) == 1:
            return dict.fromkeys(ref.tensor for ref in self.operations[members[0]].reads)
        made = {tensor for at in members for tensor in self.operations[at].writes}
        return dict.fromkeys(r.tensor for at in members for r in self.operations[at].reads if r.tensor not in made)

    def in_order(self) -> list[int]:
        """Kernels in an order in which they can run, by their first operations where that allows it."""
        waits: dict[int, int] = {}
        readers: dict[int, list[int]] = {}
        for group in self.members:
            sources = {self.group[self.producer[t]] for t in self.read_outside(group) if t in self.producer}
            waits[group] = len(sources)
            for source in sources:
                readers.setdefault(source, []).append(group)
        ready = [group for group, count in waits.items() if not count]
        for group in ready:
            for reader in readers.get(group, ()):
                waits[reader] -= 1
                if not waits[reader]:
                    ready.append(reader)
        assert len(ready) == len(self.members), "kernels wait for each other"
        return ready
