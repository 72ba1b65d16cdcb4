"""The autoencoders: one entry a class and direction.

Imports `families` and `record` of this room.
"""

from __future__ import annotations

from dataclasses import replace

from attnfuse.tracing.specs.families import (
    AURA_FLOW,
    CHROMA,
    COGVIEW_3,
    COGVIEW_4,
    DIT,
    FLUX,
    FLUX_2,
    HUNYUAN_DIT,
    KANDINSKY,
    KANDINSKY_2_2,
    KANDINSKY_3,
    KOLORS,
    LUMINA,
    LUMINA_2,
    PIXART_ALPHA,
    PIXART_SIGMA,
    QWEN_IMAGE,
    SANA,
    STABLE_DIFFUSION,
    STABLE_DIFFUSION_3,
    STABLE_DIFFUSION_XL,
)
from attnfuse.tracing.specs.other_families import AUDIO_LDM_2
from attnfuse.tracing.specs.record import (
    MASKED_ATTENTION,
    ONE_TILE,
    PLAIN_RESULTS,
    UNCHUNKED,
    WHOLE_VIDEO,
    Input,
    Output,
    Refusal,
    Scene,
    Sizes,
    Spec,
)
from attnfuse.tracing.specs.video_families import (
    ALLEGRO,
    ANIMATE_DIFF,
    COGVIDEOX,
    CONSIS_ID,
    COSMOS,
    EASY_ANIMATE,
    HUNYUAN_VIDEO,
    I2VGEN,
    KANDINSKY_5,
    LATTE,
    LTX,
    MOCHI,
    SKY_REELS_2,
    STABLE_VIDEO,
    WAN,
)

_AS_HELD = (
    STABLE_DIFFUSION,
    STABLE_DIFFUSION_3,
    FLUX,
    PIXART_ALPHA,
    PIXART_SIGMA,
    DIT,
    HUNYUAN_DIT,
    COGVIEW_3,
    COGVIEW_4,
    CHROMA,
    LUMINA,
    LUMINA_2,
    ANIMATE_DIFF,
    I2VGEN,
    LATTE,
    AUDIO_LDM_2,
)
"""Families that run an AutoencoderKL in the type they are held in."""

_KL_DECODER = Spec(
    class_name="AutoencoderKL",
    library="diffusers",
    families=_AS_HELD,
    models=("vae",),
    component="{model}_decoder",
    method="decode",
    source="stable_diffusion/pipeline_stable_diffusion.py",
    inputs=(Input("latents", ("batch", "latent_channels", "latent_height", "latent_width"), to="z"),),
    outputs=(Output("image"),),
)

_KL_ENCODER = Spec(
    class_name="AutoencoderKL",
    library="diffusers",
    families=_AS_HELD,
    models=("vae",),
    component="{model}_encoder",
    method="encode",
    source="stable_diffusion/pipeline_stable_diffusion_img2img.py",
    inputs=(Input("image", ("batch", "in_channels", "height", "width"), to="x"),),
    outputs=(Output("moments"),),  # mean and log-variance, side by side
)


def _force_upcast(scene: Scene) -> bool:
    return bool(scene.option("force_upcast", True))


def _upcast_half(scene: Scene) -> str:
    # "make sure the VAE is in float32 mode, as it overflows in float16". The weights come straight from the
    # checkpoint, where mindone would have rounded them to float16 and back.
    return "float32" if scene.dtype == "float16" and _force_upcast(scene) else scene.dtype


def _upcast_always(scene: Scene) -> str:
    # For encoding it upcasts whatever the type it comes from.
    return "float32" if _force_upcast(scene) else scene.dtype


_XL_DECODER = replace(
    _KL_DECODER,
    families=(STABLE_DIFFUSION_XL,),
    source="stable_diffusion_xl/pipeline_stable_diffusion_xl.py",
    held=_upcast_half,
)
_XL_ENCODER = replace(
    _KL_ENCODER,
    families=(STABLE_DIFFUSION_XL,),
    source="stable_diffusion_xl/pipeline_stable_diffusion_xl_img2img.py",
    held=_upcast_always,
)

