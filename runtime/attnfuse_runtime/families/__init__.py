"""The kinds of pipelines that there is a loop for: what sets each apart from the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from attnfuse_runtime.families import control, pictures
from attnfuse_runtime.families.base import Canvas, Conditions, Family, Moment, Setup, Start, Text
from attnfuse_runtime.families.flux import Flux
from attnfuse_runtime.families.ltx import LTX, LTXOfPictures
from attnfuse_runtime.families.pixart import PixArtAlpha, PixArtSigma
from attnfuse_runtime.families.qwen_image import QwenImage
from attnfuse_runtime.families.stable_diffusion import StableDiffusion, StableDiffusionXL
from attnfuse_runtime.families.stable_diffusion_3 import StableDiffusion3
from attnfuse_runtime.families.texts import TextEncoder
from attnfuse_runtime.families.videos import Decoding, Shown, VideoFamily
from attnfuse_runtime.families.wan import Wan, WanOfPictures

FAMILIES: Final[Mapping[str, type[Family]]] = {
    "FluxPipeline": Flux,
    "PixArtAlphaPipeline": PixArtAlpha,
    "PixArtSigmaPipeline": PixArtSigma,
    "QwenImagePipeline": QwenImage,
    "StableDiffusion3Pipeline": StableDiffusion3,
    "StableDiffusionControlNetImg2ImgPipeline": control.StableDiffusionControlledImageToImage,
    "StableDiffusionControlNetInpaintPipeline": control.StableDiffusionControlledInpainting,
    "StableDiffusionControlNetPipeline": control.StableDiffusionControlled,
    "StableDiffusionImg2ImgPipeline": pictures.StableDiffusionImageToImage,
    "StableDiffusionInpaintPipeline": pictures.StableDiffusionInpainting,
    "StableDiffusionPipeline": StableDiffusion,
    "StableDiffusionXLControlNetImg2ImgPipeline": control.StableDiffusionXLControlledImageToImage,
    "StableDiffusionXLControlNetInpaintPipeline": control.StableDiffusionXLControlledInpainting,
    "StableDiffusionXLControlNetPipeline": control.StableDiffusionXLControlled,
    "StableDiffusionXLImg2ImgPipeline": pictures.StableDiffusionXLImageToImage,
    "StableDiffusionXLInpaintPipeline": pictures.StableDiffusionXLInpainting,
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


def kind_for(name: str, given: Collection[str]) -> type[Family]:
    """The kind of pipeline of this class, or the one with the same models that begins with what is given.

    A text-to-image pipeline that is given an image goes from that, and one that is given a mask too paints what that
    tells: mindone has a class for each of the three.
    """
    for of in (
        "StableDiffusion{}",
        "StableDiffusionXL{}",
        "StableDiffusionControlNet{}",
        "StableDiffusionXLControlNet{}",
    ):
        alike = [of.format(end) for end in ("Pipeline", "Img2ImgPipeline", "InpaintPipeline")]
        if name in alike:
            return FAMILIES[alike[max(alike.index(name), len({"image", "mask"} & {*given}))]]
    return FAMILIES[name]


__all__ = [
    "FAMILIES",
    "VIDEOS",
    "Canvas",
    "Conditions",
    "Decoding",
    "Family",
    "Moment",
    "Setup",
    "Shown",
    "Start",
    "Text",
    "TextEncoder",
    "VideoFamily",
    "kind_for",
]
