"""Pipelines of films in mindone, and the runtime's loops over the same models: `python -m tests.support.film_loops`.

Qwen-Image's is among them. Prints, as its last line, what they came to, as `tests.support.loops` does: for each case
the largest difference of latents after any step, as a share of the largest, and of frames, whose levels go from 0 to 1.
The models are `film_models`, the same for both, so that what differs is the loop. UniPC's steps are mindone's own
formulas in float64 (see `in_numpy`): MindSpore lacks a kernel on a CPU.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from unittest import mock

import numpy as np
from PIL import Image

from attnfuse.tracing.demo import write_json
from attnfuse_runtime.films import ImageProcessor
from attnfuse_runtime.noise import Array
from tests.support import in_numpy
from tests.support.film_models import (
    FLOW,
    KINDS,
    QWEN_TOKENS,
    SIDE,
    TOKENS,
    Kind,
    components,
    decoded,
    denoised,
    encoded,
    loop,
    picture_loop,
    picture_states,
    text_states,
    write_pipeline,
)
from tests.support.small_models import encoders, videos
from tests.support.small_models.pictures import QWEN_IMAGE
from tests.support.small_models.record import T5, UMT5

SEED, STEPS = 5, 3
PROMPTS: Final = ("A cat, 2 dogs   and a Bird's nest", "snow")
_BOTH: Final[dict[str, Any]] = {"prompt": [*PROMPTS], "negative_prompt": ["rain", ""], "guidance_scale": 3.0}
_OFF: Final[dict[str, Any]] = {"prompt": PROMPTS[1], "guidance_scale": 1.0}
_ONE: Final[dict[str, Any]] = {"prompt": PROMPTS[0]}
_EULER: Final[dict[str, Any]] = {"_class_name": FLOW["_class_name"], "shift": 5.0}

CASES: Final[Mapping[str, Mapping[str, dict[str, Any]]]] = {
    "wan": {"one": _ONE, "two": _BOTH, "off": _OFF, "euler": _ONE},
    "wan_two": {"one": {**_ONE, "guidance_scale_2": 2.0}, "same": _BOTH},
    "wan_apart": {"two": _BOTH},
    "wan_image": {"one": _ONE, "two": _BOTH, "off": _OFF},
    "wan_last": {"two": _BOTH},
    "wan_image_two": {"one": _ONE, "last": _ONE},
    "wan_image_apart": {"two": _BOTH},
    "ltx": {"one": _ONE, "two": _BOTH, "off": _OFF},
    "ltx_noise": {"one": _ONE, "noise": {**_BOTH, "decode_timestep": 0.05, "decode_noise_scale": 0.025}},
    "ltx_image": {"one": {"prompt": PROMPTS[1]}, "off": _OFF},  # mindone's fails where it cuts a text off
    "qwen": {
        "one": _ONE,
        "two": {"prompt": [*PROMPTS], "negative_prompt": ["rain", " "], "true_cfg_scale": 3.0},
        "default": {"prompt": PROMPTS[1], "negative_prompt": "rain and wind"},
    },
}
"""Arguments, as mindone has them. The transformer's graph takes one row, or two."""


def pictures(kind: Kind) -> dict[str, Image.Image]:
    """Of other sizes than films: the one that they begin with, and the one that they end with."""
    levels = np.random.default_rng(3).integers(0, 256, (2, 23, 37, 3), np.uint8)
    names = ("image", "last_image")[: kind.given or kind.pictures]
    return {name: Image.fromarray(one) for name, one in zip(names, levels, strict=False)}


def _config(part: str, of: Kind) -> dict[str, Any]:
    """Of a part's stub: what pipelines ask of it."""
    qwen, wan = of.name.startswith("Qwen"), of.name.startswith("Wan")
    if part == "text_encoder":
        return encoders.QWEN_2_5_VL if qwen else UMT5 if wan else T5
    if part == "image_encoder":
        return {**encoders.CLIP_VISION, "architectures": ["CLIPVisionModel"], "image_size": SIDE}
    if part == "vae":
        name = "AutoencoderKLQwenImage" if qwen else "AutoencoderKLWan" if wan else "AutoencoderKLLTXVideo"
        return {"_class_name": name, **of.vae}
    if qwen:
        return {**QWEN_IMAGE, "in_channels": 4 * of.latents[0]}
    config = videos.WAN if wan else {**videos.LTX, "in_channels": of.latents[0]}
    return {**config, "image_dim": 24 if of.given else None} if wan else config


