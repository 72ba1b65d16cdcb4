"""The pipelines of Stable Diffusion and XL with an IP-Adapter that are recorded: as without, and a picture beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attnfuse.tracing.folder import IpAdapter
from attnfuse.tracing.plan import ADAPTED, NOT_ADAPTED
from tests.support.recorder import edits, perturbed, pictures
from tests.support.recorder.record import PICTURE, Recording, varied
from tests.support.small_models.encoders import CLIP_VISION

_AS: Final = {**pictures.RECORDINGS, **perturbed.RECORDINGS, **edits.RECORDINGS}

PLAIN: Final = IpAdapter("image_embeds", CLIP_VISION["projection_dim"], 0)
STATES: Final = IpAdapter("hidden_states", CLIP_VISION["hidden_size"], 0)

_OTHERWISE: Final = {
    "unet: added_cond_kwargs.ip_adapter_scale is None": "pipelines have it on the UNet's attention; here it is an input"
}
_OF_ONE: Final[Mapping[str, Mapping[str, str]]] = {
    "StableDiffusionInpaintPipeline": {
        "unet: added_cond_kwargs.image_embeds.0 is [1, 1, 17, 24]": "mindone returns the list from before it put the"
        " rows together, with which its UNet fails"
    },
    **{
        name: {"controlnet: added_cond_kwargs.image_embeds is [[3, 1, 17, 24]": "a ControlNet looks at none of it"}
        for name in ("StableDiffusionXLControlNetPAGPipeline", "StableDiffusionXLControlNetPAGImg2ImgPipeline")
    },
}
_OF_PLAIN: Final = {"StableDiffusionPipeline", "StableDiffusionXLPipeline"}


def _with(name: str, adapter: IpAdapter) -> Recording:
    base = _AS[name]
    return varied(
        base,
        {"image_encoder": CLIP_VISION},
        {"ip_adapter_image": PICTURE},
        ip_adapter=adapter,
        otherwise={**base.otherwise, **_OTHERWISE, **_OF_ONE.get(name, {})},
    )


_NAMES: Final = tuple(name for family in ADAPTED for name in family.pipelines if name not in NOT_ADAPTED)

RECORDINGS: Final[Mapping[str, Recording]] = {
    **{f"{name} with an IP-Adapter plus": _with(name, STATES) for name in _NAMES},
    **{f"{name} with an IP-Adapter": _with(name, PLAIN) for name in sorted(_OF_PLAIN)},
}
