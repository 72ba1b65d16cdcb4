"""The code in docs/adding-an-identity.md works as written: the spelling added from start to finish, and its graphs."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.operators import elementwise, table
from attnfuse.mindir import codec
from attnfuse.testing import check_operator
from attnfuse_passes.attention.identities import registry
from attnfuse_passes.attention.identities.registry import Identity, all_identities
from tests.passes.attention.identities.test_registry import test_counter_example_is_refused as refuses
from tests.passes.attention.identities.test_registry import test_effect_is_what_the_operator_does as reads
from tests.support import oracle
from tests.support.graphs import operators

GRAPHS = '"""Scores divided with DivNoNan: by a number that is a scale; by zero, nothing is left of them."""'
IDENTITY = '"""Identities of operators that put 0 where a division by zero would stand."""'
GUIDE = Path(__file__).resolve().parent.parent.parent / "docs" / "adding-an-identity.md"


def written(start: str) -> str:
    """The block of code in the guide that begins so."""
    lines = GUIDE.read_text(encoding="utf-8").split("\n")
    first = lines.index(f"    {start}")
    block = []
    for line in lines[first:]:
        if line and not line.startswith("    "):
            break
        block.append(line[4:])
    return "\n".join(block)


def line(start: str) -> str:
    """The line of code in the guide that begins so."""
    (found,) = (
        text.strip() for text in GUIDE.read_text(encoding="utf-8").split("\n") if text.startswith(f"    {start}")
    )
    return found


def module(name: str, start: str) -> ModuleType:
    made = ModuleType(name)
    exec(compile(written(start), f"docs/adding-an-identity.md ({name})", "exec"), made.__dict__)
    return made


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Identity:
    """The guide's identity, registered for one test, and its operator in the operator table and in the oracle."""
    (row,) = eval(f"({line('_binary(')})", vars(elementwise))
    monkeypatch.setattr(table, "OPERATORS", {**table.OPERATORS, row.name: row})
    known = {identity.name for identity in all_identities()}
    monkeypatch.setattr(registry, "_BY_OP", {op: list(entries) for op, entries in registry._BY_OP.items()})
    module("no_nan", IDENTITY)
    (identity,) = (identity for identity in all_identities() if identity.name not in known)
    (op,) = identity.ops
    entry = line(f'"{op}": lambda')
    monkeypatch.setitem(oracle._OPS, op, eval(f"{{{entry}}}", {"np": np})[op])
    return identity


def test_the_guides_examples_hold(added: Identity) -> None:
    for text in added.examples:
        reads(added, text)
    for text in added.counter_examples:
        refuses(added, text)


def test_the_guides_graphs_are_fused_with_it(added: Identity) -> None:
    tests = module("test_no_nan", GRAPHS)
    for runtime in ("lite", "mindspore"):
        tests.test_scores_divided_by_a_number_are_scaled(runtime)
    tests.test_scores_divided_by_zero_are_no_scores()


@pytest.mark.parametrize(
    "start", ["from tests.support.graphs import operators", "from numpy.testing import assert_allclose"]
)
def test_the_guides_small_graphs_are_fused(start: str) -> None:
    """Each block asserts that itself."""
    assert "assert" in written(start)
    module("graph", start)


def test_the_guides_row_infers_what_its_example_says(added: Identity) -> None:
    check_operator(*added.ops)


def test_the_guides_text_is_a_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module("text", "from pathlib import Path")
    model = Model(codec.parse(codec.read_bytes(tmp_path / "text.mindir"), "text.mindir"))
    assert operators(model) == ["Transpose", "MatMulExt", "DivNoNan", "Softmax", "MatMulExt"]


def test_the_guides_graphs_are_missed_without_it() -> None:
    tests = module("test_no_nan", GRAPHS)
    with pytest.raises(AssertionError, match=r"structure\.scores"):
        tests.test_scores_divided_by_a_number_are_scaled("lite")


def test_the_guides_files_are_called_as_tests_are() -> None:
    """What tests/project/test_mirror.py would say of them."""
    text = GUIDE.read_text(encoding="utf-8")
    folder = "attention/identities"
    assert f"in a new file `passes/attnfuse_passes/{folder}/no_nan.py`" in text
    assert f"in `tests/passes/{folder}/test_no_nan.py`" in text
