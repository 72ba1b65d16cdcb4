"""MindSpore Lite 2.0.0 loads what a compile for Lite leaves, runs it, and agrees with onnxruntime to rounding."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import FLOAT32
from tests.lite.agreement import compiled_for_lite, errors
from tests.lite.runtime import RefusedError
from tests.support.console import attnfuse
from tests.support.graphs import transformer
from tools.corpus import store

pytestmark = pytest.mark.lite

STEPS = 1
"""The time step of the models that take one.

Their embedding is sin(t · exp(…)): what Lite's exp is off by in the last bits (6e-7) counts t times in it, whatever the
encoding (test_limits.py). With the steps that are drawn otherwise, the UNet's error is 8 times onnxruntime's, SD3's 13.
"""

MODELS = {
    "clip_text": "the acceptance's text encoder: causal mask, quick GELU",
    "clip_text_projection": "the pooled output: Argmax and GatherNd",
    "vae_kl_decode": "the acceptance's VAE decoder: GroupNorm, Conv2D, resize; attention between transposes",
    "unet_sd15": "the acceptance's UNet",
    "sd3": "joint attention, adaptive norms",
    "t5_encoder": "a relative bias; no scale",
}
"""Held in the default run; the rest of the corpus in the slow one."""

NOT_TAKEN = {
    "gpt2": "StridedSlice",  # of bool
    "llama": "TensorScatterUpdate",
    "qwen2_4dmask": "RmsNorm",
    "wan": "Conv3D",
}
"""What 2.0.0 has no kernel for, by its own log."""

DYNAMIC = {"lumina2"}
"""Of sizes that are not known before run time: not legalised whole."""


def others() -> list[str]:
    """The rest of the corpus in float32, as traced on a CPU host: what is fused already is no formula."""
    every = [name.removesuffix("-float32") for name in store.names() if name.endswith("-float32")]
    left = [name for name in every if not name.startswith("ascend_") and name not in {*MODELS, *DYNAMIC}]
    return [name for name in left if not store.sites()[f"{name}-float32"].fused]


def test_attention_cell_through_the_command_line(tmp_path: Path) -> None:
    """Self and cross attention, its weights in the file, as `attnfuse compile` writes it."""
    source = transformer(sites=2, dtype=FLOAT32).write(tmp_path / "cell.mindir")
    out = tmp_path / "out.mindir"
    done = attnfuse("compile", source, "--runtime", "lite", "--no-flash", "*", "--require", "deployable", "-o", out)
    assert done.returncode == 0, done.stderr
    before, after = (Model(codec.parse(codec.read_bytes(path), path.name)) for path in (source, out))
    (error,) = errors(before, after, source)
    assert error.shape == (2, 24, 64)
    assert error.lite <= error.allowed


@pytest.mark.parametrize("name", MODELS)
def test_models_of_the_acceptance(name: str, tmp_path: Path) -> None:
    hold(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", others())
def test_the_rest_of_the_corpus(name: str, tmp_path: Path) -> None:
    if name in NOT_TAKEN:
        with pytest.raises(RefusedError, match=NOT_TAKEN[name]):
            hold(name, tmp_path)
    else:
        hold(name, tmp_path)


def hold(name: str, folder: Path) -> None:
    """Each output of one graph of the corpus, with weights drawn, to the bound."""
    data = store.read(f"{name}-float32")
    found = errors(Model(codec.parse(data, name)), compiled_for_lite(data), folder / "graph.mindir", steps=STEPS)
    assert found
    for error in found:
        assert error.lite <= error.allowed, error
