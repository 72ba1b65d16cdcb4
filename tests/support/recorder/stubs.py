"""Models that record what they are called with and give zeros of the right shape: the classes are mindone's own.

They have their class's methods, configuration and type, and no parameters.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Final

import mindspore
import numpy as np
from mindspore import nn

from tests.support.recorder.eager import array, tensor


@dataclass(frozen=True, slots=True)
class Recorded:
    """One call of one part: the method, empty for the model itself, and what was given by the parameter's name."""

    part: str
    method: str
    given: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)


PROCESSORS: Final = "processors"
"""Stands for a method, where what is recorded is that a model is given attention processors."""


def processor_given(model: Any, processor: Any, layers: Sequence[str], calls: list[Recorded]) -> None:
    """Record that a model is given an attention processor: its class, the layers, and the numbers it holds.

    None for all attention: where the pipeline puts back what was there.
    """
    if processor:
        numbers = {name: value for name, value in vars(processor).items() if isinstance(value, int)}
        calls.append(Recorded(model.part, PROCESSORS, {"found": (type(processor).__name__, tuple(layers), numbers)}))


class Given(tuple[Any, ...]):
    """What a model gives, as a tuple and by name."""

    names: Mapping[str, Any]

    def __new__(cls, *values: Any, **names: Any) -> Given:
        made = super().__new__(cls, values)
        made.names = names
        return made

    def __getattr__(self, name: str) -> Any:
        try:
            return self.names[name]
        except KeyError:
            raise AttributeError(name) from None

    def __getitem__(self, key: Any) -> Any:
        return self.names[key] if isinstance(key, str) else super().__getitem__(key)

    def keys(self) -> Any:
        """As a dictionary has them."""
        return self.names.keys()


def zeros(shape: Sequence[int], dtype: Any) -> Any:
    """A tensor of zeros."""
    return tensor(np.zeros(tuple(shape), np.float32), dtype)


class Moments:
    """The distribution an autoencoder's encoder gives the moments of."""

    def sample(self, moments: Any, *_: Any, **__: Any) -> Any:
        """As many channels as there are means."""
        return tensor(np.split(array(moments), 2, axis=1)[0])

    mode = sample


Result = Callable[[Any, Mapping[str, Any]], Any]
"""What a stub gives for what it is given."""


def class_named(name: str, library: str) -> Any:
    """Mindone's class."""
    from attnfuse.tracing.build import _BESIDE_A_PIPELINE

    beside = {**_BESIDE_A_PIPELINE, "StableUnCLIPImageNormalizer": "stable_diffusion"}
    if name in beside:
        return getattr(import_module(f"mindone.diffusers.pipelines.{beside[name]}"), name)
    return getattr(import_module(f"mindone.{library}"), name)


