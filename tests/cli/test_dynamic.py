"""`--dynamic batch` as a user has it: a pipeline on the disk becomes graphs for any batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from tests.support.checkpoints import XL_TEXT_ENCODER, write_pipeline
from tests.support.console import inside
from tests.support.graphs import operators


@pytest.mark.mindspore
@pytest.mark.slow
def test_a_pipeline_for_any_batch(tmp_path: Path) -> None:
    parts = {"text_encoder": XL_TEXT_ENCODER}
    source = write_pipeline(tmp_path / "in", "StableDiffusionPipeline", parts, "DDIMScheduler")
    out = tmp_path / "out"
    done = inside("compile", source, "-o", out, "--dynamic", "batch", "--require", "fused==3", "--json")
    assert done.returncode == 0, done.stderr
    (component,) = json.loads(done.stdout)["components"]
    assert [site["query_shape"][0] for site in component["sites"]] == [-1] * 3
    (entry,) = json.loads((out / "manifest.json").read_bytes())["components"]
    assert [one["shape"] for one in entry["inputs"]] == [[-1, 77]]
    assert [one["shape"] for one in entry["outputs"]] == [[-1, 77, 32], [-1, 32]]
    model = Model(codec.parse((out / entry["graph"]).read_bytes(), "text_encoder"))
    made = operators(model)
    assert made.count("PromptFlashAttention") == 3
    assert not {"Switch", "Softmax"} & set(made)
