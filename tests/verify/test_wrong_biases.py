"""Biases and masks that a rewrite narrows as they are: the old mistakes, planted by hand, are found.

The right way passes beside them.

A bias of float32 is narrowed to the node's type without being shifted by its row's largest number; a mask that is added
is narrowed to −inf. Every graph here is written by hand, so that nothing depends on what the passes do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest

from attnfuse.errors import VerificationError
from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, DType
from attnfuse.mindir.schema import PrimitiveProto, TensorProto
from attnfuse.verify import ComponentVerification, verify_component
from attnfuse.verify.inference import inferred_types
from attnfuse.verify.lowering import Arithmetic, Rounding, lower
from attnfuse.verify.numbers.comparison import ALGEBRA_BOUND, relative_error
from attnfuse.verify.numbers.execution import run
from tests.support.graphs import GraphBuilder

BATCH, HEADS, HEAD = 2, 2, 48
SCALE = HEAD**-0.5  # no power of two: a bias divided by it is rounded
MADE_ANEW = 1000
LOWEST = float(np.finfo(np.float32).min)
NODES = ("PromptFlashAttention", "FlashAttentionScore")

Bias = Callable[[int], npt.NDArray[np.float64]]


def alibi(length: int) -> npt.NDArray[np.float64]:
    """[1, N, 1, T]: absolute positions, as large as the sequence is long."""
    slopes: npt.NDArray[np.float64] = np.array([0.7071, 0.25]).reshape(1, HEADS, 1, 1)
    return np.multiply(slopes, np.arange(length))


def alibi_whole(length: int) -> npt.NDArray[np.float64]:
    """[1, N, S, T]."""
    return np.broadcast_to(alibi(length), (1, HEADS, length, length)).copy()


def alibi_of_one_head(length: int) -> npt.NDArray[np.float64]:
    """[S, T]."""
    head: npt.NDArray[np.float64] = alibi_whole(length)[0, 0]
    return head


def alibi_of_keys(length: int) -> npt.NDArray[np.float64]:
    """[1, 1, 1, T]."""
    return alibi(length)[:, :1]


def alibi_causal(length: int) -> npt.NDArray[np.float64]:
    """[1, N, S, T], future keys −inf: what is shifted by the largest number of the row is what a query may see."""
    return np.where(np.triu(np.ones((length, length), np.bool_), 1), -np.inf, alibi_whole(length))


def small(length: int) -> npt.NDArray[np.float64]:
    """[S, T], as a learned bias is."""
    return np.random.Generator(np.random.Philox(3)).standard_normal((length, length))


@dataclass(frozen=True)
class Biased:
    """Attention with a float32 bias, and the node it is fused to.

    `held` says where the bias comes from, `dtype` is that of query, key and value; scores and softmax are float32.
    """

    bias: Bias
    compute: DType = FLOAT16
    node: str = NODES[0]
    dtype: DType = FLOAT32
    held: Literal["constant", "parameter"] = "constant"
    length: int = 128
    shifted: bool = False
    spread: Literal["written out", "broadcast", "tiled", "cast", "joined"] = "written out"
    """How the fused graph brings its bias to [1, N, S, T]."""

    def __str__(self) -> str:
        return f"{self.bias.__name__} as {self.held}, {self.spread}, {self.dtype} in {self.compute}"

    def original(self) -> Model:
        g = GraphBuilder("block")
        q, k, v = self.operands(g)
        values = self.bias(self.length).astype(np.float32)
        scores = g.matmul_ext(q, g.transpose(k, (0, 1, 3, 2)))
        scores = g.muls(g.cast(scores, FLOAT32) if self.dtype is not FLOAT32 else scores, SCALE)
        scores = g.add(scores, g.parameter("alibi", values) if self.held == "parameter" else values)
        weights = g.softmax(scores)
        g.output(g.matmul_ext(g.cast(weights, self.dtype) if self.dtype is not FLOAT32 else weights, v))
        return g.model()

    def fused(self) -> Model:
        g = GraphBuilder("block", first=MADE_ANEW)
        q, k, v = (g.cast(x, self.compute) if self.dtype is not self.compute else x for x in self.operands(g))
        out = attention(g, self.node, (q, k, v), bias=self.stored(g))
        g.output(g.cast(out, self.dtype) if self.dtype is not self.compute else out)
        return g.model()

    def operands(self, g: GraphBuilder) -> tuple[str, str, str]:
        q, k, v = (g.input(name, (BATCH, HEADS, self.length, HEAD), self.dtype) for name in ("q", "k", "v"))
        return q, k, v

    def stored(self, g: GraphBuilder) -> str:
        """The bias as the fused node takes it: of its type, divided by the scale where it is added before it."""
        factor = 1 / SCALE if self.node == "FlashAttentionScore" else 1.0
        whole = (1, HEADS, self.length, self.length)
        values = self.bias(self.length)
        if self.shifted:
            values = values - values.max(-1, keepdims=True)
        if self.held == "parameter":
            loaded = g.parameter("alibi", self.bias(self.length).astype(np.float32))
            if self.shifted:
                loaded = g.sub(loaded, g.node("ReduceMax", [loaded, *map(g.constant, (-1, True))], reduced(g, loaded)))
            return g.broadcast_to(g.cast(g.muls(loaded, factor), self.compute), whole)
        values = values.reshape((1,) * (4 - values.ndim) + values.shape) * factor
        kind = self.compute.numpy
        if self.spread == "written out":
            return g.constant(np.broadcast_to(values, whole).astype(kind).copy())
        if self.spread == "broadcast":
            return g.broadcast_to(g.constant(values.astype(kind)), whole)
        if self.spread == "tiled":
            return g.tile(g.constant(values.astype(kind)), [w // n for w, n in zip(whole, values.shape, strict=True)])
        if self.spread == "cast":  # narrowed in the file and widened again
            wide = g.cast(g.constant(values.astype(kind)), FLOAT32)
            return g.broadcast_to(g.cast(wide, self.compute), whole)
        parts = [g.constant(part.astype(kind)) for part in np.split(np.broadcast_to(values, whole).copy(), 2, axis=2)]
        return g.reshape(g.concat(parts, 2), whole)


def reduced(g: GraphBuilder, x: str) -> Any:
    return type(g.type_of(x))((*g.dims(x)[:-1], 1), g.type_of(x).dtype)


def attention(g: GraphBuilder, node: str, operands: tuple[str, str, str], *, bias: str, mask: str | None = None) -> str:
    q, k, v = operands
    if node == "FlashAttentionScore":
        return g.flash_attention_score(q, k, v, heads=HEADS, scale=SCALE, real_shift=bias, attn_mask=mask)
    return g.prompt_flash_attention(q, k, v, heads=HEADS, scale=SCALE, pse_shift=bias, attn_mask=mask)


def verify(
    original: Model, fused: Model, folder: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Array] | None = None
) -> ComponentVerification:
    """The whole check without MindSpore's inference, the graphs' results called alike; `given` are inputs to run on."""
    monkeypatch.setattr(inferred_types, "infer", lambda model, name, work: inferred_types.Inference((), 0, "not run"))
    data = []
    if given is not None:
        names = [value.name.rpartition(":")[2] for value in original.proto.graph.input]
        data.append(folder / "given.npz")
        np.savez(data[0], **{name: given[name] for name in names})
    files = folder / "original.mindir", folder / "fused.mindir"
    rename_result(fused, result_of(original))
    for file, model in zip(files, (original, fused), strict=True):
        file.write_bytes(codec.serialise(model.proto))
    return verify_component(name="x", original=files[0], fused=files[1], level="full", seed=0, work=folder, data=data)


def result_of(model: Model) -> str:
    """The value that the graph hands out, whatever state it waits for."""
    name = str(model.proto.graph.output[0].name)
    node = model.producer(name)
    return node.inputs[0] if node is not None and node.op == "Depend" else name


def rename_result(model: Model, name: str) -> None:
    """A rewrite keeps the name of what it recomputes."""
    old = result_of(model)
    for node in model.proto.graph.node:
        values = [name if value == old else value for value in node.input]
        del node.input[:]
        node.input.extend(values)
        if node.output[0] == old:
            node.name = node.output[0] = name
    for output in model.proto.graph.output:
        output.name = name if output.name == old else output.name


def found_by(result: ComponentVerification) -> set[str]:
    """What each finding is about; one of given inputs begins with `on FILE: `."""
    told = (finding.split(": ", 1)[1] if finding.startswith("on ") else finding for finding in result.findings)
    return {finding.partition(" ")[0] for finding in told}


WRONG = [
    Biased(alibi_whole, BFLOAT16, dtype=BFLOAT16),
    Biased(alibi_whole, FLOAT16, dtype=FLOAT16),
    Biased(alibi_whole, BFLOAT16),
    Biased(alibi_whole, FLOAT16),
    Biased(alibi, BFLOAT16, spread="broadcast"),
    Biased(alibi, FLOAT16, spread="tiled"),
    Biased(alibi_of_one_head, FLOAT16, spread="cast"),
    Biased(alibi_of_keys, BFLOAT16, spread="joined"),
    Biased(alibi_causal, FLOAT16),
    Biased(alibi_causal, BFLOAT16, dtype=BFLOAT16),
    Biased(alibi, FLOAT16, dtype=FLOAT16, held="parameter"),
    Biased(alibi, BFLOAT16, held="parameter"),
    Biased(alibi_whole, FLOAT16, held="parameter"),
    Biased(alibi_of_keys, BFLOAT16, dtype=BFLOAT16, held="parameter"),
]


@pytest.mark.parametrize(("number", "case"), list(enumerate(WRONG)), ids=str)
def test_a_large_bias_narrowed_as_it_is_is_found(
    number: int, case: Biased, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = replace(case, node=NODES[number % 2])
    wrong = verify(case.original(), case.fused(), tmp_path, monkeypatch)
    assert found_by(wrong) == {"output", "site"}
    (figures,) = wrong.outputs
    assert figures.fused > 2 * figures.tolerance
    right = replace(case, shifted=True)
    assert verify(right.original(), right.fused(), tmp_path, monkeypatch).findings == ()


@pytest.mark.parametrize(("node", "compute"), [(NODES[0], BFLOAT16), (NODES[1], FLOAT16)])
@pytest.mark.parametrize("spread", ["written out", "broadcast", "tiled", "cast", "joined"])
def test_a_small_bias_may_be_stored_as_it_is(
    spread: Any, compute: DType, node: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Biased(small, compute, node, length=8, spread=spread)
    result = verify(case.original(), case.fused(), tmp_path, monkeypatch)
    assert result.findings == ()
    (site,) = result.sites
    # In float64 what the file rounds is seen, and not taken for another mathematics.
    assert 1e-5 < site.figures.fused_in_float64 < site.figures.tolerance_in_float64 < 2e-2


@pytest.mark.parametrize(("node", "compute"), [(NODES[0], BFLOAT16), (NODES[1], FLOAT16)])
@pytest.mark.parametrize(("factor", "found"), [(1.0, set()), (1.05, {"site"})])
def test_what_storing_a_bias_costs_is_asked_of_each_draw(
    factor: float, found: set[str], node: str, compute: DType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The given values leave each row a single weight, where no bias costs or changes anything; drawn ones do not."""
    case = Biased(small, compute, node, length=8)
    other = replace(case, bias=lambda length: small(length) * factor)
    rows = np.broadcast_to(50 * np.eye(8, HEAD, dtype=np.float32), (BATCH, HEADS, 8, HEAD))
    given = {"q": rows, "k": rows, "v": normal(BATCH, HEADS, 8, HEAD, name="v")}
    result = verify(case.original(), other.fused(), tmp_path, monkeypatch, given)
    assert found_by(result) == found
    (site,) = result.sites
    assert site.figures.tolerance_in_float64 == ALGEBRA_BOUND


