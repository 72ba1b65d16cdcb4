"""Measured memory: attention that keeps no scores takes less by about what was predicted, and counts what it takes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from attnfuse import cli
from attnfuse.errors import VerificationError
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.verify.lowering import Arithmetic, Lowered, lower
from attnfuse.verify.memory.liveness import peak_bytes
from attnfuse.verify.memory.measurement import measure_memory
from attnfuse.verify.numbers.execution import run
from attnfuse.verify.numbers.inputs import draw_inputs
from attnfuse.verify.numbers.weights import drawn_weights
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


MATRIX = 4 * 8 * LENGTH * LENGTH


def test_peaks_are_as_predicted_and_the_scores_are_what_is_saved(tmp_path: Path) -> None:
    """Scores and scaled scores are alive together; the softmax is written over these."""
    figures = measure_memory(*write(tmp_path), seed=0)
    session = 2**25  # its code, threads and buffers are in no prediction
    for peak in (figures.original, figures.fused):
        assert peak.measured == pytest.approx(peak.predicted, abs=session)
    saved = figures.to_json()["saved_bytes"]
    assert saved == pytest.approx(figures.to_json()["saved_predicted_bytes"], rel=0.1)
    assert saved == pytest.approx(2 * MATRIX, rel=0.1)
    assert figures.kept == 0


def test_a_mask_is_said_to_keep_the_scores(tmp_path: Path) -> None:
    figures = measure_memory(*write(tmp_path, masked=True), seed=0)
    assert figures.kept == 1
    assert figures.fused.predicted > 2 * MATRIX
    assert figures.fused.measured > 2 * MATRIX


def test_a_softmax_is_written_over_scores_that_nobody_else_reads() -> None:
    assert peak_bytes(plain(lambda g, x: g.softmax(g.op("Add", x, x)))) == MATRIX
    assert peak_bytes(plain(lambda g, x: g.add(s := g.op("Add", x, x), g.softmax(s)))) == 3 * MATRIX


def test_another_shape_of_a_value_is_the_same_memory_and_keeps_it() -> None:
    def build(g: GraphBuilder, x: str) -> str:
        scores = g.add(x, x)
        rows = g.reshape(scores, (8 * LENGTH, LENGTH))
        return g.reshape(g.add(rows, rows), (8, LENGTH, LENGTH))

    assert peak_bytes(plain(build)) == 2 * MATRIX


def plain(build: Callable[[GraphBuilder, str], str]) -> Lowered:
    g = GraphBuilder("short")
    g.output(build(g, g.input("x", (8, LENGTH, LENGTH))))
    return lower(g.model(), Arithmetic.PLAIN)


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
    document = json.loads(told.out)
    assert document["saved_bytes"] == document["original_peak_bytes"] - document["fused_peak_bytes"]
    assert "saved predicted bytes: 25" in told.err
