"""Pipelines of mindone that take pictures, and PixArt, and the runtime's loops over the same models.

`found` gives what `tests.support.loops` prints: the largest differences of latents and pictures, for each case. The
models are `picture_models`, in mindone's pipelines put in the place of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from attnfuse_runtime.noise import Array
from tests.support import loop_models
from tests.support import picture_models as models
from tests.support.loop_models import SEED, SIZE, T5_TOKENS, T5_WIDTH, WIDTH
from tests.support.picture_models import CONTROLS, IMAGES, MASKS

TEXTS: Final = ["A cat, 2 dogs", "snow"]
_SCHEDULE: Final = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
_SCHEDULERS: Final[Mapping[str, dict[str, Any]]] = {
    "DDIMScheduler": {**_SCHEDULE, "clip_sample": False},
    "PNDMScheduler": {**_SCHEDULE, "skip_prk_steps": True},
    "EulerAncestralDiscreteScheduler": {**_SCHEDULE, "timestep_spacing": "leading"},
    "DPMSolverMultistepScheduler": {**_SCHEDULE, "solver_order": 2},
}
_WHOLE: Final = ("DDIMScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler")
"""Those whose timesteps are whole numbers."""


@dataclass(frozen=True)
class Case:
    """A class of mindone, without "StableDiffusion" and "Pipeline", and what it and the loop are both given.

    `controls` counts ControlNets; with `beside` the UNet takes nine channels. `index` and `vae` are further options of
    configurations.
    """

    kind: str
    scheduler: str = "DDIMScheduler"
    steps: int = 2
    prompts: tuple[str, ...] = ("snow",)
    controls: int = 0
    beside: bool = False
    given: Mapping[str, Any] = field(default_factory=dict)
    index: Mapping[str, Any] = field(default_factory=dict)
    vae: Mapping[str, Any] = field(default_factory=dict)


_ANCESTRAL: Final = "EulerAncestralDiscreteScheduler"
_HALF: Final = {"strength": 0.5}
_OWN: Final = {"latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [1.5, 0.5, 2.0, 1.0]}
CASES: Final[Mapping[str, Case]] = {
    "img2img": Case("Img2Img", steps=4, prompts=(*TEXTS,), given=_HALF),
    "img2img-off": Case("Img2Img", _ANCESTRAL, 5, given={"guidance_scale": 1.0}),
    "img2img-pndm": Case("Img2Img", "PNDMScheduler", 5, given=_HALF),
    "img2img-dpm": Case("Img2Img", "DPMSolverMultistepScheduler", 6, given=_HALF),
    "xl-img2img": Case("XLImg2Img", steps=4, given={**_HALF, "negative_prompt": "rain"}, vae=_OWN),
    "xl-img2img-scores": Case("XLImg2Img", _ANCESTRAL, 8, index={"requires_aesthetics_score": True}),
    "inpaint": Case("Inpaint", _ANCESTRAL, prompts=(*TEXTS,)),
    "inpaint-half": Case("Inpaint", "PNDMScheduler", 4, given={**_HALF, "guidance_scale": 1.0}),
    "inpaint-beside": Case("Inpaint", _ANCESTRAL, prompts=(*TEXTS,), beside=True),
    "xl-inpaint": Case("XLInpaint", "DPMSolverMultistepScheduler", 4, vae=_OWN),
    "xl-inpaint-beside": Case("XLInpaint", steps=4, beside=True, given=_HALF, vae=_OWN),
    "control": Case("ControlNet", controls=1, prompts=(*TEXTS,), given={"guidance_scale": 3.0}),
    "control-two": Case(
        "ControlNet",
        steps=4,
        controls=2,
        given={"control_scale": [0.5, 2.0], "control_start": [0.0, 0.5], "control_end": [0.5, 1.0]},
    ),
    "control-img2img": Case("ControlNetImg2Img", _ANCESTRAL, 4, controls=1, given={**_HALF, "control_end": 0.5}),
    "control-inpaint": Case("ControlNetInpaint", _ANCESTRAL, controls=1, prompts=(*TEXTS,)),
    "control-inpaint-beside": Case("ControlNetInpaint", controls=1, beside=True),
    "xl-control": Case("XLControlNet", controls=1, prompts=(*TEXTS,), vae=_OWN),
    "xl-control-img2img": Case("XLControlNetImg2Img", steps=4, controls=2, given=_HALF, vae=_OWN),
    "xl-control-inpaint": Case("XLControlNetInpaint", steps=4, controls=1, given=_HALF, vae=_OWN),
    "xl-control-inpaint-beside": Case("XLControlNetInpaint", _ANCESTRAL, 3, controls=1, beside=True),
    "pixart-alpha": Case("PixArtAlpha", "DPMSolverMultistepScheduler", prompts=(*TEXTS,)),
    "pixart-sigma": Case("PixArtSigma", "DPMSolverMultistepScheduler", given={"negative_prompt": "Rain"}),
    "pixart-sigma-off": Case("PixArtSigma", _ANCESTRAL, given={"guidance_scale": 1.0}),
}

_NAMES: Final = {
    "mask": "mask_image",
    "control_scale": "controlnet_conditioning_scale",
    "control_start": "control_guidance_start",
    "control_end": "control_guidance_end",
}
"""What mindone calls the arguments of the loop, where it has other names."""


def found(made: Callable[[str, Path, str], Any]) -> Iterator[tuple[str, dict[str, float]]]:
    """Every case; `made` makes a text-to-image pipeline of mindone of a kind, in a folder that is written."""
    bases: dict[str, Any] = {}
    for base in ("sd", "xl"):
        with tempfile.TemporaryDirectory() as folder:
            loop_models.write_pipeline(Path(folder), base)
            bases[base] = made(base, Path(folder), "")
            for name, case in CASES.items():
                if "PixArt" not in case.kind and ("XL" in case.kind) == (base == "xl"):
                    yield name, _apart(_pipe(bases[base], case), case)
    for name, case in CASES.items():
        if "PixArt" in case.kind:
            with tempfile.TemporaryDirectory() as folder:
                models.write_pipeline(Path(folder), f"{case.kind}Pipeline")
                yield name, _apart(_pixart(bases["sd"], Path(folder) / "tokenizer", case), case)


def _class(case: Case) -> str:
    return f"{'' if 'PixArt' in case.kind else 'StableDiffusion'}{case.kind}Pipeline"


def _pipe(base: Any, case: Case) -> Any:
    """mindone's pipeline over the parts of a text-to-image one."""
    from mindone import diffusers
    from mindspore import Tensor

    parts = {**base.components, "unet": _unet(case)}
    vae = parts["vae"]
    vae.register_to_config(**{"latents_mean": None, "latents_std": None, **case.vae})
    vae.encode = lambda image: (Tensor(models.encoder(image.asnumpy())),)
    if case.controls:
        nets = [_controlnet(case, second=bool(number)) for number in range(case.controls)]
        parts["controlnet"] = nets[0] if case.controls == 1 else nets
    options = dict(case.index) if "XL" in case.kind else {"requires_safety_checker": False}
    return getattr(diffusers, _class(case))(**parts, **options)