_KOLORS_DECODER = replace(_XL_DECODER, families=(KOLORS,), source="kolors/pipeline_kolors.py")
_KOLORS_ENCODER = replace(_XL_ENCODER, families=(KOLORS,), source="kolors/pipeline_kolors_img2img.py")

_AURA_FLOW_DECODER = replace(_XL_DECODER, families=(AURA_FLOW,), source="aura_flow/pipeline_aura_flow.py")

_FLUX_2_DECODER = replace(
    _KL_DECODER,
    class_name="AutoencoderKLFlux2",
    families=(FLUX_2,),
    source="flux2/pipeline_flux2.py",
    stand_ins=(PLAIN_RESULTS,),
)
_FLUX_2_ENCODER = replace(
    _KL_ENCODER,
    class_name="AutoencoderKLFlux2",
    families=(FLUX_2,),
    source="flux2/pipeline_flux2.py",
    stand_ins=(PLAIN_RESULTS,),
)

# Takes the place of the pipeline's own: the latents are the same.
_TINY_DECODER = replace(
    _KL_DECODER,
    class_name="AutoencoderTiny",
    families=(*_AS_HELD, STABLE_DIFFUSION_XL),
    inputs=(Input("latents", ("batch", "latent_channels", "latent_height", "latent_width"), to="x"),),
)
_TINY_ENCODER = replace(
    _KL_ENCODER,
    class_name="AutoencoderTiny",
    families=(*_AS_HELD, STABLE_DIFFUSION_XL),
    outputs=(Output("latents"),),
)

_MOVQ_DECODER = replace(
    _KL_DECODER,
    class_name="VQModel",
    families=(KANDINSKY, KANDINSKY_2_2, KANDINSKY_3),
    models=("movq",),
    source="kandinsky2_2/pipeline_kandinsky2_2.py",
    inputs=(Input("latents", ("batch", "latent_channels", "latent_height", "latent_width"), to="h"),),
    fixed={"force_not_quantize": True, "return_dict": False},
    refuse=(Refusal("lookup_from_codebook", (False,)),),
)
_MOVQ_ENCODER = replace(
    _KL_ENCODER,
    class_name="VQModel",
    families=(KANDINSKY, KANDINSKY_2_2, KANDINSKY_3),
    models=("movq",),
    source="kandinsky2_2/pipeline_kandinsky2_2_img2img.py",
    outputs=(Output("latents"),),
)

_DC_DECODER = replace(_KL_DECODER, class_name="AutoencoderDC", families=(SANA,), source="sana/pipeline_sana.py")
_DC_ENCODER = replace(
    _KL_ENCODER,
    class_name="AutoencoderDC",
    families=(SANA,),
    source="sana/pipeline_sana_sprint_img2img.py",
    outputs=(Output("latents"),),
)


def _frame_sizes(scene: Scene) -> Sizes:
    """Pictures of all videos."""
    return {"images": scene.sizes["batch"] * scene.sizes["frames"]}


_TEMPORAL_DECODER = replace(
    _KL_DECODER,
    class_name="AutoencoderKLTemporalDecoder",
    families=(STABLE_VIDEO,),
    source="stable_video_diffusion/pipeline_stable_video_diffusion.py",
    inputs=(
        Input(
            "latents",
            ("images", "latent_channels", "latent_height", "latent_width"),
            to="z",
            note="every frame's; `decode_chunk_size` is all of them by default",
        ),
    ),
    outputs=(Output("frames"),),
    sizes=_frame_sizes,
    constants=lambda scene: {"num_frames": scene.sizes["frames"]},
)
_TEMPORAL_ENCODER = replace(
    _KL_ENCODER,
    class_name="AutoencoderKLTemporalDecoder",
    families=(STABLE_VIDEO,),
    source="stable_video_diffusion/pipeline_stable_video_diffusion.py",
    held=_upcast_half,  # to encode, not to decode
)

_VIDEO_LATENTS = Input(
    "latents", ("batch", "latent_channels", "latent_frames", "latent_height", "latent_width"), to="z"
)
_VIDEO = (Output("video"),)