def holding_nothing(parameter: TensorProto) -> Array:
    raise AssertionError(parameter.name)


def test_a_bias_costs_something_wherever_two_keys_are_left() -> None:
    """Were both moved alike, as signs may fall, the row would be shifted, and no rounding allowed to a right site."""
    bias = np.linspace(0.1, 0.7, LENGTH).astype(np.float16)
    g = GraphBuilder("block")
    keep = g.input("keep", (BATCH, 1, 1, LENGTH), BOOL)
    q, k, v = (g.input(name, (BATCH, HEADS, LENGTH, HEAD), FLOAT16) for name in "qkv")
    scores = g.add(g.muls(g.matmul_ext(q, g.transpose(k, (0, 1, 3, 2))), SCALE), bias)
    hidden = g.masked_fill(scores, g.logical_not(keep), np.array(-65504, np.float16))
    softmax = g.softmax(hidden)
    g.output(g.matmul_ext(softmax, v))
    original = g.model()
    stored = tuple(node.name for node in original.nodes if node.op in ("Muls", "Add", "MaskedFill", "MatMulExt"))[:4]
    rounding = {softmax: Rounding(FLOAT16, stored=stored, added=FLOAT16)}
    values: dict[str, Array] = {
        operand: GIVEN[name].astype(np.float16) for operand, name in zip((q, k, v), "qkv", strict=True)
    }
    for pair in combinations(range(LENGTH), 2):
        values[keep] = np.isin(np.arange(LENGTH), pair) & np.ones((BATCH, 1, 1, 1), np.bool_)
        exact, moved = (
            run(lower(original, Arithmetic.EXACT, kept), values, holding_nothing)[0] for kept in ({}, rounding)
        )
        assert relative_error(moved, exact, np.isfinite(exact)) > 1e-4, pair


