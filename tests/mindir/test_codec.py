"""Bytes in, message out, the same bytes back; and every file that is no MindIR told in one sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from attnfuse.errors import SourceError
from attnfuse.mindir import codec
from attnfuse.mindir.schema import ModelProto
from tests.support.graphs import transformer
from tests.support.waiting import PATIENCE


def test_what_is_read_is_written_again() -> None:
    data = codec.serialise(transformer().build())
    assert codec.serialise(codec.parse(data, "x")) == data


def test_unknown_fields_survive() -> None:
    data = codec.serialise(transformer().build()) + b"\xfa\x3f\x03abc"  # field 1023, three bytes
    assert codec.serialise(codec.parse(data, "x")) == data


def version(number: int) -> bytes:
    model = transformer().build()
    model.mind_ir_version = number
    return codec.serialise(model)


def headless() -> bytes:
    model = transformer().build()
    model.ClearField("graph")
    return codec.serialise(model)


WHOLE = codec.serialise(transformer().build())
BAD = {
    "jpeg": (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(64), "not a MindIR file"),
    "text": (b"hello, world\n", "not a MindIR file"),
    "truncated": (WHOLE[: len(WHOLE) // 2], "truncated"),
    "encrypted": (b"\xd8\x5e\x3a\x7f" + bytes(100), "encrypted"),
    "encrypted, the other mode": (b"\xd9\x5e\x3a\x7f" + bytes(100), "encrypted"),
    "newer": (version(4), "mind_ir_version 4"),
    "older": (version(1), "mind_ir_version 1"),
    "no graph": (headless(), "no graph"),
    "another protobuf": (b"\x0a\x03abc", "not a MindIR file"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_mindir(kind: str) -> None:
    data, message = BAD[kind]
    with pytest.raises(SourceError, match=message) as caught:
        codec.parse(data, "model.mindir")
    assert str(caught.value).startswith("model.mindir")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", [b"blocks-CellList", b"Softmax", b"CNode_10", b"sample", b"shape", b"_construct_"])
def test_a_name_that_is_not_text(part: bytes) -> None:
    assert part in WHOLE
    with pytest.raises(SourceError, match="a name that is not UTF-8 text"):
        codec.parse(WHOLE.replace(part, b"\xff" + part[1:]), "x")


def test_a_location_that_is_not_text() -> None:
    model = transformer().build()
    model.graph.parameter[0].external_data.location = "unet_variables/data_0"
    with pytest.raises(SourceError, match="a name that is not UTF-8 text"):
        codec.parse(codec.serialise(model).replace(b"unet_variables", b"unet\xffvariables"), "x")


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_file_cut_anywhere_is_refused(cut: int) -> None:
    with pytest.raises(SourceError):
        codec.parse(WHOLE[: len(WHOLE) * cut // 60], "x")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        codec.read_bytes(tmp_path / "absent.mindir")
    with pytest.raises(SourceError, match="is a folder"):
        codec.read_bytes(tmp_path)
    (tmp_path / "empty.mindir").touch()
    with pytest.raises(SourceError, match="is empty"):
        codec.read_bytes(tmp_path / "empty.mindir")
    with pytest.raises(SourceError, match="cannot be read"):
        codec.read_bytes(tmp_path / "empty.mindir" / "below.mindir")


def test_more_than_protobuf_holds(tmp_path: Path) -> None:
    path = tmp_path / "huge.mindir"
    with path.open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(SourceError, match="2 GiB"):
        codec.read_bytes(path)


THEIRS = """
import sys
from mindspore.train import mind_ir_pb2 as theirs
from google.protobuf import descriptor_pb2
proto = descriptor_pb2.FileDescriptorProto()
theirs.DESCRIPTOR.CopyToProto(proto)
sys.stdout.buffer.write(proto.SerializeToString())
"""


@pytest.mark.mindspore
def test_the_schema_is_the_one_that_mindspore_ships() -> None:
    """Every message, field name, number, type and label, and every enum value, theirs and ours."""
    from google.protobuf import descriptor_pb2

    answer = subprocess.run([sys.executable, "-c", THEIRS], capture_output=True, check=True, timeout=PATIENCE)
    theirs = descriptor_pb2.FileDescriptorProto.FromString(answer.stdout)
    ours = descriptor_pb2.FileDescriptorProto()
    ModelProto.DESCRIPTOR.file.CopyToProto(ours)
    assert facts(ours) == facts(theirs)


def facts(file: object) -> set[tuple[object, ...]]:
    """What the wire format consists of, whatever the order and the package."""
    from google.protobuf import descriptor_pb2

    assert isinstance(file, descriptor_pb2.FileDescriptorProto)
    found: set[tuple[object, ...]] = set()

    def message(prefix: str, m: descriptor_pb2.DescriptorProto) -> None:
        name = f"{prefix}.{m.name}"
        for field in m.field:
            kind = field.type_name.rpartition(".")[2] or field.type
            found.add((name, field.name, field.number, kind, field.label))
        for nested in m.nested_type:
            message(name, nested)
        for enum in m.enum_type:
            found.update((name, enum.name, v.name, v.number) for v in enum.value)

    for top in file.message_type:
        message("", top)
    for enum in file.enum_type:
        found.update((enum.name, v.name, v.number) for v in enum.value)
    return found
