"""What an output has of its source: its configurations and tokenizers, no weights, and nothing from anywhere else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from attnfuse.tracing import carried as module
from attnfuse.tracing.carried import Carried, PipelineFacts, VaeFacts
from attnfuse.tracing.demo import write_json
from attnfuse.tracing.tokenizer_files import NotMadeError
from attnfuse_runtime.tokenizer import Tokenizer

SIZES = {"batch": 2, "rows": 4, "height": 128, "width": 64, "latent_height": 16, "latent_width": 8, "tokens": 77}


def carried(folder: Path, sizes: dict[str, int] | None = None, model: str = "", **more: Any) -> Carried:
    return module.carried(folder, {} if sizes is None else sizes, model, **more)


def made(folder: Path, class_name: str) -> bytes:
    return f"{class_name} of {' '.join(sorted(path.name for path in folder.iterdir()))}".encode()


def pipeline(folder: Path, **parts: list[Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "model_index.json", {"_class_name": "StableDiffusionPipeline", **parts})
    return folder


def test_the_demo_pipeline(demo_folder: Path, tmp_path: Path) -> None:
    found = carried(demo_folder, SIZES)
    assert list(found.files) == [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "tokenizer/merges.txt",
        "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "unet/config.json",
        "vae/config.json",
    ]
    own = {name: content for name, content in found.files.items() if name != "tokenizer/tokenizer.json"}
    assert own == {name: (demo_folder / name).read_bytes() for name in own}
    assert found.warnings == ()
    vae = VaeFacts(scaling_factor=0.18215, latent_channels=4, scale_factor=8)
    assert found.facts == PipelineFacts("StableDiffusionPipeline", height=128, width=64, guidance_rows=2, vae=vae)
    assert carried(demo_folder, SIZES) == found
    for name, content in found.files.items():
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_bytes(content)
    ours, fallback = (Tokenizer.from_folder(folder / "tokenizer") for folder in (tmp_path / "out", demo_folder))
    assert (ours(["a cat"]).ids == fallback(["a cat"]).ids).all()


def test_other_facts(tmp_path: Path) -> None:
    """Of a VAE with a shift and other names; of frames; of a configuration that says nothing."""
    pipeline(tmp_path, vae=["diffusers", "AutoencoderKL"])
    (tmp_path / "vae").mkdir()
    known = {"scaling_factor": 0.3611, "shift_factor": 0.1159, "z_dim": 16, "block_out_channels": [8, 8, 8]}
    write_json(tmp_path / "vae" / "config.json", {**known, "latent_channels": None})
    found = carried(tmp_path, {"height": 64, "width": 64, "frames": 9}).facts
    assert (found.frames, found.guidance_rows) == (9, None)
    assert found.vae == VaeFacts(0.3611, 0.1159, 16, 4)
    (tmp_path / "vae" / "config.json").write_text("[]")
    assert carried(tmp_path).facts.vae is None
    (tmp_path / "vae" / "config.json").write_text("{")
    assert carried(tmp_path).facts.vae is None


def test_mean_and_deviation_of_latents(tmp_path: Path) -> None:
    """Of a configuration, or else of the weights, as LTX-Video has them; of weights that cannot be read, none."""
    pipeline(tmp_path, vae=["diffusers", "AutoencoderKLLTXVideo"])
    (tmp_path / "vae").mkdir()
    write_json(tmp_path / "vae/config.json", {"latent_channels": 2, "latents_std": [2, 0.5]})
    weights = {"latents_mean": np.array([0.25, -1], np.float16), "latents_std": np.ones(2, np.float16)}
    save_file(weights, tmp_path / "vae/diffusion_pytorch_model.safetensors")
    found = carried(tmp_path).facts.vae
    assert found == VaeFacts(latent_channels=2, latents_mean=(0.25, -1.0), latents_std=(2.0, 0.5))
    (tmp_path / "vae/diffusion_pytorch_model.safetensors").write_bytes(b"damaged")
    assert carried(tmp_path).facts.vae == VaeFacts(latent_channels=2, latents_std=(2.0, 0.5))


def test_what_is_absent_is_absent(tmp_path: Path) -> None:
    pipeline(tmp_path, tokenizer=["transformers", "CLIPTokenizer"], feature_extractor=[None, None])
    found = carried(tmp_path)
    assert (list(found.files), found.warnings) == (["model_index.json"], ())


def test_a_single_model_is_called_as_in_a_pipeline(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"_class_name": "AutoencoderKL", "scaling_factor": 2})
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"weights")
    found = carried(tmp_path, model="vae")
    assert list(found.files) == ["vae/config.json"]
    assert found.facts == PipelineFacts(vae=VaeFacts(scaling_factor=2))


def test_a_tokenizer_that_has_its_json_keeps_it(tmp_path: Path) -> None:
    pipeline(tmp_path, tokenizer=["transformers", "T5TokenizerFast"], tokenizer_2=["transformers", "T5Tokenizer"])
    for name in ("tokenizer", "tokenizer_2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "spiece.model").write_bytes(b"model")
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
    files = carried(tmp_path, make=made).files
    assert files["tokenizer/tokenizer.json"] == b"{}"
    assert files["tokenizer_2/tokenizer.json"] == b"T5Tokenizer of spiece.model"


def test_one_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    pipeline(tmp_path, tokenizer=["transformers", "ChatTokenizer"])
    write_tokenizer_files(tmp_path / "tokenizer")

    def refuse(folder: Path, class_name: str) -> bytes:
        raise NotMadeError(f"{folder}/tokenizer.model cannot be read")

    found = carried(tmp_path, make=refuse)
    assert "tokenizer/tokenizer.model" in found.files
    (told,) = found.warnings
    assert told.startswith(
        "no tokenizer/tokenizer.json was made, which attnfuse-runtime reads texts with: tokenizer/tok"
    )
    assert told.endswith("enizer.model cannot be read; put one there")


def write_tokenizer_files(folder: Path) -> None:
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(b"model")


def hub(folder: Path) -> Path:
    """A snapshot of a hub cache, whose files are links to blobs."""
    repository = folder / "models--org--na--me"
    snapshot, blobs = repository / "snapshots" / ("1f" * 20), repository / "blobs"
    pipeline(snapshot, tokenizer=["transformers", "CLIPTokenizer"])
    (snapshot / "tokenizer").mkdir()
    blobs.mkdir()
    (blobs / "abc").write_text("merges")
    (snapshot / "tokenizer" / "merges.txt").symlink_to("../../../blobs/abc")
    return snapshot


def test_links_of_a_hub_cache_are_followed(tmp_path: Path) -> None:
    snapshot = hub(tmp_path)
    (tmp_path / "link").symlink_to(snapshot)
    for folder in (snapshot, tmp_path / "link"):
        found = carried(folder, make=made)
        assert found.files["tokenizer/merges.txt"] == b"merges"
        assert (found.facts.source, found.facts.revision) == ("org/na--me", "1f" * 20)
        assert found.warnings == ()
    inner = pipeline(snapshot / "inner", tokenizer=["transformers", "CLIPTokenizer"])
    (inner / "tokenizer").mkdir()
    (inner / "tokenizer" / "merges.txt").symlink_to("../../../../blobs/abc")
    assert carried(inner, make=made).files["tokenizer/merges.txt"] == b"merges"


OUT_OF_THE_FOLDER = "it is a link that leads out of the folder; put the file itself there"


def test_nothing_outside_is_followed(tmp_path: Path) -> None:
    folder = pipeline(
        tmp_path / "in", tokenizer=["a", "Tokenizer"], scheduler=["a", "B"], vae=["a", "B"], unet=["a", "B"]
    )
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "config.json").write_text("secret")
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "vocab.json").symlink_to(tmp_path / "secret")
    (folder / "tokenizer" / "merges.txt").symlink_to("merges.txt")  # to itself
    (folder / "scheduler").symlink_to(folder / "unet")
    (folder / "vae").symlink_to(tmp_path / "elsewhere")
    (folder / "unet").mkdir()
    (folder / "unet" / "scheduler_config.json").write_text("{}")
    os.mkfifo(folder / "unet" / "config.json")
    found = carried(folder)
    # A link to another part of the folder is followed.
    assert list(found.files) == ["model_index.json", "scheduler/scheduler_config.json", "unet/scheduler_config.json"]
    assert sorted(found.warnings) == [
        "scheduler/config.json of the source is not in the output: it is no regular file",
        "tokenizer/merges.txt of the source is not in the output: it is a link that leads to itself",
        f"tokenizer/vocab.json of the source is not in the output: {OUT_OF_THE_FOLDER}",
        "unet/config.json of the source is not in the output: it is no regular file",
        f"vae/config.json of the source is not in the output: {OUT_OF_THE_FOLDER}",
    ]


@pytest.mark.parametrize("name", [".hidden", "-o", "a b"])
def test_a_part_of_an_odd_name_is_left_alone(tmp_path: Path, name: str) -> None:
    folder = pipeline(tmp_path / "in", **{name: ["a", "B"]})
    write_json(tmp_path / "config.json", {})
    assert list(carried(folder).files) == ["model_index.json"]


def test_no_tokenizer_is_made_without_all_of_its_files(tmp_path: Path) -> None:
    """What a file that is left out says of tokens is not known."""
    folder = pipeline(tmp_path / "in", tokenizer=["a", "Tokenizer"])
    write_tokenizer_files(folder / "tokenizer")
    (tmp_path / "tokenizer.json").write_text("{}")
    (folder / "tokenizer" / "tokenizer.json").symlink_to(tmp_path / "tokenizer.json")
    found = carried(folder, make=made)
    assert list(found.files) == ["model_index.json", "tokenizer/tokenizer.model"]
    left_out, not_made = found.warnings
    assert left_out == f"tokenizer/tokenizer.json of the source is not in the output: {OUT_OF_THE_FOLDER}"
    assert not_made.endswith("reads texts with: tokenizer/tokenizer.json was left out; put one there")


@pytest.mark.parametrize("value", ["NaN", "1e999", "-Infinity", "1" * 400, "4.5"])
def test_numbers_of_the_vae_that_are_none(tmp_path: Path, value: str) -> None:
    folder = pipeline(tmp_path, vae=["diffusers", "AutoencoderKL"])
    (folder / "vae").mkdir()
    (folder / "vae" / "config.json").write_text(f'{{"scaling_factor": {value}, "latent_channels": {value}}}')
    found = carried(folder).facts.vae
    assert found is not None
    assert (found.scaling_factor, found.latent_channels) == (4.5 if value == "4.5" else None, None)


def test_large_files_are_no_configurations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 2**20)
    folder = pipeline(tmp_path, unet=["a", "B"])
    (folder / "unet").mkdir()
    (folder / "unet" / "config.json").write_bytes(b"x" * (2**20 + 1))
    assert carried(folder).warnings == ("unet/config.json of the source is not in the output: it has more than 1 MiB",)
    (folder / "unet" / "config.json").write_bytes(b"x" * 2**20)
    assert carried(folder).warnings == ()


def test_the_vae_of_another_folder(tmp_path: Path) -> None:
    """Its configuration and what it says; model_index.json names its class where that is another."""
    folder = pipeline(tmp_path / "p", vae=["diffusers", "AutoencoderKL"], unet=["diffusers", "UNet2DConditionModel"])
    for place, class_name, factor in (("p/vae", "AutoencoderKL", 0.1), ("a", "AutoencoderKL", 0.2), ("b", "Tiny", 0.3)):
        (tmp_path / place).mkdir()
        write_json(tmp_path / place / "config.json", {"_class_name": class_name, "scaling_factor": factor})
    same, other = carried(folder, vae=tmp_path / "a"), carried(folder, vae=tmp_path / "b")
    assert same.files["model_index.json"] == (folder / "model_index.json").read_bytes()
    assert json.loads(other.files["model_index.json"]) == {
        **json.loads(same.files["model_index.json"]),
        "vae": ["diffusers", "Tiny"],
    }
    assert [one.facts.vae and one.facts.vae.scaling_factor for one in (same, other)] == [0.2, 0.3]
    assert other.files["vae/config.json"] == (tmp_path / "b" / "config.json").read_bytes()
