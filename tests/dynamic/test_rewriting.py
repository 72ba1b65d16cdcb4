"""A component for any batch through the passes, and its verification, on graphs made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse import pass_manager
from attnfuse.component import Component
from attnfuse.cost.records import Comparison
from attnfuse.errors import TraceError
from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.policy import Policy
from attnfuse.rewriting import rewrite
from attnfuse.targets import Target
from attnfuse.tracing.contract import DYNAMIC_BATCHES
from tests.dynamic.graphs import Make, attention, graph
from tests.support.graphs import GraphBuilder, operators

_LITE = Target("lite", "ascend910b")


def _component(make: Make) -> Component:
    batches = {batch: codec.serialise(graph(make, batch)) for batch in DYNAMIC_BATCHES}
    data = batches[DYNAMIC_BATCHES[0]]
    return Component(name="net", owner="net", where="net", data=data, graph_name="net_graph.mindir", batches=batches)


@pytest.fixture(scope="module")
def component() -> Component:
    return _component(attention)


def test_a_site_is_fused_for_any_batch(component: Component) -> None:
    rewritten, data = rewrite(component, Policy(), _LITE, pass_manager.discover())
    model = Model(codec.parse(data, "net"))
    assert operators(model).count("PromptFlashAttention") == 1
    assert not {"Softmax", "BroadcastTo", "Switch", "Shape"} & set(operators(model))
    assert operators(model).count("Tile") == 1  # the mask's, over rows of scores: none of the timestep's is left
    assert not rewritten.unsupported
    assert rewritten.cost == Comparison(not_estimated="sizes are left to run time: the graph is for any batch")
    (site,) = rewritten.sites
    assert (site.status, site.query_shape) == ("fused", (-1, 6, 32))
    assert all("__pad_0_2_12" in name for name in rewritten.edited)
    assert len(rewritten.edited) == 6
    assert [entry.shape for entry in rewritten.inputs] == [(-1, 6, 8), (1,)]
    assert [entry.shape for entry in rewritten.outputs] == [(-1, 6, 8)]
    assert rewritten.nodes == len(Model(graph(attention, 1)).nodes)


def test_bytes_of_a_site_are_of_one_image(component: Component) -> None:
    rewritten, _ = rewrite(component, Policy(), _LITE, pass_manager.discover())
    (site,) = rewritten.sites
    assert site.score_bytes_saved == 2 * 2 * (2 * 6 * 6) * 4  # operand and result, two rows, two heads, float32


def test_the_same_bytes_again(component: Component) -> None:
    first, again = (rewrite(component, Policy(), _LITE, pass_manager.discover()) for _ in range(2))
    assert first == again


def _decided_by_size(g: GraphBuilder, batch: int) -> str:
    """An attention along the batch itself: at some batch it is longer than the policy's least."""
    x = g.input("x", (1, batch, 16))
    return g.bmm(g.softmax(g.bmm(x, g.transpose(x, (0, 2, 1)))), x)


def test_a_decision_that_follows_the_batch_is_refused() -> None:
    with pytest.raises(TraceError, match="compile it without --dynamic"):
        rewrite(_component(_decided_by_size), Policy(), Target("lite", "ascend310p"), pass_manager.discover())


def _norms(g: GraphBuilder, batch: int) -> str:
    """A GroupNorm and its SiLU, over a plane of 9 elements, and a LayerNorm of a residual sum behind them."""
    x, channels = g.input("x", (batch, 32, 3, 3), FLOAT16), np.ones(32, np.float16)
    gain, offset = g.parameter("gain", channels), g.parameter("offset", channels)
    normalised = g.op("GroupNorm", x, g.constant(32), gain, offset, g.constant(1e-6))
    y = g.op("SiLU", g.tuple_get_item(normalised, 0))
    y = g.reshape(g.transpose(y, (0, 2, 3, 1)), (batch, 9, 32))
    y = g.tuple_get_item(g.op("LayerNormExt", y, g.constant((32,)), gain, offset, g.constant(1e-5)), 0)
    total = g.add(y, g.input("y", (batch, 9, 32), FLOAT16))
    return g.tuple_get_item(g.op("LayerNormExt", total, g.constant((32,)), gain, offset, g.constant(1e-5)), 0)


@pytest.mark.parametrize(("soc", "composed"), [("ascend910b", 1), ("ascend310p", 0)])
def test_composites_are_written_for_any_batch_where_each_is_launched(soc: str, composed: int) -> None:
    """The 310P's kernel for a batch of 1 computes this plane wrongly, the one for more of them does not."""
    rewritten, data = rewrite(_component(_norms), Policy(), Target("lite", soc), pass_manager.discover())
    names = operators(Model(codec.parse(data, "net")))
    assert [names.count(op) for op in ("GroupNormSilu", "LayerNormV3", "AddLayerNorm")] == [composed, 1, 1]
    assert not rewritten.unsupported
    assert [entry.op for entry in rewritten.legalised if entry.refused] == ["GroupNorm"] * (1 - composed)
