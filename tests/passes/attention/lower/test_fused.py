"""What is written in place of a formula, beside what the fixtures show: widths of heads, names, records, primitives."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse.ir.graph import Model, Node
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT32
from attnfuse.mindir.schema import PrimitiveProto
from tests.support.graphs import transformer
from tests.support.sites import Site


def written(case: Site, runtime: str = "mindspore") -> Model:
    model, (site,) = case.run(case.proto(), runtime)
    assert site.status == "fused", site.reason
    return model


def node(model: Model, op: str) -> Node:
    (found,) = [n for n in model.nodes if n.op == op]
    return found


@pytest.mark.parametrize(("runtime", "op"), [("mindspore", "FlashAttentionScore"), ("lite", "PromptFlashAttention")])
def test_a_fused_node_is_a_primitive_function(runtime: str, op: str) -> None:
    """So it takes its arguments by position, as MindSpore writes it."""
    model = written(Site(), runtime)
    assert model.primitives[node(model, op).proto.op_type].prim_type == PrimitiveProto.PRIMITIVE_FUNCTION


def test_casts_are_counted() -> None:
    _, (site,) = Site(dtype=FLOAT32, cast="bfloat16").run(Site(dtype=FLOAT32).proto(), "lite")
    assert (site.casts, site.compute_dtype, site.output_dtype) == (4, "bfloat16", "float32")


@pytest.mark.parametrize(
    ("runtime", "case", "width"),
    [
        ("mindspore", {"head_dim": 20, "value_head_dim": 20}, 32),
        ("mindspore", {"head_dim": 16, "value_head_dim": 16}, 16),
        ("lite", {"head_dim": 20, "value_head_dim": 20}, 20),
        ("lite", {"head_dim": 20, "value_head_dim": 20, "dtype": BFLOAT16}, 32),
        ("lite", {"head_dim": 20, "value_head_dim": 20, "batch": 129, "query_length": 1, "key_length": 2}, 32),
        ("lite", {"head_dim": 8, "value_head_dim": 24}, 24),
        ("lite", {"head_dim": 24, "value_head_dim": 8}, 24),
        ("mindspore", {"head_dim": 24, "value_head_dim": 8}, 32),
        ("mindspore", {"head_dim": 512, "value_head_dim": 512}, 512),
    ],
)
def test_heads_are_padded_to_what_the_operator_takes(runtime: str, case: dict[str, object], width: int) -> None:
    """Zeros behind query and key add nothing to a score, zeros behind value are cut off again."""
    site = Site(**case).fused(runtime)  # type: ignore[arg-type]
    assert site.query_shape is not None
    assert site.key_shape is not None
    assert site.value_shape is not None
    assert site.query_shape[-1] == site.key_shape[-1] == site.value_shape[-1] == width
    assert site.head_dim_padding == width - int(str(case["head_dim"]))


def test_what_a_record_counts() -> None:
    """Scores and weights are [2, 2, 4, 5] in float16 each; the mask of the node is [2, 1, 4, 5] booleans."""
    scores = Site(
        scores=lambda g, s: g.masked_fill(s, g.input("m", (2, 1, 1, 5), dtypes.BOOL), np.array(-np.inf, np.float16))
    )
    site = scores.fused(m=np.zeros((2, 1, 1, 5), bool))
    assert site.score_bytes_saved == 2 * 2 * 2 * 4 * 5 * 2
    assert site.mask_bytes == 2 * 4 * 5
    assert site.scale_factors == (0.25,)
    kinds = [obligation.kind for obligation in site.obligations]
    assert kinds == ["contraction", "softmax_axis", "value_contraction", "scale", "private", "fully_masked_rows"]
    assert len(site.region) == 5


@pytest.mark.parametrize("runtime", ["mindspore", "lite"])
def test_the_same_graph_gives_the_same_bytes(runtime: str) -> None:
    def once() -> bytes:
        case = Site(
            dtype=FLOAT32,
            head_dim=20,
            scores=lambda g, s: g.add(s, np.triu(np.full((4, 5), -1e38), 1).astype(np.float32)),
        )
        model, _ = case.run(case.proto(), runtime)
        return model.proto.SerializeToString(deterministic=True)

    assert once() == once()


def test_names_come_from_the_site() -> None:
    case = Site()
    model, sites = case.run(transformer(sites=2).build(), "mindspore")
    assert [site.module for site in sites] == ["blocks.0.attn1", "blocks.0.attn2"]
    for site, op in zip(sites, [n for n in model.nodes if n.op == "FlashAttentionScore"], strict=True):
        assert f"attnfuse_{site.module}_" in op.name
        assert f"/FlashAttentionScore-attnfuse_{site.module}_" in op.scope


@pytest.mark.parametrize("runtime", ["mindspore", "lite"])
def test_no_two_nodes_have_the_same_full_name(runtime: str) -> None:
    """Loaders call a node by its domain, and MindSpore Lite finds tensors by that name."""
    model, sites = Site().run(transformer(sites=3, size=20).build(), runtime)
    assert all(site.status == "fused" for site in sites)
    names = [n.scope for n in model.nodes if n.op != "Constant"]
    assert len(names) == len(set(names))


def test_the_primitive_table_gets_what_is_used_and_loses_what_is_not() -> None:
    model = written(Site())
    used = {n.proto.op_type for n in model.nodes if n.op != "Constant"}
    assert used == set(model.primitives)
