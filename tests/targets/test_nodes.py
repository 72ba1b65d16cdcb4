"""Nodes of a graph as the target's tables see them: what arrives whole and is launched, and each way of losing it.

The forms that arrive, and the ways in which others do not, were found with MindSpore's and Lite's own converters.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from attnfuse.codes import CODES, NODE_CODES
from attnfuse.ir.graph import Model
from attnfuse.ir.text import parse_program
from attnfuse.ir.values import Values
from attnfuse.mindir.codec import serialise
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.mindir.schema import AttributeProto, PrimitiveProto
from attnfuse.targets import converter
from attnfuse.targets.facts import TensorFacts
from attnfuse.targets.limits import Target
from attnfuse.targets.nodes import composite_facts, deployment_refusals, fused_facts
from tests.support.graphs import GraphBuilder
from tests.support.launching import refusals_in, refusals_of

B, P = Target("lite", "ascend910b"), Target("lite", "ascend310p")
X = "x: float16[2, 77, 768]"
LAYER_NORM = (
    f"LayerNormV3({X}, g: float32[768], b: float32[768], 2, 2, 1e-6)"
    " -> (float16[2, 77, 768], float32[2, 77, 1], float32[2, 77, 1])[0]"
)
PRODUCT = (
    "MatMul(x: float16[2, 8], w: float16[4, 8], b: float16[4]; transpose_a=False, transpose_b=True) -> float16[2, 4]"
)
NORM = (
    "GroupNormSilu(x: float16[2, 320, 8, 8], g: float16[320], b: float16[320]; {})"
    " -> (float16[2, 320, 8, 8], float16[2, 32], float16[2, 32])"
)
AS_CUSTOM = (
    'reg_op_name="GroupNormSilu", input_names=["x", "gamma", "beta"], output_names=["y", "mean", "rstd"],'
    " num_groups=32, eps=1e-5, activate_silu=True"
)
GATE = "GeGluV2(x: float16[2, 77, 768]; {}) -> (float16[2, 77, 384], float16[2, 77, 384])"
ADDED = (
    "AddLayerNorm(x: float16[2, 77, 768], y: float16[2, 77, 768], g: float32[768], b: float32[768]; {})"
    " -> (float16[2, 77, 768], float32[2, 77, 1], float32[2, 77, 1], float16[2, 77, 768])"
)
ROTATED = "RotaryPositionEmbedding(x: float16[2, 77, 8, 64], c: float16[1, 77, 1, 64], s: float16[1, 77, 1, 64]{})"
GATED = 'Custom({}; reg_op_name="SwiGlu", input_names=[{}], output_names=["y"]{}) -> float16[2, 77, 384]'


def model_of(program: str, *primitives: str) -> Model:
    """The graph; the operators named are primitives that are no functions, though they have no attributes."""
    proto = parse_program(program)
    for entry in proto.primitives:
        if entry.op_type in primitives:
            entry.prim_type = PrimitiveProto.PRIMITIVE
    return Model(proto)


def codes(program: str, *primitives: str, target: Target = B) -> list[str]:
    return [refusal.code for _, _, refusal in refusals_of(model_of(program, *primitives), target)]


@pytest.mark.parametrize(
    "program",
    [
        NORM.format("num_groups=32, eps=1e-5, activate_silu=False") + "[0]",
        GATE.format("dim=-1, approximate=0, activate_left=False") + "[0]",
        ADDED.format("epsilon=1e-5, additional_output=True") + "[0]",
        ROTATED.format(", 1") + " -> float16[2, 77, 8, 64]",
        LAYER_NORM,
        f"RmsNorm({X}, g: float16[768], 1e-6) -> (float16[2, 77, 768], float32[2, 77, 1])[0]",
        f"Softmax({X}, (-1,)) -> float16[2, 77, 768]",
        "Split(x: float16[2, 64], -1, 2) -> (float16[2, 32], float16[2, 32])[1]",
        PRODUCT,
        GATED.format(X, '"x"', ", dim=-1"),
        f"Contiguous({X}) -> float16[2, 77, 768]; Reshape(y: float16[2, 8], (16,)) -> float16[16]",
    ],
)
def test_what_arrives_and_is_launched(program: str) -> None:
    assert codes(program) == []


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        # A composite's attributes are all written: CANN's defaults are others (SiLU on, tanh, the sum left out).
        (NORM.format("num_groups=32, eps=1e-5") + "[0]", ["converter.attribute"]),
        (NORM.format("eps=1e-5, activate_silu=True") + "[0]", ["converter.attribute", "composite.shape"]),
        (GATE.format("dim=-1, activate_left=False") + "[0]", ["converter.attribute"]),
        (ADDED.format("epsilon=1e-5") + "[0]", ["converter.attribute"]),
        # A rotation's mode is read as fourth input; as an attribute it is lost, and halves are rotated.
        (ROTATED.format("; mode=1") + " -> float16[2, 77, 8, 64]", ["converter.attribute"]),
        # An epsilon that is an argument of a function is lost.
        (
            f"RmsNorm({X}, g: float16[768], 1e-5) -> (float16[2, 77, 768], float32[2, 77, 1])[0]",
            ["converter.attribute"],
        ),
        (
            f"RmsNorm({X}, g: float16[768]; epsilon=1e-5) -> (float16[2, 77, 768], float32[2, 77, 1])[0]",
            ["converter.attribute"],
        ),
        (f"RmsNorm({X}, g: float16[768]; epsilon=1e-6) -> (float16[2, 77, 768], float32[2, 77, 1])[0]", []),
        (f"RmsNorm({X}, g: float16[768]) -> (float16[2, 77, 768], float32[2, 77, 1])[0]", []),
        # Several outputs are a tuple, and taken apart.
        (GATE.format("dim=-1, approximate=0, activate_left=False"), ["converter.tuple"]),
        (
            f"SiLU({GATE.format('dim=-1, approximate=0, activate_left=False')}) -> float16[2, 77, 384]",
            ["converter.tuple"],
        ),
        (
            f"GeGluV2({X}; dim=-1, approximate=0, activate_left=False) -> float16[2, 77, 384]",
            ["converter.tuple", "converter.tuple"],
        ),
        (f"SiLU({X}) -> (float16[2, 77, 768], float16[2, 77, 768])", ["converter.tuple"]),
        # No way to the operator, or to an input of it.
        (f"Swiglu({X}, -1) -> float16[2, 77, 384]", ["converter.adapter"]),
        (f"GeluExt({X}, 0) -> float16[2, 77, 768]", ["converter.adapter"]),
        (f"Select(c: bool[2], {X}, None) -> float16[2, 77, 768]", ["converter.limit", "converter.input"]),
        (f"Softmax({X}, a: int64[1]) -> float16[2, 77, 768]", ["converter.limit"]),
        # Types: a prototype's, where no kernel has more.
        ("Concat((x: bool[2], y: bool[2]), 0) -> bool[4]", ["converter.limit", *["converter.dtype"] * 2]),
        ("StridedSlice(x: bool[4], (0,), (2,), (1,), 0, 0, 0, 0, 0) -> bool[2]", []),
        ("Sin(x: float64[2]) -> float64[2]", ["kernel.ai_cpu"]),
        # A Custom names ports as GE does, in order, and gives none that is optional.
        (GATED.format(X, '"input"', ", dim=-1"), ["converter.input"]),
        (GATED.format(f"{X}, {X.replace('x', 'y', 1)}", '"x"', ""), ["converter.input"]),
        (GATED.format(X, '"x"', ", func_name='f'".replace("'", '"')), ["converter.attribute"]),
        (GATED.format(X, '"x"', ", dim=1.0"), ["converter.attribute_type", "composite.attribute"]),
        (NORM.format(AS_CUSTOM).replace("GroupNormSilu(", "Custom(", 1) + "[0]", ["converter.input"]),
        (GATED.format(X, '"x"', "").replace('["y"]', '["z"]'), ["converter.tuple"]),
        (GATED.format(X, '"x"', "").replace("SwiGlu", "Frobnicate"), ["converter.adapter"]),
        # No device launches it.
        (
            "GeGluV2(x: half[2, 7]; dim=-1, approximate=0, activate_left=False) -> (half[2, 3], half[2, 3])[0]".replace(
                "half", "float16"
            ),
            ["composite.shape"],
        ),
    ],
)
def test_what_is_lost_or_refused(program: str, expected: list[str]) -> None:
    assert codes(program) == expected


def test_an_epsilon_arrives_as_an_input_of_a_primitive() -> None:
    program = f"RmsNorm({X}, g: float16[768], {{}}) -> (float16[2, 77, 768], float32[2, 77, 1])[0]"
    assert codes(program.format("1e-5"), "RmsNorm") == []
    assert codes(program.format("e: float32[]"), "RmsNorm") == ["converter.attribute"]


@pytest.mark.parametrize("kind", [AttributeProto.INT32, AttributeProto.DOUBLE])
def test_an_attribute_of_another_kind_ends_in_an_exception(kind: AttributeProto.AttributeType) -> None:
    model = model_of(NORM.format("num_groups=32, eps=1e-5, activate_silu=False") + "[0]")
    (entry,) = (entry for entry in model.proto.primitives if entry.op_type == "GroupNormSilu")
    entry.attribute[0].type = kind
    assert "converter.attribute_type" in [refusal.code for _, _, refusal in refusals_of(model, B)]


@pytest.mark.parametrize("kind", [AttributeProto.DOUBLE, AttributeProto.NONE])
def test_one_such_attribute_of_a_custom_takes_the_others_with_it(kind: AttributeProto.AttributeType) -> None:
    model = model_of(GATED.format(X, '"x"', ", dim=-1"))
    (entry,) = model.proto.primitives
    entry.attribute.add(name="note", type=kind)
    assert [refusal.code for _, _, refusal in refusals_of(model, B)] == ["converter.attribute_type"]


def biased(*, rank: int = 4, learned: bool = True, readers: int = 1, convolved: bool = True) -> Model:
    """A BiasAdd behind a convolution, or behind something else."""
    g = GraphBuilder("part")
    x = g.input("x", (1, 8, 4, 4) if rank == 4 else (2, 8), FLOAT16)
    value = x
    if convolved:
        value = g.node("Conv2D", [x, g.weight("w", (8, 8, 1, 1), FLOAT16)], g.type_of(x))
        entry = next(entry for entry in g.proto.primitives if entry.op_type == "Conv2D")
        for name in ("stride", "pad_list", "dilation"):
            attribute = entry.attribute.add(name=name, type=AttributeProto.TUPLE)
            for _ in range(4):
                attribute.values.add(type=AttributeProto.INT64).ints.append(1)
    bias = g.weight("b", (8,), FLOAT16) if learned else g.input("b", (8,), FLOAT16)
    g.output(g.node("BiasAdd", [value, bias, g.constant(0)], g.type_of(x)))
    for _ in range(readers - 1):
        g.output(g.node("SiLU", [value], g.type_of(x)))
    return g.model()


def test_a_bias_of_rank_4_goes_into_a_convolution() -> None:
    def told(model: Model) -> list[str]:
        return [refusal.code for _, _, refusal in refusals_of(model, B)]

    assert told(biased()) == []
    assert told(biased(rank=2, convolved=False)) == []
    for other in (biased(learned=False), biased(readers=2), biased(convolved=False)):
        assert told(other) == ["converter.limit"]


def test_a_bias_of_a_product_is_seen_where_it_stands() -> None:
    """Third in the node, whose transposes are attributes, and fifth for the adapter; without a port in a batch."""
    assert codes(PRODUCT.replace("b: float16", "b: float64")) == ["converter.dtype", "kernel.ai_cpu"]
    assert codes(PRODUCT.replace("[2, 8]", "[3, 2, 8]").replace("-> float16[", "-> float16[3, ")) == ["converter.bias"]


def test_a_graph_is_deployable_without_a_kernel_and_not_with_a_loss() -> None:
    def told(program: str, runtime: str = "lite") -> list[str]:
        model = model_of(program)
        target = Target(runtime, "ascend910b")
        return [r.code for node in model.nodes for r in deployment_refusals(target, Values(model), node)]

    assert told("Sin(x: float64[2]) -> float64[2]") == []
    lost = NORM.format("num_groups=32, eps=1e-5") + "[0]"
    assert told(lost) == ["converter.attribute"]
    assert told(lost, "mindspore") == []
    mixed = "LayerNorm(x: bfloat16[2, 77, 768], g: float32[768], b: float32[768], 2, 2, 1e-6)"
    types = "(bfloat16[2, 77, 768], float32[2, 77, 1], float32[2, 77, 1])"
    assert codes(f"{mixed} -> {types}[0]") == ["kernel.cast"]
    assert told(f"{mixed} -> {types}[0]") == []


def test_every_code_of_a_node_is_documented() -> None:
    folder = Path(converter.__file__).parent
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
    used = set(re.findall(r'"((?:converter|composite|kernel|target)\.[a-z_]+)"', text))
    assert len(used) > 30
    assert used <= CODES.keys() | NODE_CODES.keys()
    assert NODE_CODES.keys() <= used
    assert not NODE_CODES.keys() & CODES.keys()


FUSED = (
    "PromptFlashAttention(q: float16[2, 8, 77, 40], k: float16[2, 2, 77, 40], v: float16[2, 2, 77, 40],"
    " m: bool[77, 77], None, None, None, None, None, None, None, None,"
    " 8, 0.25, 2147483647, 2147483647, 1, 2, 0, {}) -> float16[2, 8, 77, 40]"
)


def test_a_fused_node_is_read_in_full() -> None:
    model = model_of(FUSED.format(1))
    facts = fused_facts(Values(model), next(node for node in model.nodes if node.op == "PromptFlashAttention"))
    assert facts is not None
    assert (facts.layout, facts.heads, facts.kv_heads, facts.sparse_mode, facts.inner_precise) == ("BNSD", 8, 2, 0, 1)
    assert (str(facts.query), str(facts.key), str(facts.mask)) == (
        "float16[2, 8, 77, 40]",
        "float16[2, 2, 77, 40]",
        "bool[77, 77]",
    )
    assert facts.pse_shift is None


@pytest.mark.parametrize(
    ("target", "precise", "expected"),
    [
        (B, 1, []),
        (B, 0, ["target.head_multiple"]),
        (P, 1, ["target.mask_shape"]),
        (P, 0, ["target.inner_precise", "target.head_multiple", "target.mask_shape"]),
    ],
)
def test_a_fused_node_is_held_to_the_tiling(target: Target, precise: int, expected: list[str]) -> None:
    assert codes(FUSED.format(precise), target=target) == expected


def test_a_composite_is_read_by_the_names_of_the_engine() -> None:
    model = model_of(ROTATED.format(", 1") + " -> float16[2, 77, 8, 64]")
    facts = composite_facts(Values(model), next(node for node in model.nodes if node.op != "Constant"))
    assert facts is not None
    assert facts.operator == "RotaryPositionEmbedding"
    assert facts.inputs[1:] == (TensorFacts((1, 77, 1, 64), "float16"),) * 2
    assert facts.attributes == {"mode": 1}


def test_a_soc_without_the_type_is_told_by_its_kernels() -> None:
    program = "Add(x: bfloat16[2], y: bfloat16[2]) -> bfloat16[2]"
    assert codes(program) == []
    assert codes(program, target=P) == ["kernel.ai_cpu"]


def test_the_runtime_mindspore_is_asked_for_kernels_only() -> None:
    program = f"GeluExt({X}, 0) -> float16[2, 77, 768]"
    assert codes(program, target=Target("mindspore", "ascend910b")) == []


def test_a_folder_of_graphs(tmp_path: Path) -> None:
    (tmp_path / "a.mindir").write_bytes(serialise(parse_program("Sin(x: float64[2]) -> float64[2]")))
    (tmp_path / "b.mindir").write_bytes(serialise(parse_program("Sin(x: float32[2]) -> float32[2]")))
    (told,) = refusals_in(tmp_path, B)
    assert (told.file, told.op, told.refusal.code) == ("a.mindir", "Sin", "kernel.ai_cpu")
    assert str(told).startswith("a.mindir: Sin ")
