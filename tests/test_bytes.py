"""Every graph that is written has the bytes it had when tests/golden/bytes.txt was made."""

from __future__ import annotations

import importlib.metadata

import pytest

from tools import freeze
from tools.corpus import store

NAMES = store.names()
FROZEN = freeze.parse(freeze.TABLE.read_text(encoding="utf-8"))

# Meant to change? python -m tools.freeze, and say in the commit why.


def test_table_is_whole_and_of_the_protobuf_of_the_lock() -> None:
    assert sorted(FROZEN) == NAMES
    assert {tuple(found) for found in FROZEN.values()} == {freeze.CONFIGURATIONS}
    assert freeze.TABLE.read_text(encoding="utf-8") == freeze.render(FROZEN)
    assert importlib.metadata.version("protobuf") == freeze.protobuf_version()


def test_policies_differ() -> None:
    # Else a third of the table would say nothing.
    for one, other in (("default", "no_cast"), ("default", "rules"), ("no_cast", "rules")):
        assert any(
            found[freeze.Configuration("lite", one, "ascend910b")]
            != found[freeze.Configuration("lite", other, "ascend910b")]
            for found in FROZEN.values()
        )


@pytest.mark.parametrize(("number", "name"), list(enumerate(NAMES)))
def test_a_configuration_of_each_graph(number: int, name: str) -> None:
    # From graph to graph the next one: every configuration has its turn, and each with graphs of other types.
    turn = (5 * number + number // len(freeze.CONFIGURATIONS)) % len(freeze.CONFIGURATIONS)
    configuration = freeze.CONFIGURATIONS[turn]
    assert freeze.outcome(store.read(name), configuration) == FROZEN[name][configuration]


@pytest.mark.slow  # two minutes in all
@pytest.mark.parametrize("name", NAMES)
def test_every_configuration(name: str) -> None:
    assert freeze.outcomes(store.read(name)) == FROZEN[name]


def test_a_refusal_is_listed_and_no_difference() -> None:
    lite, mindspore = freeze.CONFIGURATIONS[0], freeze.CONFIGURATIONS[-1]
    frozen = {"a": {lite: "1", mindspore: "2"}, "b": {lite: "3", mindspore: "source"}}
    now = {"a": {lite: "refused: its types contradict each other.", mindspore: "2"}, "b": {lite: "3", mindspore: "4"}}
    differences, refused = freeze.compare(now, frozen)
    assert [line.partition(" ")[0] for line in differences] == ["b"]
    assert refused == ["a lite default ascend310p: refused: its types contradict each other."]
    assert freeze.parse(freeze.render(now)) == now


def test_a_graph_that_is_not_taken_is_told_of() -> None:
    data = store.read("bert-float32")
    assert freeze.outcome(data[: len(data) // 2], freeze.CONFIGURATIONS[0]).startswith("refused: ")
