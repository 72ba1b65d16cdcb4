"""What a target has: the operator on its SoC, in the MindSpore that wrote the graph."""

from __future__ import annotations

import pytest

from attnfuse.targets import SOCS, FusedNodeFacts, NodeKind, Target, TensorFacts, refusals

NODES: tuple[NodeKind, ...] = ("FlashAttentionScore", "PromptFlashAttention")


@pytest.mark.parametrize(
    ("mindspore", "lacks"),
    [
        ("2.2.14", True),
        ("1.10.1", True),
        ("2.3.0rc2", True),
        ("2.3.0.dev20240401", True),
        ("2.3", False),
        ("2.3.0", False),
        ("2.3.1", False),
        ("2.4.0rc1", False),
        ("2.10.0", False),
        ("10.0.0", False),
        ("", False),
        ("master", False),
    ],
)
def test_mindspore_has_the_operator_from_2_3_on(mindspore: str, lacks: bool) -> None:
    """As mindone compares versions; of one that cannot be read nothing is said."""
    target = Target("mindspore", "ascend910b")
    found = target.missing_operator("FlashAttentionScore", mindspore)
    assert (found is not None) == lacks
    assert found is None or (found.code, found.found) == ("target.version", mindspore)
    operand = TensorFacts((1, 1, 4, 16), "float16")
    node = FusedNodeFacts(layout="BNSD", query=operand, key=operand, value=operand, heads=1)
    assert [refusal.code for refusal in refusals(target, node, mindspore)] == ["target.version"] * lacks


def test_which_soc_has_which_operator() -> None:
    """MindSpore takes both operators, so what a SoC has is asked of an operator and not of the runtime."""
    has = {soc: [Target("lite", soc).missing_operator(node, "2.7.1") is None for node in NODES] for soc in SOCS}
    assert has == {
        "ascend310p": [False, True],
        "ascend910": [False, False],
        "ascend910b": [True, True],
        "ascend910_93": [True, True],
    }
