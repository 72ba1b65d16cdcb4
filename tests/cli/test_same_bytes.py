"""The same input gives the same bytes, under any hash seed, in any folder."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from attnfuse.tracing.demo import write_json
from tests.cli.conftest import tree
from tests.support.checkpoints import XL_TEXT_ENCODER, XL_TEXT_ENCODER_2, write_pipeline
from tests.support.console import attnfuse
from tests.support.graphs import transformer
from tests.support.split import write_split

POLICY = '[[rules]]\nmatch = "unet.blocks.1.*"\nflash = false\n[[rules]]\nmatch = "vae"\nflash = false\n'


def compiled(folder: Path, seed: str, *source: str | Path, toy: bool, code: int = 0) -> dict[str, bytes]:
    """Everything one compile writes and says, run in `folder`."""
    out = folder / "out"
    answer = attnfuse(
        "compile", *source, "-o", out, "--json", "--policy", "policy.toml", toy=toy, cwd=folder, PYTHONHASHSEED=seed,
        XDG_CACHE_HOME=str(folder / "cache"),
    )  # fmt: skip
    assert answer.returncode == code, answer.stderr
    told = re.sub(r"\d+\.\d s, peak memory .*", "#", answer.stderr.replace(str(folder), ""))
    return {**tree(out), "stdout": answer.stdout.encode(), "stderr": told.encode()}


@pytest.mark.parametrize("kind", ["inline", "external"])
def test_a_mindir_file(tmp_path: Path, kind: str) -> None:
    results: list[dict[str, bytes]] = []
    for seed in ("1", "77"):
        folder = tmp_path / f"run{seed}" / ("deep" * int(seed == "77"))
        (folder / "in").mkdir(parents=True)
        (folder / "policy.toml").write_text(POLICY)
        if kind == "inline":
            source = transformer(sites=4).write(folder / "in" / "unet.mindir")
        else:
            source = write_split(folder / "in", builder=transformer(sites=4))
        results.append(compiled(folder, seed, source if seed == "1" else os.path.relpath(source, folder), toy=True))
    assert results[0] == results[1]
    assert len(results[0]) == 9 + (kind == "external")


@pytest.mark.mindspore
@pytest.mark.slow
def test_traced_components(tmp_path: Path) -> None:
    """Two text encoders: traced from two folders, to two, one at a time and side by side; a third cannot be traced."""
    results: list[dict[str, bytes]] = []
    for seed, source, jobs in (("1", "xl", "1"), ("77", "pipeline", "2")):
        folder = tmp_path / f"run{seed}"
        models = {"text_encoder": XL_TEXT_ENCODER, "text_encoder_2": XL_TEXT_ENCODER_2}
        layers = {name: {**config, "num_hidden_layers": 1} for name, config in models.items()}
        write_pipeline(folder / source, "StableDiffusionXLPipeline", layers, "EulerDiscreteScheduler")
        index = json.loads((folder / source / "model_index.json").read_text())
        write_json(folder / source / "model_index.json", {**index, "newest": ["diffusers", "NewestModel"]})
        (folder / "policy.toml").write_text(POLICY)
        results.append(compiled(folder, seed, source, "--jobs", jobs, toy=True, code=3))
    assert results[0] == results[1]
    told = results[0]["stderr"].decode().splitlines()
    assert [line for line in told if "tracing" in line] == ["text_encoder: tracing", "text_encoder_2: tracing"]