def _model(part: str, of: Kind) -> Any:
    """A model of mindone's class that computes what `film_models` does."""
    import mindspore as ms

    from tests.support.recorder.stubs import stub

    sizes = {"spatial": of.factors[1], "temporal": of.factors[0], "latent_channels": of.latents[0]}
    model = stub(part, _config(part, of), ms.float32, [], {**sizes, "pixel_channels": 3, "plain_latents": False})
    kind: Any = type(model)

    def denoise(self: Any, **given: Any) -> Any:
        named = {name: one.asnumpy() for name, one in given.items() if isinstance(one, ms.Tensor)}
        named.pop("encoder_hidden_states_mask", None)  # which Qwen-Image's reads nowhere
        if named["timestep"].ndim == 2:
            named["patch_timesteps" if of.apart else "token_timesteps"] = named.pop("timestep")
        return (ms.Tensor(denoised(named, second=part == "transformer_2")),)

    def read(self: Any, input_ids: Any, attention_mask: Any = None, **_: Any) -> Any:
        mask = None if attention_mask is None else attention_mask.asnumpy()
        states = ms.Tensor(text_states(input_ids.asnumpy(), mask))
        return SimpleNamespace(hidden_states=(None, states)) if of.name.startswith("Qwen") else (states,)

    def see(self: Any, pixel_values: Any, **_: Any) -> Any:
        states = ms.Tensor(picture_states(pixel_values.asnumpy()))
        return (None, None, (states, None))

    def decode(self: Any, latents: Any, timestep: Any = None, **_: Any) -> Any:
        return (ms.Tensor(decoded(latents.asnumpy(), of.factors, None if timestep is None else timestep.asnumpy())),)

    def encode(self: Any, video: Any, **_: Any) -> Any:
        return (ms.Tensor(encoded(video.asnumpy(), of.factors, of.latents[0])),)

    if part == "vae":
        from mindone.diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

        kind.decode, kind.encode = decode, encode
        object.__setattr__(model, "diag_gauss_dist", DiagonalGaussianDistribution())
        object.__setattr__(model, "temperal_downsample", of.vae.get("temperal_downsample"))
        for name in ("latents_mean", "latents_std"):
            object.__setattr__(model, name, ms.Tensor(KINDS["wan"].vae[name], ms.float32))
    else:
        kind.__call__ = {"text_encoder": read, "image_encoder": see}.get(part, denoise)
    return model


def _made(kind: str, folder: Path) -> Any:
    import mindone.diffusers
    from transformers import CLIPImageProcessor, PreTrainedTokenizerFast, T5TokenizerFast

    of = KINDS[kind]
    tokenizer = PreTrainedTokenizerFast if kind == "qwen" else T5TokenizerFast
    parts = {"tokenizer": tokenizer.from_pretrained(str(folder / "tokenizer"))}
    for part in ("text_encoder", "transformer", "vae", *(["transformer_2"] if of.second else [])):
        parts[part] = _model(part, of)
    if of.given:
        parts["image_encoder"] = _model("image_encoder", of)
        parts["image_processor"] = CLIPImageProcessor.from_pretrained(str(folder / "image_processor"))
    made = getattr(mindone.diffusers, of.name)
    module: Any = sys.modules[made.__module__]
    module.ftfy = SimpleNamespace(fix_text=lambda text: text)  # which leaves these prompts as they are
    pipe = made(scheduler=None, **parts, **of.index)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _scheduler(config: Mapping[str, Any]) -> Any:
    """Mindone's. Of UniPC tables are MindSpore's, and steps numpy's in float64."""
    import mindspore as ms
    from mindone import diffusers

    options = {name: value for name, value in config.items() if name != "_class_name"}
    made = getattr(diffusers, config["_class_name"])(**options)
    if not config["_class_name"].startswith("UniPC"):
        return made
    module: Any = sys.modules[type(made).__module__]
    own = made.step

    def step(output: Any, timestep: Any, sample: Any, **_: Any) -> Any:
        tables = {name: getattr(made, name) for name in ("timesteps", "sigmas")}
        names = {name: value for name, value in in_numpy.NAMES.items() if hasattr(module, name)}
        with mock.patch.multiple(module, **names):
            vars(made).update({name: in_numpy.tensor(value.asnumpy()) for name, value in tables.items()})
            given = (in_numpy.tensor(one.asnumpy()) for one in (output, sample))
            found = own(next(given), int(timestep), next(given))[0]
            vars(made).update(tables)
        return (ms.Tensor(np.asarray(found), ms.float32),)

    made.step = step
    return made


