"""The table of input specifications: which inputs a mindone pipeline hands to each of its models.

    context, record     what an entry may ask, and what it is made of
    sizes               sizes that several families compute alike
    fixed_settings      what graphs have fixed that pipelines set at run time
    patch_names         the tracing patches an entry may name
    pictures/ videos/ sound/
                        one module a family of pipelines: its sizes, its denoisers and ControlNets
    perturbed           pipelines with perturbed attention guidance, as those without it
    shared/             models of several families: autoencoders, text encoders, image encoders

One entry a class and use. `docs/components.md` is made from it. Imports no MindSpore.
"""

from __future__ import annotations

from attnfuse.tracing.specs import perturbed
from attnfuse.tracing.specs.pictures import (
    aura_flow,
    cogview,
    deepfloyd_if,
    dit,
    flux,
    flux_redux,
    hunyuan_dit,
    kandinsky,
    kandinsky_prior,
    kolors,
    lumina,
    marigold,
    pixart,
    qwen_image,
    sana,
    stable_diffusion,
    stable_diffusion_3,
    stable_diffusion_controls,
    stable_diffusion_edits,
    stable_diffusion_grounded,
    unclip,
    unconditional,
    wuerstchen,
)
from attnfuse.tracing.specs.record import PipelineFamily, Spec
from attnfuse.tracing.specs.shared import image_encoders, language_models, text_encoders, vaes, video_vaes
from attnfuse.tracing.specs.sound import audio_ldm_2, stable_audio
from attnfuse.tracing.specs.videos import (
    allegro,
    animate_diff,
    animate_diff_variants,
    cogvideox,
    cosmos,
    easy_animate,
    hunyuan_video,
    i2vgen,
    kandinsky_5,
    latte,
    ltx,
    mochi,
    stable_video,
    wan,
)

SPECS: tuple[Spec, ...] = (
    *stable_diffusion.SPECS,
    *stable_diffusion_controls.SPECS,
    *stable_diffusion_edits.SPECS,
    *stable_diffusion_grounded.SPECS,
    *unclip.SPECS,
    *stable_diffusion_3.SPECS,
    *flux.SPECS,
    *pixart.SPECS,
    *dit.SPECS,
    *hunyuan_dit.SPECS,
    *aura_flow.SPECS,
    *sana.SPECS,
    *cogview.SPECS,
    *qwen_image.SPECS,
    *lumina.SPECS,
    *kolors.SPECS,
    *kandinsky.SPECS,
    *flux_redux.SPECS,
    *deepfloyd_if.SPECS,
    *marigold.SPECS,
    *wuerstchen.SPECS,
    *unconditional.SPECS,
    *cogvideox.SPECS,
    *allegro.SPECS,
    *ltx.SPECS,
    *wan.SPECS,
    *hunyuan_video.SPECS,
    *mochi.SPECS,
    *latte.SPECS,
    *animate_diff.SPECS,
    *animate_diff_variants.SPECS,
    *stable_video.SPECS,
    *i2vgen.SPECS,
    *cosmos.SPECS,
    *kandinsky_5.SPECS,
    *easy_animate.SPECS,
    *vaes.SPECS,
    *video_vaes.SPECS,
    *text_encoders.SPECS,
    *language_models.SPECS,
    *image_encoders.SPECS,
    *kandinsky_prior.SPECS,
    *stable_audio.SPECS,
    *audio_ldm_2.SPECS,
    *perturbed.SPECS,
)
"""Every entry, in the order in which a pipeline's components are planned."""


FAMILIES: tuple[PipelineFamily, ...] = (
    *stable_diffusion.FAMILIES,
    *stable_diffusion_3.FAMILIES,
    *flux.FAMILIES,
    *pixart.FAMILIES,
    *dit.FAMILIES,
    *hunyuan_dit.FAMILIES,
    *aura_flow.FAMILIES,
    *sana.FAMILIES,
    *cogview.FAMILIES,
    *qwen_image.FAMILIES,
    *lumina.FAMILIES,
    *kolors.FAMILIES,
    *kandinsky.FAMILIES,
    *kandinsky_prior.FAMILIES,
    *flux_redux.FAMILIES,
    *deepfloyd_if.FAMILIES,
    *marigold.FAMILIES,
    *wuerstchen.FAMILIES,
    *unconditional.FAMILIES,
    *cogvideox.FAMILIES,
    *allegro.FAMILIES,
    *ltx.FAMILIES,
    *wan.FAMILIES,
    *hunyuan_video.FAMILIES,
    *mochi.FAMILIES,
    *latte.FAMILIES,
    *animate_diff.FAMILIES,
    *stable_video.FAMILIES,
    *i2vgen.FAMILIES,
    *cosmos.FAMILIES,
    *kandinsky_5.FAMILIES,
    *easy_animate.FAMILIES,
    *stable_audio.FAMILIES,
    *audio_ldm_2.FAMILIES,
    *stable_diffusion_edits.FAMILIES,
    *stable_diffusion_grounded.FAMILIES,
    *unclip.FAMILIES,
    *animate_diff_variants.FAMILIES,
    *perturbed.FAMILIES,
)
"""Every family of pipelines."""


def family_of(pipeline_class: str) -> PipelineFamily | None:
    """The family a pipeline class belongs to, if its calls are known."""
    return next((family for family in FAMILIES if pipeline_class in family.pipelines), None)


def specs_of(class_name: str) -> tuple[Spec, ...]:
    """The entries of a class; none for one that is not known."""
    return tuple(spec for spec in SPECS if spec.class_name == class_name)
