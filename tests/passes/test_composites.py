"""Composites: each that is written arrives and is launched; one that is refused is told beside what stands for it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from attnfuse.cost.estimate import estimate
from attnfuse.ir.graph import Model
from attnfuse.ir.text import infer, parse_program, signature
from attnfuse.ir.values import Values
from attnfuse.pass_manager import Context, Legalised
from attnfuse.policy import Policy
from attnfuse.targets import Target
from attnfuse.targets.composites import COMPOSITE_OPERATORS
from attnfuse.targets.nodes import node_refusals
from attnfuse.testing import Fixture, read_fixtures
from attnfuse_passes.composites.composites import Composites
from attnfuse_passes.legalise.legalise import Legalise

FIXTURES = read_fixtures(Path(__file__).parent / "fixtures" / "composites")
SMALL = (
    "SiLU(GroupNorm(x: float16[{batch}, 64, 3, 3], 32, w: parameter float16[64], b: parameter float16[64], 1e-06)[0])"
)
GATES: tuple[Literal["cost", "operator"], ...] = ("cost", "operator")
WHOLE_BLOCKS = "a multiple of 16 elements a channel, with a batch of 1 and 32 groups"


def model(text: str) -> Model:
    return Model(parse_program(text, infer=infer, signature=signature))


def context(soc: str, *, any_batch: bool = False) -> Context:
    return Context("vae", "vae", Policy(), Target("lite", soc), any_batch=any_batch)


@pytest.mark.parametrize("fixture", [f for f in FIXTURES if f.after is not None], ids=str)
def test_what_is_written_arrives_and_is_launched(fixture: Fixture) -> None:
    graph, told = fixture.model(), fixture.context()
    Composites().run(graph, told)
    values = Values(graph)
    composites = [node for node in graph.nodes if node.op in (*COMPOSITE_OPERATORS, "GeLU")]
    assert composites or "__cut_" in str(fixture.after)
    assert [refusal for node in composites for refusal in node_refusals(told.target, values, node)] == []


def test_a_refused_composite_is_told_beside_what_legalisation_makes_of_it() -> None:
    graph, told = model(SMALL.format(batch=1)), context("ascend310p")
    for step in (Composites(), Legalise()):
        step.run(graph, told)
        graph.index()
    (norm,) = told.legalised
    assert (norm.op, norm.into[-1]) == ("GroupNorm", "Cast")
    assert f"GroupNormSilu on ascend310p takes {WHOLE_BLOCKS}, not float16[1, 64, 3, 3]" in norm.refused
    assert told.unsupported == {}


def test_a_composite_that_is_written_is_told_as_legalised() -> None:
    graph, told = model(SMALL.format(batch=1)), context("ascend910b")
    Composites().run(graph, told)
    assert told.legalised == [Legalised("GroupNorm", ("GroupNormSilu", "TupleGetItem"), ("SiLU",))]


def test_a_sum_that_a_composite_gives_out_too_is_told_as_absorbed() -> None:
    norm = "LayerNormExt(s, (64,), w: parameter float16[64], b: parameter float16[64], 1e-05)[0]"
    graph = model(f"s = Add(Div(x: float16[2, 9, 64], tensor float16[] 1.0), y: float16[2, 9, 64]); Add({norm}, s)")
    told = context("ascend910b")
    Composites().run(graph, told)
    (done,) = told.legalised
    assert (done.op, done.absorbed) == ("LayerNormExt", ("Add", "Div"))


@pytest.mark.parametrize("batch", [1, 2])
def test_a_graph_that_is_to_be_for_any_batch_is_judged_as_such(batch: int) -> None:
    """At a batch of 2 alone the 310P's general kernel would take it; together the graphs must be one."""
    graph, told = model(SMALL.format(batch=batch)), context("ascend310p", any_batch=True)
    assert not Composites().run(graph, told)
    (reason,) = told.unsupported.values()
    assert WHOLE_BLOCKS in reason


GATE = "a = Chunk(x: float16[2, 5, {size}], 2, -1); Mul(SiLU(a[{one}]), a[{other}])"


def test_a_gate_by_silu_is_a_custom_node_where_that_is_asked_for() -> None:
    graph, told = model(GATE.format(size=64, one=0, other=1)), context("ascend310p")
    assert Composites(swiglu="custom").run(graph, told)
    values = Values(graph)
    (node,) = [node for node in graph.nodes if node.op == "Custom"]
    assert node_refusals(told.target, values, node) == ()
    attributes = {
        a.name: values.arguments(node).get(a.name).value for a in graph.primitives[node.proto.op_type].attribute
    }
    assert attributes == {"reg_op_name": "SwiGlu", "input_names": ("x",), "output_names": ("y",), "dim": -1}


@pytest.mark.parametrize(
    ("size", "one", "asked"),
    [
        (64, 1, "custom"),  # SwiGlu activates the first half
        (24, 0, "custom"),  # halves of 24 bytes, which the 310P's kernel does not take
        (64, 0, "off"),
    ],
)
def test_a_gate_by_silu_stays(size: int, one: int, asked: Literal["off", "custom"]) -> None:
    graph, told = model(GATE.format(size=size, one=one, other=1 - one)), context("ascend310p")
    assert not Composites(swiglu=asked).run(graph, told)
    assert ["halves of a multiple of 64 bytes" in reason for reason in told.unsupported.values()] == [True] * (
        size == 24
    )


@pytest.mark.parametrize("any_batch", [False, True])
def test_a_rotation_of_heads_first_needs_to_know_how_many_they_are(any_batch: bool) -> None:
    """CANN refuses a thousand heads in all with cosines of [1, 1, S, D]."""
    text = """
    a = Chunk(x: float32[2, 3, 5, 8], 2, -1); r = Concat((Neg(a[1]), a[0]), -1)
    Add(Mul(x, c: float32[1, 1, 5, 8]), Mul(r, s: float32[1, 1, 5, 8]))
    """
    assert Composites().run(model(text), context("ascend910b", any_batch=any_batch)) is not any_batch


@pytest.mark.parametrize(("features", "is_cut"), [(16, True), (32, False), (64, False)])
def test_weights_of_a_gate_are_cut_where_the_estimate_says_that_it_costs_less(features: int, is_cut: bool) -> None:
    # The gate has 32 elements a token. GeGluV2 moves 4 · 32 and the projection's operand once, cut weights 3 · 32 and
    # the operand twice: as much at 32. Three float32 constants, of 12 bytes, are read as well.
    layer = f"Dense(x: float16[2, 64, {features}], w: parameter float16[64, {features}], None)"
    moved = {}
    for choice in GATES:
        graph, told = model(f"a = Chunk({layer}, 2, -1); Mul(a[0], GeluExt(a[1], 0))"), context("ascend910b")
        for step in (Composites(gelu_gate=choice), Legalise()):
            step.run(graph, told)
            graph.index()
        moved[choice] = estimate(graph, "ascend910b").bytes_moved
        assert any(node.op == "GeGluV2" for node in graph.nodes) is (choice == "operator" or not is_cut)
    saved = 2 * 64 * 2 * (32 - features) - 12 if is_cut else 0
    assert moved["operator"] - moved["cost"] == saved
