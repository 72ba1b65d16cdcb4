"""Graphs of one fused node, a compile of them under one rule, and the comparison of what they compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from attnfuse.decisions import SiteRecord
from attnfuse.ir.graph import Model
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import BOOL, FLOAT16, FLOAT32, DType
from attnfuse.pass_manager import Context
from attnfuse.policy import Policy, Rule
from attnfuse.targets import Target
from attnfuse_passes.fuse import Fuse
from tests.support.graphs import GraphBuilder, node_named
from tests.support.oracle import run

B, N, S, T, D = 2, 4, 6, 5, 16
LAYOUTS: dict[str, Callable[[int, int, int], tuple[int, ...]]] = {
    "BNSD": lambda h, s, d: (B, h, s, d),
    "BSND": lambda h, s, d: (B, s, h, d),
    "BSH": lambda h, s, d: (B, s, h * d),
}
SCALE = 0.25


def source(
    *,
    layout: str = "BNSD",
    dtype: DType = FLOAT16,
    is_cast: bool = False,
    kv: int = N,
    mask: tuple[int, ...] | None = None,
    mask_dtype: DType = BOOL,
    shift: bool = False,
    scale: float = SCALE,
    sparse_mode: int = 0,
    head_dim: int = D,
) -> Model:
    """One FlashAttentionScore; `is_cast` puts it between casts from and to float32."""
    g = GraphBuilder("unet")
    outer = FLOAT32 if is_cast else dtype
    operands = [
        g.input(name, LAYOUTS[layout](heads, length, head_dim), outer)
        for name, heads, length in (("q", N, S), ("k", kv, T), ("v", kv, T))
    ]
    if is_cast:
        operands = [g.cast(x, dtype) for x in operands]
    fused = g.flash_attention_score(
        *operands,
        heads=N,
        scale=scale,
        layout=layout,
        attn_mask=g.input("mask", mask, mask_dtype) if mask is not None else None,
        real_shift=g.input("shift", (B, N, S, T), dtype) if shift else None,
        sparse_mode=sparse_mode,
    )
    g.output(g.cast(fused, FLOAT32) if is_cast else fused)
    return g.model()


def compile_with(
    model: Model, runtime: str = "mindspore", soc: str = "ascend910b", **settings: object
) -> tuple[Model, SiteRecord]:
    """Fuse a copy under one rule of these settings; the copy and the site's record."""
    after = Model(type(model.proto).FromString(model.proto.SerializeToString()))
    rules = (Rule("*", "the rule", **settings),) if settings else ()  # type: ignore[arg-type]
    context = Context("unet", "unet", Policy(rules), Target(runtime, soc))
    Fuse().run(after, context)
    (record,) = context.sites
    return Model(after.proto), record


def assert_equal(before: Model, after: Model, tolerance: float = 1e-9) -> None:
    """The two graphs compute the same; every row of the masks leaves it a key."""
    rng = np.random.default_rng(7)
    values: dict[str, npt.NDArray[Any]] = {}
    for graph_input in before.proto.graph.input:
        name = graph_input.name.partition(":")[2]
        dims = tuple(graph_input.tensor[0].dims)
        if name == "mask":
            drawn = rng.random(dims) < 0.5
            drawn[..., 0] = False
            values[name] = drawn
        else:
            values[name] = rng.normal(size=dims)
    (one,), (other,) = run(before, values), run(after, values)
    np.testing.assert_allclose(other, one, rtol=tolerance, atol=tolerance)


def prompt_source(
    *,
    layout: str = "BNSD",
    dtype: DType = FLOAT16,
    is_cast: bool = False,
    kv: int = N,
    mask: tuple[int, ...] | None = None,
    mask_dtype: DType = BOOL,
    shift: tuple[int, ...] | None = None,
    change: dict[int, str | int] | None = None,
) -> Model:
    """One PromptFlashAttention; `change` puts numbers or inputs of that name at argument positions."""
    g = GraphBuilder("unet")
    outer = FLOAT32 if is_cast else dtype
    operands = [
        g.input(name, LAYOUTS[layout](heads, length, D), outer)
        for name, heads, length in zip("qkv", (N, kv, kv), (S, T, T), strict=True)
    ]
    if is_cast:
        operands = [g.cast(x, dtype) for x in operands]
    arguments = {
        position: g.input(value, (B,), dtypes.INT64) if isinstance(value, str) else g.constant(value)
        for position, value in (change or {}).items()
    }
    fused = g.prompt_flash_attention(
        *operands,
        heads=N,
        scale=SCALE,
        layout=layout,
        kv_heads=0 if kv == N else kv,
        attn_mask=g.input("mask", mask, mask_dtype) if mask is not None else None,
        pse_shift=g.input("shift", shift, dtype) if shift is not None else None,
    )
    for position, argument in arguments.items():
        node_named(Model(g.proto), "PromptFlashAttention").input[position] = argument
    g.output(g.cast(fused, FLOAT32) if is_cast else fused)
    return g.model()
