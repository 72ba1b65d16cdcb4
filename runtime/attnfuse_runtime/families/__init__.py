"""The kinds of pipelines that there is a loop for: what sets each apart from the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attnfuse_runtime.families.base import Canvas, Conditions, Family, Setup, Text
from attnfuse_runtime.families.flux import Flux
from attnfuse_runtime.families.ltx import LTX, LTXOfPictures
from attnfuse_runtime.families.qwen_image import QwenImage
from attnfuse_runtime.families.stable_diffusion import StableDiffusion, StableDiffusionXL
from attnfuse_runtime.families.stable_diffusion_3 import StableDiffusion3
from attnfuse_runtime.families.texts import TextEncoder
from attnfuse_runtime.families.videos import Decoding, Shown, VideoFamily
from attnfuse_runtime.families.wan import Wan, WanOfPictures

FAMILIES: Final[Mapping[str, type[Family]]] = {
    "FluxPipeline": Flux,
    "QwenImagePipeline": QwenImage,
    "StableDiffusion3Pipeline": StableDiffusion3,
    "StableDiffusionPipeline": StableDiffusion,
    "StableDiffusionXLPipeline": StableDiffusionXL,
}
"""Of pictures, by the class that `model_index.json` names."""

VIDEOS: Final[Mapping[str, type[VideoFamily]]] = {
    "LTXImageToVideoPipeline": LTXOfPictures,
    "LTXPipeline": LTX,
    "WanImageToVideoPipeline": WanOfPictures,
    "WanPipeline": Wan,
}
"""Of films."""

__all__ = [
    "FAMILIES",
    "VIDEOS",
    "Canvas",
    "Conditions",
    "Decoding",
    "Family",
    "Setup",
    "Shown",
    "Text",
    "TextEncoder",
    "VideoFamily",
]
