"""From a picture to a policy: what `run --record` kept of it is what tune measures on, and what is compiled by."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from attnfuse.tracing.demo import write_demo
from attnfuse.tuning.choices import FORMULA
from tests.support.console import inside

pytestmark = [pytest.mark.slow, pytest.mark.mindspore]

SHAPES = ("--height", "64", "--width", "64", "--progress", "never")
LARGE = 2e4
"""What the text encoder's states are multiplied by: keys made of them leave float16, and no others."""


def demo(folder: Path) -> Path:
    """The demo pipeline, with the states of a text that large."""
    folder.mkdir()
    write_demo(folder)
    path = folder / "text_encoder" / "model.safetensors"
    weights = load_file(path)
    weights["text_model.final_layer_norm.weight"] *= np.float32(LARGE)
    save_file(weights, path)
    return folder


def test_what_a_picture_meets_decides(tmp_path: Path) -> None:
    source, out, recorded = demo(tmp_path / "demo"), tmp_path / "out", tmp_path / "recorded"
    shared = ("--dtype", "float32", "--cache-dir", tmp_path / "cache", *SHAPES)
    # In float16 the picture would be no number: it is made with the formula.
    made = inside("compile", source, "-o", out, "--no-flash", "*", *shared)
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
    kept = {
        name: {site for block in one["blocks"] if block["settings"] == FORMULA.settings for site in block["sites"]}
        for name, one in found.items()
    }
    assert len(found["recorded"]["inputs"]) == len(list((recorded / "unet").iterdir())) > 1
    assert not [site for site in kept["drawn"] if site.endswith("attn2")]
    assert [site for site in kept["recorded"] if site.endswith("attn2")]
    assert "inf" in [one["error"] for one in found["recorded"]["uniform"]]
    compiled = inside("compile", source, "-o", out, "--policy", tmp_path / "recorded.toml", "--json", *shared)
    assert compiled.returncode == 0, compiled.stderr
    again = inside("run", out, "--prompt", "a cat", "--steps", "2", "-o", tmp_path / "again.png", "--progress", "never")
    assert again.returncode == 0, again.stderr
    by_what_was_drawn = inside("compile", source, "-o", out, "--policy", tmp_path / "drawn.toml", *shared)
    assert by_what_was_drawn.returncode == 0, by_what_was_drawn.stderr
    refused = inside("run", out, "--prompt", "a cat", "--steps", "2", "-o", tmp_path / "x.png", "--progress", "never")
    assert (refused.returncode, (tmp_path / "x.png").exists()) == (3, False)
