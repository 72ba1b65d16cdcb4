"""Safetensors as streams: the bytes the package wrote, converted as numpy would, in bounded chunks."""

from __future__ import annotations

import json
import os
from pathlib import Path

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from attnfuse.errors import SourceError
from attnfuse.mindir import dtypes, tensorfile
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, INT64, DType
from attnfuse.mindir.tensorfile import TensorFile
from tests.support.graphs import seeded


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    tensors = {
        "weight": seeded("weight", (7, 33)),
        "half": seeded("half", (5,), FLOAT16),
        "position_ids": np.arange(12, dtype=np.int64).reshape(1, 12),
        "nothing": np.zeros((0, 4), np.float32),
        "scalar": np.array(3.5, np.float32),
        "edge": np.array([1e-8, 65504, 65520, -1e30, np.inf, np.nan, -0.0, 1 + 2**-11, 1 + 3 * 2**-11], np.float32),
    }
    save_file(tensors, path, metadata={"format": "pt"})
    return path


def write_raw(path: Path, entries: dict[str, object], data: bytes) -> Path:
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path


@pytest.mark.parametrize("chunk", [6, 64, 8 * 2**20])
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, BFLOAT16])
def test_values_arrive_in_the_type_asked_for(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, dtype: DType
) -> None:
    monkeypatch.setattr(tensorfile, "CHUNK_BYTES", chunk)
    file = TensorFile(checkpoint)
    for key, value in (("weight", seeded("weight", (7, 33))), ("half", seeded("half", (5,), FLOAT16))):
        chunks = list(file.read(key, dtype, []))
        assert max(map(len, chunks)) <= 2 * chunk  # float16 may become float32
        assert b"".join(chunks) == value.astype(dtype.numpy).tobytes()
    assert list(file.read("nothing", dtype, [])) == []
    assert b"".join(file.read("scalar", dtype, [])) == np.array(3.5, dtype.numpy).tobytes()


def test_rounding_is_to_nearest_even_and_overflow_is_infinite(checkpoint: Path) -> None:
    lossy: list[str] = []
    got = np.frombuffer(b"".join(TensorFile(checkpoint).read("edge", FLOAT16, lossy)), np.float16)
    assert lossy == ["edge"]
    expected = [0.0, 65504, np.inf, -np.inf, np.inf, np.nan, -0.0, 1.0, 1 + 2**-9]
    np.testing.assert_array_equal(got, np.array(expected, np.float16))
    assert np.signbit(got[6])


def test_what_was_infinite_before_is_no_loss(tmp_path: Path) -> None:
    save_file({"mask": np.array([0, -np.inf, np.nan], np.float32)}, tmp_path / "m.safetensors")
    lossy: list[str] = []
    list(TensorFile(tmp_path / "m.safetensors").read("mask", FLOAT16, lossy))
    assert lossy == []


def test_bfloat16_on_disk(tmp_path: Path) -> None:
    value = np.array([[1.5, -2.25, 3e38]], ml_dtypes.bfloat16)
    entry = {"dtype": "BF16", "shape": [1, 3], "data_offsets": [0, 6]}
    file = TensorFile(write_raw(tmp_path / "b.safetensors", {"w": entry}, value.tobytes()))
    assert file.tensors["w"].stored == "BF16"
    np.testing.assert_array_equal(file.values("w"), value)
    assert b"".join(file.read("w", BFLOAT16, [])) == value.tobytes()
    assert b"".join(file.read("w", FLOAT32, [])) == value.astype(np.float32).tobytes()


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16, FLOAT32])
@pytest.mark.parametrize(("stored", "kind"), [("F8_E4M3", ml_dtypes.float8_e4m3fn), ("F8_E5M2", ml_dtypes.float8_e5m2)])
def test_floats_of_eight_bits_are_widened_without_loss(
    tmp_path: Path, stored: str, kind: npt.DTypeLike, dtype: dtypes.DType
) -> None:
    every = np.arange(256, dtype=np.uint8)
    entry = {"dtype": stored, "shape": [256], "data_offsets": [0, 256]}
    file = TensorFile(write_raw(tmp_path / "e.safetensors", {"w": entry}, every.tobytes()))
    lossy: list[str] = []
    got = np.frombuffer(b"".join(file.read("w", dtype, lossy)), dtype.numpy)
    np.testing.assert_array_equal(got.astype(np.float64), every.view(kind).astype(np.float64))
    assert lossy == []
    with pytest.raises(SourceError, match="the graph wants int64"):
        list(file.read("w", INT64, []))


def test_integers_stay_what_they_are(checkpoint: Path) -> None:
    file = TensorFile(checkpoint)
    assert b"".join(file.read("position_ids", INT64, [])) == np.arange(12, dtype=np.int64).tobytes()
    for key, dtype in (("position_ids", FLOAT16), ("weight", INT64), ("position_ids", dtypes.INT32)):
        with pytest.raises(SourceError, match=f"'{key}'.* the graph wants {dtype}"):
            list(file.read(key, dtype, []))


