"""Workers that a command hands work to: the options, and what they come to."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from attnfuse.cli.options import PATH, size
from attnfuse.dispatch import through
from attnfuse.errors import UsageError
from attnfuse.farm.cluster import Cluster, Tls
from attnfuse.farm.dispatching import Dispatching
from attnfuse.farm.local import LocalWorkers
from attnfuse.farm.units import Farm
from attnfuse.names import counted
from attnfuse.store.places import KEY_VARIABLE, Place
from attnfuse.store.store import Store

worker_memory_option = click.option(
    "--worker-memory",
    type=size,
    metavar="SIZE",
    help="What each worker of this machine may hold, such as 8GiB: what takes more is not done by it.",
)
cluster_options = (
    click.option("--scheduler", metavar="ADDRESS", help="Have the workers of a Dask cluster do it: tcp://farm:8786."),
    click.option("--tls-ca", type=PATH, metavar="FILE", help="Of a tls:// scheduler: who signs certificates (PEM)."),
    click.option("--tls-cert", type=PATH, metavar="FILE", help="Of a tls:// scheduler: your own certificate (PEM)."),
    click.option("--tls-key", type=PATH, metavar="FILE", help="Of a tls:// scheduler: the key of that (PEM)."),
)


def worker_options(what: str) -> tuple[Callable[..., Any], ...]:
    """The options of a command that does its work itself, unless it is told of workers; `what` they do for it."""
    return (
        click.option(
            "--workers",
            type=click.IntRange(1),
            default=1,
            show_default=True,
            help=f"Worker processes of this machine that {what}; 1 is the command itself.",
        ),
        worker_memory_option,
        *cluster_options,
    )


OF_WORKERS = ("workers", "worker_memory", "scheduler", "tls_ca", "tls_cert", "tls_key")
"""The options, as the parameters of commands are called."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What the options say. `workers` None is not told."""

    workers: int | None
    worker_memory: int | None
    scheduler: str | None
    tls: Tls

    @classmethod
    def taken(cls, options: MutableMapping[str, Any]) -> WorkerOptions:
        """Those of a command, taken from its others. Raises UsageError where they contradict each other."""
        workers, memory, scheduler, *files = (options.pop(name) for name in OF_WORKERS)
        tls = Tls(*files)
        if scheduler is None and tls != Tls():
            raise UsageError("--tls-ca, --tls-cert and --tls-key are for --scheduler tls://…; drop them, or name one.")
        if scheduler is not None and memory is not None:
            raise UsageError(
                "--worker-memory is for workers of this machine; those of a cluster have dask worker's limit."
            )
        return cls(workers, memory, scheduler, tls)

    @property
    def are_asked_for(self) -> bool:
        """Whether somebody else is to do the work of a command that can do it itself."""
        return self.scheduler is not None or (self.workers or 1) > 1

    def refuse(self, why: str) -> None:
        """Raise UsageError where somebody else is to do the work; `why` follows the option that says so."""
        if self.are_asked_for:
            raise UsageError(f"{'--workers' if self.scheduler is None else '--scheduler'} {why}")

    @property
    def of_cluster(self) -> list[str]:
        """The options of the cluster, as another command has them."""
        given = {"scheduler": self.scheduler, "tls-ca": self.tls.ca, "tls-cert": self.tls.certificate}
        given["tls-key"] = self.tls.key
        return [f"--{name}={value}" for name, value in given.items() if value is not None]

    def farm(self, count: int, cache_key: Path | None) -> Farm:
        """The workers, so many where they are of this machine."""
        if self.scheduler is not None:
            return Cluster(self.scheduler, self.tls)
        return LocalWorkers(count, self.worker_memory, settings_of(cache_key))

    @contextmanager
    def cache(self, place: Place | None) -> Iterator[Place]:
        """The cache, or a folder in its place for as long as the context lasts. Raises UsageError for a cluster."""
        if place is not None:
            yield place
            return
        if self.scheduler is not None:
            raise UsageError("--scheduler needs a cache that this machine and the workers reach: give --cache-dir.")
        with tempfile.TemporaryDirectory(prefix="attnfuse-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)

    @contextmanager
    def helping(self, place: Place | None, cache_key: Path | None, tell: Callable[[str], None]) -> Iterator[None]:
        """Have the workers do what the block has to be done, where they are asked for; `tell` is told why not."""
        if not self.are_asked_for:
            if self.worker_memory is not None:
                raise UsageError("--worker-memory is for --workers of two and more; drop it, or have more.")
            yield
            return
        if self.scheduler is not None and (self.workers or 1) > 1:
            raise UsageError("--workers is for workers of this machine, --scheduler for those of a cluster; drop one.")
        with ExitStack() as stack:
            cache = stack.enter_context(self.cache(place))
            store = Store(cache, cache_key)
            workers = stack.enter_context(self.farm(self.workers or 1, cache_key))
            dispatching = Dispatching(workers, store, lambda text: tell(f"warning: {text}"))
            stack.enter_context(through(stack.enter_context(dispatching)))
            yield
            if dispatching.asked:
                tell(f"workers did {dispatching.done} of {counted(dispatching.asked, 'unit')} that they were asked for")


def settings_of(cache_key: Path | None) -> Mapping[str, str]:
    """Variables of the environment that processes of ours need to read the cache."""
    return {} if cache_key is None else {KEY_VARIABLE: str(cache_key.resolve())}
