"""HunyuanVideo: sizes and transformer."""

from __future__ import annotations

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import LORA_SCALE
from attnfuse.tracing.specs.patch_names import MASKED_ATTENTION
from attnfuse.tracing.specs.record import SAMPLE, Input, PipelineFamily, Refusal, Spec
from attnfuse.tracing.specs.sizes import video_sizes


def _hunyuan_video(context: SpecContext) -> Sizes:
    """Height and width: 720 × 1280, 129 frames; four frames make one latent. Tokens: 256; CLIP's 77 are pooled.

    The text encoder sees 95 more, the template's, which are cut off. Not doubled: guidance is an input.
    """
    spatial = context.number("spatial_compression_ratio", "vae", 8)
    temporal = context.number("temporal_compression_ratio", "vae", 4)
    patch = context.number("patch_size", "transformer", 2)
    sizes = video_sizes(context, (720, 1280), spatial, spatial * patch, (129, temporal), guided=False)
    tokens = context.text(256)
    return {**sizes, "tokens": tokens, "text_encoder_tokens": tokens + 95, "text_encoder_2_tokens": 77}


HUNYUAN_VIDEO = PipelineFamily(
    "HunyuanVideo", ("HunyuanVideoPipeline",), "hunyuan_video/pipeline_hunyuan_video.py", _hunyuan_video
)


def _guided(context: SpecContext) -> bool:
    return bool(context.option("guidance_embeds", True))


HUNYUAN_VIDEO_TRANSFORMER = Spec(
    class_name="HunyuanVideoTransformer3DModel",
    library="diffusers",
    families=(HUNYUAN_VIDEO,),
    models=("transformer",),
    source="hunyuan_video/pipeline_hunyuan_video.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_frames", "latent_height", "latent_width")),
        Input("timestep", ("rows",), "float32", note="of the type of the latents, which are float32 until here"),
        Input("encoder_hidden_states", ("rows", "tokens", "text_embed_dim")),
        Input("encoder_attention_mask", ("rows", "tokens")),
        Input("pooled_projections", ("rows", "pooled_projection_dim")),
        Input("guidance", ("rows",), when=_guided, only="guidance_embeds is set", note="by a thousand"),
    ),
    outputs=SAMPLE,
    refuse=(Refusal("image_condition_type"),),
    patches=(MASKED_ATTENTION,),
    fixed_settings=(LORA_SCALE,),
)

FAMILIES = (HUNYUAN_VIDEO,)

SPECS = (HUNYUAN_VIDEO_TRANSFORMER,)
