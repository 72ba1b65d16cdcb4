"""`compile --golden`: what the unfused graphs came to lies in the output, with limits, and the same each time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from attnfuse.measured import measure
from attnfuse.pictures import align
from attnfuse_runtime.backends import CpuBackend
from attnfuse_runtime.pipeline import Pipeline
from tests.support.console import inside
from tests.support.painter import Painted


@pytest.fixture
def golden(painted: Painted, tmp_path: Path) -> Path:
    out = tmp_path / "golden_out"
    done = inside("compile", painted.source, "-o", out, "--golden", "--progress", "never")
    assert done.returncode == 0, done.stderr
    return out


def test_what_is_written(golden: Path, painted: Painted, tmp_path: Path) -> None:
    index = json.loads((golden / "golden" / "golden.json").read_bytes())
    assert (index["schema"], index["steps"], index["seed"]) == ("attnfuse.golden/1", 3, 0)
    counts = {"text_encoder": 2, "unet": 3, "vae_decoder": 1}
    assert [run["file"] for run in index["runs"]] == [f"{name}_{n}.npz" for name in counts for n in range(counts[name])]
    # No manifest lists them: on another machine numbers may differ in the last digit.
    assert not any("golden" in name for name in json.loads((golden / "manifest.json").read_bytes())["outputs"])
    for script in (align, measure):
        path = Path(str(script.__file__))
        assert (golden / path.name).read_bytes() == path.read_bytes()
    compiled = Pipeline.from_folder(painted.out, CpuBackend())
    for run in index["runs"]:
        path = golden / "golden" / run["file"]
        assert run["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        arrays = np.load(path)
        for name, limits in run["outputs"].items():
            assert ("psnr_db" in limits) == (name == "image")
            assert arrays[f"output.{name}"].dtype == np.float16
            assert 0 < limits["max_abs"] < 0.1
            assert 0.999 < limits["cosine"] < 1
        inputs = {key.removeprefix("input."): arrays[key] for key in arrays.files if key.startswith("input.")}
        given = compiled[run["component"]](**inputs)
        apart = {name: np.abs(given[name] - arrays[f"output.{name}"]).max() for name in run["outputs"]}
        assert {name: apart[name] <= run["outputs"][name]["max_abs"] for name in apart} == dict.fromkeys(apart, True)
        assert (run["component"] == "unet") == any(apart.values())  # what is fused computes in another order


def test_the_same_again_and_gone_without(golden: Path, painted: Painted) -> None:
    def content() -> dict[str, bytes]:
        return {path.relative_to(golden).as_posix(): path.read_bytes() for path in golden.rglob("*") if path.is_file()}

    first = content()
    for options in (["--golden"], []):
        done = inside("compile", painted.source, "-o", golden, "--progress", "never", *options)
        assert done.returncode == 0, done.stderr
        assert content() == {
            name: data for name, data in first.items() if options or not name.startswith(("golden", "align", "measure"))
        }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--component", "unet"], "--golden runs all components of a pipeline"),
        (["--dynamic", "batch"], "--golden runs all components of a pipeline"),
        (["--check"], "--check compares, and --golden is no part of that"),
    ],
)
def test_what_makes_no_picture_is_refused(painted: Painted, given: list[str], said: str) -> None:
    done = inside("compile", painted.source, "-o", painted.out.with_name("new"), "--golden", *given)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert not painted.out.with_name("new").exists()


def test_a_pipeline_without_a_loop_is_refused(painted: Painted) -> None:
    index = painted.source / "model_index.json"
    own = index.read_text()
    for name, said in (
        ("StableDiffusionLDM3DPipeline", "there is no loop for StableDiffusionLDM3DPipeline, but for"),
        ("StableDiffusionImg2ImgPipeline", "a picture of a prompt, and StableDiffusionImg2ImgPipeline needs image too"),
    ):
        index.write_text(own.replace("StableDiffusionPipeline", name))
        done = inside("compile", painted.source, "-o", painted.out.with_name("new"), "--golden", "--progress", "never")
        assert (done.returncode, said in done.stderr) == (3, True), done.stderr
        assert not painted.out.with_name("new").exists()
    graph = painted.out / "unet_graph.mindir"
    done = inside("compile", graph, "-o", painted.out.with_name("new"), "--golden")
    assert (done.returncode, "or name a pipeline" in done.stderr) == (2, True)
    done = inside("compile", painted.source, "--dry-run", "--golden")
    assert (done.returncode, "--golden writes into the output" in done.stderr) == (2, True)
