"""Mistakes planted in gates, GELUs and rotations: each is found, and nothing is found without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.text import infer, parse_program, signature
from attnfuse.mindir import codec
from attnfuse.pass_manager import Context
from attnfuse.policy import Policy
from attnfuse.targets import Target
from attnfuse_passes.composites.composites import Composites
from attnfuse_passes.legalise.legalise import Legalise
from tests.verify.test_composites import (
    NOT_RUN,
    NUMBERS,
    Mutant,
    attribute,
    dropped,
    element,
    exchanged,
    no_inference,
    the,
    verify,
)

__all__ = ["no_inference"]  # a fixture, for every test of this module

PROJECTED = "Dense(x: float16[2, 6, 16], w: parameter float16[64, 16], b: parameter float16[64])"
WIDE = PROJECTED.replace("16]", "32]")
"""Of as many features as half of what it gives: its weights are not cut."""
GATE = f"a = Chunk({WIDE}, 2, -1); Mul(a[0], GeluExt(a[1], 0))"
TANH_GATE = f"a = Chunk({WIDE}, 2, -1); Mul(a[0], GeluExt(a[1], 1))"
CUT_GATE = f"a = Chunk({PROJECTED}, 2, -1); Mul(a[0], GeluExt(a[1], 0))"
CUT_TANH_GATE = f"a = Chunk({PROJECTED}, 2, -1); Mul(a[0], GeluExt(a[1], 1))"
SWIGLU = f"a = Chunk({PROJECTED}, 2, -1); Mul(SiLU(a[0]), a[1])"
CHAIN = """
a = Muls(Add(x: float32[4, 64], Muls(PowTensorScalar(x, 3), 0.044715)), 0.7978845608028654)
Mul(Muls(x, 0.5), Adds(Tanh(a), 1.0))
"""
PAIRS = """
u = UnstackExtView(Reshape(x: float32[2, 6, 3, 8], (2, 6, 3, 4, 2)), -1)
r = Reshape(StackExt((Neg(u[1]), u[0]), -1), (2, 6, 3, 8))
Add(Mul(x, c: float32[1, 6, 1, 8]), Mul(r, s: float32[1, 6, 1, 8]))
"""
HALVES = """
a = Chunk(x: float16[2, 3, 6, 8], 2, -1); r = Concat((Neg(a[1]), a[0]), -1)
Add(Mul(x, c: float16[1, 1, 6, 8]), Mul(r, s: float16[1, 1, 6, 8]))
"""
CONVOLUTION = """
Conv2DExt(x: float16[2, 4, 8, 8], w: parameter float16[4, 4, 3, 3], b: parameter float16[4], (1, 1), (1, 1), (1, 1), 1)
"""
LEGALISED = (PROJECTED, CONVOLUTION)


def pair(text: str) -> tuple[Model, Model]:
    """A graph, and what the pass makes of it; of a bias, what legalisation does."""
    original, fused = (Model(parse_program(text, infer=infer, signature=signature)) for _ in range(2))
    step = Legalise() if text in LEGALISED else Composites(swiglu="custom", gelu_gate="cost")
    assert step.run(fused, Context("part", "part", Policy(), Target("lite", "ascend910b")))
    return original, Model(codec.parse(codec.serialise(fused.proto), "the rewritten graph"))


def whole(op: str, name: str, value: int) -> Callable[[Model], None]:
    def plant(fused: Model) -> None:
        attribute(op, name)(fused).i = value

    return plant


def mode(value: int) -> Callable[[Model], None]:
    def plant(fused: Model) -> None:
        constant = fused.producer(the(fused, "RotaryPositionEmbedding").inputs[3])
        assert constant is not None
        next(a for a in constant.proto.attribute if a.name == "value").i = value

    return plant


def mode_lost(fused: Model) -> None:
    """As where it is an attribute."""
    del the(fused, "RotaryPositionEmbedding").proto.input[3:]


def without_bias(op: str) -> Callable[[Model], None]:
    def plant(fused: Model) -> None:
        del the(fused, op).proto.input[2:]

    return plant


def of_another_operator(fused: Model) -> None:
    attribute("Custom", "reg_op_name")(fused).s = b"GeluV2"


def halves_exchanged(fused: Model) -> None:
    """The activation takes what the gate should."""
    gate, gelu = the(fused, "Mul").proto, the(fused, "GeluExt").proto
    gate.input[0], gelu.input[0] = gelu.input[0], gate.input[0]


def another_half(fused: Model) -> None:
    """The first product's weight in the second as well."""
    first, second = (node.proto for node in fused.nodes if node.op == "Dense")
    second.input[1] = first.input[1]


def with_tanh(fused: Model) -> None:
    constant = fused.producer(the(fused, "GeluExt").inputs[1])
    assert constant is not None
    next(a for a in constant.proto.attribute if a.name == "value").i = 1


MUTANTS = {
    "cut halves exchanged": Mutant(CUT_GATE, halves_exchanged, NUMBERS),
    "one half of the weights twice": Mutant(CUT_GATE, another_half, NUMBERS),
    "tanh for erf behind cut weights": Mutant(CUT_GATE, with_tanh, NUMBERS),
    "gate halves swapped": Mutant(GATE, whole("GeGluV2", "activate_left", 1), NUMBERS),
    "tanh for erf": Mutant(GATE, whole("GeGluV2", "approximate", 1), NUMBERS),
    "erf for tanh": Mutant(TANH_GATE, whole("GeGluV2", "approximate", 0), NUMBERS),
    "the form left to CANN": Mutant(GATE, dropped("GeGluV2", "approximate"), NOT_RUN),
    "the activated half for the gated": Mutant(GATE, element(1), NUMBERS),
    "another operator of GE": Mutant(SWIGLU, of_another_operator, NOT_RUN),
    "halves for pairs": Mutant(PAIRS, mode(0), NUMBERS),
    "a mode that is lost": Mutant(PAIRS, mode_lost, NUMBERS),
    "pairs for halves": Mutant(HALVES, mode(1), NUMBERS),
    "a mode of other chips": Mutant(HALVES, mode(2), NOT_RUN),
    "cosines and sines exchanged": Mutant(PAIRS, exchanged("RotaryPositionEmbedding", 1, 2), NUMBERS),
    "a product's bias lost": Mutant(PROJECTED, without_bias("MatMul"), NUMBERS),
    "a convolution's bias lost": Mutant(CONVOLUTION, without_bias("Conv2D"), NUMBERS),
}


@pytest.mark.parametrize("text", [GATE, TANH_GATE, CUT_GATE, CUT_TANH_GATE, SWIGLU, CHAIN, PAIRS, HALVES, *LEGALISED])
def test_a_sound_rewrite_passes_every_check(text: str, tmp_path: Path) -> None:
    result = verify(*pair(text), tmp_path)
    assert result.findings == ()
    assert any("replaced operator" in note for note in result.notes)


@pytest.mark.parametrize("name", MUTANTS)
def test_each_mistake_is_found(name: str, tmp_path: Path) -> None:
    mutant = MUTANTS[name]
    original, fused = pair(mutant.text)
    mutant.plant(fused)
    findings = verify(original, Model(fused.proto), tmp_path).findings
    assert any(mutant.found in finding for finding in findings), findings
