"""`attnfuse verify`."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import click

from attnfuse import plugins, verify
from attnfuse.cli import exit_codes
from attnfuse.cli.console import say, say_lines, shown
from attnfuse.cli.destinations import check_apart, check_writable
from attnfuse.cli.help import HelpfulCommand
from attnfuse.cli.log import log_to, log_verification, told
from attnfuse.cli.options import (
    PATH,
    SHAPES,
    component_option,
    dtype_of,
    fetch_of,
    json_option,
    log_options,
    max_memory,
    progress_option,
    refuse_given,
    shape_options,
    shapes_of,
    trace_options,
    with_options,
)
from attnfuse.cli.outcome import code_of, say_verification, write_report
from attnfuse.cli.sizes import size_option, sizes_of
from attnfuse.cli.workers import OF_WORKERS, WorkerOptions, worker_options
from attnfuse.errors import OutputError, UsageError
from attnfuse.lora.given import parse_lora
from attnfuse.lora.inversion import parse_inversion
from attnfuse.names import counted
from attnfuse.output_verification import SourceRequest, Verified, VerifyRequest, asked_beside, open_for, verify_output
from attnfuse.report.units import human_bytes
from attnfuse.terminal import Account
from attnfuse.tracing.inputs import read_inputs
from attnfuse.verify import LEVELS, ComponentVerification, Level, Verification, check_certificate, verify_component
from attnfuse.verify.limits import at_most
from attnfuse.verify.profile import recording
from attnfuse.verify.watch import watched

# What of the options, as the command's parameters are called, says how a source is traced.
_OF_SOURCE = (
    *SHAPES,
    "sizes",
    "inputs_file",
    "loras",
    "inversions",
    "config",
    "vae",
    "ip_adapter",
    "variant",
    "revision",
    "subfolder",
    "offline",
    "strict_config",
    "trace",
    "cache_dir",
    "cache_key",
)
_OF_OUTPUT = (*_OF_SOURCE, "components", "again")
_OF_RUN = (*_OF_OUTPUT, "level", "seed", "data", "profiled", "max_memory", "measure_memory", "as_json", *OF_WORKERS)


@click.command(
    "verify",
    cls=HelpfulCommand,
    examples=(
        "attnfuse verify ./stable-diffusion-v1-5 out",
        "attnfuse verify out",
        "attnfuse verify unet.mindir out/unet.mindir --level sampled",
    ),
    codes=(3, 4, 5, 70, 130),
)
@click.argument("original", metavar="[SOURCE]", required=False)
@click.argument("fused", metavar="[OUT]", type=PATH, required=False)
@click.option("--certificate", type=PATH, help="Check the files against its digests; run nothing.")
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default="full",
    show_default=True,
    help="MindSpore's inference alone, or numbers too: of one of several equal blocks, or of all.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the inputs that are drawn.")
@click.option("--data", type=PATH, help="Inputs to run on in place of drawn ones, as of compile.")
@click.option("--again", is_flag=True, help="Verify also what the certificate of OUT tells of the same files.")
@with_options(component_option, *shape_options, size_option, *trace_options)
@click.option("--measure-memory", is_flag=True, help="Measure the peak memory of both graphs in onnxruntime instead.")
@click.option("--profile", "profiled", type=PATH, help="Write what it costs, by stage and operator, to a JSON file.")
@max_memory
@with_options(*worker_options("run what stands alone"))
@json_option
@progress_option
@with_options(*log_options)
@click.pass_context
def verify_command(
    context: click.Context,
    /,
    original: str | None,
    fused: Path | None,
    certificate: Path | None,
    verbose: bool,
    log_file: Path | None,
    **options: Any,
) -> int:
    """Verify what compile wrote to OUT against its SOURCE, or OUT by itself; or one graph (.mindir) against another.

    Exit code 4 where something differs, 5 where nothing does and not all could be verified.

    SOURCE is traced again, as compile does it: options for shapes and types are to be given again. What was verified
    is kept in the certificate of OUT (verification.json), and not verified again where nothing changed. OUT by itself
    is held to its digests, its own rules and MindSpore's inference; of its numbers is known what the certificate tells.

    With --certificate FILE (a verification.json), check that the files are still those that were verified: both graphs
    and their weights, or, without graphs, the compiled ones beside FILE.

    Inputs are drawn, or those of --data: arrays by the names that the manifest gives the graph's inputs, one set a file
    (docs/verification-inputs.md).
    """
    first = None if original is None else Path(original)
    if certificate is not None and (first is None) == (fused is None):
        refuse_given(context, _OF_RUN, "is for a verification, and --certificate runs nothing; drop it.")
        return _check(certificate, first, fused)
    if original is None or certificate is not None:
        raise UsageError("name an output (attnfuse verify OUT), a source and its output, or two graphs.")
    with log_to(verbose=verbose, file=log_file, apart=(first, fused)) as log:
        return _verified(context, log, original, fused, **options)


def _verified(
    context: click.Context,
    log: logging.Logger,
    original: str,
    fused: Path | None,
    *,
    level: Level,
    seed: int,
    data: Path | None,
    measure_memory: bool,
    profiled: Path | None,
    max_memory: int | None,
    as_json: bool,
    **rest: Any,
) -> int:
    asked, cache = WorkerOptions.taken(rest), (rest["cache_dir"], rest["cache_key"])
    if level == "static":
        asked.refuse("is for --level full or sampled; drop one.")
    if profiled is not None:
        asked.refuse("has others run what --profile tells of; drop one.")
    first = Path(original)
    told_of = f"{original} by itself" if fused is None else f"{fused} against {original}"
    log.info("verify %s, level %s, seed %d", told_of, level, seed)
    if profiled is not None:
        check_apart("profile", profiled, first, fused)
        check_writable(profiled)
    plugins.load()  # the operators that they add
    if data is not None and level == "static":
        raise UsageError("--data feeds level full, or sampled; drop it or --level static.")
    if fused is not None and not fused.is_dir():
        of_cache = ("cache_dir", "cache_key") if asked.are_asked_for else ()
        of_output = [name for name in _OF_OUTPUT if name not in of_cache]
        refuse_given(context, of_output, "is for attnfuse verify SOURCE OUT, and these are two graphs; drop it.")
        files = () if data is None else verify.data_files(data, [fused.stem])[fused.stem]
        if measure_memory:
            of_numbers = ("level", "profiled", "max_memory", *OF_WORKERS)
            refuse_given(context, of_numbers, "is for a verification, and --measure-memory only measures; drop one.")
            return _measure(first, fused, seed, files, as_json=as_json)
        with asked.helping(*cache, told(log, say)), _accounted(profiled, max_memory), watched(told(log, say)):
            result = _two_graphs(first, fused, level, seed, files)
        return _say(Verification((result,)), log, as_json=as_json)
    if measure_memory:
        raise UsageError("--measure-memory runs two graphs: attnfuse verify ORIGINAL FUSED --measure-memory.")
    if fused is None and data is not None:
        raise UsageError("--data is for the runs of source and output: attnfuse verify SOURCE OUT.")
    if fused is None:
        unused = (*_OF_SOURCE, "seed", *OF_WORKERS)
        refuse_given(context, unused, "is for attnfuse verify SOURCE OUT, and no source is named; drop it.")
    output = first if fused is None else fused
    request = VerifyRequest(
        output=output,
        source=None if fused is None else open_for(output, _source(original, rest)),
        components=rest["components"],
        level=level,
        seed=seed,
        data=data,
        again=rest["again"],
    )
    with asked.helping(*cache, told(log, say)), _accounted(profiled, max_memory):
        found = _output(request, log, shows_progress=rest["progress"] != "never")
    for name in found.kept:
        say(f"{name}: not verified again: the certificate is of the same files")
    for remark in found.remarks:
        say(f"warning: {remark}")
    if found.unwritten:
        say(f"warning: the certificate {found.unwritten}; the next verification does all of it again.")
    return _say(found.verification, log, as_json=as_json)


@contextmanager
def _accounted(profiled: Path | None, max_memory: int | None) -> Iterator[None]:
    """Do with that much memory in the block, and write what it cost to a file, where that is asked for.

    What ends before its end is what a profile is asked for, too: the file tells of it so far.
    """
    with at_most(max_memory), recording() if profiled is not None else nullcontext() as costs:
        try:
            yield
        except BaseException:
            if profiled is not None and costs is not None:
                with suppress(OutputError):  # the error that is on its way is the one to be told
                    write_report(profiled, json.dumps(costs.to_json(), indent=1))
                    say(f"the profile {profiled} tells of what was run until here")
            raise
    if profiled is not None and costs is not None:
        write_report(profiled, json.dumps(costs.to_json(), indent=1))
        if not costs.stages:
            say(f"the profile {profiled} is empty, as nothing was run: --again verifies what a certificate tells, too.")
            return
        say_lines("\n".join(costs.table()))


def _check(certificate: Path, original: Path | None, fused: Path | None) -> int:
    for graph in (original, fused):
        if graph is not None and graph.is_dir():
            raise UsageError(f"{graph} is a folder, and --certificate is held to two graphs; name the .mindir in it.")
    held = check_certificate(certificate, original, fused)
    say(f"unchanged since {certificate} was written: {counted(held.files, 'file')}.")
    for text in held.not_verified:
        say(f"NOT VERIFIED then: {text}")
    return exit_codes.PARTLY_VERIFIED if held.not_verified else 0


def _measure(original: Path, fused: Path, seed: int, files: tuple[Path, ...], *, as_json: bool) -> int:
    if len(files) > 1:
        raise UsageError(
            f"--data {files[0].parent} holds {len(files)} sets of inputs; memory is measured on one: name a file."
        )
    figures = verify.measure_memory(original, fused, seed, *files)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
    for name, value in figures.items():
        say(f"{name.replace('_', ' ')}: {human_bytes(value) if '_bytes' in name else value}")
    return 0


def _two_graphs(original: Path, fused: Path, level: Level, seed: int, files: tuple[Path, ...]) -> ComponentVerification:
    """By the policy that FUSED was compiled with, where it lies in an output of ours."""
    asked = asked_beside(fused)
    with tempfile.TemporaryDirectory(prefix="attnfuse-", ignore_cleanup_errors=True) as work:
        return verify_component(
            name=fused.stem,
            original=original,
            fused=fused,
            level=level,
            seed=seed,
            work=Path(work),
            compute=asked.compute,
            data=files,
            never_fully_masked=asked.never_fully_masked,
        )


def _source(source: str, rest: dict[str, Any]) -> SourceRequest:
    shapes, sizes = sizes_of(rest["sizes"], shapes_of(rest))
    return SourceRequest(
        source=source,
        components=rest["components"],
        dtype=dtype_of(rest),
        shapes=shapes,
        sizes=sizes,
        given=() if rest["inputs_file"] is None else read_inputs(rest["inputs_file"]),
        loras=(*map(parse_lora, rest["loras"]), *map(parse_inversion, rest["inversions"])),
        fetch=fetch_of(rest),
        cache=rest["cache_dir"],
        cache_key=rest["cache_key"],
        strict_config=rest["strict_config"],
        trace=rest["trace"],
    )


def _output(request: VerifyRequest, log: logging.Logger, *, shows_progress: bool) -> Verified:
    with shown(silent=not shows_progress) as progress:
        account = Account(progress, log.info)
        found = verify_output(request, account)
        account.end()
    return found


def _say(verification: Verification, log: logging.Logger, *, as_json: bool) -> int:
    log_verification(log, verification)
    if as_json:
        click.echo(json.dumps(verification.to_json(), indent=1, ensure_ascii=False))
    say_verification(verification)
    return code_of(verification)
