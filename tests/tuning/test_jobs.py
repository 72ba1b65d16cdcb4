"""Tuning of small float32 models, one attention of which overflows float16: what is chosen, kept and refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from attnfuse import dispatch
from attnfuse.errors import RequirementError, SourceError, UsageError
from attnfuse.farm.dispatching import Dispatching
from attnfuse.farm.perform import perform
from attnfuse.farm.units import Answer
from attnfuse.ir.types import Array
from attnfuse.mindir.dtypes import FLOAT32
from attnfuse.policy import SiteQuery, parse_policy
from attnfuse.serialisation import parse_json
from attnfuse.store.store import Store
from attnfuse.targets import Target
from attnfuse.tuning.choices import FAST, FORMULA
from attnfuse.tuning.result import TunedComponent, Tuning
from attnfuse.verify.numbers.measuring import Yardstick
from tests.farm.conftest import Here
from tests.support.graphs import GraphBuilder
from tests.tuning.graphs import LENGTH, overflowing, overflowing_on_large_inputs, tune

BUDGET = 1e-3
LARGE = 300.0


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return overflowing().write(tmp_path_factory.mktemp("source") / "unet.mindir")


@pytest.fixture(scope="module")
def tuning(source: Path) -> Tuning:
    return tune(source, BUDGET)


@pytest.fixture(scope="module")
def tuned(tuning: Tuning) -> TunedComponent:
    (component,) = tuning.components
    return component


def test_what_overflows_keeps_its_formula_and_the_rest_is_fused(tuned: TunedComponent) -> None:
    chosen = {module: block.settings for block in tuned.blocks for module in block.modules}
    assert chosen.pop("blocks.0.attn2") == FORMULA.settings
    assert list(chosen.values()) == [FAST.settings] * 3


def test_it_is_cheaper_than_any_policy_for_all_sites(tuned: TunedComponent) -> None:
    assert tuned.error <= BUDGET
    formula, fast = tuned.uniform  # there is no other precision, and no bfloat16
    assert fast.policy.startswith(FAST.name)
    assert fast.error == float("inf")
    assert tuned.cheapest(BUDGET) is formula
    assert fast.seconds < tuned.seconds < formula.seconds
    (reverted,) = [block for block in tuned.blocks if block.settings == FORMULA.settings]
    assert [option.error_alone for option in reverted.others] == [float("inf")]


def test_twice_is_the_same(source: Path, tuning: Tuning) -> None:
    assert tune(source, BUDGET).to_toml() == tuning.to_toml()


class Counted(Here):
    """Workers in this process, which count; every so many-th refuses."""

    def __init__(self, refused: int = 0, memory: int | None = None) -> None:
        self.asked = 0
        self.refused = refused
        self.memory = memory

    def perform(self, texts: Mapping[str, str]) -> Iterator[tuple[str, Answer]]:
        for digest, text in texts.items():
            self.asked += 1
            is_refused = self.refused and self.asked % self.refused == 0
            yield digest, Answer("not today") if is_refused else parse_json(Answer, perform(text, self.memory))


def dispatched(workers: Counted, source: Path, folder: Path) -> tuple[Tuning, list[str]]:
    told = list[str]()
    with Dispatching(workers, Store(folder / "cache"), told.append) as dispatching, dispatch.through(dispatching):
        return tune(source, BUDGET), told


def test_workers_come_to_the_same(source: Path, tmp_path: Path, tuning: Tuning, tuned: TunedComponent) -> None:
    workers = Counted()
    found, told = dispatched(workers, source, tmp_path / "all")
    assert (found.to_toml(), told, workers.asked) == (tuning.to_toml(), [], tuned.measured)
    found, told = dispatched(Counted(refused=2), source, tmp_path / "some")
    assert (found.to_toml(), told) == (tuning.to_toml(), ["not today; it is done here"])


def test_a_worker_with_too_little_memory_does_nothing(source: Path, tmp_path: Path, tuning: Tuning) -> None:
    found, told = dispatched(Counted(memory=2**27), source, tmp_path)
    assert found.to_toml() == tuning.to_toml()
    assert told
    # How much is that of this process, with what it holds already.
    assert all(re.search(r"may hold 0\.12 GiB, and would need about \d+\.\d", text) for text in told), told


def test_a_budget_that_nothing_keeps(source: Path, tuned: TunedComponent) -> None:
    with pytest.raises(RequirementError, match=r"no policy keeps unet within an error of 1e-12: the least") as refused:
        tune(source, 1e-12)
    least = float(str(refused.value).partition("can be reached is ")[2].partition(" ")[0])
    formula = tuned.uniform[0]
    assert formula.error <= least <= 1.01 * formula.error


def test_a_run_that_was_stopped_goes_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tuned: TunedComponent
) -> None:
    monkeypatch.setattr("attnfuse.incremental.Incremental._is_unedited", lambda self: True)
    monkeypatch.setattr("attnfuse.incremental.started_ns", lambda: 2**63)
    runs: list[int] = []
    error, exact = Yardstick.error, Yardstick.exact

    def measured(self: Yardstick, *arguments: object) -> float:
        runs.append(len(runs))
        if len(runs) == stop:
            raise KeyboardInterrupt
        return error(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Yardstick, "error", measured)
    stop = 4
    with pytest.raises(KeyboardInterrupt):
        tune(source, BUDGET, cache=tmp_path / "cache")
    stop = 0
    runs.clear()
    float64: list[bool] = []

    def exactly(self: Yardstick) -> list[list[Array]]:
        float64.append(self.is_known)
        return exact(self)

    monkeypatch.setattr(Yardstick, "exact", exactly)
    (again,) = tune(source, BUDGET, cache=tmp_path / "cache").components
    assert len(runs) == again.measured - 3 > 0
    assert all(float64)
    assert again == tuned
    runs.clear()
    assert tune(source, BUDGET, cache=tmp_path / "cache").components == (again,)
    assert runs == []


def inputs(file: Path, gain: float) -> Path:
    """Drawn anew, that many times as large as tune draws them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    sample = generator.standard_normal((2, LENGTH, 64)).astype(np.float32) * np.float32(gain)
    context = generator.standard_normal((2, 7, 64)).astype(np.float32) * np.float32(gain)
    np.savez(file, sample=sample, context=context)
    return file


