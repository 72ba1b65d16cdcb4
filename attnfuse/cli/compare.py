"""`attnfuse compare`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attnfuse.cli import exit_codes
from attnfuse.cli.console import say, stderr_console
from attnfuse.cli.destinations import check_apart
from attnfuse.cli.help import HelpfulCommand
from attnfuse.cli.log import log_stages, log_to
from attnfuse.cli.options import (
    PATH,
    dtype_of,
    fetch_of,
    json_option,
    log_options,
    progress_option,
    shape_options,
    shapes_of,
    trace_options,
    with_options,
)
from attnfuse.cli.pictures import (
    asked_of,
    backend_options,
    devices_of,
    negative_option,
    noise_options,
    picture_options,
)
from attnfuse.errors import UsageError
from attnfuse.lora.given import parse_lora
from attnfuse.lora.inversion import parse_inversion
from attnfuse.names import counted
from attnfuse.output import OutputStage, free_place
from attnfuse.output_verification import SourceRequest, Written, open_for, read_written
from attnfuse.pictures import BackendName, require_runtime
from attnfuse.progress import Silent
from attnfuse.report.model import ManifestComponent
from attnfuse.terminal import Account, LineProgress
from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tracing.fixed import CLIP_SKIP
from attnfuse.tracing.inputs import read_inputs
from attnfuse.verify import require_executor

if TYPE_CHECKING:
    from attnfuse.pictures.comparison import Apart, Comparison

DOCUMENT = "comparison.json"
_PROMPT = "a photo of an astronaut riding a horse"
_STEPS = 4


@click.command(
    "compare",
    cls=HelpfulCommand,
    examples=("attnfuse compare out --against ./stable-diffusion-v1-5 -o comparison",),
    codes=(3, 4, 70, 130),
)
@click.argument("folder", metavar="OUT", type=PATH)
@click.option(
    "--against",
    metavar="SOURCE",
    help="The pipeline that OUT was compiled from.  [default: the hub id or demo in its manifest]",
)
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    default=(_PROMPT,),
    show_default=True,
    metavar="TEXT",
    help="What to show (repeatable).",
)
@negative_option
@click.option("--steps", type=click.IntRange(1), default=_STEPS, show_default=True, help="Steps of the scheduler.")
@noise_options
@picture_options
@backend_options
@click.option(
    "--within",
    type=click.FloatRange(0, min_open=True),
    default=2.0,
    show_default=True,
    help="How many times as far from float64 as the source's own graphs the compiled ones may be.",
)
@click.option(
    "--reference/--no-reference", default=True, help="Run the source's graphs in float64 too, or leave --within out."
)
@click.option("--max-error", type=click.FloatRange(0), help="Largest relative error to the source's graphs.")
@click.option("--min-psnr", type=float, metavar="DB", help="Least PSNR of a picture.")
@click.option("--min-ssim", type=click.FloatRange(-1, 1), help="Least SSIM of a picture.")
@with_options(*shape_options, *trace_options)
@click.option("-o", "--output", type=PATH, help="New folder for the pictures, side by side too, and comparison.json.")
@json_option
@progress_option
@with_options(*log_options)
def compare_command(
    folder: Path,
    against: str | None,
    prompts: tuple[str, ...],
    backend: BackendName,
    device_texts: tuple[str, ...],
    within: float,
    reference: bool,
    max_error: float | None,
    min_psnr: float | None,
    min_ssim: float | None,
    output: Path | None,
    as_json: bool,
    progress: str,
    verbose: bool,
    log_file: Path | None,
    **options: Any,
) -> int:
    """Compare pictures of the graphs in OUT with those of the graphs of SOURCE: same prompt, noise and steps.

    SOURCE is traced again, and its graphs run unfused, on this machine's CPU. Sizes and types are those of OUT; options
    that are given come before. Exit code 4 where a figure cannot be had, or is beyond what was asked for (docs/run.md).
    """
    require_runtime("attnfuse compare", backend)
    require_executor("numbers")
    from attnfuse.pictures.comparison import CompareRequest, Thresholds, compare

    asked, devices = asked_of(prompts, options), devices_of(device_texts, backend)
    written = read_written(folder)
    recorded = against is None
    against = _recorded(written, folder) if against is None else against
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(log_to(verbose=verbose, file=log_file, apart=(folder, Path(against), output)))
        log.info("compare %s with %s, backend %s, %s", folder, against, backend, dataclasses.asdict(asked))
        stage = None
        if output is not None:
            for place in (folder, Path(against)):
                check_apart("folder of the comparison", output, place, None)
            stage = stack.enter_context(OutputStage(free_place(output)))
        request = CompareRequest(
            folder=folder,
            source=open_for(folder, _source(against, written, options)),
            asked=asked,
            inputs=written.manifest.inputs,
            thresholds=Thresholds(within if reference else None, max_error, min_psnr, min_ssim),
            backend=backend,
            devices=devices,
            reference=reference,
            must_be_same=recorded,
            told=partial(_told, log, silent=progress == "never"),
        )
        # Without bars: steps are told in lines between them.
        with contextlib.nullcontext(Silent()) if progress == "never" else LineProgress(stderr_console()) as watch:
            account = Account(watch, log.info)
            found = compare(request, account)
            account.end()
        _log(found, log)
        if stage is not None:
            _write(found, stage)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
    _say(found)
    cast = [entry.name for entry in written.report.components if entry.totals.casts]
    if cast and not found.passed:
        say(
            f"note: the policy casts attention of {', '.join(cast)} to a type that the source does not have: what that "
            "costs is held by --no-reference with --max-error or --min-psnr (docs/run.md)"
        )
    if output is not None:
        say(f"wrote {output}.")
    return 0 if found.passed else exit_codes.VERIFICATION


def _recorded(written: Written, folder: Path) -> str:
    """The hub id or the demo that the manifest tells of. Raises UsageError where that was a folder, or graphs."""
    pipeline = written.manifest.pipeline
    if pipeline is None or pipeline.source is None:
        raise UsageError(f"{folder} does not say where its pipeline lies; name it: --against SOURCE.")
    return pipeline.source


def _source(against: str, written: Written, options: dict[str, Any]) -> SourceRequest:
    """The source, to be traced as it was for the output as far as its manifest tells, or as the options say."""
    dtype = dtype_of(options)
    return SourceRequest(
        source=against,
        dtype=dtype,
        shapes=_shapes(written, shapes_of(options), dtype),
        given=() if options["inputs_file"] is None else read_inputs(options["inputs_file"]),
        loras=(*map(parse_lora, options["loras"]), *map(parse_inversion, options["inversions"])),
        fetch=fetch_of(options),
        cache=options["cache_dir"],
        cache_key=options["cache_key"],
        strict_config=options["strict_config"],
        trace=options["trace"],
    )


_TOLD = ("guidance_rows", "timestep_dtype", CLIP_SKIP)
"""What of the shapes and types is told of a component by what it has fixed."""


def _shapes(written: Written, given: ShapeOptions, dtype: str | None = None) -> ShapeOptions:
    """What is given, and what the manifest tells of the rest: of types, where none is."""
    components = {component.name: component for component in written.manifest.components}
    found: dict[str, Any] = {}
    if dtype is None and not given.dtypes:
        sizes = () if written.manifest.pipeline is None else written.manifest.pipeline.sizes
        of_others = {name for size in sizes for first, name in size.components.items() if name != first}
        types = ((name, one.dtype) for name, one in components.items() if name not in of_others)
        given = replace(given, dtypes=tuple((name, dtype) for name, dtype in types if dtype is not None))
    if (decoder := components.get("vae_decoder")) is not None and -1 not in decoder.inputs[0].shape:
        found["batch"] = decoder.inputs[0].shape[0]
        *frames, height, width = decoder.outputs[0].shape[2:]
        found |= {"height": height, "width": width}
        # Qwen-Image decodes a film of one frame, and has no frames to ask for.
        found |= {"frames": frames[0]} if frames and frames[0] > 1 else {}
    fixed = [one for component in components.values() for one in component.fixed]
    told = {name: {one.value for one in fixed if one.name == name} for name in _TOLD}
    if len(told["guidance_rows"]) == 1:
        found["guidance"] = told["guidance_rows"] != {1}
    if len(told["timestep_dtype"]) == 1:
        (found["timestep_dtype"],) = told["timestep_dtype"]
    if len(skipped := told[CLIP_SKIP] - {None}) == 1:
        (found["clip_skip"],) = skipped
    own = {name: value for name, value in found.items() if getattr(given, name) is None}
    return replace(given, **own, sequence_lengths=given.sequence_lengths or _longer(components.values()))


def _longer(components: Iterable[ManifestComponent]) -> tuple[tuple[str, int], ...]:
    """The components that were compiled for several chunks of a text encoder's length: their names, and tokens."""
    sizes = {(one.name, spec.name): spec.shape for one in components for spec in one.inputs if len(spec.shape) > 1}
    lengths = {shape[1] for (_, name), shape in sizes.items() if name == "input_ids"}
    if len(lengths) != 1:
        return ()
    (length,) = lengths
    states = {of: shape[1] for (of, name), shape in sizes.items() if name == "encoder_hidden_states"}
    return tuple((of, tokens) for of, tokens in states.items() if tokens > length and tokens % length == 0)


