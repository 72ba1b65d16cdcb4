"""What sites make of one mask is made once in a graph."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.mindir.dtypes import BOOL, FLOAT16
from attnfuse.mindir.schema import ModelProto
from tests.support import oracle
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder, operators, seeded

LAYERS = 3


def layers(masks: int = 1, keys: tuple[int, ...] = (8,) * LAYERS) -> GraphBuilder:
    """Attention after attention; the layers read `masks` paddings of the keys in turn."""
    g = GraphBuilder("encoder")
    x = g.input("x", (2, 2, 8, 16), FLOAT16)
    given = [g.input(f"mask{i}", (2, 1, 1, 8), BOOL) for i in range(masks)]
    for layer, length in enumerate(keys):
        k = x if length == 8 else g.concat([x, x], 2)
        scores = g.muls(g.batch_matmul(x, k, transpose_b=True), 0.25)
        mask = given[layer % masks] if length == 8 else g.concat([given[0], given[0]], 3)
        x = g.matmul_ext(g.softmax(g.masked_fill(scores, mask, np.array(-np.inf, np.float16))), k)
    g.output(x)
    return g


def fused(g: GraphBuilder) -> Model:
    """The graph with its sites fused, which gives the formulas' numbers, for rows without a key too."""
    proto = ModelProto()
    proto.CopyFrom(g.build())
    model = Model(proto)
    assert {site.status for site in fuse(model, "lite")} == {"fused"}
    inputs: dict[str, Any] = {"x": seeded("x", (2, 2, 8, 16), FLOAT16).astype(np.float64)}
    for i in range(2):
        inputs[f"mask{i}"] = np.arange(16).reshape(2, 1, 1, 8) >= (8 if i else 4)
    named = {value.name.rsplit(":", 1)[-1] for value in proto.graph.input}
    given = {name: value for name, value in inputs.items() if name in named}
    for after, before in zip(oracle.run(model, given), oracle.run(Model(g.proto), given), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-6, equal_nan=True)
    return model


@pytest.mark.parametrize(("masks", "expected"), [(1, 1), (2, 2)])
def test_a_mask_is_written_out_and_asked_for_rows_without_a_key_once(masks: int, expected: int) -> None:
    counted = Counter(operators(fused(layers(masks))))
    assert counted["PromptFlashAttention"] == LAYERS
    assert (counted["BroadcastTo"], counted["ReduceAll"]) == (expected, expected)


def test_other_sizes_are_another_mask() -> None:
    counted = Counter(operators(fused(layers(keys=(8, 16, 8)))))
    assert (counted["PromptFlashAttention"], counted["BroadcastTo"]) == (LAYERS, 2)


def test_all_layers_read_the_first_ones() -> None:
    model = fused(layers())
    assert len({node.inputs[3] for node in model.nodes if node.op == "PromptFlashAttention"}) == 1
    unread = [node.name for node in model.nodes if "attnfuse_" in node.name and not model.uses(node.name)]
    assert not unread


@pytest.mark.parametrize(("masks", "expected"), [(1, [128, 0, 0]), (2, [128, 128, 0])])
def test_the_bytes_of_a_mask_are_told_of_the_first_site_that_reads_it(masks: int, expected: list[int]) -> None:
    # Two batches of 8 queries and 8 keys, a byte each.
    proto = ModelProto()
    proto.CopyFrom(layers(masks).build())
    assert [site.mask_bytes for site in fuse(Model(proto), "lite")] == expected


def test_a_constant_mask_that_each_site_has_for_itself_counts_once() -> None:
    g = GraphBuilder()
    x = g.input("x", (2, 2, 8, 16), FLOAT16)
    for _ in range(2):
        scores = g.muls(g.batch_matmul(x, x, transpose_b=True), 0.25)
        mask = g.constant(np.arange(64).reshape(1, 1, 8, 8) % 3 == 1)
        x = g.matmul_ext(g.softmax(g.masked_fill(scores, mask, np.array(-np.inf, np.float16))), x)
    g.output(x)
    proto = ModelProto()
    proto.CopyFrom(g.build())
    assert [site.mask_bytes for site in fuse(Model(proto), "lite")] == [64, 0]
