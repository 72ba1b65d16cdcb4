"""MindSpore's inference as a check: what it must find, and that its process may die without taking ours along."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from attnfuse.errors import VerificationError
from attnfuse.ir.graph import Model
from attnfuse.ir.text import infer as infer_node
from attnfuse.ir.text import parse_program
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32
from attnfuse.verify.inference import inferred_types
from tests.support.graphs import GraphBuilder, fill_type
from tests.verify.pairs import Block, Mistake


def infer(model: Model, folder: Path) -> inferred_types.Inference:
    return inferred_types.infer(model, "block", folder)


def declare(model: Model, op: str, tensor_type: TensorType) -> Model:
    node = next(n for n in model.nodes if n.op == op)
    shape = node.proto.attribute[0]
    shape.Clear()
    shape.name = "shape"
    fill_type(shape, tensor_type)
    return Model(model.proto)


@pytest.mark.mindspore
@pytest.mark.parametrize("node", ["FlashAttentionScore", "PromptFlashAttention"])
def test_a_right_graph_is_inferred_as_written(node: str, tmp_path: Path) -> None:
    model = Block(node=node, masked=True, biased=True).fused().model()
    result = infer(model, tmp_path)
    assert result.findings == ()
    typed = [n for n in model.nodes if n.op != "Constant" and model.types_of(n.name) is not None]
    assert result.compared == len(typed)
    assert result.mindspore.startswith("2.")
    assert list(tmp_path.glob("infer-*")) == []


CANNS_OWN = """
y = MatMul(x: bfloat16[6, 8], w: parameter bfloat16[10, 8], Cast(b: parameter bfloat16[10], 43); transpose_a=False,
    transpose_b=True)
Neg(Custom(y; reg_op_name="SwiGlu", input_names=("x",), output_names=("y",), dim=-1))
"""


@pytest.mark.mindspore
@pytest.mark.parametrize(("size", "found"), [(5, False), (4, True)])
def test_what_mindspore_does_not_take_is_asked_in_its_own_words(size: int, found: bool, tmp_path: Path) -> None:
    """A product with a bias, and GE's SwiGlu: the types behind them are those of its own operators."""
    model = Model(parse_program(CANNS_OWN, infer=infer_node))
    result = infer(declare(model, "Custom", TensorType((6, size), BFLOAT16)), tmp_path)
    assert result.rejected is None
    assert any("Custom" in finding for finding in result.findings) is found


ONE_MATRIX_FOR_ALL = """
y = BatchMatMul(x: float16[2, 8, 6], Reshape(w: parameter float16[10, 8], (1, 10, 8)), True, True)
Neg(BatchMatMul(v: parameter float16[1, 5, 6], y, False, False))
"""


@pytest.mark.mindspore
@pytest.mark.parametrize(("size", "found"), [(11, True), (10, False)])
def test_a_batch_is_multiplied_by_one_matrix(size: int, found: bool, tmp_path: Path) -> None:
    """MindSpore's inference takes it for Ascend alone, and the types are held to what it infers all the same."""
    model = Model(parse_program(ONE_MATRIX_FOR_ALL, infer=infer_node))
    result = infer(declare(model, "Neg", TensorType((2, 5, size), FLOAT16)), tmp_path)
    assert result.rejected is None
    assert any("Neg" in finding for finding in result.findings) is found


@pytest.mark.mindspore
def test_stale_types_are_found(tmp_path: Path) -> None:
    """MindSpore itself recomputes them in silence; so the written ones are held against the recomputed ones."""
    model = declare(Block().fused().model(), "Cast", TensorType((2, 4, 24, 17), FLOAT16))
    findings = infer(model, tmp_path).findings
    assert any("Cast" in f and "float16[2, 4, 24, 17], inferred as float16[2, 4, 24, 16]" in f for f in findings)


@pytest.mark.mindspore
def test_an_output_declared_wrongly_is_found(tmp_path: Path) -> None:
    proto = Block().fused().build()
    proto.graph.output[0].tensor[0].data_type = FLOAT16.wire
    findings = infer(Model(proto), tmp_path).findings
    assert findings == ("output CNode_28:28 is written as float16[2, 24, 64], inferred as float32[2, 24, 64].",) or any(
        "is written as float16[2, 24, 64], inferred as float32[2, 24, 64]" in f for f in findings
    )


@pytest.mark.mindspore
def test_what_mindspore_rejects_is_told_in_its_words(tmp_path: Path) -> None:
    findings = infer(Block(mistake=Mistake(restore=False)).fused().model(), tmp_path).findings
    assert len(findings) == 1
    assert findings[0].startswith("MindSpore rejects the graph: TypeError")
    assert "\n" not in findings[0]


@pytest.mark.mindspore
def test_mixed_types_are_for_the_structural_check(tmp_path: Path) -> None:
    """MindSpore 2.7.1 rejects a value of another type than the query's; 2.10 infers on (see test_structure.py)."""
    result = infer(Block(mistake=Mistake(casts=(True, True, False))).fused().model(), tmp_path)
    told = [finding for finding in result.findings if "the input type must be same" in finding]
    assert len(told) == (1 if result.mindspore == "2.7.1" else 0)
    assert list(result.findings) == told


