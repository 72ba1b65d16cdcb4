"""Composite operators, held to CANN's own prototypes: MindSpore 2.7.1 infers only some of them.

The table is written down here from CANN 8.1.RC1's headers (REG_OP, opp/built-in/op_proto/inc) and from the port numbers
of MindSpore 2.7.1's adapters (op_adapter/op_declare); the types were seen in CANN's own shape inference over nodes of
these operators on x86-64, no device.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from attnfuse.ir.operators.table import OPERATORS
from tests.support.operator_examples import parse_example


@dataclass(frozen=True, slots=True)
class Prototype:
    """Inputs (`?`: optional), outputs with the input whose element type they have (or a type), attributes."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, object]
    required: tuple[str, ...] = ()
    arguments: tuple[str, ...] = field(default=())
    """Attributes that MindSpore takes as inputs, behind the others."""


PROTOTYPES = {
    "GroupNormSilu": Prototype(
        ("x", "gamma?", "beta?"),
        ("x", "x", "x"),
        {"eps": 1e-5, "activate_silu": True},
        required=("num_groups",),
    ),
    "GeGluV2": Prototype(("x",), ("x", "x"), {"dim": -1, "approximate": 1, "activate_left": False}),
    "AddLayerNorm": Prototype(
        ("x1", "x2", "gamma", "beta", "bias?"),
        ("x1", "float32", "float32", "x1"),
        {"epsilon": 1e-5, "additional_output": False},
    ),
    "RmsNorm": Prototype(("x", "gamma"), ("x", "float32"), {"epsilon": 1e-6}, arguments=("epsilon",)),
    "AddRmsNorm": Prototype(("x1", "x2", "gamma"), ("x1", "float32", "x1"), {"epsilon": 1e-6}, arguments=("epsilon",)),
    "RotaryPositionEmbedding": Prototype(("x", "cos", "sin"), ("x",), {"mode": 0}, arguments=("mode",)),
}


@pytest.mark.parametrize("name", PROTOTYPES)
def test_row_is_the_prototype(name: str) -> None:
    signature, prototype = OPERATORS[name].signature, PROTOTYPES[name]
    tensors = tuple(p.name + "?" * p.optional for p in signature.inputs if p.kind == "tensor")
    assert tensors == prototype.inputs
    told = [*signature.attributes, *(p for p in signature.inputs if p.kind != "tensor")]
    assert {p.name: p.default.value for p in told if p.has_default} == prototype.attributes
    assert tuple(p.name for p in told if not p.has_default) == prototype.required
    assert tuple(p.name for p in signature.inputs if p.kind != "tensor") == prototype.arguments


@pytest.mark.parametrize("name", PROTOTYPES)
def test_results_have_the_types_of_the_prototype(name: str) -> None:
    prototype = PROTOTYPES[name]
    names = [text.removesuffix("?") for text in prototype.inputs]
    for example in map(parse_example, OPERATORS[name].examples):
        if example.refused:
            continue
        kinds = example.kind if isinstance(example.kind, tuple) else (example.kind,)
        dtypes = dict(
            zip(names, (argument.split(": ")[1].partition("[")[0] for argument in example.arguments), strict=False)
        )
        assert [str(kind).partition("[")[0] for kind in kinds] == [dtypes.get(o, o) for o in prototype.outputs]
