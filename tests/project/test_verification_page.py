"""The page on verification's bounds states the constants of the code, and all of them."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from attnfuse.mindir import dtypes

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
ROW = re.compile(r"^\| `([A-Z_]+)` \| `(.+)` \| `([a-z._]+)` \|$", re.MULTILINE)
STATED = ROW.findall((DOCS / "verification.md").read_text(encoding="utf-8"))


def evaluated(text: str) -> object:
    """An expression of numbers alone."""
    tree = ast.parse(text, mode="eval")
    allowed = (
        ast.Expression,
        ast.BinOp,
        ast.UnaryOp,
        ast.Dict,
        ast.Constant,
        ast.operator,
        ast.unaryop,
        ast.expr_context,
    )
    assert all(isinstance(node, allowed) for node in ast.walk(tree))
    return eval(compile(tree, "docs/verification.md", "eval"))


@pytest.mark.parametrize(("name", "value", "module"), STATED)
def test_each_stated_constant_is_the_codes(name: str, value: str, module: str) -> None:
    assert getattr(importlib.import_module(module), name) == evaluated(value)


@pytest.mark.parametrize("module", ["comparison", "replaced_operators", "accuracy", "site_numbers", "finer"])
def test_no_bound_is_left_out(module: str) -> None:
    """Whatever a module of bounds calls in capitals and is a number is in the table."""
    code = importlib.import_module(f"attnfuse.verify.numbers.{module}")
    numbers = {
        name
        for name, value in vars(code).items()
        if re.fullmatch(r"[A-Z][A-Z_]+", name) and type(value) in (int, float)
    }
    assert numbers <= {name for name, _, _ in STATED}


def test_each_stated_unit_roundoff_is_the_types() -> None:
    stated = re.findall(r"(b?float\d+) `2\*\*-(\d+)`", (DOCS / "verification.md").read_text(encoding="utf-8"))
    assert len(stated) == 4
    for name, bits in stated:
        assert dtypes.from_name(name).unit_roundoff == 2.0 ** -int(bits)


def test_the_readme_leads_to_it() -> None:
    assert "(docs/verification.md)" in (DOCS.parent / "README.md").read_text(encoding="utf-8")
