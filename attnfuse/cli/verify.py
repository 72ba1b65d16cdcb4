"""`attnfuse verify`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Literal

import click

from attnfuse import plugins, verify
from attnfuse.cli import exit_codes
from attnfuse.cli.console import say
from attnfuse.cli.options import PATH
from attnfuse.cli.outcome import code_of, say_verification
from attnfuse.errors import UsageError
from attnfuse.names import counted
from attnfuse.report.table import human_bytes
from attnfuse.verify import Verification, check_certificate, verify_component


@click.command("verify")
@click.argument("original", type=PATH, required=False)
@click.argument("fused", type=PATH, required=False)
@click.option("--certificate", type=PATH, help="Check the files against its digests; run nothing.")
@click.option("--level", type=click.Choice(["static", "full"]), default="full", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the inputs that are drawn.")
@click.option("--data", type=PATH, help="Inputs to run on in place of drawn ones: an .npz file, or a folder of them.")
@click.option("--measure-memory", is_flag=True, help="Measure the peak memory of both graphs in onnxruntime instead.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON on stdout.")
def verify_command(
    original: Path | None,
    fused: Path | None,
    certificate: Path | None,
    level: Literal["static", "full"],
    seed: int,
    data: Path | None,
    measure_memory: bool,
    as_json: bool,
) -> int:
    """Check that the graph FUSED (.mindir) computes what ORIGINAL (.mindir) computes; exit 4 where it does not.

    With --certificate FILE (a verification.json), check that the files are still those that were verified: both graphs
    and their weights, or, without ORIGINAL and FUSED, the compiled ones beside FILE.

    Inputs are drawn, or those of --data: arrays by the names that the manifest gives the graph's inputs, one set a file
    (docs/verification-inputs.md).
    """
    if certificate is not None and (original is None) == (fused is None):
        held = check_certificate(certificate, original, fused)
        say(f"unchanged since {certificate} was written: {counted(held.files, 'file')}.")
        for text in held.not_verified:
            say(f"NOT VERIFIED then: {text}")
        return exit_codes.PARTLY_VERIFIED if held.not_verified else 0
    if original is None or fused is None:
        raise UsageError("two graphs are needed: attnfuse verify ORIGINAL FUSED.")
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
    with tempfile.TemporaryDirectory(prefix="attnfuse-", ignore_cleanup_errors=True) as work:
        result = verify_component(
            name=fused.stem, original=original, fused=fused, level=level, seed=seed, work=Path(work), data=files
        )
    verification = Verification((result,))
    if as_json:
        click.echo(json.dumps(verification.to_json(), indent=1, ensure_ascii=False))
    say_verification(verification)
    return code_of(verification)
