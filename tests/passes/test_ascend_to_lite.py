"""Graphs traced as on Ascend, for Lite: no FlashAttentionScore is left, and what is there means the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnfuse import compiler, pass_manager
from attnfuse.compiler import CompileRequest
from attnfuse.ir.graph import Model
from attnfuse.mindir import codec, dtypes
from attnfuse.targets import Target
from attnfuse_passes.fuse import Fuse
from tests.support.graphs import operators, seeded
from tools.corpus import store

GRAPHS = [name for name in store.names() if name.startswith("ascend_")]


def weighted(name: str, folder: Path) -> Path:
    """The corpus's graph with made-up weights, as a file."""
    model = codec.parse(store.read(name), name)
    for parameter in model.graph.parameter:
        dtype = dtypes.from_wire(parameter.data_type)
        assert dtype is not None
        own = parameter.name.partition(":")[2]
        parameter.raw_data = seeded(own, tuple(parameter.dims), dtype, 0.1).tobytes()
    path = folder / f"{name}.mindir"
    path.write_bytes(codec.serialise(model))
    return path


def check(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pass_manager, "discover", lambda: (Fuse(),))
    source = weighted(name, folder)
    assert "FlashAttentionScore" in operators(Model(codec.parse(source.read_bytes(), name)))
    request = CompileRequest(
        source=str(source), output=folder / "out.mindir", target=Target("lite", "ascend910b"), verify="full"
    )
    outcome = compiler.compile(request)
    assert outcome.verification is not None
    assert outcome.verification.passed, outcome.verification
    assert outcome.written
    assert outcome.report.totals.missed == 0
    written = operators(Model(codec.parse((folder / "out.mindir").read_bytes(), "out")))
    assert "FlashAttentionScore" not in written
    assert "PromptFlashAttention" in written


@pytest.mark.mindspore
def test_a_vae_traced_as_on_ascend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check("ascend_vae_kl_decode-float32", tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.mindspore
@pytest.mark.parametrize("name", [name for name in GRAPHS if name != "ascend_vae_kl_decode-float32"])
def test_everything_traced_as_on_ascend(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(name, tmp_path, monkeypatch)
