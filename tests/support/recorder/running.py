"""A pipeline of stubs, made and called: its folder of configurations, attnfuse's plans of it, what it called."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import mindspore
import numpy as np
from PIL import Image

from attnfuse.tracing.contract import ComponentPlan, ShapeOptions
from attnfuse.tracing.demo import write_json
from attnfuse.tracing.folder import IpAdapter, sibling_of
from attnfuse.tracing.parts import Terms
from attnfuse.tracing.plan import survey
from tests.support.recorder.comparing import differences
from tests.support.recorder.eager import eager
from tests.support.recorder.record import MASK, PICTURE, PICTURES, Embedding, Recording
from tests.support.recorder.stubs import Given, Recorded, processor_given, stub, zeros
from tests.support.recorder.table import RECORDINGS
from tests.support.recorder.words import Pictures, SeenPictures, Words
from tests.support.small_models import Small, write_configs

_DTYPE = "float16"
_SEVERAL = {
    "adapter_1": ("MultiAdapter", "adapter"),
    "controlnet_1": ("MultiControlNetModel", "controlnet"),
}
"""What a second model makes of the part of the first."""

_OF_WORDS = {
    "version": "1.0",
    "model": {"type": "WordLevel", "vocab": {"begin": 0, "end": 1, "word": 2}, "unk_token": "word"},
    "pre_tokenizer": {"type": "WhitespaceSplit"},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "begin", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "end", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            name: {"id": name, "ids": [number], "tokens": [name]} for number, name in enumerate(("begin", "end"))
        },
    },
}
"""A tokenizer that counts as `words.Words` does."""


def recorded(name: str, folder: Path) -> list[str]:
    """How the calls that a pipeline of the table makes of its models differ from attnfuse's plans of them.

    What is known to be no fault is left out; what is said to be known, and is not found, is told too.
    """
    recording = RECORDINGS[name]
    kind = name.partition(" ")[0]
    folder = _written(kind, recording, folder)
    parts = survey(folder, _DTYPE, recording.shapes, terms=Terms(with_weights=False, ip_adapter=recording.ip_adapter))
    plans = tuple(plan for part in parts for plan in part.plans)
    calls: list[Recorded] = []
    with eager():
        _run(kind, recording, plans, calls)
    found = list(differences(plans, calls, [part.model for part in parts if part.problem]))
    known = {each for each in recording.otherwise for difference in found if difference.startswith(each)}
    stale = [f"not found, and said to be known: {each}" for each in recording.otherwise if each not in known]
    return [each for each in found if not each.startswith(tuple(known))] + stale


def _written(name: str, recording: Recording, folder: Path) -> Path:
    write_configs(folder, Small(name, recording.models, recording.scheduler, recording.shapes, recording.options))
    for model in recording.models:
        if "text_encoder" in model:
            _write_tokenizer(folder, model.replace("text_encoder", "tokenizer"), recording)
        if model in _SEVERAL:
            _put_together(folder, *_SEVERAL[model], model)
    return folder


def _put_together(folder: Path, part: str, first: str, second: str) -> None:
    """Say of two models that they are one part, as a pipeline that has several does."""
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    del index[second]
    write_json(folder / "model_index.json", {**index, first: ["diffusers", part]})


def _write_tokenizer(folder: Path, tokenizer: str, recording: Recording) -> None:
    (folder / tokenizer).mkdir()
    if recording.counted:
        write_json(folder / tokenizer / "tokenizer.json", _OF_WORDS)
    write_json(folder / tokenizer / "tokenizer_config.json", {"model_max_length": recording.tokens.get(tokenizer, 77)})
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    write_json(folder / "model_index.json", {**index, tokenizer: ["transformers", "CLIPTokenizer"]})


def _run(name: str, recording: Recording, plans: tuple[ComponentPlan, ...], calls: list[Recorded]) -> None:
    pipelines = import_module("mindone.diffusers")
    kind = _class(pipelines, name)
    dtype = getattr(mindspore, _DTYPE)
    parts: dict[str, Any] = {}
    for part, config in recording.models.items():
        parts[part] = stub(part, config, dtype, calls, _sizes(part, config, plans))
    for second, (_, first) in _SEVERAL.items():
        if second in parts:
            parts[first] = _together(parts[first], parts.pop(second))
    schedulers = [getattr(pipelines, recording.scheduler).from_config(dict(recording.scheduler_options))]
    for parameter in inspect.signature(kind.__init__).parameters.values():
        if "tokenizer" in parameter.name and parameter.name not in parts:
            glm = recording.models.get("text_encoder", {}).get("model_type") == "chatglm"
            parts[parameter.name] = Words(recording.tokens.get(parameter.name, 77), with_positions=glm)
        elif parameter.name == "scheduler":
            parts["scheduler"] = schedulers[0]
        elif parameter.name.endswith("scheduler"):
            named = recording.options.get(parameter.name)
            schedulers.append(getattr(pipelines, named)() if isinstance(named, str) else schedulers[0])
            parts[parameter.name] = schedulers[-1]
        elif (
            parameter.name == "processor" and recording.models.get("text_encoder", {}).get("model_type") == "qwen2_5_vl"
        ):
            parts["processor"] = SeenPictures()
        elif parameter.name.endswith(("feature_extractor", "processor")) and parameter.name not in parts:
            parts[parameter.name] = Pictures(_side(recording))
        elif parameter.name == "vocoder":
            parts["vocoder"] = Vocoder()
        elif parameter.name in recording.options:
            parts[parameter.name] = recording.options[parameter.name]
        elif parameter.default is parameter.empty and parameter.name not in ("self", "kwargs"):
            parts.setdefault(parameter.name, None)
    if recording.ip_adapter is not None:
        _adapt(parts["unet"], recording.ip_adapter)
    pipeline = kind(**parts)
    pipeline.set_progress_bar_config(disable=True)
    with ExitStack() as stack:
        for kind_of_scheduler in {type(one) for one in schedulers}:
            stack.enter_context(mock.patch.object(kind_of_scheduler, "step", _step))
        stack.enter_context(_perturbed(calls))
        if recording.before[0]:
            getattr(pipeline, recording.before[0])(**_resolved(recording.before[1], recording.shapes))
        pipeline(**_arguments(kind, recording, pipeline))


def _adapt(unet: Any, adapter: IpAdapter) -> None:
    """Give a stub what pipelines ask of a UNet with an IP-Adapter: the class of what makes tokens of a picture."""
    from mindone.diffusers.models.embeddings import ImageProjection, IPAdapterPlusImageProjection

    kind: Any = ImageProjection if adapter.takes == "image_embeds" else IPAdapterPlusImageProjection
    projection = SimpleNamespace(image_projection_layers=[kind.__new__(kind)])
    object.__setattr__(unet, "encoder_hid_proj", projection)


def _together(first: Any, second: Any) -> Any:
    """Two models as the one part that the pipelines have; it has no parameters to be asked its type."""
    from mindone.diffusers import MultiAdapter
    from mindone.diffusers.models.controlnets.multicontrolnet import MultiControlNetModel

    kind = MultiAdapter if "Adapter" in type(first).__name__ else MultiControlNetModel
    made = type(kind.__name__, (kind,), {"dtype": first.held, "__module__": kind.__module__})
    return made([first, second])


def _perturbed(calls: list[Recorded]) -> Any:
    """`PAGMixin` gives processors to layers that it looks for by name, and stubs have none."""
    from mindone.diffusers.pipelines.pag.pag_utils import PAGMixin

    def give(self: Any, pag_applied_layers: list[str], do_classifier_free_guidance: bool) -> None:
        model = getattr(self, "unet", None) or self.transformer
        processor = self._pag_attn_processors[0 if do_classifier_free_guidance else 1]
        processor_given(model, processor, pag_applied_layers, calls)

    return mock.patch.object(PAGMixin, "_set_pag_attn_processor", give)


def _side(recording: Recording) -> int:
    """How large the pictures are that what looks at them takes."""
    lookers = [model for model in recording.models if model.endswith(("image_encoder", "depth_estimator"))]
    return int(recording.models[lookers[0]].get("image_size", 20)) if lookers else 20


def _module(name: str, **members: Any) -> Any:
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None)
    vars(made).update(members)
    return made


class Harmless:
    """A checker of texts and pictures that finds nothing."""

    def check_text_safety(self, *_: Any) -> bool:
        """As good."""
        return True

    def check_video_safety(self, video: Any) -> Any:
        """As it was."""
        return video

    def to(self, *_: Any, **__: Any) -> Harmless:
        """Nowhere."""
        return self


class Vocoder:
    """What makes sound of a spectrogram."""

    config = SimpleNamespace(upsample_rates=[2, 2], sampling_rate=8, model_in_dim=64)

    def __call__(self, spectrogram: Any) -> Any:
        return zeros((spectrogram.shape[0], spectrogram.shape[1] * 4), mindspore.float32)


def _class(pipelines: Any, name: str) -> Any:
    """The pipeline's class. What its module wants of other libraries, and a call does not need, is stood in for."""
    if "Cosmos" in name:
        guardrail = "mindone.diffusers.pipelines.cosmos._cosmos_guardrail"
        sys.modules.setdefault(guardrail, _module(guardrail, CosmosSafetyChecker=Harmless))
    if "AudioLDM2" in name:
        sys.modules.setdefault("librosa", _module("librosa"))
    kind = getattr(pipelines, name)
    module: Any = sys.modules[kind.__module__]
    if not hasattr(module, "ftfy"):
        module.ftfy = SimpleNamespace(fix_text=lambda text: text)
    # Classes that were renamed may no longer be made, for diffusers is newer than they were meant to last.
    if hasattr(module, "deprecate"):
        module.deprecate = lambda *_, **__: None
    return kind


