"""Kinds of kernels: what an estimate and a device's profile can both be summed up by.

An estimate names the operators of MindSpore, a profile those of CANN's graph engine, after it has made others of them.
May import `sorts` of this package and `attnfuse.targets`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cache
from types import MappingProxyType

from attnfuse.cost.sorts import COMPUTES, TRANSDATA, Sort, sort_named
from attnfuse.ir.operators.table import OPERATORS
from attnfuse.targets.ge import tables

FUSED_REGION = "AutomaticBufferFusionOp"
"""The type of what the engine's fusion of elementwise operators makes: a region, on some SoCs with a product in it."""


class Kind(Enum):
    """A kind of kernels; of a kernel of several operators the first of these that is among them."""

    ATTENTION = "fused attention"
    CONVOLUTION = "convolutions"
    PRODUCT = "matrix products"
    NORM = "normalisations"
    SOFTMAX = "softmax"
    REDUCTION = "reductions"
    RESIZE = "resizes"
    ELEMENTWISE = "elementwise"
    MOVE = "moves of data"
    FORMAT = "format changes"
    OTHER = "other"


_BY_SORT: Mapping[Sort, Kind] = MappingProxyType(
    {
        Sort.ATTENTION: Kind.ATTENTION,
        Sort.CONVOLUTION: Kind.CONVOLUTION,
        Sort.PRODUCT: Kind.PRODUCT,
        Sort.NORM: Kind.NORM,
        Sort.GROUP_NORM: Kind.NORM,
        Sort.SOFTMAX: Kind.SOFTMAX,
        Sort.REDUCE: Kind.REDUCTION,
        Sort.RESIZE: Kind.RESIZE,
        Sort.ELEMENTWISE: Kind.ELEMENTWISE,
        **dict.fromkeys(
            (Sort.TRANSPOSE, Sort.CONCAT, Sort.SPLIT, Sort.PICK, Sort.PAD, Sort.COPY, Sort.WRITE), Kind.MOVE
        ),
    }
)
_ENGINES: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {
        Kind.ATTENTION: ("FusedInferAttentionScore", "IncreFlashAttention"),
        Kind.CONVOLUTION: ("Conv2DV2", "Conv3DV2", "DepthwiseConv2D"),
        Kind.PRODUCT: ("MatMul", "MatMulV3", "BatchMatMulV2", "BatchMatMulV3", "TransposeBatchMatMul"),
        Kind.NORM: ("AddRmsNorm", "GroupNorm", "GroupNormV2", "InplaceAddRmsNorm", "InstanceNorm", "LayerNormV4"),
        Kind.RESIZE: ("Resize", "ResizeNearestNeighborV2", "UpsampleNearest"),
        Kind.ELEMENTWISE: (FUSED_REGION, "Adds", "ApplyRotaryPosEmb", "Axpy", "GeluV2", "Muls", "RotaryMul", "SwiGlu"),
        Kind.MOVE: ("Concat", "ConcatV2", "ConfusionTranspose", "GatherV2", "Split", "SplitV", "StridedSlice"),
        Kind.FORMAT: (TRANSDATA,),
    }
)
"""What the engine makes of others, or has in their place (CANN 8.1, fusion_config.json; published profiles of 910B)."""


def kind_of_operator(name: str) -> Kind:
    """The kind of one of MindSpore's operators, as estimates name them."""
    if name == TRANSDATA:
        return Kind.FORMAT
    return _BY_SORT.get(COMPUTES.get(name) or sort_named(name, several=False), Kind.MOVE)


def strongest(kinds: Iterable[Kind]) -> Kind:
    """The kind of a kernel of several operators, by theirs; OTHER of none."""
    found = set(kinds)
    return next((kind for kind in Kind if kind in found), Kind.OTHER)


def kind_of_type(name: str) -> Kind | None:
    """The kind of an operator as a profile of CANN names it; None for one that nobody here knows.

    Where the engine knows what an operator is given beside tensors, it runs one of the same name and a D: `SplitVD`.
    """
    known = _by_type()
    return known.get(name) or known.get(name.removesuffix("D"))


@cache
def _by_type() -> Mapping[str, Kind]:
    found: dict[str, Kind] = {}
    for primitive, adapter in tables().adapters.items():
        if primitive in OPERATORS and sort_named(primitive, several=False) in _BY_SORT:
            found.setdefault(adapter.ge, kind_of_operator(primitive))
    found.update((name, kind) for kind, names in _ENGINES.items() for name in names)
    return MappingProxyType(found)
