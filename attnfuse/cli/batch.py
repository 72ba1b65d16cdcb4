"""`attnfuse batch`."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import click
from rich.table import Table

from attnfuse import processes
from attnfuse.cli.batch_file import entries_of, read_batch
from attnfuse.cli.console import say, stderr_console
from attnfuse.cli.destinations import check_writable
from attnfuse.cli.help import HelpfulCommand
from attnfuse.cli.options import PATH, cache_options, json_option, progress_option, size, with_options
from attnfuse.errors import UsageError
from attnfuse.farm.batch import How, Outcome, Result, run_batch
from attnfuse.farm.cluster import Cluster, Tls
from attnfuse.farm.local import LocalWorkers
from attnfuse.farm.perform import KEY_VARIABLE
from attnfuse.farm.state import BatchState
from attnfuse.farm.units import Workers
from attnfuse.incremental import tool_digest
from attnfuse.names import counted
from attnfuse.store.places import Place
from attnfuse.store.store import Store
from attnfuse.terminal import CountProgress
from attnfuse.tracing.workers import NEEDED_BYTES, affordable


@click.command(
    "batch",
    cls=HelpfulCommand,
    examples=(
        "attnfuse batch farm.toml --cache-dir cache",
        "attnfuse batch farm.toml --cache-dir s3://bucket/farm --scheduler tcp://farm:8786",
    ),
    codes=(1, 3, 4, 5, 70, 130),
)
@click.argument("file", metavar="FILE", type=PATH)
@with_options(*cache_options)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Worker processes of this machine.  [default: as many as cores, fewer where memory is short]",
)
@click.option(
    "--worker-memory", type=size, metavar="SIZE", help="What a trace may hold, such as 8GiB; one that holds more fails."
)
@click.option("--scheduler", metavar="ADDRESS", help="Have the workers of a Dask cluster trace: tcp://farm:8786.")
@click.option("--tls-ca", type=PATH, metavar="FILE", help="Of a tls:// scheduler: who signs certificates (PEM).")
@click.option("--tls-cert", type=PATH, metavar="FILE", help="Of a tls:// scheduler: your own certificate (PEM).")
@click.option("--tls-key", type=PATH, metavar="FILE", help="Of a tls:// scheduler: the key of that (PEM).")
@click.option("--state", "state_file", type=PATH, help="What is finished.  [default: FILE, with .state.json behind]")
@click.option("--again", is_flag=True, help="Do also what an earlier run finished.")
@json_option
@progress_option
def batch_command(
    file: Path,
    cache_dir: Place | None,
    cache_key: Path | None,
    workers: int | None,
    worker_memory: int | None,
    scheduler: str | None,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    state_file: Path | None,
    again: bool,
    as_json: bool,
    progress: str,
) -> int:
    """Do the compiles that FILE (TOML) names; what they have in common is traced once (docs/farm.md).

    One that fails keeps none of the others. The exit code is 0, or that of the worst: 70, 4, 3, 2, 1, 5 in that order.
    Called again, it does what is not finished, or has changed. Paths in FILE are relative to the current folder.
    """
    tls = Tls(tls_ca, tls_cert, tls_key)
    if scheduler is None and tls != Tls():
        raise UsageError("--tls-ca, --tls-cert and --tls-key are for --scheduler tls://…; drop them, or name one.")
    if scheduler is not None and worker_memory is not None:
        raise UsageError("--worker-memory is for workers of this machine; those of a cluster have dask worker's limit.")
    batch = read_batch(file)
    state_file = state_file or file.with_name(f"{file.name}.state.json")
    check_writable(state_file, "state")
    count = workers or affordable(processes.cores(), processes.available_memory(), worker_memory or NEEDED_BYTES)
    settings = {} if cache_key is None else {KEY_VARIABLE: str(cache_key.resolve())}

    def chosen() -> AbstractContextManager[Workers]:
        return LocalWorkers(count, worker_memory, settings) if scheduler is None else Cluster(scheduler, tls)

    with _cache(cache_dir or batch.cache, scheduler) as cache, _counted(progress) as done:
        shared = [f"--cache-dir={cache}", *([] if cache_key is None else [f"--cache-key={cache_key}"])]
        entries = entries_of(batch, file, shared)
        Store(cache, cache_key)  # one that cannot be reached is told of at once, and not by each compile
        if again:
            state_file.unlink(missing_ok=True)
        how = How(chosen, count, settings, tool_digest(), done)
        outcome = run_batch(entries, BatchState(state_file), how)
    if as_json:
        click.echo(json.dumps(outcome.to_json(), indent=1, ensure_ascii=False))
    _say(outcome)
    return outcome.code


@contextlib.contextmanager
def _cache(place: Place | None, scheduler: str | None) -> Iterator[Place]:
    """The cache, or a folder in its place for as long as the batch takes."""
    if place is not None:
        yield place
        return
    if scheduler is not None:
        raise UsageError("--scheduler needs a cache that this machine and the workers reach: give --cache-dir.")
    with tempfile.TemporaryDirectory(prefix="attnfuse-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextlib.contextmanager
def _counted(progress: str) -> Iterator[Callable[[int, int, str], None]]:
    if progress == "never":
        yield lambda done, total, what: None
        return
    with CountProgress(stderr_console()) as shown:
        yield shown.done


def _say(outcome: Outcome) -> None:
    table = Table("output", "", "fused", "sites", "seconds", box=None, pad_edge=False)
    for result in outcome.results:
        totals = [str(result.totals.get(name, "")) for name in ("fused", "sites")]
        table.add_row(os.fspath(result.entry.output), _became(result), *totals, f"{result.seconds:.1f}")
    stderr_console().print(table)
    for result in outcome.results:
        for error in result.errors:
            say(f"error: {result.entry.output}: {error}")
    for what, error in outcome.failed.items():
        say(f"warning: {what} was not traced by a worker: {error}.")
    finished = sum(result.before for result in outcome.results)
    say(
        f"{counted(len(outcome.results), 'compile')}, {finished} finished before; "
        f"{counted(outcome.traced, 'trace')} made, with {counted(outcome.blocks, 'block')} of their own, "
        f"{outcome.kept} from the cache; {outcome.seconds:.1f} s."
    )


def _became(result: Result) -> str:
    if result.before:
        return "finished before"
    return "compiled" if result.code == 0 else f"exit code {result.code}"
