"""Spellings without what reads them: `--require missed==0` fails, whatever it is that is not there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from attnfuse.ir.text import infer, parse_program
from attnfuse.mindir.schema import ModelProto
from tests.passes.attention import test_memory, test_products, test_restated
from tests.support.switched_off import RULES, assert_counted_without

BHSD = test_products.BHSD


def written(text: str) -> Callable[[], ModelProto]:
    return lambda: parse_program(text, infer=infer)


def _of_parts(name: str) -> str:
    if "chunk" in name:
        return "parts.chunks"
    return "parts.weighed_again" if "weighed" in name else "parts.joined_scores"


SPELLINGS: dict[str, tuple[str, Callable[[], ModelProto]]] = {
    **{
        name: ("product.einsum", written(test_products.SPELLINGS[name]))
        for name in test_products.SPELLINGS
        if name.startswith("einsum")
    },
    **{
        name: ("product.linear", written(test_products.SPELLINGS[name]))
        for name in ("linear", "linear with a bias", "linear twice")
    },
    **{
        name: ("product.summed", written(test_products.SPELLINGS[name]))
        for name in ("a product that is summed", "a product that is summed by reduction")
    },
    "mm": ("product.mm", written(test_products.SPELLINGS["mm"])),
    "addmm": ("product.added", written(test_products.SPELLINGS["addmm"])),
    "two values": (
        "weights.several_values",
        written(
            BHSD + "w: float16[2, 4, 10, 16]\np = Softmax(MatMulExt(q, Transpose(k, (0, 1, 3, 2))), (-1,))\n"
            "a = MatMulExt(p, v)\nb = MatMulExt(p, w)\nreturn a, b"
        ),
    ),
    **{
        make.__name__: ("memory.cache", make)
        for make in (test_memory.written_then_read, test_memory.written_twice, test_memory.copied)
    },
    "a constant that was an input": (
        "memory.frozen_input",
        lambda: test_memory.frozen((2, 4, 8, 16), (2, 4, 10, 16)),
    ),
    **{name: (_of_parts(name), written(text)) for name, text in test_restated.SPELLINGS.items()},
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_without_what_reads_it_it_is_missed(name: str) -> None:
    rule, make = SPELLINGS[name]
    assert_counted_without(make(), rule)


def test_every_rule_is_switched_off_by_a_spelling() -> None:
    assert {rule for rule, _ in SPELLINGS.values()} == RULES.keys()
