"""Nodes by the names that the engine gives its operators."""

from __future__ import annotations

import json

import pytest

from attnfuse.measured.places import Places
from attnfuse.report.model import Report
from tests.support import measured
from tests.support.measured import Measured


@pytest.fixture(scope="module")
def places(measured_once: Measured) -> Places:
    document = json.loads((measured_once.out / "report.json").read_bytes())
    report = Report.model_validate_json(json.dumps(document))
    return Places(measured.graph_of(measured_once.out), report.components[0])


def test_a_name_with_something_before_or_behind_it(measured_once: Measured, places: Places) -> None:
    for op in ("PromptFlashAttention", "MatMul", "Cos"):
        for name in measured.names(measured_once.out, op):
            for given in (name, f"{name}_to_v3", f"trans_{name}", f"{name}SwiGlu"):
                assert [node.scope for node in places.named(given)] == [name]


def test_the_names_of_several_in_a_row(measured_once: Measured, places: Places) -> None:
    several = [*measured.names(measured_once.out, "Sigmoid"), *measured.names(measured_once.out, "Mul")]
    assert [node.scope for node in places.named("".join(several))] == several
    assert [node.scope for node in places.named(f"{several[0]}_ub_fusion")] == several[:1]


def test_a_name_that_only_begins_alike(measured_once: Measured, places: Places) -> None:
    (cosine,) = measured.names(measured_once.out, "Cos")
    assert places.named(f"{cosine}0") == []
    assert places.named("trans_Data_0") == []
    assert places.of("trans_Data_0") == ""


def test_where_nodes_are(measured_once: Measured, places: Places) -> None:
    attention = measured.names(measured_once.out, "PromptFlashAttention")
    assert [places.of(name) for name in attention] == ["unet/blocks.0.attn1", "unet/blocks.1.attn1"]
    products = measured.names(measured_once.out, "MatMul")
    # What brings query, key and value to a site and has a module of its own, or only a scope.
    assert places.of(products[0]) == "unet/blocks.0.attn1.to_q"
    assert places.of(products[-1]) == "unet/blocks.1.ff"
    assert places.of(measured.names(measured_once.out, "Sigmoid")[0]) == "unet/blocks.1.ff"