_COGVIDEOX_DECODER = replace(
    _KL_DECODER,
    class_name="AutoencoderKLCogVideoX",
    families=(COGVIDEOX, CONSIS_ID),
    source="cogvideo/pipeline_cogvideox.py",
    inputs=(_VIDEO_LATENTS,),
    outputs=_VIDEO,
)

_LTX_DECODER = replace(
    _COGVIDEOX_DECODER,
    class_name="AutoencoderKLLTXVideo",
    families=(LTX,),
    source="ltx/pipeline_ltx.py",
    refuse=(Refusal("timestep_conditioning", (False,)),),
)

_HUNYUAN_VIDEO_DECODER = replace(
    _COGVIDEOX_DECODER,
    class_name="AutoencoderKLHunyuanVideo",
    families=(HUNYUAN_VIDEO, KANDINSKY_5),
    source="hunyuan_video/pipeline_hunyuan_video.py",
    stand_ins=(MASKED_ATTENTION,),
)
_VIDEO_ENCODER = replace(
    _KL_ENCODER,
    inputs=(Input("video", ("batch", "in_channels", "frames", "height", "width"), to="x"),),
)

_COGVIDEOX_ENCODER = replace(
    _VIDEO_ENCODER,
    class_name="AutoencoderKLCogVideoX",
    families=(COGVIDEOX, CONSIS_ID),
    source="cogvideo/pipeline_cogvideox_video2video.py",
)
_LTX_ENCODER = replace(
    _VIDEO_ENCODER,
    class_name="AutoencoderKLLTXVideo",
    families=(LTX,),
    source="ltx/pipeline_ltx_condition.py",
)
_HUNYUAN_VIDEO_ENCODER = replace(
    _VIDEO_ENCODER,
    class_name="AutoencoderKLHunyuanVideo",
    families=(HUNYUAN_VIDEO, KANDINSKY_5),
    source="hunyuan_video/pipeline_hunyuan_video_image2video.py",
    stand_ins=(MASKED_ATTENTION,),
)
_MOCHI_DECODER = replace(
    _COGVIDEOX_DECODER,
    class_name="AutoencoderKLMochi",
    families=(MOCHI,),
    source="mochi/pipeline_mochi.py",
    stand_ins=(UNCHUNKED,),
)


_MAGVIT = "its convolutions keep the frames of the piece before in a member of the model, and delete it"

_MAGVIT_DECODER = replace(
    _COGVIDEOX_DECODER,
    class_name="AutoencoderKLMagvit",
    families=(EASY_ANIMATE,),
    source="easyanimate/pipeline_easyanimate.py",
    broken=_MAGVIT,
)
_MAGVIT_ENCODER = replace(
    _VIDEO_ENCODER,
    class_name="AutoencoderKLMagvit",
    families=(EASY_ANIMATE,),
    source="easyanimate/pipeline_easyanimate_inpaint.py",
    broken=_MAGVIT,
)

_COSMOS_DECODER = replace(
    _COGVIDEOX_DECODER,
    class_name="AutoencoderKLCosmos",
    families=(COSMOS,),
    source="cosmos/pipeline_cosmos_text2world.py",
)
_COSMOS_ENCODER = replace(
    _VIDEO_ENCODER,
    class_name="AutoencoderKLCosmos",
    families=(COSMOS,),
    source="cosmos/pipeline_cosmos_video2world.py",
    outputs=(Output("latents"),),
)


def _tile_sizes(scene: Scene) -> Sizes:
    """A tile is of 24 frames and `sample_size` square pixels."""
    side = scene.number("sample_size")
    return {
        "tile_frames": _ALLEGRO_TILE_FRAMES,
        "tile_side": side,
        "tile_latent_frames": _ALLEGRO_TILE_FRAMES // scene.number("temporal_compression_ratio"),
        "tile_latent_side": side // 2 ** (len(scene.numbers("block_out_channels")) - 1),
    }


_ALLEGRO_TILE_FRAMES = 24
"""`sample_frames` in AutoencoderKLAllegro."""

