"""The table of operators holds together, and covers what the corpus has and the passes write."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import attnfuse_passes
from attnfuse.ir import builder
from attnfuse.ir.operators.table import operator
from attnfuse.targets.limits import Target
from attnfuse.targets.operators import OPERATORS, REFUSED, Operator, Refused, accepts
from attnfuse_passes.attention.lower import FUSED_OPERATORS
from attnfuse_passes.legalise.legalise import FAMILIES
from attnfuse_passes.legalise.rules import RULES, SAY_NOTHING

LITE = Target("lite", "ascend910b")
#: Methods of the builder whose argument of that number is the operator's name.
WRITERS = {"op": 0, "reduce_last": 0}
#: Written for the runtime mindspore only.
MINDSPORE_ONLY = {"FlashAttentionScore"}
#: Written by passes before legalisation, which writes them for Lite with others.
LEGALISED = {"GeluExt", "PadV3"}


def written_operators() -> set[str]:
    """Names of operators that the passes write through the builder, or that it writes for them."""
    names: set[str] = set(FUSED_OPERATORS)
    for path in (Path(builder.__file__), *Path(attnfuse_passes.__file__).parent.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            at = WRITERS.get(call.func.attr)
            if at is not None and len(call.args) > at and isinstance(op := call.args[at], ast.Constant):
                names.add(str(op.value))
    return names


@pytest.mark.parametrize("table", [OPERATORS, REFUSED], ids=["taken", "refused"])
def test_names_are_sorted_and_keys(table: dict[str, Operator] | dict[str, Refused]) -> None:
    assert list(table) == sorted(table)
    assert all(row.name == name for name, row in table.items())


def test_no_operator_is_both_taken_and_refused() -> None:
    assert not set(OPERATORS) & set(REFUSED)


def test_every_row_names_a_source_file_and_every_refusal_a_reason() -> None:
    assert all(row.source.endswith(".cc") and row.accepted_by for row in OPERATORS.values())
    assert all(row.why and row.instead for row in REFUSED.values())


def test_every_limit_names_arguments_and_what_it_compares_with() -> None:
    needs_value = {"only", "only of a function", "made by", "rank", "joins"}
    for row in OPERATORS.values():
        for limit in row.limits:
            assert limit.arguments, row.name
            assert (limit.value is not None) == (limit.kind in needs_value), row.name


def test_limits_are_about_inputs_of_the_operator_table() -> None:
    limits = [(row.name, name) for row in OPERATORS.values() for limit in row.limits for name in limit.arguments]
    assert len(limits) == 97
    for op, name in limits:
        assert name in {parameter.name for parameter in operator(op).signature.inputs}, op


def test_what_a_target_knows_has_a_row() -> None:
    assert {name for name in (*OPERATORS, *REFUSED) if operator(name).is_opaque} == {"<call>"}


def test_the_runtime_mindspore_takes_everything() -> None:
    assert accepts(Target("mindspore", "ascend910b"), "GroupNorm")
    assert not accepts(LITE, "GroupNorm")
    assert accepts(LITE, "BatchMatMul")


def test_what_the_passes_write_is_taken() -> None:
    written = written_operators()
    assert {"PromptFlashAttention", "BatchMatMul", "Cast", "Reshape"} <= written
    assert {op for op in written if not accepts(LITE, op)} == MINDSPORE_ONLY | LEGALISED
    assert FAMILIES
    assert set(RULES) >= LEGALISED


def test_what_is_legalised_is_refused_or_taken_within_limits() -> None:
    """A rule for an operator that is taken in every form would never be asked."""
    assert FAMILIES
    never = {op for op in RULES if op not in REFUSED and not (op in OPERATORS and OPERATORS[op].limits)}
    assert never == SAY_NOTHING
