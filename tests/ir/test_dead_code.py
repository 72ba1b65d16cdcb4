"""What a rewrite leaves behind is taken away, the ordering of effects with it, and nothing else."""

from __future__ import annotations

import numpy as np

from attnfuse.ir.dead_code import eliminate_dead_code
from attnfuse.ir.graph import Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.mindir.schema import ModelProto
from tests.support import oracle
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder, operators

KIND = TensorType((2, 4, 4), FLOAT16)


def names(model: Model) -> set[str]:
    return {node.name for node in model.nodes}


def update(g: GraphBuilder, state: str, *values: str) -> str:
    """An UpdateState after the effects on some values."""
    seen = values[0]
    if len(values) > 1:
        seen = g.node("MakeTuple", values, tuple(g.type_of(v) for v in values))
    return g.node("UpdateState", [state, seen], None)


def in_place_attention(*, together: bool) -> tuple[GraphBuilder, dict[str, oracle.Array]]:
    """MindSpore 2.10's attention with a bias: added in place, ordered, and read back; a cache is written the same way.

    `together`: one UpdateState orders both effects through a MakeTuple, else one each.
    """
    g = GraphBuilder()
    q, k, v = (g.input(name, (2, 4, 4), FLOAT16) for name in "qkv")
    bias, cache, new = (
        g.input("bias", (4, 4), FLOAT16),
        g.input("cache", (2, 4, 4), FLOAT16),
        g.input("new", (2, 4, 4), FLOAT16),
    )
    scores = g.muls(g.bmm(q, k), 0.5)
    added = g.node("InplaceAddExt", [scores, bias, g.constant(1)], KIND)
    kept = g.node("InplaceAddExt", [cache, new, g.constant(1)], KIND)
    if together:
        state = update(g, g.monad(), added, kept)
    else:
        state = update(g, update(g, g.monad(), added), kept)
    read = g.node("Load", [added, state], KIND)
    result = g.bmm(g.softmax(read), v)
    g.output(result, g.node("Load", [kept, state], KIND))
    rng = np.random.default_rng(3)
    inputs = {
        value.name.rsplit(":", 1)[-1]: rng.standard_normal(tuple(value.tensor[0].dims)) for value in g.graph.input
    }
    return g, inputs


def check_in_place(*, together: bool) -> Model:
    g, inputs = in_place_attention(together=together)
    proto = g.build()
    before = ModelProto()
    before.CopyFrom(proto)
    model = Model(proto)
    (site,) = fuse(model)
    assert site.status == "fused", site.reason
    for one, other in zip(oracle.run(model, inputs), oracle.run(Model(before), inputs), strict=True):
        np.testing.assert_allclose(one, other, atol=0.01)
    assert operators(model).count("InplaceAddExt") == 1, "the cache's own effect must stay"
    assert operators(model).count("Load") == 1
    return model


def test_the_ordering_of_a_removed_effect_goes_and_that_of_others_stays() -> None:
    model = check_in_place(together=False)
    (state,) = [node for node in model.nodes if node.op == "UpdateState"]
    assert model.producer(state.inputs[0]) is not None
    assert state.inputs[0] == "ValueNode_U"


def test_a_removed_effect_is_taken_out_of_the_tuple_it_shares() -> None:
    model = check_in_place(together=True)
    ordered = [node for node in model.nodes if node.op == "MakeTuple"]
    shared = next(node for node in ordered if any(u.node and u.node.op == "UpdateState" for u in model.uses(node.name)))
    assert len(shared.inputs) == 1
    types = model.types_of(shared.name)
    assert types == (KIND,), "the tuple's type has lost the same element"


def test_a_tuple_of_removed_effects_alone_goes_with_its_state() -> None:
    g = GraphBuilder()
    x = g.input("x", (2, 4, 4), FLOAT16)
    a, b = g.op("Neg", x), g.op("Exp", x)
    state = update(g, g.monad(), a, b)
    g.output(g.node("Load", [x, state], KIND))
    model = g.model()
    eliminate_dead_code(model, [a, b], set(model.primitives))
    assert operators(model) == ["Load"]
    (load,) = [node for node in model.nodes if node.op == "Load"]
    assert load.inputs[1] == "ValueNode_U"


def test_only_what_the_region_alone_reads_goes() -> None:
    g = GraphBuilder()
    x = g.input("x", (2, 4, 4), FLOAT16)
    shared, own = g.op("Exp", x), g.op("Neg", x)
    feeding = g.op("Tanh", own)
    dead = g.add(feeding, shared)
    unread = g.op("Log", x)
    g.output(g.op("Sqrt", shared))
    model = g.model()
    eliminate_dead_code(model, [dead], set(model.primitives))
    assert names(model) >= {shared, unread}, "read elsewhere, and unread before: not ours"
    assert not names(model) & {dead, feeding, own}


def test_a_dead_value_that_is_still_read_stays() -> None:
    g = GraphBuilder()
    x = g.input("x", (2, 4, 4), FLOAT16)
    inner = g.op("Exp", x)
    g.output(g.op("Neg", inner), inner)
    model = g.model()
    before = names(model)
    eliminate_dead_code(model, [inner], set(model.primitives))
    assert names(model) == before


def test_primitives_that_went_out_of_use_go_and_unused_ones_stay() -> None:
    g = GraphBuilder()
    x = g.input("x", (2, 4, 4), FLOAT16)
    dead = g.op("Exp", x)
    g.output(g.op("Neg", x))
    g.proto.primitives.add(name="Unused:0", op_type="Unused", instance_name="")
    model = g.model()
    before = {node.proto.op_type for node in model.nodes}
    eliminate_dead_code(model, [dead], before)
    assert {p.op_type for p in model.proto.primitives} == {"Neg", "Unused"}


def test_an_update_that_names_a_value_twice_goes_with_it() -> None:
    g = GraphBuilder()
    q, k, v = (g.input(name, (2, 4, 4), FLOAT16) for name in "qkv")
    added = g.node("InplaceAddExt", [g.bmm(q, k), g.input("bias", (4, 4), FLOAT16), g.constant(1)], KIND)
    state = g.node("UpdateState", [g.monad(), added, added], None)
    g.output(g.bmm(g.softmax(g.node("Load", [added, state], KIND)), v))
    model = g.model()
    (site,) = fuse(model)
    assert site.status == "fused", site.reason
    assert not {"InplaceAddExt", "UpdateState", "Load", "Softmax"} & set(operators(model))
