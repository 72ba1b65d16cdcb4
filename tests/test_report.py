"""The report: the census adds up, ids are unique, requirements are held against the counts."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import fields, replace
from io import BytesIO, StringIO, TextIOWrapper

import pytest
from rich.console import Console

from attnfuse.cost.records import Comparison, Estimate
from attnfuse.decisions import FailureReason, Form, SiteRecord, Status
from attnfuse.errors import InternalError, UsageError
from attnfuse.pass_manager import Legalised, Simplified
from attnfuse.report.build import (
    check_census,
    component_entry,
    count_sites,
    kernel_entries,
    legalised_entries,
    report,
    simplified_entries,
    unsupported_entries,
    with_ids,
)
from attnfuse.report.figures import ComponentFigures, Error
from attnfuse.report.model import AT_COMPILE_TIME, BesideEntry, Report, UnsupportedEntry
from attnfuse.report.require import parse_requirement
from attnfuse.report.table import render
from attnfuse.report.units import human_bytes
from attnfuse.targets import Target
from tests.support.costs import graph
from tests.support.graphs import GraphBuilder, transformer

TARGET = Target("lite", "ascend910b")


NO_RULE = "no adapter is known for it; no rule replaces it"
LEGALISED = legalised_entries(
    [
        Legalised("Dense", ("Reshape", "MatMul"), ("Cast",)),
        Legalised("Contiguous", ()),
        Legalised("Dense", ("MatMul", "BiasAdd")),
    ]
)


def test_each_reason_why_a_composite_was_refused_is_told_once() -> None:
    refused = [Legalised("GroupNorm", ("Mul",), refused=reason) for reason in ("too wide", "", "too few", "too wide")]
    (entry,) = legalised_entries(refused)
    assert (entry.count, entry.refused) == (4, ("too few", "too wide"))


def unsupported(target: Target = TARGET) -> tuple[UnsupportedEntry, ...]:
    """Three operators that nobody knows: one with a weight, one with a scope, one with neither but a reason."""
    g = GraphBuilder()
    x = g.input("x", (2, 3))
    with_weight = g.op("Fancy", x, g.weight("blocks.3.norm.gamma", (3,)))
    g.scope = "Default/net-Net/blocks-CellList/3-Block"
    with_scope = g.op("Odd", with_weight)
    g.scope = "Default"
    alone = g.op("Odd", with_scope)
    g.output(g.op("Add", alone, alone))  # taken
    found = unsupported_entries(g.model(), target, {alone: "its axis is odd"} if target == TARGET else {})
    return tuple(entry for entry in found if entry.op in ("Fancy", "Odd"))


def record(module: str, status: Status = "fused", form: Form = "formula", **fields: object) -> SiteRecord:
    anchor = f"g:{module}:{status}:{len(fields)}"
    known = {"graph": "g", "anchor": anchor, "code": f"code.{status}", "reason": f"because {status}", **fields}
    return SiteRecord(module=module, status=status, form=form, **known)  # type: ignore[arg-type]


RECORDS = [
    record("a", casts=4, head_dim_padding=8, score_bytes_saved=1000, scale=0.125, query_shape=(2, 4, 8, 16)),
    record("b", "kept", rule="--no-flash b"),
    record("c", "missed", failure=FailureReason("layout.k", "g:CNode_1:7", "a transposed k", "nothing")),
    record("d", "not_attention"),
    record("a", "fused", "fused", casts=1, score_bytes_saved=2000, warnings=("mask lost",)),
]


SITES = with_ids("unet", RECORDS)


def test_the_counts_add_up() -> None:
    totals = component_entry("unet", 9, SITES).totals
    assert totals.to_json() == {
        "softmax": 4,
        "already_fused": 1,
        "sites": 4,
        "fused": 2,
        "kept": 1,
        "missed": 1,
        "not_attention": 1,
        "casts": 5,
        "padded_heads": 1,
        "score_bytes_saved": 3000,
        "largest_score_bytes": 2000,
        "legalised": 0,
        "unsupported": 0,
        "failed": 0,
    }
    assert totals.softmax + totals.already_fused == totals.sites + totals.not_attention
    assert totals.sites == totals.fused + totals.kept + totals.missed


def test_ids_are_unique() -> None:
    assert [site.id for site in with_ids("unet", RECORDS)] == ["unet/a", "unet/b", "unet/c", "unet/d", "unet/a#2"]


def test_sites_are_counted_in_the_graph() -> None:
    assert count_sites(transformer(sites=3).model())["formula"] == 3
    fused = GraphBuilder()
    x = fused.input("x", (2, 4, 8, 16))
    y = fused.flash_attention_score(x, x, x, heads=4, scale=0.25)
    fused.output(fused.prompt_flash_attention(y, x, x, heads=4, scale=0.25))
    assert count_sites(fused.model())["fused"] == 2


@pytest.mark.parametrize(
    ("counted", "records"),
    [
        (Counter(formula=2, fused=0), [record("a")]),
        (Counter(formula=0, fused=0), [record("a")]),
        (Counter(formula=1, fused=1), [record("a"), record("b")]),
        (Counter(formula=2, fused=0), [record("a"), record("a")]),
        (Counter(formula=2, more=5), [record("a")]),
        (Counter(formula=1, more=1), [record("a"), record("b"), record("c")]),
    ],
)
def test_a_census_that_does_not_add_up_is_a_defect(counted: Counter[str], records: list[SiteRecord]) -> None:
    with pytest.raises(InternalError, match="unet: the census does not add up"):
        check_census("unet", counted, records)


def test_a_census_that_adds_up() -> None:
    check_census("unet", Counter(formula=4, fused=1), RECORDS)
    check_census("unet", Counter(formula=3, fused=1, more=1), RECORDS)


def test_components_that_are_not_there_are_counted_and_named() -> None:
    document = report(TARGET, [component_entry("unet", 9, SITES)], [], {"vae": "no such class"}).to_json()
    assert document["failed"] == [{"name": "vae", "reason": "no such class"}]
    assert (document["totals"]["failed"], document["totals"]["sites"]) == (1, 4)
    failed = report(TARGET, [], [], {"vae": "no such class"})
    assert parse_requirement("failed==0").unmet(failed) == "required failed==0, but failed is 1"


def test_the_document() -> None:
    document = json.loads(report(TARGET, [component_entry("unet", 9, SITES)], ["a warning"]).to_bytes())
    assert list(document) == [
        *("schema", "attnfuse", "runtime", "soc", "judged_by"),
        *("components", "failed", "totals", "warnings"),
    ]
    assert document["judged_by"] == {
        "adapters": "MindSpore 2.7.1, op_adapter/op_declare",
        "prototypes": "CANN, operator prototypes of June 2025",
        "kernels": "CANN 8.1.RC1, aic-*-ops-info.json",
        "passes": "MindSpore Lite at 2b28870, July 2025",
        "launches": "CANN's tiling, November 2025; CANN's tiling, August 2026",
    }
    assert report(Target("mindspore", "ascend910b"), [], []).judged_by == {}
    assert document["schema"] == "attnfuse.report/2"
    assert list(document["components"][0]) == [
        "name",
        "dtype",
        "dtype_from",
        "traced",
        "options",
        "plugins",
        "nodes",
        "fixed",
        "sites",
        "legalised",
        "unsupported",
        "not_rewritten",
        "simplified",
        "without_kernel",
        "cost",
        "beside",
        "totals",
    ]
    first, _, missed, *_ = document["components"][0]["sites"]
    assert list(first) == [field.name for field in fields(SiteRecord)]
    assert first["query_shape"] == [2, 4, 8, 16]
    assert first["scale"] == 0.125
    assert missed["failure"] == {
        "code": "layout.k", "at": "g:CNode_1:7", "expected": "a transposed k", "found": "nothing"
    }  # fmt: skip


def test_the_document_is_read_back_as_it_was_made() -> None:
    made = report(TARGET, [component_entry("unet", 9, SITES)], [])
    assert Report.model_validate_json(made.to_bytes()) == made


def test_a_number_that_is_none_is_in_no_document() -> None:
    """JSON has no infinity: a record that holds one would be null in the file."""
    sites = with_ids("unet", [record("a", scale=float("inf"))])
    with pytest.raises(ValueError, match="JSON"):
        report(TARGET, [component_entry("unet", 9, sites)], []).to_bytes()


def shown(components: int) -> str:
    entries = [component_entry(f"part{i}", 9, with_ids(f"part{i}", RECORDS)) for i in range(components)]
    console = Console(file=StringIO(), width=200)
    console.print(render(report(TARGET, entries, ["a rule matches no site"])))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_the_table_tells_counts_and_reasons() -> None:
    text = shown(1)
    assert "total" not in text
    assert "kept 1 (code.kept): because kept: part0/b" in text
    assert "missed 1 (code.missed): because missed: part0/c" in text
    assert "warning: mask lost (1 site)" in text
    assert "warning: a rule matches no site" in text
    row = next(line for line in text.splitlines() if line.startswith("part0"))
    assert row.split() == ["part0", "4", "2", "1", "1", "1", "5", "1"]


def test_the_table_groups_reasons_and_sums_components() -> None:
    text = shown(5)
    assert "missed 5 (code.missed): because missed: part0/c, part1/c, part2/c, …" in text
    row = next(line for line in text.splitlines() if line.startswith("total"))
    assert row.split()[:2] == ["total", "20"]


@pytest.mark.parametrize("name", ["unet", "controlnet_conditioning_encoder_two", "controlnet_conditioning_encoder_one"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_tables_fit_80_columns_and_cut_nothing(name: str, encoding: str) -> None:
    """Numbers stand in one line each, names are whole; in a locale without lines to draw, dashes stand for them."""
    assert COST.before is not None
    large = replace(COST.before, bytes_moved=1023 * 2**20, kernels=99999, peak_bytes=1023 * 2**20)
    cost = Comparison(large, replace(large, seconds=0.07999), "")
    figures = {name: ComponentFigures("full", True, outputs=(Error(1.25e-3, 2e-3),))}
    entries = [component_entry(name, 9, with_ids(name, RECORDS), cost=cost), component_entry("vae", 9, SITES)]
    bytes_of = BytesIO()
    with TextIOWrapper(bytes_of, encoding, errors="replace") as file:
        console = Console(file=file, width=80)
        for table in render(report(TARGET, entries, []), figures).renderables[:2]:
            console.print(table)
        file.flush()
        lines = bytes_of.getvalue().decode(encoding).splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if "…" in line]
    names = "".join(line.split()[0] for line in lines if line[:1].strip())
    assert names.count(name) == 2
    assert any("1023 " in line and "1023 MiB" in line for line in lines)
    assert any("1.25e-03" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "unmet"),
    [
        ("fused==sites", "required fused==sites, but fused is 2 and sites is 4"),
        ("missed==0", "required missed==0, but missed is 1"),
        ("kept != 1", "required kept!=1, but kept is 1"),
        ("fused>=32", "required fused>=32, but fused is 2"),
        ("sites < 4", "required sites<4, but sites is 4"),
        ("fused>=2", None),
        ("already_fused==1", None),
        ("sites > fused", None),
        ("unsupported==3", None),
        ("deployable", "required deployable (unsupported==0), but unsupported is 3"),
    ],
)
def test_requirements(text: str, unmet: str | None) -> None:
    made = report(TARGET, [component_entry("unet", 9, SITES, LEGALISED, unsupported())], [])
    assert parse_requirement(text).unmet(made) == unmet


def test_a_graph_with_nothing_unsupported_is_deployable() -> None:
    assert parse_requirement(" deployable ").unmet(report(TARGET, [component_entry("unet", 9, SITES)], [])) is None


COST = Comparison(
    Estimate(100 * 2**30, 200, 20, 2**30, 3 * 2**30, 1e12, 0.08),
    Estimate(25 * 2**30, 150, 10, 2**29, 2**29, 1e12, 0.06),
    "",
)
"""A quarter of the bytes, three quarters of the kernels and the time, a sixth of the peak."""


def costing(*costs: Comparison) -> Report:
    """A report of components that cost this."""
    return report(TARGET, [component_entry(f"part{i}", 9, (), cost=cost) for i, cost in enumerate(costs)], [])


@pytest.mark.parametrize(
    ("text", "unmet"),
    [
        ("bytes<=0.25", None),
        ("bytes < 0.25", "required bytes<0.25, but the estimate of part0 is 0.250 of its source's"),
        ("peak<=0.1667", None),
        ("peak<=0.16", "required peak<=0.16, but the estimate of part0 is 0.167 of its source's"),
        # A sixth: rounded to three places it would seem to hold.
        ("peak>=0.167", "required peak>=0.167, but the estimate of part0 is 0.1667 of its source's"),
        ("kernels<=1", None),
        ("time<=0.7", "required time<=0.7, but the estimate of part0 is 0.750 of its source's"),
    ],
)
def test_an_estimate_is_required_of_every_component(text: str, unmet: str | None) -> None:
    assert parse_requirement(text).unmet(costing(COST)) == unmet
    worse = replace(COST, after=COST.before)
    second = parse_requirement("bytes<=0.5").unmet(costing(COST, worse))
    assert second == "required bytes<=0.5, but the estimate of part1 is 1.000 of its source's"


def test_what_is_not_estimated_meets_no_requirement() -> None:
    unmet = parse_requirement("peak<=1.0").unmet(costing(COST, Comparison(not_estimated="sizes are left to run time")))
    assert unmet == "required peak<=1.0, but part1 is not estimated: sizes are left to run time"


def test_the_table_tells_estimates_and_why_there_is_none() -> None:
    console = Console(file=StringIO(), width=200)
    console.print(render(costing(COST, Comparison(not_estimated="sizes are left to run time"))))
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert "estimate for ascend910b, source → result (docs/cost.md; not measured)" in text
    costs, sites = (line for line in text.splitlines() if line.startswith("part0"))
    assert re.split(r"  +", costs.strip()) == [
        "part0",
        "100 → 25.0 GiB ×0.25",
        "3.00 → 0.50 GiB ×0.17",
        "80.0 → 60.0 ms ×0.75",
    ]
    assert sites.rstrip().endswith(" 200 → 150")
    assert "not estimated: part1: sizes are left to run time" in text


def test_the_document_tells_estimates() -> None:
    (told,) = costing(COST).to_json()["components"]
    assert list(told["cost"]) == ["before", "after", "not_estimated", "sites"]
    assert told["cost"]["before"]["bytes_moved"] == 100 * 2**30
    assert Report.model_validate_json(costing(COST).to_bytes()) == costing(COST)


def test_what_is_left_beside_fused_nodes_is_told_for_each_component() -> None:
    add, mul = ("Add CNode_1", "Add CNode_2"), ("Mul CNode_9",)
    left = tuple(
        BesideEntry(f"unet/{n}", of, op, f"CNode_{n}", 64, needed_by)
        for n, (of, op, needed_by) in enumerate(
            [("value", "Transpose", add), ("value", "Transpose", add[:1]), ("result", "StridedSlice", mul)]
        )
    )
    made = report(TARGET, [component_entry("unet", 9, SITES, beside=left), component_entry("vae", 9, SITES)], [])
    assert Report.model_validate_json(made.to_bytes()) == made
    console = Console(file=StringIO(), width=200)
    console.print(render(made, operators=True))
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert "beside the fused nodes of unet: 2 Transpose of value for Add; 1 StridedSlice of result for Mul\n" in text
    assert "beside the fused nodes of vae: nothing\n" in text
    assert "beside" not in shown(1)


def test_legalised_nodes_are_counted_by_operator() -> None:
    assert [(e.op, e.count, e.into, e.absorbed) for e in LEGALISED] == [
        ("Contiguous", 1, (), ()),
        ("Dense", 2, ("BiasAdd", "MatMul", "Reshape"), ("Cast",)),
    ]


def test_unsupported_operators_are_listed_with_why_and_where() -> None:
    told = [(e.op, e.count, e.reason, e.code, e.nodes, e.modules) for e in unsupported()]
    assert told == [
        ("Fancy", 1, NO_RULE, "converter.adapter", ("CNode_2:2",), ("blocks.3.norm",)),
        ("Odd", 1, "its axis is odd", "converter.adapter", ("CNode_4:4",), ()),
        ("Odd", 1, NO_RULE, "converter.adapter", ("CNode_3:3",), ("blocks.3",)),
    ]
    assert unsupported(Target("mindspore", "ascend910b")) == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fused",
        "4<=softmax",
        "fused=sites",
        "fused==-1",
        "fused==1.5",
        "fuzed==1",
        "fused==all",
        "bytes<=sites",
        "bytes<=.5",
    ],
)
def test_bad_requirements(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_requirement(text)
    if text == "fuzed==1":
        assert "did you mean 'fused'" in str(caught.value)


def test_bytes_for_people() -> None:
    assert [human_bytes(n) for n in (0, 1023, 1024, 671088640, 5 * 2**40)] == [
        "0 B", "1023 B", "1.0 KiB", "640.0 MiB", "5120.0 GiB",
    ]  # fmt: skip


def without_kernel(text: str, soc: str = "ascend910b", runtime: str = "lite") -> list[tuple[str, int, str, str]]:
    found = kernel_entries(graph(text), Target(runtime, soc))
    return [(entry.op, entry.count, entry.types, entry.otherwise) for entry in found]


def test_what_has_no_kernel_is_told_with_what_happens() -> None:
    angles = "Cast(Sin(Mul(Cast(x: int64[4], float64), tensor float64[] 0.5)), float32)"
    assert without_kernel(angles) == [
        ("Cast", 1, "float64 -> float32", "AI CPU, or a build error"),
        ("Cast", 1, "int64 -> float64", "AI CPU, or a build error"),
        ("Mul", 1, "float64, float64 -> float64", "AI CPU, or a build error"),
        ("Sin", 1, "float64 -> float64", "AI CPU, or a build error"),
    ]
    assert without_kernel(angles, runtime="mindspore") == []
    assert without_kernel("Add(x: float32[4], y: float32[4])") == []


def test_of_what_constants_alone_make_nothing_runs() -> None:
    angles = "Add(x: float32[4], Cast(Sin(Mul(tensor float64[4] 3.0, tensor float64[] 0.5)), float32))"
    assert [(op, otherwise) for op, _, _, otherwise in without_kernel(angles)] == [
        ("Cast", AT_COMPILE_TIME),
        ("Mul", AT_COMPILE_TIME),
        ("Sin", AT_COMPILE_TIME),
    ]
    of_a_weight = "Mul(x: float32[4], Cast(Sin(Cast(w: parameter float32[4], float64)), float32))"
    assert {otherwise for _, _, _, otherwise in without_kernel(of_a_weight)} == {AT_COMPILE_TIME}


def test_products_of_float32_on_310p_are_told() -> None:
    product = "BatchMatMul(x: float32[2, 4, 8], y: float32[2, 8, 4], False, False)"
    assert without_kernel(product, "ascend310p") == [
        ("BatchMatMul", 1, "float32, float32, - -> float32", "AI CPU, or a build error")
    ]
    assert without_kernel(product) == []


def test_the_table_tells_of_kernels_that_are_missed_at_run_time() -> None:
    text = "Add(Sin(Cast(x: float32[4], float64)), Sin(tensor float64[4] 3.0))"
    entries = kernel_entries(graph(text), TARGET)
    made = report(TARGET, [component_entry("unet", 9, (), without_kernel=entries)], [])
    console = Console(file=StringIO(), width=200)
    with console.capture() as capture:
        console.print(render(made))
    lines = [line for line in capture.get().splitlines() if "AI Core" in line]
    assert len(lines) == 1
    assert "no AI Core kernel on ascend910b for 3 nodes: AI CPU, or a build error: unet: Add of float64" in lines[0]


def test_of_a_soc_whose_kernels_were_not_read_none_is_said_to_be_missing() -> None:
    assert without_kernel("Add(x: float32[4], y: float32[4])", "ascend910") == []
    made = report(Target("lite", "ascend910"), [component_entry("unet", 1, ())], [])
    assert set(made.judged_by) == {"adapters", "prototypes", "passes", "launches"}
    console = Console(file=StringIO(), width=200)
    with console.capture() as capture:
        console.print(render(made))
    (line,) = [line for line in capture.get().splitlines() if line.startswith("deployable:")]
    assert line.endswith("converter's and CANN's tables (docs/targets.md); which kernels ascend910 has is not known")


def test_what_was_simplified_is_counted_with_its_largest_error() -> None:
    nodes = [Simplified("Cast", "narrow", 1e-6), Simplified("Div", "by one"), Simplified("Cast", "narrow", 1e-5)]
    assert [entry.to_json() for entry in simplified_entries(nodes)] == [
        {"op": "Cast", "what": "narrow", "count": 2, "error": 1e-5},
        {"op": "Div", "what": "by one", "count": 1, "error": 0.0},
    ]
