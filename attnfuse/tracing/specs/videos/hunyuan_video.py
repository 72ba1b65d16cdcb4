"""HunyuanVideo: sizes and transformer."""

from __future__ import annotations

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import LORA_SCALE
from attnfuse.tracing.specs.patch_names import MASKED_ATTENTION
from attnfuse.tracing.specs.record import SAMPLE, Input, PipelineFamily, Spec
from attnfuse.tracing.specs.sizes import video_sizes


def _hunyuan_video(context: SpecContext) -> Sizes:
    """Height and width: 720 × 1280, 129 frames, of HunyuanSkyreels 544 × 960 and 97; four frames make one latent.

    Tokens: 256; CLIP's 77 are pooled. With a picture (HunyuanVideoImageToVideo) four less, and before them every second
    or fourth of the 576 tokens that the text encoder makes of it.
    The text encoder sees 95 more, the template's, which are cut off. Not doubled: guidance is an input.
    """
    spatial = context.number("spatial_compression_ratio", "vae", 8)
    temporal = context.number("temporal_compression_ratio", "vae", 4)
    patch = context.number("patch_size", "transformer", 2)
    size, frames = ((544, 960), 97) if context.runs("HunyuanSkyreelsImageToVideoPipeline") else ((720, 1280), 129)
    sizes = video_sizes(context, size, spatial, spatial * patch, (frames, temporal), guided=False)
    tokens = context.text(256)
    if _of_picture(context):
        every = {"latent_concat": 2, "token_replace": 4}.get(
            context.option("image_condition_type", model="transformer"), 1
        )
        seen = {
            "tokens": -(-_PICTURE_TOKENS // every) + tokens - 4,
            "text_encoder_tokens": tokens + 102 + _PICTURE_TOKENS,
        }
    else:
        seen = {"tokens": tokens, "text_encoder_tokens": tokens + 95}
    return {**sizes, **seen, "text_encoder_2_tokens": 77}


_PICTURE_TOKENS = 576
"""What the pipeline's template reckons with (`image_emb_len`)."""


def _of_picture(context: SpecContext) -> bool:
    """Whether the text encoder sees the picture too."""
    return context.runs("HunyuanVideoImageToVideoPipeline")


def _conditioned(context: SpecContext) -> str:
    """Pictures are given to the pipeline that has a place for them, and to no other."""
    found = context.option("image_condition_type")
    allowed = ("latent_concat", "token_replace") if _of_picture(context) else (None,)
    return "" if found in allowed else f"image_condition_type = {found!r} is not supported"


HUNYUAN_VIDEO = PipelineFamily(
    "HunyuanVideo",
    ("HunyuanVideoPipeline", "HunyuanSkyreelsImageToVideoPipeline", "HunyuanVideoImageToVideoPipeline"),
    "hunyuan_video/pipeline_hunyuan_video.py",
    _hunyuan_video,
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
    check=_conditioned,
    patches=(MASKED_ATTENTION,),
    fixed_settings=(LORA_SCALE,),
)

FAMILIES = (HUNYUAN_VIDEO,)

SPECS = (HUNYUAN_VIDEO_TRANSFORMER,)
