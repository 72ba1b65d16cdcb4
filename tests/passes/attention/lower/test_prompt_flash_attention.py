"""Whatever is written for MindSpore Lite is launched: spellings by SoC and type, judged by the target's tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, DType
from attnfuse.targets import Target
from attnfuse.targets.nodes import FUSED
from tests.support.graphs import GraphBuilder
from tests.support.launching import refusals_of
from tests.support.sites import Site

HEADS = (40, 64, 72, 80, 88, 96, 128, 512)
LOWEST = np.array(-np.inf, np.float16)
S = 32


def added(*dims: int) -> Callable[[GraphBuilder, str], str]:
    """A bias of any numbers."""
    return lambda g, s: g.add(s, g.input("bias", dims, g.type_of(s).dtype))


def hidden(*dims: int) -> Callable[[GraphBuilder, str], str]:
    """A boolean mask, filled in."""
    return lambda g, s: g.masked_fill(s, g.input("mask", dims, BOOL), LOWEST.astype(g.type_of(s).dtype.numpy))


def grouped(name: str, dtype: DType) -> Callable[[GraphBuilder, str], str]:
    """One head of key or value for all of query."""
    return lambda g, x: g.repeat_interleave(g.input(name, (2, 1, *g.dims(x)[2:]), dtype), 4, 1)


SPELLINGS: dict[str, Callable[[DType], dict[str, Any]]] = {
    "plain": lambda dtype: {},
    "cross-attention": lambda dtype: {"key_length": 77},
    "few keys": lambda dtype: {"key_length": 4},
    "grouped heads": lambda dtype: {"key": grouped("k1", dtype), "value": grouped("v1", dtype)},
    "a mask by key": lambda dtype: {"scores": hidden(2, 1, 1, S)},
    "a mask by query and key": lambda dtype: {"scores": hidden(S, S)},
    "a mask of keys that are 77": lambda dtype: {"scores": hidden(2, 1, 1, 77), "key_length": 77},
    "a bias for all": lambda dtype: {"scores": added(1, 1, 1, S)},
    "a bias by head": lambda dtype: {"scores": added(1, 4, S, S)},
}
STAY_ON_310P = {
    "a mask of keys that are 77": "target.mask_shape",
    "a bias for all": "target.bias",
    "a bias by head": "target.bias",
}


@pytest.mark.parametrize(
    ("soc", "dtype"),
    [
        (soc, dtype)
        for soc in ("ascend910b", "ascend910_93", "ascend310p")
        for dtype in (FLOAT16, BFLOAT16, FLOAT32)
        if (soc, dtype) != ("ascend310p", BFLOAT16)
    ],
    ids=str,
)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_is_written_is_launched(spelling: str, soc: str, dtype: DType) -> None:
    for head_dim in HEADS:
        case = {"query_length": S, "key_length": S, "head_dim": head_dim, "value_head_dim": head_dim} | SPELLINGS[
            spelling
        ](dtype)
        site = Site(heads=4, soc=soc, dtype=dtype, **case)
        model, (record,) = site.run(site.proto(), "lite")
        code = STAY_ON_310P.get(spelling, "fused") if soc == "ascend310p" else "fused"
        assert (record.code, head_dim) == (code, head_dim)
        fused = [node for node in model.nodes if node.op == FUSED]
        assert len(fused) == (code == "fused")
        assert [told for told in refusals_of(model, Target("lite", soc)) if told[0] == FUSED] == []
