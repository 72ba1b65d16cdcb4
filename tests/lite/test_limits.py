"""What MindSpore Lite 2.0.0 for CPU lacks or gets wrong, each as the smallest graph that shows it.

None of it is an encoding of ours: each graph is a plain one, and says what it should give. A test holds two things:
what Lite does with the graph as it is, and that the writer's way round it (downlevel.py) gives the right values. Should
the first half of one fail with another Lite, its way round can go.

Places in Lite's sources are those of July 2025 (`mindspore-lite/…`; nnacl is in mindspore/ccsrc/plugin/device/cpu/
kernel), which is the oldest history at hand; the log of 2.0.0 names the same files and functions.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array, TensorType
from attnfuse.mindir.dtypes import BOOL, FLOAT32
from attnfuse.mindir.schema import AttributeProto, ModelProto
from attnfuse.verify.numbers.comparison import FLOOR, relative_error
from attnfuse.verify.numbers.weights import stored_weights
from tests.lite.agreement import alone
from tests.lite.downlevel import down_level
from tests.lite.runtime import RefusedError, run_lite
from tests.support.graphs import PRIMITIVE, GraphBuilder, fill_literal, seeded

pytestmark = pytest.mark.lite

KERNEL = 2.0**-19
"""The most that one kernel alone is off by, relative to its output."""

Make = Callable[[GraphBuilder], str]


def graph(make: Make) -> Model:
    g = GraphBuilder("limits")
    g.output(make(g))
    return g.model()


def off_by(make: Make, *, plain: str = "", **inputs: Array) -> float:
    """Lite's relative error."""
    results, exact = alone(graph(make), inputs, plain=(plain,))
    assert results[0].shape == exact[0].shape
    return relative_error(results[0], exact[0], np.ones(exact[0].shape, bool))


def conv2d(g: GraphBuilder, x: str, *, kernel: int = 1, pad: int = 0, pad_list: bool = True) -> str:
    """As MindSpore exports it: a primitive with attributes."""
    batch, channels, *space = g.dims(x)
    weight = g.weight("conv.weight", (4, channels, kernel, kernel), scale=channels**-0.5 / kernel)
    dims = (batch, 4, *(size + 2 * pad - kernel + 1 for size in space))
    made = g.node("Conv2D", [x, weight], TensorType(dims, FLOAT32), primitive=PRIMITIVE)
    settings: dict[str, Any] = {
        "out_channel": 4, "kernel_size": (kernel, kernel), "mode": 1, "pad_mode": "pad", "pad": (pad,) * 4,
        "stride": (1, 1, 1, 1), "dilation": (1, 1, 1, 1), "group": 1, "groups": 1, "format": "NCHW",
    }  # fmt: skip
    entry = next(p for p in g.proto.primitives if p.op_type == "Conv2D")
    for name, value in {**settings, **({"pad_list": (pad,) * 4} if pad_list else {})}.items():
        written = AttributeProto(name=name)
        fill_literal(written, value)
        entry.attribute.append(written)
    return made


# --- layouts


def after_rank_3(g: GraphBuilder) -> str:
    """How a VAE's attention ends: [B, HW, C] → [B, C, HW] → [B, C, H, W] → convolution."""
    x = g.transpose(g.input("x", (2, 64, 8)), (0, 2, 1))
    return conv2d(g, g.reshape(x, (2, 8, 8, 8)))


def after_rank_4(g: GraphBuilder) -> str:
    """How a UNet's transformer ends: [B, HW, C] + residual → [B, H, W, C] → [B, C, H, W] → convolution."""
    image = g.transpose(g.input("image", (2, 8, 8, 8)), (0, 2, 3, 1))
    x = g.add(g.input("x", (2, 64, 8)), g.reshape(image, (2, 64, 8)))
    return conv2d(g, g.transpose(g.reshape(x, (2, 8, 8, 8)), (0, 3, 1, 2)))


def resized_after_rank_4(g: GraphBuilder) -> str:
    """The same before an upsampling, as in SDXL."""
    image = g.transpose(g.input("image", (2, 8, 8, 8)), (0, 2, 3, 1))
    x = g.add(g.input("x", (2, 64, 8)), g.reshape(image, (2, 64, 8)))
    x = g.transpose(g.reshape(x, (2, 8, 8, 8)), (0, 3, 1, 2))
    return g.op("ResizeNearestNeighbor", x, (16, 16), False, False, dims=(2, 8, 16, 16))


LOST = [(after_rank_3, "Conv2D"), (after_rank_4, "Conv2D"), (resized_after_rank_4, "ResizeNearestNeighbor")]


