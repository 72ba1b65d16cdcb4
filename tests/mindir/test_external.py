"""Weights beside the graph: nothing is read outside its folder, nothing is taken on trust, MindSpore reads it back."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from attnfuse.errors import SourceError
from attnfuse.mindir import codec
from attnfuse.mindir.external import check_weights, parameter_name, parameters
from attnfuse.mindir.schema import ModelProto, TensorProto
from tests.support import forks
from tests.support.graphs import transformer
from tests.support.split import write_split


@dataclass(frozen=True)
class Tensor:
    file: Path
    key: str


def read(graph: Path) -> ModelProto:
    return codec.parse(codec.read_bytes(graph), str(graph))


def test_whole_weights_are_accepted(tmp_path: Path) -> None:
    graph = write_split(tmp_path)
    files = check_weights(read(graph), graph, required=True)
    assert files == {"unet_variables/data_0": tmp_path / "unet_variables" / "data_0"}
    assert check_weights(transformer().build(), tmp_path / "inline.mindir", required=True) == {}


def test_a_linked_folder_is_accepted_while_it_stays_inside(tmp_path: Path) -> None:
    graph = write_split(tmp_path)
    (tmp_path / "unet_variables").rename(tmp_path / "real")
    (tmp_path / "unet_variables").symlink_to("real")
    assert check_weights(read(graph), graph, required=True)


def test_a_graph_without_weights(tmp_path: Path) -> None:
    bare = transformer(weights=False).build()
    assert check_weights(bare, tmp_path / "bare.mindir", required=False) == {}
    with pytest.raises(SourceError, match=r"parameter 'blocks\.0\.attn1\.to_q\.weight' of .*bare\.mindir has no data"):
        check_weights(bare, tmp_path / "bare.mindir", required=True)


def first(model: ModelProto) -> TensorProto:
    return next(parameters(model))


def place(location: str) -> Callable[[ModelProto, Path], None]:
    def change(model: ModelProto, folder: Path) -> None:
        first(model).external_data.location = location

    return change


def offset(value: int) -> Callable[[ModelProto, Path], None]:
    def change(model: ModelProto, folder: Path) -> None:
        first(model).external_data.offset = value

    return change


def length(value: int) -> Callable[[ModelProto, Path], None]:
    def change(model: ModelProto, folder: Path) -> None:
        first(model).external_data.length = value

    return change


def remove(model: ModelProto, folder: Path) -> None:
    (folder / "unet_variables" / "data_0").unlink()


def shorten(model: ModelProto, folder: Path) -> None:
    file = folder / "unet_variables" / "data_0"
    os.truncate(file, file.stat().st_size - 64)


def link_outside(model: ModelProto, folder: Path) -> None:
    file = folder / "unet_variables" / "data_0"
    file.rename(folder.parent / "elsewhere")
    file.symlink_to(folder.parent / "elsewhere")


def link_folder_outside(model: ModelProto, folder: Path) -> None:
    (folder / "unet_variables").rename(folder.parent / "elsewhere")
    (folder / "unet_variables").symlink_to(folder.parent / "elsewhere")


def pipe(model: ModelProto, folder: Path) -> None:
    remove(model, folder)
    os.mkfifo(folder / "unet_variables" / "data_0")


def loop(model: ModelProto, folder: Path) -> None:
    remove(model, folder)
    (folder / "unet_variables" / "data_0").symlink_to("data_0")


HARM = {
    "parent": (place("../../x"), "not a path below"),
    "parent within": (place("unet_variables/../../x"), "not a path below"),
    "absolute": (place("/etc/passwd"), "not a path below"),
    "empty": (place(""), "not a path below"),
    "zero byte": (place("a\0b"), "not a path below"),
    "folder": (place("unet_variables"), "not a regular file"),
    "below a file": (place("unet_variables/data_0/x"), "cannot be read|does not exist"),
    "missing": (remove, "does not exist"),
    "too short": (shorten, "too short"),
    "link outside": (link_outside, "leaves the graph's folder"),
    "folder link outside": (link_folder_outside, "leaves the graph's folder"),
    "pipe": (pipe, "not a regular file"),
    "loop": (loop, "cannot be read|does not exist"),
    "offset past the end": (offset(10**12), "too short"),
    "negative offset": (offset(-64), "negative"),
    "negative length": (length(-1), "negative"),
    "wrong length": (length(64), "the graph is damaged"),
}


@pytest.mark.parametrize("kind", HARM)
def test_damaged_or_hostile_weights_are_refused(tmp_path: Path, kind: str) -> None:
    change, message = HARM[kind]
    graph = write_split(tmp_path / "model")
    model = read(graph)
    change(model, graph.parent)
    with pytest.raises(SourceError, match=message) as caught:
        check_weights(model, graph, required=True)
    assert "\n" not in str(caught.value)
    assert "parameter '" in str(caught.value)


def test_inline_values_of_another_length_are_refused(tmp_path: Path) -> None:
    model = transformer().build()
    first(model).raw_data = first(model).raw_data[:-2]
    with pytest.raises(SourceError, match="takes 8192 bytes, but 8190 are given"):
        check_weights(model, tmp_path / "x.mindir", required=True)


READ_BACK = """
import hashlib, json, sys
import mindspore as ms
from mindspore import nn
ms.set_context(mode=ms.GRAPH_MODE)
ms.set_device("CPU")
cell = nn.GraphCell(ms.load(sys.argv[1]))
found = {p.name: hashlib.sha256(p.asnumpy().tobytes()).hexdigest() for p in cell.get_parameters()}
print("FOUND " + json.dumps(found))
"""


@pytest.mark.mindspore
def test_mindspore_reads_back_what_was_written(tmp_path: Path) -> None:
    graph = write_split(tmp_path)
    inline = transformer().build()
    answer = forks.script("-c", READ_BACK, str(graph))
    assert answer.returncode == 0, answer.stderr
    found = json.loads(next(line for line in answer.stdout.splitlines() if line.startswith("FOUND "))[6:])
    assert found == {parameter_name(p): hashlib.sha256(p.raw_data).hexdigest() for p in parameters(inline)}
