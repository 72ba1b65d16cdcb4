"""The structural check: every rule on a fused node refuses its own mistake, and right graphs pass."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.types import Literal, TensorType
from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, INT32
from attnfuse.mindir.schema import AttributeProto
from attnfuse.verify.graph.structure import check_interface, check_structure, new_findings
from tests.support.graphs import GraphBuilder, fill_type, transformer
from tests.verify.pairs import Block, Mistake

FAS, PFA = "FlashAttentionScore", "PromptFlashAttention"
FAS_SCALARS = {"heads": 10, "keep_prob": 11, "scale": 12, "pre": 13, "next": 14, "layout": 16, "sparse": 17}
PFA_SCALARS = {"heads": 12, "scale": 13, "pre": 14, "next": 15, "layout": 16, "kv_heads": 17, "sparse": 18}


def graph(node: str, **options: object) -> Model:
    return Block(node=node, **options).fused().model()  # type: ignore[arg-type]


def with_argument(node: str, position: int, value: Literal) -> Model:
    """A right graph, one argument of its fused node replaced by a constant."""
    builder = Block(node=node).fused()
    constant = builder.constant(value)
    proto = builder.build()
    nodes = list(proto.graph.node)
    fused = next(n for n in nodes if n.op_type == f"REF::{node}:0")
    fused.input[position] = constant
    made = next(n for n in nodes if n.output[0] == constant)
    rest = [n for n in nodes if n is not made]
    del proto.graph.node[:]
    proto.graph.node.extend([made, *rest])
    return Model(proto)


@pytest.mark.parametrize("node", [FAS, PFA])
@pytest.mark.parametrize("options", [{}, {"masked": True}, {"biased": True}, {"head": 24}, {"compute": BFLOAT16}])
def test_right_graphs_pass(node: str, options: dict[str, object]) -> None:
    block = Block(node=node, **options)  # type: ignore[arg-type]
    original, fused = block.original().model(), block.fused().model()
    assert check_structure(original) == []
    assert check_structure(fused) == []
    assert check_interface(original, fused) == []


SCALARS = [
    (FAS, "scale", math.nan, "has scale nan"),
    (FAS, "scale", 0.0, "has scale 0.0"),
    (PFA, "scale", math.inf, "has scale inf"),
    (FAS, "scale", 1, "has 1 as its scale_value, expected float"),
    (FAS, "heads", 3, "head count of 3, and a query of 4 heads"),
    (PFA, "heads", 0, "has 0 heads"),
    (FAS, "heads", True, "has True as its head_num"),
    (FAS, "keep_prob", 0.5, "drops weights at random"),
    (FAS, "pre", -1, "pre_tokens -1, which cuts off"),
    (PFA, "pre", 5, "pre_tokens 5, which cuts off"),
    (PFA, "next", 0, "next_tokens 0, which cuts off some of 12 keys"),
    (FAS, "layout", 4, "input_layout 4"),
    (FAS, "layout", 8, "input_layout 8"),
    (PFA, "layout", 2, "input_layout 2"),
    (PFA, "layout", 3, "head count of 4, and a query of 24 heads"),
    (PFA, "layout", 8, "is declared float16[2, 4, 24, 16] and gives float16[2, 24, 4, 16]"),
    (FAS, "sparse", 2, "sparse_mode 2 and no mask"),
    (PFA, "sparse", 4, "sparse_mode 4"),
    (PFA, "kv_heads", 3, "num_key_value_heads 3, and a key of 4 heads"),
    (FAS, "layout", 0, "query of rank 4 in layout BSH"),
]


@pytest.mark.parametrize(("node", "name", "value", "finding"), SCALARS)
def test_scalars(node: str, name: str, value: Literal, finding: str) -> None:
    position = (FAS_SCALARS if node == FAS else PFA_SCALARS)[name]
    found = check_structure(with_argument(node, position, value))
    assert any(finding in f for f in found), found


def test_a_scalar_that_is_computed() -> None:
    builder = Block().fused()
    proto = builder.build()
    fused = next(n for n in proto.graph.node if n.op_type == f"REF::{FAS}:0")
    fused.input[12] = fused.input[0]
    assert any("scale_value that is no constant" in f for f in check_structure(Model(proto)))


@pytest.mark.parametrize(("node", "count"), [(FAS, 18), (PFA, 20)])
def test_a_missing_argument(node: str, count: int) -> None:
    proto = Block(node=node).fused().build()
    fused = next(n for n in proto.graph.node if n.op_type == f"REF::{node}:0")
    del fused.input[-1]
    found = check_structure(Model(proto))
    assert any(f"has {count - 1} arguments, {node} takes {count}" in f for f in found)


@pytest.mark.parametrize(
    ("mistake", "finding"),
    [
        (Mistake(casts=(False, False, False)), "computes on float32"),
        (Mistake(casts=(True, True, False)), "mixes types: query float16, key float16, value float32"),
        (Mistake(casts=(True, False, True)), "mixes types: query float16, key float32, value float16"),
        (Mistake(slice_padding=False), "reshapes [2, 24, 4, 32] to [2, 24, 96]"),
    ],
)
@pytest.mark.parametrize("node", [FAS, PFA])
def test_casts_and_padding(node: str, mistake: Mistake, finding: str) -> None:
    found = check_structure(graph(node, mistake=mistake, head=16 if mistake.slice_padding else 24))
    assert any(finding in f for f in found), found


def test_a_dropped_restore_changes_the_interface() -> None:
    block = Block(mistake=Mistake(restore=False))
    found = check_interface(block.original().model(), block.fused().model())
    assert found == ["output CNode_24:24 was float32[2, 24, 64] and is float16[2, 24, 64]."]


def attention(
    *,
    node: str = FAS,
    query: tuple[int, ...] = (2, 4, 24, 16),
    key: tuple[int, ...] = (2, 4, 12, 16),
    value: tuple[int, ...] | None = None,
    mask: TensorType | None = None,
    bias: TensorType | None = None,
    layout: str = "BNSD",
    heads: int = 4,
    dtype: object = FLOAT16,
    kv_heads: int = 0,
) -> Model:
    g = GraphBuilder("one")
    kind = FLOAT16 if dtype is FLOAT16 else BFLOAT16
    q, k, v = g.input("q", query, kind), g.input("k", key, kind), g.input("v", value or key, kind)
    m = g.input("m", mask.dims, mask.dtype) if mask else None
    b = g.input("b", bias.dims, bias.dtype) if bias else None
    if node == FAS:
        out = g.flash_attention_score(q, k, v, heads=heads, scale=0.25, layout=layout, attn_mask=m, real_shift=b)
    else:
        out = g.prompt_flash_attention(
            q, k, v, heads=heads, scale=0.25, layout=layout, attn_mask=m, pse_shift=b, kv_heads=kv_heads
        )
    g.output(out)
    return g.model()


SHAPES: list[tuple[dict[str, object], str]] = [
    ({"key": (2, 4, 12, 32)}, "query head of 16 and a key head of 32"),
    ({"key": (3, 4, 12, 16)}, "operands of different batch"),
    ({"value": (2, 4, 13, 16)}, "operands of different length"),
    ({"value": (2, 2, 12, 16)}, "key of 4 heads and a value of 2"),
    ({"key": (2, 3, 12, 16)}, "4 query heads, no multiple of its 3 key heads"),
    ({"query": (2, 4, 24, 24), "key": (2, 4, 12, 24)}, "has a head of 24 elements, no multiple of 16"),
    ({"query": (2, 4, 24, 1024), "key": (2, 4, 12, 1024)}, "head of 1024 elements, more than 512"),
    ({"node": PFA, "query": (2, 4, 24, 24), "key": (2, 4, 12, 24), "dtype": BFLOAT16}, "no multiple of 16"),
    ({"node": PFA, "value": (2, 4, 12, 32)}, "query head of 16 and a value head of 32"),
    ({"query": (2, 24, 66), "key": (2, 12, 66), "layout": "BSH"}, "query of width 66, no multiple of its 4 heads"),
    ({"mask": TensorType((2, 1, 24, 12), FLOAT16)}, "has a mask of float16"),
    ({"mask": TensorType((24, 24), BOOL)}, "has a mask of [24, 24]"),
    ({"mask": TensorType((1, 24, 12), BOOL)}, "has a mask of [1, 24, 12]"),
    ({"node": PFA, "mask": TensorType((2, 4, 24, 12), BOOL)}, "has a mask of [2, 4, 24, 12]"),
    ({"bias": TensorType((2, 4, 24, 12), FLOAT32)}, "bias of float32 to a query of float16"),
    ({"bias": TensorType((2, 1, 24, 12), FLOAT16)}, "has a bias of [2, 1, 24, 12]"),
]


@pytest.mark.parametrize(("options", "finding"), SHAPES)
def test_shapes(options: dict[str, object], finding: str) -> None:
    found = check_structure(attention(**options))  # type: ignore[arg-type]
    assert any(finding in f for f in found), found


RIGHT: list[dict[str, object]] = [
    {"key": (2, 2, 12, 16)},
    {"node": PFA, "key": (2, 1, 12, 16)},
    {"node": PFA, "query": (2, 4, 24, 24), "key": (2, 4, 12, 24)},
    {"query": (2, 24, 64), "key": (2, 12, 64), "layout": "BSH"},
    {"node": PFA, "query": (2, 24, 64), "key": (2, 12, 32), "layout": "BSH", "kv_heads": 2},
    {"query": (24, 2, 64), "key": (12, 2, 64), "layout": "SBH"},
    {"query": (2, 24, 4, 16), "key": (2, 12, 4, 16), "layout": "BSND"},
    {"node": PFA, "query": (2, 24, 4, 16), "key": (2, 12, 2, 16), "layout": "BSND"},
    {"node": PFA, "key": (2, 2, 12, 16), "layout": "BNSD_BSND"},
    {"mask": TensorType((2, 4, 24, 12), BOOL)},
    {"node": PFA, "mask": TensorType((1, 24, 12), BOOL)},
    {"bias": TensorType((1, 4, 24, 12), FLOAT16)},
]


@pytest.mark.parametrize("options", RIGHT)
def test_right_shapes(options: dict[str, object]) -> None:
    assert check_structure(attention(**options)) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_statistic_taken_for_the_attention(index: int) -> None:
    g = GraphBuilder("one")
    q = g.input("q", (2, 4, 24, 16), FLOAT16)
    g.output(g.flash_attention_score(q, q, q, heads=4, scale=0.25, item=index))
    assert any(f"is read at index {index}" in f for f in check_structure(g.model()))


def change_declared(model: Model, op: str, tensor_type: TensorType) -> Model:
    node = next(n for n in model.nodes if n.op == op)
    shape = node.proto.attribute[0]
    shape.Clear()
    shape.name = "shape"
    fill_type(shape, tensor_type)
    return Model(model.proto)


def _padded(g: GraphBuilder, x: str) -> str:
    made = g.op("PadV3", x, np.array([0, 2]), np.zeros((), np.float32), dims=(4, 8))
    mode = g.proto.primitives[-1].attribute.add(name="mode", type=AttributeProto.STRING)
    mode.s = b"constant"
    return made


PLAIN: list[tuple[str, Callable[[GraphBuilder, str], str], TensorType]] = [
    ("Cast", lambda g, x: g.cast(x, FLOAT16), TensorType((4, 6), FLOAT32)),
    ("Cast", lambda g, x: g.cast(x, FLOAT16), TensorType((4, 7), FLOAT16)),
    ("Reshape", lambda g, x: g.reshape(x, (6, 4)), TensorType((4, 6), FLOAT32)),
    ("Reshape", lambda g, x: g.reshape(x, (2, -1)), TensorType((2, 6), FLOAT32)),
    ("Transpose", lambda g, x: g.transpose(x, (1, 0)), TensorType((4, 6), FLOAT32)),
    ("ExpandDims", lambda g, x: g.expand_dims(x, 1), TensorType((1, 4, 6), FLOAT32)),
    ("StridedSlice", lambda g, x: g.strided_slice(x, (0, 1), (4, 5)), TensorType((4, 5), FLOAT32)),
    ("ConstantPadND", lambda g, x: g.op("ConstantPadND", x, (0, 2), 0.0, dims=(4, 8)), TensorType((4, 7), FLOAT32)),
    ("PadV3", _padded, TensorType((4, 9), FLOAT32)),
    ("Add", lambda g, x: g.add(x, x), TensorType((4, 7), FLOAT32)),
    ("BroadcastTo", lambda g, x: g.op("BroadcastTo", x, (3, -1, 6), dims=(3, 4, 6)), TensorType((3, 6, 6), FLOAT32)),
    (
        "StridedSlice",
        lambda g, x: g.op("StridedSlice", x, (0, 0), (0, 5), (1, 1), 3, 1, 0, 0, 0, dims=(4, 5)),
        TensorType((4, 6), FLOAT32),
    ),
    ("TupleGetItem", lambda g, x: g.split_with_size(x, (2, 4), 1)[0], TensorType((4, 4), FLOAT32)),
]


@pytest.mark.parametrize(("op", "make", "wrong"), PLAIN)
def test_stale_types(op: str, make: Callable[[GraphBuilder, str], str], wrong: TensorType) -> None:
    g = GraphBuilder("plain")
    g.output(make(g, g.input("x", (4, 6))))
    model = g.model()
    assert check_structure(model) == []
    found = check_structure(change_declared(model, op, wrong))
    assert any(f"is declared {wrong}" in f for f in found), found


@pytest.mark.parametrize("declares", [True, False])
def test_an_output_whose_type_the_source_leaves_out_is_no_finding(declares: bool) -> None:
    """Where it says one, that one holds: the same output declared in other sizes is found."""
    g = GraphBuilder("plain")
    g.output(g.op("Neg", g.input("x", (4, 6))))
    before = g.model()
    for output in before.proto.graph.output:
        del output.tensor[:]
        if declares:
            output.tensor.add(data_type=FLOAT32.wire).dims.extend((4, 7))
    after = Model(type(before.proto).FromString(before.proto.SerializeToString()))
    assert bool(check_interface(before, after)) == declares


def test_a_permutation_that_is_none() -> None:
    g = GraphBuilder("plain")
    x = g.input("x", (4, 6))
    g.output(g.op("Transpose", x, (0, 0), dims=(4, 4)))
    assert any("permutes 2 axes by [0, 0]" in f for f in check_structure(g.model()))


def test_a_broadcast_that_is_none() -> None:
    g = GraphBuilder("plain")
    x = g.input("x", (4, 6))
    g.output(g.op("BroadcastTo", x, (4, 5), dims=(4, 5)))
    assert any("broadcasts [4, 6] to [4, 5]" in f for f in check_structure(g.model()))


def test_what_was_wrong_before_is_told_apart() -> None:
    before = attention(query=(2, 4, 24, 8), key=(2, 4, 12, 8))
    assert new_findings(before, before) == ([], check_structure(before))
    after = attention(query=(2, 4, 24, 8), key=(2, 4, 12, 8), mask=TensorType((3, 3), BOOL))
    new, old = new_findings(before, after)
    assert len(new) == 1
    assert "mask of [3, 3]" in new[0]
    assert len(old) == 1


def test_interface_weights_and_inputs() -> None:
    def changed(change: Callable[[GraphBuilder], object]) -> list[str]:
        builder = transformer(sites=1)
        change(builder)
        return check_interface(transformer(sites=1).model(), Model(builder.proto))

    def first(builder: GraphBuilder) -> GraphBuilder:
        builder.build()
        return builder

    assert changed(first) == []
    assert any(
        "holds other values" in f
        for f in changed(lambda g: setattr(first(g).graph.parameter[0], "raw_data", bytes(64 * 64 * 2)))
    )
    assert any("was float16" in f for f in changed(lambda g: first(g).graph.parameter[0].dims.append(1)))
    assert any("is new" in f for f in changed(lambda g: (g.weight("extra", (2, 2)), first(g))))
    assert any("is called" in f or "is now called" in f for f in changed(_rename_input))


def _rename_input(builder: GraphBuilder) -> None:
    proto = builder.build()
    old = proto.graph.input[0].name
    proto.graph.input[0].name = old + "2"
    for node in proto.graph.node:
        for i, value in enumerate(node.input):
            if value == old:
                node.input[i] = old + "2"


def test_a_constant_in_place_of_a_tensor() -> None:
    found = check_structure(with_argument(FAS, 6, 5))
    assert any("has the constant 5 in place of its attn_mask" in f for f in found)


def test_an_operand_that_needs_dropout() -> None:
    found = check_structure(with_argument(FAS, 4, np.zeros((3,), np.uint8)))
    assert any("is given a drop_mask" in f for f in found)


def test_integers_are_no_query() -> None:
    g = GraphBuilder("one")
    q = g.input("q", (2, 4, 24, 16), INT32)
    g.output(g.prompt_flash_attention(q, q, q, heads=4, scale=0.25))
    assert any("computes on int32" in f for f in check_structure(g.model()))
