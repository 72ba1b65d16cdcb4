"""--vae: the VAE of another repository in the place of the pipeline's, told in report, manifest and configurations."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from attnfuse.output import digest
from attnfuse.tracing.demo import VAE, write_demo, write_json
from attnfuse.tracing.layout import vae_tensors
from attnfuse.tracing.random_weights import write_random
from tests.cli.conftest import Answer, Command, tree
from tests.support.checkpoints import SMALL_VAE, write_model, write_small_sd15
from tests.support.console import inside
from tests.support.traced_weights import trace
from tests.support.tracer import stand_in

OTHER: dict[str, Any] = {**SMALL_VAE, "scaling_factor": 0.5}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small pipeline, traced by a stand-in; beside it the VAE `other`."""
    stand_in(monkeypatch, trace)
    write_model(tmp_path / "other", OTHER)
    return write_small_sd15(tmp_path / "whole")


@pytest.mark.usefixtures("verifying")
def test_it_takes_the_place_of_the_pipelines(folder: Path, tmp_path: Path, command: Command) -> None:
    # The same by hand.
    by_hand = shutil.copytree(folder, tmp_path / "by_hand")
    shutil.rmtree(by_hand / "vae")
    shutil.copytree(tmp_path / "other", by_hand / "vae")
    given, out = ("--vae", tmp_path / "other"), tmp_path / "out"
    assert command("compile", by_hand, "-o", tmp_path / "wanted", "--progress", "never").code == 0
    done = command("compile", folder, "-o", out, *given, "--verify", "static", "--progress", "never")
    assert done.code == 0, done.err
    wanted, made = tree(tmp_path / "wanted"), tree(out)
    told = {"README.md", "manifest.json", "report.json", "report.html", "verification.json"}
    assert {name for name in made if made[name] != wanted.get(name)} <= told
    manifest, report = (json.loads(made[f"{name}.json"]) for name in ("manifest", "report"))
    assert manifest["pipeline"]["vae"]["scaling_factor"] == 0.5
    weights = "vae/diffusion_pytorch_model.safetensors"
    assert manifest["inputs"][weights]["sha256"] == digest(tmp_path / "other" / Path(weights).name).sha256
    for document in (manifest, report):
        fixed = {one["name"]: {f["name"]: f["value"] for f in one["fixed"]} for one in document["components"]}
        whose = {name: values["vae"]["source"] for name, values in fixed.items() if "vae" in values}
        assert whose == {"vae_decoder": "other", "vae_encoder": "other"}
    # Who comes after gives the same.
    verified = command("verify", folder, out, "--level", "static", *given)
    assert verified.code == 0, verified.err
    refused = command("verify", folder, out, "--level", "static", "--component", "vae_decoder")
    assert (refused.code, "was compiled with the VAE that --vae gave then" in refused.error) == (2, True)
    refused = command("compile", folder, "-o", out, "--component", "vae_decoder", "--progress", "never")
    assert (refused.code, "compile" in refused.error) == (2, True)


def test_that_of_a_pipeline_and_what_is_refused(folder: Path, tmp_path: Path, command: Command) -> None:
    def refused(code: int, source: Path, vae: Path) -> str:
        answer: Answer = command("compile", source, "-o", tmp_path / "out", "--vae", vae, "--progress", "never")
        assert answer.code == code, answer.err
        assert not (tmp_path / "out").exists()
        return answer.error

    listed = command("components", folder, "--vae", write_small_sd15(tmp_path / "another"), "--json")
    assert listed.code == 0, listed.err
    (vae,) = (part for part in listed.document["parts"] if part["name"] == "vae")
    assert [one["name"] for one in vae["components"]] == ["vae_decoder", "vae_encoder"]
    assert "has no vae that another could take the place of; drop --vae" in refused(
        2, folder / "unet", tmp_path / "other"
    )
    shutil.copytree(folder / "unet", tmp_path / "p" / "unet")
    write_json(tmp_path / "p" / "model_index.json", {"_class_name": "P", "unet": ["diffusers", "UNet2DConditionModel"]})
    assert "has no folder 'vae'" in refused(3, folder, tmp_path / "p")
    write_model(tmp_path / "wide", {**SMALL_VAE, "latent_channels": 8})
    assert "latent_channels" in refused(3, folder, tmp_path / "wide")
    (tmp_path / "g.mindir").write_bytes(b"x")
    assert "is a traced graph; --vae is for pipelines" in refused(2, tmp_path / "g.mindir", tmp_path / "other")


@pytest.mark.slow
@pytest.mark.mindspore
def test_compiled_verified_and_run(tmp_path: Path) -> None:
    """The demo with another VAE, of another scale: verified in full, and the picture of the same folder by hand."""
    demo, other, by_hand = tmp_path / "demo", tmp_path / "other", tmp_path / "by_hand"
    demo.mkdir()
    write_demo(demo)
    other.mkdir()
    write_json(other / "config.json", {**VAE, "scaling_factor": 0.3})
    write_random(other / "diffusion_pytorch_model.safetensors", vae_tensors(VAE), "float16", "other")
    shutil.copytree(demo, by_hand)
    shutil.rmtree(by_hand / "vae")
    shutil.copytree(other, by_hand / "vae")
    options = ("--verify", "full", "--require", "deployable", "--progress", "never")
    for source, out in (((demo, "--vae", other, *options), "out"), ((by_hand,), "wanted")):
        done = inside("compile", *source, "-o", tmp_path / out)
        assert done.returncode == 0, done.stderr
        done = inside("run", tmp_path / out, "--prompt", "a cat", "--steps", "1", "-o", tmp_path / f"{out}.png")
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.png").read_bytes() == (tmp_path / "wanted.png").read_bytes()
