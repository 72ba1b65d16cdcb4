"""Kinds of kernels, by the names of MindSpore's operators and by those that CANN's profiles have."""

from __future__ import annotations

import pytest

from attnfuse.cost.kinds import Kind, kind_of_operator, kind_of_type, strongest
from attnfuse.ir.operators.table import OPERATORS
from attnfuse.targets.ge import tables


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("PromptFlashAttention", Kind.ATTENTION),
        ("MatMul", Kind.PRODUCT),
        ("GroupNormSilu", Kind.NORM),
        ("AddLayerNorm", Kind.NORM),
        ("GeGluV2", Kind.ELEMENTWISE),
        ("Transpose", Kind.MOVE),
        ("Custom", Kind.ELEMENTWISE),
        ("TransData", Kind.FORMAT),
    ],
)
def test_of_an_operator(operator: str, kind: Kind) -> None:
    assert kind_of_operator(operator) is kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        # Every name of three published profiles (docs/measured.md): 910B, in graph mode.
        *((name, Kind.PRODUCT) for name in ("MatMul", "MatMulV2", "MatMulV3")),
        *((name, Kind.NORM) for name in ("AddLayerNorm", "InplaceAddRmsNorm", "LayerNormV3", "RmsNorm")),
        *((name, Kind.ELEMENTWISE) for name in ("Add", "AutomaticBufferFusionOp", "Cast", "Gelu", "Mul", "Neg")),
        *((name, Kind.ELEMENTWISE) for name in ("ApplyRotaryPosEmb", "Less", "Square")),
        *((name, Kind.MOVE) for name in ("ConcatV2D", "GatherV2", "SplitVD", "StridedSliceD", "Transpose", "Unpack")),
        ("PromptFlashAttention", Kind.ATTENTION),
        ("IncreFlashAttention", Kind.ATTENTION),
        ("Conv3D", Kind.CONVOLUTION),
        ("SoftmaxV2", Kind.SOFTMAX),
        ("ReduceMeanD", Kind.REDUCTION),
        ("TransData", Kind.FORMAT),
        ("Data", None),
        ("FancyOp", None),
    ],
)
def test_of_a_type_in_a_profile(name: str, kind: Kind | None) -> None:
    assert kind_of_type(name) is kind


def test_an_estimate_and_a_profile_count_an_operator_alike() -> None:
    apart = {
        name: adapter.ge
        for name, adapter in tables().adapters.items()
        if name in OPERATORS and kind_of_type(adapter.ge) not in (None, kind_of_operator(name))
    }
    # One operator of the engine stands for several of MindSpore's, which compute the same otherwise.
    assert apart == {}


def test_of_several_the_one_that_takes_longest_to_be_counted_out() -> None:
    assert strongest([Kind.MOVE, Kind.ELEMENTWISE, Kind.PRODUCT]) is Kind.PRODUCT
    assert strongest([]) is Kind.OTHER
