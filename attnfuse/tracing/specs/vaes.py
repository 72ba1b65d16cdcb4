"""The autoencoders: one entry a class and direction.

Imports `families` and `record` of this room.
"""

from __future__ import annotations

from dataclasses import replace

from attnfuse.tracing.specs.families import (
    AURA_FLOW,
    COGVIEW_3,
    COGVIEW_4,
    DIT,
    FLUX,
    HUNYUAN_DIT,
    PIXART_ALPHA,
    PIXART_SIGMA,
    SANA,
    STABLE_DIFFUSION,
    STABLE_DIFFUSION_3,
    STABLE_DIFFUSION_XL,
)
from attnfuse.tracing.specs.record import MASKED_ATTENTION, Input, Output, Refusal, Scene, Spec
from attnfuse.tracing.specs.video_families import ANIMATE_DIFF, COGVIDEOX, HUNYUAN_VIDEO, LATTE, LTX

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
    ANIMATE_DIFF,
    LATTE,
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


def _decoder_upcast(scene: Scene) -> str:
    # "make sure the VAE is in float32 mode, as it overflows in float16". The weights come straight from the
    # checkpoint, where mindone would have rounded them to float16 and back.
    return "float32" if scene.dtype == "float16" and _force_upcast(scene) else scene.dtype


def _encoder_upcast(scene: Scene) -> str:
    # For encoding it upcasts whatever the type it comes from.
    return "float32" if _force_upcast(scene) else scene.dtype


_XL_DECODER = replace(
    _KL_DECODER,
    families=(STABLE_DIFFUSION_XL,),
    source="stable_diffusion_xl/pipeline_stable_diffusion_xl.py",
    held=_decoder_upcast,
)
_XL_ENCODER = replace(
    _KL_ENCODER,
    families=(STABLE_DIFFUSION_XL,),
    source="stable_diffusion_xl/pipeline_stable_diffusion_xl_img2img.py",
    held=_encoder_upcast,
)

_AURA_FLOW_DECODER = replace(_XL_DECODER, families=(AURA_FLOW,), source="aura_flow/pipeline_aura_flow.py")

_DC_DECODER = replace(_KL_DECODER, class_name="AutoencoderDC", families=(SANA,), source="sana/pipeline_sana.py")

_VIDEO_LATENTS = Input(
    "latents", ("batch", "latent_channels", "latent_frames", "latent_height", "latent_width"), to="z"
)
_VIDEO = (Output("video"),)

_COGVIDEOX_DECODER = replace(
    _KL_DECODER,
    class_name="AutoencoderKLCogVideoX",
    families=(COGVIDEOX,),
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
    families=(HUNYUAN_VIDEO,),
    source="hunyuan_video/pipeline_hunyuan_video.py",
    stand_ins=(MASKED_ATTENTION,),
)

SPECS = (
    _KL_DECODER,
    _KL_ENCODER,
    _XL_DECODER,
    _XL_ENCODER,
    _AURA_FLOW_DECODER,
    _DC_DECODER,
    _COGVIDEOX_DECODER,
    _LTX_DECODER,
    _HUNYUAN_VIDEO_DECODER,
)