def _step(self: Any, model_output: Any, timestep: Any, sample: Any, *_: Any, **__: Any) -> Any:
    """The sample as it was: what a scheduler works out is not asked here."""
    del self, model_output, timestep
    return Given(sample, sample, prev_sample=sample, pred_original_sample=sample)


def _arguments(kind: Any, recording: Recording, pipeline: Any) -> dict[str, Any]:
    known = inspect.signature(kind.__call__).parameters
    shapes = recording.shapes
    offered: dict[str, Any] = {
        "prompt": "word " * recording.words,
        "negative_prompt": "word " * recording.words,
        "num_inference_steps": 4 if "strength" in known else 2,
        "strength": 0.75,
        "height": shapes.height,
        "width": shapes.width,
        "num_frames": shapes.frames,
        "video_length": shapes.frames,
        "generator": np.random.default_rng(0),
        "output_type": "np",
        **recording.call,
    }
    return _resolved({name: v for name, v in offered.items() if name in known and v is not None}, shapes)


def _resolved(arguments: Mapping[str, Any], shapes: ShapeOptions) -> dict[str, Any]:
    """Arguments, with pictures and tensors for what stands for them."""
    height, width = shapes.height or 16, shapes.width or 16
    return {name: _made(value, height, width, shapes.frames or 1) for name, value in arguments.items()}


