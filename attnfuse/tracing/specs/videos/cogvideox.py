"""CogVideoX, and ConsisID, which is made of it: sizes and transformers."""

from __future__ import annotations

from dataclasses import replace

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import LORA_SCALE
from attnfuse.tracing.specs.record import SAMPLE, Input, PipelineFamily, Spec
from attnfuse.tracing.specs.sizes import vae_scale, video_sizes


def _cogvideox(context: SpecContext) -> Sizes:
    """Height, width and frames: the transformer's `sample_height`, `sample_width` × 8, `sample_frames`. Tokens: 226.

    Four frames make one latent. Guided.
    """
    spatial = vae_scale(context)
    size, frames = (480, 720), 49
    if context.has("transformer"):
        size = (
            context.number("sample_height", "transformer") * spatial,
            context.number("sample_width", "transformer") * spatial,
        )
        frames = context.number("sample_frames", "transformer")
    temporal = context.number("temporal_compression_ratio", "vae", 4)
    patch = context.number("patch_size", "transformer", 2)
    sizes = video_sizes(context, size, spatial, spatial * patch, (frames, temporal), guided=True)
    return {**sizes, "tokens": context.text(context.number("max_text_seq_length", "transformer", 226))}


COGVIDEOX = PipelineFamily(
    "CogVideoX",
    (
        "CogVideoXPipeline",
        "CogVideoXImageToVideoPipeline",
        "CogVideoXVideoToVideoPipeline",
        "CogVideoXFunControlPipeline",
    ),
    "cogvideo/pipeline_cogvideox.py",
    _cogvideox,
)


def _consis_id(context: SpecContext) -> Sizes:
    """Height and width: 480 × 720, 49 frames; four frames make one latent. Tokens: 226. Guided."""
    spatial = vae_scale(context)
    patch = context.number("patch_size", "transformer", 2)
    temporal = context.number("temporal_compression_ratio", "vae", 4)
    sizes = video_sizes(context, (480, 720), spatial, spatial * patch, (49, temporal), guided=True)
    return {**sizes, "tokens": context.text(context.number("max_text_seq_length", "transformer", 226))}


CONSIS_ID = PipelineFamily("ConsisID", ("ConsisIDPipeline",), "consisid/pipeline_consisid.py", _consis_id)


def _rotary(context: SpecContext) -> bool:
    return bool(context.option("use_rotary_positional_embeddings", False))


def _cogvideox_sizes(context: SpecContext) -> Sizes:
    """CogVideoX 1.5 patches frames too, and its pipeline fills up the last patch."""
    frames = context.sizes["latent_frames"]
    patch_t = context.number("patch_size_t", default=1)
    frames += -frames % patch_t
    patch = context.number("patch_size", default=2)
    grid = (context.sizes["latent_height"] // patch) * (context.sizes["latent_width"] // patch)
    return {"padded_frames": frames, "rotary_tokens": frames // patch_t * grid}


COGVIDEOX_TRANSFORMER = Spec(
    class_name="CogVideoXTransformer3DModel",
    library="diffusers",
    families=(COGVIDEOX,),
    models=("transformer",),
    source="cogvideo/pipeline_cogvideox.py",
    inputs=(
        Input("hidden_states", ("rows", "padded_frames", "in_channels", "latent_height", "latent_width")),
        Input("encoder_hidden_states", ("rows", "tokens", "text_embed_dim")),
        Input("timestep", ("rows",), "timestep"),
        Input(
            "rotary_cos",
            ("rotary_tokens", "attention_head_dim"),
            "float32",
            to="image_rotary_emb.0",
            when=_rotary,
            only="use_rotary_positional_embeddings is set",
        ),
        Input(
            "rotary_sin",
            ("rotary_tokens", "attention_head_dim"),
            "float32",
            to="image_rotary_emb.1",
            when=_rotary,
            only="use_rotary_positional_embeddings is set",
        ),
        Input(
            "ofs",
            (1,),
            when=lambda context: context.option("ofs_embed_dim") is not None,
            only="ofs_embed_dim is set (1.5, of a picture)",
        ),
    ),
    outputs=SAMPLE,
    sizes=_cogvideox_sizes,
    fixed_settings=(LORA_SCALE,),
)


def _has_face(context: SpecContext) -> bool:
    return bool(context.option("is_train_face", False))


CONSIS_ID_TRANSFORMER = replace(
    COGVIDEOX_TRANSFORMER,
    class_name="ConsisIDTransformer3DModel",
    families=(CONSIS_ID,),
    source="consisid/pipeline_consisid.py",
    inputs=(
        *(entry for entry in COGVIDEOX_TRANSFORMER.inputs if entry.name != "ofs"),
        Input(
            "id_cond",
            (1, "id_width"),
            when=_has_face,
            only="is_train_face is set",
            note="the face's embedding",
        ),
        Input(
            "id_vit_hidden_{i}",
            (1, 577, "vit_width"),
            to="id_vit_hidden.{i}",
            when=_has_face,
            only="is_train_face is set",
            note="the face's features",
            each=lambda context: (
                [(1, 577, context.number("LFE_vit_dim", default=1024))] * context.number("LFE_num_scale", default=5)
            ),
        ),
    ),
    sizes=lambda context: {
        **(COGVIDEOX_TRANSFORMER.sizes(context)),
        "id_width": context.number("LFE_id_dim", default=1280),
    },
)

FAMILIES = (
    COGVIDEOX,
    CONSIS_ID,
)

SPECS = (
    COGVIDEOX_TRANSFORMER,
    CONSIS_ID_TRANSFORMER,
)
