"""The pipelines of pictures in stages, of pixels or without a text that are recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tracing.demo import TEXT_ENCODER
from tests.support.checkpoints import SD21_UNET, SMALL_VAE, XL_TEXT_ENCODER
from tests.support.recorder.record import FLOW, MASK, PICTURE, SQUARE, TINY, Embedding, Recording, varied
from tests.support.small_models import encoders, newer_pictures, pictures
from tests.support.small_models.record import T5

_PRIOR: Final = {
    "prior_prior": encoders.PRIOR,
    "prior_image_encoder": encoders.CLIP_VISION,
    "prior_text_encoder": encoders.CLIP_TEXT,
}
_KANDINSKY: Final = Recording(
    {
        "unet": {**pictures.KANDINSKY_UNET, "cross_attention_dim": 16},
        "movq": pictures.MOVQ,
        "text_encoder": {**encoders.MULTILINGUAL_CLIP, "numDims": 16},
        **_PRIOR,
    },
    "DDIMScheduler",
    SQUARE,
    {"height": 64, "width": 64, "negative_prompt": None},
    tokens={"prior_tokenizer": 7},
)
_KANDINSKY_2_2: Final = Recording(
    {"unet": {**pictures.KANDINSKY_2_2_UNET, "encoder_hid_dim": 16}, "movq": pictures.MOVQ, **_PRIOR},
    "DDPMScheduler",
    SQUARE,
    {"negative_prompt": None},
    tokens={"prior_tokenizer": 7},
)
_IF: Final = Recording({"unet": newer_pictures.IF_UNET, "text_encoder": T5}, "DDPMScheduler")
_LARGER: Final = varied(_IF, {"unet": newer_pictures.IF_LARGER_UNET})
_MARIGOLD: Final = Recording(
    {"unet": newer_pictures.MARIGOLD_UNET, "vae": SMALL_VAE, "text_encoder": TEXT_ENCODER},
    "DDIMScheduler",
    ShapeOptions(height=64, width=96),
    {"image": PICTURE, "processing_resolution": 96},
    options={"default_processing_resolution": 96, "default_denoising_steps": 1},
)
_STAGED: Final = "DDPMWuerstchenScheduler"
_CASCADE: Final = Recording(
    {
        "decoder": newer_pictures.CASCADE_DECODER,
        "vqgan": newer_pictures.PAELLA,
        "text_encoder": encoders.CLIP_TEXT,
        "prior_prior": newer_pictures.CASCADE_PRIOR,
        "prior_text_encoder": encoders.CLIP_TEXT,
    },
    _STAGED,
    ShapeOptions(height=64, width=96),
    tokens={"tokenizer": 7, "prior_tokenizer": 7},
)
_WUERSTCHEN: Final = varied(
    _CASCADE,
    {
        "decoder": newer_pictures.WUERSTCHEN_DECODER,
        "text_encoder": newer_pictures.CLIP_TEXT_STATES,
        "prior_prior": newer_pictures.WUERSTCHEN_PRIOR,
        "prior_text_encoder": newer_pictures.CLIP_TEXT_STATES,
    },
)
_WITHOUT_TEXT: Final = Recording({"unet": newer_pictures.UNET_2D}, "DDPMScheduler")


def _stage(base: Recording, prefix: str, *parts: str, call: Mapping[str, Embedding] | None = None) -> Recording:
    """One stage of a pipeline of two, where its parts have no prefix."""
    models = {part: base.models[f"{prefix}{part}"] for part in parts}
    return Recording(models, base.scheduler, base.shapes, call or {}, tokens={"tokenizer": 7})


RECORDINGS: Final[Mapping[str, Recording]] = {
    "KandinskyCombinedPipeline": _KANDINSKY,
    "KandinskyImg2ImgCombinedPipeline": varied(_KANDINSKY, call={"image": PICTURE}),
    "KandinskyInpaintCombinedPipeline": varied(
        _KANDINSKY,
        {"unet": {**_KANDINSKY.models["unet"], "in_channels": 9}},
        {"image": PICTURE, "mask_image": MASK, "height": 16, "width": 24},
        shapes=TINY,
    ),
    "KandinskyV22CombinedPipeline": _KANDINSKY_2_2,
    "KandinskyV22Img2ImgCombinedPipeline": varied(_KANDINSKY_2_2, call={"image": PICTURE}),
    "KandinskyV22InpaintCombinedPipeline": varied(
        _KANDINSKY_2_2,
        {"unet": {**_KANDINSKY_2_2.models["unet"], "in_channels": 9}},
        {"image": PICTURE, "mask_image": MASK},
        shapes=TINY,
    ),
    "KandinskyV22PriorEmb2EmbPipeline": Recording(
        {"prior": encoders.PRIOR, "image_encoder": encoders.CLIP_VISION, "text_encoder": encoders.CLIP_TEXT},
        "UnCLIPScheduler",
        call={"negative_prompt": None, "image": PICTURE},
        tokens={"tokenizer": 7},
    ),
    "IFPipeline": _IF,
    "IFImg2ImgPipeline": varied(_IF, call={"image": PICTURE}),
    "IFInpaintingPipeline": varied(_IF, call={"image": PICTURE, "mask_image": MASK}),
    "IFSuperResolutionPipeline": varied(_LARGER, call={"image": PICTURE}),
    "IFImg2ImgSuperResolutionPipeline": varied(_LARGER, call={"image": PICTURE, "original_image": PICTURE}),
    "IFInpaintingSuperResolutionPipeline": varied(
        _LARGER, call={"image": PICTURE, "original_image": PICTURE, "mask_image": MASK}
    ),
    "MarigoldDepthPipeline": _MARIGOLD,
    "MarigoldNormalsPipeline": _MARIGOLD,
    "MarigoldIntrinsicsPipeline": varied(
        _MARIGOLD,
        {"unet": {**SD21_UNET, "in_channels": 12, "out_channels": 8}},
        options={
            **_MARIGOLD.options,
            "target_properties": {"target_names": ["albedo", "material"]},
        },
    ),
    "StableCascadePriorPipeline": _stage(_CASCADE, "prior_", "prior", "text_encoder"),
    "StableCascadeDecoderPipeline": _stage(
        _CASCADE, "", "decoder", "vqgan", "text_encoder", call={"image_embeddings": Embedding((1, 6, 2, 3))}
    ),
    "StableCascadeCombinedPipeline": varied(
        _CASCADE, otherwise={"text_encoder is planned, and is not called": "the decoder takes what the prior's gave"}
    ),
    "WuerstchenPriorPipeline": _stage(_WUERSTCHEN, "prior_", "prior", "text_encoder"),
    "WuerstchenDecoderPipeline": _stage(
        _WUERSTCHEN, "", "decoder", "vqgan", "text_encoder", call={"image_embeddings": Embedding((1, 6, 2, 3))}
    ),
    "WuerstchenCombinedPipeline": _WUERSTCHEN,
    "DDPMPipeline": _WITHOUT_TEXT,
    "DDIMPipeline": varied(_WITHOUT_TEXT, scheduler="DDIMScheduler"),
    "ConsistencyModelPipeline": varied(
        _WITHOUT_TEXT,
        {"unet": {**newer_pictures.UNET_2D, "num_class_embeds": 5}},
        {"class_labels": 3},
        scheduler="CMStochasticIterativeScheduler",
        otherwise={"unet: timestep is [] float64": "the embedding turns it into float32 first"},
    ),
    "FluxPriorReduxPipeline": Recording(
        {
            "image_encoder": newer_pictures.SIGLIP,
            "image_embedder": newer_pictures.REDUX,
            "text_encoder": XL_TEXT_ENCODER,
            "text_encoder_2": T5,
        },
        FLOW,
        call={"image": PICTURE},
    ),
}