def _told(log: logging.Logger, whose: str, done: int, total: int, *, silent: bool) -> None:
    text = f"{whose}: step {done} of {total}"
    log.debug("%s", text)
    if not silent:
        say(text)


def _log(found: Comparison, log: logging.Logger) -> None:
    """What each side's stages took, and the figures of every run of every component."""
    for whose, ran in (("compiled", found.compiled), ("unfused", found.unfused), ("float64", found.exact)):
        if ran is not None:
            log_stages(log, f"{whose}: ", ran.found.milliseconds)
    for one in (*found.stages, *found.steps):
        log.info("%s, %d: %s", one.what, one.number + 1, _figures([one]))


def _write(found: Comparison, stage: OutputStage) -> None:
    """Write the pictures and the document, all or none."""
    from attnfuse.pictures.running import encoded, numbered

    pictures = {
        "picture.png": found.compiled.found.images,
        "unfused.png": found.unfused.found.images,
        "side_by_side.png": found.side_by_side(),
    }
    for name, images in pictures.items():
        for file, image in zip(numbered(Path(name), len(images)), images, strict=True):
            stage.write(file.name, [encoded(image, file)])
    stage.write(DOCUMENT, [(json.dumps(found.to_json(), indent=1, ensure_ascii=False) + "\n").encode()])
    stage.publish()


