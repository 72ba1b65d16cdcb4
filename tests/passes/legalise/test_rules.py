"""Every case of every rule: what stands in the operator's place, its numbers, and what MindSpore infers of it."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.passes.legalise.support import (
    REGISTERED,
    Case,
    Inferred,
    check_inference,
    check_numbers,
    check_structure,
    computable,
    legal,
)

# Of all modules beside this one, so that no family can be forgotten: those that list cases register them.
for _module in sorted(Path(__file__).parent.glob("test_*.py")):
    if _module.stem != "test_rules":
        importlib.import_module(f"tests.passes.legalise.{_module.stem}")
CASES = tuple(REGISTERED.values())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_structure(case: Case) -> None:
    check_structure(case)


@pytest.mark.parametrize("case", computable(CASES), ids=str)
def test_numbers(case: Case) -> None:
    check_numbers(case)


@pytest.mark.mindspore
@pytest.mark.parametrize("case", legal(CASES), ids=str)
def test_inference(case: Case, inferred: Inferred) -> None:
    check_inference(case, inferred)
