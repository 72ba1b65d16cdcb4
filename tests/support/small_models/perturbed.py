"""Small denoisers of pipelines with perturbed attention guidance: those of their bases, with other rows."""

from __future__ import annotations

from typing import Final

from attnfuse.tracing.contract import ShapeOptions
from tests.support.checkpoints import SD21_UNET, XL_TEXT_ENCODER_2, XL_UNET
from tests.support.small_models import pictures, videos
from tests.support.small_models.record import Small

_TEXT: Final = ShapeOptions(height=64, width=96, sequence_length=11)

SMALL: dict[str, Small] = {
    "pag_sd": Small(
        "StableDiffusionPAGPipeline", {"unet": SD21_UNET}, "DDIMScheduler", ShapeOptions(height=32, width=48)
    ),
    "pag_sd_alone": Small(
        "StableDiffusionPAGPipeline",
        {"unet": SD21_UNET},
        "DDIMScheduler",
        ShapeOptions(height=32, width=48, guidance=False),
    ),
    "pag_xl": Small(
        "StableDiffusionXLPAGPipeline",
        {"unet": XL_UNET, "text_encoder_2": XL_TEXT_ENCODER_2},
        "EulerDiscreteScheduler",
        ShapeOptions(height=32, width=48),
    ),
    "pag_sd3": Small(
        "StableDiffusion3PAGPipeline",
        {"transformer": pictures.SD3, "text_encoder": XL_TEXT_ENCODER_2},
        shapes=ShapeOptions(height=64, width=96, sequence_length=11),
    ),
    "pag_pixart": Small(
        "PixArtSigmaPAGPipeline", {"transformer": {**pictures.PIXART, "num_layers": 2}}, "DDIMScheduler", _TEXT
    ),
    "pag_hunyuan_dit": Small(
        "HunyuanDiTPAGPipeline", {"transformer": {**pictures.HUNYUAN_DIT, "num_layers": 4}}, "DDPMScheduler", _TEXT
    ),
    "pag_kolors": Small("KolorsPAGPipeline", {"unet": pictures.KOLORS_UNET}, "EulerDiscreteScheduler", _TEXT),
    "pag_sana": Small("SanaPAGPipeline", {"transformer": pictures.SANA}, shapes=_TEXT),
    "pag_animate_diff": Small(
        "AnimateDiffPAGPipeline",
        {"unet": videos.MOTION_UNET},
        "DDIMScheduler",
        ShapeOptions(height=64, width=96, frames=3),
    ),
}
"""By a name of their own."""