def _numbers(given: Mapping[str, Any]) -> dict[str, Array]:
    """A model's inputs by the names that its graph has for them."""
    flat = {**given, **(given.get("added_cond_kwargs") or {})}
    for number, one in enumerate(flat.get("down_block_additional_residuals") or ()):
        flat[f"down_block_residual_{number}"] = one
    flat["mid_block_residual"] = flat.get("mid_block_additional_residual")
    return {name: one.asnumpy() for name, one in flat.items() if hasattr(one, "asnumpy")}


def _sizes(case: Case) -> dict[str, Any]:
    """What UNet and ControlNet are made with: the least that there is."""
    xl = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 2,
        "projection_class_embeddings_input_dim": (5 if case.index else 6) * 2 + WIDTH,
    }
    return {
        "block_out_channels": (WIDTH, 2 * WIDTH),
        "norm_num_groups": 2,
        "layers_per_block": 1,
        "attention_head_dim": 2,
        "cross_attention_dim": WIDTH * (1 + ("XL" in case.kind)),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        **(xl if "XL" in case.kind else {}),
    }


def _unet(case: Case) -> Any:
    from mindone import diffusers
    from mindspore import Tensor

    made = diffusers.UNet2DConditionModel(
        in_channels=9 if case.beside else 4,
        sample_size=SIZE[0] // 2,
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **_sizes(case),
    )

    def call(sample: Any, timestep: Any, **given: Any) -> Any:
        return (Tensor(models.unet(_numbers({"sample": sample, "timestep": timestep, **given}))),)

    made.construct = call
    return made


def _controlnet(case: Case, *, second: bool) -> Any:
    from mindone import diffusers
    from mindspore import Tensor

    made = diffusers.ControlNetModel(conditioning_embedding_out_channels=(WIDTH, WIDTH), **_sizes(case))

    def call(sample: Any, timestep: Any, **given: Any) -> Any:
        fed = _numbers({"sample": sample, "timestep": timestep, **given})
        fed["conditioning_scale"] = np.asarray([given["conditioning_scale"]], np.float32)
        down, middle = map(Tensor, models.controlnet(fed, second=second))
        return [down], middle

    made.construct = call
    return made


