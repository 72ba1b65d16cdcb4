"""Pipelines of mindone, and the runtime's loops over the same models: `python -m tests.support.loops`.

Prints, as its last line, what they came to, as JSON: for each case the largest difference of latents, as a share of the
largest, and of pictures, whose levels go from 0 to 1. The models are small functions in numpy, the same for both, so
that what differs is the loop. Then, of texts, whether the runtime's tokenizer gives the numbers of transformers'.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from attnfuse.tracing.demo import write_json, write_tokenizer
from attnfuse_runtime.manifest import Component, Manifest, Tensor
from attnfuse_runtime.noise import Array
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.text_to_image import TextToImage
from attnfuse_runtime.tokenizer import Tokenizer

WIDTH, TOKENS, SIZE, SEED = 8, 16, 8, 5
LATENTS: Final = (4, SIZE, SIZE)
PROMPTS: Final = ("A cat, 2 dogs & a Bird's nest", "snow")
TEXTS: Final = (
    "Hello, a CAT's   hat\n& 12 cats!",
    "",
    "Ünïcode — naïve café, e\u0301 Straße",
    "<|endoftext|> hello <|startoftext|>",
    "hello " * 20,
    "it's we'll they've I'd 3.14",
    "\U0001f431 on a mat",
)
_SCHEDULE: Final = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
_SCHEDULERS: Final[Mapping[str, dict[str, Any]]] = {
    "DDIMScheduler": {**_SCHEDULE, "clip_sample": False},
    "EulerAncestralDiscreteScheduler": {**_SCHEDULE, "timestep_spacing": "leading"},
}

CASES: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "one": ("DDIMScheduler", {"prompt": PROMPTS[0]}),
    "negative": ("DDIMScheduler", {"prompt": [*PROMPTS], "negative_prompt": ["rain", ""], "guidance_scale": 3.0}),
    "off": ("DDIMScheduler", {"prompt": [*PROMPTS], "guidance_scale": 1.0}),
    "ancestral": ("EulerAncestralDiscreteScheduler", {"prompt": PROMPTS[1]}),
}
"""Scheduler and arguments, as mindone has them. The UNet's graph takes one row, or both of guidance."""


