"""The short part of fuzzing: the first mutants end as they must, and what must not be is seen for what it is."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from attnfuse import cli
from attnfuse.cli import console, defects
from attnfuse.cost.compare import DEFECT
from attnfuse.mindir import codec
from attnfuse.rewriting import Rewritten, rewrite
from tools.fuzz import differing, mutants, outcomes, seeds
from tools.fuzz.mutants import Mutant
from tools.fuzz.running import Place
from tools.fuzz.sweeping import failures, in_turn

COUNT = 150
NUMBERS = 60


@pytest.fixture(scope="module")
def made() -> list[Mutant]:
    return [mutants.make(number) for number in range(COUNT)]


def test_mutants_end_as_they_must(made: list[Mutant], tmp_path: Path) -> None:
    """No exit 70, nothing that escapes, no hang, nothing left behind; each refusal is a sentence with a place."""
    outcomes = [Place(tmp_path).run(mutant) for mutant in made]
    assert [outcome for outcome in outcomes if outcome.failed] == []
    assert sum(outcome.reached for outcome in outcomes) > COUNT / 2
    assert not any(outcome.reached for outcome in outcomes if outcome.kind in ("no message", "usage"))
    kinds = [outcome.kind for outcome in outcomes]
    assert kinds.count("written") > COUNT / 10  # else the passes would meet none of them
    assert kinds.count("refused") > COUNT / 10


def test_a_number_makes_the_same_mutant_again(made: list[Mutant]) -> None:
    assert [mutants.make(mutant.number) for mutant in made[:5]] == made[:5]
    assert all(mutant.edits for mutant in made)


def test_sizes_and_numbers_may_be_others() -> None:
    assert not any(failures(in_turn(every=101)))


def test_what_is_fused_computes_what_the_mutant_does() -> None:
    """The first mutants of attention that are still fused, by NumPy in float64."""
    ended = [differing.compare(number) for number in range(NUMBERS)]
    assert [one for one in ended if one.ended == differing.DIFFERS] == []
    assert sum(one.ended == differing.AGREES for one in ended) > NUMBERS / 10


def test_other_numbers_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    number = next(n for n in range(NUMBERS) if differing.compare(n).ended == differing.AGREES)

    def of_another(*arguments: Any) -> tuple[Rewritten, bytes]:
        rewritten, data = rewrite(*arguments)
        message = codec.parse(data, "it")
        message.graph.output[0].name = message.graph.input[0].name
        return rewritten, codec.serialise(message)

    monkeypatch.setattr(differing, "rewrite", of_another)
    assert differing.compare(number).ended == differing.DIFFERS


def _raises(error: BaseException) -> Callable[[Sequence[str]], int]:
    def run(arguments: Sequence[str]) -> int:
        raise error

    return run


def _says(code: int, text: str) -> Callable[[Sequence[str]], int]:
    def run(arguments: Sequence[str]) -> int:
        console.say(text)
        return code

    return run


def _warns(arguments: Sequence[str]) -> int:
    warnings.warn("overflow", RuntimeWarning, stacklevel=1)
    return 0


def _defect(arguments: Sequence[str]) -> int:
    return defects.report_defect(ZeroDivisionError("a bug"), arguments)


def _leaves(arguments: Sequence[str]) -> int:
    (Path(arguments[-1]).parent / "out" / "half").write_text("")
    return _says(3, "error: node x is wrong.")(arguments)


def _works(arguments: Sequence[str]) -> int:
    return 0 * sum(range(100_000_000))


def _waits(arguments: Sequence[str]) -> int:
    time.sleep(0.3)
    return 0


@pytest.mark.parametrize(("run", "kind"), [(_works, "hang"), (_waits, "written")])
def test_a_hang_is_told_by_processor_time(
    run: Callable[[Sequence[str]], int], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "SECONDS", 0.1)
    monkeypatch.setattr(cli, "run", run)
    assert Place(tmp_path).run(Mutant(0, "seed", b"", 0, (), ("inspect", "GRAPH"), None)).kind == kind


@pytest.mark.parametrize(
    ("run", "kind"),
    [
        (_defect, "defect"),
        (_raises(KeyError("x")), "escaped"),
        (_raises(SystemExit(1)), "escaped"),
        (_warns, "escaped"),
        (_leaves, "left behind"),
        (_says(3, "error: the graph is damaged"), "half a sentence"),
        (_says(1, "error: the graph is damaged."), "half a sentence"),
        (_says(3, "error: the graph is damaged."), "no place named"),
        (_says(3, "error: the graph is damaged: NODE is wrong."), "refused"),
        (_says(2, "error: the policy does not go with the SoC."), "usage"),
        (_says(0, f"not estimated: x: {DEFECT.replace(' ', chr(10), 2)}: ValueError"), "defect"),
        (_says(0, ""), "written"),
    ],
)
def test_what_must_not_be_is_seen(
    run: Callable[[Sequence[str]], int], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = next(seed for group in seeds.groups() for seed in group).data
    name = codec.parse(data, "a seed").graph.node[3].output[0].split(":", 1)[1]
    mutant = Mutant(0, "seed", data, 0, (), ("inspect", "GRAPH"), None)

    def named(arguments: Sequence[str]) -> int:
        return run(arguments)

    real = console.say
    monkeypatch.setattr(console, "say", lambda text: real(text.replace("NODE", name)))
    monkeypatch.setattr(cli, "run", named)
    assert Place(tmp_path).run(mutant).kind == kind
