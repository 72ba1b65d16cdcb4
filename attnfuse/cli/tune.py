"""`attnfuse tune`."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from attnfuse import plugins, verify
from attnfuse.cli.console import say, shown
from attnfuse.cli.destinations import check_apart, check_writable
from attnfuse.cli.help import HelpfulCommand
from attnfuse.cli.log import log_to, told
from attnfuse.cli.options import (
    PATH,
    component_option,
    json_option,
    log_options,
    max_memory,
    progress_option,
    shape_options,
    target_options,
    trace_options,
    with_options,
)
from attnfuse.cli.request import request_at_one_batch
from attnfuse.cli.workers import WorkerOptions, worker_options
from attnfuse.compiler import CompileRequest
from attnfuse.errors import OutputError, UsageError
from attnfuse.lora.given import parse_lora
from attnfuse.lora.inversion import parse_inversion
from attnfuse.names import counted
from attnfuse.output import write_file
from attnfuse.policy import Policy, read_policy
from attnfuse.report.units import human_seconds
from attnfuse.terminal import Account
from attnfuse.tuning.result import FIRST, Tuning
from attnfuse.verify.limits import at_most
from attnfuse.verify.watch import watched

_TARGET = target_options[:2]
"""--runtime and --soc: rules are what is looked for, beside those of --policy, which has options of passes too."""


def _budget(value: str) -> float:
    """A relative error: more than 0."""
    try:
        budget = float(value)
    except ValueError:
        budget = math.nan
    if not 0 < budget < math.inf:
        raise click.BadParameter(f"{value!r} is no relative error; give a number above 0, such as 1e-3.")
    return budget


@click.command(
    "tune",
    cls=HelpfulCommand,
    examples=(
        "attnfuse tune unet.mindir --budget 1e-3 -o policy.toml",
        "attnfuse tune ./stable-diffusion-v1-5 --component unet --dtype float32 --budget 1e-3 --data recorded",
    ),
    codes=(1, 3, 4, 70, 130),
)
@click.argument("source")
@click.option(
    "--budget", type=_budget, required=True, metavar="ERROR", help="Largest relative error to float64, end to end."
)
@click.option(
    "-o", "--output", type=PATH, default="policy.toml", show_default=True, help="Policy file to write (TOML)."
)
@click.option("--policy", "policy_file", type=PATH, help="Policy (TOML) whose rules stay: only the rest is chosen.")
@click.option(
    "--data",
    type=PATH,
    help="Inputs to measure on in place of drawn ones, as of compile: what run --record kept, for one.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all that is drawn.")
@max_memory
@json_option
@progress_option
@with_options(*log_options, component_option, *shape_options, *_TARGET, *trace_options)
@with_options(*worker_options("measure"))
def tune_command(
    source: str,
    budget: float,
    output: Path,
    data: Path | None,
    seed: int,
    max_memory: int | None,
    as_json: bool,
    progress: str,
    verbose: bool,
    log_file: Path | None,
    **options: Any,
) -> int:
    """Find the cheapest policy whose error keeps the budget, measured end to end against float64.

    Each attention is fused or keeps its formula, in high or fast precision, in float16 or bfloat16 where it is float32:
    what is cheapest by the estimate and keeps the budget. The policy is written with the figures in comments, for
    attnfuse compile --policy; rules of a --policy that is given here stay, and are in it. Exit 1 where nothing keeps
    the budget. With --cache-dir what was measured is kept, and a run that was stopped goes on where it was
    (docs/tuning.md). Workers measure what is independent side by side, with the same result.
    """
    verify.require_executor("numbers")
    plugins.load()  # the operators that they add
    asked = WorkerOptions.taken(options)
    request = _request(source, options)
    _check_output(output, Path(source), options["policy_file"])
    with (
        log_to(verbose=verbose, file=log_file, apart=(Path(source), output, options["policy_file"])) as log,
        shown(silent=progress == "never") as shower,
    ):
        log.info("tune %s: budget %g, seed %d", source, budget, seed)
        tell = told(log, say if progress == "auto" else _silent)
        account = Account(shower, log.info)
        with (
            asked.helping(request.cache, request.cache_key, told(log, say)),
            at_most(max_memory),
            watched(tell, "tuning"),
        ):
            tuning = _tune(request, budget, seed, data, tell, account)
        account.end()
    write_file(output.resolve(), tuning.to_toml().encode())
    if as_json:
        click.echo(json.dumps(tuning.to_json(), indent=1, ensure_ascii=False))
    _say(tuning, output)
    return 0


def _request(source: str, options: Mapping[str, Any]) -> CompileRequest:
    """What `compile` would be asked for with these options."""
    rules = options["policy_file"]
    request = request_at_one_batch(
        source,
        options,
        Policy() if rules is None else read_policy(rules),
        "a graph for any batch has no estimate to tune by; drop --dynamic, and tune at one batch.",
    )
    return replace(
        request,
        loras=(*map(parse_lora, options["loras"]), *map(parse_inversion, options["inversions"])),
        cache=options["cache_dir"],
        cache_key=options["cache_key"],
        strict_config=options["strict_config"],
        trace=options["trace"],
    )


def _tune(
    request: CompileRequest, budget: float, seed: int, data: Path | None, tell: Callable[[str], None], account: Account
) -> Tuning:
    from attnfuse.tuning.jobs import tune_source  # onnxruntime

    return tune_source(request, budget=budget, seed=seed, data=data, tell=tell, progress=account)


def _check_output(output: Path, source: Path, base: Path | None) -> None:
    """Raise UsageError, before the long work, where a file would be written over that is none of ours."""
    check_apart("policy", output, source, base)
    check_writable(output, "policy")
    try:
        with output.open(encoding="utf-8", errors="replace") as file:
            is_ours = file.read(len(FIRST)) == FIRST
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"the policy {output} cannot be written: {error.strerror or error}.") from None
    if not is_ours:
        raise UsageError(f"{output} exists and was not written by attnfuse tune; name another file with -o.")


def _say(tuning: Tuning, output: Path) -> None:
    """What was found of each component."""
    for component in tuning.components:
        uniform = component.cheapest(tuning.budget)
        beside = (
            "no policy for all sites keeps the budget"
            if uniform is None
            else f"the cheapest policy for all sites, {uniform.policy}: {human_seconds(uniform.seconds)}"
        )
        say(
            f"{component.name}: off by {component.error:.2e} of {tuning.budget:.2e}, estimated at "
            f"{human_seconds(component.seconds)}; {beside}."
        )
        if component.drawn_weights:
            say(
                f"warning: {component.name}: {component.drawn_weights} of {counted(component.weights, 'weight')} have "
                "no values and were drawn: the figures are not those of the model."
            )
    say(f"wrote {output}: attnfuse compile SOURCE --policy {shlex.quote(str(output))} compiles by it.")


def _silent(_: str) -> None:
    """For --progress never."""
