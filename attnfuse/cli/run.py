"""`attnfuse run`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attnfuse.cli.console import say
from attnfuse.cli.destinations import check_apart, check_writable
from attnfuse.cli.help import HelpfulCommand
from attnfuse.cli.log import log_stages, log_to
from attnfuse.cli.options import PATH, json_option, log_options, progress_option, with_options
from attnfuse.cli.pictures import (
    asked_of,
    backend_options,
    devices_of,
    negative_option,
    noise_options,
    picture_options,
    steps_option,
    told_steps,
)
from attnfuse.errors import UsageError
from attnfuse.names import counted
from attnfuse.output import OutputStage, free_place, write_file
from attnfuse.pictures import BackendName, require_runtime

if TYPE_CHECKING:
    from attnfuse.pictures.running import Stepped


def _size(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    found = None if value is None else re.fullmatch(r"([1-9]\d{0,8})[x×]([1-9]\d{0,8})", value)
    if value is not None and found is None:
        raise click.BadParameter(f"{value!r} is no size; give width and height, such as 512x512.")
    return None if found is None else (int(found[1]), int(found[2]))


@click.command(
    "run",
    cls=HelpfulCommand,
    examples=('attnfuse run out --prompt "a photo of an astronaut riding a horse" -o picture.png',),
    codes=(3, 70, 130),
)
@click.argument("folder", metavar="OUT", type=PATH)
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    required=True,
    metavar="TEXT",
    help="What to show; a picture, or film, of each (repeatable).",
)
@negative_option
@steps_option
@noise_options
@picture_options
@click.option("--size", callback=_size, metavar="WxH", help="Width and height, of those that were compiled.")
@backend_options
@click.option(
    "-o", "--output", type=PATH, required=True, help="Picture (.png, .jpg, .webp) or film (.webp, .png, .gif)."
)
@click.option("--record", type=PATH, help="New folder for what each component was fed, as --data takes it.")
@json_option
@progress_option
@with_options(*log_options)
def run_command(
    folder: Path,
    prompts: tuple[str, ...],
    size: tuple[int, int] | None,
    backend: BackendName,
    device_texts: tuple[str, ...],
    output: Path,
    record: Path | None,
    as_json: bool,
    progress: str,
    verbose: bool,
    log_file: Path | None,
    **options: Any,
) -> int:
    """Make pictures, or films, with the graphs in OUT, a folder that compile wrote of a pipeline.

    The backend cpu computes what the graphs mean, and nothing of how a device runs them (docs/run.md).
    """
    require_runtime("attnfuse run", backend)
    from attnfuse.pictures.recording import write_inputs
    from attnfuse.pictures.running import (
        EDITED,
        FORMATS,
        check_finite,
        contents,
        edited_files,
        makes_films,
        numbered,
        ran_document,
        run_folder,
    )
    from attnfuse_runtime import films
    from attnfuse_runtime.manifest import read_manifest

    what, formats = ("film", films.FORMATS) if makes_films(folder) else ("picture", FORMATS)
    if output.suffix.lower() not in formats:
        raise UsageError(f"the {what} {output} ends in none of {', '.join(formats)}; name a file that does.")
    check_apart(what, output, folder, None)
    asked, devices = asked_of(prompts, options), devices_of(device_texts, backend)
    for file in numbered(output, len(prompts)):
        check_writable(file, what)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(log_to(verbose=verbose, file=log_file, apart=(folder, output, record)))
        stage = None
        if record is not None:
            check_apart("folder of inputs", record, folder, None)
            if record.suffix:
                raise UsageError(f"--record {record} names a file, and there are several components: name a folder.")
            stage = stack.enter_context(OutputStage(free_place(record)))
        stepped = stack.enter_context(told_steps("pictures", silent=progress == "never"))
        log.info("run %s, backend %s, %s", folder, backend, dataclasses.asdict(asked))
        ran = run_folder(folder, asked, backend, devices, size, _logged(stepped, log))
        log.info("scheduler %s, %s", ran.scheduler, counted(len(ran.steps), "step"))
        for name, calls in ran.calls.items():
            log.info("%s: %s", name, counted(len(calls), "run"))
        log_stages(log, "", ran.found.milliseconds)
        for name in edited_files(read_manifest(folder), ran.calls):
            say(f"warning: {folder / name}: {EDITED}.")
        check_finite(ran)
        files = numbered(output, len(prompts))
        made = contents(ran.found, files)
        if stage is not None:
            write_inputs(ran.calls, stage)
            stage.publish()
    for file, content in zip(files, made, strict=True):
        write_file(file, content)
    for prompt, cut in zip(prompts, ran.found.cut, strict=True):
        if cut:
            say(
                f"warning: of {_short(prompt)} no text encoder saw {_short(cut)}: it is too long for the graph; "
                "shorten it, or compile for longer texts (docs/runtime.md, Long prompts)."
            )
    if as_json:
        click.echo(json.dumps(ran_document(asked, ran, files), indent=1, ensure_ascii=False))
    took = ", ".join(f"{name} {value / 1000:.1f} s" for name, value in ran.found.milliseconds.items())
    say(f"wrote {', '.join(map(str, files))} ({counted(len(ran.steps), 'step')}; {took}).")
    if record is not None:
        say(f"wrote {record} ({counted(sum(map(len, ran.calls.values())), 'set')} of inputs).")
    return 0


def _logged(stepped: Stepped | None, log: logging.Logger) -> Stepped:
    """The same, with a line in the log's file for each step."""

    def step(done: int, total: int) -> None:
        log.debug("step %d of %d", done, total)
        if stepped is not None:
            stepped(done, total)

    return step


def _short(text: str) -> str:
    """Of a prompt as much as a warning needs to name it."""
    return repr(text if len(text) <= 60 else f"{text[:40]}…{text[-18:]}")
