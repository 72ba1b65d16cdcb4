"""The kinds of pipelines that there is a loop for: what sets each apart from the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attnfuse_runtime.families.base import Canvas, Conditions, Family, Setup, Text
from attnfuse_runtime.families.flux import Flux
from attnfuse_runtime.families.picture_prompts import picture_prompt
from attnfuse_runtime.families.stable_diffusion import StableDiffusion, StableDiffusionXL
from attnfuse_runtime.families.stable_diffusion_3 import StableDiffusion3
from attnfuse_runtime.families.texts import TextEncoder

FAMILIES: Final[Mapping[str, type[Family]]] = {
    "FluxPipeline": Flux,
    "StableDiffusion3Pipeline": StableDiffusion3,
    "StableDiffusionPipeline": StableDiffusion,
    "StableDiffusionXLPipeline": StableDiffusionXL,
}
"""By the class that `model_index.json` names."""

__all__ = ["FAMILIES", "Canvas", "Conditions", "Family", "Setup", "Text", "TextEncoder", "picture_prompt"]
