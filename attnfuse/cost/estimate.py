"""The figures of one graph on one SoC.

May import `program`, `kernels`, `peak` and `records` of this package and `attnfuse.targets`.
"""

from __future__ import annotations

from attnfuse import collector
from attnfuse.cost.kernels import TRANSDATA, Kernel, schedule
from attnfuse.cost.peak import alive_bytes, drawn
from attnfuse.cost.program import read_program
from attnfuse.cost.records import Estimate
from attnfuse.ir.graph import Model
from attnfuse.targets.socs import SPECIFICATIONS, Soc


def estimate(model: Model, soc: str) -> Estimate:
    """Estimate a graph on a SoC, one of `attnfuse.targets.SOCS`.

    Raises NotEstimated as `read_program` does.
    """
    about = SPECIFICATIONS[soc]
    with collector.paused():
        done = schedule(read_program(model), about)
        tasks = [kernel for kernel in done.kernels if kernel.is_task]
        changes = [kernel for kernel in tasks if kernel.what == TRANSDATA]
        alive = alive_bytes(done)
        return Estimate(
            bytes_moved=sum(kernel.bytes for kernel in tasks),
            kernels=len(tasks) - len(changes),
            format_changes=len(changes),
            format_bytes=sum(kernel.bytes for kernel in changes),
            peak_bytes=max(alive),
            flops=sum(kernel.flops for kernel in tasks),
            seconds=sum(shortest(kernel, about) for kernel in tasks),
            memory=drawn(alive),
        )


def shortest(kernel: Kernel, soc: Soc) -> float:
    """Seconds that the kernel takes at least."""
    moving = kernel.bytes / soc.bandwidth.value
    peak = soc.arithmetic.get(kernel.dtype)
    return moving if peak is None else max(moving, kernel.flops / peak.value)
