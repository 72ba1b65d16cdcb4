"""Composites: each that is written arrives and is launched; one that is refused is told beside what stands for it."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    composites = [node for node in graph.nodes if node.op in COMPOSITE_OPERATORS]
    assert composites
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
