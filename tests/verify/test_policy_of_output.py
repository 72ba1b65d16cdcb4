"""`attnfuse verify` of two graphs: by the policy of the output that the second one lies in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import pytest

from attnfuse import cli
from attnfuse.cli import verify as command
from attnfuse.mindir import codec
from attnfuse.verify import ComponentVerification
from tests.verify.rewritten import Attention

POLICY = """
[defaults]
assume_no_fully_masked_rows = true
force_cast_dtype = "bfloat16"
"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, str], set[str]]]:
    """What each verification of two graphs is asked; none is run."""
    found: list[tuple[dict[str, str], set[str]]] = []

    def check(*, compute: Mapping[str, str], never_fully_masked: Set[str], **_: Any) -> ComponentVerification:
        found.append((dict(compute), set(never_fully_masked)))
        return ComponentVerification(name="block", level="full", seed=0)

    monkeypatch.setattr(command, "verify_component", check)
    return found


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_graph_of_an_output(is_folder: bool, tmp_path: Path, asked: list[tuple[dict[str, str], set[str]]]) -> None:
    source = tmp_path / "block.mindir"
    source.write_bytes(codec.serialise(Attention(masked=True).model().proto))
    (tmp_path / "policy.toml").write_text(POLICY)
    out = tmp_path / "out" if is_folder else tmp_path / "out" / "block.mindir"
    assert cli.run(["compile", str(source), "-o", str(out), "--policy", str(tmp_path / "policy.toml")]) == 0
    fused = tmp_path / "out" / "block.mindir"
    documents = json.loads((fused.parent / ("report.json" if is_folder else "block.report.json")).read_bytes())
    (site,) = documents["components"][0]["sites"]
    assert cli.run(["verify", str(source), str(fused)]) == 0
    assert asked[-1] == ({site["anchor"]: "bfloat16"}, {site["anchor"]})
    # Of another graph in the same place nothing is known.
    fused.write_bytes(source.read_bytes())
    assert cli.run(["verify", str(source), str(fused)]) == 0
    assert asked[-1] == ({}, set())
