"""Reads the files of tests/targets/data, which tools/verdicts.py writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from attnfuse.targets.facts import TensorFacts

FOLDER = Path(__file__).parent / "data"
ACCEPTED, NOT_ASKED = "+", "."
_DTYPES = {"f16": "float16", "bf16": "bfloat16", "f32": "float32", "i32": "int32"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What CANN said of one node: the columns of its line, the node's SoC and types, and why not ("": accepted)."""

    line: tuple[str, ...]
    column: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Section:
    """One operator's verdicts, with the names of its attributes."""

    operator: str
    attributes: tuple[str, ...]
    verdicts: tuple[Verdict, ...]


def sections(name: str) -> Iterator[Section]:
    """Every section of a file; a file without any is one whole."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    parts = [part for part in body.split("\n[") if part.strip()]
    for part in parts:
        head, _, rest = part.lstrip("\n[").partition("]") if "]" in part.partition("\n")[0] else ("", "", part)
        attributes, _, table = rest.partition("columns ")
        yield Section(head, tuple(filter(None, attributes.strip().split(","))), tuple(_verdicts(table)))


def _verdicts(table: str) -> Iterator[Verdict]:
    legend, _, rows = table.partition("\n\n")
    first, *reasons = legend.splitlines()
    columns = [tuple(column.split("/")) for column in first.split()]
    why = dict(line.split(" ", 1) for line in reasons)
    for row in rows.splitlines():
        *line, letters = row.split()
        for column, letter in zip(columns, letters, strict=True):
            if letter != NOT_ASKED:
                yield Verdict(tuple(line), column, "" if letter == ACCEPTED else why[letter])


def tensor(dims: str, dtype: str) -> TensorFacts | None:
    """The tensor of a shape as the files write it; None for an absent one."""
    if dims == "-":
        return None
    return TensorFacts(tuple(map(int, dims.split("x"))), _DTYPES.get(dtype, dtype))


def attributes(names: tuple[str, ...], values: str) -> dict[str, int | float | bool | str]:
    """Names and values of a line's attributes."""
    return dict(zip(names, json.loads(f"[{values}]"), strict=True))
