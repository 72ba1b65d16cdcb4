"""Pipelines of mindone, and the runtime's loops over the same models: `python -m tests.support.loops`.

Prints, as its last line, what they came to, as JSON: for each case the largest difference of latents, as a share of the
largest, and of pictures, whose levels go from 0 to 1. The models are `loop_models`, the same for both, so that what
differs is the loop. Then, of texts, whether the runtime's tokenizer gives the numbers of transformers'.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from attnfuse.tracing.demo import write_json
from attnfuse_runtime.noise import Array
from attnfuse_runtime.tokenizer import Tokenizer
from tests.support import picture_loops
from tests.support.loop_models import (
    CLASSES,
    ENCODERS,
    LATENTS,
    SEED,
    SIZE,
    T5,
    T5_TOKENS,
    T5_WIDTH,
    TOKENS,
    WIDTH,
    clip,
    components,
    decoder,
    denoised,
    loop,
    t5,
    write_pipeline,
)

PROMPTS: Final = ("A cat, 2 dogs & a Bird's nest", "snow")
LONG: Final = "the snow lies on old hills"
"""Of two chunks, in letters."""
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
    "FlowMatchEulerDiscreteScheduler": {"shift": 3.0},
    "dynamic": {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True},
}

_GUIDED: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "one": ("DDIMScheduler", {"prompt": PROMPTS[0]}),
    "negative": ("DDIMScheduler", {"prompt": [*PROMPTS], "negative_prompt": ["rain", ""], "guidance_scale": 3.0}),
    "off": ("DDIMScheduler", {"prompt": [*PROMPTS], "guidance_scale": 1.0}),
    "ancestral": ("EulerAncestralDiscreteScheduler", {"prompt": PROMPTS[1]}),
    "long": ("DDIMScheduler", {"prompt": LONG, "negative_prompt": "rain"}),
    "long-off": ("DDIMScheduler", {"prompt": LONG, "guidance_scale": 1.0}),
}
_FLOW: Final = "FlowMatchEulerDiscreteScheduler"
CASES: Final[Mapping[str, Mapping[str, tuple[str, dict[str, Any]]]]] = {
    "sd": _GUIDED,
    "xl": _GUIDED,
    "sd3": {
        "one": (_FLOW, {"prompt": PROMPTS[0]}),
        "negative": ("dynamic", {"prompt": [*PROMPTS], "negative_prompt": ["rain", ""], "guidance_scale": 3.0}),
        "off": (_FLOW, {"prompt": [*PROMPTS], "guidance_scale": 1.0}),
        "long": (_FLOW, {"prompt": LONG, "negative_prompt": "rain"}),
        "text_encoder_3": ("dynamic", {"prompt": PROMPTS[1]}),
    },
    "flux": {
        "one": ("dynamic", {"prompt": PROMPTS[0]}),
        "two": (_FLOW, {"prompt": [*PROMPTS], "guidance_scale": 2.0}),
        "negative": ("dynamic", {"prompt": [*PROMPTS], "negative_prompt": ["rain", ""], "true_cfg_scale": 3.0}),
        "guidance": (_FLOW, {"prompt": PROMPTS[1]}),
    },
}
"""Scheduler and arguments, as mindone has them. The denoiser's graph takes one row, or two; a case that is called after
a text encoder or an input is without it."""


def _text_encoders(kind: str, folder: Path, without: str) -> dict[str, Any]:
    from mindone import transformers
    from transformers import CLIPTextConfig, CLIPTokenizer, T5Config, T5TokenizerFast

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
    parts: dict[str, Any] = {}
    for name in ENCODERS[kind]:
        tokenizer = name.replace("text_encoder", "tokenizer")
        if name == without:
            parts |= {name: None, tokenizer: None}
        elif name == T5.get(kind):
            sizes = {"d_model": T5_WIDTH, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
            parts[name] = transformers.T5EncoderModel(T5Config(vocab_size=200, **sizes))
            parts[tokenizer] = T5TokenizerFast.from_pretrained(str(folder / tokenizer))
        else:
            projected = kind == "sd3" or name == "text_encoder_2"
            made = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
            parts |= {name: made(config), tokenizer: CLIPTokenizer.from_pretrained(str(folder / tokenizer))}
    return parts


def _denoiser(kind: str, without: str) -> Any:
    from mindone import diffusers

    if kind == "sd3":
        return diffusers.SD3Transformer2DModel(
            sample_size=LATENTS[1],
            in_channels=LATENTS[0],
            num_layers=1,
            attention_head_dim=4,
            num_attention_heads=2,
            joint_attention_dim=T5_WIDTH,
            caption_projection_dim=8,
            pooled_projection_dim=2 * WIDTH,
            out_channels=LATENTS[0],
            pos_embed_max_size=8,
        )
    if kind == "flux":
        return diffusers.FluxTransformer2DModel(
            in_channels=4 * LATENTS[0],
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=1,
            joint_attention_dim=T5_WIDTH,
            pooled_projection_dim=WIDTH,
            guidance_embeds=without != "guidance",
            axes_dims_rope=(2, 2, 4),
        )
    added = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 2,
        "projection_class_embeddings_input_dim": 6 * 2 + WIDTH,
    }
    return diffusers.UNet2DConditionModel(
        block_out_channels=(WIDTH, 2 * WIDTH),
        norm_num_groups=2,
        layers_per_block=1,
        **{**(added if kind == "xl" else {}), "sample_size": LATENTS[1], "attention_head_dim": 2},
        cross_attention_dim=WIDTH * (1 + (kind == "xl")),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )


def _made(kind: str, folder: Path, without: str) -> Any:
    """The pipeline, whose models are the functions of `loop_models`: mindone's lack kernels on a CPU."""
    from mindone import diffusers

    parts = _text_encoders(kind, folder, without)
    parts["unet" if kind in ("sd", "xl") else "transformer"] = _denoiser(kind, without)
    config = json.loads((folder / "vae/config.json").read_text())
    parts["vae"] = diffusers.AutoencoderKL(
        block_out_channels=(WIDTH, 2 * WIDTH),
        norm_num_groups=2,
        layers_per_block=1,
        latent_channels=LATENTS[0],
        sample_size=SIZE[0],
        scaling_factor=config["scaling_factor"],
        shift_factor=config.get("shift_factor"),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )
    if kind == "sd":
        parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler() if kind in T5 else diffusers.DDIMScheduler()
    pipe = getattr(diffusers, CLASSES[kind])(scheduler=scheduler, **parts)
    pipe.set_progress_bar_config(disable=True)
    _replace(pipe, kind)
    return pipe


