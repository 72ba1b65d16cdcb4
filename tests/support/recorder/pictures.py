"""The pipelines of pictures that are recorded, by class and what is peculiar to one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tracing.demo import TEXT_ENCODER
from tests.support.checkpoints import SD21_UNET, SMALL_VAE, XL_TEXT_ENCODER, XL_TEXT_ENCODER_2, XL_UNET
from tests.support.recorder.record import (
    FLOW,
    MASK,
    ONE_SHAPE,
    PICTURE,
    SQUARE,
    TINY,
    WIDE,
    WIDE_AREA,
    WITHOUT_A_PROMPT,
    Embedding,
    Recording,
    varied,
)
from tests.support.small_models import encoders, pictures
from tests.support.small_models.record import T5, UMT5, small_vae

_SD: Final = Recording({"unet": SD21_UNET, "vae": SMALL_VAE, "text_encoder": TEXT_ENCODER}, "DDIMScheduler")
_XL: Final = Recording(
    {"unet": XL_UNET, "vae": SMALL_VAE, "text_encoder": XL_TEXT_ENCODER, "text_encoder_2": XL_TEXT_ENCODER_2},
    "EulerDiscreteScheduler",
)
_SD3_CLIP: Final = {**XL_TEXT_ENCODER_2, "projection_dim": 10}
_SD3: Final = Recording(
    {
        "transformer": {**pictures.SD3, "joint_attention_dim": 96},
        "vae": small_vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.1),
        "text_encoder": _SD3_CLIP,
        "text_encoder_2": _SD3_CLIP,
        "text_encoder_3": {**T5, "d_model": 96},
    },
    FLOW,
    WIDE,
)
_FLUX: Final = Recording(
    {
        "transformer": pictures.FLUX,
        "vae": small_vae(shift_factor=0.1),
        "text_encoder": XL_TEXT_ENCODER,
        "text_encoder_2": T5,
    },
    FLOW,
    WIDE,
)
_CHROMA: Final = Recording(
    {"transformer": pictures.CHROMA, "vae": small_vae(shift_factor=0.1), "text_encoder": T5}, FLOW, WIDE
)
_PIXART: Final = Recording(
    {"transformer": pictures.PIXART, "vae": small_vae(), "text_encoder": T5},
    "DPMSolverMultistepScheduler",
    WIDE,
    {"use_resolution_binning": False},
)
_HUNYUAN_DIT: Final = Recording(
    {
        "transformer": {**pictures.HUNYUAN_DIT, "num_layers": 6, "text_len_t5": 256},
        "vae": small_vae(block_out_channels=[8, 8, 8, 8]),
        "text_encoder": pictures.BERT,
        "text_encoder_2": T5,
    },
    "DDPMScheduler",
    WIDE,
    {"use_resolution_binning": False},
    tokens={"tokenizer_2": 256},
)
_SANA: Final = Recording(
    {
        "transformer": {**pictures.SANA, "caption_channels": 24, "num_layers": 2},
        "vae": pictures.DC_VAE,
        "text_encoder": encoders.GEMMA_2,
    },
    "DPMSolverMultistepScheduler",
    WIDE,
    {"use_resolution_binning": False},
    counted=True,
    otherwise={
        "text_encoder: input_ids is [1, 300]": WITHOUT_A_PROMPT,
        "text_encoder: attention_mask is [1, 300]": WITHOUT_A_PROMPT,
    },
)
_SPRINT: Final = varied(
    _SANA,
    {"transformer": {**_SANA.models["transformer"], "guidance_embeds": True}},
    scheduler="SCMScheduler",
    otherwise={},
)
_QWEN_WORDS: Final = 521
_QWEN: Final = Recording(
    {
        "transformer": {**pictures.QWEN_IMAGE, "joint_attention_dim": 32},
        "vae": pictures.QWEN_IMAGE_VAE,
        "text_encoder": encoders.QWEN_2_5_VL,
    },
    FLOW,
    WIDE,
    words=_QWEN_WORDS,
)
_QWEN_CONTROLLED: Final = {
    "controlnet: img_shapes is [(": ONE_SHAPE,
    "transformer: img_shapes is [(": ONE_SHAPE,
}
_EDIT: Final = varied(
    _QWEN,
    {"text_encoder": encoders.QWEN_2_5_VL_SEEING},
    {"image": PICTURE},
    words=525,
)
_LUMINA: Final = Recording(
    {
        "transformer": {**pictures.LUMINA, "cross_attention_dim": 24},
        "vae": small_vae(block_out_channels=[8, 8, 8, 8]),
        "text_encoder": encoders.GEMMA,
    },
    FLOW,
    WIDE,
)
_LUMINA_2: Final = Recording(
    {
        "transformer": {**pictures.LUMINA_2, "axes_lens": [300, 64, 64]},
        "vae": small_vae(block_out_channels=[8, 8, 8, 8], shift_factor=0.1),
        "text_encoder": encoders.GEMMA_2,
    },
    FLOW,
    WIDE,
)
_KOLORS: Final = Recording(
    {
        "unet": {**pictures.KOLORS_UNET, "encoder_hid_dim": 32, "projection_class_embeddings_input_dim": 32 + 6 * 8},
        "vae": SMALL_VAE,
        "text_encoder": encoders.CHAT_GLM,
    },
    "EulerDiscreteScheduler",
    otherwise={
        "text_encoder: attention_mask_all is [] bool": "whether the whole mask is set: the mask made of it is the same"
    },
)
_KANDINSKY: Final = Recording(
    {
        "unet": pictures.KANDINSKY_UNET,
        "movq": pictures.MOVQ,
        "text_encoder": {**encoders.MULTILINGUAL_CLIP, "numDims": 40},
    },
    "DDIMScheduler",
    WIDE,
    {"image_embeds": Embedding((1, 40)), "negative_image_embeds": Embedding((1, 40))},
)
_KANDINSKY_2_2: Final = Recording(
    {"unet": pictures.KANDINSKY_2_2_UNET, "movq": pictures.MOVQ},
    "DDPMScheduler",
    WIDE,
    {"image_embeds": Embedding((1, 24)), "negative_image_embeds": Embedding((1, 24))},
)
_HINT: Final = replace(
    _KANDINSKY_2_2,
    models={
        **_KANDINSKY_2_2.models,
        "unet": {**pictures.KANDINSKY_2_2_UNET, "addition_embed_type": "image_hint", "in_channels": 8},
    },
    call={**_KANDINSKY_2_2.call, "hint": Embedding((1, 3, 64, 96))},
)
_KANDINSKY_3: Final = Recording(
    {
        "unet": {**pictures.KANDINSKY_3_UNET, "encoder_hid_dim": 24},
        "movq": {**pictures.MOVQ, "block_out_channels": [8, 8, 8, 8]},
        "text_encoder": T5,
    },
    "DDPMScheduler",
    ShapeOptions(height=64, width=128),
)
_PRIOR: Final = Recording(
    {"prior": encoders.PRIOR, "image_encoder": encoders.CLIP_VISION, "text_encoder": encoders.CLIP_TEXT},
    "UnCLIPScheduler",
    call={"negative_prompt": None},
    tokens={"tokenizer": 7},
)
_LCM: Final = {"unet": {**SD21_UNET, "time_cond_proj_dim": 16}}
_CONTROLNET: Final = {"controlnet": {**pictures.CONTROLNET, "conditioning_embedding_out_channels": [8, 16]}}
_XL_CONTROLNET: Final = {"controlnet": pictures.XL_CONTROLNET}
_XL_ADAPTER: Final = {**pictures.T2I_ADAPTER, "adapter_type": "full_adapter_xl", "channels": [32, 64, 64, 64]}
_UNION: Final = {"controlnet": pictures.CONTROLNET_UNION}
_INPAINTED: Final = {"image": PICTURE, "mask_image": MASK}
_FLUX_CONTROLNET: Final = {"controlnet": {**pictures.FLUX_CONTROLNET, "num_mode": None}}


RECORDINGS: Final[Mapping[str, Recording]] = {
    "StableDiffusionPipeline": _SD,
    "StableDiffusionImg2ImgPipeline": varied(_SD, call={"image": PICTURE}),
    "StableDiffusionInpaintPipeline": varied(_SD, call=_INPAINTED),
    "StableDiffusionAdapterPipeline": varied(_SD, {"adapter": pictures.T2I_ADAPTER}, {"image": PICTURE}, shapes=WIDE),
    "StableDiffusionAdapterPipeline of two": varied(
        _SD,
        {"adapter": pictures.T2I_ADAPTER, "adapter_1": pictures.T2I_ADAPTER},
        {"image": [PICTURE, PICTURE], "adapter_conditioning_scale": [1.0, 1.0]},
        shapes=WIDE,
    ),
    "StableDiffusionXLAdapterPipeline of two": varied(
        _XL,
        {"adapter": _XL_ADAPTER, "adapter_1": _XL_ADAPTER},
        {"image": [PICTURE, PICTURE], "adapter_conditioning_scale": [1.0, 1.0]},
        shapes=WIDE,
    ),
    "StableDiffusionControlNetPipeline of two": varied(
        _SD, {**_CONTROLNET, "controlnet_1": _CONTROLNET["controlnet"]}, {"image": [PICTURE, PICTURE]}
    ),
    "StableDiffusionXLControlNetPipeline of two": varied(
        _XL, {**_XL_CONTROLNET, "controlnet_1": _XL_CONTROLNET["controlnet"]}, {"image": [PICTURE, PICTURE]}
    ),
    "StableDiffusionControlNetPipeline": varied(_SD, _CONTROLNET, {"image": PICTURE}),
    "StableDiffusionControlNetImg2ImgPipeline": varied(_SD, _CONTROLNET, {"image": PICTURE, "control_image": PICTURE}),
    "StableDiffusionControlNetInpaintPipeline": varied(_SD, _CONTROLNET, {**_INPAINTED, "control_image": PICTURE}),
    "StableDiffusionPipeline of latent consistency": varied(_SD, _LCM, scheduler="LCMScheduler"),
    "StableDiffusionImg2ImgPipeline of latent consistency": varied(
        _SD, _LCM, {"image": PICTURE}, scheduler="LCMScheduler"
    ),
    "StableDiffusionControlNetPipeline of latent consistency": varied(
        _SD, {**_LCM, **_CONTROLNET}, {"image": PICTURE}, scheduler="LCMScheduler"
    ),
    "StableDiffusionControlNetImg2ImgPipeline of latent consistency": varied(
        _SD, {**_LCM, **_CONTROLNET}, {"image": PICTURE, "control_image": PICTURE}, scheduler="LCMScheduler"
    ),
    "StableDiffusionXLPipeline of latent consistency": varied(
        _XL, {"unet": {**XL_UNET, "time_cond_proj_dim": 16}}, scheduler="LCMScheduler"
    ),
    "StableDiffusionXLPipeline of EDM": replace(_XL, scheduler="EDMDPMSolverMultistepScheduler"),
    "StableDiffusionXLPipeline": _XL,
    "StableDiffusionXLImg2ImgPipeline": varied(_XL, call={"image": PICTURE}),
    "StableDiffusionXLInpaintPipeline": varied(_XL, call=_INPAINTED),
    "StableDiffusionXLAdapterPipeline": varied(
        _XL,
        {"adapter": _XL_ADAPTER},
        {"image": PICTURE},
        shapes=WIDE,
    ),
    "StableDiffusionXLControlNetPipeline": varied(_XL, _XL_CONTROLNET, {"image": PICTURE}),
    "StableDiffusionXLControlNetImg2ImgPipeline": varied(
        _XL, _XL_CONTROLNET, {"image": PICTURE, "control_image": PICTURE}
    ),
    "StableDiffusionXLControlNetInpaintPipeline": varied(_XL, _XL_CONTROLNET, {**_INPAINTED, "control_image": PICTURE}),
    "StableDiffusionXLControlNetUnionPipeline": varied(_XL, _UNION, {"control_image": [PICTURE], "control_mode": [1]}),
    "StableDiffusionXLControlNetUnionImg2ImgPipeline": varied(
        _XL,
        _UNION,
        {"image": PICTURE, "control_image": [PICTURE], "control_mode": [1]},
    ),
    "StableDiffusionXLControlNetUnionInpaintPipeline": varied(
        _XL, _UNION, {**_INPAINTED, "control_image": [PICTURE], "control_mode": [1]}
    ),
    "StableDiffusion3Pipeline": _SD3,
    "StableDiffusion3Img2ImgPipeline": varied(_SD3, call={"image": PICTURE}),
    "StableDiffusion3InpaintPipeline": varied(
        _SD3,
        {
            "transformer": {**_SD3.models["transformer"], "in_channels": 16, "out_channels": 16},
            "vae": small_vae(latent_channels=16, shift_factor=0.1),
        },
        _INPAINTED,
    ),
    "StableDiffusion3ControlNetPipeline": varied(
        _SD3, {"controlnet": {**pictures.SD3_CONTROLNET, "joint_attention_dim": 96}}, {"control_image": PICTURE}
    ),
    "StableDiffusion3ControlNetInpaintingPipeline": varied(
        _SD3,
        {
            "controlnet": {
                **pictures.SD3_CONTROLNET,
                "joint_attention_dim": 96,
                "extra_conditioning_channels": 1,
            }
        },
        {"control_image": PICTURE, "control_mask": MASK},
    ),
    "FluxPipeline": _FLUX,
    "FluxImg2ImgPipeline": varied(_FLUX, call={"image": PICTURE}),
    "FluxInpaintPipeline": varied(_FLUX, call=_INPAINTED),
    "FluxControlPipeline": varied(
        _FLUX, {"transformer": {**pictures.FLUX, "in_channels": 32, "out_channels": 16}}, {"control_image": PICTURE}
    ),
    "FluxControlImg2ImgPipeline": varied(
        _FLUX,
        {"transformer": {**pictures.FLUX, "in_channels": 32, "out_channels": 16}},
        {"image": PICTURE, "control_image": PICTURE},
    ),
    "FluxControlInpaintPipeline": varied(
        _FLUX,
        {"transformer": {**pictures.FLUX, "in_channels": 32, "out_channels": 16}},
        {**_INPAINTED, "control_image": PICTURE},
    ),
    "FluxFillPipeline": varied(
        _FLUX, {"transformer": {**pictures.FLUX, "in_channels": 16 + 16 + 16, "out_channels": 16}}, _INPAINTED
    ),
    "FluxKontextPipeline": varied(_FLUX, call={"image": PICTURE, "max_area": WIDE_AREA, "_auto_resize": False}),
    "FluxKontextInpaintPipeline": varied(_FLUX, call={**_INPAINTED, "max_area": WIDE_AREA, "_auto_resize": False}),
    "FluxControlNetPipeline": varied(_FLUX, _FLUX_CONTROLNET, {"control_image": PICTURE}),
    "FluxControlNetImg2ImgPipeline": varied(_FLUX, _FLUX_CONTROLNET, {"image": PICTURE, "control_image": PICTURE}),
    "FluxControlNetInpaintPipeline": varied(_FLUX, _FLUX_CONTROLNET, {**_INPAINTED, "control_image": PICTURE}),
    "ChromaPipeline": _CHROMA,
    "ChromaImg2ImgPipeline": varied(_CHROMA, call={"image": PICTURE}),
    "Flux2Pipeline": Recording(
        {
            "transformer": {**pictures.FLUX_2, "joint_attention_dim": 72},
            "vae": {**small_vae(norm_num_groups=8), "_class_name": "AutoencoderKLFlux2"},
            "text_encoder": encoders.MISTRAL_3,
        },
        FLOW,
        WIDE,
    ),
    "PixArtAlphaPipeline": _PIXART,
    "PixArtSigmaPipeline": _PIXART,
    "DiTPipeline": Recording(
        {"transformer": pictures.DIT, "vae": small_vae()},
        "DDIMScheduler",
        call={"class_labels": [3]},
        options={"id2label": None},
    ),
    "HunyuanDiTPipeline": _HUNYUAN_DIT,
    "HunyuanDiTControlNetPipeline": varied(
        _HUNYUAN_DIT,
        {"controlnet": {**pictures.HUNYUAN_DIT_CONTROLNET, "text_len_t5": 256}},
        {"control_image": PICTURE},
    ),
    "AuraFlowPipeline": Recording(
        {"transformer": pictures.AURA_FLOW, "vae": small_vae(), "text_encoder": UMT5}, FLOW, WIDE
    ),
    "SanaPipeline": _SANA,
    "SanaControlNetPipeline": varied(
        _SANA, {"controlnet": {**pictures.SANA_CONTROLNET, "caption_channels": 24}}, {"control_image": PICTURE}
    ),
    "SanaSprintPipeline": _SPRINT,
    "SanaSprintImg2ImgPipeline": varied(_SPRINT, call={"image": PICTURE, "num_inference_steps": 2}),
    "CogView3PlusPipeline": Recording(
        {"transformer": pictures.COGVIEW_3, "vae": small_vae(), "text_encoder": T5}, "CogVideoXDDIMScheduler", WIDE
    ),
    "CogView4Pipeline": Recording(
        {"transformer": {**pictures.COGVIEW_4, "text_embed_dim": 32}, "vae": small_vae(), "text_encoder": encoders.GLM},
        FLOW,
        WIDE,
    ),
    "CogView4ControlPipeline": Recording(
        {
            "transformer": {**pictures.COGVIEW_4, "text_embed_dim": 32, "in_channels": 8},
            "vae": small_vae(),
            "text_encoder": encoders.GLM,
        },
        FLOW,
        WIDE,
        {"control_image": PICTURE},
    ),
    "QwenImagePipeline": _QWEN,
    "QwenImageImg2ImgPipeline": varied(_QWEN, call={"image": PICTURE}),
    "QwenImageInpaintPipeline": varied(_QWEN, call=_INPAINTED),
    "QwenImageControlNetPipeline": varied(
        _QWEN,
        {"controlnet": {**pictures.QWEN_IMAGE_CONTROLNET, "joint_attention_dim": 32, "extra_condition_channels": 0}},
        {"control_image": PICTURE},
        otherwise=_QWEN_CONTROLLED,
    ),
    "QwenImageControlNetInpaintPipeline": varied(
        _QWEN,
        {"controlnet": {**pictures.QWEN_IMAGE_CONTROLNET, "joint_attention_dim": 32}},
        {"control_image": PICTURE, "control_mask": MASK},
        otherwise=_QWEN_CONTROLLED,
    ),
    "QwenImageEditPipeline": _EDIT,
    "QwenImageEditInpaintPipeline": varied(_EDIT, call=_INPAINTED),
    "QwenImageEditPlusPipeline": varied(_EDIT, words=523),
    "LuminaPipeline": _LUMINA,
    "LuminaText2ImgPipeline": _LUMINA,
    "Lumina2Pipeline": _LUMINA_2,
    "Lumina2Text2ImgPipeline": _LUMINA_2,
    "KolorsPipeline": _KOLORS,
    "KolorsImg2ImgPipeline": varied(_KOLORS, call={"image": PICTURE}),
    "KandinskyPipeline": _KANDINSKY,
    "KandinskyImg2ImgPipeline": varied(_KANDINSKY, call={"image": PICTURE}, shapes=SQUARE),
    "KandinskyInpaintPipeline": varied(
        _KANDINSKY, {"unet": {**pictures.KANDINSKY_UNET, "in_channels": 9}}, _INPAINTED, shapes=TINY
    ),
    "KandinskyV22Pipeline": _KANDINSKY_2_2,
    "KandinskyV22Img2ImgPipeline": varied(_KANDINSKY_2_2, call={"image": PICTURE}, shapes=SQUARE),
    "KandinskyV22InpaintPipeline": varied(
        _KANDINSKY_2_2, {"unet": {**pictures.KANDINSKY_2_2_UNET, "in_channels": 9}}, _INPAINTED, shapes=TINY
    ),
    "KandinskyV22ControlnetPipeline": _HINT,
    "KandinskyV22ControlnetImg2ImgPipeline": varied(
        _HINT, call={"image": PICTURE, "hint": Embedding((1, 3, 64, 64))}, shapes=SQUARE
    ),
    "Kandinsky3Pipeline": _KANDINSKY_3,
    "Kandinsky3Img2ImgPipeline": varied(_KANDINSKY_3, call={"image": PICTURE}),
    "KandinskyPriorPipeline": _PRIOR,
    "KandinskyV22PriorPipeline": _PRIOR,
}