def _bound(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was given by the parameters' names, and the parameters' defaults."""
    signature = inspect.signature(function)
    given = dict(signature.bind(None, *args, **kwargs).arguments)
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            given.update(given.pop(name, {}))
    defaults = {
        name: parameter.default
        for name, parameter in signature.parameters.items()
        if parameter.default is not parameter.empty
    }
    return dict(list(given.items())[1:]), defaults


def stub(part: str, config: Mapping[str, Any], dtype: Any, calls: list[Recorded], sizes: Mapping[str, int]) -> Any:
    """A model of the class that the configuration names, which adds its calls to `calls`."""
    is_diffusers = "_class_name" in config
    name = str(config.get("_class_name") or config["architectures"][0])
    kind = class_named(name, "diffusers" if is_diffusers else "transformers")

    def recording(method: str) -> Any:
        original = getattr(kind, method or "construct")
        result = RESULTS[method](name) if method in RESULTS else _denoised_by(name)

        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            given, defaults = _bound(original, args, kwargs)
            calls.append(Recorded(part, method, given, defaults))
            return result(self, given)

        return call

    def cast(self: Any, dtype: Any = None, *_: Any, **__: Any) -> Any:
        if dtype is not None:
            object.__setattr__(self, "held", dtype)
        return self

    members: dict[str, Any] = {
        "__call__": recording(""),
        "__module__": kind.__module__,
        "dtype": property(lambda self: self.held),
        "to": cast,
        "attn_processors": {},
        "set_attn_processor": lambda self, made: processor_given(self, made, (), calls),
        "set_train": lambda self, *_: self,
        "get_parameters": lambda self, *_: iter([SimpleNamespace(dtype=self.held)]),
    }
    members |= {
        method: recording(method) for method in ("encode", "decode", "get_text_features") if hasattr(kind, method)
    }
    made = type(kind.__name__, (kind,), members)
    new: Any = made.__new__  # MindSpore's own: there is no `__init__` of the model to be run
    model = new(made)
    nn.Cell.__init__(model)
    object.__setattr__(model, "held", dtype)
    object.__setattr__(model, "sizes", sizes)
    object.__setattr__(model, "part", part)
    if is_diffusers:
        defaults = {
            parameter: value.default
            for parameter, value in inspect.signature(kind.__init__).parameters.items()
            if value.default is not value.empty
        }
        model.register_to_config(**{**defaults, **{key: v for key, v in config.items() if not key.startswith("_")}})
    else:
        object.__setattr__(model, "config", kind.config_class(**config))
    for attribute, value in extras(model, name).items():
        object.__setattr__(model, attribute, value)
    return model


def _first(given: Mapping[str, Any], *names: str) -> Any:
    return next(given[name] for name in names if given.get(name) is not None)


def _denoised_by(name: str) -> Result:
    if name in NAMED:
        return NAMED[name]
    if "ControlNet" in name:
        return _controls
    return _text if name.endswith(_TEXTS) else _denoised


_TEXTS: Final = (
    "CLIPTextModel",
    "CLIPTextModelWithProjection",
    "EncoderModel",
    "BertModel",
    "LlamaModel",
    "GlmModel",
    "GemmaModel",
    "Gemma2Model",
    "Qwen2_5_VLForConditionalGeneration",
    "LlavaForConditionalGeneration",
    "Mistral3ForConditionalGeneration",
    "GPT2Model",
)


def _denoised(model: Any, given: Mapping[str, Any]) -> Any:
    """As many channels as the configuration says go out; frames of CogVideoX come before them."""
    x = _first(given, "sample", "hidden_states", "x")
    if isinstance(x, list | tuple):
        x = x[0]
    config = model.config
    out = getattr(config, "out_channels", None) or getattr(config, "out_visual_dim", None) or x.shape[1]
    name = type(model).__name__
    axis = 2 if name.startswith(("CogVideoX", "ConsisID")) or "SpatioTemporal" in name else 1
    if name.startswith("Kandinsky5"):
        axis = 4
    shape = list(x.shape)
    if x.ndim > 3:
        shape[axis] = out
    made = zeros(shape, x.dtype)
    return Given(made, sample=made)


def _hidden(config: Any) -> int:
    inner = getattr(config, "text_config", None)
    if inner is not None and not isinstance(inner, dict):
        config = inner
    return int(next(getattr(config, name) for name in ("hidden_size", "d_model", "n_embd") if hasattr(config, name)))


def _text(model: Any, given: Mapping[str, Any]) -> Any:
    """States of all layers, and what they pool to."""
    ids = _first(given, "input_ids", "inputs_embeds")
    width = _hidden(model.config)
    states = zeros((*ids.shape[:2], width), model.held)
    layers = (states,) * 40
    projected = int(getattr(model.config, "projection_dim", 0))
    names = {"last_hidden_state": states, "hidden_states": layers}
    if type(model).__name__ == "CLIPTextModelWithProjection":
        pooled = zeros((ids.shape[0], projected), model.held)
        return Given(pooled, states, layers, text_embeds=pooled, **names)
    pooled = zeros((ids.shape[0], width), model.held)
    if type(model).__name__.startswith("CLIP"):
        return Given(states, pooled, layers, pooler_output=pooled, **names)
    return Given(states, layers, layers, **names)


def _picture(model: Any, given: Mapping[str, Any]) -> Any:
    """Tokens of the patches, and of CLIP's projection."""
    rows, config = given["pixel_values"].shape[0], model.config
    states = zeros((rows, (config.image_size // config.patch_size) ** 2 + 1, config.hidden_size), model.held)
    embedded = zeros((rows, config.projection_dim), model.held)
    return Given(embedded, states, (states,) * 4, image_embeds=embedded, hidden_states=(states,) * 4)


def _controls(model: Any, given: Mapping[str, Any]) -> Any:
    """As many outputs as attnfuse's plan of the ControlNet says, in the shapes that its plan of the denoiser takes.

    That the two agree is for other tests; here the pipeline may only be seen to hand them on.
    """
    del given
    groups = model.sizes["controls"]
    made = [[zeros(shape, model.held) for shape in group] for group in groups]
    if type(model).__name__.startswith("QwenImage"):
        return made[0]
    if model.sizes["is_unet"]:
        return Given(made[0][:-1], made[0][-1])
    return Given(*(group or None for group in made))


def _encoded(_name: str) -> Result:
    def result(model: Any, given: Mapping[str, Any]) -> Any:
        x = _first(given, "x", "sample", "image")
        sizes, latents = model.sizes, list(x.shape)
        channels = sizes["latent_channels"]
        latents[1] = channels if sizes["plain_latents"] else 2 * channels
        latents[-2:] = [max(1, n // sizes["spatial"]) for n in latents[-2:]]
        if x.ndim == 5:
            latents[2] = (latents[2] - 1) // sizes["temporal"] + 1
        if x.ndim == 3:
            latents = [x.shape[0], 2 * channels, x.shape[2] // sizes["spatial"]]
        made = zeros(latents, x.dtype)
        # By a name that mindone's own autoencoder has not, and one of its pipelines asks for.
        posterior = SimpleNamespace(sample=lambda *_, **__: Moments().sample(made))
        return Given(made, latents=made, latent=made, latent_dist=posterior)

    return result


def _decoded(_name: str) -> Result:
    def result(model: Any, given: Mapping[str, Any]) -> Any:
        z = _first(given, "z", "h", "x")
        sizes, pixels = model.sizes, list(z.shape)
        pixels[1] = sizes["pixel_channels"]
        pixels[-2:] = [n * sizes["spatial"] for n in pixels[-2:]]
        if z.ndim == 5:
            pixels[2] = (pixels[2] - 1) * sizes["temporal"] + 1
        if z.ndim == 3:
            pixels = [z.shape[0], sizes["pixel_channels"], z.shape[2] * sizes["spatial"]]
        made = zeros(pixels, z.dtype)
        return Given(made, sample=made)

    return result


def _features(model: Any, given: Mapping[str, Any]) -> Any:
    return zeros((given["input_ids"].shape[0], model.config.projection_dim), model.held)


RESULTS: Final[Mapping[str, Callable[[str], Result]]] = {
    "encode": _encoded,
    "decode": _decoded,
    "get_text_features": lambda _: _features,
}


def _adapted(model: Any, _given: Mapping[str, Any]) -> Any:
    return [zeros((1, *shape[1:]), model.held) for shape in model.sizes["features"]]


def _example(model: Any, given: Mapping[str, Any]) -> Any:
    rows, width = given["pixel_values"].shape[0], model.config.projection_dim
    return Given(zeros((rows, 1, width), model.held), zeros((1, 1, width), model.held))


def _depth(model: Any, given: Mapping[str, Any]) -> Any:
    side = model.config.image_size
    return Given(zeros((given["pixel_values"].shape[0], side, side), model.held))


def _unclip_text(model: Any, given: Mapping[str, Any]) -> Any:
    config, states = model.config, given["text_encoder_hidden_states"]
    tokens = states.shape[1] + config.clip_extra_context_tokens
    made = zeros((states.shape[0], tokens, config.cross_attention_dim), model.held)
    return Given(made, zeros((states.shape[0], config.time_embed_dim), model.held))


def _glm(model: Any, given: Mapping[str, Any]) -> Any:
    rows, tokens = given["input_ids"].shape
    states = zeros((tokens, rows, model.config.hidden_size), model.held)
    return Given(states, None, (states,) * 4, last_hidden_state=states, hidden_states=(states,) * 4)


def _multilingual(model: Any, given: Mapping[str, Any]) -> Any:
    rows, tokens = given["input_ids"].shape
    width = model.config.transformerDimensions
    return Given(zeros((rows, model.config.numDims), model.held), zeros((rows, tokens, width), model.held))


def _prior(model: Any, given: Mapping[str, Any]) -> Any:
    made = zeros(given["hidden_states"].shape, model.held)
    return Given(made, predicted_image_embedding=made)


def _seconds(model: Any, given: Mapping[str, Any]) -> Any:
    del given
    made = [zeros((1, 1, model.config.conditioning_dim), model.held) for _ in range(3)]
    names = ("text_hidden_states", "seconds_start_hidden_states", "seconds_end_hidden_states")
    return Given(*made, **dict(zip(names, made, strict=True)))


def _projected(model: Any, given: Mapping[str, Any]) -> Any:
    first, second = given["hidden_states"], given["hidden_states_1"]
    width, tokens = model.config.langauge_model_dim, first.shape[1] + second.shape[1] + 4
    made, mask = zeros((first.shape[0], tokens, width), model.held), zeros((first.shape[0], tokens), mindspore.int64)
    return Given(made, mask, hidden_states=made, attention_mask=mask)


def _plainly(model: Any, given: Mapping[str, Any]) -> Any:
    return zeros(given["x"].shape, model.held)


def _patches_seen(model: Any, given: Mapping[str, Any]) -> Any:
    config, rows = model.config, given["pixel_values"].shape[0]
    states = zeros((rows, (config.image_size // config.patch_size) ** 2, config.hidden_size), model.held)
    return Given(states, last_hidden_state=states)


def _enlarged(model: Any, given: Mapping[str, Any]) -> Any:
    rows, channels, frames, height, width = given["hidden_states"].shape
    return zeros((rows, channels, frames, 2 * height, 2 * width), model.held)


NAMED: Final[Mapping[str, Result]] = {
    "LTXLatentUpsamplerModel": _enlarged,
    "T2IAdapter": _adapted,
    "UNetControlNetXSModel": _denoised,
    "UnCLIPTextProjModel": _unclip_text,
    "CLIPVisionModel": _picture,
    "CLIPVisionModelWithProjection": _picture,
    "CLIPImageProjection": lambda model, given: zeros(given["x"].shape, model.held),
    "ChatGLMModel": _glm,
    "DPTForDepthEstimation": _depth,
    "PaintByExampleImageEncoder": _example,
    "SiglipVisionModel": _patches_seen,
    "WuerstchenDiffNeXt": _plainly,
    "WuerstchenPrior": _plainly,
    "MultilingualCLIP": _multilingual,
    "PriorTransformer": _prior,
    "StableAudioProjectionModel": _seconds,
    "AudioLDM2ProjectionModel": _projected,
}


def _of_parameters(model: Any) -> Any:
    """Something whose parameters have the model's type."""
    return SimpleNamespace(get_parameters=lambda: iter([SimpleNamespace(dtype=model.held)]))


def _unet_extras(model: Any) -> dict[str, Any]:
    width = model.config.projection_class_embeddings_input_dim
    attention = SimpleNamespace(
        transformer_blocks=[SimpleNamespace(attn1=SimpleNamespace())], register_forward_hook=lambda _: None
    )
    return {
        "add_embedding": SimpleNamespace(linear_1=SimpleNamespace(in_features=width, in_channels=width)),
        "mid_block": SimpleNamespace(attentions=[attention]),
    }


def _vae_extras(model: Any) -> dict[str, Any]:
    sizes = model.sizes
    return {
        "diag_gauss_dist": Moments(),
        "post_quant_conv": _of_parameters(model),
        "spatial_compression_ratio": sizes["spatial"],
        "temporal_compression_ratio": sizes["temporal"],
        "hop_length": sizes["spatial"],
        "sampling_rate": 8,
        "tile_overlap_t": 0,
        "latents_mean": zeros((sizes["latent_channels"],), mindspore.float32),
        "latents_std": zeros((sizes["latent_channels"],), mindspore.float32) + 1,
        "identity_dist": SimpleNamespace(sample=lambda x, *_, **__: x, mode=lambda x: x),
    }


def _flux_2_extras(model: Any) -> dict[str, Any]:
    channels = 4 * model.sizes["latent_channels"]
    ones = zeros((channels,), mindspore.float32) + 1
    return {**_vae_extras(model), "bn": SimpleNamespace(running_mean=ones, running_var=ones)}


def _hunyuan_dit_extras(model: Any) -> dict[str, Any]:
    config = model.config
    return {
        "inner_dim": config.num_attention_heads * config.attention_head_dim,
        "num_heads": config.num_attention_heads,
    }


def _prior_extras(model: Any) -> dict[str, Any]:
    statistics = zeros((1, model.config.embedding_dim), model.held)
    return {"clip_mean": statistics, "clip_std": statistics, "post_process_latents": lambda latents: latents}


def _normalizer_extras(model: Any) -> dict[str, Any]:
    mean = zeros((1, model.config.embedding_dim), model.held)
    return {"mean": mean, "std": mean + 1}


def _adapter_extras(model: Any) -> dict[str, Any]:
    factor, levels = model.config.downscale_factor, len(model.config.channels)
    unshuffle = SimpleNamespace(downscale_factor=factor)
    return {"adapter": SimpleNamespace(total_downscale_factor=factor * 2 ** (levels - 1), unshuffle=unshuffle)}


def _clip_extras(model: Any) -> dict[str, Any]:
    return {"text_model": SimpleNamespace(final_layer_norm=lambda states: states)}


def _flux_controlnet_extras(model: Any) -> dict[str, Any]:
    pixels = model.config.conditioning_embedding_channels is not None
    return {"input_hint_block": object() if pixels else None, "union": model.config.num_mode is not None}


def extras(model: Any, name: str) -> dict[str, Any]:
    """What pipelines ask of a model beside its configuration."""
    if name == "AutoencoderKLFlux2":
        return _flux_2_extras(model)
    if name.startswith(("Autoencoder", "VQModel")):
        return _vae_extras(model)
    return _EXTRAS.get(name, lambda _: {})(model)


_EXTRAS: Final[Mapping[str, Callable[[Any], dict[str, Any]]]] = {
    "CLIPTextModel": _clip_extras,
    "ControlNetUnionModel": lambda _: {"transformer_layes": []},
    "FluxControlNetModel": _flux_controlnet_extras,
    # Of mindone's transformers before 4.57, which one of its pipelines still asks for.
    "GPT2Model": lambda _: {
        "_get_initial_cache_position": lambda _, kwargs: kwargs,
        "_update_model_kwargs_for_generation": lambda _, kwargs: kwargs,
    },
    "HunyuanDiT2DModel": _hunyuan_dit_extras,
    "LuminaNextDiT2DModel": lambda model: {"head_dim": model.config.hidden_size // model.config.num_attention_heads},
    "PriorTransformer": _prior_extras,
    "StableUnCLIPImageNormalizer": _normalizer_extras,
    "T2IAdapter": _adapter_extras,
    "SiglipVisionModel": lambda _: {"vision_model": SimpleNamespace(use_head=False)},
    "UNet2DConditionModel": _unet_extras,
    "UnCLIPTextProjModel": lambda model: {"clip_extra_context_tokens": model.config.clip_extra_context_tokens},
    "UNetControlNetXSModel": lambda model: {
        "in_channels": 4,
        "base_add_embedding": _unet_extras(model)["add_embedding"],
    },
    "UNetMotionModel": _unet_extras,
    "UNetSpatioTemporalConditionModel": _unet_extras,
}
