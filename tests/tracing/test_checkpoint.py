"""Which files a model's weights are read from, and every way in which they can be wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from attnfuse.errors import SourceError
from attnfuse.tracing.checkpoint import StoredTensor, damage, find_files, is_of_variant, read_tensors

STEM = "diffusion_pytorch_model"


def store(folder: Path, *names: str) -> None:
    for i, name in enumerate(names):
        save_file({f"t{i}": np.zeros((2, i + 1), np.float16)}, folder / name)


def index(folder: Path, *shards: str, name: str = f"{STEM}.safetensors.index.json") -> None:
    weight_map = {f"t{i}": shard for i, shard in enumerate(shards)}
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def names(files: tuple[Path, ...]) -> list[str]:
    return [path.name for path in files]


def test_one_file(tmp_path: Path) -> None:
    store(tmp_path, f"{STEM}.safetensors", f"{STEM}.fp16.safetensors")
    assert names(find_files(tmp_path, "diffusers")) == [f"{STEM}.safetensors"]
    with pytest.raises(SourceError, match=r"has no model\.safetensors"):
        find_files(tmp_path, "transformers")


@pytest.mark.parametrize(
    ("lies_there", "told"),
    [
        ("model.safetensors.incomplete", "; model.safetensors.incomplete: the download was not finished."),
        ("model-00001-of-00002.safetensors", ": shards, without their index model.safetensors.index.json."),
        (f"{STEM}.safetensors", "named as diffusers names its files; transformers reads model.safetensors."),
        (f"{STEM}.fp16.safetensors", "named as diffusers names its files; transformers reads model.safetensors."),
        ("weights.safetensors", "; weights.safetensors: no file of the name that is read."),
        (
            "flax_model.msgpack",
            "; flax_model.msgpack must first be converted to safetensors (docs/checkpoints.md says how).",
        ),
        ("config.json", "has no model.safetensors."),
    ],
)
def test_what_lies_in_place_of_the_weights_is_told(tmp_path: Path, lies_there: str, told: str) -> None:
    (tmp_path / lies_there).touch()
    with pytest.raises(SourceError, match=re.escape(told) + "$"):
        find_files(tmp_path, "transformers")


def test_what_a_hubs_cache_lost_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "models--org--name" / "snapshots" / "0123" / "text_encoder"
    folder.mkdir(parents=True)
    blobs = tmp_path / "models--org--name" / "blobs"
    blobs.mkdir()
    (blobs / "abcd.incomplete").touch()
    with pytest.raises(SourceError, match=r"; blobs/abcd\.incomplete: the download was not finished\.$"):
        find_files(folder, "transformers")
    (folder / "model.safetensors").symlink_to(blobs / "abcd")
    with pytest.raises(SourceError, match=r"; model\.safetensors: a link to what is not there; fetch it again"):
        find_files(folder, "transformers")


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (["q.lora_A.weight", "q.lora_B.weight"], "model.safetensors holds a LoRA (tensor 'q.lora_A.weight')"),
        (["q.base_layer.weight"], "model.safetensors has PEFT's layers left in"),
        (["q.weight"], ""),
    ],
)
def test_tensors_of_no_model(tmp_path: Path, keys: list[str], told: str) -> None:
    save_file({key: np.zeros(2, np.float16) for key in keys}, tmp_path / "model.safetensors")
    found = damage(tmp_path, "transformers")
    assert told in found
    assert bool(told) == bool(found)


def test_shards_in_order_and_read_together(tmp_path: Path) -> None:
    shards = [f"{STEM}-0000{i}-of-00002.safetensors" for i in (1, 2)]
    store(tmp_path, *shards)
    index(tmp_path, *reversed(shards))
    files = find_files(tmp_path, "diffusers")
    assert names(files) == shards
    assert read_tensors(files) == {
        "t0": StoredTensor(tmp_path / shards[0], "t0", "float16", (2, 1)),
        "t1": StoredTensor(tmp_path / shards[1], "t1", "float16", (2, 2)),
    }


def test_precedence_is_each_librarys_own(tmp_path: Path) -> None:
    store(tmp_path, f"{STEM}.safetensors", "model.safetensors", "shard.safetensors")
    index(tmp_path, "shard.safetensors")
    index(tmp_path, "shard.safetensors", name="model.safetensors.index.json")
    assert names(find_files(tmp_path, "diffusers")) == ["shard.safetensors"]
    assert names(find_files(tmp_path, "transformers")) == ["model.safetensors"]


def test_only_a_variant(tmp_path: Path) -> None:
    store(tmp_path, f"{STEM}.fp16.safetensors")
    assert names(find_files(tmp_path, "diffusers")) == [f"{STEM}.fp16.safetensors"]


def test_only_a_sharded_variant(tmp_path: Path) -> None:
    shards = [f"{STEM}.fp16-0000{i}-of-00002.safetensors" for i in (1, 2)]
    store(tmp_path, *shards)
    index(tmp_path, *shards, name=f"{STEM}.safetensors.index.fp16.json")
    assert names(find_files(tmp_path, "diffusers")) == shards


def test_several_variants_are_refused(tmp_path: Path) -> None:
    store(tmp_path, f"{STEM}.fp16.safetensors", f"{STEM}.bf16.safetensors")
    with pytest.raises(SourceError, match=r"several variants.*bf16.*fp16"):
        find_files(tmp_path, "diffusers")


def test_a_variant_that_is_named(tmp_path: Path) -> None:
    store(tmp_path, f"{STEM}.safetensors", f"{STEM}.fp16.safetensors", f"{STEM}.bf16.safetensors")
    assert names(find_files(tmp_path, "diffusers", "fp16")) == [f"{STEM}.fp16.safetensors"]
    assert names(find_files(tmp_path, "diffusers", "int8")) == [f"{STEM}.safetensors"], "as without"
    assert is_of_variant(tmp_path, "diffusers", "bf16")
    assert not is_of_variant(tmp_path, "diffusers", "int8")
    assert not is_of_variant(tmp_path, "transformers", "fp16")
    shards = [f"{STEM}.fp16-0000{i}-of-00002.safetensors" for i in (1, 2)]
    store(tmp_path, *shards)
    index(tmp_path, *shards, name=f"{STEM}.safetensors.index.fp16.json")
    assert names(find_files(tmp_path, "diffusers", "fp16")) == shards


def test_other_formats_are_named(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"pytorch_model\.bin must first be converted"):
        find_files(tmp_path, "transformers")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"weight_map": 3}', '{"weight_map": {"a": 1}}', '{"weight_map": {}}', "{}"]
)
def test_broken_index(tmp_path: Path, content: str) -> None:
    (tmp_path / f"{STEM}.safetensors.index.json").write_text(content)
    with pytest.raises(SourceError, match="cannot be read as an index"):
        find_files(tmp_path, "diffusers")


def test_missing_shard(tmp_path: Path) -> None:
    index(tmp_path, "shard.safetensors")
    with pytest.raises(SourceError, match=r"shard\.safetensors, which does not exist"):
        find_files(tmp_path, "diffusers")


@pytest.mark.parametrize("shard", ["../x.safetensors", "/etc/passwd", "a/b.safetensors"])
def test_shards_stay_in_their_folder(tmp_path: Path, shard: str) -> None:
    index(tmp_path, shard)
    with pytest.raises(SourceError, match="not a file of its own folder"):
        find_files(tmp_path, "diffusers")


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0 a jpeg", b"\x10\0\0\0\0\0\0\0{}"])
def test_not_safetensors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=re.escape(str(path))):
        read_tensors((path,))


def test_truncated_file(tmp_path: Path) -> None:
    store(tmp_path, "model.safetensors")
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SourceError, match=re.escape(str(path))):
        read_tensors((path,))
