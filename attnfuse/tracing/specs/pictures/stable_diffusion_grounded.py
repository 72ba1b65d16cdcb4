"""GLIGEN and ControlNet-XS: UNets of Stable Diffusion and XL that take boxes, or a picture of conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import LORA_SCALE
from attnfuse.tracing.specs.pictures.stable_diffusion import (
    ADDED_CONDITIONS,
    STABLE_DIFFUSION,
    STABLE_DIFFUSION_XL,
    UNET_2D_CONDITION,
    condition_sizes,
    one_context,
)
from attnfuse.tracing.specs.record import SAMPLE, Input, Output, PipelineFamily, Refusal, Spec

_OBJECTS = 30
"""`max_objs` in both pipelines: places that are not taken are masked."""

GLIGEN = replace(
    STABLE_DIFFUSION,
    name="GLIGEN",
    pipelines=("StableDiffusionGLIGENPipeline",),
    source="stable_diffusion_gligen/pipeline_stable_diffusion_gligen.py",
    base=STABLE_DIFFUSION,
    channels=lambda latents: (latents, 2 * latents + 1),
)

GLIGEN_PICTURES = replace(
    GLIGEN,
    name="GLIGEN with pictures",
    pipelines=("StableDiffusionGLIGENTextImagePipeline",),
    source="stable_diffusion_gligen/pipeline_stable_diffusion_gligen_text_image.py",
    aside=("safety_checker",),
)


def _objects(name: str, *size: int | str, note: str = "") -> Input:
    """Something that the UNet is told of each object."""
    return Input(name, ("rows", _OBJECTS, *size), to=f"cross_attention_kwargs.gligen.{name}", note=note)


def _grounded(family: PipelineFamily, kind: str, objects: Sequence[Input], component: str = "{model}") -> Spec:
    return replace(
        UNET_2D_CONDITION,
        families=(family,),
        source=family.source,
        component=component,
        inputs=(*UNET_2D_CONDITION.inputs[:3], *objects),
        refuse=(
            *(refusal for refusal in UNET_2D_CONDITION.refuse if refusal.option != "attention_type"),
            Refusal("attention_type", (kind,)),
        ),
        fixed_settings=(LORA_SCALE,),
    )


_PLACES = (_objects("boxes", 4), _objects("masks", note="1 for an object, 0 for a free place"))

GLIGEN_UNET = _grounded(GLIGEN, "gated", (*_PLACES, _objects("positive_embeddings", "context")), "{model}_grounded")

#: After `gligen_scheduled_sampling_beta` of the steps boxes are no longer looked at (`enable_fuser(False)`).
UNGROUNDED_UNET = _grounded(GLIGEN, "gated", (), "{model}_ungrounded")

GLIGEN_PICTURES_UNET = _grounded(
    GLIGEN_PICTURES,
    "gated-text-image",
    (
        *_PLACES,
        _objects("phrases_masks"),
        _objects("image_masks"),
        _objects("phrases_embeddings", "context"),
        _objects("image_embeddings", "context"),
    ),
)

IMAGE_PROJECTION = Spec(
    class_name="CLIPImageProjection",
    library="diffusers",
    families=(GLIGEN_PICTURES,),
    models=("image_project",),
    source=GLIGEN_PICTURES.source,
    inputs=(Input("x", (1, "hidden_size"), note="the embedding of one picture"),),
    outputs=(Output("image_embeds", "result"),),
    fixed={},
)

CONTROLNET_XS = replace(
    STABLE_DIFFUSION,
    name="ControlNet-XS",
    pipelines=("StableDiffusionControlNetXSPipeline",),
    source="controlnet_xs/pipeline_controlnet_xs.py",
    base=STABLE_DIFFUSION,
)

CONTROLNET_XS_XL = replace(
    CONTROLNET_XS,
    name="ControlNet-XS XL",
    pipelines=("StableDiffusionXLControlNetXSPipeline",),
    source="controlnet_xs/pipeline_controlnet_xs_sd_xl.py",
    base=STABLE_DIFFUSION_XL,
)


def _xs_sizes(context: SpecContext) -> Sizes:
    """It takes latents of 4 channels, as `UNetControlNetXSModel` has it."""
    return {**condition_sizes(context), "latent_channels": 4}


CONTROLNET_XS_UNET = Spec(
    class_name="UNetControlNetXSModel",
    library="diffusers",
    families=(CONTROLNET_XS, CONTROLNET_XS_XL),
    models=("unet",),
    source=CONTROLNET_XS.source,
    inputs=(
        Input("sample", ("rows", "latent_channels", "latent_height", "latent_width")),
        Input("timestep", (1,), "timestep", note="one scalar of the scheduler, given an axis"),
        Input("encoder_hidden_states", ("rows", "tokens", "context")),
        Input("controlnet_cond", ("rows", 3, "height", "width"), note="the picture of conditions, in pixels"),
        *ADDED_CONDITIONS,
    ),
    outputs=SAMPLE,
    fixed={"conditioning_scale": 1.0, "apply_control": True, "return_dict": False},
    sizes=_xs_sizes,
    check=one_context,
    fixed_settings=(LORA_SCALE,),
)

_APART = replace(
    UNET_2D_CONDITION,
    families=(CONTROLNET_XS, CONTROLNET_XS_XL),
    source=CONTROLNET_XS.source,
    broken="the pipeline makes one model of it and the ControlNet-XS; save the pipeline, and compile what is saved",
)

FAMILIES = (
    GLIGEN,
    GLIGEN_PICTURES,
    CONTROLNET_XS,
    CONTROLNET_XS_XL,
)

SPECS = (
    GLIGEN_UNET,
    UNGROUNDED_UNET,
    GLIGEN_PICTURES_UNET,
    IMAGE_PROJECTION,
    CONTROLNET_XS_UNET,
    _APART,
)
