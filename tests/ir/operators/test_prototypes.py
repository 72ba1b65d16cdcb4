"""Composite operators, held to CANN's own prototypes: MindSpore 2.7.1 infers only some of them.

The table is written down here from CANN 8.1.RC1's headers (REG_OP, opp/built-in/op_proto/inc); the types were seen in
CANN's own shape inference over nodes of these operators on x86-64, no device. Names, positions and kinds are those of
the adapters and prototypes in `attnfuse.targets.ge`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from attnfuse.ir.operators.table import OPERATORS
from attnfuse.targets.composites import COMPOSITE_OPERATORS
from attnfuse.targets.ge import tables
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
    "LayerNormV3": Prototype(
        ("input_x", "gamma", "beta"),
        ("input_x", "gamma", "gamma"),
        {"begin_norm_axis": 1, "begin_params_axis": 1, "epsilon": 1e-7},  # MindSpore's; CANN's are 0, 0 and 1e-5
        arguments=("begin_norm_axis", "begin_params_axis", "epsilon"),
    ),
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
        types = example.value_type if isinstance(example.value_type, tuple) else (example.value_type,)
        dtypes = dict(
            zip(names, (argument.split(": ")[1].partition("[")[0] for argument in example.arguments), strict=False)
        )
        assert [str(value_type).partition("[")[0] for value_type in types] == [
            dtypes.get(o, o) for o in prototype.outputs
        ]


@pytest.mark.parametrize("name", COMPOSITE_OPERATORS)
def test_row_is_what_the_adapter_reads(name: str) -> None:
    """Inputs and arguments where it looks for them, attributes by the names it asks the primitive for."""
    adapter, prototype, row = tables().adapters[name], tables().prototypes[name], OPERATORS[name]
    inputs, attributes = row.signature.inputs, {p.name: p for p in row.signature.attributes}
    needed = {port.name: port.required for port in prototype.inputs}
    for port, position in adapter.inputs.items():
        parameter = inputs[position - 1]
        assert (parameter.name.removeprefix("input_"), parameter.optional) == (port, not needed[port])
    for ge, position in adapter.input_attributes.items():
        if ge not in attributes:
            assert (inputs[position - 1].name, inputs[position - 1].kind) == (ge, prototype.attributes[ge])
    assert set(attributes) == set(adapter.attributes)
    for own, ge in adapter.attributes.items():
        assert attributes[own].kind == prototype.attributes.get(ge, "int")
        assert attributes[own].has_default == (ge not in prototype.required)


@pytest.mark.parametrize("name", COMPOSITE_OPERATORS)
def test_results_are_as_many_as_the_adapter_has(name: str) -> None:
    types = [e.value_type for e in map(parse_example, OPERATORS[name].examples) if not e.refused]
    assert types
    assert {len(value_type) if isinstance(value_type, tuple) else 1 for value_type in types} == {
        tables().adapters[name].outputs
    }
