"""Reads a pipeline folder's configurations and plans one trace per component: which class, where, which inputs.

Imports `contract` of this room, `attnfuse.errors` and the standard library; no MindSpore. What a pipeline passes
to each model is read from mindone 0.5.0's `pipelines/stable_diffusion*`:

- the UNet gets `sample`, `timestep` and `encoder_hidden_states`, doubled along the batch for classifier-free
  guidance; Stable Diffusion XL adds `text_embeds` and `time_ids`. The scheduler hands over one scalar timestep at
  a time, and the first thing the model does is give it an axis; the graph's input has that axis already. Its type
  is the scheduler's.
- the VAE decodes latents to an image and encodes an image to moments (mean and log-variance, side by side).
- text encoders get `input_ids`, and no mask.

An XL pipeline held in float16 runs its VAE in float32: there the weights come straight from the checkpoint, where
mindone would have rounded them to float16 and back.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnfuse.errors import SourceError, TraceError, UsageError
from attnfuse.tracing.contract import (
    COMPONENTS,
    FLOAT_DTYPES,
    ComponentPlan,
    Library,
    ShapeOptions,
    TensorSpec,
)

_Config = Mapping[str, Any]

#: The pipeline attribute that owns each component.
_MODEL_OF = {
    "unet": "unet",
    "vae_decoder": "vae",
    "vae_encoder": "vae",
    "text_encoder": "text_encoder",
    "text_encoder_2": "text_encoder_2",
}

#: The classes that can be traced as each pipeline attribute, and the library they come from.
_CLASSES: Mapping[str, Mapping[str, Library]] = {
    "unet": {"UNet2DConditionModel": "diffusers"},
    "vae": {"AutoencoderKL": "diffusers"},
    "text_encoder": {"CLIPTextModel": "transformers", "CLIPTextModelWithProjection": "transformers"},
    "text_encoder_2": {"CLIPTextModelWithProjection": "transformers"},
}

#: Entries of a model_index.json that hold no network, or one that the image does not pass through.
_NOT_COMPILED = frozenset(
    {"scheduler", "tokenizer", "tokenizer_2", "feature_extractor", "safety_checker", "image_encoder"}
)

#: Schedulers whose timesteps are float32 (mindone/diffusers/schedulers/*.py, `set_timesteps`); others have int64.
_FLOAT_TIMESTEP_SCHEDULERS = frozenset(
    {
        "DPMSolverSDEScheduler",
        "EulerAncestralDiscreteScheduler",
        "EulerDiscreteScheduler",
        "HeunDiscreteScheduler",
        "KDPM2AncestralDiscreteScheduler",
        "KDPM2DiscreteScheduler",
        "LMSDiscreteScheduler",
    }
)

#: UNet options that add inputs or branches which none of the supported pipelines feed.
_UNSUPPORTED_UNET_OPTIONS = (
    "class_embed_type",
    "encoder_hid_dim",
    "encoder_hid_dim_type",
    "num_class_embeds",
    "time_cond_proj_dim",
)

#: Text length where no text encoder is there to say it: that of every CLIP text encoder published.
_CLIP_TOKENS = 77

#: Numbers per image in SDXL's `time_ids`: original size, crop offset and target size.
_SDXL_TIME_IDS = 6


def plan_pipeline(
    folder: Path, dtype: str, shapes: ShapeOptions, components: Sequence[str] = ()
) -> tuple[ComponentPlan, ...]:
    """Plan the traces of the pipeline (or of the single model) in `folder`.

    `dtype` is one of float16, bfloat16, float32; `components` selects among `COMPONENTS`, none meaning all the
    pipeline has. Plans come in the order of `COMPONENTS`.

    Raises UsageError for a bad dtype, shape or component name, SourceError for a folder that is not a pipeline or
    is damaged, TraceError for a model class or option that cannot be traced.
    """
    if dtype not in FLOAT_DTYPES:
        raise UsageError(f"dtype {dtype!r} is not one of {', '.join(FLOAT_DTYPES)}.")
    _check_shapes(shapes)
    for name in components:
        if name not in COMPONENTS:
            raise UsageError(f"unknown component {name!r}; {_nearest(name, COMPONENTS)}.")

    pipeline = _read_pipeline(folder)
    present = [name for name in COMPONENTS if _MODEL_OF[name] in pipeline.classes]
    for name in components:
        if name not in present:
            raise UsageError(f"{folder} has no component {name!r}; it has {', '.join(present) or 'none'}.")
    if not components:
        _refuse_unsupported_parts(pipeline)
    wanted = [name for name in present if not components or name in components]
    if not wanted:
        raise TraceError(f"{folder} has nothing to compile: none of {', '.join(COMPONENTS)} is among its components.")
    sizes = _Sizes.of(pipeline, shapes, _read_configs(pipeline))
    return tuple(_plan_component(name, pipeline, dtype, sizes) for name in wanted)


@dataclass(frozen=True, slots=True)
class _Pipeline:
    """A model_index.json: the class of the pipeline and, by attribute, the class and folder of each part."""

    root: Path
    class_name: str
    classes: Mapping[str, str]
    folders: Mapping[str, Path]

    @property
    def is_xl(self) -> bool:
        return self.class_name.startswith("StableDiffusionXL") or "text_encoder_2" in self.classes


def _read_pipeline(folder: Path) -> _Pipeline:
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder.")
    index = folder / "model_index.json"
    if index.is_file():
        entries = _read_json(index)
        classes = {
            name: entry[1]
            for name, entry in entries.items()
            if isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry)
        }
        return _Pipeline(
            folder, str(entries.get("_class_name", "")), classes, {name: folder / name for name in classes}
        )
    if (folder / "config.json").is_file():
        return _read_single_model(folder)
    raise SourceError(
        f"{folder} is not a diffusers pipeline folder: it has no model_index.json (nor a config.json of one model)."
    )


def _read_single_model(folder: Path) -> _Pipeline:
    config = _read_json(folder / "config.json")
    architectures = config.get("architectures") or [None]
    class_name = config.get("_class_name", architectures[0])
    for model, known in _CLASSES.items():
        if class_name in known:
            return _Pipeline(folder, "", {model: class_name}, {model: folder})
    raise TraceError(f"{folder / 'config.json'}: model class {class_name} is not supported.")


def _refuse_unsupported_parts(pipeline: _Pipeline) -> None:
    for name, class_name in pipeline.classes.items():
        if name not in _CLASSES and name not in _NOT_COMPILED:
            raise TraceError(
                f"{pipeline.root / 'model_index.json'}: component {name} ({class_name}) is not supported;"
                " name the components to compile to leave it out."
            )


def _read_configs(pipeline: _Pipeline) -> Mapping[str, _Config]:
    """Read the config.json of every part that says something about shapes; a missing folder is an error."""
    configs: dict[str, _Config] = {}
    for model in _CLASSES:
        if model in pipeline.classes:
            if not pipeline.folders[model].is_dir():
                raise SourceError(
                    f"{pipeline.root / 'model_index.json'} names component {model},"
                    f" but there is no folder {pipeline.folders[model]}."
                )
            configs[model] = _read_json(pipeline.folders[model] / "config.json")
    if "scheduler" in pipeline.classes:
        configs["scheduler"] = {"_class_name": pipeline.classes["scheduler"]}
    return configs


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SourceError(f"{path} does not exist.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SourceError(f"{path} cannot be read as JSON: {error}.") from None
    if not isinstance(value, dict):
        raise SourceError(f"{path} does not hold a JSON object.")
    return value


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Everything the input shapes are made of. `height` and `width` are pixels, `scale` pixels per latent."""

    configs: Mapping[str, _Config]
    batch: int
    height: int
    width: int
    scale: int
    tokens: int

    @classmethod
    def of(cls, pipeline: _Pipeline, shapes: ShapeOptions, configs: Mapping[str, _Config]) -> _Sizes:
        # VaeImageProcessor's factor: each VAE block but the last halves the image; 8 where there is no VAE.
        scale = 2 ** (len(_numbers(configs, "vae", "block_out_channels", pipeline)) - 1) if "vae" in configs else 8
        height, width = shapes.height, shapes.width
        if height is None or width is None:
            default = _default_image(pipeline, configs, scale)
            height, width = height or default[0], width or default[1]
        for name, value in (("height", height), ("width", width)):
            if value % scale:
                raise UsageError(f"{name} {value} is not a multiple of {scale}, the VAE's downscaling.")
        tokens = _CLIP_TOKENS
        for model in ("text_encoder_2", "text_encoder"):
            if "max_position_embeddings" in configs.get(model, ()):
                tokens = _number(configs, model, "max_position_embeddings", pipeline)
        if shapes.sequence_length is not None:
            if {"text_encoder", "text_encoder_2"} & configs.keys() and shapes.sequence_length > tokens:
                raise UsageError(
                    f"sequence length {shapes.sequence_length} is more than the text encoder's {tokens} positions."
                )
            tokens = shapes.sequence_length
        return cls(configs, shapes.batch or 1, height, width, scale, tokens)