_ALLEGRO_DECODER = replace(
    _COGVIDEOX_DECODER,
    class_name="AutoencoderKLAllegro",
    families=(ALLEGRO,),
    component="{model}_decoder_tile",
    source="allegro/pipeline_allegro.py",
    inputs=(
        replace(
            _VIDEO_LATENTS,
            shape=("batch", "latent_channels", "tile_latent_frames", "tile_latent_side", "tile_latent_side"),
            note="one tile; to cut and to blend tiles is the caller's",
        ),
    ),
    sizes=_tile_sizes,
    stand_ins=(ONE_TILE,),
)
_ALLEGRO_ENCODER = replace(
    _VIDEO_ENCODER,
    class_name="AutoencoderKLAllegro",
    families=(ALLEGRO,),
    component="{model}_encoder_tile",
    source="allegro/pipeline_allegro.py",
    inputs=(
        Input(
            "video",
            ("batch", "in_channels", "tile_frames", "tile_side", "tile_side"),
            to="x",
            note="one tile; to cut and to blend tiles is the caller's",
        ),
    ),
    sizes=_tile_sizes,
    stand_ins=(ONE_TILE,),
)

# The pipelines let it work through a video in pieces; here it goes through at once: see the stand-in.
_WAN_DECODER = replace(
    _COGVIDEOX_DECODER,
    class_name="AutoencoderKLWan",
    families=(WAN, SKY_REELS_2, COSMOS),
    source="wan/pipeline_wan.py",
    inputs=(
        replace(
            _VIDEO_LATENTS,
            shape=("batch", "z_dim", "latent_frames", "latent_height", "latent_width"),
            note="all at once, which takes more memory than the pieces that mindone decodes",
        ),
    ),
    stand_ins=(WHOLE_VIDEO,),
)
_WAN_ENCODER = replace(
    _VIDEO_ENCODER,
    class_name="AutoencoderKLWan",
    families=(WAN, SKY_REELS_2, COSMOS),
    source="wan/pipeline_wan_video2video.py",
    inputs=(Input("video", ("batch", 3, "frames", "height", "width"), to="x"),),
    stand_ins=(WHOLE_VIDEO,),
)
_QWEN_DECODER = replace(
    _WAN_DECODER,
    class_name="AutoencoderKLQwenImage",
    families=(QWEN_IMAGE,),
    source="qwenimage/pipeline_qwenimage.py",
    inputs=(replace(_VIDEO_LATENTS, shape=("batch", "z_dim", 1, "latent_height", "latent_width")),),
)
_QWEN_ENCODER = replace(
    _WAN_ENCODER,
    class_name="AutoencoderKLQwenImage",
    families=(QWEN_IMAGE,),
    source="qwenimage/pipeline_qwenimage_img2img.py",
    inputs=(Input("image", ("batch", 3, 1, "height", "width"), to="x", note="a video of one frame"),),
)

SPECS = (
    _KL_DECODER,
    _KL_ENCODER,
    _XL_DECODER,
    _XL_ENCODER,
    _KOLORS_DECODER,
    _KOLORS_ENCODER,
    _AURA_FLOW_DECODER,
    _FLUX_2_DECODER,
    _FLUX_2_ENCODER,
    _TINY_DECODER,
    _TINY_ENCODER,
    _MOVQ_DECODER,
    _MOVQ_ENCODER,
    _DC_DECODER,
    _DC_ENCODER,
    _TEMPORAL_DECODER,
    _TEMPORAL_ENCODER,
    _COGVIDEOX_DECODER,
    _COGVIDEOX_ENCODER,
    _LTX_DECODER,
    _LTX_ENCODER,
    _HUNYUAN_VIDEO_DECODER,
    _HUNYUAN_VIDEO_ENCODER,
    _MOCHI_DECODER,
    _MAGVIT_DECODER,
    _MAGVIT_ENCODER,
    _COSMOS_DECODER,
    _COSMOS_ENCODER,
    _WAN_DECODER,
    _WAN_ENCODER,
    _QWEN_DECODER,
    _QWEN_ENCODER,
    _ALLEGRO_DECODER,
    _ALLEGRO_ENCODER,
)
