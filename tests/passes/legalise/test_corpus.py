"""Legalisation over the whole corpus: what is left, and that the graphs stay what they were."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.values import Values
from attnfuse.mindir import codec
from attnfuse.targets.nodes import deployment_refusals
from attnfuse.verify.graph.structure import check_interface, new_findings
from attnfuse.verify.inference.inferred_types import Inference, infer_all
from attnfuse.verify.lowering import Arithmetic, lower
from attnfuse.verify.numbers.execution import run
from attnfuse.verify.numbers.inputs import draw_inputs
from attnfuse.verify.numbers.weights import drawn_weights
from tests.passes.legalise.support import LITE, legalise
from tests.support.fusing import fuse
from tests.support.variants import slow_variant
from tools.corpus import store

DYNAMIC = {
    "Arange", "FillScalar", "NewZeros", "PadV3", "Partial", "ScalarGt", "SplitWithSize", "Switch", "TensorToScalar",
    "Unique2", "Zeros", "<call>",
}  # fmt: skip
"""What keeps lumina2: it branches on sizes that are not known before run time."""

LEFT = {name: DYNAMIC for name in store.names() if name.startswith("lumina2")}
STATIC = [name for name in store.names() if name not in LEFT]
MODELS = (
    "clip_text",
    "controlnet",
    "flux",
    "sd3",
    "t5_encoder",
    "unet_sd15",
    "unet_sd21_upcast",
    "unet_sdxl",
    "vae_kl_decode",
)
"""What has to be deployable."""


def source(name: str) -> Model:
    return Model(codec.parse(store.read(name), name))


def compiled(name: str) -> Model:
    """Fused and legalised for MindSpore Lite."""
    model = source(name)
    fuse(model, LITE.runtime, LITE.soc)
    legalise(model)
    return model


@pytest.mark.parametrize("name", store.names())
def test_what_is_left(name: str) -> None:
    before, after = source(name), compiled(name)
    values = Values(after)
    left = {node.op for node in after.nodes if deployment_refusals(LITE, values, node)}
    assert left == LEFT.get(name, set())
    assert new_findings(before, after)[0] + check_interface(before, after) == []


@pytest.mark.parametrize("name", ["unet_sd15_mask-float16", "cogvideox-float32", "wan-bfloat16"])
def test_the_same_bytes_again_and_nothing_to_do_twice(name: str) -> None:
    once = codec.serialise(compiled(name).proto)
    assert codec.serialise(compiled(name).proto) == once
    again = Model(codec.parse(once, name))
    assert legalise(again) == {}
    assert codec.serialise(again.proto) == once


def check_numbers(name: str, arithmetic: Arithmetic, bound: float) -> None:
    """Of the unfused graph: what fusing changes has tests of its own. `bound` is relative to the largest magnitude."""
    before, after = source(name), source(name)
    legalise(after)
    inputs, weights = draw_inputs(before, 0), drawn_weights(0)
    for x, y in zip(*(run(lower(model, arithmetic), inputs, weights) for model in (before, after)), strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        if x.dtype.kind != "f":
            np.testing.assert_array_equal(y, x)
            continue
        assert np.isfinite(x).any()
        np.testing.assert_allclose(y, x, rtol=0, atol=bound * float(np.abs(x[np.isfinite(x)]).max()))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=slow_variant(name)) for name in STATIC if name.endswith("-float32")]
)
def test_numbers(name: str) -> None:
    """√½ and √(2/π) are float32 constants: that much is lost in float64."""
    check_numbers(name, Arithmetic.EXACT, 3e-8)
    check_numbers(name, Arithmetic.NATIVE, 3e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in STATIC if not name.endswith("-float32")])
def test_numbers_of_low_precision(name: str) -> None:
    check_numbers(name, Arithmetic.EXACT, 3e-8)
    check_numbers(name, Arithmetic.NATIVE, 0.06 if name.endswith("-bfloat16") else 0.006)


@pytest.fixture(scope="module")
def inferred(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Inference]:
    """MindSpore's inference over what has to be deployable, in one process."""
    models = {model: compiled(f"{model}-float16") for model in MODELS}
    return infer_all(models, "the legalised corpus", tmp_path_factory.mktemp("corpus"))


@pytest.mark.mindspore
@pytest.mark.parametrize("model", MODELS)
def test_inference(model: str, inferred: Mapping[str, Inference]) -> None:
    assert inferred[model].findings == ()
    assert inferred[model].compared > 50
