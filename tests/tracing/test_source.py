"""What a user may name as SOURCE, and what is said when it cannot be had."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.utils import filter_repo_objects

from attnfuse.errors import SourceError
from attnfuse.tracing import source
from attnfuse.tracing.contract import Fetch
from attnfuse.tracing.source import origin, resolve

#: The kinds of files that hub repositories of pipelines hold; the first WANTED of them are what a compile reads.
HUB_REPOSITORY = [
    "model_index.json",
    "config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.json",
    "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
    "text_encoder/model.safetensors",
    "text_encoder_2/model-00002-of-00002.safetensors",
    "tokenizer/merges.txt",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_pytorch_model.bin",
    "unet/model.onnx",
    "safety_checker/model.safetensors",
    "v1-5-pruned-emaonly.safetensors",
    "v1-5-pruned.ckpt",
    "README.md",
]
WANTED = 9


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "attnfuse"


def small_demo(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replace the demo's writer by a quick one; return the folders it was called with."""
    written: list[Path] = []

    def write(folder: Path) -> None:
        written.append(folder)
        (folder / "model_index.json").write_text("{}")

    monkeypatch.setattr(source, "_DEMOS", {"stable-diffusion": (7, write)})
    return written


def hub(monkeypatch: pytest.MonkeyPatch, result: Path | Exception) -> list[str]:
    """Replace huggingface_hub; return the repositories it was asked for."""
    asked: list[str] = []

    def snapshot_download(
        repository: str, *, allow_patterns: list[str], ignore_patterns: list[str], **rest: Any
    ) -> str:
        assert rest == {"revision": None, "local_files_only": False}
        asked.append(repository)
        wanted = set(
            filter_repo_objects(HUB_REPOSITORY, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns)
        )
        assert wanted == set(HUB_REPOSITORY[:WANTED])
        if isinstance(result, Exception):
            raise result
        return str(result)

    module = types.ModuleType("huggingface_hub")
    module.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return asked


def test_local_folder_as_it_is(tmp_path: Path) -> None:
    assert resolve(str(tmp_path)) == tmp_path


def test_local_folder_before_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve("org/name") == Path("org/name")
    assert asked == []


def test_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, tmp_path / "snapshot")
    assert resolve("org/name-v1.5") == tmp_path / "snapshot"
    assert asked == ["org/name-v1.5"]


def test_hub_failure_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, ConnectionError("no route\n  to the hub\n" + "x" * 500))
    with pytest.raises(SourceError, match=r"could not be fetched from the hub: no route to the hub x+…") as caught:
        resolve("org/name")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_hub_client_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(SourceError, match=r"install attnfuse\[trace\]"):
        resolve("org/name")


@pytest.mark.parametrize("name", ["nowhere", "a/b/c", "/nowhere/at/all", "./org/name", ""])
def test_neither_folder_nor_hub_id(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match="does not exist, and is not a hub id"):
        resolve(name)
    assert asked == []


def test_a_file_is_no_pipeline(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="is a file, not a pipeline folder"):
        resolve(str(tmp_path / "file"))


def test_demo_is_written_once_and_whole(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = small_demo(monkeypatch)
    assert resolve("demo:stable-diffusion") == cache / "demo-stable-diffusion-v7"
    assert resolve("demo:stable-diffusion") == cache / "demo-stable-diffusion-v7"
    assert len(written) == 1
    assert written[0].name.startswith(".")  # not where others look for it
    assert [path.name for path in cache.iterdir()] == ["demo-stable-diffusion-v7"]


def test_demo_interrupted_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(folder: Path) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(source, "_DEMOS", {"stable-diffusion": (7, write)})
    with pytest.raises(KeyboardInterrupt):
        resolve("demo:stable-diffusion")
    assert list(cache.iterdir()) == []


def test_demo_written_by_another_process_meanwhile(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(folder: Path) -> None:
        (folder / "mine").touch()
        other = cache / "demo-stable-diffusion-v7"
        other.mkdir()
        (other / "theirs").touch()

    monkeypatch.setattr(source, "_DEMOS", {"stable-diffusion": (7, write)})
    folder = resolve("demo:stable-diffusion")
    assert [path.name for path in folder.iterdir()] == ["theirs"]
    assert [path.name for path in cache.iterdir()] == [folder.name]


def test_demo_in_an_unwritable_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_demo(monkeypatch)
    (tmp_path / "cache").touch()
    with pytest.raises(SourceError, match="the demo cannot be written to"):
        resolve("demo:stable-diffusion")


@pytest.mark.parametrize(
    ("name", "hint"), [("stable-difusion", "did you mean 'stable-diffusion'"), ("x", "known: stable")]
)
def test_unknown_demo(name: str, hint: str) -> None:
    with pytest.raises(SourceError, match=hint):
        resolve(f"demo:{name}")


def test_relative_cache_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert source.cache_folder() == Path.home() / ".cache" / "attnfuse"


def test_a_repository_in_the_hubs_cache(tmp_path: Path) -> None:
    """By its own folder, not by that of a snapshot: of a revision, or of the only one."""
    repository = tmp_path / "models--org--name"
    for commit in ("aa", "bb"):
        (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "refs").mkdir()
    with pytest.raises(SourceError, match="has files of aa, bb, and not of revision main; name one with --revision"):
        resolve(str(repository))
    (repository / "refs" / "main").write_text("bb\n")
    (repository / "refs" / "old").write_text("aa")
    assert resolve(str(repository)) == repository / "snapshots" / "bb"
    for revision in ("old", "aa"):
        assert resolve(str(repository), fetch=Fetch(revision=revision)) == repository / "snapshots" / "aa"
    with pytest.raises(SourceError, match="not of revision none"):
        resolve(str(repository), fetch=Fetch(revision="none"))
    assert origin(resolve(str(repository))) == ("org/name", "bb")
    (repository / "refs" / "main").unlink()
    (repository / "snapshots" / "aa").rmdir()
    assert resolve(str(repository)) == repository / "snapshots" / "bb"
