"""`attnfuse cache`."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from pathlib import Path

import click

from attnfuse.cli.console import say
from attnfuse.cli.help import HelpfulCommand
from attnfuse.cli.options import CACHE_PLACE, cache_key_option, json_option
from attnfuse.errors import OutputError, UsageError
from attnfuse.names import counted
from attnfuse.report.units import human_bytes
from attnfuse.store.entries import FORMAT
from attnfuse.store.places import Listed, Place, PlaceError, shown
from attnfuse.store.store import Store

_UNITS = {"h": 3600, "d": 86400, "w": 7 * 86400}


def _size(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    found = None if value is None else re.fullmatch(r"(\d+(?:\.\d+)?) *([KMGT]?)(?:i?B)?", value, re.IGNORECASE)
    if value is not None and found is None:
        raise click.BadParameter(f"{value!r} is no size; give one such as 50GiB.")
    return None if found is None else int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))


def _age(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    found = None if value is None else re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", value)
    if value is not None and found is None:
        raise click.BadParameter(f"{value!r} is no age; give one such as 12h, 30d or 8w.")
    return None if found is None else float(found[1]) * _UNITS[found[2]]


@click.command(
    "cache",
    cls=HelpfulCommand,
    examples=("attnfuse cache s3://bucket/farm --max-age 30d --max-size 50GiB",),
    codes=(70, 130),
)
@click.argument("place", metavar="PLACE", type=CACHE_PLACE)
@click.option("--max-age", callback=_age, metavar="AGE", help="Remove entries that are older: 12h, 30d, 8w.")
@click.option("--max-size", callback=_size, metavar="SIZE", help="Remove the oldest until all take less: 50GiB.")
@click.option("--bad", is_flag=True, help="Read every entry, and remove those that are damaged, or not signed.")
@cache_key_option
@json_option
def cache_command(
    place: Place, max_age: float | None, max_size: int | None, bad: bool, cache_key: Path | None, as_json: bool
) -> int:
    """Tell what the cache at PLACE holds, a folder or a URL, and remove what is asked for (docs/farm.md).

    The age of an entry is counted from when it was last asked for; where a place does not keep that, as object stores
    do not, from when it was written. What is removed is made anew where it is needed.
    """
    if isinstance(place, Path) and not (place / FORMAT).is_dir():
        raise UsageError(f"there is no cache at {place}; give the folder, or the URL, that --cache-dir was given.")
    store = Store(place, cache_key)
    try:
        found = sorted(store.listed(), key=lambda one: (one.written, one.kind, one.key))
        removed = [one for one in found if bad and not store.is_whole(one)]
        if cache_key is not None and found and len(removed) == len(found) and any(map(Store(place).is_whole, found)):
            raise UsageError(
                f"no entry of {shown(place)} is signed with {cache_key}, and all {len(found)} would go: give the key "
                "that they were signed with, or remove them with --max-age 0h."
            )
        removed += _too_old([one for one in found if one not in removed], max_age, max_size)
        for one in removed:
            store.remove(one)
    except PlaceError as error:
        raise OutputError(f"the cache {shown(place)} cannot be read or written: {error}.") from None
    gone = set(removed)
    kept = [one for one in found if one not in gone]
    if as_json:
        document = {
            "schema": "attnfuse.cache/1",
            "place": shown(place),
            "kinds": _kinds(kept),
            "removed": _kinds(removed),
        }
        click.echo(json.dumps(document, indent=1, ensure_ascii=False))
        return 0
    for kind, told in _kinds(kept).items():
        click.echo(f"{kind}: {counted(told['objects'], 'object')}, {human_bytes(told['bytes'])}")
    say(f"{_sum(kept)} kept, {_sum(removed)} removed.")
    return 0


def _too_old(oldest_first: list[Listed], max_age: float | None, max_size: int | None) -> list[Listed]:
    """Those beyond an age, and of the others the oldest, until the rest takes no more than that many bytes."""
    limit = float("-inf") if max_age is None else time.time() - max_age
    size = sum(one.bytes for one in oldest_first if one.written >= limit)
    removed = []
    for one in oldest_first:
        if one.written < limit:
            removed.append(one)
        elif max_size is not None and size > max_size:
            removed.append(one)
            size -= one.bytes
    return removed


def _kinds(found: Iterable[Listed]) -> dict[str, dict[str, int]]:
    kinds: dict[str, dict[str, int]] = {}
    for one in found:
        told = kinds.setdefault(one.kind, {"objects": 0, "bytes": 0})
        told["objects"] += 1
        told["bytes"] += one.bytes
    return dict(sorted(kinds.items()))


def _sum(found: list[Listed]) -> str:
    return f"{len(found)} ({human_bytes(sum(one.bytes for one in found))})"
