"""The pipelines with perturbed attention guidance that are recorded: as those without it, but for a few arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attnfuse.tracing.contract import ShapeOptions
from tests.support.recorder import pictures, videos
from tests.support.recorder.record import Recording, varied

_AS: Final = {**pictures.RECORDINGS, **videos.RECORDINGS}

RECORDINGS: Final[Mapping[str, Recording]] = {
    "StableDiffusionPAGPipeline": _AS["StableDiffusionPipeline"],
    "StableDiffusionPAGPipeline without guidance": varied(
        _AS["StableDiffusionPipeline"],
        call={"guidance_scale": 1.0},
        shapes=ShapeOptions(guidance=False),
    ),
    "StableDiffusionPAGImg2ImgPipeline": _AS["StableDiffusionImg2ImgPipeline"],
    "StableDiffusionPAGInpaintPipeline": _AS["StableDiffusionInpaintPipeline"],
    "StableDiffusionControlNetPAGPipeline": _AS["StableDiffusionControlNetPipeline"],
    "StableDiffusionControlNetPAGInpaintPipeline": _AS["StableDiffusionControlNetInpaintPipeline"],
    "StableDiffusionXLPAGPipeline": _AS["StableDiffusionXLPipeline"],
    "StableDiffusionXLPAGImg2ImgPipeline": _AS["StableDiffusionXLImg2ImgPipeline"],
    "StableDiffusionXLPAGInpaintPipeline": _AS["StableDiffusionXLInpaintPipeline"],
    "StableDiffusionXLControlNetPAGPipeline": _AS["StableDiffusionXLControlNetPipeline"],
    "StableDiffusionXLControlNetPAGImg2ImgPipeline": _AS["StableDiffusionXLControlNetImg2ImgPipeline"],
    "StableDiffusion3PAGPipeline": _AS["StableDiffusion3Pipeline"],
    "StableDiffusion3PAGImg2ImgPipeline": _AS["StableDiffusion3Img2ImgPipeline"],
    "PixArtSigmaPAGPipeline": _AS["PixArtSigmaPipeline"],
    "HunyuanDiTPAGPipeline": _AS["HunyuanDiTPipeline"],
    "KolorsPAGPipeline": _AS["KolorsPipeline"],
    "SanaPAGPipeline": _AS["SanaPipeline"],
    "AnimateDiffPAGPipeline": _AS["AnimateDiffPipeline"],
}
