"""The runner of fixtures: what is wrong in a fixture, or with a pass, is told, and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import pytest

from attnfuse.errors import UsageError
from attnfuse.ir.edit import Edit
from attnfuse.ir.graph import CONSTANT, Model
from attnfuse.ir.operators import table
from attnfuse.ir.operators.table import OPERATORS
from attnfuse.ir.text import TextError
from attnfuse.pass_manager import Context
from attnfuse.testing import Fixture, check_fixture, check_laws, check_operator, read_fixtures

ATTENTION = """given: q, k, v: float16[2, 8, 64, 48]
s = MatMulExt(Muls(q, 0.125), Transpose(k, (0, 1, 3, 2))); MatMulExt(Softmax(s, (-1,)), v)
"""
FUSED = """=> PromptFlashAttention(q, k, v, num_heads=8, scale_value=0.125, next_tokens=2147483647, input_layout=1,
                        num_key_value_heads=8, inner_precise=0)
"""


def block(folder: Path, text: str, step: str = "fuse") -> Fixture:
    """The one fixture of a file."""
    (folder / "it.txt").write_text(f"# What it is about.\npass: {step}\n\ntitle: it\n{text}")
    (fixture,) = read_fixtures(folder)
    return fixture


def test_a_fixture_that_holds(tmp_path: Path) -> None:
    fixture = block(tmp_path, f"status: fused\n{ATTENTION}{FUSED}")
    assert (str(fixture), fixture.line, fixture.after_line) == ("it: it", 7, 8)
    check_fixture(fixture)
    check_laws(fixture)


@pytest.mark.parametrize(
    ("after", "message"),
    [
        ("", "not the one expected"),
        (FUSED.replace("k, v", "v, k"), "-v1 = PromptFlashAttention(q, v, k, "),
        (FUSED.replace("0.125", "0.25"), "+v1 = PromptFlashAttention(q, k, v, None, "),
    ],
)
def test_another_graph_than_expected_is_shown(tmp_path: Path, after: str, message: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_fixture(block(tmp_path, ATTENTION + after))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("status: kept\n", "it: it: status is fused: "),
        ("code: policy.flash_off\n", "it: it: code is fused: "),
        ("status: fused, fused\n", "it: it: status is fused: "),
        ("reason: no rule\n", "it: it: reasons why the pass leaves what the target does not take: none"),
    ],
)
def test_what_is_told_otherwise(tmp_path: Path, head: str, message: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_fixture(block(tmp_path, f"{head}{ATTENTION}{FUSED}"))
    assert str(caught.value).startswith(message)


def test_an_operator_that_stays_must_have_its_reason(tmp_path: Path) -> None:
    text = 'GeluExt(x: float16[2], "tanh") -> float16[2]\n'
    with pytest.raises(AssertionError, match="does not take: its argument approximate is 'tanh'"):
        check_fixture(block(tmp_path, text, "legalise"))
    check_fixture(block(tmp_path, f"reason: no whole number\n{text}", "legalise"))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (ATTENTION.replace("Muls(q", "Muls(p"), 6, "nothing is called 'p'"),
        (ATTENTION.replace("k, (0, 1, 3, 2)", "k, (0, 1, 3)"), 6, "this Transpose permutes 4 axes"),
        (ATTENTION + "=> q\n   PromptFlashAttention(q, k, v, heads=8)\n", 8, "has no argument 'heads'; it has query, "),
        (ATTENTION + "=> q; Mul(q)\n# no more\n   Nothing(\n", 9, "'(' is never closed"),
        ("Splendid(x: float16[2])\n", 5, "the type of this Splendid is not known"),
    ],
)
def test_text_that_is_no_graph_is_told_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(TextError, match=r"\(it\.txt\)$") as caught:
        check_fixture(block(tmp_path, text))
    assert caught.value.line == line
    assert message in caught.value.sentence


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("pass: fuse\n\nAbs(x: float16[2])\n", 3, "this block has no line `title: …`."),
        ("title: it\nAbs(x: float16[2])\n", 2, "this block has no line `pass: …`."),
        ("pass: fuse\n\ntitle: it\nq: int64\n\n# again\ntitle: it\nq: int64\n", 8, "a block before this one is called"),
    ],
)
def test_blocks_that_are_no_fixtures(tmp_path: Path, text: str, line: int, message: str) -> None:
    (tmp_path / "it.txt").write_text(text)
    with pytest.raises(TextError) as caught:
        read_fixtures(tmp_path / "it.txt")
    assert (caught.value.line, caught.value.sentence.startswith(message)) == (line, True)


def test_a_pass_that_is_not_there(tmp_path: Path) -> None:
    known = "fuse, composites, legalise, simplify, deduplicate_constants"
    with pytest.raises(UsageError, match=f"it: it: there is no pass 'fold'; there are {known}"):
        check_fixture(block(tmp_path, "Abs(x: float16[2])\n", "fold"))


# --- passes that do wrong

Step = Callable[["Toy", Model], bool]


@dataclass(frozen=True)
class Toy:
    """Does to a model what it is told."""

    id: ClassVar[str] = "toy"
    order: ClassVar[int] = 1
    summary: ClassVar[str] = "does what it is told"

    step: Step
    runs: list[int] = field(default_factory=list)

    def run(self, model: Model, _context: Context) -> bool:
        self.runs.append(len(self.runs))
        return self.step(self, model)


def scaled(_toy: Toy, model: Model) -> bool:
    """Twice the number."""
    number = next(node for node in model.nodes if node.op == CONSTANT)
    number.proto.attribute[0].f *= 2
    return True


def scaled_once(toy: Toy, model: Model) -> bool:
    """Twice the number, where it is a half."""
    return any(node.op == CONSTANT and model.literal(node.name) == 0.5 for node in model.nodes) and scaled(toy, model)


def numbered(toy: Toy, model: Model) -> bool:
    """Each time another name."""
    model.proto.graph.doc_string = str(toy.runs[-1])
    return True


def retyped(_toy: Toy, model: Model) -> bool:
    """The product is said to be of another type."""
    node = next(node for node in model.nodes if node.op == "Muls")
    node.proto.attribute[0].tensors[0].dims[0] = 3
    return True


def unsaid(_toy: Toy, model: Model) -> bool:
    """A change that is not told."""
    edit = Edit(model)
    edit.rename[model.proto.graph.output[0].name] = model.proto.graph.input[0].name
    edit.apply()
    return False


MULS = "Muls(x: float16[2, 3], 0.5)\n"


@pytest.mark.parametrize(
    ("step", "after", "message"),
    [
        (retyped, "=> Muls(x, 0.5)\n", "it: it: the pass leaves a wrong graph:\nMuls CNode_1:1 "),
        (unsaid, "=> x\n", "it: it: the pass says False to whether it changed anything"),
    ],
)
def test_a_pass_that_breaks_the_graph_or_lies(tmp_path: Path, step: Step, after: str, message: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_fixture(block(tmp_path, MULS + after, "toy"), [Toy(step)])
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (numbered, "it: it: the pass gives other bytes for the same graph"),
        (scaled, "it: it: the pass changes again what it left:\n"),
        (scaled_once, "it: it: output 0 is not the same"),
    ],
)
def test_laws_that_are_broken(tmp_path: Path, step: Step, message: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_laws(block(tmp_path, MULS + "=> Muls(x, 1.0)\n", "toy"), [Toy(step)])
    assert message in str(caught.value)


def test_the_rows_of_our_own_hold() -> None:
    for name in OPERATORS:
        check_operator(name)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (("Neg(x: float32[2]) -> float32[3]",), "'Neg(x: float32[2]) -> float32[3]' gives float32[2]"),
        (
            ("Neg(x: float32[2]) -> float32[2]", "Neg(x: float32[2]) -> unknown"),
            "'Neg(x: float32[2]) -> unknown' gives",
        ),
        (("Neg((1, 2)) -> float32[2]",), "'Neg((1, 2)) -> float32[2]' is refused: it "),
        (("Neg(x: float32[2]) -> float32[2]", "refused: Neg(x: float32[2])"), "'refused: Neg(x: float32[2])' gives"),
        (("Abs(x: float32[2]) -> float32[2]",), "'Abs(x: float32[2]) -> float32[2]' is of another operator"),
        (("refused: Neg((1, 2))",), "no example says what is inferred"),
    ],
)
def test_a_row_with_a_wrong_example_is_told(
    monkeypatch: pytest.MonkeyPatch, examples: tuple[str, ...], message: str
) -> None:
    monkeypatch.setattr(table, "OPERATORS", {"Neg": replace(OPERATORS["Neg"], examples=examples)})
    with pytest.raises(AssertionError) as caught:
        check_operator("Neg")
    assert str(caught.value).startswith(f"Neg: {message}")


def test_a_row_that_there_is_not_is_told() -> None:
    with pytest.raises(UsageError, match="no row 'ExampleNeg'; install the plugin that brings it"):
        check_operator("ExampleNeg")
