"""Random attentions in random spellings are read back as what they are; near misses are not taken for attention.

2,020 examples here, drawn alike at every run; `tools/spell.py` draws as many as one has time for.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.laws import check_mutant, check_spelling
from tests.support.mutations import EITHER_OR, MUST_REFUSE
from tests.support.spellings import spell

RUNTIMES = ("mindspore", "lite")
SPELLINGS_PER_RUNTIME = 250
EXAMPLES_PER_MUTATION = 20


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_spelling_is_fused_into_its_normal_form(runtime: str) -> None:
    """Every spelling that has to be fused is, with the formula's numbers; the others are refused with their code."""
    fused = 0

    @settings(max_examples=SPELLINGS_PER_RUNTIME)
    @given(st.randoms(use_true_random=False))
    def law(random: Random) -> None:
        nonlocal fused
        fused += check_spelling(spell(random), runtime) == "fused"

    law()
    assert fused > 0.7 * SPELLINGS_PER_RUNTIME, "the law would hold for a matcher that refuses everything"


@pytest.mark.parametrize("mutation", [*MUST_REFUSE, *EITHER_OR])
@settings(max_examples=EXAMPLES_PER_MUTATION)
@given(st.randoms(use_true_random=False))
def test_a_near_miss_is_refused_or_computed_as_written(mutation: str, random: Random) -> None:
    check_mutant(spell(random, mutation), random.choice(RUNTIMES))
