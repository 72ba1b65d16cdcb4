"""The autoencoders of pictures: one entry a class and direction."""

from __future__ import annotations

from dataclasses import replace

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.patch_names import PLAIN_RESULTS
from attnfuse.tracing.specs.pictures.aura_flow import AURA_FLOW
from attnfuse.tracing.specs.pictures.cogview import COGVIEW_3, COGVIEW_4
from attnfuse.tracing.specs.pictures.dit import DIT
from attnfuse.tracing.specs.pictures.flux import CHROMA, FLUX, FLUX_2
from attnfuse.tracing.specs.pictures.hunyuan_dit import HUNYUAN_DIT
from attnfuse.tracing.specs.pictures.kandinsky import KANDINSKY, KANDINSKY_2_2, KANDINSKY_3
from attnfuse.tracing.specs.pictures.kolors import KOLORS
from attnfuse.tracing.specs.pictures.lumina import LUMINA, LUMINA_2
from attnfuse.tracing.specs.pictures.marigold import MARIGOLD
from attnfuse.tracing.specs.pictures.pixart import PIXART_ALPHA, PIXART_SIGMA
from attnfuse.tracing.specs.pictures.sana import SANA
from attnfuse.tracing.specs.pictures.stable_diffusion import STABLE_DIFFUSION, STABLE_DIFFUSION_XL
from attnfuse.tracing.specs.pictures.stable_diffusion_3 import STABLE_DIFFUSION_3
from attnfuse.tracing.specs.pictures.stable_diffusion_edits import LATENT_UPSCALE, UPSCALE
from attnfuse.tracing.specs.record import FixedSetting, Input, Output, Refusal, Spec
from attnfuse.tracing.specs.sound.audio_ldm_2 import AUDIO_LDM_2
from attnfuse.tracing.specs.videos.animate_diff import ANIMATE_DIFF
from attnfuse.tracing.specs.videos.animate_diff_variants import (
    ANIMATE_DIFF_XL,
    TEXT_TO_VIDEO,
    TEXT_TO_VIDEO_ZERO,
    TEXT_TO_VIDEO_ZERO_XL,
    VIDEO_TO_VIDEO,
)
from attnfuse.tracing.specs.videos.i2vgen import I2VGEN
from attnfuse.tracing.specs.videos.latte import LATTE

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
    MARIGOLD,
)
"""Families that run an AutoencoderKL in the type they are held in."""

_BY_PICTURE = tuple(family for family in _AS_HELD if family not in (ANIMATE_DIFF, LATTE))
"""Those that decode as many pictures as there are in a batch."""

_ENCODE_ROWS = frozenset(
    {"StableDiffusion3ControlNetPipeline", "HunyuanDiTControlNetPipeline", "SanaControlNetPipeline"}
)
"""Pipelines that double a ControlNet's picture for guidance, and then encode it."""


def _encoded(context: SpecContext) -> Sizes:
    """Pictures in one run: the batch, or as many as the denoiser has rows."""
    rows = context.pipeline.class_name in _ENCODE_ROWS
    return {"pictures": context.sizes["rows" if rows else "batch"]}


def _decoded_frames(context: SpecContext) -> Sizes:
    """Pictures in one run: all frames of all videos, or of Latte at most 14."""
    frames = context.sizes["batch"] * context.sizes["frames"]
    return {"images": min(frames, 14) if context.pipeline.class_name == "LattePipeline" else frames}


KL_DECODER = Spec(
    class_name="AutoencoderKL",
    library="diffusers",
    families=_BY_PICTURE,
    models=("vae",),
    component="{model}_decoder",
    method="decode",
    source="stable_diffusion/pipeline_stable_diffusion.py",
    inputs=(Input("latents", ("batch", "latent_channels", "latent_height", "latent_width"), to="z"),),
    outputs=(Output("image"),),
)

KL_ENCODER = Spec(
    class_name="AutoencoderKL",
    library="diffusers",
    families=_AS_HELD,
    models=("vae",),
    component="{model}_encoder",
    method="encode",
    source="stable_diffusion/pipeline_stable_diffusion_img2img.py",
    inputs=(
        Input(
            "image",
            ("pictures", "in_channels", "height", "width"),
            to="x",
            note="a batch; doubled in the pipelines of Stable Diffusion 3, HunyuanDiT and Sana with a ControlNet",
        ),
    ),
    outputs=(Output("moments"),),  # mean and log-variance, side by side
    sizes=_encoded,
)

# Every frame has latents of its own, and goes through by itself.
_FRAME_LATENTS = ("images", "latent_channels", "latent_height", "latent_width")

_FRAMES_DECODER = replace(
    KL_DECODER,
    families=(ANIMATE_DIFF, LATTE, TEXT_TO_VIDEO_ZERO),
    source="animatediff/pipeline_animatediff.py",
    inputs=(Input("latents", _FRAME_LATENTS, to="z", note="every frame's"),),
    sizes=_decoded_frames,
    fixed_settings=(
        FixedSetting(
            "decode_chunk_size",
            14,
            "frames that are decoded in one run, all where there are no more: fill up the last of several runs",
            when=lambda context: context.pipeline.class_name == "LattePipeline",
            only="in Latte",
        ),
    ),
)


def _force_upcast(context: SpecContext) -> bool:
    return bool(context.option("force_upcast", True))


def upcast_half(context: SpecContext) -> str:
    """The type of an autoencoder that runs in float32 where the pipeline is in float16."""
    # "make sure the VAE is in float32 mode, as it overflows in float16". The weights come straight from the
    # checkpoint, where mindone would have rounded them to float16 and back.
    return "float32" if context.dtype == "float16" and _force_upcast(context) else context.dtype


