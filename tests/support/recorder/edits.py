"""The pipelines of Stable Diffusion and XL with more inputs, or other rows, that are recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from PIL import Image

from attnfuse.tracing.contract import ShapeOptions
from tests.support.checkpoints import SD21_UNET, SMALL_VAE, XL_UNET
from tests.support.recorder import pictures
from tests.support.recorder.record import MASK, PICTURE, SQUARE, TINY, WIDE, Embedding, Recording, varied
from tests.support.small_models import encoders
from tests.support.small_models.edits import (
    DPT,
    ENLARGING,
    EXAMPLE,
    GLIGEN_PICTURES_UNET,
    GLIGEN_UNET,
    LATENT_UPSCALE_UNET,
    UNCLIP_DECODER,
    UNCLIP_TEXT,
    UNCLIP_UNET,
    UPSCALE_UNET,
    XL_XS_UNET,
    XS_UNET,
)

_AS: Final = pictures.RECORDINGS
_SD: Final = _AS["StableDiffusionPipeline"]
_XL: Final = _AS["StableDiffusionXLPipeline"]
_LCM: Final = varied(_SD, {"unet": {**SD21_UNET, "time_cond_proj_dim": 16}}, scheduler="LCMScheduler")
_SEEN: Final = {"unet": SD21_UNET, "vae": SMALL_VAE, "image_encoder": {**encoders.CLIP_VISION, "projection_dim": 64}}
_EDITED: Final = {"editing_prompt": ["word"]}
_ONE_BY_ONE: Final = "`invert` runs the rows one by one, for which the graph is traced without guidance"
_LEDITS: Final = {
    "unet: is given ('AttnProcessor', (), {})": "attention as it is anyway, by its formula",
    "unet: sample is [1, ": _ONE_BY_ONE,
    "unet: encoder_hidden_states is [1, ": _ONE_BY_ONE,
}
_FILLED_UP: Final = "phrases are filled up further behind, where what they pool to does not look"
_PHRASES: Final = {
    "text_encoder: input_ids is [1, 4] int64": _FILLED_UP,
    "text_encoder: attention_mask = [1, 4] int64 is given": _FILLED_UP,
}
_UNCLIP: Final = Recording(
    {
        "decoder": UNCLIP_DECODER,
        "text_proj": UNCLIP_TEXT,
        "text_encoder": {**encoders.CLIP_TEXT, "max_position_embeddings": 77},
        "super_res_first": ENLARGING,
        "super_res_last": ENLARGING,
    },
    "UnCLIPScheduler",
    call={"prior_num_inference_steps": 2, "decoder_num_inference_steps": 2, "super_res_num_inference_steps": 2},
)
_UNCLIP_SCHEDULERS: Final = {f"{name}_scheduler": "UnCLIPScheduler" for name in ("prior", "decoder", "super_res")}
_INVERTED: Final = {"image": PICTURE, "source_prompt": "", "num_inversion_steps": 4}

RECORDINGS: Final[Mapping[str, Recording]] = {
    "LatentConsistencyModelPipeline": _LCM,
    "LatentConsistencyModelImg2ImgPipeline": varied(_LCM, call={"image": PICTURE}),
    "StableDiffusionLDM3DPipeline": varied(_SD, {"vae": {**SMALL_VAE, "in_channels": 6, "out_channels": 6}}),
    "StableDiffusionDiffEditPipeline": varied(
        _SD,
        call={"mask_image": Image.new("L", (8, 8)), "image_latents": Embedding((1, 4, 8, 8)), "output_type": "latent"},
        scheduler="DDIMScheduler",
        options={"inverse_scheduler": "DDIMInverseScheduler"},
    ),
    "StableDiffusionPipelineSafe": _SD,
    "SemanticStableDiffusionPipeline": varied(_SD, call={"editing_prompt": ["word"]}),
    "LEditsPPPipelineStableDiffusion": varied(
        _SD,
        call={**_EDITED, "use_intersect_mask": False},
        shapes=SQUARE,
        before=("invert", _INVERTED),
        otherwise=_LEDITS,
    ),
    "LEditsPPPipelineStableDiffusionXL": varied(
        _XL,
        call=_EDITED,
        shapes=SQUARE,
        before=("invert", _INVERTED),
        scheduler="DPMSolverMultistepScheduler",
        scheduler_options={"algorithm_type": "sde-dpmsolver++"},
        otherwise={**_LEDITS, "unet: added_cond_kwargs.": _ONE_BY_ONE},
    ),
    "StableDiffusionPanoramaPipeline": varied(_SD, shapes=ShapeOptions(height=256, width=512)),
    "StableDiffusionInstructPix2PixPipeline": varied(
        _SD, {"unet": {**SD21_UNET, "in_channels": 8}}, {"image": PICTURE}
    ),
    "StableDiffusionXLInstructPix2PixPipeline": varied(
        _XL, {"unet": {**XL_UNET, "in_channels": 8}}, {"image": PICTURE}
    ),
    "StableDiffusionDepth2ImgPipeline": varied(
        _SD, {"unet": {**SD21_UNET, "in_channels": 5}, "depth_estimator": DPT}, {"image": PICTURE}
    ),
    "StableDiffusionImageVariationPipeline": Recording(_SEEN, "DDIMScheduler", call={"image": PICTURE}),
    "PaintByExamplePipeline": Recording(
        {**_SEEN, "unet": {**SD21_UNET, "in_channels": 9}, "image_encoder": EXAMPLE},
        "DDIMScheduler",
        TINY,
        {"example_image": PICTURE, "image": PICTURE, "mask_image": MASK},
    ),
    "StableDiffusionUpscalePipeline": varied(
        _SD,
        {"unet": UPSCALE_UNET, "vae": {**SMALL_VAE, "block_out_channels": [32, 32, 32]}},
        {"image": Image.new("RGB", (24, 16))},
        shapes=WIDE,
        options={"low_res_scheduler": "DDPMScheduler"},
    ),
    "StableDiffusionLatentUpscalePipeline": varied(
        _SD,
        {"unet": LATENT_UPSCALE_UNET},
        {"image": Image.new("RGB", (48, 32))},
        scheduler="EulerDiscreteScheduler",
        shapes=WIDE,
    ),
    "StableUnCLIPPipeline": varied(
        _SD,
        {
            "unet": UNCLIP_UNET,
            "prior": {**encoders.PRIOR, "num_embeddings": 77},
            "prior_text_encoder": {**encoders.CLIP_TEXT, "max_position_embeddings": 77},
            "image_normalizer": {"_class_name": "StableUnCLIPImageNormalizer", "embedding_dim": 16},
        },
        options={"prior_scheduler": "UnCLIPScheduler", "image_noising_scheduler": "DDPMScheduler"},
    ),
    "StableUnCLIPImg2ImgPipeline": varied(
        _SD,
        {
            "unet": UNCLIP_UNET,
            "image_encoder": encoders.CLIP_VISION,
            "image_normalizer": {"_class_name": "StableUnCLIPImageNormalizer", "embedding_dim": 16},
        },
        {"image": PICTURE},
        options={"image_noising_scheduler": "DDPMScheduler"},
    ),
    "StableDiffusionSAGPipeline": varied(_SD, call={"sag_scale": 0.0}),
    "StableDiffusionGLIGENPipeline": varied(
        _SD,
        {"unet": GLIGEN_UNET},
        {"gligen_phrases": ["word word"], "gligen_boxes": [[0.1, 0.2, 0.3, 0.4]]},
        otherwise={
            **_PHRASES,
            "unet_ungrounded is planned, and is not called": "it is called with boxes that it does not look at",
        },
    ),
    "StableDiffusionGLIGENTextImagePipeline": varied(
        _SD,
        {
            "unet": GLIGEN_PICTURES_UNET,
            "image_encoder": {**encoders.CLIP_VISION, "projection_dim": 64},
            "image_project": {"_class_name": "CLIPImageProjection", "hidden_size": 64},
        },
        {"gligen_phrases": ["word word"], "gligen_images": [PICTURE], "gligen_boxes": [[0.1, 0.2, 0.3, 0.4]]},
        otherwise=_PHRASES,
    ),
    "StableDiffusionControlNetXSPipeline": varied(_SD, {"unet": XS_UNET}, {"image": PICTURE}),
    "StableDiffusionXLControlNetXSPipeline": varied(_XL, {"unet": XL_XS_UNET}, {"image": PICTURE}),
    "UnCLIPPipeline": varied(_UNCLIP, {"prior": {**encoders.PRIOR, "num_embeddings": 77}}, options=_UNCLIP_SCHEDULERS),
    "UnCLIPImageVariationPipeline": varied(
        _UNCLIP, {"image_encoder": encoders.CLIP_VISION}, {"image": PICTURE}, options=_UNCLIP_SCHEDULERS
    ),
}
