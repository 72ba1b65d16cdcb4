"""`attnfuse compile`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from attnfuse import compiler
from attnfuse.cli.console import say
from attnfuse.cli.help import HelpfulCommand
from attnfuse.cli.options import PATH, max_memory, source_options, with_options
from attnfuse.cli.outcome import report_outcome
from attnfuse.cli.request import SourceOptions
from attnfuse.cli.workers import WorkerOptions, worker_options
from attnfuse.compiler import CompileRequest, VerifyLevel
from attnfuse.errors import UsageError
from attnfuse.names import counted
from attnfuse.report.units import human_bytes
from attnfuse.room import free_bytes
from attnfuse.terminal import Account
from attnfuse.verify import LEVELS
from attnfuse.verify.limits import at_most


@click.command(
    "compile",
    cls=HelpfulCommand,
    examples=(
        "attnfuse compile ./stable-diffusion-v1-5 -o out --soc 910B4",
        "attnfuse compile unet.mindir -o fused.mindir --require fused==sites --require deployable",
        "attnfuse compile SOURCE -o out --verify full --report report.json",
    ),
    codes=(1, 3, 4, 5, 70, 130),
)
@source_options
@click.option("-o", "--output", type=PATH, help="Output folder, or for a .mindir a .mindir path.")
@click.option(
    "--reporter",
    "reporters",
    multiple=True,
    metavar="NAME",
    help="Write that reporter's document into OUTPUT too (repeatable); attnfuse plugins lists them.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Write nothing; tell what would come of it, and the disk, memory and time a compile needs.",
)
@click.option("--check", is_flag=True, help="Write nothing; fail unless OUTPUT is what would be written.")
@click.option(
    "--verify",
    "level",
    type=click.Choice(["none", *LEVELS]),
    default="none",
    show_default=True,
    help="Check before writing: MindSpore's inference alone, or numbers too, of one of several equal blocks or of all.",
)
@click.option("--again", is_flag=True, help="Verify also what a certificate in OUTPUT tells of the same files.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the inputs that verification draws."
)
@click.option(
    "--data",
    type=PATH,
    help="Inputs for --verify full: an .npz file, or a folder of COMPONENT.npz files or COMPONENT folders of them.",
)
@click.option(
    "--golden", is_flag=True, help="Write what the unfused graphs come to into OUTPUT, and align.py, to check a device."
)
@max_memory
@with_options(*worker_options("verify"))
def compile_command(
    output: Path | None,
    reporters: tuple[str, ...],
    dry_run: bool,
    check: bool,
    level: VerifyLevel,
    seed: int,
    data: Path | None,
    again: bool,
    golden: bool,
    max_memory: int | None,
    **rest: Any,
) -> int:
    """Compile SOURCE: a pipeline folder, a hub id, demo:stable-diffusion, or a .mindir file; with --config also one
    file of weights under original names (docs/checkpoints.md).

    A component that cannot be traced is left out and named; the others are written, and the exit code is 3. With
    --require failed==0 nothing is written then, and the exit code is 1. Where none can be traced there is nothing to
    count: nothing is written, and the exit code is 3 either way. --check asks about OUTPUT alone: one that was written
    without such a component, and would be so now, is up to date.
    """
    asked = WorkerOptions.taken(rest)
    shared = SourceOptions(**rest)
    if level not in ("sampled", "full"):
        asked.refuse("is for --verify sampled or full; drop it, or ask for one of them.")
    request = compile_request(
        shared,
        output=output,
        reporters=reporters,
        dry_run=dry_run,
        check=check,
        level=level,
        seed=seed,
        data=data,
        again=again,
        golden=golden,
        max_memory=max_memory,
    )
    with asked.helping(shared.cache_dir, shared.cache_key, say), at_most(max_memory):
        outcome, account = shared.measured(compiler.compile, request)
    code = report_outcome(outcome, shared)
    if dry_run:
        _say_needs(outcome.disk, account, Path() if output is None else output)
    if outcome.written:
        size = sum(found.bytes for found in (outcome.files or {}).values())
        say(f"wrote {output} ({counted(len(outcome.files or {}), 'file')}, {human_bytes(size)}).")
        if outcome.kept:
            say(f"{', '.join(outcome.kept)} stayed there as before.")
        if outcome.dropped:
            say(f"warning: {outcome.dropped}.")
    if check and not outcome.unmet:
        # What was left out is left out there too: a difference would have been raised.
        left = len(outcome.report.failed)
        say(f"{output} is up to date{f', without the {left} left out' if left else ''}.")
        return 0
    return code


def compile_request(
    shared: SourceOptions,
    *,
    output: Path | None,
    reporters: tuple[str, ...],
    dry_run: bool,
    check: bool,
    level: VerifyLevel,
    seed: int,
    data: Path | None,
    again: bool,
    golden: bool,
    max_memory: int | None,
) -> CompileRequest:
    """The request that the command's options come to. Raises UsageError where they contradict each other."""
    if dry_run and check:
        raise UsageError("--dry-run and --check exclude each other; drop one.")
    if output is None and not dry_run:
        raise UsageError("an output is needed: give -o OUTPUT, or --dry-run.")
    given = {"--again": again, "--max-memory": max_memory is not None, "--seed": seed != 0}
    if level == "none" and (unused := [flag for flag, is_given in given.items() if is_given]):
        raise UsageError(f"{unused[0]} is for --verify static, sampled or full; drop it, or ask for one of them.")
    return dataclasses.replace(
        shared.request(),
        output=None if dry_run else output,
        reporters=reporters,
        check=check,
        verify=level,
        seed=seed,
        data=data,
        again=again,
        golden=golden,
    )


def _say_needs(disk: int, account: Account, place: Path) -> None:
    """What a compile needs, as far as a dry run tells: it does all but write and verify."""
    free = free_bytes(place)
    room = "" if free is None else f" ({human_bytes(free)} free at {place.resolve()})"
    say(
        f"a compile writes {human_bytes(disk)}{room}; this took {account.seconds:.0f} s and at most "
        f"{human_bytes(account.peak)} in one process; writing, and --verify, come on top."
    )
    if free is not None and free < disk:
        say(f"warning: that is more than is free at {place.resolve()}: make room, or choose another output.")
