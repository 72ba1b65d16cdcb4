"""`attnfuse reduce`."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from attnfuse import compiler, plugins
from attnfuse.cli import exit_codes
from attnfuse.cli.console import say
from attnfuse.cli.help import HelpfulCommand
from attnfuse.cli.log import log_to, told
from attnfuse.cli.options import (
    PATH,
    component_option,
    json_option,
    log_options,
    progress_option,
    shape_options,
    target_options,
    with_options,
)
from attnfuse.cli.request import policy_of, request_at_one_batch
from attnfuse.compiler import CompileRequest
from attnfuse.errors import UsageError
from attnfuse.names import counted
from attnfuse.output import OutputStage, free_place
from attnfuse.progress import Silent
from attnfuse.reduction import jobs
from attnfuse.reduction.commands import Command
from attnfuse.reduction.errors import Compile
from attnfuse.reduction.jobs import Job, Values
from attnfuse.reduction.result import Reduction, Weights, write
from attnfuse.source_files import SUFFIX


@click.command(
    "reduce",
    cls=HelpfulCommand,
    examples=(
        "attnfuse reduce unet.mindir out/unet.mindir",
        'attnfuse reduce unet.mindir --while "./my-check {}" -o reduced',
    ),
    codes=(1, 3, 70, 130),
)
@click.argument("source")
@click.argument("out", type=PATH, required=False)
@click.option(
    "--while", "command", metavar="COMMAND", help="Look for what this command refuses; {} is the graph's path."
)
@click.option("-o", "--output", type=PATH, default="reduced", show_default=True, help="Folder for the result.")
@click.option(
    "--weights", type=click.Choice(["none", "drawn"]), help="Values of weights.  [default: none; drawn with --while]"
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all that is drawn.")
@click.option("--keep-best", is_flag=True, help="Write the smallest graph so far where the search is interrupted.")
@json_option
@progress_option
@with_options(*log_options, component_option, *shape_options, *target_options)
def reduce_command(
    source: str,
    out: Path | None,
    command: str | None,
    output: Path,
    weights: Weights | None,
    seed: int,
    keep_best: bool,
    as_json: bool,
    progress: str,
    verbose: bool,
    log_file: Path | None,
    **options: Any,
) -> int:
    """Find the smallest part of SOURCE that still shows what is wrong, to be reported without its weights.

    With OUT (.mindir, the compiled graph), where the two differ. With --while COMMAND, what the command still refuses
    with the same exit code. Else, what the passes still end in the same error on. Exit 1 where nothing is wrong
    (docs/reduce.md).
    """
    values = Values(weights or ("none" if command is None else "drawn"), seed)
    target = free_place(output)
    plugins.load()  # the operators that they add
    # The stage is made before the long work: a place that cannot be written is told at once.
    with log_to(verbose=verbose, file=log_file, apart=(Path(source), out, output)) as log, OutputStage(target) as stage:
        log.info("reduce %s: %s", source, command or (f"its difference to {out}" if out is not None else "its error"))
        tell = told(log, say if progress == "auto" else _silent)
        if out is not None:
            job = _difference(source, out, command, weights, seed, stage.work, tell)
        else:
            job = _of_one(source, command, values, stage.work, tell, options)
        finish = partial(_finish, stage=stage, output=output, log=log, as_json=as_json)
        try:
            job.run()
        except (KeyboardInterrupt, SystemExit) as interrupted:
            if not keep_best:
                raise
            say("interrupted; the smallest graph so far is kept.")
            finish(job.found(finished=False))
            if isinstance(interrupted, SystemExit):
                raise
            return exit_codes.INTERRUPTED
        finish(job.found())
    return 0


def _difference(
    source: str,
    out: Path,
    command: str | None,
    weights: Weights | None,
    seed: int,
    work: Path,
    tell: Callable[[str], None],
) -> Job:
    original = Path(source)
    if command is not None:
        raise UsageError("--while asks about one graph; drop it, or OUT.")
    if weights == "drawn":
        raise UsageError(
            "two graphs that differ are written without weights, which verification draws; drop --weights."
        )
    if original.suffix != SUFFIX:
        raise UsageError(f"{source} is no {SUFFIX} file; OUT is compared with the graph that it was compiled from.")
    if out.is_dir():
        out = out / original.name
    return jobs.difference(original, out, seed, work, tell)


def _of_one(
    source: str, command: str | None, values: Values, work: Path, tell: Callable[[str], None], options: dict[str, Any]
) -> Job:
    refusing = None if command is None else Command(command)
    request = _request(source, options)
    with compiler.loaded(request, work, Silent()) as loaded:
        if refusing is not None:
            return jobs.refusal(loaded.components, refusing, values, work, tell)
        compiles = (Compile(one, request.policy, request.target, loaded.passes) for one in loaded.components)
        return jobs.error(compiles, values, partial(_again, options), tell)


def _request(source: str, options: dict[str, Any]) -> CompileRequest:
    """What `compile` would be asked for with these options."""
    rules = (options["policy_file"], options["force_cast_dtype"], options["no_flash"], options["pass_options"])
    return request_at_one_batch(
        source,
        options,
        policy_of(*rules),
        "a graph for any batch is put together from several, and one is reduced; drop --dynamic.",
    )


def _again(options: dict[str, Any], name: str) -> str:
    """The command that ends in the error on the reduced graph of a component."""
    words = ["attnfuse", "inspect", f"{name}{SUFFIX}", "--runtime", options["runtime"], "--soc", options["soc"]]
    if options["policy_file"] is not None:
        words += ["--policy", options["policy_file"].name]
    if options["force_cast_dtype"] is not None:
        words += ["--force-cast-dtype", options["force_cast_dtype"]]
    words += [word for glob in options["no_flash"] for word in ("--no-flash", glob)]
    words += [word for setting in options["pass_options"] for word in ("--pass", setting)]
    return shlex.join(words)


def _finish(found: Reduction, *, stage: OutputStage, output: Path, log: logging.Logger, as_json: bool) -> None:
    """Write what was found, and say what it is."""
    write(found, stage)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
    left = ", ".join(f"{name} {count}" for name, count in found.nodes.items())
    for text in found.said:
        log.info("%s: %s", found.kind, text)
    say(f"{found.kind}: {found.said[0] if found.said else ''}")
    say(f"of {counted(found.whole, 'node')} are left: {left} ({counted(found.tried, 'graph')} tried).")
    log.debug("of %d nodes are left: %s; %d graphs tried", found.whole, left, found.tried)
    say(f"written to {output}; to see it there: {found.again}")


def _silent(_: str) -> None:
    """For --progress never."""
