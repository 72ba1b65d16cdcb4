"""Which sort of work an operator is to CANN's graph engine, by the columns of its row; few need their name.

May import `attnfuse.ir`.
"""

from __future__ import annotations

from enum import Enum

from attnfuse.ir.graph import Node
from attnfuse.ir.operators.columns import Effect, Hands, Kernel, Role
from attnfuse.ir.operators.row import Operator
from attnfuse.ir.operators.table import operator


class Sort(Enum):
    """What becomes of an operator in the compiled graph."""

    SAME = "dropped: hands on its first tensor"
    VIEW = "no task: another shape of the same memory"
    TUPLE = "puts values together"
    ELEMENT = "takes a value out of a tuple"
    NUMBERS = "numbers and order, known when the graph is compiled"
    CONTROL = "decides what runs"
    CREATE = "written when the graph is compiled"
    ELEMENTWISE = "each element by itself: may become part of a region"
    REDUCE = "a reduction, which may take elementwise neighbours in"
    SOFTMAX = "a softmax"
    NORM = "a normalisation that reads its operand once"
    GROUP_NORM = "a normalisation by groups of channels: reads its operand twice"
    PRODUCT = "a matrix product"
    CONVOLUTION = "a convolution"
    ATTENTION = "a fused attention"
    TRANSPOSE = "other axes"
    CONCAT = "joins values along an axis"
    SPLIT = "parts of a value, all of them"
    PICK = "reads what it writes"
    PAD = "writes more than it reads"
    RESIZE = "a picture in another size"
    COPY = "reads all, writes all"
    WRITE = "changes memory in place"


_BY_NAME: dict[str, Sort] = {
    # Functions as values: which of them runs is known at run time only.
    **dict.fromkeys(("Partial", "Switch"), Sort.CONTROL),
    # Rows call these elementwise, as their numbers are; CANN has a kernel of its own for each (AscendC, no UB fusion).
    **dict.fromkeys(("RotaryPositionEmbedding", "GeGluV2", "Swiglu", "Custom"), Sort.COPY),
    # Kernels of their own as well, which unlike other norms take row-major memory only.
    **dict.fromkeys(("AddLayerNorm", "RmsNorm"), Sort.COPY),
    **dict.fromkeys(("Tril", "TrilExt", "Triu"), Sort.COPY),
    # Rows call these reductions, as an axis is gone through; CANN's rule for reductions does not take them.
    **dict.fromkeys(("CumSum", "CumsumExt", "TopK", "Unique2", "AvgPool2D", "AdaptiveAvgPool2DExt"), Sort.COPY),
    # Each group of channels is summed up before its elements are written: the operand is read twice. Other norms keep
    # a row in the core.
    **dict.fromkeys(("GroupNorm", "GroupNormSilu"), Sort.GROUP_NORM),
    # Pads have no column of their own: constants are computed, mirrored values are picked.
    **dict.fromkeys(("ConstantPadND", "PadV3"), Sort.PAD),
    **dict.fromkeys((f"{way}Pad{axes}D" for way in ("Reflection", "Replication") for axes in (1, 2, 3)), Sort.PAD),
    # Nor have resizes, which unlike other picks take and give the format of convolutions.
    **dict.fromkeys(("ResizeNearestNeighbor", "ResizeNearestNeighborV2"), Sort.RESIZE),
    **dict.fromkeys((f"UpsampleNearest{axes}D" for axes in (1, 2, 3)), Sort.RESIZE),
}
COMPUTES: dict[str, Sort] = {
    **dict.fromkeys(("AddLayerNorm", "RmsNorm"), Sort.NORM),
    **dict.fromkeys(("Custom", "GeGluV2", "RotaryPositionEmbedding", "Swiglu"), Sort.ELEMENTWISE),
    **dict.fromkeys(("AdaptiveAvgPool2DExt", "AvgPool2D", "CumSum", "CumsumExt"), Sort.REDUCE),
}
"""What those compute whose sort above only says how much they read and write."""
_BY_KERNEL: dict[Kernel, Sort] = {
    Kernel.ELEMENTWISE: Sort.ELEMENTWISE,
    Kernel.REDUCE: Sort.REDUCE,
    Kernel.NORM: Sort.NORM,
    Kernel.SOFTMAX: Sort.SOFTMAX,
    Kernel.PRODUCT: Sort.PRODUCT,
    Kernel.CONVOLUTION: Sort.CONVOLUTION,
    Kernel.ATTENTION: Sort.ATTENTION,
    Kernel.CREATE: Sort.CREATE,
}
_BY_HANDS: dict[Hands, Sort] = {
    Hands.SAME: Sort.SAME,
    Hands.REGROUPED: Sort.VIEW,
    Hands.MOVED: Sort.TRANSPOSE,
    Hands.JOINED: Sort.CONCAT,
    Hands.PICKED: Sort.PICK,
}

TRANSDATA = "TransData"
"""What CANN calls the kernel that turns one format into another."""
MATRIX_ADDITIONS = frozenset({"Add", "AddExt", "BiasAdd"})
"""What adds a bias behind a product."""
CHANNEL_ADDITIONS = frozenset({"BiasAdd"})
"""What adds a bias behind a convolution: an Add of [1, C, 1, 1] is not taken."""
ADDITIONS = frozenset({"Add", "AddExt"})
"""What becomes one kernel with the LayerNorm behind it."""
TRANSPOSED_CONVOLUTIONS = frozenset({"ConvTranspose2D", "Conv2DTranspose", "Conv2DBackpropInput", "Conv3DTranspose"})
"""Convolutions whose arithmetic goes by their operand, not by their result."""
MATRIX_TRANSPOSES = frozenset({"TExt"})
"""What swaps the last two axes without being told which."""
LAYER_NORMS = frozenset({"LayerNorm", "LayerNormV3", "LayerNormExt"})


def sort_of(node: Node, several: bool) -> Sort:
    """The sort of a node that is no call and no constant; `several` tells whether its value is a tuple."""
    return sort_named(node.op, several)


def sort_named(name: str, several: bool) -> Sort:
    """The sort of an operator by its name; `several` as for `sort_of`."""
    row = operator(name)
    sort = _BY_NAME.get(name)
    if sort is not None:
        return sort
    if row.kernel is Kernel.HOST:
        return _host(row)
    if row.memory.effect is Effect.WRITES and row.kernel is Kernel.MOVE and not row.value.argument:
        return Sort.WRITE
    if row.kernel in (Kernel.MOVE, Kernel.VIEW):
        sort = _BY_HANDS.get(row.value.hands, Sort.COPY)
        return Sort.SPLIT if sort is Sort.PICK and several else sort
    return _BY_KERNEL[row.kernel]


def _host(row: Operator) -> Sort:
    if row.role is Role.TUPLE:
        return Sort.TUPLE if row.value.hands is Hands.JOINED else Sort.ELEMENT
    return Sort.SAME if row.value.hands is Hands.SAME else Sort.NUMBERS
