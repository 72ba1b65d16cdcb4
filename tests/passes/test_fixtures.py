"""Passes by example: every block of tests/passes/fixtures comes out as it says, and computes what it computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.text import TextError, program_text
from attnfuse.ir.types import Array
from attnfuse.mindir import dtypes
from attnfuse.verify.graph.structure import check_interface, new_findings
from attnfuse.verify.lowering import Arithmetic, lower
from attnfuse.verify.numbers.execution import run
from tests.support.fixtures import Fixture, read
from tests.support.graphs import seeded

FOLDER = Path(__file__).parent / "fixtures"
FIXTURES = [fixture for path in sorted(FOLDER.glob("*.txt")) for fixture in read(path)]
REWRITTEN = [fixture for fixture in FIXTURES if fixture.after is not None]


def test_titles_are_different() -> None:
    assert len({str(fixture) for fixture in FIXTURES}) == len(FIXTURES) > 20


@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_what_comes_out(fixture: Fixture) -> None:
    before, after = fixture.model(), fixture.model()
    context = fixture.run(after)
    assert program_text(after) == fixture.expected(before)
    for key, value in (("status", "status"), ("code", "code")):
        if key in fixture.told:
            assert [getattr(site, value) for site in context.sites] == [fixture.told[key]]
    if "reason" in fixture.told:
        (reason,) = context.illegal.values()
        assert fixture.told["reason"] in reason
    findings, _ = new_findings(before, after)
    assert findings + check_interface(before, after) == []


def outputs(model: Model, *, fully_masked: bool) -> list[npt.NDArray[Any]]:
    """In float64, for inputs that are always the same; with `fully_masked`, masks have a row of each kind."""
    given: dict[str, Array] = {}
    for value in model.proto.graph.input:
        kind = model.type_of(value.name)
        assert kind is not None
        drawn = seeded(value.name, kind.dims)
        if kind.dtype is dtypes.BOOL:
            mask = drawn.astype(np.float32) > 0.4
            mask[..., :2, :] = [[False], [True]] if fully_masked else mask[..., :2, :]
            given[value.name] = mask
        else:
            given[value.name] = drawn.astype(kind.dtype.numpy)
    return run(lower(model, Arithmetic.EXACT), given, lambda _weight: None)


@pytest.mark.parametrize("fixture", REWRITTEN, ids=str)
def test_numbers(fixture: Fixture) -> None:
    before, after = fixture.model(), fixture.model()
    fixture.run(after)
    rows = "attended" not in fixture.told.get("policy", "")
    for expected, got in zip(outputs(before, fully_masked=rows), outputs(after, fully_masked=rows), strict=True):
        # A scale is a float32 in the fused node: the scores, of some tens, move by 2⁻²⁴ of themselves.
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * float(np.nanmax(np.abs(expected))))


def block(tmp_path: Path, text: str) -> Fixture:
    """The one fixture of a file."""
    (tmp_path / "fuse.txt").write_text(f"pass: fuse\n\ntitle: it\n{text}\n")
    (fixture,) = read(tmp_path / "fuse.txt")
    return fixture


ATTENTION = """given: q, k, v: float16[2, 8, 64, 40]
s = MatMulExt(Muls(q, 0.125), Transpose(k, (0, 1, 3, 2))); MatMulExt(Softmax(s, (-1,)), v)"""


FUSED = "=> PromptFlashAttention(q, k, v, num_heads=8, scale_value=0.125, input_layout=1, num_key_value_heads=8, "


@pytest.mark.parametrize("change", ["", FUSED.replace("k, v", "v, k"), FUSED.replace("0.125", "0.25")])
def test_a_wrong_fixture_fails(tmp_path: Path, change: str) -> None:
    change = change and f"{change}inner_precise=0)"
    with pytest.raises(AssertionError):
        test_what_comes_out(block(tmp_path, f"{ATTENTION}\n{change}"))


def test_a_wrong_status_fails(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        test_what_comes_out(block(tmp_path, f"status: fused\npolicy: flash = false\n{ATTENTION}"))


def test_an_argument_no_operator_has_is_told(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="PromptFlashAttention has no argument 'heads'"):
        test_what_comes_out(block(tmp_path, f"{ATTENTION}\n=> PromptFlashAttention(q, k, v, heads=8)"))
