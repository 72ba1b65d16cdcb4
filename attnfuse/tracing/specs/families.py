"""The families of mindone pipelines that make pictures, and how each sizes what it hands to its models.

One entry a family. Sizes that every family tells: "batch" (images or videos), "rows" (of the denoiser's batch),
"height" and "width" in pixels, "latent_height" and "latent_width", "tokens" (of the text the denoiser sees) and,
for a text encoder that sees another number of them, "<attribute>_tokens".

Imports `record` of this room.
"""

from __future__ import annotations

from attnfuse.tracing.specs.record import Family, Scene, Sizes


def _vae_scale(scene: Scene) -> int:
    """Pixels per latent: each VAE block but the last halves the image; 8 where there is no VAE."""
    return 2 ** (len(scene.numbers("block_out_channels", "vae")) - 1) if scene.has("vae") else 8


def _stable_diffusion(scene: Scene) -> Sizes:
    """Height and width: the UNet's `sample_size` × the VAE's downscaling (without one, the VAE's `sample_size`, 512).

    Tokens: as many as the tokenizer fills a text up to, else the text encoder's positions. Guided: two rows an image.
    """
    scale = _vae_scale(scene)

    def default() -> tuple[int, int]:
        if scene.has("unet"):
            size, factor = scene.numbers("sample_size", "unet"), scale
        elif scene.has("vae"):  # AutoencoderTiny does not tell
            told = scene.option("sample_size", model="vae") is not None
            size, factor = scene.numbers("sample_size", "vae") if told else [512], 1
        else:
            return scale, scale
        return size[0] * factor, size[-1] * factor

    height, width = scene.image(default, scale, "the VAE's downscaling")
    return {
        "batch": scene.shapes.batch or 1,
        "rows": scene.rows(guided=True),
        "height": height,
        "width": width,
        "latent_height": height // scale,
        "latent_width": width // scale,
        "tokens": scene.text_filled("text_encoder", "text_encoder_2"),
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
        "StableDiffusionXLControlNetUnionPipeline",
        "StableDiffusionXLControlNetUnionImg2ImgPipeline",
        "StableDiffusionXLControlNetUnionInpaintPipeline",
    ),
    "stable_diffusion_xl/pipeline_stable_diffusion_xl.py",
    _stable_diffusion,
)


def _stable_diffusion_3(scene: Scene) -> Sizes:
    """Height and width: the transformer's `sample_size` × the VAE's downscaling.

    Tokens: CLIP's, as many as its tokenizer fills a text up to (77), and T5's 256 behind them, or as many zeros as
    CLIP's where the pipeline has no T5; `sequence_length` is T5's. Guided: two rows an image.
    """
    scale = _vae_scale(scene)

    def default() -> tuple[int, int]:
        if scene.has("transformer"):
            size = scene.number("sample_size", "transformer") * scale
        else:
            size = scene.number("sample_size", "vae") if scene.has("vae") else 128 * scale
        return size, size

    patch = scene.number("patch_size", "transformer", 2)
    height, width = scene.image(default, scale * patch, "the VAE's downscaling and the transformer's patches")
    # The second encoder's texts are filled up to what the first's tokenizer says.
    clip = scene.filled("text_encoder", "text_encoder_2", tokenizer="tokenizer")
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
    (
        "StableDiffusion3Pipeline",
        "StableDiffusion3Img2ImgPipeline",
        "StableDiffusion3InpaintPipeline",
        "StableDiffusion3ControlNetPipeline",
        "StableDiffusion3ControlNetInpaintingPipeline",
    ),
    "stable_diffusion_3/pipeline_stable_diffusion_3.py",
    _stable_diffusion_3,
)


def _packed(scene: Scene) -> dict[str, int]:
    """128 latents × the VAE's downscaling, packed two by two into "image_tokens"; 512 tokens, one row an image."""
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
        "tokens": scene.text(512, 512),
    }


