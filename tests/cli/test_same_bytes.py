"""The same input gives the same bytes, under any hash seed, in any folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from attnfuse.tracing.demo import TEXT_ENCODER, write_demo
from tests.cli.conftest import tree
from tests.support.checkpoints import write_model
from tests.support.console import attnfuse
from tests.support.graphs import transformer
from tests.support.split import write_split

POLICY = '[[rules]]\nmatch = "unet.blocks.1.*"\nflash = false\n[[rules]]\nmatch = "vae"\nflash = false\n'


def compiled(folder: Path, seed: str, *source: str | Path, toy: bool) -> dict[str, bytes]:
    """Everything one compile writes and says, run in `folder`."""
    out = folder / "out"
    answer = attnfuse(
        "compile", *source, "-o", out, "--json", "--policy", "policy.toml", toy=toy, cwd=folder, PYTHONHASHSEED=seed,
        XDG_CACHE_HOME=str(folder / "cache"),
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    return {**tree(out), "stdout": answer.stdout.encode()}


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
    assert len(results[0]) == 5 + (kind == "external")


@pytest.mark.mindspore
def test_a_traced_component(tmp_path: Path) -> None:
    """The demo's text encoder with one layer, of which the others are copies: traced from two folders, to two."""
    results: list[dict[str, bytes]] = []
    for seed, source in (("1", "demo"), ("77", "pipeline")):
        folder = tmp_path / f"run{seed}"
        (folder / source).mkdir(parents=True)
        write_demo(folder / source)
        shutil.rmtree(folder / source / "text_encoder")
        write_model(folder / source / "text_encoder", {**TEXT_ENCODER, "num_hidden_layers": 1})
        (folder / "policy.toml").write_text(POLICY)
        results.append(compiled(folder, seed, source, "--component", "text_encoder", toy=True))
    assert results[0] == results[1]
    assert set(results[0]) >= {"text_encoder_graph.mindir", "text_encoder_variables/data_0", "manifest.json"}
