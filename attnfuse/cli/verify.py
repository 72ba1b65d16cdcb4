"""`attnfuse verify`."""

from __future__ import annotations

import json
import tempfile
from contextlib import nullcontext
from pathlib import Path

import click

from attnfuse import plugins, verify
from attnfuse.cli import exit_codes
from attnfuse.cli.console import say, say_lines
from attnfuse.cli.destinations import check_apart, check_writable
from attnfuse.cli.options import PATH, max_memory
from attnfuse.cli.outcome import say_verification, write_report
from attnfuse.errors import UsageError
from attnfuse.names import counted
from attnfuse.report.table import human_bytes
from attnfuse.verify import LEVELS, Level, Verification, check_certificate, verify_component
from attnfuse.verify.limits import at_most
from attnfuse.verify.profile import recording
from attnfuse.verify.watch import watched


@click.command("verify")
@click.argument("original", type=PATH, required=False)
@click.argument("fused", type=PATH, required=False)
@click.option("--certificate", type=PATH, help="Check the files against its digests; run nothing.")
@click.option("--level", type=click.Choice(LEVELS), default="full", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the inputs that are drawn.")
@click.option("--data", type=PATH, help="Inputs to run on in place of drawn ones: an .npz file, or a folder of them.")
@click.option("--measure-memory", is_flag=True, help="Measure the peak memory of both graphs in onnxruntime instead.")
@click.option("--profile", "profiled", type=PATH, help="Write what it costs, by stage and operator, to a JSON file.")
@max_memory
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON on stdout.")
def verify_command(
    original: Path | None,
    fused: Path | None,
    certificate: Path | None,
    level: Level,
    seed: int,
    data: Path | None,
    measure_memory: bool,
    profiled: Path | None,
    max_memory: int | None,
    as_json: bool,
) -> int:
    """Check that the graph FUSED (.mindir) computes what ORIGINAL (.mindir) computes; exit 4 where it does not.

    With --certificate FILE (a verification.json), check that the files are still those that were verified: both graphs
    and their weights, or, without ORIGINAL and FUSED, the compiled ones beside FILE.

    Inputs are drawn, or those of --data: arrays by the names that the manifest gives the graph's inputs, one set a file
    (docs/verification-inputs.md).
    """
    if certificate is not None and (original is None) == (fused is None):
        checked = check_certificate(certificate, original, fused)
        say(f"unchanged since {certificate} was written: {counted(checked, 'file')}.")
        return 0
    if original is None or fused is None:
        raise UsageError("two graphs are needed: attnfuse verify ORIGINAL FUSED.")
    if profiled is not None:
        check_apart("profile", profiled, original, fused)
        check_writable(profiled)
    plugins.load()  # the operators that they add
    if data is not None and level == "static":
        raise UsageError("--data feeds level full; drop it or --level static.")
    files = () if data is None else verify.data_files(data, [fused.stem])[fused.stem]
    if measure_memory:
        if len(files) > 1:
            raise UsageError(
                f"--data {data} holds {len(files)} sets of inputs; memory is measured on one: name a file."
            )
        figures = verify.measure_memory(original, fused, seed, *files)
        if as_json:
            click.echo(json.dumps(figures, indent=1))
        for name, value in figures.items():
            say(f"{name.replace('_', ' ')}: {human_bytes(value) if '_bytes' in name else value}")
        return 0
    with (
        tempfile.TemporaryDirectory(prefix="attnfuse-", ignore_cleanup_errors=True) as work,
        at_most(max_memory),
        watched(say),
        recording() if profiled is not None else nullcontext() as costs,
    ):
        result = verify_component(
            name=fused.stem, original=original, fused=fused, level=level, seed=seed, work=Path(work), data=files
        )
    if profiled is not None and costs is not None:
        write_report(profiled, json.dumps(costs.to_json(), indent=1))
        say_lines("\n".join(costs.table()))
    verification = Verification((result,))
    if as_json:
        click.echo(json.dumps(verification.to_json(), indent=1, ensure_ascii=False))
    say_verification(verification)
    return 0 if verification.passed else exit_codes.VERIFICATION