@contextmanager
def _kernels() -> Iterator[None]:
    """What pipelines call beside their models, and a CPU has no kernel for."""
    import mindspore as ms
    from mindspore import mint

    from tests.support.recorder.eager import array, eager, tensor

    def repeated(x: Any, *, dim: int, repeats: int) -> Any:
        return tensor(np.repeat(array(x), repeats, axis=dim))

    with ExitStack() as stack:
        stack.enter_context(eager())
        stack.enter_context(mock.patch.object(mint, "repeat_interleave", repeated))
        stack.enter_context(mock.patch.object(ms.Tensor, "tile", lambda x, dims: tensor(np.tile(array(x), dims))))
        yield


def _apart(pipe: Any, folder: Path, kind: str, name: str) -> dict[str, float]:
    """The largest differences, over both numbers of rows."""
    of, given = KINDS[kind], CASES[kind][name]
    scheduler = _EULER if name == "euler" else of.scheduler
    write_json(folder / "scheduler/scheduler_config.json", scheduler)
    pipe.scheduler = _scheduler(scheduler)
    seen: list[Array] = []

    def note(pipe: Any, number: int, time: Any, values: dict[str, Any]) -> dict[str, Any]:
        seen.append(values["latents"].asnumpy())
        return {}

    height, width = of.size
    shown: dict[str, Any] = {**pictures(of)}
    if name == "last":
        shown["last_image"] = shown["image"].rotate(180)
    asked = {"height": height, "width": width, "max_sequence_length": QWEN_TOKENS if kind == "qwen" else TOKENS}
    asked |= {} if kind == "qwen" else {"num_frames": of.frames}
    theirs = pipe(
        **{**given, **asked, **shown},
        num_inference_steps=STEPS,
        output_type="np",
        generator=np.random.default_rng(SEED),
        callback_on_step_end=note,
    )[0]
    arguments = {**given}
    prompts, negative = arguments.pop("prompt"), arguments.pop("negative_prompt", None)
    apart = {"latents": 0.0, "frames": 0.0}
    for rows in (1, 2):
        graphs = components(kind, rows=rows, whole=scheduler["_class_name"].startswith("UniPC"))
        mine: list[Array] = []

        def keep(number: int, time: float, latents: Array, mine: list[Array] = mine) -> None:
            mine.append(latents)

        common = {**arguments, "steps": STEPS, "seed": SEED, "callback": keep}
        if kind == "qwen":
            images = picture_loop(folder, graphs)(prompts, negative, **common).images
        else:
            images = loop(folder, kind, graphs)(prompts, negative, **common, **shown).images
        levels = np.stack([np.asarray(one) for one in images]) / 255
        largest = [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(mine, seen, strict=True)]
        apart["latents"] = max(apart["latents"], *largest)
        apart["frames"] = max(apart["frames"], float(np.abs(levels - theirs.reshape(levels.shape)).max()))
    return apart


def _prepared() -> list[bool]:
    """For each configuration, whether a picture is prepared for an image encoder as transformers does."""
    from transformers import CLIPImageProcessor

    picture = next(iter(pictures(KINDS["wan_image"]).values()))
    means = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
    found = []
    for config in (
        {"size": {"shortest_edge": 20}, "crop_size": {"height": 20, "width": 20}, "resample": 3},
        {"size": {"height": 18, "width": 30}, "crop_size": {"height": 16, "width": 20}, "resample": 2},
        {"size": 25, "crop_size": 24, "rescale_factor": 0.004},
    ):
        wanted = CLIPImageProcessor(**config, **means)(picture, return_tensors="np")["pixel_values"]
        mine = ImageProcessor.of({**config, **means})(picture)
        found.append(mine.dtype == wanted.dtype and np.array_equal(mine, wanted))
    return found


def main(kinds: list[str]) -> None:
    """Every case of each pipeline, then pictures for image encoders."""
    found: dict[str, Any] = {}
    for kind in kinds or CASES:
        with tempfile.TemporaryDirectory() as folder, _kernels():
            write_pipeline(Path(folder), kind)
            pipe = _made(kind, Path(folder))
            for name in CASES[kind]:
                found[f"{kind}-{name}"] = _apart(pipe, Path(folder), kind, name)
    found["prepared"] = _prepared()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