def _replace(pipe: Any, kind: str) -> None:
    import mindspore as ms

    def denoise(sample: Any = None, timestep: Any = None, **given: Any) -> Any:
        given |= given.pop("added_cond_kwargs", None) or {}
        named = {"sample": sample, "timestep": timestep, **given}
        return (ms.Tensor(denoised({name: one.asnumpy() for name, one in named.items() if hasattr(one, "asnumpy")})),)

    def clip_encode(name: str) -> Any:
        def call(ids: Any, **options: Any) -> Any:
            states, pooled = map(ms.Tensor, clip(ids.asnumpy(), second=name == "text_encoder_2"))
            # With hidden states the last but one is taken; of an encoder with a projection the pooled text is first.
            projected = kind == "sd3" or name == "text_encoder_2"
            hidden = (states, None) if kind in ("xl", "sd3") else ()
            return (pooled if projected else states, states if projected else pooled, hidden)

        return call

    for name in ENCODERS[kind]:
        if name == T5.get(kind) and getattr(pipe, name) is not None:
            getattr(pipe, name).construct = lambda ids, **options: (ms.Tensor(t5(ids.asnumpy())),)
        elif name != T5.get(kind):
            getattr(pipe, name).construct = clip_encode(name)
    model = pipe.unet if kind in ("sd", "xl") else pipe.transformer
    model.construct = denoise
    pipe.vae.decode = lambda latents, **options: (ms.Tensor(decoder(latents.asnumpy())),)


