"""From a picture to a policy: what `run --record` kept of it is what tune measures on, and what is compiled by."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from attnfuse.tracing.demo import write_demo
from tests.support.console import inside

pytestmark = [pytest.mark.slow, pytest.mark.mindspore]

SHAPES = ("--height", "64", "--width", "64", "--progress", "never")
LARGE = 30.0
"""What the text encoder's states are multiplied by; keys are as without it."""
AT = "up_blocks.1.attentions.0.transformer_blocks.0.attn2"
GAIN = 4000.0
"""Of this attention's values, which drawn states leave below 65504, and those of a text do not."""


def demo(folder: Path) -> Path:
    """The demo pipeline, with the states of a text that large, and one attention whose values float16 cannot hold."""
    folder.mkdir()
    write_demo(folder)
    text, unet = folder / "text_encoder" / "model.safetensors", folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(text)
    for name in ("weight", "bias"):
        weights[f"text_model.final_layer_norm.{name}"] *= np.float32(LARGE)
    save_file(weights, text)
    weights = load_file(unet)
    for name in weights:
        if name.endswith("attn2.to_k.weight"):
            weights[name] /= np.float16(LARGE)
    weights[f"{AT}.to_v.weight"] *= np.float16(GAIN)
    weights[f"{AT}.to_out.0.weight"] /= np.float16(GAIN)
    save_file(weights, unet)
    return folder


def test_what_a_picture_meets_decides(tmp_path: Path) -> None:
    source, out, recorded = demo(tmp_path / "demo"), tmp_path / "out", tmp_path / "recorded"
    shared = ("--dtype", "float32", "--cache-dir", tmp_path / "cache", *SHAPES)
    # In float16 the picture would be no number: it is made with the formula.
    made = inside("compile", source, "-o", out, "--no-flash", "*", "--exclude", "vae_encoder", *shared)
    assert made.returncode == 0, made.stderr
    ran = inside(
        *("run", out, "--prompt", "a cat", "--steps", "2", "-o", tmp_path / "cat.png", "--record", recorded),
        *("--progress", "never"),
    )
    assert ran.returncode == 0, ran.stderr
    found = {}
    for name, data in (("drawn", ()), ("recorded", ("--data", recorded))):
        policy = tmp_path / f"{name}.toml"
        tuned = inside(
            "tune", source, "--component", "unet", "--budget", "1e-2", "-o", policy, "--json", *shared, *data
        )
        assert tuned.returncode == 0, tuned.stderr
        (found[name],) = json.loads(tuned.stdout)["components"]
    in_float16 = {
        name: {
            site
            for block in one["blocks"]
            if block["settings"].get("force_cast_dtype") == "float16"
            for site in block["sites"]
        }
        for name, one in found.items()
    }
    assert len(found["recorded"]["inputs"]) == len(list((recorded / "unet").iterdir())) > 1
    # Those that are alike go with it where bfloat16 costs no more.
    left = in_float16["drawn"] - in_float16["recorded"]
    assert f"unet/{AT}" in left
    assert len(left) <= 5
    assert all(site.endswith("attn2") for site in left)
    assert "inf" in [one["error"] for one in found["recorded"]["uniform"]]
    assert "inf" not in [one["error"] for one in found["drawn"]["uniform"]]
    # The picture of the one is a picture, that of the other no number.
    for name, code in (("recorded", 0), ("drawn", 3)):
        rules = ("--policy", tmp_path / f"{name}.toml", "--strict-policy")
        compiled = inside("compile", source, "-o", out, "--component", "unet", *rules, *shared)
        assert compiled.returncode == 0, compiled.stderr
        picture = tmp_path / f"{name}.png"
        again = inside("run", out, "--prompt", "a cat", "--steps", "2", "-o", picture, "--progress", "never")
        assert (again.returncode, picture.exists()) == (code, code == 0), again.stderr