def _default_image(pipeline: _Pipeline, configs: Mapping[str, _Config], scale: int) -> tuple[int, int]:
    """Height and width in pixels: the UNet's sample size, or the VAE's where there is no UNet."""
    if "unet" in configs:
        size, factor = _numbers(configs, "unet", "sample_size", pipeline), scale
    elif "vae" in configs:
        size, factor = _numbers(configs, "vae", "sample_size", pipeline), 1
    else:
        return scale, scale
    return size[0] * factor, size[-1] * factor


def _plan_component(name: str, pipeline: _Pipeline, dtype: str, sizes: _Sizes) -> ComponentPlan:
    model = _MODEL_OF[name]
    class_name = pipeline.classes[model]
    library = _CLASSES[model].get(class_name)
    if library is None:
        raise TraceError(
            f"component {name}: class {class_name} is not supported; it must be {' or '.join(_CLASSES[model])}."
        )
    entry, held, inputs = _ENTRIES[name](model, pipeline, sizes, dtype)
    return ComponentPlan(name, model, class_name, library, pipeline.folders[model], entry, held, inputs)


_Entry = tuple[str, str, tuple[TensorSpec, ...]]


def _unet(model: str, pipeline: _Pipeline, sizes: _Sizes, dtype: str) -> _Entry:
    config = sizes.configs["unet"]
    for option in _UNSUPPORTED_UNET_OPTIONS:
        if config.get(option) is not None:
            raise TraceError(f"component unet: {option} = {config[option]!r} is not supported.")
    addition = config.get("addition_embed_type")
    if addition not in (None, "text_time"):
        raise TraceError(f"component unet: addition_embed_type = {addition!r} is not supported.")
    if config.get("attention_type", "default") != "default":
        raise TraceError(f"component unet: attention_type = {config['attention_type']!r} is not supported.")
    rows = 2 * sizes.batch
    scheduler = sizes.configs.get("scheduler", {}).get("_class_name")
    context = set(_numbers(sizes.configs, "unet", "cross_attention_dim", pipeline))
    if len(context) != 1:
        raise TraceError("component unet: a cross_attention_dim that differs from block to block is not supported.")
    channels = _number(sizes.configs, "unet", "in_channels", pipeline)
    inputs = [
        TensorSpec("sample", (rows, channels, sizes.height // sizes.scale, sizes.width // sizes.scale), dtype),
        TensorSpec("timestep", (1,), "float32" if scheduler in _FLOAT_TIMESTEP_SCHEDULERS else "int64"),
        TensorSpec("encoder_hidden_states", (rows, sizes.tokens, context.pop()), dtype),
    ]
    if addition is None:
        return "unet", dtype, tuple(inputs)
    width = _number(sizes.configs, "unet", "projection_class_embeddings_input_dim", pipeline)
    per_id = _number(sizes.configs, "unet", "addition_time_embed_dim", pipeline)
    text_width = width - _SDXL_TIME_IDS * per_id
    if "text_encoder_2" in sizes.configs:
        text_width = _number(sizes.configs, "text_encoder_2", "projection_dim", pipeline)
    ids, rest = divmod(width - text_width, per_id)
    if rest or ids < 1:
        raise SourceError(
            f"{pipeline.folders['unet'] / 'config.json'}: projection_class_embeddings_input_dim {width} does not"
            f" hold text embeddings of {text_width} and time ids of {per_id} each."
        )
    inputs.append(TensorSpec("text_embeds", (rows, text_width), dtype))
    inputs.append(TensorSpec("time_ids", (rows, ids), dtype))
    return "unet_xl", dtype, tuple(inputs)


def _vae_decoder(model: str, pipeline: _Pipeline, sizes: _Sizes, dtype: str) -> _Entry:
    # pipeline_stable_diffusion_xl.py: "make sure the VAE is in float32 mode, as it overflows in float16".
    held = "float32" if dtype == "float16" and _force_upcast(pipeline, sizes) else dtype
    channels = _number(sizes.configs, "vae", "latent_channels", pipeline)
    shape = (sizes.batch, channels, sizes.height // sizes.scale, sizes.width // sizes.scale)
    return "vae_decoder", held, (TensorSpec("latents", shape, held),)


def _vae_encoder(model: str, pipeline: _Pipeline, sizes: _Sizes, dtype: str) -> _Entry:
    # pipeline_stable_diffusion_xl_img2img.py upcasts for encoding whatever the type it comes from.
    held = "float32" if _force_upcast(pipeline, sizes) else dtype
    channels = _number(sizes.configs, "vae", "in_channels", pipeline)
    shape = (sizes.batch, channels, sizes.height, sizes.width)
    return "vae_encoder", held, (TensorSpec("image", shape, held),)


def _text_encoder(model: str, pipeline: _Pipeline, sizes: _Sizes, dtype: str) -> _Entry:
    if sizes.configs[model].get("use_attention_mask"):
        raise TraceError(f"component {model}: use_attention_mask is not supported.")
    shape = (sizes.batch, sizes.tokens)
    projected = "_projected" if pipeline.classes[model] == "CLIPTextModelWithProjection" else ""
    entry = f"text_encoder{projected}{'_xl' if pipeline.is_xl else ''}"
    return entry, dtype, (TensorSpec("input_ids", shape, "int64"),)


_ENTRIES: Mapping[str, Callable[[str, _Pipeline, _Sizes, str], _Entry]] = {
    "unet": _unet,
    "vae_decoder": _vae_decoder,
    "vae_encoder": _vae_encoder,
    "text_encoder": _text_encoder,
    "text_encoder_2": _text_encoder,
}


def _force_upcast(pipeline: _Pipeline, sizes: _Sizes) -> bool:
    """Whether the pipeline runs its VAE in float32: only XL looks at the option, which defaults to True."""
    return pipeline.is_xl and bool(sizes.configs["vae"].get("force_upcast", True))


def _numbers(configs: Mapping[str, _Config], model: str, key: str, pipeline: _Pipeline) -> list[int]:
    """Read a positive whole number, or a list of them, as a list; SourceError for anything else."""
    value = configs[model].get(key)
    values: list[Any] = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(number, int) and number > 0 for number in values):
        path = pipeline.folders[model] / "config.json"
        raise SourceError(f"{path}: {key} is {json.dumps(value)}, not a positive number or a list of them.")
    return values


def _number(configs: Mapping[str, _Config], model: str, key: str, pipeline: _Pipeline) -> int:
    """Read one positive whole number; SourceError for anything else."""
    values = _numbers(configs, model, key, pipeline)
    if len(values) != 1:
        raise SourceError(f"{pipeline.folders[model] / 'config.json'}: {key} is {values}, not one number.")
    return values[0]


def _check_shapes(shapes: ShapeOptions) -> None:
    for name in ("batch", "height", "width", "sequence_length"):
        value = getattr(shapes, name)
        if value is not None and value < 1:
            raise UsageError(f"{name.replace('_', ' ')} {value} is not a positive number.")


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"did you mean {close[0]!r}" if close else f"known are {', '.join(known)}"