@pytest.mark.parametrize(("make", "op"), LOST, ids=["rank 3", "rank 4", "resize"])
def test_what_follows_a_transpose_loses_its_layout(make: Make, op: str) -> None:
    """`Unexpected input format 0`: the root cause of the UNet that 2.0.0 did not build.

    Lite computes Conv2D and Resize in NHWC and writes a Transpose(0, 2, 3, 1) before them. Then it merges that with
    what the graph has there: TransReshapeTransFusion (optimizer/fusion/reshape_transpose_fusion.cc:362-433; 2.0.0 runs
    it whatever its configuration disables), or by cancelling two transposes (optimizer/graph/
    decrease_transpose_algo.cc:267-292).
    The values stay right, but only a Transpose turns the label of a tensor's layout (nnacl/infer/transpose_infer.c,
    Handle4DPerm). What is left is a Reshape of a 3-D tensor, whose label means nothing: it is inherited from the first
    operand of each operator, and turned by any Transpose(0, 2, 1) (there too, at PERM_NUM_THREE). Where it says NCHW,
    Conv2dInferShape (nnacl/infer/conv2d_infer.c; resize_infer.c alike) returns NNACL_FORMAT_ERROR.
    """
    inputs: dict[str, Any] = {"x": seeded("x", (2, 64, 8))}
    if make is not after_rank_3:
        inputs["image"] = seeded("image", (2, 8, 8, 8))
    with pytest.raises(RefusedError, match="Unexpected input format 0"):
        off_by(make, plain=op, **inputs)
    assert off_by(make, **inputs) <= FLOOR


def test_convolution_without_pad_list_is_not_padded() -> None:
    """Lite reads `pad_list`, which MindSpore's inference adds; what emits Conv2D has to write it beside `pad`."""

    def make(g: GraphBuilder, *, pad_list: bool) -> str:
        return conv2d(g, g.input("x", (2, 8, 8, 8)), kernel=3, pad=1, pad_list=pad_list)

    x = seeded("x", (2, 8, 8, 8))
    model = graph(lambda g: make(g, pad_list=False))
    written = down_level(model, stored_weights(model.proto, Path()))
    (result,) = run_lite(written, {written.graph.input[0].name: x})
    assert result.shape == (2, 4, 6, 6)
    assert off_by(lambda g: make(g, pad_list=True), x=x) <= KERNEL


# --- names


def test_two_nodes_of_one_full_name_are_mixed_up() -> None:
    """The loader calls a node by its domain (core/load_mindir/load_model.cc), and Lite finds tensors by that name."""

    def make(g: GraphBuilder) -> str:
        parts = [g.expand_dims(g.input(name, (2, 8)), 1) for name in ("a", "b")]
        return g.add(g.mul(g.input("x", (2, 4, 8)), parts[0]), parts[1])

    inputs = {"x": seeded("x", (2, 4, 8)), "a": seeded("a", (2, 8)), "b": seeded("b", (2, 8))}
    model = graph(make)
    (result,), (exact,) = alone(model, inputs)
    assert relative_error(result, exact, np.ones((2, 4, 8), bool)) <= FLOOR
    proto = ModelProto.FromString(model.proto.SerializeToString())
    for node in proto.graph.node:
        if "ExpandDims" in node.domain:
            node.domain = "Default/ExpandDims-op0"
    with pytest.raises(RefusedError):
        alone(Model(proto), inputs)


# --- operators it does not know, or knows as something else


def test_silu_is_unknown() -> None:
    def make(g: GraphBuilder) -> str:
        return g.op("SiLU", g.input("x", (4, 8)))

    with pytest.raises(RefusedError, match="SiLU"):
        off_by(make, plain="SiLU", x=seeded("x", (4, 8)))
    assert off_by(make, x=seeded("x", (4, 8))) <= KERNEL


def test_masked_fill_is_unknown() -> None:
    """In the midst of constants it is worse: 2.0.0 folds them, drops the operator, and runs."""

    def make(g: GraphBuilder) -> str:
        mask = g.op("Less", g.input("x", (2, 4, 8)), np.zeros((1, 4, 8), np.float32))
        return g.masked_fill(g.input("y", (2, 4, 8)), mask, np.array(-7, np.float32))

    inputs: dict[str, Any] = {"x": seeded("x", (2, 4, 8)), "y": seeded("y", (2, 4, 8))}
    with pytest.raises(RefusedError, match="MaskedFill"):
        off_by(make, plain="MaskedFill", **inputs)
    assert off_by(make, **inputs) == 0.0


def test_power_does_not_broadcast_its_base() -> None:
    def make(g: GraphBuilder) -> str:
        base = g.constant(np.array(10000, np.float32))
        return g.node("Pow", [base, g.input("x", (8,))], TensorType((8,), FLOAT32))

    x = np.linspace(0, 1, 8, dtype=np.float32)
    with pytest.raises(RefusedError, match="Pow"):
        off_by(make, plain="Pow", x=x)
    assert off_by(make, x=x) <= KERNEL


