"""Which layout is taken, what is told of it, and what is left beside the node.

What is then written: fixtures/fuse/layouts.txt.
"""

from __future__ import annotations

import pytest

from attnfuse.decisions import SiteRecord
from attnfuse.ir.graph import Model
from attnfuse.ir.text import infer, parse_program, signature
from attnfuse.report.beside import beside
from attnfuse.report.explain import explain
from tests.support.fusing import fuse

B, N, S, D = 2, 4, 6, 16
OPERANDS = {
    "linear": "{name} = Transpose(Reshape(Dense({x}, w, None), ({b}, {s}, 4, 16)), (0, 2, 1, 3))",
    "computed": "{name} = Add(Transpose(Reshape({x}, ({b}, {s}, 4, 16)), (0, 2, 1, 3)), r)",
    "cut": "{name} = Transpose(Reshape({cut}, ({b}, {s}, 4, 16)), (0, 2, 1, 3))",
}
RESULTS = {
    "linear": "Dense(Reshape(Transpose(o, (0, 2, 1, 3)), ({b}, {s}, 64)), w, None)",
    "cut": "p = Reshape(Transpose(o, (0, 2, 1, 3)), ({b}, {s}, 64)); Sin(StridedSlice(p, (0, 0, 0), ({b}, 3, 64),"
    " (1, 1, 1), 0, 0, 0, 0, 0))",
    "as it is": "Sin(o)",
}


def site(
    query: str = "linear",
    key: str = "linear",
    value: str = "linear",
    result: str = "linear",
    *,
    batch: int = B,
    keys: int = S,
    runtime: str = "lite",
) -> tuple[Model, SiteRecord]:
    """One attention of operands that come about so, fused."""
    lines = ["w: float16[64, 64]; r: float16[1, 1, 1, 16]"]
    for name, how, length in zip("qkv", (query, key, value), (S, keys, keys), strict=True):
        wide = f"SplitWithSize(x{name}: float16[{batch}, {length}, 128], (64, 64), -1)[0]"
        narrow = f"x{name}: float16[{batch}, {length}, 64]"
        lines.append(OPERANDS[how].format(name=name, x=narrow, cut=wide, b=batch, s=length))
    lines.append("o = MatMulExt(Softmax(Muls(MatMulExt(q, Transpose(k, (0, 1, 3, 2))), 0.25), (-1,)), v)")
    lines.append(RESULTS[result].format(b=batch, s=S))
    model = Model(parse_program("\n".join(lines), infer=infer, signature=signature))
    (record,) = fuse(model, runtime)
    assert record.status == "fused"
    return model, record


@pytest.mark.parametrize("runtime", ["lite", "mindspore"])
def test_nothing_is_left_between_linear_layers(runtime: str) -> None:
    model, record = site(runtime=runtime)
    assert (record.layout, record.query_shape) == ("BSH", (B, S, N * D))
    assert record.layout_reason.startswith("BSH: 0 Transposes; ")
    assert f"\nlayout    {record.layout_reason}\n" in explain(record)
    assert not any(node.op == "Transpose" for node in model.nodes)
    assert beside(model, [record]) == ()


@pytest.mark.parametrize(
    ("operands", "result", "keys", "runtime", "layout"),
    [
        (("computed", "computed", "computed"), "linear", S, "lite", "BNSD_BSND"),
        (("computed", "computed", "computed"), "linear", S, "mindspore", "BNSD"),
        (("computed", "computed", "computed"), "as it is", S, "lite", "BNSD"),
        (("computed", "computed", "linear"), "linear", S, "lite", "BNSD_BSND"),
        (("computed", "linear", "linear"), "linear", S, "lite", "BSH"),
        (("computed", "linear", "linear"), "linear", 2, "lite", "BNSD_BSND"),  # two short ones are fewer bytes
        (("linear", "linear", "linear"), "as it is", S, "lite", "BSH"),
    ],
)
def test_the_fewest_bytes_decide(
    operands: tuple[str, str, str], result: str, keys: int, runtime: str, layout: str
) -> None:
    assert site(*operands, result, keys=keys, runtime=runtime)[1].layout == layout


def test_bytes_are_told_for_each_layout() -> None:
    _, record = site("computed", "linear", "linear", keys=2)
    query, key = 2 * B * S * N * D * 2, 2 * B * 2 * N * D * 2
    assert record.layout_reason == (
        f"BNSD_BSND: 2 Transposes (key, value), {2 * key} bytes; BSH: 1 Transpose (query), {query} bytes; "
        f"BNSD: 3 Transposes (key, value, result), {2 * key + query} bytes"
    )


