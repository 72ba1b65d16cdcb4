"""What the table of operators infers of every node, against what the file declares: the corpus, as it is and rewritten.

Sources were typed by MindSpore as it traced them; the passes write types of their own.
"""

from __future__ import annotations

from collections import Counter

import pytest

from attnfuse.ir.check import check_graph
from attnfuse.ir.graph import CALL, CONSTANT, Model, attribute
from attnfuse.ir.types import agree, declared_type, describe
from attnfuse.ir.values import Values
from attnfuse.mindir import codec
from attnfuse.pass_manager import Context, discover, run
from attnfuse.policy import Policy
from attnfuse.targets import RUNTIMES, Target
from tools.corpus import store

SOME = ("ascend_unet_sd15-float16", "cogvideox-bfloat16", "llama_flash-float16", "sana-float16")
"""Formulas and fused nodes, calls of functions, views, convolutions; a second or two together."""
NOT_INFERRED = {"Generator", "Switch"}
"""A state of random numbers and a choice of functions: no types that a graph computes with."""
LEFT_OPEN = {"FillScalar"}
"""lumina2 fills a shape that it takes from Shape itself, whose numbers are not followed."""


def versions(name: str) -> list[tuple[str, Model]]:
    """The graph as it is, and rewritten for each runtime."""
    data = store.read(name)
    found = [("source", Model(codec.parse(data, name)))]
    for runtime in RUNTIMES:
        model = Model(codec.parse(data, name))
        run(model, Context("component", "component", Policy(), Target(runtime, "ascend910b")), discover())
        found.append((runtime, model))
    return found


def compare(name: str) -> int:
    """How many nodes of the graph's versions were compared. Every declared type is the one inferred."""
    compared = 0
    for version, model in versions(name):
        assert check_graph(model) == [], version
        values, wrong, unknown, left_open = Values(model), [], Counter[str](), Counter[str]()
        for node in model.nodes:
            if node.op in (CONSTANT, CALL):
                continue
            inferred, declared = values.infer(node), declared_type(attribute(node.proto, "shape"))
            compared += 1
            if inferred is None:
                unknown[node.op] += 1
            elif not agree(inferred, declared):
                wrong.append(f"{node!r}: {describe(declared)}, inferred {describe(inferred)}")
            elif inferred != declared:
                left_open[node.op] += 1
        assert wrong == [], version
        assert set(unknown) <= NOT_INFERRED, version
        assert set(left_open) <= LEFT_OPEN, version
    return compared


@pytest.mark.parametrize("name", SOME)
def test_declared_types_are_those_inferred(name: str) -> None:
    assert compare(name) > 100


@pytest.mark.slow
def test_declared_types_are_those_inferred_over_the_corpus() -> None:
    assert sum(map(compare, store.names())) > 100_000
