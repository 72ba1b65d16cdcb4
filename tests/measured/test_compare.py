"""A folder of measurements held to an output: what is counted, what is expected, and what does not belong together."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from attnfuse.errors import SourceError, UsageError
from attnfuse.measured.compare import measurement
from attnfuse.measured.records import Component, Measurement
from attnfuse.report.reading import read_report
from tests.support import measured
from tests.support.measured import RUNS, Measured


def held(given: Measured) -> Measurement:
    return measurement(given.out, read_report(given.out)[0], given.folder)


def component(given: Measured) -> Component:
    (found,) = held(given).components
    return found


def test_kinds_add_up_to_the_estimate_and_to_the_profile(given: Measured) -> None:
    found = component(given)
    estimate = read_report(given.out)[0].components[0].cost.after
    assert estimate is not None
    assert sum(line.estimated_seconds or 0 for line in found.kinds) == pytest.approx(estimate.seconds)
    assert sum(line.estimated_bytes or 0 for line in found.kinds) == estimate.bytes_moved
    assert sum(line.estimated_kernels or 0 for line in found.kinds) == estimate.kernels + estimate.format_changes
    rows = measured.rows(given.out)
    assert sum(line.measured_kernels or 0 for line in found.kinds) == len(rows)
    assert sum(line.measured_seconds or 0 for line in found.kinds) == pytest.approx(sum(row[3] for row in rows) * 1e-6)
    kinds = {line.kind: line.measured_kernels for line in found.kinds}
    assert kinds["fused attention"] == 2
    assert kinds["AI CPU"] == 2  # whatever they are elsewhere
    assert [(one.type, one.kernels) for one in found.unknown] == [("FancyOp", 1)]
    assert (found.source, found.runs, found.notes, found.missing) == ("op_summary", RUNS, (), ())


def test_a_region_with_a_product_in_it_is_a_product(given: Measured) -> None:
    name = measured.names(given.out, "MatMul")[-1] + measured.names(given.out, "Sigmoid")[0]
    (file,) = given.unet.glob("op_summary_*.csv")
    before = {line.kind: line.measured_kernels or 0 for line in component(given).kinds}
    file.write_text(measured.summary([*measured.rows(given.out), (name, "AutomaticBufferFusionOp", "AI_CORE", 1.0)]))
    after = {line.kind: line.measured_kernels or 0 for line in component(given).kinds}
    assert {kind: after[kind] - before[kind] for kind in after if after[kind] != before[kind]} == {"matrix products": 1}


def test_operators_alone_where_no_table_knows_nodes(given: Measured) -> None:
    (file,) = given.unet.glob("op_summary_*.csv")
    with_nodes = component(given)
    file.unlink()
    found = component(given)
    assert (found.source, found.missing) == ("op_statistic", ("op_summary_*.csv",))
    assert [(line.kind, line.measured_kernels) for line in found.kinds] == [
        (line.kind, line.measured_kernels) for line in with_nodes.kinds
    ]
    assert [(one.place, one.type, one.expected) for one in found.on_cpu] == [("", "Cos", ""), ("", "Mul", "")]


def test_what_is_refused_or_falls_and_what_the_report_says(given: Measured) -> None:
    found = component(given)
    assert [(one.place, one.type, bool(one.expected)) for one in found.refused] == [
        ("", "Fancy", True),
        ("unet/blocks.1.attn1", "PromptFlashAttention", False),
        (found.on_cpu[0].place, "Cos", True),
    ]
    assert [(one.type, one.kernels, one.expected) for one in found.on_cpu] == [
        ("Cos", 1, "AI CPU, or a build error"),
        ("Mul", 1, ""),
    ]
    assert found.on_cpu[0].seconds == pytest.approx(120e-6)


def test_fusions_counted_on_done_given_up_and_others(given: Measured) -> None:
    found = component(given)
    assert found.fusions is not None
    assert [(one.rule, one.assumed, one.matched, one.done) for one in found.fusions] == [
        ("3", 0, 1, 1),
        ("4", 1, 1, 0),
        ("5", 1, 1, 1),
    ]
    assert found.other_fusions is not None
    assert [(one.name, one.done) for one in found.other_fusions] == [
        ("SoftmaxFusionPass", 0),
        ("ZConcatv2dFusionPass", 2),
    ]


def test_any_file_may_be_lacking(given: Measured) -> None:
    for file in given.unet.iterdir():
        file.unlink()
    found = component(given)
    assert found.missing == (
        *("op_statistic_*.csv", "op_summary_*.csv", "fusion_result.json", "build.log", "align.json"),
    )
    assert (found.source, found.refused, found.on_cpu, found.fusions, found.aligned) == ("", (), (), None, None)
    assert {line.measured_seconds for line in found.kinds} == {None}
    assert all(line.estimated_seconds for line in found.kinds)


def test_tables_of_other_runs_are_told(given: Measured) -> None:
    (file,) = given.unet.glob("op_statistic_*.csv")
    file.write_text(measured.statistic(measured.rows(given.out), RUNS + 1))
    assert (
        "they are not of the same runs, or one is cut off; times are those of op_summary" in component(given).notes[0]
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"board": "Ascend310P3"}, "the board Ascend310P3 is of ascend310p, and the graphs are for ascend910b"),
        ({"board": "Ascend999"}, "the board Ascend999 is none that attnfuse knows"),
        ({"versions": {"cann": "8.2.RC1"}}, "the host has CANN 8.2.RC1, and the tables here are of CANN 8.1.RC1"),
        ({"components": []}, "not measured: unet"),
    ],
)
def test_a_host_that_is_another(given: Measured, changed: dict[str, Any], said: str) -> None:
    assert held(given).notes == ()
    given.index(**changed)
    (note,) = held(given).notes
    assert said in note


def _another_graph(document: dict[str, Any]) -> None:
    document["components"][0]["graph_sha256"] = "0" * 64


def _another_name(document: dict[str, Any]) -> None:
    document["components"][0]["name"] = "vae_decoder"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_another_graph, "was measured of another unet than that in"),
        (_another_name, "was measured of vae_decoder, which"),
    ],
)
def test_a_folder_of_another_output(given: Measured, change: Callable[[dict[str, Any]], None], said: str) -> None:
    document = json.loads((given.folder / "measured.json").read_bytes())
    change(document)
    (given.folder / "measured.json").write_text(json.dumps(document))
    with pytest.raises(SourceError, match=said):
        held(given)


def test_a_report_without_its_graphs(given: Measured) -> None:
    with pytest.raises(UsageError, match="--measured needs the graphs of"):
        measurement(given.out / "report.json", read_report(given.out)[0], given.folder)
