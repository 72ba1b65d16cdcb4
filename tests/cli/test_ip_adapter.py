"""--ip-adapter: in the UNet, with its image encoder; told in documents, asked for again, and looked at by `run`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attnfuse.output import digest
from attnfuse.tracing.demo import UNET, write_demo
from tests.cli.conftest import Command, tree
from tests.support import forks
from tests.support.checkpoints import SD21_UNET, write_small_sd15
from tests.support.console import inside
from tests.support.ip_adapters import write_image_encoder, write_ip_adapter
from tests.support.traced_weights import trace
from tests.support.tracer import stand_in

OF_SD15 = {**SD21_UNET, "cross_attention_dim": 32}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small pipeline, traced by a stand-in."""
    stand_in(monkeypatch, trace)
    return write_small_sd15(tmp_path / "whole")


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """An adapter, with an image encoder beside it."""
    write_image_encoder(tmp_path / "models" / "image_encoder")
    return write_ip_adapter(tmp_path / "models" / "ip-adapter_sd15.safetensors", OF_SD15)


@pytest.mark.usefixtures("verifying")
def test_it_is_told_and_asked_for_again(folder: Path, adapter: Path, tmp_path: Path, command: Command) -> None:
    out, given = tmp_path / "out", ("--ip-adapter", f"{adapter}@0.5")
    done = command("compile", folder, "-o", out, *given, "--verify", "static", "--progress", "never")
    assert done.code == 0, done.err
    made = tree(out)
    manifest, report = (json.loads(made[f"{name}.json"]) for name in ("manifest", "report"))
    sha256 = digest(adapter).sha256
    entry = {"file": "ip-adapter_sd15.safetensors", "sha256": sha256, "scale": 0.5}
    for document in (manifest, report):
        fixed = {one["name"]: {f["name"]: f["value"] for f in one["fixed"]} for one in document["components"]}
        assert {name: values["ip_adapter"] for name, values in fixed.items() if "ip_adapter" in values} == {
            "unet": [entry]
        }
    of_file = f"ip_adapter/{sha256[:12]}/ip-adapter_sd15.safetensors"
    assert manifest["inputs"][of_file]["sha256"] == sha256
    assert manifest["inputs"]["image_encoder/model.safetensors"]["bytes"] > 1000
    sources = {one["name"]: one["sources"] for one in manifest["components"]}
    assert [of_file in sources["unet"], of_file in sources["image_encoder"]] == [True, False]
    assert json.loads(made["model_index.json"])["image_encoder"] == ["transformers", "CLIPVisionModelWithProjection"]
    assert made["image_encoder/config.json"] == (tmp_path / "models/image_encoder/config.json").read_bytes()
    assert str(tmp_path).encode() not in made["manifest.json"]
    # Who comes after gives the same.
    verified = command("verify", folder, out, "--level", "static", *given)
    assert verified.code == 0, verified.err
    for other in ((), ("--ip-adapter", adapter)):
        refused = command("verify", folder, out, "--level", "static", "--component", "unet", *other)
        assert (refused.code, "or IP-Adapters than --lora" in refused.error) == (2, True)
        refused = command("compile", folder, "-o", out, "--component", "vae_decoder", "--progress", "never", *other)
        assert (refused.code, "unet with other LoRAs, textual inversions or IP-Adapters" in refused.error) == (2, True)
    assert command("compile", folder, "-o", out, "--component", "vae_decoder", "--progress", "never", *given).code == 0
    assert set(tree(out)) == set(made)


def test_what_is_refused(folder: Path, adapter: Path, tmp_path: Path, command: Command) -> None:
    def refused(code: int, *arguments: str | Path, source: Path = folder) -> str:
        answer = command("compile", source, "-o", tmp_path / "out", "--progress", "never", *arguments)
        assert answer.code == code, answer.err
        assert not (tmp_path / "out").exists()
        return answer.error

    assert "it is given 2 times; one is supported" in refused(2, "--ip-adapter", adapter, "--ip-adapter", adapter)
    assert "a file is needed; it was given an empty one" in refused(2, "--ip-adapter", "")
    assert "does not exist, or is no file" in refused(3, "--ip-adapter", "absent.safetensors")
    assert "an IP-Adapter is for the UNet of" in refused(2, "--ip-adapter", adapter, source=folder / "vae")
    used = refused(2, "--ip-adapter", adapter, "--component", "vae_decoder")
    assert f"the IP-Adapter {adapter} is for unet, and none of that is compiled; drop it" in used
    assert "an IP-Adapter looks at a picture; drop one" in refused(2, "--ip-adapter", adapter, "--golden")
    (tmp_path / "g.mindir").write_bytes(b"x")
    graph = refused(2, "--ip-adapter", adapter, source=tmp_path / "g.mindir")
    assert "is a traced graph; --ip-adapter is for pipelines" in graph
    listed = command("components", folder, "--ip-adapter", adapter, "--json")
    assert listed.code == 0, listed.err
    assert [part["name"] for part in listed.document["parts"] if part["components"]][-1] == "image_encoder"


@pytest.mark.slow
@pytest.mark.mindspore
@pytest.mark.parametrize("kind", ["plain", "plus"])
def test_compiled_verified_and_run(tmp_path: Path, kind: str) -> None:
    """The demo with an adapter: verified in full, and the latents of mindone's own pipeline with the same noise."""
    demo, out, models = tmp_path / "demo", tmp_path / "out", tmp_path / "adapters" / "models"
    demo.mkdir()
    write_demo(demo)
    write_image_encoder(models / "image_encoder")
    file = write_ip_adapter(models / "ip.safetensors", UNET, kind)
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (40, 30, 3), np.uint8)).save(picture)
    given = ("--ip-adapter", f"{file}@0.5", "--height", "64", "--width", "64", "--progress", "never")
    done = inside("compile", demo, "-o", out, *given, "--verify", "full", "--require", "deployable")
    assert done.returncode == 0, done.stderr
    report = json.loads((out / "report.json").read_text())
    (unet,) = (one for one in report["components"] if one["name"] == "unet")
    # Each of the 16 cross-attentions has another, and a resampler four.
    assert (unet["totals"]["sites"], unet["totals"]["fused"]) == (48 + 4 * (kind == "plus"),) * 2
    own = tmp_path / "float32"
    done = inside("compile", demo, "-o", own, *given, "--dtype", "float32", "--no-flash", "*")
    assert done.returncode == 0, done.stderr
    done = forks.script("-m", "tests.support.adapted_loops", str(demo), str(own), str(file), str(picture))
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["latents"] <= 2 * found["exact"] + 1e-5
    assert found["effect"] > 100 * found["latents"]
    done = inside("run", out, "--prompt", "a cat", "--steps", "1", "-o", tmp_path / "none.png")
    assert (done.returncode, "give ip_adapter_image" in done.stderr) == (2, True)
    looked = ("--ip-adapter-image", picture, "--ip-adapter-scale", "0.1")
    done = inside("run", out, "--prompt", "a cat", "--steps", "1", "-o", tmp_path / "made.png", *looked)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made.png").is_file()
