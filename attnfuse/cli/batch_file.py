"""The file of `attnfuse batch`: compiles, each an output and options of `attnfuse compile`.

    cache-dir = "s3://bucket/farm"          # as the option has it, which comes first
    [defaults]                              # options of all
    soc = "910B4"
    [[compile]]
    source = "./stable-diffusion-v1-5"
    output = "out/sd15-{soc}-{size}"        # {option}: a compile for each
    each.soc = ["910B4", "310P3"]
    each.size = ["512x512", "768x512"]

Options are called as on the command line, without dashes in front; one that may be repeated takes a list.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from attnfuse import documents
from attnfuse.cli.compile import compile_command, compile_request
from attnfuse.cli.request import SourceOptions
from attnfuse.cli.workers import OF_WORKERS
from attnfuse.compiler import CompileRequest
from attnfuse.errors import OutputError, UsageError
from attnfuse.farm.batch import Entry
from attnfuse.names import suggestion
from attnfuse.store.places import Place, place_of

_NOT_HERE: Final = frozenset(
    (
        *("as_json", "cache_dir", "cache_key", "check", "dry_run", "print_after", "print_to", "progress"),
        *("time_passes", *OF_WORKERS),
    )
)
"""Parameters of compile that are the batch's, or that write nothing."""
_OF_COMPILE: Final = (
    "output",
    "reporters",
    "dry_run",
    "check",
    "level",
    "seed",
    "data",
    "again",
    "golden",
    "max_memory",
)


_WRITTEN: Final = frozenset(("log-file", "output", "report"))
"""Options that name what is written: no two compiles write the same."""


@dataclass(frozen=True, slots=True)
class BatchFile:
    """What the file says: its compiles, each the number of its table and options by name, and the cache."""

    compiles: tuple[tuple[int, Mapping[str, Any]], ...]
    cache: Place | None


def read_batch(file: Path) -> BatchFile:
    """Read it. Raises UsageError where it cannot be read, or says what it cannot."""
    try:
        document = documents.parse(documents.read_text(file), "TOML")
    except OSError as error:
        raise UsageError(f"the batch {file} cannot be read: {documents.reason(error)}.") from None
    except ValueError as error:  # of TOML and of UTF-8
        raise UsageError(f"the batch {file} is no TOML: {documents.reason(error)}.") from None
    if _has_nul(document):
        raise UsageError(f"the batch {file} has a text with a NUL character in it, which no name can have; correct it.")
    for name in document:
        if name not in ("cache-dir", "compile", "defaults"):
            raise UsageError(f"the batch {file} has an unknown key {name!r}; {suggestion(name, _KEYS)}")
    defaults, listed, cache = document.get("defaults", {}), document.get("compile", []), document.get("cache-dir")
    if (
        not isinstance(defaults, dict)
        or not isinstance(listed, list)
        or not all(isinstance(one, dict) for one in listed)
    ):
        raise UsageError(f"the batch {file}: defaults is a table, and compile a list of tables ([[compile]]).")
    if not listed:
        raise UsageError(f"the batch {file} names no compile; begin one with [[compile]].")
    if cache is not None and not (isinstance(cache, str) and cache):
        raise UsageError(f"the batch {file}: cache-dir is a folder or a URL, as text.")
    compiles = []
    for number, one in enumerate(listed, 1):
        where = f"the batch {file}, compile {number}"
        for name in ("source", "output"):
            if not isinstance(text := one.get(name, defaults.get(name)), str) or not text:
                raise UsageError(f"{where}: each compile has a source and an output, as text; its {name} is {text!r}.")
        compiles += [(number, options) for options in _spread({**defaults, **one}, where)]
    return BatchFile(tuple(compiles), None if cache is None else place_of(cache))


_MOST_COMPILES: Final = 10_000
"""Of one table."""
_KEYS: Final = ("cache-dir", "defaults", "compile")


def _has_nul(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_has_nul, [*value, *value.values()]))
    if isinstance(value, list):
        return any(map(_has_nul, value))
    return isinstance(value, str) and "\0" in value


