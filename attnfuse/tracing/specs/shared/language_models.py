"""Text encoders that are decoders: language models of which a pipeline takes a hidden state.

One entry a class and use.
"""

from __future__ import annotations

from dataclasses import replace

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.patch_names import DEVICE_CALLS, SEEN_PICTURE, TEXT_DECODER
from attnfuse.tracing.specs.pictures.cogview import COGVIEW_4
from attnfuse.tracing.specs.pictures.flux import FLUX_2
from attnfuse.tracing.specs.pictures.kolors import KOLORS
from attnfuse.tracing.specs.pictures.lumina import LUMINA, LUMINA_2
from attnfuse.tracing.specs.pictures.qwen_image import QWEN_IMAGE, QWEN_IMAGE_EDIT, seen_picture
from attnfuse.tracing.specs.pictures.sana import SANA, uncounted_instruction
from attnfuse.tracing.specs.record import Input, Output, Spec
from attnfuse.tracing.specs.shared.text_encoders import IDS, MASK, text_tokens
from attnfuse.tracing.specs.videos.hunyuan_video import HUNYUAN_VIDEO

_LLAMA = Spec(
    class_name="LlamaModel",
    library="transformers",
    families=(HUNYUAN_VIDEO,),
    models=("text_encoder",),
    source="hunyuan_video/pipeline_hunyuan_video.py",
    inputs=(IDS, MASK),
    outputs=(Output("hidden_state", "result[1][-3]"),),  # two layers are skipped
    fixed={"output_hidden_states": True},
    sizes=text_tokens,
    patches=(TEXT_DECODER,),
)

_LLAVA = replace(
    _LLAMA,
    class_name="LlavaForConditionalGeneration",
    source="hunyuan_video/pipeline_hunyuan_video_image2video.py",
    inputs=(
        IDS,
        MASK,
        Input("position_ids", ("batch", "text_tokens"), "int64"),
        Input("pixel_values", ("batch", 3, 336, 336)),
    ),
    broken="mindone's puts a picture's patches in the place of one token, and fails where the pipeline gives it a token"
    " for each patch",
)

_GLM = replace(
    _LLAMA,
    class_name="GlmModel",
    families=(COGVIEW_4,),
    source="cogview4/pipeline_cogview4.py",
    inputs=(IDS,),
    outputs=(Output("penultimate_hidden_state", "result[1][-2]"),),
)

_GEMMA = replace(
    _LLAMA,
    class_name="GemmaModel",
    families=(LUMINA,),
    source="lumina/pipeline_lumina.py",
    outputs=(Output("penultimate_hidden_state", "result[1][-2]"),),
)

_GEMMA_2 = replace(
    _LLAMA,
    class_name="Gemma2Model",
    families=(SANA,),
    source="sana/pipeline_sana.py",
    outputs=(Output("last_hidden_state", "result[0]"),),
    fixed={},
    doubt=uncounted_instruction,
)

_GEMMA_2_PENULTIMATE = replace(
    _GEMMA_2,
    families=(LUMINA_2,),
    source="lumina2/pipeline_lumina2.py",
    outputs=(Output("penultimate_hidden_state", "result[1][-2]"),),
    fixed={"output_hidden_states": True},
    doubt=None,
)


def _with_template(context: SpecContext) -> Sizes:
    """The pipeline puts the prompt into a template, and cuts the 34 tokens before it off what comes out."""
    return {"text_tokens": context.sizes["tokens"] + 34}


def _window(context: SpecContext) -> str:
    options = context.configs[context.model]
    if any(part.get("use_sliding_window") for part in (options, options.get("text_config") or {})):
        return "use_sliding_window is set, which is not supported"
    return ""


_QWEN_2_5_VL = replace(
    _LLAMA,
    class_name="Qwen2_5_VLForConditionalGeneration",
    families=(QWEN_IMAGE,),
    source="qwenimage/pipeline_qwenimage.py",
    outputs=(Output("last_hidden_state", "result[0]"),),
    sizes=_with_template,
    check=_window,
)


def _seen_sizes(context: SpecContext) -> Sizes:
    """All patches of all pictures, and the values of one: of two frames, which a picture is made of."""
    options, sizes = context.option("vision_config") or {}, context.sizes
    side, frames = options.get("patch_size", 14), options.get("temporal_patch_size", 2)
    return {
        **text_tokens(context),
        "patches": sizes["batch"] * sizes["seen_rows"] * sizes["seen_columns"],
        "values": 3 * frames * side * side,
    }


_QWEN_2_5_VL_SEEING = replace(
    _QWEN_2_5_VL,
    families=(QWEN_IMAGE_EDIT,),
    source="qwenimage/pipeline_qwenimage_edit.py",
    inputs=(
        IDS,
        MASK,
        Input("pixel_values", ("patches", "values"), "float32", note="the processor's, of the picture that is edited"),
    ),
    sizes=_seen_sizes,
    constants=seen_picture,
    patches=(TEXT_DECODER, SEEN_PICTURE),
)

_FLUX_2_LAYERS = (10, 20, 30)
"""Before which layers the states are that Flux2's pipeline lays side by side; it may be told others."""


def _layers(context: SpecContext) -> str:
    layers = (context.option("text_config") or {}).get("num_hidden_layers", 32)
    if layers >= _FLUX_2_LAYERS[-1]:
        return ""
    return f"of its {layers} layers the pipeline asks for the state before number {_FLUX_2_LAYERS[-1]}"


_MISTRAL_3 = replace(
    _LLAMA,
    class_name="Mistral3ForConditionalGeneration",
    families=(FLUX_2,),
    source="flux2/pipeline_flux2.py",
    outputs=tuple(Output(f"hidden_state_{layer}", f"result[1][{layer}]") for layer in _FLUX_2_LAYERS),
    check=_layers,
)


def _chat_glm_type(context: SpecContext) -> str:
    if context.dtype == "bfloat16":
        return "it cannot be traced in bfloat16: mindone calls the type where it should turn the rotary table into it"
    return ""


# mindone has it in the folder of the pipeline, which asks whether the whole mask is set and then hands over none: the
# mask that is made of it is the same. Its states have the tokens first.
_CHAT_GLM = replace(
    _LLAMA,
    class_name="ChatGLMModel",
    families=(KOLORS,),
    source="kolors/pipeline_kolors.py",
    inputs=(IDS, MASK, Input("position_ids", ("batch", "text_tokens"), "int64", note="the tokenizer's")),
    outputs=(
        Output("penultimate_hidden_state", "result[1][-2].permute(1, 0, 2)"),
        Output("pooled", "result[1][-1][-1, :, :]"),
    ),
    fixed={"output_hidden_states": True, "attention_mask_all": False, "use_cache": False, "return_dict": False},
    check=_chat_glm_type,
    patches=(DEVICE_CALLS,),
)

SPECS = (
    _LLAMA,
    _LLAVA,
    _GLM,
    _GEMMA,
    _GEMMA_2,
    _GEMMA_2_PENULTIMATE,
    _QWEN_2_5_VL,
    _QWEN_2_5_VL_SEEING,
    _MISTRAL_3,
    _CHAT_GLM,
)
