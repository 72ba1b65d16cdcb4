"""Multiplications and additions of the kernels that have many: products, convolutions and fused attention.

May import `attnfuse.ir`.
"""

from __future__ import annotations

from math import prod

from attnfuse.ir.operators.attention import LAYOUTS

_CAUSAL = (2, 3)
"""Values of sparse_mode under which a row sees the keys up to its own place (MindSpore 2.7.1)."""


def product_flops(right: tuple[int, ...], result: tuple[int, ...]) -> float:
    """Of a matrix product: two for each element of the result and each of the axis that is summed up.

    `right` is the second factor, in either orientation: [..., K, N], [..., N, K] or [K].
    """
    summed = right[0] if len(right) == 1 else right[-2] * right[-1] // max(result[-1], 1)
    return 2.0 * prod(result) * summed


def convolution_flops(weight: tuple[int, ...], result: tuple[int, ...]) -> float:
    """Of a convolution with `weight` [out, in / groups, ...] into `result` [N, out, ...]."""
    return 2.0 * prod(result) * prod(weight[1:])


def transposed_convolution_flops(weight: tuple[int, ...], operand: tuple[int, ...]) -> float:
    """Of a transposed convolution with `weight` [in, out / groups, ...] from `operand` [N, in, ...]."""
    return 2.0 * prod(operand) * prod(weight[1:])


def attention_flops(
    layout_number: int, sparse_mode: int, query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...]
) -> float:
    """Of a fused attention: both products over all keys, over half of them where the mask is causal.

    The softmax between is not counted.
    """
    layout = LAYOUTS[layout_number].partition("_")[0]
    rows = key[0] if layout == "TND" else key[layout.index("S")]
    # Each element of the query meets each key once; the value's width is the result's.
    width = value[-1] if layout.endswith("D") else value[-1] * query[-1] // key[-1]
    wide = prod(query) // query[-1] * width
    return 2.0 * (prod(query) + wide) * rows * (0.5 if sparse_mode in _CAUSAL else 1.0)
