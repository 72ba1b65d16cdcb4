"""Fully masked rows: what stands behind a fused node for them is held to the original, a NaN of it too."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32
from attnfuse.mindir.schema import NodeProto
from attnfuse.verify.numbers.baseline import honest_rounding
from attnfuse.verify.numbers.full import Found, Request, check_numbers
from tests.support.graphs import GraphBuilder, fill_literal, seeded
from tests.support.masks import LOWEST, added, filled, guarded
from tests.support.sites import Site, unchanged

ROWS = (2, 1, 4, 5)
STATIC = np.zeros((1, 1, 4, 5), np.float16)
STATIC[..., 1:3] = STATIC[..., 2, :] = -np.inf
"""The third query has no key."""


def added_static(g: GraphBuilder, s: str) -> str:
    return g.add(s, STATIC)


def filled_static(g: GraphBuilder, s: str) -> str:
    return g.masked_fill(s, np.isinf(STATIC), np.array(-np.inf, np.float16))


SITES = {
    "nan": (Site(scores=filled(-np.inf, ROWS)), "nan"),
    "nan by a static mask": (Site(scores=filled_static), "nan"),
    "nan by a static mask that is added": (Site(scores=added_static), "nan"),
    "mean": (Site(scores=filled(LOWEST["float16"], ROWS)), "mean"),
    "zero": (Site(scores=filled(-np.inf, ROWS), weights=guarded), "zero"),
    "zero by a mask that is added as it is": (Site(scores=added(ROWS, name="mask"), weights=guarded), "zero"),
}
OTHERS = {"nan": 0.0, "mean": 0.0, "zero": math.nan}


@functools.cache
def pair(name: str) -> tuple[Model, bytes]:
    """The formula and its rewrite, with the guard that was to be."""
    site, guard = SITES[name]
    proto = Site(scores=site.scores, weights=site.weights, builder=GraphBuilder("site")).proto()
    after, (record,) = site.run(proto, "lite")
    assert (record.status, record.fully_masked_rows) == ("fused", guard)
    return Model(proto), after.proto.SerializeToString(deterministic=True)


def rewritten(name: str, number: float | None = None) -> Model:
    """The rewrite of that site; with a `number`, fully masked rows become that in place of what they are to be."""
    proto = type(pair(name)[0].proto).FromString(pair(name)[1])
    if number is None:
        return Model(proto)
    guard = next(node for node in reversed(Model(proto).nodes) if node.op in ("MaskedFill", "Select"))
    constant = NodeProto(name="planted", op_type="Constant", output=["planted"])
    fill_literal(constant.attribute.add(name="value"), np.array(number, np.float16))
    guard.proto.input[2 if guard.op == "MaskedFill" else 1] = "planted"
    proto.graph.node.insert(0, constant)
    return Model(proto)


def check(before: Model, after: Model, folder: Path, *, data: Sequence[Path] = (), is_vouched: bool = False) -> Found:
    where, result = folder / "m.mindir", before.proto.graph.output[0].name
    vouched = frozenset([result] if is_vouched else [])
    request = Request(name="m", original=where, fused=where, seed=0, work=folder, data=data, never_fully_masked=vouched)
    return check_numbers(before, after, request, {})


@pytest.mark.parametrize("name", SITES)
def test_a_guard_that_gives_what_the_formula_gives_passes(name: str, tmp_path: Path) -> None:
    found = check(pair(name)[0], rewritten(name), tmp_path)
    assert found.findings == []
    assert len(found.sites) == 1


@pytest.mark.parametrize("name", SITES)
def test_a_guard_that_gives_something_else_is_found(name: str, tmp_path: Path) -> None:
    """By the whole graph, and by its site alone: on what it meets, and on drawn operands."""
    findings = check(pair(name)[0], rewritten(name, OTHERS[SITES[name][1]]), tmp_path).findings
    for beginning, within in (("", "output "), ("site ", ""), ("site ", " drawn operands")):
        assert any(text.startswith(beginning) and within in text for text in findings), (beginning, within, findings)
    if SITES[name][1] == "nan":
        assert all(" is not NaN in " in text for text in findings), findings


@pytest.mark.parametrize("number", [-np.inf, LOWEST["float32"]])
def test_a_guard_in_the_source_takes_no_rounding_from_the_yardstick(number: float) -> None:
    """Weights and value are rounded to float16 in front of the last product, whatever stands between."""
    rounded = []
    for weights in (unchanged, guarded):
        site = Site(scores=filled(number, ROWS, FLOAT32), weights=weights, dtype=FLOAT32, builder=GraphBuilder("site"))
        before = site.proto()
        rounding = honest_rounding(Model(before), site.run(before, "lite")[0])
        rounded.append(sorted((r.dtype.name, r.operands, r.result) for r in rounding.values()))
    assert rounded[0] == rounded[1] == [("float16", (0, 1), False), ("float16", (0, 1), True)]


@pytest.mark.parametrize("name", ["nan", "nan by a static mask"])
def test_what_the_policy_rules_out_is_not_compared(name: str, tmp_path: Path) -> None:
    """Neither on drawn inputs nor on given ones that have such rows all the same."""
    before, after = pair(name)[0], rewritten(name, 0.0)
    arrays = {key: seeded(key, (2, 2, 4 if key == "query" else 5, 16), FLOAT16) for key in ("query", "key", "value")}
    mask = {"mask": np.isinf(np.broadcast_to(STATIC, ROWS))} if name == "nan" else {}
    np.savez(tmp_path / "m.npz", **arrays, **mask)
    for data in ((), (tmp_path / "m.npz",)):
        assert check(before, after, tmp_path, data=data).findings
        assert check(before, after, tmp_path, data=data, is_vouched=True).findings == []


@pytest.mark.parametrize("kind", ["bool", "added"])
def test_a_guard_that_was_lost_is_found_on_little_too(kind: str, tmp_path: Path) -> None:
    """Where the source tells NaN from numbers, a fully masked row is among what a sampled verification runs on."""
    scores = filled(-np.inf, ROWS) if kind == "bool" else added(ROWS, name="mask")
    before, lost = (
        Model(Site(scores=scores, result=result, builder=GraphBuilder("site")).proto())
        for result in (guarded, unchanged)
    )
    where = tmp_path / "m.mindir"
    request = Request(name="m", original=where, fused=where, seed=0, work=tmp_path, sampled=True)
    assert check_numbers(before, before, request, {}).findings == []
    assert len(check_numbers(lost, lost, request, {}).drawn) == 1
    found = check_numbers(before, lost, request, {})
    assert len(found.drawn) == 2
    assert any("NaN or infinite, and not in the original" in text for text in found.findings)
    vouched = dataclasses.replace(request, never_fully_masked=frozenset([before.proto.graph.output[0].name]))
    assert check_numbers(before, lost, vouched, {}).findings == []
