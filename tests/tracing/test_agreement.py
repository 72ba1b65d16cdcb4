"""Parts that do not fit together are refused before anything is traced, by both keys and numbers; right ones never."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attnfuse.errors import SourceError
from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tracing.demo import write_json
from attnfuse.tracing.inputs import read_inputs
from attnfuse.tracing.plan import plan_all, survey
from tests.cli.conftest import Command, command
from tests.support.checkpoints import SMALL_VAE, XL_TEXT_ENCODER, XL_TEXT_ENCODER_2, XL_UNET
from tests.support.small_models import SMALL, Small, write_configs

__all__ = ["command"]


@pytest.mark.parametrize("name", SMALL)
def test_a_right_pipeline_is_never_refused(tmp_path: Path, name: str) -> None:
    folder = write_configs(tmp_path / "in", SMALL[name])
    assert [part.contradictions for part in survey(folder, "float16", SMALL[name].shapes) if part.contradictions] == []


XL = Small(
    "StableDiffusionXLPipeline",
    {"unet": XL_UNET, "vae": SMALL_VAE, "text_encoder": XL_TEXT_ENCODER, "text_encoder_2": XL_TEXT_ENCODER_2},
    "EulerDiscreteScheduler",
    ShapeOptions(),
)
PIPELINES = {**SMALL, "xl": XL}


def with_parts(name: str, parts: dict[str, Any]) -> Small:
    small = PIPELINES[name]
    return Small(small.pipeline, {**small.models, **parts}, small.scheduler, small.shapes)


def changed(folder: Path, small: Small, changes: dict[str, Any], kind: str = "") -> tuple[str, ...]:
    """What does not fit in the pipeline with these options ("part.key") and class; each is told of each part."""
    write_configs(folder, small)
    for place, value in changes.items():
        part, _, key = place.partition(".")
        path = folder / part / "config.json"
        write_json(path, {**json.loads(path.read_bytes()), key: value})
    index = json.loads((folder / "model_index.json").read_bytes())
    write_json(folder / "model_index.json", {**index, "_class_name": kind or small.pipeline})
    parts = survey(folder, "float16", small.shapes)
    return tuple(dict.fromkeys(text.partition(f"{folder}: ")[2] for part in parts for text in part.contradictions))


T5 = SMALL["pixart_alpha"].models["text_encoder"]
CLIP = SMALL["flux"].models["text_encoder"]
VAE = SMALL["sd3"].models["vae"]

#: The pipeline, parts beside it, options; what does not fit what, and what it would be.
WRONG: list[tuple[str, dict[str, Any], dict[str, Any], str, list[str], str]] = [
    ("sd_controlnet", {"text_encoder": CLIP}, {}, "unet: cross_attention_dim 64", ["text_encoder: hidden_size 32"], ""),
    (
        "xl",
        {},
        {"text_encoder.hidden_size": 48},
        "unet: cross_attention_dim 80",
        ["text_encoder: hidden_size 48", "text_encoder_2: hidden_size 48"],
        "96",
    ),
    (
        "xl",
        {},
        {"text_encoder_2.projection_dim": 41},
        "unet: projection_class_embeddings_input_dim 88",
        ["text_encoder_2: projection_dim 41"],
        "89 or 81",
    ),
    ("xl", {}, {"unet.in_channels": 8}, "unet: in_channels 8", ["vae: latent_channels 4"], ""),
    ("xl", {}, {"vae.latent_channels": 16}, "unet: in_channels 4", ["vae: latent_channels 16"], ""),
    (
        "sd3",
        {},
        {"text_encoder_3.d_model": 32},
        "transformer: joint_attention_dim 24",
        ["text_encoder_3: d_model 32"],
        "",
    ),
    ("sd3", {}, {"vae.latent_channels": 16}, "transformer: in_channels 4", ["vae: latent_channels 16"], ""),
    (
        "flux",
        {},
        {"text_encoder.hidden_size": 48},
        "transformer: pooled_projection_dim 32",
        ["text_encoder: hidden_size 48"],
        "",
    ),
    (
        "flux",
        {},
        {"text_encoder_2.d_model": 32},
        "transformer: joint_attention_dim 24",
        ["text_encoder_2: d_model 32"],
        "",
    ),
    (
        "flux",
        {"vae": VAE},
        {"vae.latent_channels": 16},
        "transformer: in_channels 16",
        ["vae: latent_channels 16"],
        "64",
    ),
    ("qwen_image", {}, {"vae.z_dim": 16}, "transformer: in_channels 16", ["vae: z_dim 16"], "64"),
    (
        "pixart_alpha",
        {},
        {"text_encoder.d_model": 32},
        "transformer: caption_channels 24",
        ["text_encoder: d_model 32"],
        "",
    ),
    (
        "hunyuan_dit",
        {},
        {"text_encoder_2.d_model": 32},
        "transformer: cross_attention_dim_t5 24",
        ["text_encoder_2: d_model 32"],
        "",
    ),
    (
        "cogvideox",
        {"text_encoder": T5},
        {"text_encoder.d_model": 32},
        "transformer: text_embed_dim 24",
        ["text_encoder: d_model 32"],
        "",
    ),
    ("wan", {}, {"transformer_2.text_dim": 32}, "transformer_2: text_dim 32", ["text_encoder: d_model 24"], ""),
    ("stable_video", {}, {"vae.latent_channels": 8}, "unet: in_channels 8", ["vae: latent_channels 8"], "16"),
    (
        "sd_controlnet",
        {},
        {"controlnet.cross_attention_dim": 32},
        "controlnet: cross_attention_dim 32",
        ["unet: cross_attention_dim 64"],
        "",
    ),
    (
        "sd_controlnet",
        {},
        {"controlnet.block_out_channels": [16, 64]},
        "controlnet: block_out_channels [16, 64]",
        ["unet: block_out_channels [32, 64]"],
        "",
    ),
    (
        "sd_controlnet",
        {},
        {"controlnet.layers_per_block": 2},
        "controlnet: layers_per_block 2",
        ["unet: layers_per_block 1"],
        "",
    ),
    ("sd_controlnet", {}, {"controlnet.in_channels": 9}, "controlnet: in_channels 9", ["vae: latent_channels 4"], ""),
    (
        "sdxl_controlnet",
        {},
        {"controlnet.projection_class_embeddings_input_dim": 80, "controlnet.addition_time_embed_dim": 8},
        "controlnet: projection_class_embeddings_input_dim 80",
        ["unet: projection_class_embeddings_input_dim 88"],
        "",
    ),
    (
        "sd3_controlnet",
        {},
        {"controlnet.pooled_projection_dim": 24},
        "controlnet: pooled_projection_dim 24",
        ["transformer: pooled_projection_dim 20"],
        "",
    ),
    (
        "flux_controlnet",
        {},
        {"controlnet.num_attention_heads": 3},
        "controlnet: num_attention_heads × attention_head_dim 48",
        ["transformer: num_attention_heads × attention_head_dim 32"],
        "",
    ),
    (
        "sd_adapter",
        {},
        {"adapter.channels": [32, 32]},
        "adapter: channels [32, 32]",
        ["unet: block_out_channels [32, 64]"],
        "",
    ),
]


def sentence(taken: str, given: list[str], would_be: str) -> str:
    """`unet: in_channels 4` and so on, as it is told."""
    left, *right = (place.replace(": ", "'s ") for place in (taken, *given))
    verb = "do" if left.startswith("adapter's") else "does"
    message = f"{left} {verb} not fit {' and '.join(right)}"
    return f"{message}, with which it would be {would_be}" if would_be else message


@pytest.mark.parametrize(("name", "parts", "changes", "taken", "given", "would_be"), WRONG)
def test_what_does_not_fit(
    tmp_path: Path,
    name: str,
    parts: dict[str, Any],
    changes: dict[str, Any],
    taken: str,
    given: list[str],
    would_be: str,
) -> None:
    found = changed(tmp_path / "in", with_parts(name, parts), changes)
    message = f"{sentence(taken, given, would_be)}: these parts are not of one pipeline; take them from the same."
    assert message in found


RIGHT: list[tuple[str, dict[str, Any], str]] = [
    ("xl", {}, "StableDiffusionXLInpaintPipeline"),
    ("xl", {"unet.in_channels": 9}, "StableDiffusionXLInpaintPipeline"),
    ("xl", {"unet.projection_class_embeddings_input_dim": 80}, "StableDiffusionXLImg2ImgPipeline"),  # a refiner's
    ("xl", {"unet.in_channels": 8}, "StableDiffusionXLInstructPix2PixPipeline"),  # not known here
    ("xl", {"unet.cross_attention_dim": [80, 80]}, ""),
    ("sd_controlnet", {"unet.in_channels": 9}, "StableDiffusionControlNetInpaintPipeline"),
    ("sd_controlnet", {"unet.layers_per_block": [1, 1]}, ""),
    # Without attention it takes no text, as small ones of XL.
    ("sd_controlnet", {"controlnet.down_block_types": ["DownBlock2D"] * 2, "controlnet.cross_attention_dim": 32}, ""),
    ("sd3", {"transformer.in_channels": 9}, "StableDiffusion3InpaintPipeline"),
    ("flux_with_vae", {"transformer.in_channels": 32}, "FluxControlPipeline"),
    ("flux_with_vae", {"transformer.in_channels": 32 + 4 * 2**2}, "FluxFillPipeline"),
    ("flux_controlnet", {"controlnet.joint_attention_dim": None}, ""),
    ("wan", {"transformer.in_channels": 12, "transformer_2.in_channels": 12}, "WanImageToVideoPipeline"),
    ("sd_adapter", {"adapter.channels": [32, 64, 64], "adapter.adapter_type": "full_adapter_xl"}, ""),
    ("sd_adapter", {"adapter.channels": [32, 64], "adapter.adapter_type": "light_adapter"}, ""),
]


@pytest.mark.parametrize(("name", "changes", "kind"), RIGHT)
def test_what_fits_in_another_way(tmp_path: Path, name: str, changes: dict[str, Any], kind: str) -> None:
    small = with_parts("flux", {"vae": VAE}) if name == "flux_with_vae" else PIPELINES[name]
    assert changed(tmp_path / "in", small, changes, kind) == ()


def test_the_wrong_number_of_channels_is_wrong_in_every_class(tmp_path: Path) -> None:
    kinds = ["StableDiffusionXLPipeline", "StableDiffusionXLInpaintPipeline", "StableDiffusionXLImg2ImgPipeline"]
    for at, kind in enumerate(kinds):
        (message,) = changed(tmp_path / str(at), XL, {"unet.in_channels": 5}, kind)
        assert "unet's in_channels 5 does not fit vae's latent_channels 4" in message


def test_only_what_is_asked_for_is_held_together(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    changed(folder, XL, {"text_encoder.hidden_size": 48})
    assert plan_all(folder, "float16", ShapeOptions(), ["vae_decoder"]).plans
    for asked in ([], ["unet"], ["text_encoder"], ["vae_decoder", "text_encoder_2"]):
        with pytest.raises(SourceError, match=r"unet's cross_attention_dim 80 does not fit"):
            plan_all(folder, "float16", ShapeOptions(), asked)
    (tmp_path / "i.toml").write_text(
        'text_encoder = { outputs = ["states"], inputs.input_ids = { shape = [1, 7], dtype = "int64" } }\n'
    )
    assert plan_all(folder, "float16", ShapeOptions(), [], read_inputs(tmp_path / "i.toml")).plans


def test_it_is_one_sentence_before_any_trace(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    changed(folder, XL, {"text_encoder.hidden_size": 48})  # no weights: a trace would end in another error
    for arguments in (["compile", folder, "-o", tmp_path / "out"], ["inspect", folder], ["components", folder]):
        answer = command(*arguments)
        assert answer.code == 3
        assert answer.error.startswith(f"error: {folder}: unet's cross_attention_dim 80 does not fit")
    assert "unet (UNet2DConditionModel)" in answer.out
    parts = {
        part["name"]: part.get("contradictions") for part in command("components", folder, "--json").document["parts"]
    }
    assert parts["unet"] == parts["text_encoder"] == parts["text_encoder_2"] is not None
    assert parts["vae"] is None
    assert not (tmp_path / "out").exists()