def test_given_inputs_decide(source: Path, tmp_path: Path) -> None:
    """On small ones the same scores do not overflow; of several sets the worst counts."""
    alone = inputs(tmp_path / "small.npz", 1e-3)
    (small,) = tune(source, 2e-2, data=alone).components
    assert {tuple(block.settings.items()) for block in small.blocks} == {tuple(FAST.settings.items())}
    assert small.inputs[0].startswith("small.npz (sha256 ")
    for name, gain in (("small", 1e-3), ("large", 1.0)):
        inputs(tmp_path / "recorded" / "unet" / f"{name}.npz", gain)
    (both,) = tune(source, 2e-2, data=tmp_path / "recorded").components
    assert FORMULA.settings in [block.settings for block in both.blocks]


def chosen_by(component: TunedComponent) -> dict[str, dict[str, bool | str]]:
    return {module: block.settings for block in component.blocks for module in block.modules}


def test_scores_that_overflow_on_given_inputs_alone(tmp_path: Path) -> None:
    """What is drawn does not show it: the policy that was found on it breaks the budget on the inputs that are met."""
    source = overflowing_on_large_inputs().write(tmp_path / "unet.mindir")
    (drawn,) = tune(source, 2e-2).components
    (given,) = tune(source, 2e-2, data=inputs(tmp_path / "large.npz", LARGE)).components
    assert set(map(str, chosen_by(drawn).values())) == {str(FAST.settings)}
    found = chosen_by(given)
    assert found.pop("blocks.0.attn2") == FORMULA.settings
    assert list(found.values()) == [FAST.settings] * 3
    fast = next(one for one in given.uniform if FAST.name in one.policy)
    assert fast.error == float("inf")
    assert next(one for one in drawn.uniform if FAST.name in one.policy).error <= 2e-2


