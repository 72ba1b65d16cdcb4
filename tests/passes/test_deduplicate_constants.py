"""Constants that passes made more than once become one; those of the source stay."""

from __future__ import annotations

import numpy as np

from attnfuse.ir.graph import CONSTANT, Model
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.pass_manager import Context, run
from attnfuse.policy import Policy
from attnfuse.targets import Target
from attnfuse_passes.deduplicate_constants import DeduplicateConstants
from attnfuse_passes.fuse import Fuse
from tests.support.graphs import GraphBuilder

CAUSAL = np.where(np.tri(4, dtype=bool), 0, -np.inf).astype(np.float16)


def masked_twice(mask: np.ndarray[tuple[int, ...], np.dtype[np.float16]] = CAUSAL) -> GraphBuilder:
    """Two attentions after each other, the second under `mask`, the first always under a causal one."""
    g = GraphBuilder("unet")
    x = g.input("x", (1, 2, 4, 8), FLOAT16)
    for own in (CAUSAL, mask):
        scores = g.add(g.matmul_ext(g.muls(x, 0.25), g.transpose(x, (0, 1, 3, 2))), own)
        x = g.matmul_ext(g.softmax(scores), x)
    g.output(x)
    return g


def shared(model: Model) -> Context:
    context = Context("unet", "unet", Policy(), Target("lite", "ascend910b"))
    run(model, context, [Fuse(), DeduplicateConstants()])
    return context


def made(model: Model) -> list[str]:
    return [node.name for node in model.nodes if node.op == CONSTANT and node.name.startswith("attnfuse_")]


def arguments(model: Model, position: int) -> list[str]:
    return [node.inputs[position] for node in model.nodes if node.op == "PromptFlashAttention"]


def test_two_sites_have_one_mask() -> None:
    model = masked_twice().model()
    context = shared(model)
    assert [site.status for site in context.sites] == ["fused", "fused"]
    first, second = arguments(model, 3)
    assert first == second
    literals = [model.literal(name) for name in made(model)]
    assert sum(isinstance(literal, np.ndarray) for literal in literals) == 1
    assert len({(type(literal), str(literal)) for literal in literals}) == len(literals)


def test_masks_that_differ_stay_two() -> None:
    other = CAUSAL.copy()
    other[3, 0] = -np.inf
    model = masked_twice(other).model()
    shared(model)
    first, second = arguments(model, 3)
    assert first != second
    assert not np.array_equal(np.asarray(model.literal(first)), np.asarray(model.literal(second)))


def test_equal_numbers_of_different_types_stay_two() -> None:
    model = masked_twice().model()
    shared(model)
    (fused, _) = (node for node in model.nodes if node.op == "PromptFlashAttention")
    zeros = {name: model.literal(name) for name in fused.inputs[12:] if model.literal(name) == 0}
    assert {type(value) for value in zeros.values()} <= {int, bool, float}
    assert len(zeros) == len({(type(value), value) for value in zeros.values()})


def test_a_source_with_nothing_to_fuse_keeps_its_bytes() -> None:
    g = GraphBuilder("unet")
    x = g.input("x", (2, 3))
    for value in (2.0, 2.0):
        x = g.mul(x, np.array(value, np.float32))
    g.output(x)
    before = codec.serialise(g.build())
    model = Model(codec.parse(before, "x"))
    assert not DeduplicateConstants().run(model, Context("unet", "unet", Policy(), Target("lite", "ascend910b")))
    assert codec.serialise(model.proto) == before
