"""What is known of a graph is kept from look to look, and says the same as a look at all of it."""

from __future__ import annotations

from random import Random

import pytest

from attnfuse.errors import SourceError
from attnfuse.ir.check import Checker, check_graph
from attnfuse.ir.graph import Model
from attnfuse.ir.numbering import Numbering
from attnfuse.ir.types import TensorType
from attnfuse.ir.writers import writers_of
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import FLOAT32
from attnfuse.mindir.schema import ModelProto
from tests.support.graphs import GraphBuilder
from tools.corpus import store
from tools.fuzz.edits import EDITS, GENTLE


@pytest.mark.parametrize("name", ["clip_text_mask-float16", "cogvideox-float32", "prior-bfloat16"])
def test_a_second_look_finds_what_a_first_would(name: str) -> None:
    """After one edit after the other: what changed, and whoever reads it, is looked at again."""
    random = Random(name)
    message = codec.parse(store.read(name), name)
    checker = Checker()
    looked = 0
    for _ in range(40):
        edit = random.choice(list(GENTLE if random.random() < 0.8 else EDITS))
        before = ModelProto()
        before.CopyFrom(message)
        edit(random, message)
        try:
            model = Model(message)
        except SourceError:
            message = before
            continue
        looked += 1
        assert checker.check(model) == check_graph(model)
    assert looked > 10


def in_place(index: int) -> Model:
    """Two halves of x; the first is doubled in place, and then half `index` is read beside it."""
    g = GraphBuilder()
    half = TensorType((2, 2), FLOAT32)
    pieces = g.node("SplitTensor", [g.input("x", (2, 4)), g.constant(2), g.constant(1)], (half, half))
    halves = [g.tuple_get_item(pieces, i) for i in (0, 1)]
    doubled = g.node("InplaceMul", [halves[0], g.input("y", (2, 2)), g.monad()], half)
    g.output(g.add(doubled, halves[index]))
    return g.model()


def test_elements_of_a_tuple_are_memory_of_their_own() -> None:
    (same,) = writers_of(in_place(0), Numbering()).values()
    (other,) = writers_of(in_place(1), Numbering()).values()
    assert same.after.bit_count() == 1
    assert not other.after | other.before | other.beside
    assert other.is_ours
