"""Tuning of small float32 models, one attention of which overflows float16: what is chosen, kept and refused."""

from __future__ import annotations

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
from attnfuse.serialisation import parse_json
from attnfuse.store.store import Store
from attnfuse.targets import Target
from attnfuse.tuning.choices import FAST, FORMULA
from attnfuse.tuning.result import TunedComponent, Tuning
from attnfuse.verify.numbers.measuring import Yardstick
from tests.farm.conftest import Here
from tests.support.graphs import GraphBuilder
from tests.tuning.graphs import LENGTH, overflowing, tune

BUDGET = 1e-3


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return overflowing().write(tmp_path_factory.mktemp("source") / "unet.mindir")


@pytest.fixture(scope="module")
def tuning(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Tuning:
    return tune(source, BUDGET, tmp_path_factory.mktemp("work"))


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


def test_twice_is_the_same(source: Path, tmp_path: Path, tuning: Tuning) -> None:
    assert tune(source, BUDGET, tmp_path).to_toml() == tuning.to_toml()


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
        return tune(source, BUDGET, folder / "work"), told


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
    assert all("may hold 0.12 GiB, and would need about 0." in text for text in told)


def test_a_budget_that_nothing_keeps(source: Path, tmp_path: Path, tuned: TunedComponent) -> None:
    with pytest.raises(RequirementError, match=r"no policy keeps unet within an error of 1e-12: the least") as refused:
        tune(source, 1e-12, tmp_path / "a")
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
        tune(source, BUDGET, tmp_path / "a", cache=tmp_path / "cache")
    stop = 0
    runs.clear()
    float64: list[bool] = []

    def exactly(self: Yardstick) -> list[list[Array]]:
        float64.append(self.is_known)
        return exact(self)

    monkeypatch.setattr(Yardstick, "exact", exactly)
    (again,) = tune(source, BUDGET, tmp_path / "b", cache=tmp_path / "cache").components
    assert len(runs) == again.measured - 3 > 0
    assert all(float64)
    assert again == tuned
    runs.clear()
    assert tune(source, BUDGET, tmp_path / "c", cache=tmp_path / "cache").components == (again,)
    assert runs == []


def test_given_inputs_decide(tmp_path: Path, tuned: TunedComponent) -> None:
    """On small ones the same scores do not overflow; of several sets the worst counts."""
    source = overflowing().write(tmp_path / "unet.mindir")
    generator = np.random.default_rng(0)
    for name, gain in (("small", 1e-3), ("large", 1.0)):
        sample = generator.standard_normal((2, LENGTH, 64)).astype(np.float32) * np.float32(gain)
        context = generator.standard_normal((2, 7, 64)).astype(np.float32) * np.float32(gain)
        np.savez(tmp_path / name, sample=sample, context=context)
    files = [tmp_path / "small.npz", tmp_path / "large.npz"]
    (small,) = tune(source, 2e-2, tmp_path / "a", data=files[:1]).components
    assert {tuple(block.settings.items()) for block in small.blocks} == {tuple(FAST.settings.items())}
    assert small.inputs[0].startswith("small.npz (sha256 ")
    (both,) = tune(source, 2e-2, tmp_path / "b", data=files).components
    assert FORMULA.settings in [block.settings for block in both.blocks]


def test_what_does_not_fit_is_refused(source: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", sample=np.zeros((2, LENGTH, 64), np.float32))
    with pytest.raises(UsageError, match="lacks context"):
        tune(source, BUDGET, tmp_path / "w", data=[tmp_path / "bad.npz"])


def test_there_has_to_be_something_to_choose(tmp_path: Path) -> None:
    g = GraphBuilder("mlp")
    g.output(g.dense(g.input("x", (2, 8), FLOAT32), "a", 8))
    with pytest.raises(SourceError, match="nothing to tune: mlp has no attention"):
        tune(g.write(tmp_path / "mlp.mindir"), BUDGET, tmp_path / "w")


def test_time_has_to_be_known(tmp_path: Path) -> None:
    g = GraphBuilder("open")
    q, k, v = (g.input(name, (2, 4, -1, 16), FLOAT32) for name in "qkv")
    scores = g.matmul_ext(q, g.transpose(k, (0, 1, 3, 2)))
    g.output(g.matmul_ext(g.softmax(scores), v))
    with pytest.raises(SourceError, match="component open cannot be tuned, as what its graph takes is not known"):
        tune(g.write(tmp_path / "open.mindir"), BUDGET, tmp_path / "w", target=Target("lite", "ascend910b"))


def test_weights_without_values_are_drawn_and_that_is_told(tmp_path: Path) -> None:
    g = overflowing(sites=2, at=())
    for parameter in g.graph.parameter:
        parameter.ClearField("raw_data")
    (component,) = tune(g.write(tmp_path / "unet.mindir"), BUDGET, tmp_path / "w").components
    assert component.drawn_weights == component.weights == 10
