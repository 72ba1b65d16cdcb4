"""What others find of sites and replaced operators is what this process finds, and nothing of it is run twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from attnfuse import dispatch
from attnfuse.errors import VerificationError
from attnfuse.farm.dispatching import Dispatching
from attnfuse.farm.units import Answer
from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array
from attnfuse.mindir import codec
from attnfuse.pass_manager import Context, run
from attnfuse.policy import Policy
from attnfuse.store.kinds import Kind
from attnfuse.store.store import Store
from attnfuse.targets import Target
from attnfuse.verify.graph.sites import Cut, ReplacedOperator, Site, cut, cut_replaced, find
from attnfuse.verify.numbers import comparison, replaced_operators, segments, site_numbers
from attnfuse.verify.numbers.comparison import Side
from attnfuse.verify.numbers.full import Found
from attnfuse.verify.numbers.replaced_operators import compare_replaced
from attnfuse.verify.numbers.site_numbers import SiteResult, compare_sites
from attnfuse_passes.fuse import Fuse
from attnfuse_passes.legalise.legalise import Legalise
from tests.farm.conftest import Here
from tests.support.sides import drawn_sides
from tests.verify.numbers.test_full import by_mask, check, formula, fused_as
from tools.corpus import store as corpus

NAMES = ("t5_encoder_mask-float32", "sd3-bfloat16")


class Refusing(Here):
    """Workers that do every other unit."""

    def perform(self, texts: Mapping[str, str]) -> Iterator[tuple[str, Answer]]:
        for number, (digest, answer) in enumerate(super().perform(texts)):
            yield digest, Answer("not today") if number % 2 else answer


class Spread:
    """A dispatcher whose workers are in this process."""

    def __init__(self, folder: Path, workers: Here) -> None:
        self.said: list[str] = []
        self.store = Store(folder)
        self._workers = workers
        self._stack = ExitStack()

    def __enter__(self) -> Spread:
        dispatching = self._stack.enter_context(Dispatching(self._workers, self.store, self.said.append))
        self._stack.enter_context(dispatch.through(dispatching))
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()


@dataclass(frozen=True)
class Parts:
    """A graph, rewritten, and its parts; `values` are what the sites met."""

    sides: tuple[Side, Side]
    sites: Sequence[tuple[Site, Cut]]
    replaced: Sequence[tuple[ReplacedOperator, Cut]]
    values: Mapping[str, Array]


@pytest.fixture(scope="module", params=NAMES)
def parts(request: pytest.FixtureRequest) -> Parts:
    data = corpus.read(request.param)
    original, fused = (Model(codec.parse(data, request.param)) for _ in range(2))
    run(fused, Context("x", "x", Policy(), Target("lite", "ascend910b")), [Fuse(), Legalise()])
    found, sides = find(original, fused), drawn_sides(original, fused)
    sites = [(site, part) for site in found.sites if (part := cut(original, fused, site)) is not None]
    replaced = [(one, part) for one in found.replaced if (part := cut_replaced(original, fused, one)) is not None]
    taps = {value: tensor_type for _, part in sites for value, tensor_type in part.leaves.items()}
    taps |= {site.output: made for site, _ in sites if (made := original.type_of(site.output)) is not None}
    return Parts(sides, sites, replaced, comparison.compare(*sides, 0, taps).values)


def known_sites(parts: Parts, never: frozenset[str] = frozenset()) -> site_numbers.Known:
    return segments.known_sites(*parts.sides, parts.sites, parts.values, 0, never, are_about_masks=False)


def here(parts: Parts, known: site_numbers.Known = site_numbers.NOTHING) -> list[SiteResult]:
    return compare_sites(*parts.sides, parts.sites, parts.values, 0, known=known)


def test_others_find_the_same(parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, differences = here(parts), compare_replaced(*parts.sides, parts.replaced, 0)
    assert parts.sites
    assert parts.replaced
    with Spread(tmp_path, Refusing()) as spread:
        some, some_replaced = known_sites(parts), segments.known_replaced(*parts.sides, parts.replaced, 0)
    assert set(spread.said) == {"not today; it is done here"}
    assert 0 < len(some.met) + len(some.drawn) < 2 * len(parts.sites)
    assert here(parts, some) == wanted
    assert compare_replaced(*parts.sides, parts.replaced, 0, some_replaced) == differences
    with Spread(tmp_path, Here()) as spread:
        every, every_replaced = known_sites(parts), segments.known_replaced(*parts.sides, parts.replaced, 0)
    assert spread.said == []
    assert [one for one in spread.store.listed() if one.kind == Kind.CONTENTS] == []
    for module, name in ((site_numbers, "on_met"), (site_numbers, "on_drawn"), (replaced_operators, "difference")):
        monkeypatch.setattr(module, name, pytest.fail)
    assert here(parts, every) == wanted
    assert compare_replaced(*parts.sides, parts.replaced, 0, every_replaced) == differences


def test_without_anybody_nothing_is_known(parts: Parts) -> None:
    assert known_sites(parts) is site_numbers.NOTHING
    assert segments.known_replaced(*parts.sides, parts.replaced, 0) == {}


def test_a_wrong_part_is_found_by_others_too(tmp_path: Path) -> None:
    """Findings, figures that are no numbers and notes are put together as here."""
    before = formula(by_mask)
    after = fused_as(before, by_mask)

    def found(folder: str) -> Found:
        (tmp_path / folder).mkdir()
        return check(before, after, tmp_path / folder)

    wanted = found("here")
    assert any("on drawn operands (hidden 1)" in finding for finding in wanted.findings)
    with Spread(tmp_path / "cache", Here()) as spread:
        assert found("spread") == wanted
    assert spread.said == []


def test_what_cannot_be_run_is_told_as_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise VerificationError("onnxruntime cannot run the lowered graph.")

    monkeypatch.setattr(site_numbers, "on_met", fail)
    before = formula(by_mask)
    with (
        Spread(tmp_path / "cache", Here()) as spread,
        pytest.raises(VerificationError, match="cannot run the lowered graph"),
    ):
        check(before, fused_as(before, by_mask), tmp_path)
    assert spread.said == ["onnxruntime cannot run the lowered graph; it is done here"]
