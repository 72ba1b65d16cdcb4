"""MindSpore's compiler takes what is made as long as the batch, and comes to an end over it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attnfuse.dynamic import generalise
from attnfuse.ir.graph import Model
from attnfuse.verify.inference import inferred_types
from tests.dynamic.graphs import attention, family
from tests.support.graphs import GraphBuilder


def _rows_by_a_constant(g: GraphBuilder, batch: int) -> str:
    """Two constants multiply each other, one of them as long as the batch."""
    g.input("x", (batch, 6))
    return g.mul(g.constant(np.full((batch, 1, 6), 0.5, np.float32)), np.full((1, 5, 1), 0.3, np.float32))


def _rows_over_heads(g: GraphBuilder, batch: int) -> str:
    g.input("x", (batch, 6))
    return g.broadcast_to(g.constant(np.full((batch, 1, 1, 6), 0.5, np.float32)), (batch, 2, 6, 6))


def _conditions_over_heads(g: GraphBuilder, batch: int) -> str:
    g.input("x", (batch, 6))
    return g.broadcast_to(g.constant(np.full((batch, 1, 1, 6), True)), (batch, 2, 6, 6))


@pytest.mark.mindspore
def test_mindspore_infers_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inferred_types, "TIMEOUT_SECONDS", 300.0)
    models = {}
    for make in (attention, _rows_by_a_constant, _rows_over_heads, _conditions_over_heads):
        made = generalise(family(make))
        models[make.__name__] = Model(made.model)
        models[f"{make.__name__} of two"] = Model(made.bind(2))
    for name, found in inferred_types.infer_all(models, "net", tmp_path).items():
        assert found.findings == (), name
        assert found.compared, name
