"""Kandinsky 5: sizes and transformer."""

from __future__ import annotations

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.record import SAMPLE, Input, PipelineFamily, Refusal, Spec
from attnfuse.tracing.specs.sizes import COMPRESSION_RATIOS, video_sizes


def _kandinsky_5(context: SpecContext) -> Sizes:
    """Height and width: 512 × 768, 121 frames; four frames make one latent. Tokens: 512, the most.

    The pipeline hands over as many as the prompt has. With and without it are two calls: rows are not doubled.
    """
    spatial, temporal = context.number(COMPRESSION_RATIOS[0], "vae", 8), context.number(COMPRESSION_RATIOS[1], "vae", 4)
    sizes = video_sizes(context, (512, 768), spatial, 2 * spatial, (121, temporal), guided=False)
    return {**sizes, "tokens": context.text(512), "text_encoder_2_tokens": 77}


KANDINSKY_5 = PipelineFamily(
    "Kandinsky 5", ("Kandinsky5T2VPipeline",), "kandinsky5/pipeline_kandinsky.py", _kandinsky_5
)


def _kandinsky_5_sizes(context: SpecContext) -> Sizes:
    """Places are counted in patches of two by two latents."""
    channels = context.number("in_visual_dim", default=4)
    return {
        # Beside the latents, those of a picture and its mask.
        "visual_channels": 2 * channels + 1 if context.option("visual_cond", False) else channels,
        "patch_rows": context.sizes["latent_height"] // 2,
        "patch_columns": context.sizes["latent_width"] // 2,
    }


KANDINSKY_5_TRANSFORMER = Spec(
    class_name="Kandinsky5Transformer3DModel",
    library="diffusers",
    families=(KANDINSKY_5,),
    models=("transformer",),
    source="kandinsky5/pipeline_kandinsky.py",
    inputs=(
        Input("hidden_states", ("rows", "latent_frames", "latent_height", "latent_width", "visual_channels")),
        Input("encoder_hidden_states", ("rows", "tokens", "in_text_dim")),
        Input("pooled_projections", ("rows", "in_text_dim2")),
        Input("timestep", ("rows",)),
        Input("frame_positions", ("latent_frames",), "int64", to="visual_rope_pos.0"),
        Input("row_positions", ("patch_rows",), "int64", to="visual_rope_pos.1"),
        Input("column_positions", ("patch_columns",), "int64", to="visual_rope_pos.2"),
        Input("text_rope_pos", ("tokens",), "int64"),
    ),
    outputs=SAMPLE,
    fixed={"scale_factor": (1, 2, 2), "sparse_params": None, "return_dict": False},
    sizes=_kandinsky_5_sizes,
    refuse=(Refusal("attention_type", ("regular",)),),
)

FAMILIES = (KANDINSKY_5,)

SPECS = (KANDINSKY_5_TRANSFORMER,)