def test_another_bias_of_a_size_that_may_be_stored_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What storing costs is the original's, so it does not grow with the mistake."""
    case = Biased(small, length=8, spread="broadcast")
    other = replace(case, bias=lambda length: small(length) * 1.02)
    assert found_by(verify(case.original(), other.fused(), tmp_path, monkeypatch)) == {"output", "site"}


@pytest.mark.parametrize(("bias", "found"), [(small, set()), (alibi_whole, {"output", "site"})])
def test_a_bias_that_is_scaled_for_the_other_operator_is_stored_anew(
    bias: Bias, found: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FlashAttentionScore adds its bias before the scale, PromptFlashAttention behind it."""
    length = 128 if found else 8
    models = []
    for node, first in (("FlashAttentionScore", 0), ("PromptFlashAttention", MADE_ANEW)):
        g = GraphBuilder("block", first=first)
        q, k, v = (g.input(name, (BATCH, HEADS, length, HEAD), FLOAT16) for name in "qkv")
        values = np.broadcast_to(bias(length) / SCALE, (1, HEADS, length, length)).astype(np.float16)
        held = g.constant(values.copy())
        held = g.muls(held, SCALE) if node == "PromptFlashAttention" else held
        g.output(attention(g, node, (q, k, v), bias=held))
        models.append(g.model())
    assert found_by(verify(models[0], models[1], tmp_path, monkeypatch)) == found


# --- masks that are added


def normal(*dims: int, name: str) -> npt.NDArray[np.float32]:
    generator = np.random.Generator(np.random.Philox(sum(name.encode())))
    return generator.standard_normal(dims).astype(np.float32)


LENGTH = 8
GIVEN = {name: normal(BATCH, HEADS, LENGTH, HEAD, name=name) for name in "qkv"}


def operands(g: GraphBuilder) -> tuple[str, str, str]:
    q, k, v = (g.input(name, (BATCH, HEADS, LENGTH, HEAD)) for name in "qkv")
    return q, k, v


def formula(g: GraphBuilder, bias: str, keep: str | None = None) -> None:
    q, k, v = operands(g)
    scores = g.add(g.muls(g.matmul_ext(q, g.transpose(k, (0, 1, 3, 2))), SCALE), bias)
    if keep is not None:
        scores = g.masked_fill(scores, g.logical_not(keep), np.array(LOWEST, np.float32))
    g.output(g.matmul_ext(g.softmax(scores), v))


def node_with(g: GraphBuilder, bias: str, compute: DType, node: str, keep: str | None = None) -> None:
    """The bias narrowed as it is, keys discarded beside it."""
    q, k, v = (g.cast(x, compute) for x in operands(g))
    factor = 1 / SCALE if node == "FlashAttentionScore" else 1.0
    narrow = g.broadcast_to(g.cast(g.muls(bias, factor), compute), (1, HEADS, LENGTH, LENGTH))
    mask = g.broadcast_to(g.logical_not(keep), (BATCH, 1, LENGTH, LENGTH)) if keep is not None else None
    g.output(g.cast(attention(g, node, (q, k, v), bias=narrow, mask=mask), FLOAT32))


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("compute", [FLOAT16, BFLOAT16], ids=str)
def test_a_causal_parameter_beside_padding_is_found(
    compute: DType, node: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query whose own keys are padding and whose future ones are −inf sees none, and the source gives a mean."""
    causal = np.triu(np.full((LENGTH, LENGTH), LOWEST), 1).astype(np.float32)
    keep = np.ones((BATCH, 1, 1, LENGTH), np.bool_)
    keep[0, ..., :3] = False
    models = []
    for first, write in ((0, formula), (MADE_ANEW, lambda g, b, m: node_with(g, b, compute, node, m))):
        g = GraphBuilder("block", first=first)
        write(g, g.parameter("causal_mask", causal), g.input("mask", keep.shape, BOOL))
        models.append(g.model())
    result = verify(models[0], models[1], tmp_path, monkeypatch, {**GIVEN, "mask": keep})
    assert result.outputs[0].not_finite == 3 * HEADS * HEAD
    assert found_by(result) == {"output", "site"}


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("compute", [FLOAT16, BFLOAT16], ids=str)
def test_a_parameter_that_the_graph_assigns_its_mask_to_is_found(
    compute: DType, node: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the file it is zeros; what is run is what was assigned."""
    mask = np.zeros((1, 1, LENGTH, LENGTH), np.float32)
    mask[..., 4:] = LOWEST
    mask[0, 0, 3] = LOWEST
    models = []
    for first, write in ((0, formula), (MADE_ANEW, lambda g, b: node_with(g, b, compute, node))):
        g = GraphBuilder("block", first=first)
        write(g, assigned(g, g.input("m", mask.shape)))
        models.append(g.model())
    result = verify(models[0], models[1], tmp_path, monkeypatch, {**GIVEN, "m": mask})
    assert result.outputs[0].not_finite == BATCH * HEADS * HEAD
    assert found_by(result) == {"output", "site"}


def assigned(g: GraphBuilder, value: str, dtype: DType = FLOAT32) -> str:
    """A parameter of zeros, read behind the assignment of another value."""
    tensor_type = g.type_of(g.parameter("cache", np.zeros(g.dims(value), dtype.numpy)))
    parameter = str(g.graph.parameter[-1].name)
    primitive = PrimitiveProto.PRIMITIVE
    made = g.node("Assign", [parameter, value, g.monad()], tensor_type, primitive=primitive)
    state = g.node("UpdateState", [g.monad(), made], None, primitive=primitive)
    return g.node("Load", [parameter, state], tensor_type, primitive=primitive)


def test_what_another_operator_writes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    g = GraphBuilder("block")
    formula(g, assigned(g, g.input("m", (1, 1, LENGTH, LENGTH))))
    proto = g.build()
    next(n for n in proto.graph.node if n.op_type.startswith("REF::Assign")).op_type = "REF::ScatterNdMax:0"
    proto.primitives.add(name="ScatterNdMax:0", op_type="ScatterNdMax", prim_type=PrimitiveProto.PRIMITIVE)
    message = r"ScatterNdMax CNode_\d+:\d+ writes into a parameter.*--verify static"
    with pytest.raises(VerificationError, match=message):
        verify(Model(proto), Model(proto), tmp_path, monkeypatch)


def test_what_is_assigned_of_another_type_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    g = GraphBuilder("block")
    value = g.input("m", (1, 1, LENGTH, LENGTH), FLOAT16)
    formula(g, assigned(g, value, FLOAT32))
    model = g.model()
    with pytest.raises(VerificationError, match="another type"):
        verify(model, model, tmp_path, monkeypatch)