def test_an_element_of_a_tuple_that_the_graph_makes_is_the_first() -> None:
    """Or Lite crashes, where a Depend stands between. They are left of unequal splits and of functions written out;
    Lite 2.7 takes such pairs away itself (RemoveRedundantOp)."""

    def make(g: GraphBuilder) -> str:
        x = g.input("x", (4, 8))
        parts = [g.strided_slice(x, (0, 0), (4, 4)), g.strided_slice(x, (0, 4), (4, 8))]
        made = g.node("MakeTuple", parts, tuple(map(g.type_of, parts)), primitive=PRIMITIVE)
        return g.op("Sigmoid", g.tuple_get_item(made, 1))

    x = seeded("x", (4, 8))
    (result,), (second,) = alone(graph(make), {"x": x}, plain=("TupleGetItem",))
    assert relative_error(result, 1 / (1 + np.exp(-x[:, :4])), np.ones((4, 4), bool)) <= KERNEL
    assert relative_error(result, second, np.ones((4, 4), bool)) > 0.1
    assert off_by(make, x=x) <= KERNEL


def test_select_does_not_broadcast() -> None:
    """So the writer broadcasts what stands for MaskedFill."""

    def make(g: GraphBuilder) -> str:
        x = g.input("x", (2, 4, 8))
        return g.node("Select", [g.input("mask", (4, 8), BOOL), x, x], TensorType((2, 4, 8), FLOAT32))

    with pytest.raises((RefusedError, AssertionError)):
        off_by(make, x=seeded("x", (2, 4, 8)), mask=np.eye(4, 8, dtype=bool))


def test_gelu_is_the_other_gelu() -> None:
    """MindSpore's GeLU is the tanh form; MoveAttrMapActivation (converter/import/primitive_adjust.cc:260) makes it an
    Activation without `approximate`, and that is the form with erf."""

    def make(g: GraphBuilder) -> str:
        return g.op("GeLU", g.input("x", (4, 64)))

    x = seeded("x", (4, 64))
    assert 1e-5 < off_by(make, plain="GeLU", x=x) < 1e-2
    assert off_by(make, x=x) <= KERNEL


# --- kernels that are less exact than float32


def test_rsqrt_is_an_estimate() -> None:
    """nnacl/intrinsics/ms_simd_avx_instructions.h: MS_RSQRT256_F32 is _mm256_rsqrt_ps, 12 bits and no step after it.

    Every GroupNorm of a legalised graph has one.
    """

    def make(g: GraphBuilder) -> str:
        return g.op("Rsqrt", g.input("x", (4, 64)))

    x = np.abs(seeded("x", (4, 64))) + np.float32(0.1)
    assert 2 * KERNEL < off_by(make, plain="Rsqrt", x=x) < 2**-10
    assert off_by(make, x=x) <= FLOOR


def test_cos_is_wrong_beyond_a_quarter_turn() -> None:
    """nnacl/intrinsics/ms_simd_avx_instructions.h, MS_COS256_F32: the series up to x¹⁰, after reduction to [−π, π].

    What is left out is x¹²/12!, which is 2e-3 at π and nothing below π/2. It is the root cause of the SD3
    that seemed wrong from the first Mul after a LayerNorm on: there the embedding of the time step, sines and cosines
    of t · exp(…), joins the image.
    """

    def make(g: GraphBuilder) -> str:
        return g.op("Cos", g.input("x", (64,)))

    assert off_by(make, plain="Cos", x=np.linspace(0, 1, 64, dtype=np.float32)) <= KERNEL
    assert 1e-4 < off_by(make, plain="Cos", x=np.linspace(2, 7, 64, dtype=np.float32)) < 1e-2
    assert off_by(make, x=np.linspace(-7, 7, 64, dtype=np.float32)) <= KERNEL


@pytest.mark.parametrize(
    "make",
    [
        lambda g: g.op("Exp", g.input("x", (2, 16, 16, 16))),
        lambda g: g.softmax(g.input("x", (2, 16, 16, 16))),
        lambda g: conv2d(g, g.input("x", (2, 16, 16, 16)), kernel=3, pad=1),
    ],
    ids=["Exp", "Softmax", "Conv2D 3x3"],
)
def test_kernels_lose_some_bits(make: Make) -> None:
    """A polynomial for e to the x (nnacl/fp32/exp_fp32.h), and Winograd's transformation of 3×3 convolutions."""
    assert FLOOR < off_by(make, x=seeded("x", (2, 16, 16, 16))) <= KERNEL


def test_a_time_step_multiplies_what_exp_is_off_by() -> None:
    """An embedding is sin(t · exp(…)): the second reason why a model that takes t = 999 agrees less than one with 1."""

    def make(g: GraphBuilder) -> str:
        return g.op("Sin", g.mul(g.op("Exp", g.input("x", (1, 64))), g.input("t", (1, 1))))

    x = np.linspace(-9, 0, 64, dtype=np.float32).reshape(1, 64)
    early, late = (off_by(make, x=x, t=np.full((1, 1), t, np.float32)) for t in (1, 999))
    assert early <= KERNEL
    assert 20 * early < late <= 999 * KERNEL
