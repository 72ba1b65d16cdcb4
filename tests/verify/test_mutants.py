"""Mistakes planted in real rewrites: each is found, by the checks that are to find it, and nothing is found without.

structure  the rules on the written graph     site   the site alone, on the values it meets in the graph
output     the whole graph, end to end        drawn  the site alone, on drawn operands, in float64
                                              types  the site's type against the source's
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from attnfuse import cli
from attnfuse.ir.builder import Builder
from attnfuse.ir.edit import Edit
from attnfuse.ir.graph import Model, Node
from attnfuse.ir.types import Literal, TensorType
from attnfuse.mindir import codec, dtypes
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, DType
from attnfuse.mindir.schema import AttributeProto, NodeProto, PrimitiveProto
from attnfuse.verify import ComponentVerification, verify_component
from attnfuse.verify.graph.sites import find
from attnfuse.verify.inference import inferred_types
from attnfuse.verify.lowering import Arithmetic, lower
from attnfuse.verify.numbers.execution import run
from attnfuse.verify.numbers.inputs import draw_inputs
from attnfuse.verify.numbers.weights import drawn_weights
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder, fill_literal, fill_type, transformer
from tests.verify.rewritten import BATCH, HEADS, LENGTH, Attention, constant_operand, feed, pair, the_node

LITE, MINDSPORE = "lite", "mindspore"
SCALE = {LITE: 13, MINDSPORE: 12}
MASK = {LITE: 3, MINDSPORE: 6}
BIAS = {LITE: 6, MINDSPORE: 3}


@pytest.fixture(autouse=True)
def no_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    """MindSpore's inference lets all but two of the mistakes pass; without it the other checks stand alone."""
    monkeypatch.setattr(inferred_types, "infer", lambda model, name, work: inferred_types.Inference((), 0, "not run"))


def verify(original: Model, fused: Model, folder: Path, compute: dict[str, str] | None = None) -> ComponentVerification:
    files = folder / "original.mindir", folder / "fused.mindir"
    for file, model in zip(files, (original, fused), strict=True):
        file.write_bytes(codec.serialise(model.proto))
    return verify_component(
        name="block", original=files[0], fused=files[1], level="full", seed=0, work=folder, compute=compute
    )


def checks(result: ComponentVerification) -> set[str]:
    """Which checks the findings are of."""
    return {_check(finding) for finding in result.findings}


def _check(finding: str) -> str:
    if finding.startswith("output CNode") and " was " not in finding:
        return "output"
    if not finding.startswith("site "):
        return "structure"
    return "drawn" if " drawn operands" in finding else "types" if " computes in " in finding else "site"


SOUND = [
    Attention(),
    Attention(masked=True),
    Attention(biased=True),
    Attention(masked=True, biased=True),
    Attention(head=24),
    Attention(head=24, apart=True),
    Attention(head=40, dtype=FLOAT16),
    Attention(head=24, masked=True, kv_heads=2),
    Attention(kv_heads=2),
    Attention(dtype=FLOAT16, masked=True, biased=True),
    Attention(dtype=BFLOAT16, masked=True),
]


@pytest.mark.parametrize("runtime", [LITE, MINDSPORE])
@pytest.mark.parametrize("block", SOUND, ids=str)
def test_a_sound_rewrite_passes_every_check(block: Attention, runtime: str, tmp_path: Path) -> None:
    result = verify(*pair(block, runtime), tmp_path)
    assert result.findings == ()
    assert [n for n in result.notes if n.startswith("site")] == []
    (site,) = result.sites
    assert site.module == "attn"
    assert set(site.drawn) == {"mixed", "large"}
    assert site.largest_score is not None
    assert 4 < site.largest_score < 40
    assert 1e-5 < site.figures.fused < 5e-3


@dataclass(frozen=True)
class Mutant:
    """A block, what is done to its rewrite, and which checks find it."""

    block: Attention
    plant: Callable[[Model, str], None]
    found_by: str
    runtimes: tuple[str, ...] = (LITE, MINDSPORE)


def scale_by(factor: float) -> Callable[[Model, str], None]:
    return lambda fused, runtime: feed(fused, SCALE[runtime], 0.25 * factor)


def bias_by(factor: float) -> Callable[[Model, str], None]:
    def plant(fused: Model, runtime: str) -> None:
        bias = constant_operand(fused, BIAS[runtime])
        feed(fused, BIAS[runtime], (bias.astype(np.float64) * factor).astype(bias.dtype))

    return plant


def first_heads_bias(fused: Model, runtime: str) -> None:
    bias = constant_operand(fused, BIAS[runtime]).copy()
    bias[:] = bias[:, :1]
    feed(fused, BIAS[runtime], bias)