@pytest.mark.mindspore
def test_the_weights_are_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def look(request: dict[str, list[dict[str, str]]], name: str, work: Path, seconds: float) -> dict[str, object]:
        seen["bytes"] = Path(request["graphs"][0]["source"]).read_bytes()
        return {"errors": ["stopped"], "mindspore": "0"}

    monkeypatch.setattr(inferred_types, "_run", look)
    model = Block().fused().model()
    infer(model, tmp_path)
    weight = next(iter(model.parameters())).raw_data
    assert weight
    assert weight[:64] not in seen["bytes"]


def python(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A stand-in for the interpreter, as MindSpore cannot be made to crash at will."""
    script = folder / "python"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kill -SEGV $$", "died .exit code -11."),
        ("echo noise; exit 0", "died .exit code 0."),
        ("echo MemoryError >&2; exit 1", "exit code 1.*MemoryError"),
        ("""echo "ModuleNotFoundError: No module named 'mindspore'" >&2; exit 1""", "MindSpore is not installed"),
    ],
)
def test_a_worker_that_dies_is_one_sentence(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python(tmp_path, monkeypatch, text)
    with pytest.raises(VerificationError, match=message) as caught:
        infer(Block().fused().model(), tmp_path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_worker_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python(tmp_path, monkeypatch, "exec sleep 60")
    monkeypatch.setattr(inferred_types, "TIMEOUT_SECONDS", 0.5)
    with pytest.raises(VerificationError, match="did not end within"):
        infer(Block().fused().model(), tmp_path)


def test_a_larger_graph_is_given_longer() -> None:
    model = Block().fused().model()
    one, two = inferred_types.seconds_for([model]), inferred_types.seconds_for([model, model])
    assert inferred_types.LEAST_SECONDS < one < two
    assert inferred_types.seconds_for([model] * 1000) == inferred_types.TIMEOUT_SECONDS


def test_every_node_is_renamed_in_the_copy_only() -> None:
    model = Block().fused().model()
    names = [n.name for n in model.nodes]
    copy = Model(inferred_types._stripped(model))
    assert [n.name for n in model.nodes] == names
    for i, node in enumerate(copy.nodes):
        if node.op != "Constant":
            assert f":attnfuse_n{i}:" in node.name
    assert [n.op for n in copy.nodes] == [n.op for n in model.nodes]
    assert all(not p.raw_data for p in copy.parameters())
    assert copy.type_of(copy.proto.graph.output[0].name) == TensorType((2, 24, 64), FLOAT32)


def test_a_size_that_mindspore_does_not_know_agrees_only_where_a_batch_is_open() -> None:
    written, unknown = TensorType((-1, 2, 6), FLOAT16), TensorType((-1, -1, -1), FLOAT16)
    assert inferred_types._agree(written, unknown, is_open=True)
    assert inferred_types._agree((written, None), (unknown, None), is_open=True)
    assert not inferred_types._agree(written, unknown, is_open=False)
    assert not inferred_types._agree(unknown, written, is_open=True)  # what is written must say at least as much
    assert not inferred_types._agree(written, TensorType((-1, -1, 7), FLOAT16), is_open=True)
    assert not inferred_types._agree(written, TensorType((-1, -1), FLOAT16), is_open=True)
    assert not inferred_types._agree(written, TensorType((-1, -1, -1), FLOAT32), is_open=True)
    assert not inferred_types._agree((written,), (unknown, None), is_open=True)


def test_a_fused_node_of_which_mindspore_infers_no_shape_and_what_is_made_of_it() -> None:
    """Up to the Reshape that says it; elsewhere a shape that is not inferred is a finding."""
    g = GraphBuilder("open")
    q = g.input("q", (2, 4, 6, 16), FLOAT16)
    fused = g.prompt_flash_attention(q, q, q, heads=4, scale=0.25, layout="BNSD_BSND")
    scaled = g.muls(fused, 2.0)
    g.output(g.reshape(scaled, (2, 6, 64)))
    model = g.model()
    nodes = {node.op: node for node in model.nodes}
    declared, unknown = TensorType((2, 6, 4, 16), FLOAT16), TensorType((-2,), FLOAT16)

    def accepted(op: str, found: TensorType, *without_shape: str) -> bool:
        return inferred_types._gives_no_shape(nodes[op], declared, found, set(without_shape))

    assert accepted("PromptFlashAttention", unknown)
    assert accepted("Muls", unknown, fused)
    assert accepted("Muls", TensorType((-1, -1, -1, 16), FLOAT16), fused)
    assert not accepted("Muls", unknown)
    assert not accepted("Muls", TensorType((2, 6, 4, 17), FLOAT16), fused)
    assert not accepted("PromptFlashAttention", TensorType((-2,), FLOAT32))
    assert not accepted("PromptFlashAttention", TensorType((2, 4, 6, 16), FLOAT16))
    assert not accepted("PromptFlashAttention", declared)  # that is compared
