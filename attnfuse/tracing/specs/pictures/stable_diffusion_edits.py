"""Pipelines of Stable Diffusion and XL that hand their UNet more than a text and latents, or other rows.

Each is a family of its own, as Stable Diffusion (or XL) but for what stands here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from attnfuse.tracing.specs.context import Guidance, Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import IP_ADAPTER_SCALE, LORA_SCALE
from attnfuse.tracing.specs.pictures.stable_diffusion import (
    STABLE_DIFFUSION,
    STABLE_DIFFUSION_XL,
    UNET_2D_CONDITION,
    stable_diffusion_sizes,
)
from attnfuse.tracing.specs.record import FixedSetting, Input, PipelineFamily, Refusal, Spec
from attnfuse.tracing.specs.sizes import vae_scale

INSTRUCT_PIX2PIX = replace(
    STABLE_DIFFUSION,
    name="InstructPix2Pix",
    pipelines=("StableDiffusionInstructPix2PixPipeline",),
    source="stable_diffusion/pipeline_stable_diffusion_instruct_pix2pix.py",
    base=STABLE_DIFFUSION,
    guidance=Guidance(
        ("with prompt and picture", "with the picture alone", "with neither"), ("with prompt and picture",)
    ),
    channels=lambda latents: (2 * latents,),
)

XL_INSTRUCT_PIX2PIX = replace(
    INSTRUCT_PIX2PIX,
    name="InstructPix2Pix XL",
    pipelines=("StableDiffusionXLInstructPix2PixPipeline",),
    source="stable_diffusion_xl/pipeline_stable_diffusion_xl_instruct_pix2pix.py",
    base=STABLE_DIFFUSION_XL,
)

SAFE = replace(
    STABLE_DIFFUSION,
    name="Safe Stable Diffusion",
    pipelines=("StableDiffusionPipelineSafe",),
    source="stable_diffusion_safe/pipeline_stable_diffusion_safe.py",
    base=STABLE_DIFFUSION,
    guidance=Guidance(("without the prompt", "with the prompt", "with the concept to avoid"), ("with the prompt",)),
)

SEMANTIC = replace(
    STABLE_DIFFUSION,
    name="Semantic guidance",
    pipelines=("SemanticStableDiffusionPipeline",),
    source="semantic_stable_diffusion/pipeline_semantic_stable_diffusion.py",
    base=STABLE_DIFFUSION,
    guidance=Guidance(
        ("without the prompt", "with the prompt", "with one editing prompt, each other being a run of its own"),
        ("with the prompt",),
    ),
)

_LEDITS = Guidance(
    ("without a prompt", "with one editing prompt, each other being a run of its own"), ("without a prompt",)
)

LEDITS = replace(
    STABLE_DIFFUSION,
    name="LEdits++",
    pipelines=("LEditsPPPipelineStableDiffusion",),
    source="ledits_pp/pipeline_leditspp_stable_diffusion.py",
    base=STABLE_DIFFUSION,
    guidance=_LEDITS,
)

XL_LEDITS = replace(
    LEDITS,
    name="LEdits++ XL",
    pipelines=("LEditsPPPipelineStableDiffusionXL",),
    source="ledits_pp/pipeline_leditspp_stable_diffusion_xl.py",
    base=STABLE_DIFFUSION_XL,
)

DEPTH_TO_IMAGE = replace(
    STABLE_DIFFUSION,
    name="Depth to image",
    pipelines=("StableDiffusionDepth2ImgPipeline",),
    source="stable_diffusion/pipeline_stable_diffusion_depth2img.py",
    base=STABLE_DIFFUSION,
    channels=lambda latents: (latents + 1,),
)


def _panorama(context: SpecContext) -> Sizes:
    """Height and width: 512 and 2048. Tokens and rows as Stable Diffusion's.

    The UNet sees views of 64 × 64 latents (or what there is of a smaller picture), one in a run (`view_batch_size`).
    """
    height, width = context.image(lambda: (512, 2048), vae_scale(context), "the VAE's downscaling")
    shapes = replace(context.shapes, height=height, width=width)
    sizes = stable_diffusion_sizes(replace(context, shapes=shapes))
    views = {f"view_{side}": min(64, sizes[f"latent_{side}"]) for side in ("height", "width")}
    return {**sizes, **views}


PANORAMA = PipelineFamily(
    "Panorama",
    ("StableDiffusionPanoramaPipeline",),
    "stable_diffusion_panorama/pipeline_stable_diffusion_panorama.py",
    _panorama,
    base=STABLE_DIFFUSION,
)


def _of_pictures(context: SpecContext) -> Sizes:
    """As Stable Diffusion's, but for the text: one token, which is a picture's embedding."""
    return {**stable_diffusion_sizes(context), "tokens": 1}


IMAGE_VARIATION = PipelineFamily(
    "Image variation",
    ("StableDiffusionImageVariationPipeline",),
    "stable_diffusion/pipeline_stable_diffusion_image_variation.py",
    _of_pictures,
    aside=("safety_checker",),
    base=STABLE_DIFFUSION,
)

PAINT_BY_EXAMPLE = PipelineFamily(
    "Paint by example",
    ("PaintByExamplePipeline",),
    "paint_by_example/pipeline_paint_by_example.py",
    _of_pictures,
    aside=("safety_checker",),
    base=STABLE_DIFFUSION,
    channels=lambda latents: (2 * latents + 1,),
)

UPSCALE = replace(
    STABLE_DIFFUSION,
    name="Upscaling by 4",
    pipelines=("StableDiffusionUpscalePipeline",),
    source="stable_diffusion/pipeline_stable_diffusion_upscale.py",
    base=STABLE_DIFFUSION,
    channels=lambda latents: (latents + 3,),
)


def _latent_upscale(context: SpecContext) -> Sizes:
    """As Stable Diffusion's: height and width are those of the result, twice the picture's. Guided: two rows an image.

    What the UNet takes beside the timestep is no guidance.
    """
    sizes = stable_diffusion_sizes(context)
    pictures = {"picture_height": sizes["height"] // 2, "picture_width": sizes["width"] // 2}
    return {**sizes, **pictures, "rows": context.rows(guided=True)}


LATENT_UPSCALE = PipelineFamily(
    "Upscaling of latents",
    ("StableDiffusionLatentUpscalePipeline",),
    "stable_diffusion/pipeline_stable_diffusion_latent_upscale.py",
    _latent_upscale,
    base=STABLE_DIFFUSION,
    channels=lambda latents: (2 * latents,),
)

STABLE_UNCLIP = replace(
    STABLE_DIFFUSION,
    name="Stable unCLIP",
    pipelines=("StableUnCLIPPipeline", "StableUnCLIPImg2ImgPipeline"),
    source="stable_diffusion/pipeline_stable_unclip.py",
    aside=("safety_checker",),
    base=STABLE_DIFFUSION,
)


def _unet(family: PipelineFamily, *inputs: Input, allowed: Sequence[Refusal] = ()) -> Spec:
    """The UNet with inputs in place of those that it has in Stable Diffusion, or behind them, and other options."""
    names = [one.name for one in UNET_2D_CONDITION.inputs]
    own, added = {one.name: one for one in inputs}, [one for one in inputs if one.name not in names]
    other = {refusal.option for refusal in allowed}
    return replace(
        UNET_2D_CONDITION,
        families=(family,),
        source=family.source,
        inputs=(*(own.get(one.name, one) for one in UNET_2D_CONDITION.inputs), *added),
        refuse=(*(one for one in UNET_2D_CONDITION.refuse if one.option not in other), *allowed),
    )


PANORAMA_UNET = _unet(PANORAMA, Input("sample", ("rows", "in_channels", "view_height", "view_width")))

UPSCALE_UNET = _unet(
    UPSCALE,
    Input("class_labels", ("rows",), "int32", note="how much noise the picture was given: `noise_level`"),
    allowed=(Refusal("num_class_embeds", (1000,)),),
)

LATENT_UPSCALE_UNET = _unet(
    LATENT_UPSCALE,
    Input("timestep", (1,), "float32", note="a quarter of the logarithm of the scheduler's sigma"),
    Input(
        "timestep_cond",
        ("rows", "time_cond_proj_dim"),
        note="64 ones, 64 zeros and the pooled text: the picture is given no noise",
    ),
)

STABLE_UNCLIP_UNET = _unet(
    STABLE_UNCLIP,
    Input(
        "class_labels",
        ("rows", "projection_class_embeddings_input_dim"),
        note="the picture's embedding with noise, and how much, as sines and cosines; zeros without the prompt",
    ),
    allowed=(Refusal("class_embed_type", ("projection",)),),
)

LEDITS_UNET = replace(
    UNET_2D_CONDITION,
    families=(LEDITS, XL_LEDITS),
    source=LEDITS.source,
    fixed_settings=(
        LORA_SCALE,
        IP_ADAPTER_SCALE,
        FixedSetting(
            "use_intersect_mask",
            False,
            "the graph gives no attention maps: without use_cross_attn_mask and use_intersect_mask",
        ),
    ),
)

_MAPS = "the pipeline reads attention probabilities out of its attention processors, between runs of the UNet"

SAG = replace(
    STABLE_DIFFUSION,
    name="Self-attention guidance",
    pipelines=("StableDiffusionSAGPipeline",),
    source="stable_diffusion_sag/pipeline_stable_diffusion_sag.py",
    base=STABLE_DIFFUSION,
)

ATTEND_AND_EXCITE = replace(
    STABLE_DIFFUSION,
    name="Attend and excite",
    pipelines=("StableDiffusionAttendAndExcitePipeline",),
    source="stable_diffusion_attend_and_excite/pipeline_stable_diffusion_attend_and_excite.py",
    base=STABLE_DIFFUSION,
)

_SAG_UNET = replace(_unet(SAG), broken=_MAPS)
_EXCITED_UNET = replace(_unet(ATTEND_AND_EXCITE), broken=f"{_MAPS}, and differentiates through them")

FAMILIES = (
    INSTRUCT_PIX2PIX,
    XL_INSTRUCT_PIX2PIX,
    SAFE,
    SEMANTIC,
    LEDITS,
    XL_LEDITS,
    DEPTH_TO_IMAGE,
    PANORAMA,
    IMAGE_VARIATION,
    PAINT_BY_EXAMPLE,
    UPSCALE,
    LATENT_UPSCALE,
    STABLE_UNCLIP,
    SAG,
    ATTEND_AND_EXCITE,
)

SPECS = (
    PANORAMA_UNET,
    UPSCALE_UNET,
    LATENT_UPSCALE_UNET,
    STABLE_UNCLIP_UNET,
    LEDITS_UNET,
    _SAG_UNET,
    _EXCITED_UNET,
)
