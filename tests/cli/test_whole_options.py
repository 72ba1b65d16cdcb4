"""Options that change what a model computes, from end to end: compiled, verified in full, deployable, and run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file, save_file

from attnfuse.tracing.demo import write_demo, write_json
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.tokenizer import Tokenizer
from tests.support import forks
from tests.support.console import inside
from tests.support.small_models import SMALL, write_configs

pytestmark = [pytest.mark.mindspore, pytest.mark.slow]

WHOLE = ("--verify", "full", "--require", "deployable")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    write_demo(folder)
    return folder


def states(folder: Path, out: Path, *options: str) -> npt.NDArray[np.float16]:
    """What the text encoder makes of some tokens, compiled with these options."""
    done = inside("compile", folder, "-o", out, "--component", "text_encoder", "--dtype", "float16", *options)
    assert done.returncode == 0, done.stderr
    encoder = Pipeline.from_folder(out, "cpu")["text_encoder"]
    ids = np.random.default_rng(1).integers(0, 500, encoder.component.inputs[0].shape)
    return np.asarray(encoder(input_ids=ids)["last_hidden_state"], np.float16)


def test_skipped_layers(demo: Path, tmp_path: Path) -> None:
    """What is left is a model that has not the last layers."""
    folder = tmp_path / "short"
    shutil.copytree(demo, folder)
    config = json.loads((folder / "text_encoder" / "config.json").read_text())
    write_json(folder / "text_encoder" / "config.json", {**config, "num_hidden_layers": 10})
    file = folder / "text_encoder" / "model.safetensors"
    kept = {key: value for key, value in load_file(file).items() if not {"10", "11"} & set(key.split("."))}
    save_file(kept, file)
    found = states(demo, tmp_path / "skipped", "--clip-skip", "2", *WHOLE)
    np.testing.assert_allclose(found, states(folder, tmp_path / "out"), rtol=0, atol=2e-3)
    assert np.abs(found - states(demo, tmp_path / "whole")).max() > 0.1
    picture = tmp_path / "picture.png"
    done = inside("compile", demo, "-o", tmp_path / "all", "--clip-skip", "2", "--height", "64", "--width", "64")
    assert done.returncode == 0, done.stderr
    done = inside("run", tmp_path / "all", "--prompt", "a cat", "--steps", "1", "-o", picture)
    assert done.returncode == 0, done.stderr
    assert picture.is_file()


def test_a_textual_inversion(demo: Path, tmp_path: Path) -> None:
    """Vectors that are rows of the table already give what their tokens give."""
    table = load_file(demo / "text_encoder" / "model.safetensors")["text_model.embeddings.token_embedding.weight"]
    file, token = tmp_path / "cat.safetensors", "<cat>"
    save_file({"emb_params": np.ascontiguousarray(table[[70, 80]])}, file)
    out = tmp_path / "out"
    given = ("--textual-inversion", f"{file}:{token}", "--dtype", "float16")
    done = inside("compile", demo, "-o", out, "--component", "text_encoder", *given, *WHOLE)
    assert done.returncode == 0, done.stderr
    encoder = Pipeline.from_folder(out, "cpu")["text_encoder"]
    tokens = Tokenizer.from_folder(out / "tokenizer")([f"a {token} b"]).ids
    assert 514 in tokens
    assert 515 in tokens
    own = np.where(tokens == 514, 70, np.where(tokens == 515, 80, tokens))
    found, wanted = (encoder(input_ids=ids)["last_hidden_state"] for ids in (tokens, own))
    np.testing.assert_array_equal(found, wanted)
    assert np.abs(encoder(input_ids=np.where(tokens == 514, 3, tokens))["last_hidden_state"] - found).max() > 1e-3
    done = inside("verify", demo, out, "--dtype", "float16", "--component", "text_encoder")
    assert done.returncode == 2
    assert "other LoRAs, textual inversions or IP-Adapters than --lora, --textual-inversion and" in done.stderr


def test_the_scale_of_a_controlnet(tmp_path: Path) -> None:
    small = SMALL["sd_controlnet"]
    folder = write_configs(tmp_path / "in", small)
    done = forks.script("-m", "tests.support.small_weights", str(folder))
    assert done.returncode == 0, done.stderr[-3000:]
    out = tmp_path / "out"
    done = inside(
        *("compile", folder, "-o", out, "--component", "controlnet", "--height", "64", "--width", "64"),
        *("--dtype", "float16", *WHOLE),
    )
    assert done.returncode == 0, done.stderr
    controlnet = Pipeline.from_folder(out, "cpu")["controlnet"]
    random = np.random.default_rng(1)
    given = {
        one.name: np.full(one.shape, 500) if one.dtype.startswith("int") else random.standard_normal(one.shape) / 4
        for one in controlnet.component.inputs
    }
    found = {scale: controlnet(**{**given, "conditioning_scale": np.array([scale])}) for scale in (0.0, 0.5, 1.0)}
    assert len(found[1.0]) > 1
    for name, value in found[1.0].items():
        assert np.abs(value).max() > 1e-3
        assert not found[0.0][name].any()
        np.testing.assert_allclose(found[0.5][name], value * np.float16(0.5), rtol=2e-3, atol=2e-7)
