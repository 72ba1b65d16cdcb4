"""The figures of one graph on one SoC.

May import `program`, `kernels`, `peak` and `records` of this package and `attnfuse.targets`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attnfuse import collector
from attnfuse.cost.kernels import Kernel, schedule
from attnfuse.cost.peak import alive_bytes, drawn
from attnfuse.cost.program import read_program
from attnfuse.cost.records import Estimate, Share, SiteNodes
from attnfuse.cost.sorts import TRANSDATA
from attnfuse.ir.graph import Model
from attnfuse.targets.socs import SPECIFICATIONS, Soc


def estimate(model: Model, soc: str) -> Estimate:
    """Estimate a graph on a SoC, one of `attnfuse.targets.SOCS`.

    Raises NotEstimated as `read_program` does.
    """
    return estimate_with_sites(model, soc, ())[0]


def estimate_with_sites(model: Model, soc: str, sites: Iterable[SiteNodes]) -> tuple[Estimate, dict[str, Share]]:
    """As `estimate`; and what of it is each site's, by the site."""
    about = SPECIFICATIONS[soc]
    with collector.paused():
        done = schedule(read_program(model), about)
        tasks = [kernel for kernel in done.kernels if kernel.is_task]
        changes = [kernel for kernel in tasks if kernel.what == TRANSDATA]
        alive = alive_bytes(done)
        found = Estimate(
            bytes_moved=sum(kernel.bytes for kernel in tasks),
            kernels=len(tasks) - len(changes),
            format_changes=len(changes),
            format_bytes=sum(kernel.bytes for kernel in changes),
            peak_bytes=max(alive),
            flops=sum(kernel.flops for kernel in tasks),
            seconds=sum(shortest(kernel, about) for kernel in tasks),
            memory=drawn(alive),
        )
        return found, _shares(tasks, about, sites)


def _shares(tasks: Sequence[Kernel], soc: Soc, sites: Iterable[SiteNodes]) -> dict[str, Share]:
    cores: dict[str, str] = {}
    around: dict[str, str] = {}
    for site in sites:
        cores.update(dict.fromkeys(site.core - cores.keys(), site.site))
        around.update(dict.fromkeys(site.around - around.keys(), site.site))
    of: dict[str, list[Kernel]] = {}
    for kernel in tasks:
        own = next((cores[node] for node in kernel.nodes if node in cores), None)
        if own is None and kernel.nodes and all(node in around for node in kernel.nodes):
            own = around[kernel.nodes[0]]
        if own is not None:
            of.setdefault(own, []).append(kernel)
    return {
        site: Share(sum(one.bytes for one in kernels), len(kernels), sum(shortest(one, soc) for one in kernels))
        for site, kernels in of.items()
    }


def shortest(kernel: Kernel, soc: Soc) -> float:
    """Seconds that the kernel takes at least."""
    moving = kernel.bytes / soc.bandwidth.value
    peak = soc.arithmetic.get(kernel.dtype)
    return moving if peak is None else max(moving, kernel.flops / peak.value)