def _pixart(base: Any, tokenizer: Path, case: Case) -> Any:
    """The pipeline over the VAE of another."""
    from mindone import diffusers, transformers
    from mindspore import Tensor
    from transformers import T5Config, T5TokenizerFast

    sizes = {"d_model": T5_WIDTH, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    text_encoder = transformers.T5EncoderModel(T5Config(vocab_size=200, **sizes))
    text_encoder.construct = lambda ids, attention_mask: (
        Tensor(models.masked_t5(ids.asnumpy(), attention_mask.asnumpy())),
    )
    transformer = diffusers.PixArtTransformer2DModel(
        num_attention_heads=1,
        attention_head_dim=4,
        num_layers=1,
        cross_attention_dim=4,
        norm_num_groups=1,
        sample_size=128 if "Alpha" in case.kind else 32,
        caption_channels=T5_WIDTH,
    )

    def call(hidden_states: Any, **given: Any) -> Any:
        return (Tensor(models.transformer(_numbers({"hidden_states": hidden_states, **given}))),)

    transformer.construct = call
    return getattr(diffusers, _class(case))(
        tokenizer=T5TokenizerFast.from_pretrained(str(tokenizer)),
        text_encoder=text_encoder,
        vae=base.vae,
        transformer=transformer,
        scheduler=base.scheduler,
    )


def _given(case: Case) -> dict[str, Any]:
    """The pictures that a case takes, by the names of the loop's arguments; of several prompts a mask for each."""
    found: dict[str, Any] = {}
    if "Img2Img" in case.kind or "Inpaint" in case.kind:
        found["image"] = IMAGES[0]
    if "Inpaint" in case.kind:
        found["mask"] = [*MASKS][: len(case.prompts)] if len(case.prompts) > 1 else MASKS[0]
    if case.controls:
        found["control_image"] = CONTROLS[0] if case.controls == 1 else [*CONTROLS]
    return {**found, **case.given}


def _theirs(pipe: Any, case: Case) -> tuple[list[Array], Array]:
    """mindone's latents after each step, and its pictures from 0 to 1."""
    seen: list[Array] = []

    def note(pipe: Any, number: int, time: Any, values: dict[str, Any]) -> dict[str, Any]:
        seen.append(values["latents"].asnumpy())
        return {}

    given = {_NAMES.get(name, name): value for name, value in _given(case).items()}
    if "image" not in given and "control_image" in given:
        given["image"] = given.pop("control_image")
    if case.kind not in ("Img2Img", "XLImg2Img"):
        given |= {"height": SIZE[0], "width": SIZE[1]}
    if "PixArt" in case.kind:
        given |= {"max_sequence_length": T5_TOKENS, "use_resolution_binning": False, "clean_caption": False}
        given["callback"] = lambda number, time, latents: seen.append(latents.asnumpy())
    else:
        given["callback_on_step_end"] = note
    pipe.set_progress_bar_config(disable=True)
    made = pipe(
        [*case.prompts],
        **given,
        num_inference_steps=case.steps,
        output_type="np",
        return_dict=False,
        generator=np.random.default_rng(SEED),
    )
    return seen, made[0]


def _apart(pipe: Any, case: Case) -> dict[str, float]:
    """The largest differences, over graphs of one row and of two."""
    from mindone import diffusers

    options = _SCHEDULERS[case.scheduler]
    pipe.scheduler = getattr(diffusers, case.scheduler)(**options)
    seen, theirs = _theirs(pipe, case)
    given = _given(case)
    negative = given.pop("negative_prompt", None)
    apart = {"latents": 0.0, "pictures": 0.0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models.write_pipeline(folder, _class(case), **case.index)
        loop_models.changed(folder / "vae/config.json", **case.vae)
        models.scheduler(folder, _class_name=case.scheduler, **options)
        for rows in (1, 2):
            mine: list[Array] = []

            def keep(number: int, time: float, latents: Array, mine: list[Array] = mine) -> None:
                mine.append(latents)

            loop = models.loop(folder, _graphs(case, rows))
            made = loop(
                [*case.prompts],
                negative,
                **given,
                steps=case.steps,
                seed=SEED,
                callback=keep,
            )
            levels = np.stack([np.asarray(one) for one in made.images]) / 255
            largest = [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(mine, seen, strict=True)]
            apart["latents"] = max(apart["latents"], *largest)
            apart["pictures"] = max(apart["pictures"], float(np.abs(levels - theirs).max()))
    return apart


def _graphs(case: Case, rows: int) -> Any:
    timestep = "int64" if case.scheduler in _WHOLE else "float32"
    if "PixArt" in case.kind:
        return models.pixart(rows=rows, sized="Alpha" in case.kind, timestep=timestep)
    return models.components(
        "xl" if "XL" in case.kind else "sd",
        rows=rows,
        timestep=timestep,
        controls=case.controls,
        beside=case.beside,
        ids=5 if case.index else 6,
    )
