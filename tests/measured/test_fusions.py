"""fusion_result.json: the counts of all graphs, and what is said of a file that is not one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attnfuse.errors import SourceError
from attnfuse.measured.fusions import read_fusions


def times(matched: Any, done: Any) -> dict[str, Any]:
    return {"match_times": matched, "effect_times": done, "repository_hit_times": "0"}


def test_counts_of_all_graphs_are_added(tmp_path: Path) -> None:
    file = tmp_path / "fusion_result.json"
    graphs = {
        "session_and_graph_id_0_0": {"graph_fusion": {"B": times("1", "0")}, "ub_fusion": {"A": times("3", "2")}},
        "session_and_graph_id_0_1": {"graph_fusion": {"B": times(4, 4)}},
    }
    file.write_text(json.dumps(graphs, indent=4))
    assert read_fusions(file) == {"A": (3, 2), "B": (5, 4)}
    assert list(read_fusions(file)) == ["A", "B"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read: Expecting value"),
        ('{"session_and_graph_id_0_0": {"graph_fu', "cannot be read: Unterminated string"),
        ("[]", "is no fusion_result.json of CANN 8"),
        # What engines wrote before CANN 6: an object for each graph.
        ('{"session_and_graph_id": "0_0", "graph_fusion": {}}', "its keys do not begin with session_and_graph_id."),
        ('{"session_and_graph_id_0_0": []}', "is damaged at session_and_graph_id_0_0: graph_fusion is no table"),
        (
            json.dumps({"session_and_graph_id_0_0": {"ub_fusion": {"A": times("many", "1")}}}),
            "is damaged at session_and_graph_id_0_0.ub_fusion.A: match_times is 'many', and no count",
        ),
        (
            json.dumps({"session_and_graph_id_0_0": {"ub_fusion": {"A": {"match_times": "1"}}}}),
            "effect_times is None, and no count",
        ),
    ],
)
def test_what_is_none_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "fusion_result.json"
    file.write_text(text)
    with pytest.raises(SourceError) as caught:
        read_fusions(file)
    assert said in str(caught.value)
    assert str(caught.value).endswith(".")
