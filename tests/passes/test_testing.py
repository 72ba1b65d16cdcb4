"""What the tests of a plugin's identities are told, where one is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attnfuse.api import Model, Node
from attnfuse.ir.text import TextError
from attnfuse_passes.api import Effect, Identity, Scale
from attnfuse_passes.attention.identities.registry import all_identities
from attnfuse_passes.testing import check_identity

OURS = {entry.name: entry for entry in all_identities()}


def factor(number: float) -> Identity:
    """−x = number · x, of floating-point numbers."""

    def rule(model: Model, node: Node) -> tuple[str, Effect] | None:
        tensor_type = model.type_of(node.name)
        return (node.inputs[0], Scale(number)) if tensor_type is not None and tensor_type.dtype.is_float else None

    return Identity("neg", ("Neg",), "", ("Neg(x: float32[2, 3])",), ("Neg(x: int32[2, 3])",), rule)


@pytest.mark.parametrize("name", ["cast.float", "layout.reshape", "mask.fill", "mask.select", "repeat.tile"])
def test_some_of_our_own_hold(name: str) -> None:
    check_identity(OURS[name])


NEG = factor(-1.0)


def test_one_that_holds() -> None:
    check_identity(NEG)


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        (factor(-2.0), r"neg: 'Neg.x: float32.2, 3..' is not what Scale.factor=-2.0. says"),
        (replace(NEG, counter_examples=()), "neg has no counter-example"),
        (replace(NEG, examples=()), "neg has no example"),
        (replace(NEG, ops=("Neg", "Abs")), "neg has no example of Abs"),
        (replace(NEG, counter_examples=NEG.examples), "neg reads its counter-example 'Neg"),
        (replace(NEG, examples=NEG.counter_examples), "neg does not read its example 'Neg"),
        (replace(NEG, counter_examples=("Abs(x: int32[2, 3])",)), "is of an operator that it is not about"),
    ],
    ids=["factor", "no counter-example", "no example", "operator", "counter-example", "example", "other operator"],
)
def test_one_that_does_not_is_told(identity: Identity, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_identity(identity)


def test_an_example_that_is_no_graph_is_told() -> None:
    with pytest.raises(TextError, match="takes a tensor"):
        check_identity(replace(NEG, counter_examples=("Neg((1, 2))",)))