def _flux(scene: Scene) -> Sizes:
    """Height and width: 128 latents × the VAE's downscaling; latents are packed two by two into "image_tokens".

    Tokens: 512 of T5; CLIP, which sees as many as its tokenizer fills a text up to (77), gives a pooled vector only.
    Not doubled: guidance is an input, or distilled away.
    """
    return {**_packed(scene), "text_encoder_tokens": scene.filled("text_encoder")}


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
        "FluxControlNetPipeline",
        "FluxControlNetImg2ImgPipeline",
        "FluxControlNetInpaintPipeline",
    ),
    "flux/pipeline_flux.py",
    _flux,
)


def _picture(scene: Scene, scale: int, multiple: int, *, guided: bool = True, side: int = 0) -> dict[str, int]:
    """What a transformer of pictures needs: the default is `side` pixels square, else its `sample_size` × `scale`."""

    def default() -> tuple[int, int]:
        if side:
            return side, side
        if scene.has("transformer"):
            size = scene.number("sample_size", "transformer") * scale
        else:
            size = scene.number("sample_size", "vae") if scene.has("vae") else multiple
        return size, size

    height, width = scene.image(default, multiple, "the VAE's downscaling and the transformer's patches")
    return {
        "batch": scene.shapes.batch or 1,
        "rows": scene.rows(guided=guided),
        "height": height,
        "width": width,
        "latent_height": height // scale,
        "latent_width": width // scale,
    }


def _patches(scene: Scene, scale: int) -> int:
    return scale * (scene.number("patch_size", "transformer", 2))


def _pixart_alpha(scene: Scene) -> Sizes:
    """Height and width: the transformer's `sample_size` × the VAE's downscaling. Tokens: 120. Guided."""
    scale = _vae_scale(scene)
    return {**_picture(scene, scale, _patches(scene, scale)), "tokens": scene.text(120)}


def _pixart_sigma(scene: Scene) -> Sizes:
    """Height and width: the transformer's `sample_size` × the VAE's downscaling. Tokens: 300. Guided."""
    scale = _vae_scale(scene)
    return {**_picture(scene, scale, _patches(scene, scale)), "tokens": scene.text(300)}


def _dit(scene: Scene) -> Sizes:
    """Height and width: the transformer's `sample_size` × the VAE's downscaling. No text. Guided."""
    scale = _vae_scale(scene)
    return _picture(scene, scale, _patches(scene, scale))


def _hunyuan_dit(scene: Scene) -> Sizes:
    """Height and width: the transformer's `sample_size` × the VAE's downscaling.

    Tokens: 77 of BERT ("tokens") and 256 of T5, whose number is `sequence_length`. Guided.
    """
    scale = _vae_scale(scene)
    sizes = _picture(scene, scale, max(16, _patches(scene, scale)))
    return {**sizes, "tokens": 77, "text_encoder_2_tokens": scene.text(256)}


def _aura_flow(scene: Scene) -> Sizes:
    """Height and width: 1024. Tokens: 256. Guided."""
    scale = _vae_scale(scene)
    return {**_picture(scene, scale, _patches(scene, scale), side=1024), "tokens": scene.text(256)}


def _sana(scene: Scene) -> Sizes:
    """Height and width: 1024; the deep-compression VAE makes one latent of 32 × 32 pixels. Tokens: 300. Guided."""
    scale = 32
    if scene.has("vae"):
        scale = 2 ** (len(scene.numbers("encoder_block_out_channels", "vae")) - 1)
    patch = scene.number("patch_size", "transformer", 1)
    return {**_picture(scene, scale, scale * patch, side=1024), "tokens": scene.text(300)}


def _cogview_3(scene: Scene) -> Sizes:
    """Height and width: the transformer's `sample_size` × the VAE's downscaling. Tokens: 224. Guided."""
    scale = _vae_scale(scene)
    return {**_picture(scene, scale, _patches(scene, scale)), "tokens": scene.text(224)}


def _cogview_4(scene: Scene) -> Sizes:
    """Height and width: the transformer's `sample_size` × the VAE's downscaling.

    Tokens: 1024, the most; the pipeline hands over as many as the prompt has, rounded up to 16. With and without the
    prompt are two calls: rows are not doubled.
    """
    scale = _vae_scale(scene)
    return {**_picture(scene, scale, _patches(scene, scale), guided=False), "tokens": scene.text(1024, 1024)}


