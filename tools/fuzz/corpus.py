"""Files that reach what others do not: found by following coverage, the smallest set of them kept beside the seeds.

An entry is what atheris hands to the driver: two bytes that choose which file of which seed it stands for and what
reads it, then the file's content.
"""

from __future__ import annotations

import base64
import json
import lzma
from collections.abc import Iterable, Sequence
from pathlib import Path

from tools.fuzz.cases import Case, Kind

FOLDER = Path(__file__).parent / "corpus"


def of_entry(kind: Kind, number: int, entry: bytes) -> Case:
    """The case that an entry stands for."""
    seeds = kind.seeds()
    files = [(seed, name) for seed in seeds for name in seed.files]
    chosen, read = (*entry[:2], 0, 0)[:2]
    seed, name = files[chosen % len(files)]
    reads = list(kind.reads)
    content = entry[2:]
    return Case(
        number, kind, seed.name, {**seed.files, name: content}, (f"{name} of an entry",), reads[read % len(reads)]
    )


def sound(kind: Kind) -> Iterable[bytes]:
    """An entry for each file of the seeds and each that reads it."""
    seeds = kind.seeds()
    files = [content for seed in seeds for content in seed.files.values()]
    for at, content in enumerate(files[:256]):
        for read in range(len(kind.reads)):
            yield bytes((at, read)) + content


def kept(name: str) -> list[bytes]:
    """The entries that are kept of a kind."""
    path = FOLDER / f"{name}.xz"
    return [base64.b64decode(one) for one in json.loads(lzma.decompress(path.read_bytes()))] if path.exists() else []


def keep(name: str, entries: Sequence[bytes]) -> int:
    """Keep these, and no others; how many bytes that takes."""
    content = json.dumps([base64.b64encode(one).decode() for one in sorted(entries)]).encode()
    packed = lzma.compress(content, preset=9)
    FOLDER.mkdir(exist_ok=True)
    return (FOLDER / f"{name}.xz").write_bytes(packed)
