"""Means of windows of an image."""

from __future__ import annotations

from typing import Any

from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, DType
from tests.passes.legalise.programs import In, Make, gives, kind
from tests.passes.legalise.support import Case, cases


def average(
    size: tuple[int, int], out: tuple[int, int], *arguments: Any, lead: tuple[int, ...] = (2, 3), dtype: DType = FLOAT32
) -> Make:
    """kernel, stride, padding, whether beyond the edge, whether padding counts, divisor."""
    given = (*arguments, *(False, True, None)[len(arguments) - 3 :])
    return gives("AvgPool2D", In("x", (*lead, *size), dtype), *given, out=kind(*lead, *out, dtype=dtype))


def adaptive(size: tuple[int, int], out: tuple[int, int], dtype: DType = FLOAT32) -> Make:
    return gives("AdaptiveAvgPool2DExt", In("x", (2, 3, *size), dtype), out, out=kind(2, 3, *out, dtype=dtype))


BLOCKS = ("Reshape", "ReduceMean")
EDGED = ("MakeTuple", "Concat", "Gather")
UNEVEN = (*EDGED, *EDGED, "Reshape", "ReduceSum", "Div")

cases(
    "pool",
    Case("AvgPool2D", average((4, 6), (2, 3), (2,), (2,), (0,)), BLOCKS, native=1e-6),
    Case("AvgPool2D in float16", average((4, 6), (2, 3), (2,), (2,), (0,), dtype=FLOAT16), BLOCKS, native=1e-3),
    Case("AvgPool2D in bfloat16", average((4, 6), (2, 3), (2,), (2,), (0,), dtype=BFLOAT16), BLOCKS, native=8e-3),
    Case("AvgPool2D of other sizes", average((4, 9), (2, 3), (2, 3), (2, 3), (0, 0)), BLOCKS, native=1e-6),
    Case(
        "AvgPool2D that leaves an edge",
        average((5, 7), (2, 3), (2,), (2,), (0,)),
        ("StridedSlice", "StridedSlice", *BLOCKS),
        native=1e-6,
    ),
    Case("AvgPool2D that overlaps", average((5, 7), (2, 3), (3,), (2,), (0,)), refused="not side by side"),
    Case("AvgPool2D that is padded", average((4, 6), (3, 4), (2,), (2,), (1,)), refused="not side by side"),
    Case(
        "AvgPool2D that goes beyond the edge",
        average((5, 6), (3, 3), (2,), (2,), (0,), True),
        refused="go beyond",
    ),
    Case(
        "AvgPool2D with a divisor",
        average((4, 6), (2, 3), (2,), (2,), (0,), False, True, 3),
        refused="not side by side",
    ),
    Case("AdaptiveAvgPool2DExt", adaptive((4, 6), (2, 3)), BLOCKS, native=1e-6),
    Case("AdaptiveAvgPool2DExt of windows of two lengths", adaptive((11, 20), (4, 4)), UNEVEN, native=1e-6),
    Case("AdaptiveAvgPool2DExt to more", adaptive((4, 6), (8, 9)), UNEVEN, native=1e-6),
    Case(
        "AdaptiveAvgPool2DExt in float16",
        adaptive((11, 20), (4, 4), FLOAT16),
        ("Cast", *UNEVEN, "Cast"),
        native=1e-3,
    ),
)