def _chroma(scene: Scene) -> Sizes:
    """Height and width: 128 latents × the VAE's downscaling; latents are packed two by two into "image_tokens".

    Tokens: 512. With and without the prompt are two calls: rows are not doubled.
    """
    sizes = _packed(scene)
    return {**sizes, "all_tokens": sizes["tokens"] + sizes["image_tokens"]}


def _flux_2(scene: Scene) -> Sizes:
    """Height and width: 128 latents × the VAE's downscaling; latents are packed two by two into "image_tokens".

    Tokens: 512. Not doubled: guidance is an input.
    """
    return _packed(scene)


def _qwen_image(scene: Scene) -> Sizes:
    """Height and width: 128 latents × the VAE's downscaling; latents are packed two by two into "image_tokens".

    Tokens: 512, the most; the pipeline hands over as many as the prompt has. With and without the prompt are two calls:
    rows are not doubled.
    """
    scale = 2 ** len(scene.option("temperal_downsample", (False, True, True), model="vae"))
    height, width = scene.image(lambda: (128 * scale,) * 2, 2 * scale, "the VAE's downscaling and the packing")
    return {
        "batch": scene.shapes.batch or 1,
        "rows": scene.rows(guided=False),
        "height": height,
        "width": width,
        "latent_height": height // scale,
        "latent_width": width // scale,
        "image_tokens": (height // (2 * scale)) * (width // (2 * scale)),
        "tokens": scene.text(512),
    }


def _lumina(scene: Scene) -> Sizes:
    """Height and width: the transformer's `sample_size` × 8. Tokens: 256. Guided: two rows an image."""
    return {**_picture(scene, 8, 16), "tokens": scene.text(256)}


def _lumina_2(scene: Scene) -> Sizes:
    """Height and width: the transformer's `sample_size` × 8.

    Tokens: 256, or as many as the transformer has turns for on the first of its axes (`axes_lens`, 300 in mindone); no
    text has more. With and without the prompt are two calls: rows are not doubled.
    """
    told = scene.has("transformer") and scene.option("axes_lens", model="transformer") is not None
    turns = scene.numbers("axes_lens", "transformer")[0] if told else 300
    tokens = scene.text(min(256, turns), turns, "transformer's (axes_lens)")
    return {**_picture(scene, 8, 16, guided=False), "tokens": tokens}


def _movq_scale(scene: Scene) -> int:
    return 2 ** (len(scene.numbers("block_out_channels", "movq")) - 1) if scene.has("movq") else 8


def _kandinsky_picture(scene: Scene, side: int) -> dict[str, int]:
    """The pipelines round up to whole squares of latents; here what is no multiple is refused."""
    scale = _movq_scale(scene)
    height, width = scene.image(lambda: (side, side), scale * scale, "the square of the MoVQ's downscaling")
    return {
        "batch": scene.shapes.batch or 1,
        "rows": scene.rows(guided=True),
        "height": height,
        "width": width,
        "latent_height": height // scale,
        "latent_width": width // scale,
    }


def _kandinsky(scene: Scene) -> Sizes:
    """Height and width: 512. Tokens: 77. Guided: two rows an image."""
    return {**_kandinsky_picture(scene, 512), "tokens": scene.text(77)}


def _kandinsky_2_2(scene: Scene) -> Sizes:
    """Height and width: 512. No text: it is in the picture's embedding, which the prior gives. Guided."""
    return _kandinsky_picture(scene, 512)


def _kandinsky_3(scene: Scene) -> Sizes:
    """Height and width: 1024. Tokens: 128, the most; the pipeline cuts what the prompt does not use. Guided."""
    return {**_kandinsky_picture(scene, 1024), "tokens": scene.text(128)}


def _kolors(scene: Scene) -> Sizes:
    """Height and width: the UNet's `sample_size` × the VAE's downscaling. Tokens: 256. Guided: two rows an image."""
    return {**_stable_diffusion(scene), "tokens": scene.text(256)}


PIXART_ALPHA = Family("PixArt-α", ("PixArtAlphaPipeline",), "pixart_alpha/pipeline_pixart_alpha.py", _pixart_alpha)
PIXART_SIGMA = Family("PixArt-Σ", ("PixArtSigmaPipeline",), "pixart_alpha/pipeline_pixart_sigma.py", _pixart_sigma)
DIT = Family("DiT", ("DiTPipeline",), "dit/pipeline_dit.py", _dit)
HUNYUAN_DIT = Family(
    "HunyuanDiT",
    ("HunyuanDiTPipeline", "HunyuanDiTControlNetPipeline"),
    "hunyuandit/pipeline_hunyuandit.py",
    _hunyuan_dit,
)
AURA_FLOW = Family("AuraFlow", ("AuraFlowPipeline",), "aura_flow/pipeline_aura_flow.py", _aura_flow)
SANA = Family("Sana", ("SanaPipeline", "SanaControlNetPipeline"), "sana/pipeline_sana.py", _sana)
COGVIEW_3 = Family("CogView3-Plus", ("CogView3PlusPipeline",), "cogview3/pipeline_cogview3plus.py", _cogview_3)
COGVIEW_4 = Family("CogView4", ("CogView4Pipeline",), "cogview4/pipeline_cogview4.py", _cogview_4)
CHROMA = Family("Chroma", ("ChromaPipeline", "ChromaImg2ImgPipeline"), "chroma/pipeline_chroma.py", _chroma)
FLUX_2 = Family("Flux2", ("Flux2Pipeline",), "flux2/pipeline_flux2.py", _flux_2)
QWEN_IMAGE = Family(
    "Qwen-Image",
    (
        "QwenImagePipeline",
        "QwenImageImg2ImgPipeline",
        "QwenImageInpaintPipeline",
        "QwenImageControlNetPipeline",
        "QwenImageControlNetInpaintPipeline",
    ),
    "qwenimage/pipeline_qwenimage.py",
    _qwen_image,
)
LUMINA = Family("Lumina-Next", ("LuminaPipeline", "LuminaText2ImgPipeline"), "lumina/pipeline_lumina.py", _lumina)
LUMINA_2 = Family("Lumina2", ("Lumina2Pipeline", "Lumina2Text2ImgPipeline"), "lumina2/pipeline_lumina2.py", _lumina_2)
KOLORS = Family("Kolors", ("KolorsPipeline", "KolorsImg2ImgPipeline"), "kolors/pipeline_kolors.py", _kolors)
KANDINSKY = Family(
    "Kandinsky 2.1",
    ("KandinskyPipeline", "KandinskyImg2ImgPipeline", "KandinskyInpaintPipeline"),
    "kandinsky/pipeline_kandinsky.py",
    _kandinsky,
)
KANDINSKY_2_2 = Family(
    "Kandinsky 2.2",
    (
        "KandinskyV22Pipeline",
        "KandinskyV22Img2ImgPipeline",
        "KandinskyV22InpaintPipeline",
        "KandinskyV22ControlnetPipeline",
        "KandinskyV22ControlnetImg2ImgPipeline",
    ),
    "kandinsky2_2/pipeline_kandinsky2_2.py",
    _kandinsky_2_2,
)
KANDINSKY_3 = Family(
    "Kandinsky 3",
    ("Kandinsky3Pipeline", "Kandinsky3Img2ImgPipeline"),
    "kandinsky3/pipeline_kandinsky3.py",
    _kandinsky_3,
)

PICTURES = (
    STABLE_DIFFUSION,
    STABLE_DIFFUSION_XL,
    STABLE_DIFFUSION_3,
    FLUX,
    PIXART_ALPHA,
    PIXART_SIGMA,
    DIT,
    HUNYUAN_DIT,
    AURA_FLOW,
    SANA,
    COGVIEW_3,
    COGVIEW_4,
    CHROMA,
    FLUX_2,
    QWEN_IMAGE,
    LUMINA,
    LUMINA_2,
    KOLORS,
    KANDINSKY,
    KANDINSKY_2_2,
    KANDINSKY_3,
)
"""Every family of this module."""