def inverted_mask(fused: Model, runtime: str) -> None:
    feed(fused, MASK[runtime], np.logical_not(constant_operand(fused, MASK[runtime])))


def mask_a_row_down(fused: Model, runtime: str) -> None:
    feed(fused, MASK[runtime], np.roll(constant_operand(fused, MASK[runtime]), 1, axis=-2))


def exchanged(fused: Model, runtime: str) -> None:
    node = the_node(fused).proto
    node.input[1], node.input[2] = node.input[2], node.input[1]


def another_element(fused: Model, runtime: str) -> None:
    (item,) = [n for n in fused.nodes if n.op == "TupleGetItem"]
    constant = NodeProto(name="planted", op_type="Constant", output=["planted"])
    fill_literal(constant.attribute.add(name="value"), 2)
    fused.proto.graph.node.insert(0, constant)
    item.proto.input[1] = "planted"


def swapped(*order: int) -> Callable[[Model, str], None]:
    """Query's tokens, heads and elements (axes 1, 2 and 3) in another order in the same memory."""

    def plant(fused: Model, runtime: str) -> None:
        node, edit = the_node(fused), Edit(fused)
        b = Builder(edit, node, "planted")
        dims = b.type_of(node.inputs[0]).dims
        moved = b.transpose(b.reshape(node.inputs[0], (BATCH, LENGTH, HEADS, dims[-1] // HEADS)), (0, *order))
        query = b.reshape(moved, dims)
        b.stand_before()
        edit.apply()
        the_node(fused).proto.input[0] = query

    return plant


def not_restored(fused: Model, runtime: str) -> None:
    skip(fused, [n for n in fused.nodes if n.op == "Cast"][-1])


def skip(fused: Model, node: Node) -> None:
    """Give the users of a node its first operand instead."""
    for use in fused.uses(node.name):
        assert use.node is not None
        use.node.proto.input[use.position] = node.inputs[0]


def in_another_type(fused: Model, runtime: str) -> None:
    """The fused node computes in bfloat16, with casts around it."""
    node = the_node(fused)
    edit = Edit(fused)
    cast = edit.primitive("Cast", PrimitiveProto.PRIMITIVE_FUNCTION)
    constants = [
        NodeProto(name=f"type{d.type_id}", op_type="Constant", output=[f"type{d.type_id}"]) for d in (FLOAT16, BFLOAT16)
    ]
    for constant, dtype in zip(constants, (FLOAT16, BFLOAT16), strict=True):
        fill_literal(constant.attribute.add(name="value"), dtype.type_id)

    def made(name: str, value: str, tensor_type: TensorType, dtype: DType) -> NodeProto:
        message = NodeProto(name=name, op_type=cast, input=[value, f"type{dtype.type_id}"], output=[name])
        fill_type(message.attribute.add(name="shape"), TensorType(tensor_type.dims, dtype))
        return message

    inner = NodeProto()
    inner.CopyFrom(node.proto)
    inner.name = inner.output[0] = "inner"
    before = constants
    for position, value in enumerate(node.inputs[:3]):
        tensor_type = fused.type_of(value)
        assert tensor_type is not None
        before.append(made(f"lower{position}", value, tensor_type, BFLOAT16))
        inner.input[position] = f"lower{position}"
    out = fused.type_of(node.name)
    assert out is not None
    _retype(inner, out)
    edit.before[node.name] = [*before, inner]
    edit.replace[node.name] = made(node.name, "inner", out, FLOAT16)
    edit.apply()


def _retype(node: NodeProto, tensor_type: TensorType) -> None:
    shape = next(a for a in node.attribute if a.name == "shape")
    shape.CopyFrom(AttributeProto(name="shape"))
    fill_type(shape, TensorType(tensor_type.dims, dtypes.BFLOAT16))


def sliced_at_the_wrong_end(fused: Model, runtime: str) -> None:
    """The zeros are kept and as many values cut off in front."""
    cut = next(n for n in fused.nodes if n.op == "StridedSlice")
    arguments: tuple[tuple[str, Literal], ...] = (
        ("begin", (0, 0, 0, 8)), ("end", (0, 0, 0, 32)), ("step", (1, 1, 1, 1)), ("open_begin", 7)
    )  # fmt: skip
    for position, (name, value) in enumerate(arguments, 1):
        constant = NodeProto(name=name, op_type="Constant", output=[name])
        fill_literal(constant.attribute.add(name="value"), value)
        fused.proto.graph.node.insert(0, constant)
        cut.proto.input[position] = name


def not_sliced(fused: Model, runtime: str) -> None:
    skip(fused, next(n for n in fused.nodes if n.op == "StridedSlice"))


def zeros_at_the_end(weight: str) -> Callable[[Model, str], None]:
    """As many zeros, in one piece."""

    def plant(fused: Model, runtime: str) -> None:
        renamed(fused, weight, lambda name: re.sub(r"(pad_\d)_4_8", r"\1_1_32", name))

    return plant


def zeros_along_the_other_axis(fused: Model, runtime: str) -> None:
    renamed(fused, "to_q.weight", lambda name: name.replace("pad_0", "pad_1"))


def renamed(fused: Model, weight: str, to: Callable[[str], str]) -> None:
    """Have a weight made otherwise, which is what its name says."""
    (parameter,) = [p for p in fused.parameters() if f"{weight}__" in p.name]
    before, parameter.name = parameter.name, to(parameter.name)
    assert parameter.name != before
    for use in fused.uses(before):
        assert use.node is not None
        use.node.proto.input[use.position] = parameter.name


MUTANTS = {
    "scale times √2": Mutant(Attention(), scale_by(math.sqrt(2)), "output site drawn"),
    "scale off by one part in ten thousand": Mutant(Attention(), scale_by(1.0001), "output site drawn"),
    "scale applied twice": Mutant(Attention(), scale_by(0.25), "output site drawn"),
    "bias before the scale instead of after it": Mutant(Attention(biased=True), bias_by(0.25), "output site drawn"),
    "bias after the scale instead of before it": Mutant(Attention(biased=True), bias_by(4.0), "output site drawn"),
    "first head's bias for all": Mutant(Attention(biased=True), first_heads_bias, "output site drawn"),
    "mask inverted": Mutant(Attention(masked=True), inverted_mask, "output site drawn"),
    "mask shifted by one row": Mutant(Attention(masked=True), mask_a_row_down, "output site drawn"),
    "key and value exchanged": Mutant(Attention(), exchanged, "output site drawn"),
    "tokens taken for heads": Mutant(Attention(), swapped(2, 1, 3), "output site drawn"),
    "heads taken for elements": Mutant(Attention(), swapped(1, 3, 2), "output site drawn"),
    "another element of the tuple": Mutant(Attention(), another_element, "structure", (MINDSPORE,)),
    "not restored to the source's type": Mutant(Attention(), not_restored, "structure"),
    "bfloat16 for float16": Mutant(Attention(dtype=FLOAT16), in_another_type, "types", (LITE,)),
    "padding not sliced off": Mutant(Attention(head=24, apart=True), not_sliced, "structure", (MINDSPORE,)),
    "padding sliced off at the wrong end": Mutant(
        Attention(head=24, apart=True), sliced_at_the_wrong_end, "output site drawn", (MINDSPORE,)
    ),
    "zeros behind all heads of query": Mutant(
        Attention(head=24), zeros_at_the_end("to_q.weight"), "output site drawn", (MINDSPORE,)
    ),
    "zeros behind all heads of value": Mutant(
        Attention(head=24), zeros_at_the_end("to_v.weight"), "output site drawn", (MINDSPORE,)
    ),
    "zeros behind all that the result goes into": Mutant(
        Attention(head=24), zeros_at_the_end("to_out.weight"), "output site drawn", (MINDSPORE,)
    ),
    "zeros along the other axis": Mutant(Attention(head=24), zeros_along_the_other_axis, "structure", (MINDSPORE,)),
}


@pytest.mark.parametrize(
    ("name", "runtime"), [(name, runtime) for name, mutant in MUTANTS.items() for runtime in mutant.runtimes]
)
def test_each_mistake_is_found_by_its_checks(name: str, runtime: str, tmp_path: Path) -> None:
    mutant = MUTANTS[name]
    original, fused = pair(mutant.block, runtime)
    mutant.plant(fused, runtime)
    assert checks(verify(original, Model(fused.proto), tmp_path)) >= set(mutant.found_by.split())


def test_another_type_than_the_policy_asks_for_is_found_where_the_source_leaves_it_open(tmp_path: Path) -> None:
    original, fused = pair(Attention(), LITE)
    (site,) = find(original, fused).sites
    asked = {site.output: "float16"}
    assert checks(verify(original, fused, tmp_path, asked)) == set()
    in_another_type(fused, LITE)
    changed = Model(fused.proto)
    assert checks(verify(original, changed, tmp_path)) == set()
    (finding,) = verify(original, changed, tmp_path, asked).findings
    assert finding.endswith("(attn) computes in bfloat16, and the policy asks for float16.")


@pytest.mark.parametrize(("cast", "code"), [("float16", 4), ("bfloat16", 0)])
def test_a_compile_holds_its_sites_to_the_policy(
    cast: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("attnfuse_passes.attention.decide._own_dtype", lambda attention: BFLOAT16)
    source = transformer(sites=2, dtype=FLOAT32).write(tmp_path / "unet.mindir")
    options = ["--runtime", MINDSPORE, "--force-cast-dtype", cast, "--verify", "full", "--progress", "never"]
    assert cli.run(["compile", str(source), "-o", str(tmp_path / "out"), *options]) == code
    assert ("computes in bfloat16, and the policy asks for float16" in capsys.readouterr().err) is (code == 4)


MISREAD = {
    "heads repeated in the other order": (Attention(kv_heads=2), Attention(kv_heads=2, repeat="whole")),
    "softmax over another axis": (Attention(), Attention(softmax_axis=-2)),
}


@pytest.mark.parametrize("runtime", [LITE, MINDSPORE])
@pytest.mark.parametrize("name", MISREAD)
def test_an_original_read_wrongly_is_found(name: str, runtime: str, tmp_path: Path) -> None:
    """The rewrite of one block beside another that differs in one node, as if it had been taken for the first."""
    read, meant = MISREAD[name]
    result = verify(meant.model(), pair(read, runtime)[1], tmp_path)
    assert checks(result) >= {"output", "site", "drawn"}


def test_each_site_is_found_by_the_value_that_both_graphs_have() -> None:
    original, fused = pair(Attention(), MINDSPORE)
    found = find(original, fused)
    (site,) = found.sites
    assert (found.notes, found.replaced) == ((), ())
    assert fused.producer(site.output) is not None
    assert original.producer(site.output) is not None
    assert site.attention is not None
    assert site.attention.node.op == "FlashAttentionScore"
    assert set(site.entries) == {"query", "key", "value"}


def test_the_largest_score_is_one_of_largest_magnitude() -> None:
    """Also where it is negative."""
    g = GraphBuilder("small")
    g.output(g.muls(g.input("x", (3,)), 2.0))
    model = g.model()
    product = model.proto.graph.output[0].name
    (value,) = [v.name for v in model.proto.graph.input]
    x = np.array([1.0, -7.0, 3.0], np.float32)
    result = run(lower(model, Arithmetic.EXACT, taps=[value], peaks=[product]), {value: x}, drawn_weights(0))
    assert [r.tolist() for r in result] == [[2.0, -14.0, 6.0], [1.0, -7.0, 3.0], 14.0]


def test_the_largest_score_is_that_of_the_product_where_one_operator_adds_the_mask(tmp_path: Path) -> None:
    """Else −65504 would be told, of keys that nobody sees."""
    g = GraphBuilder("masked")
    x = g.input("x", (2, 32, 16), FLOAT16)
    hidden = np.where(np.triu(np.ones((1, 32, 32), bool), 1), np.float16(-65504), np.float16(0))
    scores = g.baddbmm(g.constant(hidden), x, g.transpose(x, (0, 2, 1)), alpha=0.25)
    g.output(g.reshape(g.bmm(g.softmax(scores), x), (2, 512)))
    fused = g.model()
    original = Model(codec.parse(codec.serialise(fused.proto), "a copy"))
    fuse(fused, LITE)
    (site,) = verify(original, Model(fused.proto), tmp_path).sites
    value = draw_inputs(original, 0)[original.proto.graph.input[0].name].astype(np.float64)
    assert site.largest_score == pytest.approx(np.abs(value @ value.transpose(0, 2, 1) * 0.25).max())


# --- values that a type cannot hold


def test_scores_that_the_sources_own_type_cannot_hold_are_told_with_site_and_value(tmp_path: Path) -> None:
    result = verify(*pair(Attention(dtype=FLOAT16, gain=120.0), LITE), tmp_path)
    (note,) = [n for n in result.notes if "overflows" in n]
    assert note.startswith("site CNode_19:19 (attn): scores reach ")
    assert "more than float16 holds" in note


def test_scores_that_only_the_fused_nodes_type_cannot_hold_are_told(tmp_path: Path) -> None:
    result = verify(*pair(Attention(gain=120.0), LITE), tmp_path)
    assert any("right only where the kernel keeps scores in float32" in n for n in result.notes)


def test_operands_that_only_the_fused_nodes_type_cannot_hold_fail(tmp_path: Path) -> None:
    result = verify(*pair(Attention(gain=60000.0), LITE), tmp_path)
    assert {"output", "site"} <= checks(result)
    assert any("values that are NaN or infinite, and not in the original" in f for f in result.findings)
    json.dumps(result.to_json(), allow_nan=False)
