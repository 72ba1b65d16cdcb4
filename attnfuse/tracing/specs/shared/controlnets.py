"""What models with a ControlNet beside them, and ControlNets of several families, have in common."""

from __future__ import annotations

from collections.abc import Sequence

from attnfuse.tracing.specs.context import SpecContext
from attnfuse.tracing.specs.record import Input

CONDITIONING_SCALE = Input(
    "conditioning_scale",
    (1,),
    note="the pipeline's controlnet_conditioning_scale, and 0 where control_guidance_start and _end leave it out",
)
"""Every ControlNet multiplies all its outputs with it, as its last step."""


def with_controlnet(context: SpecContext) -> bool:
    """Whether the pipeline has a ControlNet, whose outputs the transformer takes."""
    return "controlnet" in context.pipeline.classes


def controlnet_blocks(context: SpecContext, key: str) -> int:
    """How many blocks of that kind the ControlNet has, each of which gives one output; none where it says so."""
    return context.number(key, "controlnet") if context.option(key, model="controlnet") != 0 else 0


def hidden_size(context: SpecContext) -> int:
    """The width of a transformer's tokens."""
    return context.number("num_attention_heads") * context.number("attention_head_dim")


def packed_blocks(context: SpecContext) -> Sequence[tuple[int, ...]]:
    """The shapes of what a ControlNet gives to the blocks of a transformer of packed latents."""
    shape = (context.sizes["rows"], context.sizes["image_tokens"], hidden_size(context))
    return [shape] * controlnet_blocks(context, "num_layers")
