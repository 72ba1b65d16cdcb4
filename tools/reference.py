"""The reference pages that are made from the code: the command line, Python, the JSON documents, the slow tests.

`tools/docs.py` writes them.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

import attnfuse.errors
from attnfuse.cli.entry import cli
from attnfuse.cli.help import HELP_OPTIONS
from attnfuse.decisions import AppliedIdentity, FailureReason, NotTaken, Obligation, SiteFacts, SiteRecord
from attnfuse.live import Outcome, Tuned, tune
from attnfuse.live import compile as compile_live
from attnfuse.report import model
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.schedulers import from_config
from attnfuse_runtime.text_to_image import TextToImage
from attnfuse_runtime.text_to_video import TextToVideo

MADE = "<!-- Made by tools/docs.py from the code; edit that instead. -->"
ROOT = Path(__file__).resolve().parent.parent


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def command_line() -> str:
    """Every command with its arguments and options."""
    lines = [
        "# The command line",
        "",
        MADE,
        "",
        "Listings (`components`, `explain`, `report`, …) go to stdout. Of what makes something (`compile`, `run`, …)",
        "tables and progress go to stderr, and stdout holds what `--json` asks for and nothing else. What the exit",
        "codes mean is on [the page about build pipelines](ci.md#exit-codes).",
        "",
    ]
    for name, command in _commands("attnfuse", cli):
        context = click.Context(command, info_name=name, help_option_names=HELP_OPTIONS["help_option_names"])
        lines += [f"## {name}", "", "```text", f"{name} {' '.join(command.collect_usage_pieces(context))}", "```", ""]
        lines += [*_prose(command.help or ""), ""]
        rows = [record for option in command.params if (record := option.get_help_record(context)) is not None]
        if rows:
            lines += [*table(("option", ""), ((f"`{names}`", _cell(text)) for names, text in rows)), ""]
    return "\n".join(lines).rstrip() + "\n"


def _commands(name: str, group: click.Group) -> Iterator[tuple[str, click.Command]]:
    for own, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _commands(f"{name} {own}", command)
        else:
            yield f"{name} {own}", command


def python() -> str:
    """What a program calls: compile() and tune(), what they return and raise, and the runtime."""
    lines = [
        "# Python",
        "",
        MADE,
        "",
        "What passes and other plugins import, `attnfuse.api`, is on [the page about plugins](plugins.md).",
        "",
        "## attnfuse",
        "",
        *_function("attnfuse.compile", compile_live),
        *_class("attnfuse.Outcome", Outcome),
        *_function("attnfuse.tune", tune),
        *_class("attnfuse.Tuned", Tuned),
        "## attnfuse.errors",
        "",
        "Each is one sentence: what is wrong, where, and what to do.",
        "",
        *table(("error", "exit code of the command line", "what it says"), _errors()),
        "",
        "## attnfuse_runtime",
        "",
        *_function("Pipeline.from_folder", Pipeline.from_folder),
        *_class("Pipeline", Pipeline),
        *_function("text_to_image.TextToImage.from_folder", TextToImage.from_folder),
        *_function("text_to_image.TextToImage", TextToImage.__call__),
        *_function("text_to_video.TextToVideo.from_folder", TextToVideo.from_folder),
        *_function("text_to_video.TextToVideo", TextToVideo.__call__),
        *_function("schedulers.from_config", from_config),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _errors() -> Iterator[tuple[str, ...]]:
    for name, found in vars(attnfuse.errors).items():
        if inspect.isclass(found) and issubclass(found, attnfuse.errors.AttnfuseError):
            yield f"`{name}`", str(found.exit_code), _cell(found.__doc__ or "")


def _function(name: str, function: Any) -> Iterator[str]:
    text = f"{name}{_signature(function)}"
    yield from (f"### {name}", "", "```text", text, "```", "", *_prose(function.__doc__ or ""), "")


def _signature(function: Any) -> str:
    """One parameter a line, with types as they are written in the source."""
    parameters = [one for one in inspect.signature(function).parameters.values() if one.name not in ("self", "cls")]
    return "(" + "".join(f"\n    {one}," for one in parameters) + "\n)"


def _class(name: str, found: type) -> Iterator[str]:
    yield from (f"### {name}", "", *_prose(found.__doc__ or ""), "")


#: The records of report.json, then those of manifest.json, each behind what holds it.
_DOCUMENTS: tuple[Any, ...] = (
    model.Report,
    model.ComponentEntry,
    SiteRecord,
    SiteFacts,
    AppliedIdentity,
    Obligation,
    NotTaken,
    FailureReason,
    model.Totals,
    model.LegalisedEntry,
    model.UnsupportedEntry,
    model.SimplifiedEntry,
    model.KernelEntry,
    model.BesideEntry,
    model.FailedEntry,
    model.Manifest,
    model.ManifestPipeline,
    model.ManifestVae,
    model.ManifestComponent,
    model.ManifestInput,
)


def documents() -> str:
    """The fields of report.json and manifest.json."""
    lines = [
        "# The JSON documents",
        "",
        MADE,
        "",
        "`report.json` and `manifest.json` of an output, field by field. Every document names its schema; within one,",
        "fields are only added. How to read a report is said on [a page of its own](report.md).",
        "",
    ]
    for found in _DOCUMENTS:
        lines += _record(found)
    return "\n".join(lines).rstrip() + "\n"


def _record(found: Any) -> Iterator[str]:
    yield from (f"## {found.__name__}", "", *_prose(found.__doc__ or ""), "")
    yield from (*table(("field", "type"), _fields(found)), "")


def _fields(found: Any) -> Iterator[tuple[str, str]]:
    types = typing.get_type_hints(found)
    if issubclass(found, BaseModel):
        names: Mapping[str, str] = {name: field.alias or name for name, field in found.model_fields.items()}
    else:
        names = {field.name: field.name for field in dataclasses.fields(found)}
    return ((f"`{alias}`", f"`{_type(types[name])}`") for name, alias in names.items())


def _type(found: Any) -> str:
    if isinstance(found, type) and not typing.get_args(found):
        return found.__name__
    text = str(found)
    for module in ("typing.", "collections.abc.", "attnfuse.report.model.", "attnfuse.decisions.", "builtins."):
        text = text.replace(module, "")
    return text.replace("NoneType", "None")


def slow_tests() -> str:
    """Every test that the default run leaves out, with what it needs, as its own docstring says."""
    lines = [
        "# Slow tests",
        "",
        MADE,
        "",
        "`bash tools/test.sh` leaves these out. They are run by hand, a file at a time:",
        "",
        "*Not run here: it takes minutes to hours.*",
        "",
        "```console",
        "$ .venv/bin/python -m pytest -m slow tests/numeric/test_biases.py",
        "```",
        "",
        "Times are those of one core of the machine this was written on; an empty field was not measured. The matrix,",
        "the fuzzer and the [benchmarks](benchmarks.md) are tools, not tests: `tools/matrix`, `tools/fuzz` and",
        "`tools/bench`.",
        "",
        *table(("file", "slow tests", "about", "what it looks at"), _slow_files()),
    ]
    return "\n".join(lines) + "\n"


TIMES: Mapping[str, str] = {
    "tests/numeric/test_pictures.py": "20 min",
    "tests/project/test_real_weights.py": "10 min",
    "tests/project/test_installed.py": "2 min",
    "tests/runtime/test_text_to_image.py": "5 min",
    "tests/runtime/test_text_to_video.py": "3 min",
    "tests/runtime/test_wheel.py": "2 min",
    "tests/test_bytes.py": "8 min",
    "tests/tracing/blocks/test_tracer.py": "over 1 h",
}


def _slow_files() -> Iterator[tuple[str, ...]]:
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        count = text.count("mark.slow")
        if not count:
            continue
        name = path.relative_to(ROOT).as_posix()
        about = (ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0]
        yield f"`{name}`", str(count), TIMES.get(name, ""), _cell(about)


def _prose(text: str) -> list[str]:
    """A docstring as Markdown: click's marks for unwrapped paragraphs go."""
    return inspect.cleandoc(text).replace("\b\n", "").splitlines()


def _cell(text: str) -> str:
    return " ".join(inspect.cleandoc(text).split())
