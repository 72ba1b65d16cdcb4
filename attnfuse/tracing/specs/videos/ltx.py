"""LTX-Video: sizes and transformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import LORA_SCALE
from attnfuse.tracing.specs.patch_names import MASKED_ATTENTION
from attnfuse.tracing.specs.record import SAMPLE, Input, PipelineFamily, Refusal, Spec
from attnfuse.tracing.specs.sizes import video_sizes


def _ltx(context: SpecContext) -> Sizes:
    """Height and width: 512 × 704, 161 frames; one latent of 8 frames, 32 × 32 pixels each. Tokens: 128. Guided.

    Latents are packed into "video_tokens".
    """
    spatial = context.number("spatial_compression_ratio", "vae", 32)
    temporal = context.number("temporal_compression_ratio", "vae", 8)
    sizes = video_sizes(context, (512, 704), spatial, spatial, (161, temporal), guided=True)
    tokens = sizes["latent_frames"] * sizes["latent_height"] * sizes["latent_width"]
    return {**sizes, "spatial": spatial, "temporal": temporal, "video_tokens": tokens, "tokens": context.text(128)}


LTX = PipelineFamily("LTX-Video", ("LTXPipeline",), "ltx/pipeline_ltx.py", _ltx)


def _ltx_constants(context: SpecContext) -> Mapping[str, Any]:
    """Numbers of latents, and of what they stand for at the pipeline's 25 frames a second."""
    sizes = context.sizes
    return {
        "num_frames": sizes["latent_frames"],
        "height": sizes["latent_height"],
        "width": sizes["latent_width"],
        "rope_interpolation_scale": (sizes["temporal"] / 25, sizes["spatial"], sizes["spatial"]),
    }


LTX_TRANSFORMER = Spec(
    class_name="LTXVideoTransformer3DModel",
    library="diffusers",
    families=(LTX,),
    models=("transformer",),
    source="ltx/pipeline_ltx.py",
    inputs=(
        Input("hidden_states", ("rows", "video_tokens", "in_channels"), note="latents packed into tokens"),
        Input("encoder_hidden_states", ("rows", "tokens", "caption_channels")),
        Input("timestep", ("rows",), "float32"),
        Input("encoder_attention_mask", ("rows", "tokens"), "bool"),
    ),
    outputs=SAMPLE,
    constants=_ltx_constants,
    refuse=(Refusal("patch_size", (1,)), Refusal("patch_size_t", (1,))),
    patches=(MASKED_ATTENTION,),
    fixed_settings=(LORA_SCALE,),
)

FAMILIES = (LTX,)

SPECS = (LTX_TRANSFORMER,)