def _upcast_always(context: SpecContext) -> str:
    # For encoding it upcasts whatever the type it comes from.
    return "float32" if _force_upcast(context) else context.dtype


_FRAMES_ENCODER = replace(
    KL_ENCODER,
    families=(TEXT_TO_VIDEO,),
    source="text_to_video_synthesis/pipeline_text_to_video_synth_img2img.py",
    inputs=(Input("image", ("images", "in_channels", "height", "width"), to="x", note="every frame of a video"),),
    sizes=_decoded_frames,
)

_ANIMATED_ENCODER = replace(
    _FRAMES_ENCODER,
    families=(VIDEO_TO_VIDEO,),
    source=VIDEO_TO_VIDEO.source,
    sizes=lambda context: {"images": context.sizes["frames"]},  # one video after the other
    dtype=_upcast_always,
)

_XL_DECODER = replace(
    KL_DECODER,
    families=(STABLE_DIFFUSION_XL,),
    source="stable_diffusion_xl/pipeline_stable_diffusion_xl.py",
    dtype=upcast_half,
)

_XL_ENCODER = replace(
    KL_ENCODER,
    families=(STABLE_DIFFUSION_XL,),
    source="stable_diffusion_xl/pipeline_stable_diffusion_xl_img2img.py",
    dtype=_upcast_always,
)

_XL_FRAMES_DECODER = replace(
    _FRAMES_DECODER,
    families=(TEXT_TO_VIDEO_ZERO_XL, ANIMATE_DIFF_XL),
    source=TEXT_TO_VIDEO_ZERO_XL.source,
    dtype=upcast_half,
)

_UPSCALE_DECODER = replace(_XL_DECODER, families=(UPSCALE,), source=UPSCALE.source)

_LATENT_UPSCALE_ENCODER = replace(
    KL_ENCODER,
    families=(LATENT_UPSCALE,),
    source=LATENT_UPSCALE.source,
    inputs=(Input("image", ("batch", "in_channels", "picture_height", "picture_width"), to="x"),),
)

_KOLORS_DECODER = replace(_XL_DECODER, families=(KOLORS,), source="kolors/pipeline_kolors.py")

_KOLORS_ENCODER = replace(_XL_ENCODER, families=(KOLORS,), source="kolors/pipeline_kolors_img2img.py")

_AURA_FLOW_DECODER = replace(_XL_DECODER, families=(AURA_FLOW,), source="aura_flow/pipeline_aura_flow.py")

_FLUX_2_DECODER = replace(
    KL_DECODER,
    class_name="AutoencoderKLFlux2",
    families=(FLUX_2,),
    source="flux2/pipeline_flux2.py",
    patches=(PLAIN_RESULTS,),
)

_FLUX_2_ENCODER = replace(
    KL_ENCODER,
    class_name="AutoencoderKLFlux2",
    families=(FLUX_2,),
    source="flux2/pipeline_flux2.py",
    patches=(PLAIN_RESULTS,),
)

# Takes the place of the pipeline's own: the latents are the same.
_TINY_DECODER = replace(
    KL_DECODER,
    class_name="AutoencoderTiny",
    families=(*_BY_PICTURE, STABLE_DIFFUSION_XL),
    inputs=(Input("latents", ("batch", "latent_channels", "latent_height", "latent_width"), to="x"),),
)

_TINY_FRAMES_DECODER = replace(
    _FRAMES_DECODER,
    class_name="AutoencoderTiny",
    inputs=(Input("latents", _FRAME_LATENTS, to="x", note="every frame's"),),
)

_TINY_ENCODER = replace(
    KL_ENCODER,
    class_name="AutoencoderTiny",
    families=(*_AS_HELD, STABLE_DIFFUSION_XL),
    outputs=(Output("latents"),),
)

_MOVQ_DECODER = replace(
    KL_DECODER,
    class_name="VQModel",
    families=(KANDINSKY, KANDINSKY_2_2, KANDINSKY_3),
    models=("movq",),
    source="kandinsky2_2/pipeline_kandinsky2_2.py",
    inputs=(Input("latents", ("batch", "latent_channels", "latent_height", "latent_width"), to="h"),),
    fixed={"force_not_quantize": True, "return_dict": False},
    refuse=(Refusal("lookup_from_codebook", (False,)),),
)

_MOVQ_ENCODER = replace(
    KL_ENCODER,
    class_name="VQModel",
    families=(KANDINSKY, KANDINSKY_2_2, KANDINSKY_3),
    models=("movq",),
    source="kandinsky2_2/pipeline_kandinsky2_2_img2img.py",
    outputs=(Output("latents"),),
)

_DC_DECODER = replace(KL_DECODER, class_name="AutoencoderDC", families=(SANA,), source="sana/pipeline_sana.py")

_DC_ENCODER = replace(
    KL_ENCODER,
    class_name="AutoencoderDC",
    families=(SANA,),
    source="sana/pipeline_sana_sprint_img2img.py",
    outputs=(Output("latents"),),
)

SPECS = (
    KL_DECODER,
    _FRAMES_DECODER,
    _FRAMES_ENCODER,
    _ANIMATED_ENCODER,
    KL_ENCODER,
    _XL_DECODER,
    _XL_ENCODER,
    _XL_FRAMES_DECODER,
    _UPSCALE_DECODER,
    _LATENT_UPSCALE_ENCODER,
    _KOLORS_DECODER,
    _KOLORS_ENCODER,
    _AURA_FLOW_DECODER,
    _FLUX_2_DECODER,
    _FLUX_2_ENCODER,
    _TINY_DECODER,
    _TINY_FRAMES_DECODER,
    _TINY_ENCODER,
    _MOVQ_DECODER,
    _MOVQ_ENCODER,
    _DC_DECODER,
    _DC_ENCODER,
)
