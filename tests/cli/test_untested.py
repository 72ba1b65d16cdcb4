"""Graphs of a MindSpore that attnfuse is not tested with are taken, and it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnfuse.mindir import codec
from tests.cli.conftest import Command
from tests.support.graphs import GraphBuilder


@pytest.mark.parametrize(
    ("version", "told"), [("2.7.1", False), ("2.10.0", False), ("2.7.0", True), ("2.8.0", True), ("", False)]
)
def test_an_untested_version_is_told(command: Command, tmp_path: Path, version: str, told: bool) -> None:
    g = GraphBuilder()
    x = g.input("x", (2, 3))
    g.output(g.add(x, x))
    proto = g.build()
    proto.model_version = version
    path = tmp_path / "one.mindir"
    path.write_bytes(codec.serialise(proto))
    answer = command("inspect", path, "--json")
    assert answer.code == 0, answer.err
    expected = (
        f"a graph of MindSpore {version}: attnfuse is tested with 2.7.1 and 2.10.0; verify the result (--verify full)"
    )
    assert answer.document["warnings"] == ([expected] if told else [])