ENTRY = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    "entry",
    [
        {**ENTRY, "shape": [3]},
        {**ENTRY, "data_offsets": [-4, 16]},
        {**ENTRY, "data_offsets": [0]},
        {**ENTRY, "shape": "x"},
        {**ENTRY, "shape": [2**40, 2**40]},
        {"dtype": "F32"},
        {**ENTRY, "dtype": "no such type"},
    ],
)
def test_entries_that_do_not_hold_together(tmp_path: Path, entry: object) -> None:
    path = write_raw(tmp_path / "m.safetensors", {"w": entry}, bytes(16))
    with pytest.raises(SourceError, match=r"m\.safetensors is not a safetensors file or is truncated") as caught:
        TensorFile(path)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    ("entry", "differs"),
    [
        ({**ENTRY, "data_offsets": [8, 24]}, "8 bytes shorter than"),
        ({**ENTRY, "data_offsets": [0, 12]}, "4 bytes longer than"),
        ({**ENTRY, "shape": [2], "data_offsets": [0, 8]}, "8 bytes longer than"),
    ],
)
def test_files_of_another_length(tmp_path: Path, entry: object, differs: str) -> None:
    path = write_raw(tmp_path / "m.safetensors", {"w": entry}, bytes(16))
    with pytest.raises(SourceError, match=rf"m\.safetensors is {differs} its header says"):
        TensorFile(path)


def test_tensors_that_overlap(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "m.safetensors", {"v": ENTRY, "w": {**ENTRY, "data_offsets": [8, 24]}}, bytes(24))
    with pytest.raises(SourceError, match="is truncated"):
        TensorFile(path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            {"w": {"dtype": "F8_E8M0", "shape": [16], "data_offsets": [0, 16]}},
            "'w' of .* is of type F8_E8M0, which",
        ),
        ({"v": ENTRY}, "has no tensor 'w'"),
    ],
)
def test_tensors_that_cannot_be_read(tmp_path: Path, entries: dict[str, object], message: str) -> None:
    file = TensorFile(write_raw(tmp_path / "m.safetensors", entries, bytes(16)))
    for use in (file.values, lambda key: list(file.read(key, FLOAT32, []))):
        with pytest.raises(SourceError, match=message) as caught:
            use("w")
        assert "m.safetensors" in str(caught.value)


def test_what_is_in_a_file(checkpoint: Path) -> None:
    file = TensorFile(checkpoint)
    assert file.metadata == {"format": "pt"}
    assert list(file.tensors) == ["edge", "half", "nothing", "position_ids", "scalar", "weight"]
    assert {key: (entry.stored, entry.shape) for key, entry in file.tensors.items()} == {
        "edge": ("F32", (9,)),
        "half": ("F16", (5,)),
        "nothing": ("F32", (0, 4)),
        "position_ids": ("I64", (1, 12)),
        "scalar": ("F32", ()),
        "weight": ("F32", (7, 33)),
    }
    for key, value in load_file(checkpoint).items():
        np.testing.assert_array_equal(file.values(key), value)


def test_a_header_that_the_package_reads(tmp_path: Path) -> None:
    tensors = [
        (dtype.name, dtype, (3, 0, 5) if dtype is BFLOAT16 else (3, 1)) for dtype in (*dtypes.ALL, *dtypes.FLOAT8)
    ]
    header, size = tensorfile.write_header(tensors, format="pt")
    assert len(header) % 8 == 0
    path = tmp_path / "m.safetensors"
    path.write_bytes(header + bytes(size))
    with safe_open(path, framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}
        assert {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()} == {  # noqa: SIM118
            name: shape for name, _, shape in tensors
        }
    assert {key: dtypes.from_safetensors(entry.stored) for key, entry in TensorFile(path).tensors.items()} == {
        name: dtype for name, dtype, _ in tensors
    }


NO_SAFETENSORS = (
    b"1234",
    (10**9).to_bytes(8, "little") + b"{}",
    (2).to_bytes(8, "little") + b"[]",
    (2).to_bytes(8, "little") + b"{x",
)


@pytest.mark.parametrize("data", NO_SAFETENSORS)
def test_what_is_no_safetensors_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.safetensors").write_bytes(data)
    with pytest.raises(SourceError, match=r"m\.safetensors is not a safetensors file or is truncated"):
        TensorFile(tmp_path / "m.safetensors")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").touch()
    with pytest.raises(SourceError, match=r"m\.safetensors is empty, and no safetensors file; fetch it again\.$"):
        TensorFile(tmp_path / "m.safetensors")


def test_a_file_that_shrinks_while_it_is_read(checkpoint: Path) -> None:
    file = TensorFile(checkpoint)
    with checkpoint.open("r+b") as raw:
        raw.truncate(file.tensors["weight"].offset + 8)
    with pytest.raises(SourceError, match="bytes shorter than its header says"):
        list(file.read("weight", FLOAT32, []))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        TensorFile(tmp_path / "absent.safetensors")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """The package opens files where no signal reaches."""
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(SourceError, match=r"model\.safetensors is no file; name the checkpoint itself\.$"):
        TensorFile(tmp_path / "model.safetensors")