def _made(folder: Path, *, xl: bool) -> Any:
    """The pipeline, and what the runtime reads of its folder."""
    from mindone import diffusers, transformers
    from transformers import CLIPTextConfig, CLIPTokenizer

    config = CLIPTextConfig(
        vocab_size=514,
        hidden_size=WIDTH,
        intermediate_size=16,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    blocks = {"block_out_channels": (WIDTH, 2 * WIDTH), "norm_num_groups": 2, "layers_per_block": 1}
    added = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 2,
        "projection_class_embeddings_input_dim": 6 * 2 + WIDTH,
    }
    parts: dict[str, Any] = {"text_encoder": transformers.CLIPTextModel(config)}
    if xl:
        parts["text_encoder_2"] = transformers.CLIPTextModelWithProjection(config)
    for name in ["tokenizer", "tokenizer_2"][: len(parts)]:
        (folder / name).mkdir()
        write_tokenizer(folder / name, TOKENS)
        parts[name] = CLIPTokenizer.from_pretrained(str(folder / name))
    parts["unet"] = diffusers.UNet2DConditionModel(
        **{**blocks, **(added if xl else {}), "sample_size": SIZE, "attention_head_dim": 2},
        cross_attention_dim=WIDTH * (1 + xl),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    parts["vae"] = diffusers.AutoencoderKL(
        **{**blocks, "latent_channels": LATENTS[0], "sample_size": 2 * SIZE},
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )
    kind = "StableDiffusionXLPipeline" if xl else "StableDiffusionPipeline"
    write_json(folder / "model_index.json", {"_class_name": kind, **{name: ["a", "b"] for name in parts}})
    for name in ("vae", "scheduler"):
        (folder / name).mkdir()
    write_json(folder / "vae" / "config.json", {"scaling_factor": parts["vae"].config.scaling_factor})
    rest = {} if xl else {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipe = getattr(diffusers, kind)(scheduler=diffusers.DDIMScheduler(), **parts, **rest)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def components(*, xl: bool, rows: int, timestep: str) -> dict[str, Component]:
    """As a manifest has them, for one image a run."""
    ids, states, pooled = {"input_ids": (1, TOKENS)}, (1, TOKENS, WIDTH), (1, WIDTH)
    inputs: dict[str, tuple[int, ...]] = {"sample": (rows, *LATENTS), "timestep": (1,)}
    inputs["encoder_hidden_states"] = (rows, TOKENS, WIDTH * (1 + xl))
    if xl:
        inputs |= {"text_embeds": (rows, WIDTH), "time_ids": (rows, 6)}
    state = "penultimate_hidden_state" if xl else "last_hidden_state"
    types = {"input_ids": "int64", "timestep": timestep}

    def component(name: str, takes: Mapping[str, tuple[int, ...]], gives: Mapping[str, tuple[int, ...]]) -> Component:
        inputs, outputs = (
            tuple(Tensor(of, shape, types.get(of, "float32")) for of, shape in side.items()) for side in (takes, gives)
        )
        return Component(name, name, Path(), (), inputs, outputs)

    found = [
        component("text_encoder", ids, {state: states, "pooler_output": pooled}),
        component("unet", inputs, {"sample": (rows, *LATENTS)}),
        component("vae_decoder", {"latents": (1, *LATENTS)}, {"image": (1, 3, 2 * SIZE, 2 * SIZE)}),
        component("text_encoder_2", ids, {state: states, "text_embeds": pooled}),
    ]
    return {one.name: one for one in found if xl or one.name != "text_encoder_2"}


_DRAWN: Final = np.random.default_rng(SEED).standard_normal((514, WIDTH)).astype(np.float32)


def text_encoder(ids: Array, *, second: bool) -> tuple[Array, Array]:
    """States and a pooled text, which tell tokens and their places."""
    states = _DRAWN[ids] * np.linspace(1, 2, ids.shape[1], dtype=np.float32)[:, None] * (-1 if second else 1)
    return states, states.sum(axis=1)


def unet(sample: Array, timestep: float, states: Array, text_embeds: Array | None, time_ids: Array | None) -> Array:
    """Something of all that goes in, another number for each row."""
    told = np.tanh(states.mean(axis=1)[:, :4])
    if text_embeds is not None and time_ids is not None:
        told = told + np.tanh(text_embeds[:, :4]) + time_ids.sum(axis=1, keepdims=True) / 100
    return np.asarray(np.tanh(sample) + told[:, :, None, None] * np.float32(1 + timestep / 1000), np.float32)


def decoder(latents: Array) -> Array:
    """A picture of twice the size."""
    return np.asarray(np.tanh(latents[:, :3].repeat(2, axis=2).repeat(2, axis=3) / 8))


class Models:
    """The runtime's backend."""

    def load(self, component: Component) -> Callable[[Mapping[str, Array]], list[Array]]:
        def run(given: Mapping[str, Array]) -> list[Array]:
            if component.name == "unet":
                time, added = float(given["timestep"][0]), (given.get("text_embeds"), given.get("time_ids"))
                return [unet(given["sample"], time, given["encoder_hidden_states"], *added)]
            if component.name == "vae_decoder":
                return [decoder(given["latents"])]
            return [*text_encoder(given["input_ids"], second=component.name == "text_encoder_2")]

        return run


def _replace(pipe: Any, *, xl: bool) -> None:
    """The same functions in place of mindone's models: those lack kernels on a CPU."""
    import mindspore as ms

    def denoised(sample: Any, timestep: Any, encoder_hidden_states: Any, **options: Any) -> Any:
        added = options.get("added_cond_kwargs") or {}
        arrays = [added[name].asnumpy() if name in added else None for name in ("text_embeds", "time_ids")]
        states = encoder_hidden_states.asnumpy()
        return (ms.Tensor(unet(sample.asnumpy(), float(timestep), states, *arrays)),)

    def encoded(second: bool) -> Any:
        def call(ids: Any, **options: Any) -> Any:
            states, pooled = map(ms.Tensor, text_encoder(ids.asnumpy(), second=second))
            # With hidden states the last but one is taken; of the second encoder the pooled text is first.
            return (pooled if second else states, states if second else pooled, (states, None) if xl else ())

        return call

    pipe.unet.construct = denoised
    pipe.vae.decode = lambda latents, return_dict: (ms.Tensor(decoder(latents.asnumpy())),)
    pipe.text_encoder.construct = encoded(second=False)
    if xl:
        pipe.text_encoder_2.construct = encoded(second=True)


def _apart(pipe: Any, folder: Path, kind: str, given: dict[str, Any], *, xl: bool) -> dict[str, float]:
    """The largest differences, over both numbers of rows."""
    from mindone import diffusers

    pipe.scheduler = getattr(diffusers, kind)(**_SCHEDULERS[kind])
    write_json(folder / "scheduler" / "scheduler_config.json", {"_class_name": kind, **_SCHEDULERS[kind]})
    seen: list[Array] = []

    def note(pipe: Any, number: int, time: Any, values: dict[str, Any]) -> dict[str, Any]:
        seen.append(values["latents"].asnumpy())
        return {}

    theirs = pipe(
        **{**given, "num_inference_steps": 2, "output_type": "np", "generator": np.random.default_rng(SEED)},
        callback_on_step_end=note,
    )[0]
    arguments = {**given}
    prompts, negative = arguments.pop("prompt"), arguments.pop("negative_prompt", None)
    apart = {"latents": 0.0, "pictures": 0.0}
    for rows in (1, 2):
        graphs = components(xl=xl, rows=rows, timestep="float32" if kind.startswith("Euler") else "int64")
        loop = TextToImage(Pipeline(Manifest(folder, "lite", "", graphs), Models()), folder)
        mine: list[Array] = []

        def keep(number: int, time: float, latents: Array, mine: list[Array] = mine) -> None:
            mine.append(latents)

        found = loop(prompts, negative, **arguments, steps=2, seed=SEED, callback=keep)
        levels = np.stack([np.asarray(one) for one in found.images]) / 255
        largest = [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(mine, seen, strict=True)]
        apart["latents"] = max(apart["latents"], *largest)
        apart["pictures"] = max(apart["pictures"], float(np.abs(levels - theirs).max()))
    return apart


def _tokens(folder: Path) -> dict[str, bool]:
    """For each text, whether numbers and padding are those of transformers' own, the plain and the fast one."""
    from transformers import CLIPTokenizer, CLIPTokenizerFast

    vocabulary = json.loads((folder / "vocab.json").read_text())
    merges = ["h e", "l l", "he ll", "hell o</w>", "c a", "ca t</w>"]
    for merge in merges:
        vocabulary.setdefault(merge.replace(" ", ""), len(vocabulary))
    write_json(folder / "vocab.json", vocabulary)
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    own = [kind.from_pretrained(str(folder)) for kind in (CLIPTokenizer, CLIPTokenizerFast)]
    mine = Tokenizer.from_folder(folder)
    options = {"padding": "max_length", "truncation": True, "max_length": TOKENS, "return_tensors": "np"}
    found = {}
    for text in TEXTS:
        tokens = mine([text])
        wanted = [one(text, **options) for one in own]
        found[text] = all(
            np.array_equal(one.input_ids, tokens.ids) and np.array_equal(one.attention_mask, tokens.mask)
            for one in wanted
        )
    return found


def main() -> None:
    """Every case of each pipeline, then the texts."""
    import mindspore as ms

    from attnfuse.tracing.patches import cpu_patches

    ms.mint.zeros_like = lambda value: value * 0  # another kernel that is missing on a CPU
    found: dict[str, Any] = {}
    for xl in (False, True):
        with tempfile.TemporaryDirectory() as folder, cpu_patches():
            pipe = _made(Path(folder), xl=xl)
            _replace(pipe, xl=xl)
            for name, (kind, given) in CASES.items():
                found[f"{'xl' if xl else 'sd'}-{name}"] = _apart(pipe, Path(folder), kind, given, xl=xl)
            found["texts"] = _tokens(Path(folder) / "tokenizer")
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