def _say(found: Comparison) -> None:
    """The worst of each output and all steps and pictures, then what is wrong."""
    outputs: dict[str, list[Apart]] = {}
    for one in found.stages:
        outputs.setdefault(one.what, []).append(one)
    for what, several in outputs.items():
        say(f"{what}, worst of {counted(len(several), 'run')}: {_figures(several)}")
    for one in found.steps:
        say(f"latents after step {one.number + 1}: {_figures([one])}")
    for number, picture in enumerate(found.pictures):
        ratio = "none" if picture.psnr is None else f"{picture.psnr:.1f} dB"
        alike = "none" if picture.ssim is None else f"{picture.ssim:.4f}"
        say(f"picture {number + 1}: PSNR {ratio}, SSIM {alike}")
    for note in found.notes:
        say(f"note: {note}")
    for finding in found.findings:
        say(f"DIFFERS: {finding}")
    if found.backend == "cpu":
        say("not verified: no graph was run on a device")


def _figures(several: Sequence[Apart]) -> str:
    known = [one for one in several if one.figures is not None]
    if len(known) < len(several) or not known:
        return "cannot be compared"
    worst = max(known, key=lambda one: one.figures.relative if one.figures else 0)
    assert worst.figures is not None
    said = f"relative error {worst.figures.relative:.2e}, largest {worst.figures.max_abs:.2e}"
    if worst.fused is None or worst.own is None:
        return said
    return f"{said}; to float64 {worst.fused:.2e}, the source's own {worst.own:.2e}"
