"""`attnfuse batch`."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from attnfuse import processes
from attnfuse.cli.batch_file import entries_of, read_batch
from attnfuse.cli.console import say, stderr_console
from attnfuse.cli.destinations import check_writable
from attnfuse.cli.help import HelpfulCommand
from attnfuse.cli.options import PATH, cache_options, json_option, progress_option, with_options
from attnfuse.cli.workers import WorkerOptions, cluster_options, settings_of, worker_memory_option
from attnfuse.farm.batch import How, Outcome, Result, run_batch
from attnfuse.farm.state import BatchState
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
@with_options(worker_memory_option, *cluster_options)
@click.option("--state", "state_file", type=PATH, help="What is finished.  [default: FILE, with .state.json behind]")
@click.option("--again", is_flag=True, help="Do also what an earlier run finished.")
@json_option
@progress_option
def batch_command(
    file: Path,
    cache_dir: Place | None,
    cache_key: Path | None,
    state_file: Path | None,
    again: bool,
    as_json: bool,
    progress: str,
    **options: Any,
) -> int:
    """Do the compiles that FILE (TOML) names; what they have in common is traced once (docs/farm.md).

    One that fails keeps none of the others. The exit code is 0, or that of the worst: 70, 4, 3, 2, 1, 5 in that order.
    Called again, it does what is not finished, or has changed. Paths in FILE are relative to the current folder.
    """
    asked = WorkerOptions.taken(options)
    batch = read_batch(file)
    state_file = state_file or file.with_name(f"{file.name}.state.json")
    check_writable(state_file, "state")
    each = asked.worker_memory or NEEDED_BYTES
    count = asked.workers or affordable(processes.cores(), processes.available_memory(), each)
    with asked.cache(cache_dir or batch.cache) as cache, _counted(progress) as done:
        shared = [f"--cache-dir={cache}", *([] if cache_key is None else [f"--cache-key={cache_key}"])]
        entries = entries_of(batch, file, shared, state_file)
        Store(cache, cache_key)  # one that cannot be reached is told of at once, and not by each compile
        if again:
            state_file.unlink(missing_ok=True)
        how = How(
            lambda: asked.farm(count, cache_key), count, settings_of(cache_key), tool_digest(), done, asked.of_cluster
        )
        outcome = run_batch(entries, BatchState(state_file), how)
    if as_json:
        click.echo(json.dumps(outcome.to_json(), indent=1, ensure_ascii=False))
    _say(outcome)
    return outcome.code


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
