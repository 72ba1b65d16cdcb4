"""Allegro: sizes and transformer."""

from __future__ import annotations

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.patch_names import MASKED_ATTENTION
from attnfuse.tracing.specs.record import SAMPLE, Input, PipelineFamily, Spec, divide
from attnfuse.tracing.specs.sizes import vae_scale


def _allegro(context: SpecContext) -> Sizes:
    """Height, width: the transformer's `sample_height`, `sample_width` × the VAE's downscaling.

    Frames: its `sample_frames` × 4; four make one latent. Tokens: 512. Guided.
    """
    spatial, temporal = vae_scale(context), context.number("temporal_compression_ratio", "vae", 4)
    size, latents = (720, 1280), 22
    if context.has("transformer"):
        size = (
            context.number("sample_height", "transformer") * spatial,
            context.number("sample_width", "transformer") * spatial,
        )
        latents = context.number("sample_frames", "transformer")
    patch = context.number("patch_size", "transformer", 2)
    height, width = context.image(lambda: size, spatial * patch, "the VAE's downscaling and the transformer's patches")
    frames = context.shapes.frames or latents * temporal
    return {
        "batch": context.shapes.batch or 1,
        "rows": context.rows(guided=True),
        "height": height,
        "width": width,
        "frames": frames,
        "latent_height": height // spatial,
        "latent_width": width // spatial,
        # As its `prepare_latents`: an odd one has a latent of its own.
        "latent_frames": -(-(frames - frames % 2) // temporal) + frames % 2,
        "tokens": context.text(512),
    }


ALLEGRO = PipelineFamily("Allegro", ("AllegroPipeline",), "allegro/pipeline_allegro.py", _allegro)


def _allegro_sizes(context: SpecContext) -> Sizes:
    """Each third of a head is turned by a table of its own; a position for every patch looks it up."""
    patch = context.number("patch_size")
    rows, columns = context.sizes["latent_height"] // patch, context.sizes["latent_width"] // patch
    return {
        "grid_height": rows,
        "grid_width": columns,
        "third": divide(context.number("attention_head_dim"), 3, "attention_head_dim", context.path()),
        "patches": context.sizes["latent_frames"] // context.number("patch_size_t") * rows * columns,
    }


ALLEGRO_TRANSFORMER = Spec(
    class_name="AllegroTransformer3DModel",
    library="diffusers",
    families=(ALLEGRO,),
    models=("transformer",),
    source="allegro/pipeline_allegro.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_frames", "latent_height", "latent_width")),
        Input("encoder_hidden_states", ("rows", 1, "tokens", "caption_channels")),
        Input("encoder_attention_mask", ("rows", "tokens"), "int64", note="the tokenizer's"),
        Input("timestep", ("rows",), "timestep"),
        Input("time_cos", ("latent_frames", "third"), "float32", to="image_rotary_emb.0.0.0"),
        Input("time_sin", ("latent_frames", "third"), "float32", to="image_rotary_emb.0.0.1"),
        Input("height_cos", ("grid_height", "third"), "float32", to="image_rotary_emb.0.1.0"),
        Input("height_sin", ("grid_height", "third"), "float32", to="image_rotary_emb.0.1.1"),
        Input("width_cos", ("grid_width", "third"), "float32", to="image_rotary_emb.0.2.0"),
        Input("width_sin", ("grid_width", "third"), "float32", to="image_rotary_emb.0.2.1"),
        Input("time_indices", (1, "patches"), "int64", to="image_rotary_emb.1.0"),
        Input("height_indices", (1, "patches"), "int64", to="image_rotary_emb.1.1"),
        Input("width_indices", (1, "patches"), "int64", to="image_rotary_emb.1.2"),
    ),
    outputs=SAMPLE,
    sizes=_allegro_sizes,
    patches=(MASKED_ATTENTION,),
)

FAMILIES = (ALLEGRO,)

SPECS = (ALLEGRO_TRANSFORMER,)
