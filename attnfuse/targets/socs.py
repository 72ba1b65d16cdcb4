"""What the cost model knows of each SoC: published peak figures, and what CANN's graph engine does for it.

Nothing here was measured by this project; a time worked out from peak figures is a lower bound. Each figure has its
source and how sure it is: "high" where its maker says so, "medium" where others say so and it can be worked out from
the maker's data, "low" where it was carried over from a near relative. Free of protobuf.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias

Confidence: TypeAlias = Literal["high", "medium", "low"]

_MSMODELING = "Huawei's simulator msmodeling (github.com/Ascend/msmodeling 1e5b50b1, tensor_cast/device.py)"
_ENGINE = "CANN's graph engine (hicann/ge ffdcbc9f) and the configuration and fusion rules of CANN 8.1"


@dataclass(frozen=True, slots=True)
class Figure:
    """A published number, where it is from, and how sure it is."""

    value: float
    source: str
    confidence: Confidence


@dataclass(frozen=True, slots=True)
class Soc:
    """One SoC. `bandwidth` is that of its memory in bytes a second, `arithmetic` that of its matrix unit in floating
    point operations a second, by element type; a type that is not there has no published figure.
    """

    name: str
    part: str
    """The part that the figures are of, where a SoC's name stands for several."""
    bandwidth: Figure
    arithmetic: Mapping[str, Figure]
    region_limit: int
    """Most elementwise operations in one kernel."""
    add_layer_norm: bool
    """Whether an Add and the LayerNorm behind it become one kernel."""
    fuses_behind_products: bool
    """Whether a product or convolution takes in the elementwise operations behind it."""
    products_in_blocks: bool
    """Whether products take and give FRACTAL_NZ; ND otherwise."""
    rules_source: str = _ENGINE
    rules_confidence: Confidence = field(default="medium")


def _terabytes(value: float, source: str, confidence: Confidence) -> Figure:
    return Figure(value * 2**40, source, confidence)


def _tera(source: str, confidence: Confidence, **values: float) -> Mapping[str, Figure]:
    return MappingProxyType({name: Figure(value * 1e12, source, confidence) for name, value in values.items()})


_A2 = (
    f"{_MSMODELING}, ATLAS_800_A2_376T_64G; float16 as in the Atlas 800T A2 white paper; bfloat16 is what the 24 cube "
    "cores of Ascend910B2.ini come to at 1.8 GHz"
)
_A3 = f"{_MSMODELING}, ATLAS_800_A3_752T_128G_DIE: one of the two dies of a package, which a program sees as a device"
_300I = (
    "Atlas 300I Pro: 70 TFLOPS in float16, 204.8 GB/s (tables of others; the 8 cores of Ascend310P3.ini come to 70.8 "
    "at 1.08 GHz, and the Atlas 300I Duo of two chips is sold with 408 GB/s)"
)
_HOT_CHIPS = "Huawei at Hot Chips 31 (2019), as retold by others"

SPECIFICATIONS: Mapping[str, Soc] = MappingProxyType(
    {
        soc.name: soc
        for soc in (
            Soc(
                "ascend310p",
                "310P3",
                Figure(204.8e9, _300I, "medium"),
                _tera(_300I, "medium", float16=70.0),
                region_limit=6,
                add_layer_norm=False,
                fuses_behind_products=True,
                products_in_blocks=True,
            ),
            Soc(
                "ascend910",
                "910A",
                Figure(1.2e12, _HOT_CHIPS, "low"),
                _tera(_HOT_CHIPS, "medium", float16=256.0),
                # Of the same generation of cores as 310P, and listed beside it by most fusion rules.
                region_limit=6,
                add_layer_norm=False,
                fuses_behind_products=True,
                products_in_blocks=True,
                rules_source="carried over from ascend310p",
                rules_confidence="low",
            ),
            Soc(
                "ascend910b",
                "910B2",
                # The larger reading of "1.6 TB/s", which is the simulator's: a bound stays one.
                _terabytes(1.6, _A2, "medium"),
                _tera(_A2, "high", float16=376.0, bfloat16=353.9, float32=99.5),
                region_limit=29,
                add_layer_norm=True,
                fuses_behind_products=False,
                products_in_blocks=False,
            ),
            Soc(
                "ascend910_93",
                "910C, one die",
                _terabytes(1.6, _A3, "medium"),
                _tera(_A3, "high", float16=376.0, bfloat16=353.9, float32=99.5),
                region_limit=29,
                add_layer_norm=True,
                fuses_behind_products=False,
                products_in_blocks=False,
                rules_source=f"{_ENGINE}, which lists it with ascend910b",
            ),
        )
    }
)
"""Every SoC by name."""
