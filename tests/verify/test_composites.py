"""Mistakes planted in composites: each is found by its numbers or its structure, and nothing is found without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from attnfuse.ir.graph import Model, Node
from attnfuse.ir.text import infer, parse_program, signature
from attnfuse.mindir import codec
from attnfuse.mindir.schema import AttributeProto
from attnfuse.pass_manager import Context
from attnfuse.policy import Policy
from attnfuse.targets import Target
from attnfuse.verify import ComponentVerification, verify_component
from attnfuse.verify.inference import inferred_types
from attnfuse_passes.composites.composites import Composites

X, WEIGHTS = "x: float16[2, 64, 4, 4]", "w: parameter float16[64], b: parameter float16[64]"
ACTIVATED = f"SiLU(GroupNorm({X}, 32, {WEIGHTS}, 1e-06)[0])"
PLAIN = f"GroupNorm({X}, 32, {WEIGHTS}, 1e-05)[0]"
LAYER = f"LayerNormExt(x: float16[2, 32, 64], (64,), {WEIGHTS}, 1e-05)[0]"
RMS = "RmsNorm(x: float16[2, 32, 64], w: parameter float16[64], 1e-05)[0]"
WRITTEN_OUT = """
c = Cast(x: float16[2, 32, 64], 43)
r = Rsqrt(Add(ReduceMean(Square(c), (-1,), True), tensor float32[] 1e-05))
Mul(w: parameter float16[64], Cast(Mul(c, r), 42))
"""
RESIDUAL = f"""
s = Add(x: float16[2, 32, 64], y: float16[2, 32, 64])
Add(Dense(LayerNormExt(s, (64,), {WEIGHTS}, 1e-05)[0], k: parameter float16[64, 64], None), s)
"""


@pytest.fixture(autouse=True)
def no_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    """MindSpore infers nothing of most composites, and starting it takes longer than all these checks."""
    monkeypatch.setattr(inferred_types, "infer", lambda model, name, work: inferred_types.Inference((), 0, "not run"))


def pair(text: str) -> tuple[Model, Model]:
    """A graph, and what the pass makes of it."""
    original, fused = (Model(parse_program(text, infer=infer, signature=signature)) for _ in range(2))
    assert Composites().run(fused, Context("part", "part", Policy(), Target("lite", "ascend910b")))
    return original, fused


def verify(original: Model, fused: Model, folder: Path) -> ComponentVerification:
    files = folder / "original.mindir", folder / "fused.mindir"
    for file, model in zip(files, (original, fused), strict=True):
        file.write_bytes(codec.serialise(model.proto))
    return verify_component(name="part", original=files[0], fused=files[1], level="full", seed=0, work=folder)


def the(fused: Model, op: str) -> Node:
    (node,) = [node for node in fused.nodes if node.op == op]
    return node


def attribute(op: str, name: str) -> Callable[[Model], AttributeProto]:
    return lambda fused: next(a for a in fused.primitives[the(fused, op).proto.op_type].attribute if a.name == name)


def forgotten(fused: Model) -> None:
    attribute("GroupNormSilu", "activate_silu")(fused).i = 0


def unasked(fused: Model) -> None:
    attribute("GroupNormSilu", "activate_silu")(fused).i = 1


def other_groups(fused: Model) -> None:
    """With the types of mean and deviation that go with them, so that only numbers tell."""
    attribute("GroupNormSilu", "num_groups")(fused).i = 16
    shape = next(a for a in the(fused, "GroupNormSilu").proto.attribute if a.name == "shape")
    for several in shape.values[1:]:
        several.tensors[0].dims[1] = 16


def epsilon(op: str, name: str, value: float) -> Callable[[Model], None]:
    def plant(fused: Model) -> None:
        attribute(op, name)(fused).f = value

    return plant


def argument(op: str, position: int, value: float) -> Callable[[Model], None]:
    def plant(fused: Model) -> None:
        constant = fused.producer(the(fused, op).inputs[position])
        assert constant is not None
        next(a for a in constant.proto.attribute if a.name == "value").f = value

    return plant


def dropped(op: str, name: str) -> Callable[[Model], None]:
    """An attribute that is left to CANN, whose default is another."""

    def plant(fused: Model) -> None:
        held = fused.primitives[the(fused, op).proto.op_type].attribute
        held.remove(attribute(op, name)(fused))

    return plant


def exchanged(op: str, one: int, other: int) -> Callable[[Model], None]:
    def plant(fused: Model) -> None:
        inputs = the(fused, op).proto.input
        inputs[one], inputs[other] = inputs[other], inputs[one]

    return plant


def element(index: int) -> Callable[[Model], None]:
    """Every element taken of the composite is this one."""

    def plant(fused: Model) -> None:
        for item in fused.nodes:
            if item.op == "TupleGetItem":
                constant = fused.producer(item.inputs[1])
                assert constant is not None
                next(a for a in constant.proto.attribute if a.name == "value").i = index

    return plant


@dataclass(frozen=True)
class Mutant:
    """A graph, what is done to the composite in it, and a part of what is found."""

    text: str
    plant: Callable[[Model], None]
    found: str


NUMBERS, STRUCTURE, NOT_RUN = "differs in float64", " is declared ", "cannot be run"

MUTANTS = {
    "silu forgotten": Mutant(ACTIVATED, forgotten, NUMBERS),
    "silu where there was none": Mutant(PLAIN, unasked, NUMBERS),
    "groups wrong": Mutant(ACTIVATED, other_groups, NUMBERS),
    "epsilon of another size": Mutant(ACTIVATED, epsilon("GroupNormSilu", "eps", 1e-5), NUMBERS),
    "epsilon lost": Mutant(ACTIVATED, dropped("GroupNormSilu", "eps"), NOT_RUN),
    "activation left to CANN": Mutant(PLAIN, dropped("GroupNormSilu", "activate_silu"), NOT_RUN),
    "gain and offset exchanged": Mutant(ACTIVATED, exchanged("GroupNormSilu", 1, 2), NUMBERS),
    "the mean for the tensor": Mutant(ACTIVATED, element(1), STRUCTURE),
    "epsilon of LayerNormV3 of another size": Mutant(LAYER, argument("LayerNormV3", 5, 1e-6), NUMBERS),
    "gain and offset of LayerNormV3 exchanged": Mutant(LAYER, exchanged("LayerNormV3", 1, 2), NUMBERS),
    "epsilon of RmsNorm as where it is lost": Mutant(RMS, argument("RmsNorm", 2, 1e-6), NUMBERS),
    "epsilon of a norm that was written out, lost": Mutant(WRITTEN_OUT, argument("RmsNorm", 2, 1e-6), NUMBERS),
    "epsilon of AddLayerNorm of another size": Mutant(RESIDUAL, epsilon("AddLayerNorm", "epsilon", 1e-6), NUMBERS),
    "the sum for the norm": Mutant(RESIDUAL, element(3), NUMBERS),
    "the norm for the sum": Mutant(RESIDUAL, element(0), NUMBERS),
    "a sum that is not given out": Mutant(RESIDUAL, dropped("AddLayerNorm", "additional_output"), NOT_RUN),
}


@pytest.mark.parametrize("text", [ACTIVATED, PLAIN, LAYER, RMS, WRITTEN_OUT, RESIDUAL])
def test_a_sound_composite_passes_every_check(text: str, tmp_path: Path) -> None:
    result = verify(*pair(text), tmp_path)
    assert result.findings == ()
    # RmsNorm is the same operator of the same arguments, and no function any more.
    assert any("replaced operator" in note for note in result.notes) == (text != RMS)


@pytest.mark.parametrize("name", MUTANTS)
def test_each_mistake_is_found(name: str, tmp_path: Path) -> None:
    mutant = MUTANTS[name]
    original, fused = pair(mutant.text)
    mutant.plant(fused)
    findings = verify(original, Model(fused.proto), tmp_path).findings
    assert any(mutant.found in finding for finding in findings), findings
