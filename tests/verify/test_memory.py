"""Measured memory: attention that keeps no scores takes less by about what was predicted, and counts what it takes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from attnfuse import cli
from attnfuse.errors import VerificationError
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.verify.execution import run
from attnfuse.verify.inputs import draw_inputs
from attnfuse.verify.lowering import Arithmetic, lower
from attnfuse.verify.memory import measure_memory
from attnfuse.verify.weights import drawn_weights
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder
from tests.verify.rewritten import Attention, pair

LENGTH = 2048


def write(folder: Path, *, masked: bool = False) -> tuple[Path, Path]:
    """Self-attention of 8 heads over LENGTH tokens, and its rewrite."""

    def built() -> GraphBuilder:
        g = GraphBuilder("long")
        q = g.input("q", (1, 8, LENGTH, 16), FLOAT16)
        scores = g.muls(g.matmul_ext(q, g.transpose(q, (0, 1, 3, 2))), 0.25)
        if masked:
            hidden = np.triu(np.ones((1, 1, LENGTH, LENGTH), bool), 1)
            scores = g.masked_fill(scores, hidden, np.array(-np.inf, np.float16))
        g.output(g.matmul_ext(g.softmax(scores), q))
        return g

    original, fused = folder / "original.mindir", folder / "fused.mindir"
    built().write(original)
    model = built().model()
    fuse(model, "lite")
    fused.write_bytes(codec.serialise(model.proto))
    return original, fused


def test_what_is_saved_is_what_was_predicted(tmp_path: Path) -> None:
    figures = measure_memory(*write(tmp_path), seed=0)
    assert figures.predicted == 2 * 4 * 8 * LENGTH * LENGTH
    assert figures.kept == 0
    assert 0.8 < figures.saved / figures.predicted < 1.2


def test_a_mask_is_said_to_keep_the_scores(tmp_path: Path) -> None:
    figures = measure_memory(*write(tmp_path, masked=True), seed=0)
    assert (figures.predicted, figures.kept) == (0, 1)


def test_attention_without_scores_computes_the_same() -> None:
    _, fused = pair(Attention(dtype=FLOAT16), "lite")
    inputs, weights = draw_inputs(fused, 0), drawn_weights(0)
    plain = lower(fused, Arithmetic.PLAIN)
    assert "MultiHeadAttention" in [node.op_type for node in plain.model.graph.node]
    (lean,), (exact,) = run(plain, inputs, weights), run(lower(fused, Arithmetic.EXACT), inputs, weights)
    assert np.allclose(lean.astype(np.float64), exact.astype(np.float64), rtol=1e-4, atol=1e-5)


def test_a_run_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, fused = write(tmp_path)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(VerificationError, match="died with exit code 1"):
        measure_memory(original, fused, seed=0)


def test_a_graph_that_cannot_be_run_is_told(tmp_path: Path) -> None:
    _, fused = write(tmp_path)
    g = GraphBuilder("odd")
    g.output(g.op("Unknowable", g.input("x", (2, 3))))
    with pytest.raises(VerificationError, match="Unknowable"):
        measure_memory(g.write(tmp_path / "odd.mindir"), fused, seed=0)


def test_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["verify", *map(str, write(tmp_path)), "--measure-memory", "--json"]) == 0
    told = capfd.readouterr()
    assert json.loads(told.out)["predicted_saved_bytes_at_most"] == 2 * 4 * 8 * LENGTH * LENGTH
    assert "predicted saved bytes at most: 256" in told.err
