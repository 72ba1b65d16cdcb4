"""An attention block as MindSpore exports it, fused by the real pass: the pairs that mistakes are planted in.

Unlike `pairs`, the two graphs call the same values alike, as every rewrite of ours does. Imports the fusing pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from attnfuse.ir.graph import Model, Node
from attnfuse.ir.types import Array
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import FLOAT32, DType
from attnfuse.mindir.schema import NodeProto
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder, fill_literal, seeded

BATCH, HEADS, LENGTH = 2, 4, 32
LOWEST = {"float16": -65504.0, "bfloat16": -3.3895e38, "float32": -3.4028234e38}


@dataclass(frozen=True)
class Attention:
    """What the block is like. Queries and keys are as many, so that an axis mistaken for another is no error of shape.

    `kv_heads` fewer than HEADS are repeated, each next to itself. `gain` is that of the query's and key's weights.
    `apart`: something stands between the linear layers and the attention, so that heads are padded at run time.
    """

    dtype: DType = FLOAT32
    head: int = 16
    masked: bool = False
    biased: bool = False
    kv_heads: int = HEADS
    repeat: Literal["each", "whole"] = "each"
    gain: float = 2.0
    softmax_axis: int = -1
    apart: bool = False

    def model(self) -> Model:
        """The formula."""
        g = GraphBuilder("block")
        x = g.input("sample", (BATCH, LENGTH, HEADS * self.head), self.dtype)
        q = self._heads(g, x, "to_q", HEADS, self.gain)
        k, v = (
            self._repeated(g, self._heads(g, x, n, self.kv_heads, w)) for n, w in (("to_k", self.gain), ("to_v", 1))
        )
        scores = g.muls(g.matmul_ext(q, g.transpose(k, (0, 1, 3, 2))), self.head**-0.5)
        if self.biased:
            scores = g.add(scores, seeded("bias", (1, HEADS, LENGTH, LENGTH), self.dtype))
        if self.masked:
            scores = g.masked_fill(scores, discarded(), np.array(LOWEST[self.dtype.name], self.dtype.numpy))
        attention = g.matmul_ext(g.softmax(scores, self.softmax_axis), v)
        joined = self._apart(g, g.reshape(g.transpose(attention, (0, 2, 1, 3)), (BATCH, LENGTH, HEADS * self.head)))
        g.output(self._dense(g, joined, "attn.to_out", HEADS * self.head, 1.0))
        return g.model()

    def _heads(self, g: GraphBuilder, x: str, name: str, heads: int, gain: float) -> str:
        y = self._apart(g, self._dense(g, x, f"attn.{name}", heads * self.head, gain))
        return g.transpose(g.reshape(y, (BATCH, LENGTH, heads, self.head)), (0, 2, 1, 3))

    def _apart(self, g: GraphBuilder, x: str) -> str:
        return g.op("Neg", x) if self.apart else x

    def _dense(self, g: GraphBuilder, x: str, name: str, features: int, gain: float) -> str:
        inputs = g.dims(x)[-1]
        weight = g.parameter(f"{name}.weight", seeded(name, (features, inputs), self.dtype, gain * inputs**-0.5))
        out = g.type_of(x)
        return g.node("Dense", [x, weight, g.constant(None)], type(out)((*out.dims[:-1], features), out.dtype))

    def _repeated(self, g: GraphBuilder, x: str) -> str:
        times = HEADS // self.kv_heads
        if times == 1:
            return x
        return g.repeat_interleave(x, times, 1) if self.repeat == "each" else g.tile(x, (1, times, 1, 1))


def discarded() -> Array:
    """[1, 1, S, T], True discards; every row sees its first key."""
    discard: npt.NDArray[np.bool_] = np.greater(seeded("mask", (1, 1, LENGTH, LENGTH)), 0.4)
    discard[..., 0] = False
    return discard


def pair(block: Attention, runtime: str) -> tuple[Model, Model]:
    """The block and its rewrite, one fused site in it."""
    original, fused = block.model(), block.model()
    (site,) = fuse(fused, runtime)
    assert site.status == "fused"
    return original, Model(codec.parse(codec.serialise(fused.proto), "the rewritten block"))


def the_node(fused: Model) -> Node:
    """The one fused node."""
    (node,) = [n for n in fused.nodes if n.op in ("FlashAttentionScore", "PromptFlashAttention")]
    return node


def feed(fused: Model, position: int, value: float | Array) -> None:
    """Give the fused node another constant."""
    node = the_node(fused)
    constant = NodeProto(name="planted", op_type="Constant", output=["planted"])
    fill_literal(constant.attribute.add(name="value"), value)
    fused.proto.graph.node.insert(0, constant)
    node.proto.input[position] = "planted"


def constant_operand(fused: Model, position: int) -> Array:
    """The constant array that the fused node is given there."""
    value = fused.literal(the_node(fused).inputs[position])
    assert isinstance(value, np.ndarray)
    return value
