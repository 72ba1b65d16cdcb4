"""What the operator table answers where readers of graphs had lists of operators, and how the answers differ.

The lists stand here as they were, so that what the table adds or takes away is stated once and held.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from attnfuse.dynamic.rows import is_filled, is_repeated
from attnfuse.ir.graph import Model, Node
from attnfuse.ir.operators.columns import Effect, Hands, Kernel, Role
from attnfuse.ir.operators.row import Operator
from attnfuse.ir.operators.table import OPERATORS
from attnfuse.ir.questions import (
    COPIES,
    ELEMENTS,
    LAYOUTS,
    SEQUENCES,
    argument_name,
    factor_positions,
    factors,
    hands,
    keeps_order,
    makes_tuple,
    orders_effects,
    role,
    sizes_position,
    source,
    takes_element,
)
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import FLOAT32
from attnfuse.verify.graph.known import handed_on
from attnfuse.verify.numbers.accuracy import _LAYERS
from attnfuse_passes.attention.census import ends_layer
from attnfuse_passes.attention.identities.registry import all_identities
from tests.support.graphs import GraphBuilder

KIND = TensorType((2, 3), FLOAT32)


def _node(op: str, *inputs: str) -> Node:
    g = GraphBuilder()
    values = [g.input(name, KIND.dims) for name in inputs]
    made = g.node(op, values, KIND)
    g.output(made)
    found = Model(g.proto).producer(made)
    assert found is not None
    return found


@dataclass(frozen=True)
class Replaced:
    """A list as it was, the answer that stands for it, and what that adds and takes away."""

    where: str
    old: str
    asks: Callable[[Operator], bool]
    gains: str = ""
    loses: str = ""


_COPIES = "Clone Contiguous Identity StopGradient"
_VIEWS = "View ViewAs ReshapeView ExpandDimsView SqueezeView Flatten"
_TURNED = "TransposeExtView TExt ReverseV2"
_REPEATS = "BroadcastToView ExpandAs Repeat"
_SPLITS = (
    "Chunk ChunkView Split SplitTensor SplitTensorView SplitV SplitWithSize SplitWithSizeView Unstack UnstackExtView"
)
_PICKS = (
    "GatherD GatherNd IndexSelect Narrow NarrowView SelectExtView SliceExtView ReflectionPad1D ReflectionPad2D "
    "ReflectionPad3D ReplicationPad1D ReplicationPad2D ReplicationPad3D ResizeNearestNeighbor "
    f"ResizeNearestNeighborV2 UpsampleNearest1D UpsampleNearest2D UpsampleNearest3D TupleGetItem {_SPLITS}"
)
_UPDATES = ("ScatterUpdate", "ScatterNdUpdate")
_SCATTERS = " ".join(name for name in OPERATORS if name.startswith("Scatter") and name not in _UPDATES)
_BEGINNINGS = (
    *("Dense", "Addmm", "Conv", "LayerNorm", "GroupNorm", "BatchNorm", "RmsNorm", "Softmax", "LogSoftmax", "TopK"),
)
_LOOKUPS = "Gather Embedding EmbeddingLookup Index"

REPLACED = (
    Replaced("modules", "Load TensorMove Cast Depend", lambda row: row.value.hands in COPIES, _COPIES),
    Replaced(
        "producers: handed on",
        "BroadcastTo ExpandDims Reshape Squeeze StridedSlice Tile Transpose TransposeView RepeatInterleaveInt SliceExt "
        "Slice",
        lambda row: row.value.hands in ELEMENTS - {Hands.CONVERTED},
        f"{_COPIES} TensorMove Load Depend {_VIEWS} FlattenExt {_TURNED} {_REPEATS} {_PICKS} {_LOOKUPS}",
    ),
    Replaced(
        "producers: a slice",
        "StridedSlice SliceExt Slice",
        lambda row: row.value.hands is Hands.PICKED and row.role is not Role.LOOKUP,
        _PICKS,
    ),
    Replaced(
        "producers: repeated",
        "BroadcastTo Tile RepeatInterleaveInt",
        lambda row: row.value.hands is Hands.REPEATED,
        _REPEATS,
    ),
    Replaced(
        "values: sets",
        "Reshape ExpandDims Squeeze FlattenExt Transpose TransposeView BroadcastTo Tile StridedSlice "
        "RepeatInterleaveInt Contiguous Clone TensorMove Load Depend Cast Gather EmbeddingLookup Index Embedding",
        lambda row: row.value.hands in ELEMENTS,
        f"Identity StopGradient {_VIEWS} {_TURNED} {_REPEATS} {_PICKS} Slice SliceExt",
    ),
    Replaced(
        "values: learned",
        "Load Cast Transpose TransposeView Reshape ExpandDims StridedSlice Tile BroadcastTo Contiguous TensorMove "
        "Gather Embedding EmbeddingLookup Index",
        lambda row: row.value.hands in ELEMENTS,
        f"Identity StopGradient Clone Depend {_VIEWS} Squeeze FlattenExt {_TURNED} {_REPEATS} RepeatInterleaveInt "
        f"{_PICKS} Slice SliceExt",
    ),
    Replaced(
        "anchor: a weight as key",
        "Load Depend",
        lambda row: row.value.hands is Hands.SAME,
        f"{_COPIES} TensorMove",
    ),
    # Scatter makes a new tensor; BatchNorm writes its statistics, Generator its state, Embedding norms its table.
    Replaced(
        "effects: writes",
        " ".join(name for name in OPERATORS if name.startswith(("Inplace", "Assign", "Scatter"))),
        lambda row: row.memory.effect is Effect.WRITES,
        "KVCacheScatterUpdate BatchNorm Embedding Generator",
        _SCATTERS,
    ),
    Replaced(
        "effects: other names",
        " ".join(name for name in OPERATORS if name.endswith("View") or name == "TupleGetItem"),
        lambda row: row.memory.effect is Effect.ALIAS,
        "Reshape ExpandDims Squeeze Flatten FlattenExt Contiguous Identity StopGradient Depend ViewAs TExt MakeTuple "
        "make_list MakeList",
    ),
    Replaced(
        "inplace: same memory",
        "Reshape ExpandDims Squeeze FlattenExt Contiguous Depend TupleGetItem "
        + " ".join(name for name in OPERATORS if name.endswith("View")),
        lambda row: (row.memory.effect is Effect.ALIAS and row.role is not Role.TUPLE) or row.name == "TupleGetItem",
        "Flatten Identity StopGradient ViewAs TExt",
    ),
    Replaced("effects: reads", "Load", lambda row: row.memory.effect is Effect.READS),
    Replaced("handed on in order", "Load Depend", lambda row: keeps_order(_node(row.name))),
    Replaced("tuples", "MakeTuple make_list MakeList", lambda row: makes_tuple(_node(row.name))),
    Replaced("elements", "TupleGetItem", lambda row: takes_element(_node(row.name))),
    Replaced(
        "structure: readers of a tuple",
        "UpdateState Depend MakeTuple",
        lambda row: any(asks(_node(row.name)) for asks in (orders_effects, keeps_order, makes_tuple)),
        "Load make_list MakeList",
    ),
    Replaced("fuse: fused", "FlashAttentionScore PromptFlashAttention", lambda row: row.role is Role.FUSED_ATTENTION),
    Replaced("fuse: formulas", "Softmax", lambda row: row.role is Role.SOFTMAX),
    Replaced("mask: tests for NaN", "IsNan IsNaN", lambda row: row.role is Role.NAN_TEST),
    Replaced(
        "chain: ends",
        " ".join(name for name in OPERATORS if name.startswith(_BEGINNINGS)),
        lambda row: ends_layer(_node(row.name)),
        "AddLayerNorm AddRmsNorm L2Normalize",
    ),
    Replaced(
        "baseline: products",
        "MatMulExt BatchMatMulExt MatMul BatchMatMul Baddbmm",
        lambda row: row.role is Role.PRODUCT,
        "Mm Matmul Bmm Einsum",
    ),
    Replaced(
        "site numbers: products that add",
        "Baddbmm",
        lambda row: row.role is Role.PRODUCT and factor_positions(_node(row.name, "x", "y", "z")) != (0, 1),
    ),
    Replaced(
        "accuracy: layers",
        "Dense MatMul MatMulExt BatchMatMul BatchMatMulExt Baddbmm Addmm PromptFlashAttention "
        + " ".join(name for name in OPERATORS if name.startswith("Conv")),
        lambda row: role(_node(row.name)) in _LAYERS or row.kernel is Kernel.CONVOLUTION,
        "Mm Matmul Bmm Einsum FlashAttentionScore",
    ),
    Replaced(
        "uniform: copies",
        "Cast Reshape ExpandDims Squeeze Transpose BroadcastTo Tile Contiguous Clone TensorMove StridedSlice",
        lambda row: row.value.hands in ELEMENTS,
        f"Identity StopGradient Load Depend TransposeView {_VIEWS} FlattenExt {_TURNED} {_REPEATS} "
        f"RepeatInterleaveInt {_PICKS} {_LOOKUPS} Slice SliceExt",
    ),
    Replaced(
        "inputs: through",
        "Cast Reshape ExpandDims Load Depend FlattenExt Squeeze BroadcastTo StridedSlice",
        lambda row: row.value.hands in ELEMENTS,
        f"Contiguous Clone TensorMove Identity StopGradient Transpose TransposeView {_VIEWS} {_TURNED} {_REPEATS} Tile "
        f"RepeatInterleaveInt {_PICKS} {_LOOKUPS} Slice SliceExt",
    ),
    Replaced(
        "support: without a kernel",
        "Depend Load MakeTuple TupleGetItem UpdateState make_list",
        lambda row: row.role is Role.TUPLE or keeps_order(_node(row.name)) or orders_effects(_node(row.name)),
        "MakeList",
    ),
    # A view of the same memory is not replaced by a copy: BroadcastToView stays out.
    Replaced("dynamic: repeated", "Tile BroadcastTo", lambda row: is_repeated(_node(row.name, "x")), "Repeat"),
    Replaced(
        "dynamic: filled",
        "FillV2 Zeros Ones",
        lambda row: is_filled(_node(row.name)),
        "FillScalar FillTensor NewZeros NewOnes NewFull",
    ),
    Replaced(
        "dynamic: reshaped",
        "Reshape",
        lambda row: row.value.hands is Hands.REGROUPED and argument_name(_node(row.name), 1) == "shape",
        "ReshapeView View",
    ),
    Replaced(
        "readers: moves",
        "Cast Reshape ExpandDims Load Depend FlattenExt Flatten Squeeze BroadcastTo BroadcastToView ExpandAs "
        "StridedSlice Slice SliceExt SliceExtView Narrow NarrowView SelectExtView Transpose TransposeView "
        "TransposeExtView Tile Repeat RepeatInterleaveInt Contiguous Clone TensorMove Identity StopGradient "
        "TupleGetItem Split SplitTensor SplitTensorView SplitWithSize SplitWithSizeView Chunk ChunkView UnstackExtView "
        "Unstack Triu Tril TrilExt ReverseV2",
        lambda row: handed_on(_node(row.name, *"xyz")) is not None,
        "View ViewAs ReshapeView ExpandDimsView SqueezeView TExt SplitV GatherD GatherNd IndexSelect ReflectionPad1D "
        "ReflectionPad2D ReflectionPad3D ReplicationPad1D ReplicationPad2D ReplicationPad3D ResizeNearestNeighbor "
        "ResizeNearestNeighborV2 UpsampleNearest1D UpsampleNearest2D UpsampleNearest3D",
    ),
    Replaced(
        "readers: joins",
        "MakeTuple make_list MakeList Concat Stack StackExt Meshgrid",
        lambda row: row.value.hands is Hands.JOINED,
    ),
    # Writes have no lowering but Inplace…: the rest is refused as before. Embedding writes with a largest norm only.
    Replaced(
        "lowering: in place",
        " ".join(name for name in OPERATORS if name.startswith("Inplace")),
        lambda row: row.memory.effect is Effect.WRITES,
        " ".join(name for name in OPERATORS if name.startswith("Assign"))
        + " ScatterUpdate ScatterNdUpdate KVCacheScatterUpdate BatchNorm Embedding Generator",
    ),
    Replaced(
        "site numbers: factors that are none",
        "Cast Reshape",
        lambda row: row.value.hands in LAYOUTS,
        f"{_COPIES} TensorMove Load Depend {_VIEWS} ExpandDims Squeeze FlattenExt Transpose TransposeView {_TURNED}",
    ),
    Replaced(
        "values: computed in the same order",
        "Load Reshape ExpandDims Squeeze FlattenExt Contiguous Clone TensorMove",
        lambda row: row.value.hands in SEQUENCES,
        f"Depend Identity StopGradient {_VIEWS}",
    ),
    Replaced("effects: order", "UpdateState", lambda row: orders_effects(_node(row.name))),
)


@pytest.mark.parametrize("replaced", REPLACED, ids=[replaced.where for replaced in REPLACED])
def test_what_the_table_answers_for_a_list(replaced: Replaced) -> None:
    old, new = set(replaced.old.split()), {name for name, row in OPERATORS.items() if replaced.asks(row)}
    assert new - old == set(replaced.gains.split())
    assert old - new == set(replaced.loses.split())


@pytest.mark.parametrize(
    ("op", "ways", "position"),
    [
        ("Cast", COPIES, 0),
        ("Reshape", COPIES, None),
        ("Reshape", LAYOUTS, 0),
        ("Tile", LAYOUTS, None),
        ("Embedding", ELEMENTS, 1),
        ("Add", ELEMENTS, None),
        ("NoOperatorAtAll", ELEMENTS, None),
    ],
)
def test_source_is_the_argument_that_the_row_names(op: str, ways: frozenset[Hands], position: int | None) -> None:
    node = _node(op, "x", "y")
    assert source(node, ways) == (None if position is None else node.inputs[position])


def test_an_argument_that_is_not_there_is_no_source() -> None:
    assert source(_node("Embedding", "indices"), ELEMENTS) is None


def test_factors_follow_what_is_added() -> None:
    assert factors(_node("Dense", "x", "w", "b")) == tuple(_node("Dense", "x", "w", "b").inputs[:2])
    assert factors(_node("Addmm", "b", "x", "w")) == tuple(_node("Addmm", "b", "x", "w").inputs[1:])
    assert factors(_node("Addmm", "b", "x")) is None
    assert factors(_node("Add", "x", "y")) is None


def test_sort_of_a_node() -> None:
    assert (hands(_node("Load", "x")), role(_node("Load", "x"))) == (Hands.SAME, None)
    assert (hands(_node("Softmax", "x")), role(_node("Softmax", "x"))) == (Hands.COMPUTED, Role.SOFTMAX)


def test_the_identity_of_regrouped_axes_is_about_operators_that_regroup() -> None:
    """Those that its rule can follow by shape alone; of the others no exporter here writes any between products."""
    (identity,) = (identity for identity in all_identities() if identity.name == "layout.reshape")
    regroup = {name for name, row in OPERATORS.items() if row.value.hands is Hands.REGROUPED}
    assert regroup - set(identity.ops) == {"View", "ViewAs", "Flatten"}
    assert set(identity.ops) <= regroup


def test_arguments_by_name() -> None:
    assert argument_name(_node("StridedSlice", "x", "begin", "end"), 2) == "end"
    assert argument_name(_node("NoOperatorAtAll", "x"), 0) == "0"
    assert sizes_position(_node("NewZeros", "x")) == 1
    assert sizes_position(_node("Add", "x", "y")) is None
