"""Every case: what stands in the operator's place, its numbers; of fixtures too, what MindSpore infers of them."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.text import infer, parse_program, program_text
from attnfuse.ir.verifier import Verifier
from tests.passes.legalise.support import (
    FIXTURES,
    NEWER,
    REGISTERED,
    Case,
    Inferred,
    check_inference,
    check_numbers,
    check_structure,
    computable,
    legalise,
    shown,
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
@pytest.mark.parametrize("name", [str(made) for made in shown()])
def test_inference(name: str, inferred: Inferred) -> None:
    check_inference(name, inferred)


def test_what_mindspore_does_not_infer_is_there() -> None:
    assert {str(fixture) for fixture in FIXTURES} >= NEWER


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("Arange(0.0, 4.0, 0.0, 43) -> float32[4]", "from 0.0 to 4.0 by 0.0, which never ends"),
        ("Arange(0.0, inf, 1.0, 43) -> float32[4]", "from 0.0 to inf by 1.0, which never ends"),
        ("BiasAdd(x: float32[2, 3, 5], b: float32[3], 2) -> float32[2, 3, 5]", "its format is 2"),
        ("Div(x: int64[5, 2], y: int64[5, 2]) -> int64[5, 2]", "it gives int64"),
        ("MaskedFill(x: float32[2], m: bool[2], n: float16[1]) -> float32[2]", "its number is a tensor float16[1]"),
        ("MaskedFill(x: int64[2], m: bool[2], 0.5) -> float32[2]", "it fills int64[2] and gives float32[2]"),
        ("MatMulExt(x: float16[3, 4], y: float32[4, 5]) -> float32[3, 5]", "multiplies float16 by float32"),
        ("MatMulExt(x: float32[2, 3, 4], y: float32[3, 4, 5]) -> float32[2, 3, 5]", "[2] and [3] do not go together"),
        ("MatMulExt(x: float32[], y: float32[3]) -> float32[3]", "one of its operands has no axis"),
        ("a = Meshgrid((x: float32[2],), 2) -> (float32[2],); Neg(a[0])", "its indexing is 2, neither 0 nor 1"),
        ("Muls(x: float32[2]) -> float32[2]", "it has 1 inputs"),
        ("Muls(x: float32[2], None) -> float32[2]", "its argument other is None, no number"),
        ("Narrow(x: float32[2, 3], 4, 0, 1) -> float32[2, 1]", "axis 4 is none of 2"),
        ("ReduceAny(x: bool[2, 3], (), 2) -> bool[2]", "its argument keep_dims is 2, no truth value"),
        ("SliceExt(x: float32[2, 6, 4], 1, 1, 4, -1) -> float32[2, 3, 4]", "its step is -1"),
        ("StackExt((1, 2), 0) -> float32[2]", "input 0 is no tuple of tensors"),
    ],
)
def test_a_node_that_contradicts_itself_stays(program: str, reason: str) -> None:
    """No source has it, for it would be refused, and no fixture may; another pass, unchecked, could have left it."""
    before, after = (Model(parse_program(program, infer=infer)) for _ in range(2))
    assert list(Verifier(before).source_faults())
    (message,) = legalise(after).values()
    assert reason in message
    assert program_text(after) == program_text(before)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("MaskedFill(x: int16[2], m: bool[2], inf) -> int16[2]", "given inf, which int16 does not have"),
        ("MaskedFill(x: uint8[2], m: bool[2], -1) -> uint8[2]", "given -1, which uint8 does not have"),
        (f"Repeat(x: float32[?, 3], ({2**63 - 1}, 1, 1)) -> float32[?, ?, 3]", "makes a tensor of"),
        (
            "AvgPool2D(x: float32[2, 3, 4, 9], (2, 3, 3), (2, 3, 3), (0, 0), False, True, None) -> float32[2, 3, 1, 3]",
            "its argument 1 has 3 numbers for two axes",
        ),
    ],
)
def test_what_cannot_be_written_stays(program: str, reason: str) -> None:
    """What a conversion makes of a number that the type does not have is for each processor to say."""
    before, after = (Model(parse_program(program, infer=infer)) for _ in range(2))
    (message,) = legalise(after).values()
    assert reason in message
    assert program_text(after) == program_text(before)
