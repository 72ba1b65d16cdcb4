"""The pass around the rules: what goes with the replaced nodes, and what stays."""

from __future__ import annotations

import pytest

from attnfuse.ir.graph import CONSTANT, Model
from attnfuse.mindir.dtypes import BOOL, FLOAT16, INT64
from attnfuse_passes.legalise import nodes
from tests.passes.legalise.programs import after, kind, load
from tests.passes.legalise.support import legalise, operators
from tests.support.costs import graph
from tests.support.graphs import PRIMITIVE, GraphBuilder


def constants(model: Model) -> list[object]:
    return [model.literal(node.name) for node in model.nodes if node.op == CONSTANT]


def primitives(model: Model) -> list[str]:
    return sorted(entry.op_type for entry in model.proto.primitives)


def test_what_only_replaced_nodes_used_goes() -> None:
    """The axes 1 and 2 were FlattenExt's; 1 is Concat's too."""
    g = GraphBuilder()
    x = g.op("FlattenExt", g.input("x", (2, 3, 4)), 1, 2, dims=(2, 12))
    g.output(g.concat([x, x], 1))
    model = g.model()
    assert legalise(model) == {}
    assert operators(model) == ("Reshape", "MakeTuple", "Concat")
    assert constants(model) == [1, (2, 12)]
    assert primitives(model) == ["Concat", "MakeTuple", "Reshape"]


def test_what_only_gave_its_type_goes_too() -> None:
    """The tensor that NewZeros took its type from has no reader left."""
    g = GraphBuilder()
    other = g.op("Abs", g.input("other", (5,), FLOAT16))
    zeros = g.node("NewZeros", [other, g.constant((2, 3)), g.constant(None)], kind(2, 3, dtype=FLOAT16))
    g.output(g.op("Maximum", g.input("x", (2, 3), FLOAT16), zeros))
    model = g.model()
    assert legalise(model) == {}
    assert operators(model) == ("Maximum",)
    assert primitives(model) == ["Maximum"]


def test_filled_tensors_do_not_swell_the_graph_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has 24 bytes. After the second there are more than 40: the third is made when the graph is run."""
    monkeypatch.setattr(nodes, "TOGETHER", 40)
    zeros = "\n".join(f"z{i} = ZerosLikeExt(x, None)" for i in range(3))
    model = graph(f"x: float32[2, 3]\n{zeros}\nConcat(MakeTuple(z0, z1, z2), 0)")
    assert legalise(model) == {}
    assert operators(model) == ("FillV2", "MakeTuple", "Concat")


def test_rows_of_numbers_do_not_swell_the_graph_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has 24 bytes, and stays an operator after more than 40."""
    monkeypatch.setattr(nodes, "TOGETHER", 40)
    rows = "\n".join(f"r{i} = Arange(0, {end}, 1) -> int64[3]" for i, end in enumerate((3, 3, 3)))
    model = graph(f"{rows}\nConcat(MakeTuple(r0, r1, r2), 0)")
    assert len(legalise(model)) == 1
    assert operators(model) == ("Arange", "MakeTuple", "Concat")


def test_more_windows_than_a_constant_holds_are_not_counted_out() -> None:
    text = "x: float16[1, 1, 65537, 65537]\nAdaptiveAvgPool2DExt(x, (65536, 65536))"
    (reason,) = legalise(graph(text)).values()
    assert "more windows than are written out" in reason


def test_what_nothing_used_before_stays() -> None:
    """What the pass did not leave unused is not its own to take away."""
    g = GraphBuilder()
    g.constant(7)
    g.proto.primitives.add(name="Idle:0", op_type="Idle", prim_type=PRIMITIVE)
    g.output(g.op("FlattenExt", g.input("x", (2, 3)), 0, -1, dims=(6,)))
    model = g.model()
    assert legalise(model) == {}
    assert 7 in constants(model)
    assert primitives(model) == ["Idle", "Reshape"]


def test_what_a_rule_prepared_before_it_refused_is_not_written() -> None:
    """InplaceAddExt has brought truths to whole numbers when it finds that they are to be halved."""
    g = GraphBuilder()
    x = g.op("Neg", g.input("x", (2, 3), INT64))
    other = g.input("y", (2, 3), BOOL)
    sums = g.node("InplaceAddExt", [x, other, g.constant(0.5), g.monad()], kind(2, 3, dtype=INT64))
    g.output(g.op("FlattenExt", load(g, sums, after(g, g.monad(), sums)), 0, -1, dims=(6,)))
    model = g.model()
    assert list(legalise(model).values()) == ["it adds 0.5 times whole numbers to whole numbers"]
    assert primitives(model) == ["InplaceAddExt", "Load", "Neg", "Reshape", "UpdateState"]


def test_pieces_that_are_not_the_whole_stay() -> None:
    """Sizes that cannot be read are taken from the types of the pieces, which may contradict the input's."""
    g = GraphBuilder()
    sizes = g.input("sizes", (2,), INT64)
    pieces = g.node("SplitWithSize", [g.input("x", (2, 6)), sizes, g.constant(1)], (kind(2, 4), kind(2, 4)))
    g.output(g.tuple_get_item(pieces, 1))
    model = g.model()
    assert list(legalise(model).values()) == ["its pieces have 8 elements in all, and its input has 6"]
    assert operators(model) == ("SplitWithSize", "TupleGetItem")


def test_pieces_that_nothing_reads_go() -> None:
    """With what only they read."""
    g = GraphBuilder()
    sizes = (kind(2, 1), kind(2, 3))
    pieces = g.node("SplitWithSize", [g.input("x", (2, 4)), g.constant((1, 3)), g.constant(1)], sizes)
    g.output(g.tuple_get_item(pieces, 1))
    model = g.model()
    assert legalise(model) == {}
    assert operators(model) == ("StridedSlice",)
    assert primitives(model) == ["StridedSlice"]
    assert (0, 0) not in constants(model), "the first piece's own argument"
