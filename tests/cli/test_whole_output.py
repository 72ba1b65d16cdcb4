"""An output is the whole pipeline but for its weights: what a loop reads in the source it reads there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from attnfuse.report.model import Manifest, ManifestPipeline, ManifestVae
from attnfuse.tracing.demo import SCHEDULER, write_json, write_tokenizer
from attnfuse_runtime import schedulers
from attnfuse_runtime.manifest import read_manifest
from attnfuse_runtime.tokenizer import Tokenizer
from tests.cli.conftest import NAMES, Command, Run, tree
from tests.support.graphs import transformer


@pytest.fixture
def whole(source: Path) -> Path:
    """The source with what is no network: a scheduler and a tokenizer."""
    index = json.loads((source / "model_index.json").read_bytes())
    for name in ("scheduler", "tokenizer"):
        (source / name).mkdir()
    write_json(source / "scheduler" / "scheduler_config.json", SCHEDULER)
    write_tokenizer(source / "tokenizer", 77)
    parts = {"scheduler": ["diffusers", "PNDMScheduler"], "tokenizer": ["transformers", "CLIPTokenizer"]}
    write_json(source / "model_index.json", {**index, **parts})
    return source


def pipeline(out: Path) -> ManifestPipeline:
    found = Manifest.model_validate_json((out / "manifest.json").read_bytes()).pipeline
    assert found is not None
    return found


def test_a_loop_reads_there_what_it_reads_in_the_source(compiled: Run, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = json.loads((whole / "vae/config.json").read_text())
    write_json(whole / "vae/config.json", {**config, "latents_mean": [0.5, -1]})
    compiled()
    for name in ("model_index.json", "vae/config.json", "scheduler/scheduler_config.json", "tokenizer/vocab.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    ours, theirs = (Tokenizer.from_folder(folder / "tokenizer")(["a cat"]).ids for folder in (out, whole))
    assert (ours == theirs).all()
    scheduler = schedulers.from_config(json.loads((out / "scheduler" / "scheduler_config.json").read_text()))
    assert scheduler.init_noise_sigma == 1
    found = pipeline(out)
    assert (found.class_name, found.source, found.guidance_rows) == ("StableDiffusionPipeline", None, 2)
    assert found.timestep_dtype == "int64"
    assert (found.height, found.width, found.frames) == (16, 16, None)
    assert found.vae == ManifestVae(scaling_factor=0.18215, latent_channels=4, scale_factor=2, latents_mean=(0.5, -1.0))
    assert {"tokenizer/tokenizer.json", "unet/config.json"} < {*found.files}
    assert not any(name.endswith(".safetensors") for name in tree(out))
    manifest = read_manifest(out)
    assert [one.config for one in manifest.components.values()] == [out / "configs" / f"{name}.cfg" for name in NAMES]


def test_component_by_component_is_all_at_once(compiled: Run, whole: Path, tmp_path: Path) -> None:
    compiled()
    at_once = tree(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    for name in ("vae_encoder", "unet", "vae_decoder"):
        compiled(name)
    assert tree(tmp_path / "out") == at_once
    compiled("unet", options=("--check",))
    (tmp_path / "out" / "README.md").write_text("notes")
    assert "README.md differs" in compiled("unet", options=("--check",), code=1).error


def test_of_two_sources_nothing_is_mixed(compiled: Run, whole: Path, tmp_path: Path) -> None:
    compiled("unet")
    before = tree(tmp_path / "out")
    write_json(whole / "scheduler" / "scheduler_config.json", {**SCHEDULER, "beta_end": 0.02})
    error = compiled("vae_decoder", code=2).error
    assert "holds unet, whose source had another scheduler/scheduler_config.json: compile all of it, or choose" in error
    assert tree(tmp_path / "out") == before
    compiled(*NAMES)
    (tmp_path / "out" / "tokenizer" / "tokenizer.json").write_text("{}")
    error = compiled("vae_decoder", code=2).error
    assert "tokenizer.json is not what attnfuse wrote there: compile all of it" in error
    compiled()


def test_a_single_model_beside_a_pipeline(compiled: Run, whole: Path, tmp_path: Path) -> None:
    compiled("unet", "vae_encoder")
    facts = pipeline(tmp_path / "out")
    shutil.copytree(whole / "vae", tmp_path / "alone")
    compiled("vae_decoder", given=tmp_path / "alone")
    assert pipeline(tmp_path / "out") == facts
    shutil.rmtree(tmp_path / "out")
    compiled("vae_decoder", given=tmp_path / "alone")
    assert pipeline(tmp_path / "out").files == ("vae/config.json",)
    compiled("unet")
    assert pipeline(tmp_path / "out") == facts


def test_an_incremental_compile_takes_it_along(compiled: Run, whole: Path, tmp_path: Path) -> None:
    options = ("--cache-dir", tmp_path / "cache")
    compiled(options=options)
    before = tree(tmp_path / "out")
    compiled(options=options)
    assert tree(tmp_path / "out") == before
    write_json(whole / "scheduler" / "scheduler_config.json", {**SCHEDULER, "beta_end": 0.02})
    compiled(options=options)
    after = tree(tmp_path / "out")
    changed = sorted(name for name in after if after[name] != before[name])
    assert changed == ["manifest.json", "scheduler/scheduler_config.json"]


def test_a_tokenizer_that_cannot_be_made_is_told(compiled: Run, whole: Path, tmp_path: Path) -> None:
    (whole / "tokenizer" / "merges.txt").unlink()
    compiled()
    report = json.loads((tmp_path / "out" / "report.json").read_bytes())
    (told,) = (text for text in report["warnings"] if "tokenizer" in text)
    assert told.startswith("no tokenizer/tokenizer.json was made")
    assert "its merges.txt cannot be read" in told
    assert not (tmp_path / "out" / "tokenizer" / "tokenizer.json").exists()
    compiled("unet", options=("--check",))


def test_an_output_is_no_source(command: Command, compiled: Run, whole: Path, tmp_path: Path) -> None:
    compiled()
    out = tmp_path / "out"
    for arguments in (
        ["compile", out, "-o", tmp_path / "again"],
        ["inspect", out],
        ["components", out],
        ["compile", out, "--dry-run"],
    ):
        answer = command(*arguments)
        assert answer.code == 2
        assert (
            "was compiled by attnfuse already; its source was a folder of StableDiffusionPipeline: name" in answer.error
        )
    assert not (tmp_path / "again").exists()
    graph = transformer(sites=1).write(tmp_path / "in.mindir")
    assert command("compile", graph, "-o", tmp_path / "graphs").code == 0
    assert "its source was graphs that were traced before" in command("inspect", tmp_path / "graphs").error
    # A folder with a manifest of somebody else's is what it is.
    (whole / "manifest.json").write_text('{"schema": "somebody/1"}')
    compiled()


def test_a_graph_that_was_written_before_is_told(command: Command, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    graph = transformer(sites=1).write(tmp_path / "in" / "unet.mindir")
    said = "unet: attnfuse wrote this graph"
    assert said not in command("compile", graph, "-o", tmp_path / "once").err
    assert said in command("compile", tmp_path / "once" / "unet.mindir", "-o", tmp_path / "twice").err
    assert said in command("inspect", tmp_path / "twice" / "unet.mindir").err
    assert command("compile", graph, "-o", tmp_path / "file" / "unet.mindir").code == 0
    assert said in command("inspect", tmp_path / "file" / "unet.mindir").err
    shutil.copy(tmp_path / "twice" / "manifest.json", tmp_path / "in")
    assert said not in command("inspect", graph).err
