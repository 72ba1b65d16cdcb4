"""Perturbed attention guidance (PAG): every pipeline that has it, as one without it but for its rows and its denoiser.

Such a pipeline adds a row to those of its base: the prompt's again, for which the self-attention of some layers is left
out (each token sees itself alone). mindone gives these layers processors that take the rows apart, for as long as it
denoises; what comes of the rows is put together outside of the model (`PAGMixin`).
"""

from __future__ import annotations

from dataclasses import replace

from attnfuse.tracing.contract import Processor
from attnfuse.tracing.specs.context import Guidance, SpecContext
from attnfuse.tracing.specs.patch_names import MASKED_ATTENTION, PERTURBED_JOINT
from attnfuse.tracing.specs.pictures.hunyuan_dit import HUNYUAN_DIT, HUNYUAN_DIT_TRANSFORMER
from attnfuse.tracing.specs.pictures.kolors import KOLORS, KOLORS_UNET
from attnfuse.tracing.specs.pictures.pixart import PIXART, PIXART_SIGMA
from attnfuse.tracing.specs.pictures.sana import SANA, SANA_TRANSFORMER
from attnfuse.tracing.specs.pictures.stable_diffusion import ADAPTED_UNET, STABLE_DIFFUSION, STABLE_DIFFUSION_XL
from attnfuse.tracing.specs.pictures.stable_diffusion_3 import SD3, STABLE_DIFFUSION_3
from attnfuse.tracing.specs.record import FixedSetting, Input, PipelineFamily, Spec
from attnfuse.tracing.specs.videos.animate_diff import ANIMATE_DIFF, MOTION_UNET

_PERTURBED = Guidance(
    ("without the prompt", "with the prompt", "with the prompt, attention perturbed"),
    ("with the prompt", "with the prompt, attention perturbed"),
)


def _family(base: PipelineFamily, source: str, *pipelines: str) -> PipelineFamily:
    """The pipelines of a base with perturbed attention; `source` is the first one's."""
    name = f"{base.name}, perturbed attention"
    return replace(base, name=name, pipelines=pipelines, source=source, base=base, guidance=_PERTURBED)


PAG_STABLE_DIFFUSION = _family(
    STABLE_DIFFUSION,
    "pag/pipeline_pag_sd.py",
    "StableDiffusionPAGPipeline",
    "StableDiffusionPAGImg2ImgPipeline",
    "StableDiffusionPAGInpaintPipeline",
    "StableDiffusionControlNetPAGPipeline",
    "StableDiffusionControlNetPAGInpaintPipeline",
)
PAG_STABLE_DIFFUSION_XL = _family(
    STABLE_DIFFUSION_XL,
    "pag/pipeline_pag_sd_xl.py",
    "StableDiffusionXLPAGPipeline",
    "StableDiffusionXLPAGImg2ImgPipeline",
    "StableDiffusionXLPAGInpaintPipeline",
    "StableDiffusionXLControlNetPAGPipeline",
    "StableDiffusionXLControlNetPAGImg2ImgPipeline",
)
PAG_STABLE_DIFFUSION_3 = _family(
    STABLE_DIFFUSION_3, "pag/pipeline_pag_sd_3.py", "StableDiffusion3PAGPipeline", "StableDiffusion3PAGImg2ImgPipeline"
)
PAG_PIXART_SIGMA = _family(PIXART_SIGMA, "pag/pipeline_pag_pixart_sigma.py", "PixArtSigmaPAGPipeline")
PAG_HUNYUAN_DIT = _family(HUNYUAN_DIT, "pag/pipeline_pag_hunyuandit.py", "HunyuanDiTPAGPipeline")
PAG_KOLORS = _family(KOLORS, "pag/pipeline_pag_kolors.py", "KolorsPAGPipeline")
PAG_SANA = _family(SANA, "pag/pipeline_pag_sana.py", "SanaPAGPipeline")
PAG_ANIMATE_DIFF = _family(ANIMATE_DIFF, "pag/pipeline_pag_sd_animatediff.py", "AnimateDiffPAGPipeline")


def _spec(
    spec: Spec,
    layers: str,
    *families: PipelineFamily,
    guided: str = "PAGCFGIdentitySelfAttnProcessor2_0",
    alone: str = "PAGIdentitySelfAttnProcessor2_0",
    inputs: tuple[Input, ...] = (),
) -> Spec:
    """A denoiser with the processors of `__init__`: those with classifier-free guidance and without, in `layers`."""

    def chosen(context: SpecContext) -> list[str]:
        # An argument of `__init__`, which model_index.json may give as it may any other.
        found = context.pipeline.options.get("pag_applied_layers", layers)
        return [str(layer) for layer in found] if isinstance(found, list) else [str(found)]

    def processors(context: SpecContext) -> tuple[Processor, ...]:
        has_guidance = context.sizes["rows"] // context.sizes["batch"] == len(_PERTURBED.guided)
        return (Processor(guided if has_guidance else alone, tuple(chosen(context))),)

    setting = FixedSetting(
        "pag_applied_layers",
        [layers],
        "layers whose self-attention is perturbed in the last row; give others in model_index.json, as to __init__",
        told=chosen,
    )
    return replace(
        spec,
        families=families,
        source=families[0].source,
        inputs=inputs or spec.inputs,
        processors=processors,
        fixed_settings=(*spec.fixed_settings, setting),
    )


FAMILIES = (
    PAG_STABLE_DIFFUSION,
    PAG_STABLE_DIFFUSION_XL,
    PAG_STABLE_DIFFUSION_3,
    PAG_PIXART_SIGMA,
    PAG_HUNYUAN_DIT,
    PAG_KOLORS,
    PAG_SANA,
    PAG_ANIMATE_DIFF,
)

SPECS = (
    _spec(ADAPTED_UNET, "mid", PAG_STABLE_DIFFUSION, PAG_STABLE_DIFFUSION_XL),
    _spec(
        # What sees itself alone is so by a mask.
        replace(SD3, patches=(*SD3.patches, MASKED_ATTENTION, PERTURBED_JOINT)),
        "blocks.1",
        PAG_STABLE_DIFFUSION_3,
        guided="PAGCFGJointAttnProcessor2_0",
        alone="PAGJointAttnProcessor2_0",
    ),
    _spec(PIXART, "blocks.1", PAG_PIXART_SIGMA),
    _spec(
        HUNYUAN_DIT_TRANSFORMER,
        "blocks.1",
        PAG_HUNYUAN_DIT,
        guided="PAGCFGHunyuanAttnProcessor2_0",
        alone="PAGHunyuanAttnProcessor2_0",
    ),
    _spec(KOLORS_UNET, "mid", PAG_KOLORS),
    _spec(
        SANA_TRANSFORMER,
        "transformer_blocks.0",
        PAG_SANA,
        guided="PAGCFGSanaLinearAttnProcessor2_0",
        alone="PAGIdentitySanaLinearAttnProcessor2_0",
    ),
    _spec(MOTION_UNET, "mid_block.*attn1", PAG_ANIMATE_DIFF),
)
