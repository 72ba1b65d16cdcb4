"""What a file is that was taken for a source or for weights: one clause that is true of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from attnfuse.errors import SourceError
from attnfuse.mindir import codec
from attnfuse.mindir.foreign import what_lies_there
from attnfuse.mindir.tensorfile import TensorFile

WHOLE = save({"w": np.zeros((3, 5), np.float32)})
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1719327893\n"

KINDS: dict[str, tuple[str, bytes, str]] = {
    "pointer": ("m.safetensors", POINTER, "is a Git LFS pointer to a file of 1719327893 bytes, and not that file"),
    "pointer without a size": ("m.bin", POINTER[:42], "is a Git LFS pointer to a file, and not that file"),
    "GGUF": ("m.safetensors", b"GGUF\x03\0\0\0", "is a GGUF file, whose weights are quantised"),
    "zip": ("m.bin", b"PK\x03\x04\0\0", "is a file of PyTorch's, or another archive, which can run code"),
    "pickle": ("m.ckpt", b"\x80\x02}q\0", "is a pickle, which can run code when it is read: convert it"),
    "called a pickle": ("m.pt", b"?", "is called as PyTorch's files are, which can run code"),
    "web page": ("m.safetensors", b"\n<!DOCTYPE HTML><p>sign in", "is a web page, as a server sends it"),
    "PNG": ("m.safetensors", b"\x89PNG\r\n\x1a\n\0\0", "is a picture, and no model or weights"),
    "JPEG": ("m.safetensors", b"\xff\xd8\xff\xe0\0\x10JFIF", "is a picture, and no model or weights"),
    "HDF5": ("m.safetensors", b"\x89HDF\r\n\x1a\n", "holds weights of TensorFlow"),
    "msgpack": ("flax_model.msgpack", b"x", "holds weights of Flax"),
    "onnx": ("model.onnx", b"x", "is a model of ONNX"),
    "unfinished": ("m.safetensors.incomplete", b"", "the download was not finished"),
    "short": ("m.safetensors", WHOLE[:-7], f"is 7 bytes shorter than its header says ({len(WHOLE) - 7} of"),
    "long": ("m.safetensors", WHOLE + bytes(9), f"is 9 bytes longer than its header says ({len(WHOLE) + 9}, not"),
    "within the header": ("m.safetensors", WHOLE[:20], f"ends within its header, {len(WHOLE) - 60 - 20} bytes early"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_is(tmp_path: Path, kind: str) -> None:
    name, content, told = KINDS[kind]
    (tmp_path / name).write_bytes(content)
    assert told in what_lies_there(tmp_path / name)
    with pytest.raises(SourceError) as as_source:
        codec.read_bytes(tmp_path / name)
    with pytest.raises(SourceError) as as_weights:
        TensorFile(tmp_path / name)
    for caught in (as_source, as_weights):
        assert told in str(caught.value)
        assert str(caught.value).startswith(f"{tmp_path / name} ")


@pytest.mark.parametrize(
    ("name", "content"), [("m.safetensors", WHOLE), ("m.mindir", b"\x08\x03"), ("m", b""), ("m", b"12345678{")]
)
def test_nothing_to_tell_of(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert what_lies_there(tmp_path / name) == ""


def test_weights_and_adapters_are_no_source(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(WHOLE)
    with pytest.raises(SourceError, match="is a file of weights; give the pipeline folder"):
        codec.read_bytes(path)
    path.write_bytes(save({"lora_unet_x.lora_down.weight": np.zeros((1, 2), np.float32)}))
    with pytest.raises(SourceError, match="holds a LoRA, and no model"):
        codec.read_bytes(path)
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(SourceError, match="is a configuration; give the folder"):
        codec.read_bytes(tmp_path / "model_index.json")