def test_where_only_axes_of_one_element_would_move_the_source_is_left_alone() -> None:
    """One head: every layout is the same."""
    text = """q: float16[2, 1, 6, 16]; k: float16[2, 1, 6, 16]; v: float16[2, 1, 6, 16]
    o = MatMulExt(Softmax(Muls(MatMulExt(q, Transpose(k, (0, 1, 3, 2))), 0.25), (-1,)), v)
    Sin(Reshape(Transpose(o, (0, 2, 1, 3)), (2, 6, 16)))"""
    model = Model(parse_program(text, infer=infer, signature=signature))
    (record,) = fuse(model, "lite")
    assert "BNSD: 0 Transposes" in record.layout_reason
    assert beside(model, [record]) == ()


def test_each_that_stays_is_told_with_the_node_that_needs_it() -> None:
    model, record = site("computed", "computed", "linear", "cut")
    (moved, cut) = beside(model, [record])
    assert (moved.site, moved.of, moved.op, moved.bytes) == (record.id, "value", "Transpose", 2 * B * S * N * D * 2)
    assert [node.partition(" ")[0] for node in moved.needed_by] == ["Add", "Add"]
    assert (cut.of, cut.op, cut.bytes) == ("result", "StridedSlice", 2 * B * 3 * N * D * 2)
    assert [node.partition(" ")[0] for node in cut.needed_by] == ["Sin"]
    model, record = site("cut")
    (split,) = beside(model, [record])
    assert (split.of, split.op, split.bytes) == ("query", "SplitWithSize", 2 * B * S * 128 * 2)
    assert [node.rpartition(":")[2] for node in split.needed_by] == ["xq"]


def test_zeros_in_heads_are_left_beside_the_node() -> None:
    text = """x: float16[2, 6, 32]; y: float16[2, 6, 32]; z: float16[2, 6, 32]
    a = Transpose(Reshape(x, (2, 6, 4, 8)), (0, 2, 1, 3)); b = Transpose(Reshape(y, (2, 6, 4, 8)), (0, 2, 1, 3))
    c = Transpose(Reshape(z, (2, 6, 4, 8)), (0, 2, 1, 3))
    o = MatMulExt(Softmax(Muls(MatMulExt(a, Transpose(b, (0, 1, 3, 2))), 0.25), (-1,)), c)
    Sin(Reshape(Transpose(o, (0, 2, 1, 3)), (2, 6, 32)))"""
    model = Model(parse_program(text, infer=infer, signature=signature))
    (record,) = fuse(model, "mindspore")
    told = [(entry.of, entry.op, entry.bytes) for entry in beside(model, [record])]
    pad, cut = 2 * 2 * 6 * (32 + 64), 2 * 2 * 2 * 6 * 32
    assert told == [*((of, "PadV3", pad) for of in ("query", "key", "value")), ("result", "StridedSlice", cut)]


def test_a_fused_node_of_the_source_is_written_anew_only_where_that_leaves_less() -> None:
    text = """x: float16[2, 6, 64]; y: float16[2, 6, 64]; z: float16[2, 6, 64]
    a = {0}; b = {1}; c = {2}
    o = FlashAttentionScore(a, b, c, head_num=4, scale_value=0.25, input_layout=1)[3]; {3}"""
    moved = [f"Transpose(Reshape({name}, (2, 6, 4, 16)), (0, 2, 1, 3))" for name in "xyz"]
    made = [f"Sin(Reshape({name}, (2, 4, 6, 16)))" for name in "xyz"]
    behind = "Reshape(Transpose(o, (0, 2, 1, 3)), (2, 6, 64))"
    for parts, code in (
        ((*moved, behind), "fused.laid_out"),
        ((*moved, "Sin(o)"), "fused.laid_out"),
        ((*made, behind), "fused.carried_over"),
        ((*made[:2], moved[2], behind), "fused.carried_over"),  # as many either way
    ):
        model = Model(parse_program(text.format(*parts), infer=infer, signature=signature))
        before = model.proto.SerializeToString(deterministic=True)
        (record,) = fuse(model, "mindspore")
        assert record.code == code, parts
        written = (record.layout, record.query_shape, record.value_shape)
        source = (None, (2, 4, 6, 16), (2, 4, 6, 16))
        assert written == (source if code == "fused.carried_over" else ("BSH", (2, 6, 64), (2, 6, 64)))
        assert (model.proto.SerializeToString(deterministic=True) == before) == (code == "fused.carried_over")
