"""Residual sums that only the original has a name for: where graphs are cut, and what that is worth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from attnfuse import pass_manager
from attnfuse.ir.graph import Model, Node
from attnfuse.ir.text import infer, parse_program, signature
from attnfuse.mindir import codec
from attnfuse.pass_manager import Context
from attnfuse.policy import Policy
from attnfuse.targets import Target
from attnfuse.verify.graph.sites import cut_replaced, find
from attnfuse.verify.graph.sums import Named, _renamed, with_named_sums
from attnfuse.verify.numbers import full
from attnfuse.verify.numbers.full import Found, Request, check_numbers
from tests.support.graphs import fill_literal
from tools.corpus import store

BLOCKS = 4
NORM = "(64,), w, b, 1e-05)[0]"


def text() -> str:
    """A layer, and blocks of a norm and a layer, each added to what goes through; a quotient by 1 stands between."""
    lines = [
        "w: parameter float16[64]",
        "b: parameter float16[64]",
        "first = Dense(x: float16[2, 32, 64], k: parameter float16[64, 64], None)",
        "s0 = Add(y: float16[2, 32, 64], first)",
    ]
    for n in range(BLOCKS):
        lines += [
            f"h{n} = Dense(LayerNormExt(s{n}, {NORM}, k{n}: parameter float16[64, 64], None)",
            f"d{n} = Div(h{n}, tensor float16[] 1.0)",
            f"s{n + 1} = Add(d{n}, s{n})",
        ]
    return "\n".join([*lines, f"Neg(LayerNormExt(s{BLOCKS}, {NORM})"])


def rewritten(model: Model, *, is_fused: bool) -> Model:
    if is_fused:
        pass_manager.run(
            model, Context("part", "part", Policy(), Target("lite", "ascend910b")), pass_manager.discover()
        )
    return model


def pair(source: str) -> tuple[Model, Model]:
    models = (Model(parse_program(source, infer=infer, signature=signature)) for _ in range(2))
    original, fused = (rewritten(model, is_fused=n == 1) for n, model in enumerate(models))
    return original, fused


def unnamed(fused: Model) -> Model:
    """The first layer's result has another name, as where it is made in another layout."""
    (first,) = [node for node in fused.nodes if ":first:" in node.name]
    other = first.name.replace(":first:", ":other:")
    data = fused.proto.SerializeToString(deterministic=True).replace(first.name.encode(), other.encode())
    return Model(type(fused.proto).FromString(data))


def check(original: Model, fused: Model, folder: Path) -> Found:
    where = folder / "m.mindir"
    request = Request(name="m", original=where, fused=where, seed=0, work=folder)
    return check_numbers(original, fused, request, {})


def largest(original: Model, fused: Model) -> int:
    """How many layers there are in the largest part that is cut out."""
    parts = [cut_replaced(original, fused, replaced) for replaced in find(original, fused).replaced]
    return max(sum(node.op == "Dense" for node in part.original.nodes) for part in parts if part is not None)


def sums(fused: Model) -> list[Node]:
    return [node for node in fused.nodes if node.op == "AddLayerNorm"]


def test_a_residual_is_cut_at_each_sum(tmp_path: Path) -> None:
    original, fused = pair(text())
    assert len(sums(fused)) == BLOCKS + 1
    named = with_named_sums(original, fused)
    assert named.guesses == frozenset()
    assert largest(original, named.model) == 1
    assert [node.op for node in named.model.nodes] == [node.op for node in fused.nodes]
    assert check(original, fused, tmp_path).findings == []


def test_a_sum_of_which_one_summand_has_no_name_is_guessed(tmp_path: Path) -> None:
    original, fused = pair(text())
    fused = unnamed(fused)
    named = with_named_sums(original, fused)
    assert [name.split(":")[1] for name in named.guesses] == ["s0"]
    assert {node.name for node in named.model.nodes if ":s" in node.name} != set()
    assert check(original, fused, tmp_path).findings == []


def test_blocks_of_a_traced_unet_are_cut_apart() -> None:
    data = store.read("unet_sdxl-float16")
    original, fused = (rewritten(Model(codec.parse(data, "unet")), is_fused=n == 1) for n in range(2))

    def most(after: Model) -> int:
        parts = [cut_replaced(original, after, replaced) for replaced in find(original, after).replaced]
        return max(len(part.original.nodes) for part in parts if part is not None)

    assert most(with_named_sums(original, fused).model) < 20 < 50 < most(fused)


def test_what_has_no_sum_is_itself() -> None:
    original, fused = pair("Neg(SiLU(x: float16[2, 32, 64]))")
    assert with_named_sums(original, fused).model is fused


def other_summand(fused: Model) -> None:
    """The third norm is of the first layer's result again."""

    def layer(norm: Node) -> int:
        made = [fused.producer(value) for value in norm.inputs[:2]]
        return next(n for n, node in enumerate(made) if node is not None and node.op == "Reshape")

    second, third = sums(fused)[1:3]
    third.proto.input[layer(third)] = second.inputs[layer(second)]


def other_epsilon(fused: Model) -> None:
    entry = fused.primitives[sums(fused)[2].proto.op_type]
    next(a for a in entry.attribute if a.name == "epsilon").f = 1e-2


def no_sum(fused: Model) -> None:
    """What the second norm hands on is its norm."""
    (item,) = [
        use.node for use in fused.uses(sums(fused)[1].name) if use.node and fused.literal(use.node.inputs[1]) == 3
    ]
    constant = fused.producer(item.inputs[1])
    assert constant is not None
    fill_literal(next(a for a in constant.proto.attribute if a.name == "value"), 0)


@pytest.mark.parametrize("change", [lambda fused: fused, unnamed], ids=["named", "unnamed"])
@pytest.mark.parametrize("plant", [other_summand, other_epsilon, no_sum])
def test_a_mistake_in_one_block_is_found(
    plant: Callable[[Model], None], change: Callable[[Model], Model], tmp_path: Path
) -> None:
    original, fused = pair(text())
    plant(fused)
    assert check(original, change(Model(fused.proto)), tmp_path).findings


@pytest.mark.parametrize("is_guess", [True, False])
def test_a_guess_that_is_wrong_is_no_finding(is_guess: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is held to numbers before anything is cut at it; what is no guess is not."""
    original, fused = pair(text())

    def swapped(before: Model, after: Model) -> Named:
        model = with_named_sums(before, after).model
        first, second = (node.name for node in before.nodes if ":s0:" in node.name or ":s1:" in node.name)
        model = _renamed(_renamed(model, {first: "aside", second: first}), {"aside": second})
        return Named(model, frozenset({first, second} if is_guess else ()))

    monkeypatch.setattr(full, "with_named_sums", swapped)
    assert bool(check(original, fused, tmp_path).findings) != is_guess