def _made(value: Any, height: int, width: int, frames: int) -> Any:
    if isinstance(value, list):
        return [_made(each, height, width, frames) for each in value]
    if isinstance(value, Embedding):
        return zeros(value.shape, getattr(mindspore, _DTYPE))
    if value == PICTURE:
        return Image.new("RGB", (width, height))
    if value == MASK:
        return Image.new("L", (width, height), 255)
    if value == PICTURES:
        return [Image.new("RGB", (width, height))] * frames
    return value


def _sizes(part: str, config: Mapping[str, Any], plans: tuple[ComponentPlan, ...]) -> dict[str, Any]:
    """What a stub has to know to give tensors of the right shape."""
    name = config.get("_class_name", "")
    if sibling_of(part) == "controlnet":
        takers = [plan for plan in plans if plan.model in ("unet", "transformer")]
        specs = [spec for plan in takers for spec in plan.inputs]
        groups = [
            [spec.shape for spec in specs if spec.name.startswith(starts)]
            for starts in (("down_block", "mid_block", "controlnet_block"), ("controlnet_single_block",))
        ]
        return {"controls": groups, "is_unet": any(plan.model == "unet" for plan in takers)}
    if sibling_of(part) == "adapter":
        specs = [spec for plan in plans for spec in plan.inputs if spec.name.startswith("adapter_feature")]
        return {"features": [spec.shape for spec in specs]}
    if part not in ("vae", "movq", "vqgan"):
        return {}
    widths = config.get("block_out_channels") or config.get("encoder_block_out_channels") or []
    spatial, temporal = 2 ** (len(widths) - 1) if widths else 8, config.get("temporal_compression_ratio", 4)
    match name:
        case "AutoencoderKLLTXVideo":
            spatial, temporal = 32, 8
        case "AutoencoderKLCosmos":
            spatial, temporal = 8, 8
        case "PaellaVQModel":
            spatial = 4
        case "AutoencoderKLMochi":
            spatial, temporal = 8, 6
        case "AutoencoderOobleck":
            spatial = int(np.prod(config["downsampling_ratios"]))
    latents = config.get("latent_channels") or config.get("z_dim") or config.get("decoder_input_channels")
    plain = name in ("VQModel", "AutoencoderDC", "AutoencoderKLCosmos", "AutoencoderTiny")
    return {
        "spatial": spatial,
        "temporal": temporal,
        "latent_channels": latents,
        "pixel_channels": config.get("audio_channels", 3),
        "plain_latents": plain,
    }
