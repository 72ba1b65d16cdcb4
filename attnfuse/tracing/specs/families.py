"""The families of mindone pipelines, and how each sizes what it hands to its models.

One entry a family. Sizes that every family tells: "batch" (images or videos), "rows" (of the denoiser's batch),
"height" and "width" in pixels, "latent_height" and "latent_width", "tokens" (of the text the denoiser sees) and,
for a text encoder that sees another number of them, "<attribute>_tokens".

Imports `record` of this room.
"""

from __future__ import annotations

from attnfuse.tracing.specs.record import Family, Scene, Sizes

#: Text length where no text encoder is there to say it: that of every CLIP text encoder published.
_CLIP_TOKENS = 77


def _vae_scale(scene: Scene) -> int:
    """Pixels per latent: each VAE block but the last halves the image; 8 where there is no VAE."""
    return 2 ** (len(scene.numbers("block_out_channels", "vae")) - 1) if scene.has("vae") else 8


def _clip_tokens(scene: Scene, *models: str) -> int:
    """The positions of the first of the text encoders that is there."""
    for model in models:
        if scene.option("max_position_embeddings", model=model) is not None:
            return scene.number("max_position_embeddings", model)
    return _CLIP_TOKENS


def _stable_diffusion(scene: Scene) -> Sizes:
    """Height and width: the UNet's `sample_size` × the VAE's downscaling (without a UNet, the VAE's `sample_size`).

    Tokens: the text encoder's positions. Guided: two rows an image.
    """
    scale = _vae_scale(scene)

    def default() -> tuple[int, int]:
        if scene.has("unet"):
            size, factor = scene.numbers("sample_size", "unet"), scale
        elif scene.has("vae"):
            size, factor = scene.numbers("sample_size", "vae"), 1
        else:
            return scale, scale
        return size[0] * factor, size[-1] * factor

    height, width = scene.image(default, scale, "the VAE's downscaling")
    tokens = _clip_tokens(scene, "text_encoder_2", "text_encoder")
    limit = tokens if scene.has("text_encoder") or scene.has("text_encoder_2") else 0
    return {
        "batch": scene.shapes.batch or 1,
        "rows": scene.rows(guided=True),
        "height": height,
        "width": width,
        "latent_height": height // scale,
        "latent_width": width // scale,
        "tokens": scene.text(tokens, limit),
    }


STABLE_DIFFUSION = Family(
    "Stable Diffusion",
    (
        "StableDiffusionPipeline",
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionInpaintPipeline",
        "StableDiffusionAdapterPipeline",
        "StableDiffusionControlNetPipeline",
        "StableDiffusionControlNetImg2ImgPipeline",
        "StableDiffusionControlNetInpaintPipeline",
    ),
    "stable_diffusion/pipeline_stable_diffusion.py",
    _stable_diffusion,
)

STABLE_DIFFUSION_XL = Family(
    "Stable Diffusion XL",
    (
        "StableDiffusionXLPipeline",
        "StableDiffusionXLImg2ImgPipeline",
        "StableDiffusionXLInpaintPipeline",
        "StableDiffusionXLAdapterPipeline",
        "StableDiffusionXLControlNetPipeline",
        "StableDiffusionXLControlNetImg2ImgPipeline",
        "StableDiffusionXLControlNetInpaintPipeline",
    ),
    "stable_diffusion_xl/pipeline_stable_diffusion_xl.py",
    _stable_diffusion,
)


def _stable_diffusion_3(scene: Scene) -> Sizes:
    """Height and width: the transformer's `sample_size` × the VAE's downscaling.

    Tokens: CLIP's 77 and T5's 256 behind them, or 77 zeros where the pipeline has no T5; `sequence_length` is T5's.
    Guided: two rows an image.
    """
    scale = _vae_scale(scene)

    def default() -> tuple[int, int]:
        if scene.has("transformer"):
            size = scene.number("sample_size", "transformer") * scale
        else:
            size = scene.number("sample_size", "vae") if scene.has("vae") else 128 * scale
        return size, size

    patch = scene.number("patch_size", "transformer", 2) if scene.has("transformer") else 2
    height, width = scene.image(default, scale * patch, "the VAE's downscaling and the transformer's patches")
    clip = _clip_tokens(scene, "text_encoder", "text_encoder_2")
    has_t5 = scene.has("text_encoder_3") or not scene.pipeline.class_name
    t5 = scene.text(256) if has_t5 else clip
    return {
        "batch": scene.shapes.batch or 1,
        "rows": scene.rows(guided=True),
        "height": height,
        "width": width,
        "latent_height": height // scale,
        "latent_width": width // scale,
        "text_encoder_tokens": clip,
        "text_encoder_2_tokens": clip,
        "text_encoder_3_tokens": t5,
        "tokens": clip + t5,
    }


STABLE_DIFFUSION_3 = Family(
    "Stable Diffusion 3",
    ("StableDiffusion3Pipeline", "StableDiffusion3Img2ImgPipeline", "StableDiffusion3InpaintPipeline"),
    "stable_diffusion_3/pipeline_stable_diffusion_3.py",
    _stable_diffusion_3,
)


def _flux(scene: Scene) -> Sizes:
    """Height and width: 128 latents × the VAE's downscaling; latents are packed two by two into "image_tokens".

    Tokens: 512 of T5; CLIP gives a pooled vector only. Not doubled: guidance is an input, or distilled away.
    """
    scale = _vae_scale(scene)
    height, width = scene.image(lambda: (128 * scale,) * 2, 2 * scale, "the VAE's downscaling and the packing")
    return {
        "batch": scene.shapes.batch or 1,
        "rows": scene.rows(guided=False),
        "height": height,
        "width": width,
        "latent_height": height // scale,
        "latent_width": width // scale,
        "image_tokens": (height // (2 * scale)) * (width // (2 * scale)),
        "text_encoder_tokens": _clip_tokens(scene, "text_encoder"),
        "tokens": scene.text(512, 512),
    }


FLUX = Family(
    "Flux",
    (
        "FluxPipeline",
        "FluxImg2ImgPipeline",
        "FluxInpaintPipeline",
        "FluxControlPipeline",
        "FluxControlImg2ImgPipeline",
        "FluxControlInpaintPipeline",
        "FluxFillPipeline",
    ),
    "flux/pipeline_flux.py",
    _flux,
)

FAMILIES = (STABLE_DIFFUSION, STABLE_DIFFUSION_XL, STABLE_DIFFUSION_3, FLUX)


def family_of(pipeline_class: str) -> Family | None:
    """The family a pipeline class belongs to, if its calls are known."""
    return next((family for family in FAMILIES if pipeline_class in family.pipelines), None)
