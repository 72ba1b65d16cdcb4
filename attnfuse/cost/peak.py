"""The most memory that is alive at once while the kernels run one after the other, in the order the engine gives them.

Rule 14. The order is that of GE's default (`ge.topoSortingMode` 1; graph_metadef, DFSTopologicalSorting): a kernel is
put on a stack when the last of what it reads is there, in the order in which the converter listed them (see `program`),
and the one put there last runs first. A buffer is alive from the kernel that writes it to the last that reads it;
nothing is written over what is read, which CANN allows for no operator on these SoCs (`outputInplaceAbility`). Sizes
are rounded up as its allocator does it (tensor_utils.cc, mem_assigner.h). The graph's inputs and results stay, weights
are apart, workspaces are not known: a lower bound. May import `kernels` of this package.
"""

from __future__ import annotations

from itertools import pairwise

from attnfuse.cost.kernels import Schedule

POINTS = 240
"""Most steps of what is alive that an estimate tells."""
_STEP, _ROOM = 32, 63
_BLOCK = 512


def allocated(size: int) -> int:
    """Bytes taken for a buffer of `size` bytes."""
    rounded = (size + _ROOM) // _STEP * _STEP
    return -(-rounded // _BLOCK) * _BLOCK


def depth_first(done: Schedule) -> list[int]:
    """The kernels in the engine's order, as positions in `done.kernels`."""
    maker = {buffer: at for at, kernel in enumerate(done.kernels) for buffer in kernel.writes}
    readers: dict[int, list[int]] = {}
    waits = []
    for at, kernel in enumerate(done.kernels):
        sources = [maker[buffer] for buffer in kernel.reads if buffer in maker]
        waits.append(len(sources))
        for source in sources:
            readers.setdefault(source, []).append(at)
    stack = [at for at in reversed(range(len(waits))) if not waits[at]]
    order = []
    while stack:
        at = stack.pop()
        order.append(at)
        for reader in readers.get(at, ()):
            waits[reader] -= 1
            if not waits[reader]:
                stack.append(reader)
    return order


def peak_bytes(done: Schedule) -> int:
    """The most bytes alive at once."""
    return max(alive_bytes(done))


def alive_bytes(done: Schedule) -> list[int]:
    """Bytes alive before the first kernel, and while each runs, in the engine's order."""
    order = depth_first(done)
    last: dict[int, int] = {}
    for step, at in enumerate(order):
        kernel = done.kernels[at]
        for buffer in (*kernel.reads, *kernel.writes):
            last[done.block(buffer)] = step
    fixed = {done.block(buffer) for buffer in done.fixed}
    ends: dict[int, list[int]] = {}
    for block, step in last.items():
        if block not in fixed and block not in done.weights:
            ends.setdefault(step, []).append(block)
    begun = set(fixed)
    now = sum(allocated(done.sizes[block]) for block in fixed)
    alive = [now]
    for step, at in enumerate(order):
        for buffer in done.kernels[at].writes:
            block = done.block(buffer)
            if block not in begun and block not in done.weights:
                begun.add(block)
                now += allocated(done.sizes[block])
        alive.append(now)
        now -= sum(allocated(done.sizes[block]) for block in ends.get(step, ()))
    return alive


def drawn(alive: list[int]) -> tuple[int, ...]:
    """As many steps as a drawing shows, at most `POINTS`: of steps that stand for several, the most."""
    if len(alive) <= POINTS:
        return tuple(alive)
    edges = [at * len(alive) // POINTS for at in range(POINTS + 1)]
    return tuple(max(alive[start:end]) for start, end in pairwise(edges))
