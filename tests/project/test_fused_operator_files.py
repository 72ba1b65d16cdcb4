"""A fused operator is four files: its row, its lowering, the targets' limits, and its meaning in verification."""

from __future__ import annotations

import pytest

from attnfuse.ir.operators.columns import Role
from attnfuse.ir.operators.table import OPERATORS
from attnfuse.targets.fused import REFUSALS
from attnfuse.verify.graph.fused_nodes import MEANINGS
from attnfuse_passes.attention.lower import FUSED_OPERATORS

ROWS = {name for name, row in OPERATORS.items() if row.role is Role.FUSED_ATTENTION}
PLACES: dict[str, set[str]] = {
    "attnfuse/ir/operators/attention.py": ROWS,
    "passes/attnfuse_passes/attention/lower/": {str(name) for name in FUSED_OPERATORS},
    "attnfuse/targets/fused.py": {str(node) for node in REFUSALS},
    "attnfuse/verify/graph/fused_nodes.py": set(MEANINGS),
}
NAMES = sorted({name for known in PLACES.values() for name in known})


def missing(name: str, places: dict[str, set[str]] | None = None) -> list[str]:
    """The files that do not know a fused operator."""
    return [place for place, known in (PLACES if places is None else places).items() if name not in known]


@pytest.mark.parametrize("name", NAMES)
def test_a_fused_operator_is_in_all_four_files(name: str) -> None:
    assert not missing(name), f"{name} is missing in these files"


@pytest.mark.parametrize("place", PLACES)
def test_the_file_that_is_missing_is_named(place: str) -> None:
    places = {other: known | {"MadeUpAttention"} for other, known in PLACES.items()}
    places[place] = PLACES[place]
    assert missing("MadeUpAttention", places) == [place]


@pytest.mark.parametrize("name", NAMES)
def test_a_row_has_the_arguments_that_lowering_and_meaning_name(name: str) -> None:
    """Written down twice on purpose, so that a mistake in one is seen in the other."""
    arguments = [parameter.name for parameter in OPERATORS[name].signature.inputs]
    meaning, operator = MEANINGS[name], FUSED_OPERATORS[name]
    assert [*meaning.tensors, *(scalar for scalar, _ in meaning.scalars)] == arguments
    named = {operator.mask, operator.bias, operator.heads, *operator.fixed} | {operator.kv_heads or operator.heads}
    assert named <= set(arguments)
    assert (operator.bias, operator.bias_before_scale) == (meaning.bias, meaning.bias_before_scale)
    assert (operator.element, [dtype.name for dtype in operator.mask_dtypes]) == (
        meaning.element,
        list(meaning.mask_dtypes),
    )
