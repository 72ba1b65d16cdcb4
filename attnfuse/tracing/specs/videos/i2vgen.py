"""I2VGen-XL: sizes and UNet."""

from __future__ import annotations

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.record import SAMPLE, Input, PipelineFamily, Spec
from attnfuse.tracing.specs.sizes import vae_scale, video_sizes


def _i2vgen(context: SpecContext) -> Sizes:
    """Height and width: 704 × 1280, 16 frames, each with latents of its own.

    Tokens: as many as the tokenizer fills a text up to (77). Guided.
    """
    spatial = vae_scale(context)
    return {
        **video_sizes(context, (704, 1280), spatial, spatial, (16, 1), guided=True),
        "tokens": context.text_filled("text_encoder"),
    }


I2VGEN = PipelineFamily("I2VGen-XL", ("I2VGenXLPipeline",), "i2vgen_xl/pipeline_i2vgen_xl.py", _i2vgen, aside=())

I2VGEN_UNET = Spec(
    class_name="I2VGenXLUNet",
    library="diffusers",
    families=(I2VGEN,),
    models=("unet",),
    source="i2vgen_xl/pipeline_i2vgen_xl.py",
    inputs=(
        Input("sample", ("rows", "in_channels", "frames", "latent_height", "latent_width")),
        Input("timestep", (1,), "timestep", note="one scalar of the scheduler, given an axis"),
        Input("fps", ("rows",), "int64"),
        Input("image_latents", ("rows", "in_channels", "frames", "latent_height", "latent_width")),
        Input("image_embeddings", ("rows", 1, "cross_attention_dim")),
        Input("encoder_hidden_states", ("rows", "tokens", "cross_attention_dim")),
    ),
    outputs=SAMPLE,
)

FAMILIES = (I2VGEN,)

SPECS = (I2VGEN_UNET,)
