"""The graphs that mutants are made from: the corpus, spellings of attention, and every case of a legalisation rule.

Weights of the corpus, which has none, lie in one file of zeros beside the graph, so that a mutant can be compiled and
not only inspected.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from attnfuse.mindir import codec, external
from attnfuse.mindir.dtypes import BOOL, FLOAT16, FLOAT32
from attnfuse.mindir.schema import ModelProto
from tests.support.graphs import GraphBuilder, transformer
from tests.support.spellings import spell
from tools.corpus import store

WEIGHTS = "graph_variables/data_0"
"""Where the weights of the corpus are said to lie, relative to the graph."""
SPELLINGS = 80
SMALL = 4_000
"""Bytes of a small graph."""
LARGER = 0.03
"""How often a mutant is made of any seed, those of the corpus among them, which take ten times as long."""
_TESTS = Path(__file__).resolve().parents[2] / "tests" / "passes" / "legalise"


@dataclass(frozen=True, slots=True)
class Seed:
    """A sound graph. `weights` are the bytes that the file beside it must hold; 0 where its weights are inline."""

    name: str
    data: bytes
    weights: int

    def message(self) -> ModelProto:
        """A fresh message of it."""
        return codec.parse(self.data, self.name)


def _corpus() -> list[Seed]:
    seeds = []
    for name in store.names():
        seeds.append(_beside_weights(name, codec.parse(store.read(name), name)))
    return seeds


def _beside_weights(name: str, message: ModelProto) -> Seed:
    size = external.lay_out(message, WEIGHTS)
    return Seed(name, codec.serialise(message), size)


def _inline(name: str, message: ModelProto) -> Seed:
    return Seed(name, codec.serialise(message), 0)


def _spellings() -> list[Seed]:
    return [_inline(f"spelling-{number}", spell(Random(number)).proto) for number in range(SPELLINGS)]


def _already_fused() -> list[Seed]:
    """What a pass converts: a node of each runtime, with a mask."""
    seeds = []
    for runtime in ("mindspore", "lite"):
        g = GraphBuilder(runtime)
        query, key, value = (g.input(name, (2, 4, 8, 16), FLOAT16) for name in "qkv")
        mask = g.logical_not(g.input("attended", (2, 1, 8, 8), BOOL))
        fused = g.flash_attention_score if runtime == "mindspore" else g.prompt_flash_attention
        g.output(g.cast(fused(query, key, value, heads=4, scale=0.25, attn_mask=mask), FLOAT32))
        seeds.append(_inline(f"fused for {runtime}", g.build()))
    return seeds


def _rules() -> list[Seed]:
    """The graphs of legalisation's fixtures, and its cases that the text form cannot say."""
    for path in sorted(_TESTS.glob("test_*.py")):
        if path.stem != "test_rules":
            importlib.import_module(f"tests.passes.legalise.{path.stem}")
    from tests.passes.legalise.support import shown

    return [_beside_weights(str(each), each.model().proto) for each in sorted(shown(), key=str)]


@cache
def groups() -> tuple[tuple[Seed, ...], ...]:
    """The seeds by kind, always in the same order."""
    small = (_inline("transformer", transformer().build()), *_already_fused())
    return tuple(_corpus()), (*_spellings(), *small), tuple(_rules())


@cache
def small() -> tuple[Seed, ...]:
    """Those that take the passes a few milliseconds: an attention, a fused node or an operator by itself."""
    return tuple(seed for group in groups()[1:] for seed in group if len(seed.data) <= SMALL)


def draw(random: Random) -> Seed:
    """A seed: mostly a small one, each as often as the others; of the rest each kind as often as the others, and within
    the corpus the smaller the oftener."""
    if random.random() >= LARGER:
        return random.choice(small())
    group = random.choice(groups())
    weights = [1 / (2_000 + len(seed.data)) for seed in group]
    return random.choices(group, weights)[0]
