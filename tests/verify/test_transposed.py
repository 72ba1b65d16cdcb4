"""Mistakes planted in products that transpose by themselves: each is found by its numbers, and nothing without.

Sizes are such that no mistake changes a type: channels are as many as places, and features as rows of a picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from attnfuse.ir.graph import Model, Node, attribute
from attnfuse.ir.text import infer, parse_program, signature
from attnfuse.mindir import codec
from attnfuse.mindir.schema import AttributeProto, NodeProto
from attnfuse.pass_manager import Context
from attnfuse.policy import Policy
from attnfuse.targets import Target
from attnfuse.verify import ComponentVerification, verify_component
from attnfuse.verify.inference import inferred_types
from attnfuse_passes.legalise.legalise import Legalise
from attnfuse_passes.simplify.simplify import Simplify

WEIGHTS = "w: parameter float16[4, 16], b: parameter float16[4]"
OPERAND = f"""
p = Reshape(Transpose(x: float16[2, 16, 4, 4], (0, 2, 3, 1)), (2, 16, 16))
SiLU(Dense(p, {WEIGHTS}))
"""
ALONE = OPERAND.replace("[2, 16, 4, 4]", "[1, 16, 4, 4]").replace("(2, 16, 16)", "(1, 16, 16)")
RESULT = f"""
p = Reshape(Dense(SiLU(x: float16[2, 16, 16]), {WEIGHTS}), (2, 4, 4, 4))
Add(Transpose(p, (0, 3, 1, 2)), y: float16[2, 4, 4, 4])
"""


@pytest.fixture(autouse=True)
def no_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    """MindSpore's inference tells types, which no mistake here changes."""
    monkeypatch.setattr(inferred_types, "infer", lambda model, name, work: inferred_types.Inference((), 0, "not run"))


def pair(text: str) -> tuple[Model, Model]:
    """A graph, and what the passes make of it: no Transpose is left."""
    original, fused = (Model(parse_program(text, infer=infer, signature=signature)) for _ in range(2))
    context = Context("part", "part", Policy(), Target("lite", "ascend910b"))
    assert Legalise().run(fused, context)
    assert Simplify().run(fused, context)
    assert "Transpose" not in {node.op for node in fused.nodes}
    return original, fused


def verify(original: Model, fused: Model, folder: Path) -> ComponentVerification:
    files = folder / "original.mindir", folder / "fused.mindir"
    for file, model in zip(files, (original, fused), strict=True):
        file.write_bytes(codec.serialise(model.proto))
    return verify_component(name="part", original=files[0], fused=files[1], level="full", seed=0, work=folder)


def the(fused: Model, *ops: str) -> Node:
    (node,) = [node for node in fused.nodes if node.op in ops]
    return node


def the_value(constant: NodeProto) -> AttributeProto:
    value = attribute(constant, "value")
    assert value is not None
    return value


def flagged(position: int) -> Callable[[Model], None]:
    """The flag of the operand, 0 or 1, is the other."""

    def plant(fused: Model) -> None:
        node = the(fused, "MatMul", "BatchMatMul")
        held = [a for a in fused.primitives[node.proto.op_type].attribute if a.name.startswith("transpose")]
        if held:
            held[position].i = 1 - held[position].i
            return
        given = fused.producer(node.inputs[2 + position])
        assert given is not None
        other = NodeProto()
        other.CopyFrom(given.proto)
        other.name = other.output[0] = f"{given.name}_other"
        value = the_value(other)
        value.i = 1 - value.i
        fused.proto.graph.node.insert(0, other)
        node.proto.input[2 + position] = other.name

    return plant


def added(fused: Model) -> Node:
    """The addition of the bias."""
    product = the(fused, "BatchMatMul")
    readers = [use.node for use in fused.uses(product.name)]
    while readers[0] is not None and readers[0].op != "Add":
        readers = [use.node for use in fused.uses(readers[0].name)]
    assert readers[0] is not None
    return readers[0]


def lost(fused: Model) -> None:
    """Who reads the sum reads the product."""
    node = added(fused)
    for use in fused.uses(node.name):
        assert use.node is not None
        use.node.proto.input[use.position] = node.inputs[0]


def by_row(fused: Model) -> None:
    """The bias goes along another axis."""
    bias = fused.producer(added(fused).inputs[1])
    constant = None if bias is None else fused.producer(bias.inputs[1])
    assert bias is not None
    assert constant is not None
    dims = next(a for a in bias.proto.attribute if a.name == "shape").tensors[0].dims
    values = the_value(constant.proto).values
    assert [value.ints[0] for value in values] == list(dims) == [1, 4, 1, 1]
    values[1].ints[0], values[2].ints[0] = dims[1], dims[2] = 1, 4


@dataclass(frozen=True)
class Mutant:
    """A graph, and what is done to the product in it."""

    text: str
    plant: Callable[[Model], None]


MUTANTS = {
    "the operand is not transposed": Mutant(OPERAND, flagged(0)),
    "one picture is not transposed": Mutant(ALONE, flagged(0)),
    "what makes the result is not transposed": Mutant(RESULT, flagged(1)),
    "the bias is lost": Mutant(OPERAND, lost),
    "the bias of the result is lost": Mutant(RESULT, lost),
    "the bias along another axis": Mutant(RESULT, by_row),
}


@pytest.mark.parametrize("text", [OPERAND, ALONE, RESULT])
def test_a_sound_product_passes_every_check(text: str, tmp_path: Path) -> None:
    result = verify(*pair(text), tmp_path)
    assert result.findings == ()
    assert any("replaced operator" in note for note in result.notes)


@pytest.mark.parametrize("name", MUTANTS)
def test_each_mistake_is_found(name: str, tmp_path: Path) -> None:
    mutant = MUTANTS[name]
    original, fused = pair(mutant.text)
    mutant.plant(fused)
    findings = verify(original, Model(fused.proto), tmp_path).findings
    assert any("differs in float64" in finding for finding in findings), findings
