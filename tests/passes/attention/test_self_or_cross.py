"""Self-attention or cross-attention, told by what query, key and value are projected from."""

from __future__ import annotations

import pytest

from attnfuse.decisions import SiteFacts
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32
from attnfuse.pass_manager import Context
from attnfuse.policy import Policy, parse_policy
from attnfuse.targets import Target
from attnfuse_passes.attention.self_or_cross import self_or_cross
from attnfuse_passes.fuse import Fuse
from tests.support.graphs import GraphBuilder


def projected(g: GraphBuilder, source: str, name: str) -> str:
    return g.dense(source, name, 16)


@pytest.mark.parametrize("own", [True, False])
def test_same_length_does_not_make_it_self(own: bool) -> None:
    g = GraphBuilder("unet")
    x, y = g.input("x", (2, 8, 16)), g.input("y", (2, 8, 16))
    q = projected(g, x, "to_q")
    k, v = (projected(g, x if own else y, name) for name in ("to_k", "to_v"))
    q = g.transpose(g.reshape(q, (2, 8, 2, 8)), (0, 2, 1, 3))
    g.output(q, k, v)
    assert self_or_cross(g.model(), q, k, v) == ("self" if own else "cross")


def test_what_is_reshaped_on_the_way_to_its_projection_is_the_same() -> None:
    g = GraphBuilder("unet")
    x = g.input("x", (2, 8, 16))
    q, k, v = (projected(g, g.reshape(x, (16, 16)), name) for name in ("to_q", "to_k", "to_v"))
    g.output(q, k, v)
    assert self_or_cross(g.model(), q, k, v) == "self"


def test_a_projection_by_addmm_has_its_values_behind_the_bias() -> None:
    g = GraphBuilder("unet")
    x = g.reshape(g.input("x", (2, 8, 16)), (16, 16))
    projections = [
        g.op(
            "Addmm",
            g.weight(f"{n}.bias", (16,)),
            x,
            g.op("Contiguous", g.weight(f"{n}.weight", (16, 16))),
            1,
            1,
            like=x,
        )
        for n in ("to_q", "to_k", "to_v")
    ]
    g.output(*projections)
    assert self_or_cross(g.model(), *projections) == "self"


def test_joint_attention_over_two_streams_is_self() -> None:
    g = GraphBuilder("unet")
    x, y = g.input("x", (2, 8, 16)), g.input("y", (2, 4, 16))
    streams = [g.concat([projected(g, x, f"{n}"), projected(g, y, f"add_{n}")], 1) for n in ("q", "k", "v")]
    g.output(*streams)
    assert self_or_cross(g.model(), *streams) == "self"
    q = projected(g, x, "only")
    assert self_or_cross(g.model(), q, *streams[1:]) == "cross"


def test_a_bare_operand_has_no_kind() -> None:
    g = GraphBuilder("unet")
    q = g.input("q", (2, 8, 16))
    k = projected(g, g.input("x", (2, 8, 16)), "to_k")
    product = g.matmul_ext(q, g.transpose(g.input("r", (2, 8, 16)), (0, 2, 1)))  # no weight in it
    g.output(q, k, product)
    assert self_or_cross(g.model(), q, k, k) is None
    assert self_or_cross(g.model(), product, product, product) is None


def test_too_far_away_is_not_known() -> None:
    g = GraphBuilder("unet")
    x = projected(g, g.input("x", (2, 8, 16)), "to_q")
    far = x
    for _ in range(500):
        far = g.op("Neg", far)
    g.output(far)
    model = g.model()
    assert self_or_cross(model, x, x, x) == "self"
    assert self_or_cross(model, far, far, far) is None


def test_facts_reach_the_record_and_the_rules() -> None:
    g = GraphBuilder("unet")
    x, y = g.input("x", (2, 8, 16), FLOAT32), g.input("y", (2, 6, 16), FLOAT32)
    q, k, v = (projected(g, s, n) for s, n in ((x, "to_q"), (y, "to_k"), (y, "to_v")))
    scores = g.muls(g.bmm(q, g.transpose(k, (0, 2, 1))), 0.25)
    g.output(g.bmm(g.softmax(scores), v))
    rules = parse_policy('[[rules]]\nmatch = "*"\nattention = "cross"\nmin_sequence_length = 8\nflash = false\n', "p")
    context = Context("unet", "unet", rules, Target("mindspore", "ascend910b"))
    Fuse().run(g.model(), context)
    (record,) = context.sites
    assert record.facts == SiteFacts(8, 6, 16, "float32", "cross")
    assert (record.status, record.code) == ("kept", "policy.flash_off")


def test_facts_of_a_fused_node() -> None:
    g = GraphBuilder("unet")
    x = g.input("x", (2, 8, 32), FLOAT16)
    q, k, v = (g.dense(x, name, 32) for name in ("to_q", "to_k", "to_v"))
    g.output(g.flash_attention_score(q, k, v, heads=2, scale=0.25, layout="BSH"))
    context = Context("unet", "unet", Policy(), Target("mindspore", "ascend910b"))
    Fuse().run(g.model(), context)
    assert context.sites[0].facts == SiteFacts(8, 8, 16, "float16", "self")
