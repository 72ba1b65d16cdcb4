"""One file of weights under original names, and --config for the rest: the graphs and weights of the folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from attnfuse.tracing.demo import write_demo, write_json
from attnfuse.tracing.layout import flux_tensors
from attnfuse.tracing.random_weights import write_random
from tests.cli.conftest import Answer, Command, tree
from tests.support.checkpoints import write_small_sd15, write_small_xl
from tests.support.console import inside
from tests.support.original_files import FLUX, SD15, SDXL, without_weights, write_original
from tests.support.small_models import SMALL, Small, write_configs
from tests.support.traced_weights import trace
from tests.support.tracer import stand_in


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small pipeline, traced by a stand-in; beside it `file.safetensors` with its weights, and `bare` without."""
    stand_in(monkeypatch, trace)
    made = write_small_sd15(tmp_path / "whole")
    write_original(made, tmp_path / "file.safetensors", SD15)
    without_weights(shutil.copytree(made, tmp_path / "bare"))
    return made


def test_graphs_and_weights_are_the_folders(folder: Path, tmp_path: Path, command: Command) -> None:
    file, bare, out = tmp_path / "file.safetensors", tmp_path / "bare", tmp_path / "out"
    assert command("compile", folder, "-o", tmp_path / "wanted", "--progress", "never").code == 0
    done = command("compile", file, "--config", bare, "-o", out, "--progress", "never", "--cache-dir", tmp_path / "c")
    assert done.code == 0, done.err
    wanted, made = tree(tmp_path / "wanted"), tree(out)
    assert {name for name in wanted if wanted[name] != made[name]} == {"manifest.json"}
    manifest = json.loads(made["manifest.json"])
    assert {"checkpoint/file.safetensors", "unet/config.json"} < manifest["inputs"].keys()
    assert not [name for name in manifest["inputs"] if name.endswith("model.safetensors")]
    assert str(tmp_path) not in made["manifest.json"].decode()
    checked = command("compile", file, "--config", bare, "-o", out, "--check")
    assert checked.code == 0, checked.err
    # Another file of the same names and shapes is another source.
    tensors = load_file(file)
    tensors["model.diffusion_model.input_blocks.0.0.bias"] += 1
    save_file(tensors, file)
    again = command("compile", file, "--config", bare, "-o", out, "--progress", "never", "--cache-dir", tmp_path / "c")
    assert again.code == 0, again.err
    assert {name for name in made if made[name] != tree(out)[name]} == {
        "unet_variables/data_0",
        "manifest.json",
    }
    listed = command("components", file, "--config", bare, "--json")
    assert [part["name"] for part in listed.document["parts"]] == ["unet", "vae", "text_encoder", "scheduler"]


def test_what_is_refused(folder: Path, tmp_path: Path, command: Command) -> None:
    file, bare = tmp_path / "file.safetensors", tmp_path / "bare"

    def refused(code: int, *arguments: str | Path) -> str:
        answer: Answer = command("compile", *arguments, "-o", tmp_path / "out", "--progress", "never")
        assert answer.code == code, answer.err
        assert not (tmp_path / "out").exists()
        return answer.error

    for options in ((), ("--dtype", "float16")):
        assert "and no configuration: give --config FOLDER, a pipeline" in refused(3, file, *options)
    assert "names the configurations of a single file of weights, and" in refused(2, folder, "--config", bare)
    assert "is not there" in refused(2, tmp_path / "absent.safetensors", "--config", bare)
    assert "'absent' does not exist, and is not a hub id" in refused(3, file, "--config", "absent")
    (tmp_path / "m.ckpt").write_bytes(b"\x80\x02}q\x00.")
    assert "is a pickle, which can run code" in refused(3, tmp_path / "m.ckpt", "--config", bare)
    save_file({**load_file(file), "odd.weight": load_file(file)["alphas_cumprod"]}, tmp_path / "odd.safetensors")
    assert "has tensor 'odd.weight', and " in refused(3, tmp_path / "odd.safetensors", "--config", bare)


def written(kind: str, folder: Path) -> Path:
    """A small pipeline of that kind, with weights."""
    if kind == "sdxl":
        return write_small_xl(folder)
    folder.mkdir()
    if kind == "sd15":
        write_demo(folder)
        return folder
    write_configs(folder, Small("FluxPipeline", {"transformer": SMALL["flux"].models["transformer"]}))
    (folder / "scheduler").mkdir()
    write_json(folder / "scheduler" / "scheduler_config.json", {"_class_name": "FlowMatchEulerDiscreteScheduler"})
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    write_random(weights, flux_tensors(SMALL["flux"].models["transformer"]), "float32", "flux")
    return folder


@pytest.mark.slow
@pytest.mark.mindspore
@pytest.mark.parametrize("kind", ["sd15", "sdxl", "flux"])
def test_compiled_verified_and_run(kind: str, tmp_path: Path) -> None:
    """Real traces: the bytes of the folder's graphs and variables; of the demo, verified in full, and a picture."""
    whole = written(kind, tmp_path / "whole")
    names = {"sd15": SD15, "sdxl": SDXL, "flux": FLUX}[kind]
    file = write_original(whole, tmp_path / "file.safetensors", names)
    bare = without_weights(shutil.copytree(whole, tmp_path / "bare"))
    options = ("--verify", "full", "--require", "deployable") if kind == "sd15" else ()
    for source, out in ((("--config", bare, file), "out"), ((whole,), "wanted")):
        asked = (*options, "-o", tmp_path / out, "--progress", "never") if out == "out" else ("-o", tmp_path / out)
        done = inside("compile", *source, *asked)
        assert done.returncode == 0, done.stderr
    wanted, made = tree(tmp_path / "wanted"), tree(tmp_path / "out")
    files = [name for name in wanted if name.endswith((".mindir", "data_0"))]
    assert len(files) == {"sd15": 8, "sdxl": 10, "flux": 2}[kind]
    assert {name: made[name] for name in files} == {name: wanted[name] for name in files}
    if kind == "sd15":
        done = inside("run", tmp_path / "out", "--prompt", "a cat", "--steps", "1", "-o", tmp_path / "cat.png")
        assert done.returncode == 0, done.stderr
