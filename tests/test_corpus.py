"""The matcher over the whole corpus: every site found, named and accounted for; nothing else touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from attnfuse.ir.graph import CONSTANT, Model
from attnfuse.ir.inline import inline_calls
from attnfuse.mindir import codec
from attnfuse.policy import Policy, command_line_rules
from attnfuse.report.build import check_census, count_sites
from attnfuse.targets import RUNTIMES
from attnfuse.verify.graph.structure import check_interface, new_findings
from tools.corpus import census, store

NAMES = store.names()
SITES = store.sites()


def test_corpus_is_there_and_small() -> None:
    assert sorted(SITES) == NAMES
    assert len(NAMES) >= 90
    assert {entry.family for entry in SITES.values()} >= set("ABCDEFHIJKLNO")
    assert {entry.dtype for entry in SITES.values()} == {"float32", "float16", "bfloat16"}
    assert sum(path.stat().st_size for path in store.FOLDER.iterdir()) < 10 * 2**20


@dataclass(frozen=True)
class Graph:
    """One graph of the corpus, rewritten for each runtime."""

    name: str
    data: bytes
    rewritten: Mapping[str, census.Rewritten]


@pytest.fixture(scope="module", params=NAMES)
def graph(request: pytest.FixtureRequest) -> Graph:
    data = store.read(request.param)
    return Graph(request.param, data, {runtime: census.rewrite(data, runtime) for runtime in RUNTIMES})


def test_census_adds_up(graph: Graph) -> None:
    entry = SITES[graph.name]
    counted = store.count(graph.data)
    assert (counted["softmax"], counted["fused"]) == (entry.softmax, entry.fused)
    for result in graph.rewritten.values():
        check_census(graph.name, count_sites(result.before), result.sites)
        forms = Counter(record.form for record in result.sites)
        assert (forms["formula"], forms["fused"]) == (entry.softmax, entry.fused)
        left = Counter(node.op for node in result.after.nodes)
        gone = sum(record.form == "formula" and record.status == "fused" for record in result.sites)
        assert left["Softmax"] == entry.softmax - gone
        assert left["FlashAttentionScore"] + left["PromptFlashAttention"] == entry.fused + gone


def test_rewritten_graph_is_sound(graph: Graph) -> None:
    for result in graph.rewritten.values():
        findings, _ = new_findings(result.before, result.after)
        assert findings + check_interface(result.before, result.after) == []


def unread(model: Model) -> set[str]:
    """Values that no node and no output reads, constants aside."""
    return {node.name for node in model.nodes if node.op != CONSTANT and not model.uses(node.name)}


def test_nothing_is_left_that_nobody_reads(graph: Graph) -> None:
    for result in graph.rewritten.values():
        assert unread(result.after) <= unread(result.before)


def test_sites_are_named_after_the_models_own_attention_modules(graph: Graph) -> None:
    entry = SITES[graph.name]
    for result in graph.rewritten.values():
        modules = [record.module for record in result.sites]
        assert len(set(modules)) == len(modules)
        assert {module.partition("#")[0] for module in modules} == set(entry.modules)
        if entry.functions == 0:  # a function may hold the same module a second time, for another branch
            assert len(modules) == len(entry.modules)


def test_what_became_of_each_site(graph: Graph) -> None:
    # Meant to change? python -m tools.corpus.census, and review the difference.
    sites = {runtime: result.sites for runtime, result in graph.rewritten.items()}
    assert census.section(graph.name, sites) == census.stored()[graph.name]


def test_table_has_a_section_for_each_graph() -> None:
    assert sorted(census.stored()) == NAMES


def test_a_model_without_attention_has_no_site() -> None:
    data = store.read("vae_tiny_decode-float32")
    result = census.rewrite(data, "lite")
    assert result.sites == ()
    assert not result.changed


@pytest.mark.parametrize("name", [n for n in NAMES if SITES[n].dtype == "float32" and not SITES[n].fused])
def test_without_a_cast_type_float32_keeps_every_formula_and_its_bytes(name: str) -> None:
    data = store.read(name)
    result = census.rewrite(data, "mindspore", Policy(command_line_rules("none", [])))
    calls = inline_calls(result.before)  # these are nodes of their callers whatever becomes of the sites
    assert result.changed == bool(calls)
    assert codec.serialise(result.after.proto) == (codec.serialise(result.before.proto) if calls else data)
    assert {r.code for r in result.sites if r.status == "kept"} <= {"policy.no_cast"}
    assert {r.code for r in result.sites if r.status == "fused"} <= {"fused.carried_over"}


@pytest.mark.parametrize("name", ["unet_sd15-float16", "clip_text_mask-float32", "llama-bfloat16", "flux-float16"])
def test_same_bytes_twice(name: str) -> None:
    data = store.read(name)
    written = {codec.serialise(census.rewrite(data, "lite").after.proto) for _ in range(2)}
    assert len(written) == 1