GIVEN = """
[defaults]
assume_no_fully_masked_rows = true

[[rules]]
match = "unet.blocks.0.attn1"
flash = false

[pass.fuse]
largest_constant = 4096
"""


def test_what_a_policy_says_stays(source: Path, tuned: TunedComponent) -> None:
    """Of four attentions one overflows and one was taken out of the choice; the written policy has all of it."""
    said: list[str] = []
    tuning = tune(source, BUDGET, policy=parse_policy(GIVEN, "own.toml"), said=said)
    (component,) = tuning.components
    assert "blocks.0.attn1" not in chosen_by(component)
    assert [(one.form, one.modules) for one in component.fixed] == [("the formula", ("blocks.0.attn1",))]
    assert chosen_by(component)["blocks.0.attn2"] == FORMULA.settings
    assert component.seconds > tuned.seconds
    assert not [text for text in said if text.startswith("warning")]
    written = parse_policy(tuning.to_toml(), "policy.toml")
    decided = {
        unit: written.decide(SiteQuery("unet", "unet", f"blocks.{unit[0]}.attn{unit[1]}"))
        for unit in ("01", "02", "11")
    }
    assert [decided[unit].flash for unit in ("01", "02", "11")] == [False, False, True]
    assert all(one.assume_no_fully_masked_rows for one in decided.values())
    assert [(one.step, one.option, one.value) for one in written.options] == [("fuse", "largest_constant", 4096)]


def test_a_default_of_a_policy_is_overruled_by_what_is_found(source: Path, tuned: TunedComponent) -> None:
    (component,) = tune(source, BUDGET, policy=parse_policy("[defaults]\nflash = false\n", "own.toml")).components
    assert chosen_by(component) == chosen_by(tuned)


def test_a_rule_for_no_site_is_told(source: Path) -> None:
    said: list[str] = []
    tune(
        source, BUDGET, policy=parse_policy('[[rules]]\nmatch = "unet.nowhere"\nflash = false\n', "own.toml"), said=said
    )
    (warning,) = [text for text in said if text.startswith("warning")]
    assert warning == """warning: the policy's own.toml rules[0] (match = "unet.nowhere") matches no site"""


def test_where_a_policy_decides_all_there_is_nothing_to_tune(source: Path) -> None:
    with pytest.raises(SourceError, match="nothing to tune: unet"):
        tune(source, BUDGET, policy=parse_policy('[[rules]]\nmatch = "*"\nflash = false\n', "own.toml"))


def test_what_does_not_fit_is_refused(source: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", sample=np.zeros((2, LENGTH, 64), np.float32))
    with pytest.raises(UsageError, match="lacks context"):
        tune(source, BUDGET, data=tmp_path / "bad.npz")


def test_there_has_to_be_something_to_choose(tmp_path: Path) -> None:
    g = GraphBuilder("mlp")
    g.output(g.dense(g.input("x", (2, 8), FLOAT32), "a", 8))
    with pytest.raises(SourceError, match="nothing to tune: mlp has no attention"):
        tune(g.write(tmp_path / "mlp.mindir"), BUDGET)


def test_time_has_to_be_known(tmp_path: Path) -> None:
    g = GraphBuilder("open")
    q, k, v = (g.input(name, (2, 4, -1, 16), FLOAT32) for name in "qkv")
    scores = g.matmul_ext(q, g.transpose(k, (0, 1, 3, 2)))
    g.output(g.matmul_ext(g.softmax(scores), v))
    with pytest.raises(SourceError, match="component open cannot be tuned, as what its graph takes is not known"):
        tune(g.write(tmp_path / "open.mindir"), BUDGET, target=Target("lite", "ascend910b"))


def test_weights_without_values_are_drawn_and_that_is_told(tmp_path: Path) -> None:
    g = overflowing(sites=2, at=())
    for parameter in g.graph.parameter:
        parameter.ClearField("raw_data")
    (component,) = tune(g.write(tmp_path / "unet.mindir"), BUDGET).components
    assert component.drawn_weights == component.weights == 10
