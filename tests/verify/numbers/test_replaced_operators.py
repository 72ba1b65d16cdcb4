"""What a rewrite writes with other operators is found, cut out, and held to the original's, each value alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.types import Literal, TensorType
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, DType
from attnfuse.pass_manager import Context, run
from attnfuse.policy import Policy
from attnfuse.targets import Target
from attnfuse.verify.graph.sites import cut, cut_replaced, find
from attnfuse.verify.numbers import comparison, replaced_operators, site_numbers
from attnfuse.verify.numbers.replaced_operators import compare_replaced
from attnfuse_passes.fuse import Fuse
from attnfuse_passes.legalise.legalise import Legalise
from tests.support.graphs import GraphBuilder
from tests.support.sides import drawn_sides
from tools.corpus import store

CORPUS = ("unet_sd15-float16", "vae_kl_decode-float16", "bert-float32", "t5_encoder_mask-float32", "sd3-bfloat16")


def differences(original: Model, fused: Model) -> list[str]:
    parts = [(replaced, cut_replaced(original, fused, replaced)) for replaced in find(original, fused).replaced]
    assert all(part is not None for _, part in parts)
    whole = [(replaced, part) for replaced, part in parts if part is not None]
    return compare_replaced(*drawn_sides(original, fused), whole, 0)[0]


@pytest.mark.parametrize("name", CORPUS)
def test_a_graph_that_was_fused_and_legalised_passes_value_by_value(name: str) -> None:
    data = store.read(name)
    original, fused = (Model(codec.parse(data, name)) for _ in range(2))
    context = Context("x", "x", Policy(), Target("lite", "ascend910b"))
    run(fused, context, [Fuse(), Legalise()])
    found = find(original, fused)
    assert found.notes == ()
    assert len(found.sites) == sum(site.status == "fused" for site in context.sites)
    assert found.replaced != ()
    assert differences(original, fused) == []
    sides = drawn_sides(original, fused)
    pairs = [(site, part) for site in found.sites if (part := cut(original, fused, site)) is not None]
    assert len(pairs) == len(found.sites)
    taps = {value: tensor_type for _, part in pairs for value, tensor_type in part.leaves.items()}
    compared = comparison.compare(*sides, 0, taps)
    assert compared.findings == ()
    for result in site_numbers.compare_sites(*sides, pairs, compared.values, 0):
        assert result.findings == ()


Build: TypeAlias = "Callable[[GraphBuilder, str], str]"


def times(factor: float) -> Build:
    """A number beside the tensor."""
    return lambda g, x: g.muls(x, factor)


def times_constant(factor: float) -> Build:
    """A constant of the tensor's type."""
    return lambda g, x: g.mul(x, np.array(factor, g.type_of(x).dtype.numpy))


def normalised(epsilon: float) -> Build:
    def build(g: GraphBuilder, x: str) -> str:
        tensor_type = g.type_of(x)
        gain = g.parameter("norm.weight", np.ones(8, tensor_type.dtype.numpy))
        row = TensorType((4, 1), FLOAT32)
        arguments = [x, gain, gain, *(g.constant(c) for c in (1, 1, epsilon))]
        return g.tuple_get_item(g.node("LayerNorm", arguments, (tensor_type, row, row)), 0)

    return build


def of(op: str, *arguments: Literal) -> Build:
    return lambda g, x: g.op(op, x, *arguments)


def pair(before: Build, after: Build, dtype: DType) -> tuple[Model, Model]:
    """One node in the place of another, between operators that stay."""
    models = []
    for build in (before, after):
        g = GraphBuilder("pair")
        x = g.op("ReLU", g.input("x", (4, 8), dtype))
        g.output(g.add(build(g, x), x))
        models.append(g.model())
    return models[0], models[1]


SAME = [
    (times(0.3), times_constant(0.3), FLOAT16),
    (times(0.3), times_constant(0.3), FLOAT32),
]
OTHER = [
    (times(0.3), times_constant(0.301), FLOAT16),
    (times(0.3), times_constant(0.300001), FLOAT32),
    (times(1.0), times_constant(-1.0), FLOAT16),
    (normalised(1e-5), normalised(1e-6), FLOAT32),
    (of("Softmax", -1), of("Softmax", 0), FLOAT32),
    (of("Erf"), of("Tanh"), FLOAT32),
]


@pytest.mark.parametrize(("before", "after", "dtype"), SAME)
def test_the_same_function_written_otherwise_is_found_and_passes(before: Build, after: Build, dtype: DType) -> None:
    models = pair(before, after, dtype)
    (replaced,) = find(*models).replaced
    assert replaced.op == "Muls"
    assert differences(*models) == []


@pytest.mark.parametrize(("before", "after", "dtype"), OTHER)
def test_another_function_is_a_finding(before: Build, after: Build, dtype: DType) -> None:
    (message,) = differences(*pair(before, after, dtype))
    assert "was replaced, and its replacement differs in float64 by" in message


def test_a_constant_of_a_coarser_type_than_the_sources_is_a_mistake() -> None:
    """Its last place is no allowance: in bfloat16 1/3 is 0.3340, in the source's float32 or float16 it is not."""

    for dtype in (FLOAT16, FLOAT32):
        (message,) = differences(
            *pair(times(1 / 3), lambda g, x: g.op("Mul", x, np.array(1 / 3, BFLOAT16.numpy), like=x), dtype)
        )
        assert "was replaced, and its replacement differs in float64 by 1.95e-03" in message


def test_an_operator_that_nobody_can_run_is_a_finding() -> None:
    (message,) = differences(*pair(of("SiLU"), of("Unknowable"), FLOAT32))
    assert "cannot be run: Unknowable" in message


def test_nothing_is_shown_where_the_original_gives_no_number() -> None:
    (message,) = differences(*pair(times(float("nan")), times(2.0), FLOAT32))
    assert "could not be compared" in message


def test_equal_rewrites_are_run_once_and_weights_are_operands(monkeypatch: pytest.MonkeyPatch) -> None:
    models = []
    for op in ("Muls", "Mul"):
        g = GraphBuilder("many")
        x = g.input("x", (4, 8))
        for i in range(5):
            x = g.add(x, g.parameter(f"w{i}", np.full((4, 8), i, np.float32)))
            x = g.op(op, x, 2.0 if op == "Muls" else np.array(2.0, np.float32))
        g.output(x)
        models.append(g.model())
    runs = []
    monkeypatch.setattr(replaced_operators, "difference", lambda *a: runs.append(a))
    assert differences(*models) == []
    assert len(find(*models).replaced) == 5
    assert len(runs) == 1


@pytest.mark.parametrize(("order", "count"), [((0, 1, 2), 0), ((0, 2, 1), 1)])
def test_one_graph_may_read_what_a_view_is_of_and_the_other_a_view_of_that_view(
    order: tuple[int, ...], count: int
) -> None:
    """Both graphs have all of them: drawn apart the two that are read would not agree, whatever is made of them."""

    def model(*, is_original: bool) -> Model:
        g = GraphBuilder("views")
        x = g.op("ReLU", g.input("x", (3, 3, 3)))
        view = g.op("Transpose", g.op("Transpose", x, (1, 2, 0)), (1, 2, 0))
        last = g.op("Transpose", view, (1, 2, 0)) if is_original else g.op("Transpose", x, order)
        g.output(g.add(last, view))
        return g.model()

    models = model(is_original=True), model(is_original=False)
    (replaced,) = find(*models).replaced
    assert len(replaced.entries) == 1
    assert len(differences(*models)) == count