def _chunked(pipe: Any, kind: str, text: str) -> tuple[Any, Any]:
    """States and pooled texts of a long prompt, by mindone's own encoders and transformers' tokenizers."""
    import mindspore as ms

    room, states, pooled = TOKENS - 2, [], []
    for name in ("text_encoder", "text_encoder_2")[: 1 if kind == "sd" else 2]:
        tokenizer = getattr(pipe, name.replace("text_encoder", "tokenizer"))
        ids = tokenizer(text, add_special_tokens=False).input_ids
        found = []
        for part in (ids[:room], ids[room : 2 * room]):
            row = [tokenizer.bos_token_id, *part, tokenizer.eos_token_id]
            row += [tokenizer.pad_token_id] * (TOKENS - len(row))
            found.append(getattr(pipe, name)(ms.Tensor([row]), output_hidden_states=True))
        states.append(np.concatenate([(one[2][-2] if kind != "sd" else one[0]).asnumpy() for one in found], axis=1))
        pooled.append(found[0][0].asnumpy())
    joint = np.concatenate(states, axis=-1)
    if kind == "sd3":
        behind = pipe._get_t5_prompt_embeds([text], max_sequence_length=T5_TOKENS).asnumpy()
        joint = np.concatenate([np.pad(joint, ((0, 0), (0, 0), (0, T5_WIDTH - joint.shape[-1]))), behind], axis=1)
        pooled = [np.concatenate(pooled, axis=-1)]
    return ms.Tensor(joint), ms.Tensor(pooled[-1])


def _as_embeddings(pipe: Any, kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """Arguments with embeddings in place of texts: mindone's way with long prompts."""
    found = {**given}
    for name in ("prompt", "negative_prompt"):
        if name in given:
            states, pooled = _chunked(pipe, kind, found.pop(name))
            found[f"{name}_embeds"] = states
            if kind != "sd":
                found["pooled_prompt_embeds" if name == "prompt" else "negative_pooled_prompt_embeds"] = pooled
    return found


def _kernels() -> None:
    """What the pipelines themselves call and a CPU has no kernel for."""
    from mindspore import Tensor, mint

    def pad(value: Any, last: tuple[int, int]) -> Any:
        return Tensor(np.pad(value.asnumpy(), [(0, 0)] * (value.ndim - 1) + [last]))

    def full(size: Any, value: float, dtype: Any = None) -> Any:
        return Tensor(np.full(size, value, np.float32), dtype)

    mint.zeros_like, mint.nn.functional.pad, mint.full = (lambda value: value * 0), pad, full


def _apart(pipe: Any, folder: Path, kind: str, name: str) -> dict[str, float]:
    """The largest differences, over both numbers of rows."""
    from mindone import diffusers

    scheduler, given = CASES[kind][name]
    options = {"_class_name": scheduler, **_SCHEDULERS[scheduler]}
    pipe.scheduler = getattr(diffusers, options["_class_name"])(**_SCHEDULERS[scheduler])
    write_json(folder / "scheduler" / "scheduler_config.json", options)
    long = name.startswith("long")
    seen: list[Array] = []

    def note(pipe: Any, number: int, time: Any, values: dict[str, Any]) -> dict[str, Any]:
        seen.append(values["latents"].asnumpy())
        return {}

    sizes = {"height": SIZE[0], "width": SIZE[1], **({"max_sequence_length": T5_TOKENS} if kind in T5 else {})}
    theirs = pipe(
        **{**(_as_embeddings(pipe, kind, given) if long else given), **sizes},
        num_inference_steps=2,
        output_type="np",
        generator=np.random.default_rng(SEED),
        callback_on_step_end=note,
    )[0]
    arguments = {**given}
    prompts, negative = arguments.pop("prompt"), arguments.pop("negative_prompt", None)
    apart = {"latents": 0.0, "pictures": 0.0}
    for rows in (1, 2):
        whole = scheduler == "DDIMScheduler"
        graphs = components(kind, rows=rows, timestep="int64" if whole else "float32", chunks=1 + long, without=name)
        mine: list[Array] = []

        def keep(number: int, time: float, latents: Array, mine: list[Array] = mine) -> None:
            mine.append(latents)

        found = loop(folder, graphs)(prompts, negative, **arguments, steps=2, seed=SEED, callback=keep)
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
    from attnfuse.tracing.patches import cpu_patches

    _kernels()
    found: dict[str, Any] = {}
    for kind, cases in CASES.items():
        for without in ("", *(name for name in cases if name in ("text_encoder_3", "guidance"))):
            with tempfile.TemporaryDirectory() as folder, cpu_patches():
                write_pipeline(Path(folder), kind, without=without)
                pipe = _made(kind, Path(folder), without)
                for name in (
                    [without] if without else [name for name in cases if name not in ("text_encoder_3", "guidance")]
                ):
                    found[f"{kind}-{name}"] = _apart(pipe, Path(folder), kind, name)
                if kind == "sd":
                    found["texts"] = _tokens(Path(folder) / "tokenizer")
    with cpu_patches():
        found |= picture_loops.found(_made)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