def entries_of(batch: BatchFile, file: Path, shared: Sequence[str], state_file: Path | None = None) -> list[Entry]:
    """Its compiles, with the options that all share.

    Raises UsageError for one that compile would refuse, and for one that would write over what another reads or writes,
    or over the batch's own files.
    """
    found: list[Entry] = []
    written = set() if state_file is None else {os.path.realpath(state_file)}
    read = {os.path.realpath(file): f"the batch {file}"}
    for number, options in batch.compiles:
        for name in options.keys() - _WRITTEN:
            for one in options[name] if isinstance(options[name], list) else [options[name]]:
                if isinstance(one, str) and _is_file(one):
                    read[os.path.realpath(one)] = f"the {name} of compile {number}"
    if state_file is not None and (of := read.get(os.path.realpath(state_file))) is not None:
        raise UsageError(f"the state {state_file} would lie over {of}; name another place with --state.")
    for number, options in batch.compiles:
        output = Path(options["output"])
        where = f"the batch {file}, compile {number}, output {output}"
        arguments = [*_arguments(options, where), *shared, "--", options["source"]]
        for name in sorted(_WRITTEN.intersection(options)):
            path = os.path.realpath(options[name])
            if (of := read.get(path)) is not None:
                raise UsageError(f"{where}: the {name} {options[name]} would lie over {of}; name another place.")
            if path in written:
                raise UsageError(
                    f"{where}: the {name} {options[name]} is that of two compiles; name another, or have {{option}} in"
                    " it."
                )
            written.add(path)
        found.append(Entry(tuple(arguments), _request(arguments, where), output, where))
    return found


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError:  # a name that is too long
        return False


def _spread(options: dict[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """A compile for each of what `each` lists."""
    each = options.pop("each", {})
    if not isinstance(each, dict) or not all(isinstance(values, list) and values for values in each.values()):
        raise UsageError(f'{where}: each is a table of lists with a value or more, such as each.soc = ["910B4"].')
    if (count := math.prod(map(len, each.values()))) > _MOST_COMPILES:
        raise UsageError(f"{where}: each makes {count} compiles, and {_MOST_COMPILES} at most are taken; list fewer.")
    for values in itertools.product(*each.values()):
        chosen = dict(zip(each, values, strict=True))
        one = {**options, **chosen}
        named = {name: str(value).rstrip("/").rpartition("/")[2] for name, value in chosen.items()}
        for name in sorted(name for name in _WRITTEN.intersection(one) if isinstance(one[name], str)):
            try:
                one[name] = one[name].format(**named)
            except (AttributeError, KeyError, IndexError, ValueError):
                known = ", ".join(f"{{{name}}}" for name in named) or "nothing"
                raise UsageError(
                    f"{where}: the {name} is {one[name]!r}; in braces may be what each lists, here {known}; "
                    "each.NAME = [...] lists more."
                ) from None
        yield one


def _arguments(options: Mapping[str, Any], where: str) -> Iterator[str]:
    """The options as on the command line."""
    known = {name.lstrip("-"): option for option in _options() for name in option.opts if name.startswith("--")}
    for name, value in options.items():
        if name == "source":
            continue
        if name not in known:
            raise UsageError(f"{where}: compile has no option {name!r} here; {suggestion(name, known)}")
        option = known[name]
        values = value if isinstance(value, list) else [value]
        if isinstance(value, list) and not option.multiple:
            raise UsageError(f"{where}: {name} is one value, not a list; each.{name} makes a compile for each.")
        for one in values:
            if option.is_flag != isinstance(one, bool) or not isinstance(one, (bool, int, float, str)):
                kind = "true or false" if option.is_flag else "a text or a number"
                raise UsageError(f"{where}: {name} is {kind}, not {one!r}.")
            if not isinstance(one, bool):
                yield f"--{name}={one}"
            elif one:
                yield f"--{name}"
            elif option.secondary_opts:
                yield option.secondary_opts[0]


def _options() -> list[click.Option]:
    """The options that a compile of a batch may have."""
    found = (one for one in compile_command.params if isinstance(one, click.Option))
    return [one for one in found if one.name not in _NOT_HERE]


def _request(arguments: Sequence[str], where: str) -> CompileRequest:
    try:
        context = compile_command.make_context("compile", list(arguments))
        given = dict(context.params)
        own = {name: given.pop(name) for name in _OF_COMPILE}
        options = SourceOptions(**{name: value for name, value in given.items() if name not in OF_WORKERS})
        request = compile_request(options, **own)
        with context.scope(cleanup=False):
            options.check_destinations(request.output)
        return request
    except click.ClickException as error:
        raise UsageError(f"{where}: {error.format_message()}") from None
    except (OutputError, UsageError) as error:
        raise UsageError(f"{where}: {error}") from None
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise UsageError(f"{where}: {error.filename} cannot be looked for: {error.strerror or error}.") from None
