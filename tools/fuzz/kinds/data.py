"""Inputs of `--data`: .npz files, held to the inputs of a graph."""

from __future__ import annotations

import io
import lzma
import re
import struct
import zipfile
import zlib
from functools import cache
from pathlib import Path
from random import Random

import numpy as np

from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, INT64
from attnfuse.verify.numbers.data import batches_of, check_readable, data_files, read_sets
from tests.support.graphs import GraphBuilder
from tools.fuzz.byte_edits import Files
from tools.fuzz.cases import Kind, Seed

FILE = "data/unet.npz"
_DESCRIPTIONS = (
    *("<f2", "<f4", ">f8", "<i8", "<i4", "|b1", "|V2", "|O", "<U4", "<M8[s]", "<c8", "|S0", "<f16", "", "x", "|V0"),
    *("[('a', '<f4')]", "<i8,<f4", "(2,)<f4", "|u1", "<V1000000000"),
)
_SHAPES = (
    *("()", "(0,)", "(-1,)", "(2, 4, 4)", "(1 << 40,)", "(True,)", "(2.0, 4)", "'x'", "(9223372036854775807, 9)"),
    *("(1099511627776, 1099511627776)", "[2, 4]", "None", f"({'1, ' * 40})", "(2, 4,", "(3, 4)", "(2, 4)", "(1,)"),
)


@cache
def _graph(batch: int) -> bytes:
    g = GraphBuilder("unet")
    sample, mask = g.input("sample", (2 * batch, 4), FLOAT16), g.input("mask", (2 * batch, 4), BOOL)
    time, state = g.input("timestep", (1,), INT64), g.input("state", (2 * batch, 3), BFLOAT16)
    g.output(g.select(mask, sample, sample))
    g.output(g.node("Add", [time, time], g.type_of(time)))
    g.output(g.node("Add", [state, state], g.type_of(state)))
    return codec.serialise(g.build())


@cache
def _model() -> Model:
    return Model(codec.parse(_graph(1), "a graph"))


@cache
def _seeds() -> tuple[Seed, ...]:
    arrays = {"sample": np.ones((2, 4), np.float32), "mask": np.ones((2, 4), bool), "timestep": np.asarray([7])}
    arrays["state"] = np.ones((2, 3), np.float32)
    bits = {**arrays, "state": np.ones((2, 3), BFLOAT16.numpy), "sample": arrays["sample"].astype(np.float16)}
    twice = {name: value if name == "timestep" else np.concatenate([value, value]) for name, value in arrays.items()}
    seeds = []
    for name, held, write in (
        ("stored", arrays, np.savez),
        ("deflated", bits, np.savez_compressed),
        ("two pictures", twice, np.savez),
    ):
        content = io.BytesIO()
        write(content, **held)
        seeds.append(Seed(name, {FILE: content.getvalue()}))
    return tuple(seeds)


def edit_archive(random: Random, files: Files) -> str:
    """An array's header or data, its name, or how it is packed."""
    content = files.get(FILE)
    if not isinstance(content, bytes):
        return ""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            held = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except (OSError, ValueError, RuntimeError, EOFError, lzma.LZMAError, struct.error, zipfile.BadZipFile, zlib.error):
        return ""
    if not held:
        return ""
    at = random.randrange(len(held))
    name, array = held[at]
    what = random.choice(
        ("type", "type", "shape", "shape", "order", "version", "data", "name", "gone", "twice", "pack")
    )
    packing, told = zipfile.ZIP_STORED, what
    if what == "type":
        told = random.choice(_DESCRIPTIONS)
        array = _with_header(
            array, rb"'descr': '[^']*'", f"'descr': {told!r}" if told[:1] != "[" else f"'descr': {told}"
        )
    elif what == "shape":
        told = random.choice(_SHAPES)
        array = _with_header(array, rb"'shape': \([^)]*\)", f"'shape': {told}")
    elif what == "order":
        told = random.choice(("True", "1", "None", "[", "True, 'x': 1"))
        array = _with_header(array, rb"'fortran_order': \w+", f"'fortran_order': {told}")
    elif what == "version":
        array = array[:6] + bytes((random.choice((0, 1, 2, 3, 9)), random.choice((0, 0, 1)))) + array[8:]
    elif what == "data":
        array = random.choice((array[:-1], array + b"\0" * 99, array[:64], b"", array[:-8] + b"\xff\x7f" * 4))
    elif what == "pack":
        packing = random.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    held[at] = name, array
    if what == "name":
        held[at] = (
            random.choice(("x.npy", "", "sample.npy", "../up.npy", "sample", "folder/", "é\0.npy", name[:-4])),
            array,
        )
    elif what == "gone":
        del held[at]
    elif what == "twice":
        held.append((name, array))
    files[FILE] = _zipped(held, packing)
    return f"{name}: {what}: {told}"


def _zipped(held: list[tuple[str, bytes]], packing: int) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", packing) as archive:
        for name, array in held:
            info = zipfile.ZipInfo(name)
            info.compress_type = packing
            archive.NameToInfo.pop(name, None)  # it warns of a name that is there twice
            archive.writestr(info, array)
    return made.getvalue()


def _with_header(array: bytes, pattern: bytes, text: str) -> bytes:
    """An array with another header, of the length that it says it has."""
    size = int.from_bytes(array[8:10], "little")
    header = re.sub(pattern, lambda _: text.encode(), array[10 : 10 + size], count=1).rstrip() + b"\n"
    return array[:8] + len(header).to_bytes(2, "little") + header + array[10 + size :]


def _read(folder: Path) -> None:
    for sets in read_sets(_model(), data_files(folder / "data", ["unet"])["unet"]):
        sets.fault()


def _check(folder: Path) -> None:
    check_readable(data_files(folder / FILE, ["unet"])["unet"])


def _batches(folder: Path) -> None:
    batches_of(data_files(folder / FILE, ["unet"])["unet"], {1: _graph(1), 2: _graph(2)})


KIND = Kind(
    "data",
    _seeds,
    {edit_archive: 60},
    {"read": _read, "check": _check, "batches": _batches},
    ("attnfuse.verify.numbers.data",),
)
