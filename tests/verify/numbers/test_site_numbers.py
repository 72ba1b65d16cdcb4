"""Every graph of the corpus, rewritten, passes: each site is paired, cut out, and held to its formula.

Nothing here asks the passes which sites there are; that as many were paired as they say is one of the checks.
Half a second to ten a graph: the default run takes float16 for Lite, but for variants of a UNet that it has, the slow
one the rest.
"""

from __future__ import annotations

import pytest

from attnfuse.ir.inline import inlined
from attnfuse.targets import RUNTIMES
from attnfuse.verify.graph.sites import cut, find
from attnfuse.verify.numbers import comparison, site_numbers
from tests.support.sides import drawn_sides
from tests.support.variants import slow_variant
from tools.corpus import census, store

# Its length of the text is computed at run time (Unique2), which the executor has no rule for.
CANNOT_RUN = ("lumina2",)
CASES = [
    pytest.param(
        name,
        runtime,
        marks=slow_variant(name) if (runtime, name[-8:]) == ("lite", "-float16") else pytest.mark.slow,
    )
    for name in store.names()
    for runtime in RUNTIMES
    if not name.startswith(CANNOT_RUN)
]


@pytest.mark.parametrize(("name", "runtime"), CASES)
def test_a_rewritten_graph_of_the_corpus_passes(name: str, runtime: str) -> None:
    result = census.rewrite(store.read(name), runtime)
    before = inlined(result.before)
    found = find(before, result.after)
    assert (found.notes, found.replaced) == ((), ())
    sites = found.sites
    changed = [r for r in result.sites if r.status == "fused" and r.code != "fused.carried_over"]
    assert {site.module for site in sites} == {record.module for record in changed}
    assert len(sites) == len(changed)
    pairs = [(site, part) for site in sites if (part := cut(before, result.after, site)) is not None]
    assert len(pairs) == len(sites)
    sides = drawn_sides(before, result.after)
    taps = {value: tensor_type for _, part in pairs for value, tensor_type in part.leaves.items()}
    compared = comparison.compare(*sides, seed=0, taps=taps)
    assert compared.findings == ()
    for result_ in site_numbers.compare_sites(*sides, pairs, compared.values, seed=0):
        assert result_.findings == ()
        assert result_.figures is not None
        assert {"mixed", "large"} <= set(result_.figures.drawn)


def test_the_default_run_takes_the_families_that_matter() -> None:
    names = {case.values[0] for case in CASES if not case.marks}
    families = ("unet_sd15", "unet_sdxl", "vae_kl_decode", "clip_text", "t5_encoder", "bert", "sd3", "flux", "llama")
    assert {f"{family}-float16" for family in families} <= names
