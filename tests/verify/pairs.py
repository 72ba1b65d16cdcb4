"""An attention block twice: as the formula MindSpore exports, and fused by hand — rightly, or with one mistake."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from attnfuse.ir.types import Array
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32, DType
from tests.support.graphs import GraphBuilder, seeded

BATCH, HEADS, QUERIES, KEYS, HEAD = 2, 4, 24, 12, 16
SCALE = HEAD**-0.5
CHANNELS = HEADS * HEAD
LOWEST = {"float16": -65504.0, "bfloat16": -3.3895e38, "float32": -3.4028235e38}


@dataclass(frozen=True)
class Mistake:
    """What to get wrong in the fused graph; the defaults get nothing wrong."""

    scale: float = SCALE
    scale_also_on_query: bool = False
    bias_on_wrong_side: bool = False
    invert_mask: bool = False
    swap_key_and_value: bool = False
    item: int = 3
    restore: bool = True
    casts: tuple[bool, bool, bool] = (True, True, True)
    softmax_axis: int = -1
    """Of the original: the axis that the rewrite mistook for the last one."""
    slice_padding: bool = True
    heads_in_wrong_order: bool = False


@dataclass(frozen=True)
class Block:
    """One attention block: q from x, k and v from a context, all linear layers included."""

    node: str = "FlashAttentionScore"
    dtype: DType = FLOAT32
    compute: DType = FLOAT16
    head: int = HEAD
    masked: bool = False
    biased: bool = False
    mistake: Mistake = field(default_factory=Mistake)

    def operands(self, g: GraphBuilder) -> tuple[str, str, str]:
        """q, k, v as [B, N, S, D], with scores large enough for softmax to choose."""
        channels = HEADS * self.head
        x = g.input("sample", (BATCH, QUERIES, channels), self.dtype)
        context = g.input("context", (BATCH, KEYS, channels), self.dtype)

        def heads(value: str, name: str, length: int, gain: float) -> str:
            weight = g.parameter(name, seeded(name, (channels, channels), self.dtype, gain * channels**-0.5))
            y = g.node("Dense", [value, weight, g.constant(None)], g.type_of(value))
            return g.transpose(g.reshape(y, (BATCH, length, HEADS, self.head)), (0, 2, 1, 3))

        return heads(x, "to_q", QUERIES, 2.0), heads(context, "to_k", KEYS, 2.0), heads(context, "to_v", KEYS, 1.0)

    def mask(self, *, invert: bool = False) -> Array:
        """[1, 1, S, T], True discards; no row whole."""
        discard: npt.NDArray[np.bool_] = np.greater(seeded("mask", (1, 1, QUERIES, KEYS)), 0.4)
        discard[..., 0], discard[..., -1] = False, True
        return ~discard if invert else discard

    def bias(self) -> Array:
        """[1, N, S, T]."""
        return seeded("bias", (1, HEADS, QUERIES, KEYS), self.dtype)

    def finish(self, g: GraphBuilder, attention: str) -> None:
        """Back to [B, S, C], and a last linear layer."""
        joined = g.transpose(attention, (0, 2, 1, 3))
        channels = HEADS * self.head
        joined = g.op("Reshape", joined, (BATCH, QUERIES, channels), dims=(BATCH, QUERIES, channels))
        weight = g.parameter("to_out", seeded("to_out", (channels, channels), self.dtype, channels**-0.5))
        g.output(g.node("Dense", [joined, weight, g.constant(None)], g.type_of(joined)))

    def original(self) -> GraphBuilder:
        """The formula."""
        g = GraphBuilder("block")
        q, k, v = self.operands(g)
        scores = g.muls(g.matmul_ext(q, g.transpose(k, (0, 1, 3, 2))), self.head**-0.5)
        if self.biased:
            scores = g.add(scores, self.bias())
        if self.masked:
            filling = np.array(LOWEST[self.dtype.name], self.dtype.numpy)
            scores = g.masked_fill(scores, self.mask(), filling)
        self.finish(g, g.matmul_ext(g.softmax(scores, self.mistake.softmax_axis), v))
        return g

    def fused(self) -> GraphBuilder:
        """One fused node."""
        wrong = self.mistake
        g = GraphBuilder("block")
        q, k, v = self.operands(g)
        scale = wrong.scale if self.head == HEAD else self.head**-0.5
        if wrong.scale_also_on_query:
            q = g.muls(q, scale)
        if wrong.swap_key_and_value:
            k, v = v, k
        if wrong.heads_in_wrong_order:
            k = g.reshape(g.transpose(k, (1, 0, 2, 3)), g.dims(k))
        q, k, v = (
            g.cast(x, self.compute) if cast and self.dtype != self.compute else x
            for x, cast in zip((q, k, v), wrong.casts, strict=True)
        )
        padded = -self.head % 16
        if padded:
            q, k, v = (self._pad(g, x, padded) for x in (q, k, v))
        mask = g.constant(self.mask(invert=wrong.invert_mask)) if self.masked else None
        bias = None
        if self.biased:
            value = self.bias().astype(np.float64)
            if (self.node == "FlashAttentionScore") != wrong.bias_on_wrong_side:
                value = value / scale
            bias = g.constant(value.astype(self.compute.numpy))
        if self.node == "FlashAttentionScore":
            out = g.flash_attention_score(
                q, k, v, heads=HEADS, scale=scale, attn_mask=mask, real_shift=bias, item=wrong.item
            )
        else:
            out = g.prompt_flash_attention(q, k, v, heads=HEADS, scale=scale, attn_mask=mask, pse_shift=bias)
        if padded and wrong.slice_padding:
            out = g.strided_slice(out, (0, 0, 0, 0), (BATCH, HEADS, QUERIES, self.head))
        if wrong.restore and self.dtype != self.compute:
            out = g.cast(out, self.dtype)
        self.finish(g, out)
        return g

    def _pad(self, g: GraphBuilder, x: str, by: int) -> str:
        dims = (*g.dims(x)[:-1], self.head + by)
        return g.op("ConstantPadND", x, (0, by), 0.0, dims=dims)
