"""The demo pipeline: the same bytes every time, and Stable Diffusion 1.5's structure."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from safetensors import safe_open

from attnfuse.tracing.demo import UNET, write_demo


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_bytes_each_time(demo_folder: Path, tmp_path: Path) -> None:
    write_demo(tmp_path)
    found = digests(tmp_path)
    assert found == digests(demo_folder)
    # Whoever changes a byte of the demo raises DEMO_VERSION, or caches keep the old one, and then this digest.
    assert hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16] == "62f6e177612221d6"


def test_layout(demo_folder: Path) -> None:
    assert set(digests(demo_folder)) == {
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/merges.txt",
        "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    }


def test_structure_of_stable_diffusion_15() -> None:
    heads = {width // UNET["attention_head_dim"] for width in UNET["block_out_channels"]}
    assert heads == {8, 16}  # one head size that is not a multiple of 16, as 40 is, and one that is
    assert UNET["down_block_types"] == ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
    assert UNET["layers_per_block"] == 2


def test_tokenizer_covers_every_byte(demo_folder: Path) -> None:
    vocabulary = json.loads((demo_folder / "tokenizer" / "vocab.json").read_text(encoding="utf-8"))
    assert sorted(vocabulary.values()) == list(range(514))
    assert vocabulary["<|startoftext|>"] == 512
    assert {"a", "a</w>", "Ġ", "Ċ"} <= set(vocabulary)


def test_stored_types_are_mixed_as_on_the_hub(demo_folder: Path) -> None:
    types = {}
    for path in sorted(demo_folder.glob("*/*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            types[path.parent.name] = {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
    assert types == {"text_encoder": {"F32"}, "unet": {"F16"}, "vae": {"F32"}}
