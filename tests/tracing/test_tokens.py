"""Texts are as long as the pipeline makes them: mostly as its tokenizer fills them up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from attnfuse.errors import SourceError, UsageError
from attnfuse.live.plans import plan_live
from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tracing.demo import TEXT_ENCODER, UNET, write_json, write_tokenizer
from attnfuse.tracing.inputs import read_inputs
from attnfuse.tracing.plan import plan_all
from tests.support.checkpoints import XL_TEXT_ENCODER, XL_TEXT_ENCODER_2, XL_UNET
from tests.support.console import inside
from tests.support.small_models import SMALL, write_configs
from tests.tracing.test_plan import SD, XL, pipeline

LONG = {"max_position_embeddings": 248}


def tokenize(folder: Path, length: Any, name: str = "tokenizer") -> Path:
    """Give the pipeline a tokenizer that says so."""
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("{", f'{{"{name}": ["transformers", "CLIPTokenizer"], ', 1))
    (folder / name).mkdir()
    write_tokenizer(folder / name, length)
    return folder


def tokens(folder: Path, **shapes: Any) -> dict[str, int]:
    """How many each component that takes a text takes."""
    found = {}
    for plan in plan_all(folder, "float16", ShapeOptions(**shapes)).plans:
        for spec in plan.inputs:
            if spec.name in ("input_ids", "encoder_hidden_states"):
                found[plan.name] = spec.shape[1]
    return found


def long_clip(folder: Path) -> Path:
    return pipeline(folder, {"unet": UNET, "text_encoder": {**TEXT_ENCODER, **LONG}})


@pytest.mark.parametrize("length", [77, 128, 248])
def test_a_tokenizer_that_is_shorter_than_its_encoder(tmp_path: Path, length: int) -> None:
    assert tokens(tokenize(long_clip(tmp_path), length)) == {"unet": length, "text_encoder": length}


@pytest.mark.parametrize("length", [int(1e30), int(1e20), 1e30, None])
def test_no_limit_is_the_encoders_own(tmp_path: Path, length: object) -> None:
    assert tokens(tokenize(long_clip(tmp_path), length)) == {"unet": 248, "text_encoder": 248}


def test_without_a_tokenizer_there_are_the_positions(tmp_path: Path) -> None:
    assert tokens(long_clip(tmp_path)) == {"unet": 248, "text_encoder": 248}


def test_without_a_text_encoder_the_tokenizer_tells(tmp_path: Path) -> None:
    assert tokens(tokenize(pipeline(tmp_path, {"unet": UNET}), 128)) == {"unet": 128}


def test_what_is_asked_for_comes_first(tmp_path: Path) -> None:
    folder = tokenize(long_clip(tmp_path), 77)
    assert tokens(folder, sequence_length=200) == {"unet": 200, "text_encoder": 200}
    with pytest.raises(UsageError, match="sequence length 249 is more than the text encoder's 248 positions"):
        tokens(folder, sequence_length=249)


def test_a_tokenizer_beyond_its_encoders_positions(tmp_path: Path) -> None:
    folder = tokenize(pipeline(tmp_path, SD), 128)
    message = (
        r"text_encoder/config\.json: text_encoder has 77 positions, and tokenizer fills texts up to 128 tokens"
        r" \(model_max_length in tokenizer_config\.json\), with which the pipeline itself fails; fix it, or give"
        r" --sequence-length\."
    )
    with pytest.raises(SourceError, match=message):
        tokens(folder)
    assert tokens(folder, sequence_length=77)["unet"] == 77


@pytest.mark.parametrize("length", [0, -1, True, "77", [77]])
def test_what_is_no_number(tmp_path: Path, length: object) -> None:
    with pytest.raises(SourceError, match=r"tokenizer_config\.json: model_max_length is .*, not a positive number"):
        tokens(tokenize(pipeline(tmp_path, SD), length))


def test_two_encoders_side_by_side(tmp_path: Path) -> None:
    models = {**XL, "text_encoder": {**XL_TEXT_ENCODER, **LONG}, "text_encoder_2": {**XL_TEXT_ENCODER_2, **LONG}}
    folder = pipeline(tmp_path, models, "StableDiffusionXLPipeline", scheduler=["diffusers", "EulerDiscreteScheduler"])
    tokenize(tokenize(folder, 100), 100, "tokenizer_2")
    assert tokens(folder) == {"unet": 100, "text_encoder": 100, "text_encoder_2": 100}
    write_tokenizer(folder / "tokenizer_2", 77)
    with pytest.raises(SourceError, match=r"different lengths \(text_encoder 100, text_encoder_2 77 tokens\)"):
        tokens(folder)


def test_a_refiner_has_the_second_only(tmp_path: Path) -> None:
    models = {"unet": {**XL_UNET, "cross_attention_dim": 48}, "text_encoder_2": {**XL_TEXT_ENCODER_2, **LONG}}
    folder = pipeline(tmp_path, models, "StableDiffusionXLImg2ImgPipeline")
    assert tokens(tokenize(folder, 90, "tokenizer_2")) == {"unet": 90, "text_encoder_2": 90}


@pytest.mark.parametrize("small", ["animate_diff", "flux", "stable_audio", "audio_ldm_2"])
def test_other_families_fill_up_too(tmp_path: Path, small: str) -> None:
    shapes = replace(SMALL[small].shapes, sequence_length=None)
    models = dict(SMALL[small].models)
    models.setdefault("text_encoder", TEXT_ENCODER)
    folder = write_configs(tmp_path, replace(SMALL[small], models=models))

    def lengths() -> set[int]:
        plans = {plan.name: plan for plan in plan_all(folder, "float16", shapes).plans}
        return {spec.shape[1] for spec in plans["text_encoder"].inputs}

    assert lengths() != {64}
    tokenize(folder, 64)
    assert lengths() == {64}


def test_stable_diffusion_3_asks_the_first_tokenizer(tmp_path: Path) -> None:
    folder = write_configs(tmp_path, SMALL["sd3"])
    tokenize(tokenize(folder, 64), 50, "tokenizer_2")
    shapes = SMALL["sd3"].shapes
    plans = {plan.name: plan for plan in plan_all(folder, "float16", shapes).plans}
    assert plans["text_encoder"].inputs[0].shape[1] == plans["text_encoder_2"].inputs[0].shape[1] == 64
    t5 = plans["text_encoder_3"].inputs[0].shape[1]
    assert plans["transformer"].inputs[1].shape[1] == 64 + t5


def test_a_prior_has_places_for_as_many_as_it_has(tmp_path: Path) -> None:
    folder = write_configs(tmp_path, SMALL["kandinsky_prior"])
    write_json(folder / "prior" / "config.json", {**SMALL["kandinsky_prior"].models["prior"], "num_embeddings": 77})
    tokenize(folder, 64)
    with pytest.raises(SourceError, match=r"the prior has places for 77 tokens .* fills texts up to 64"):
        plan_all(folder, "float16", SMALL["kandinsky_prior"].shapes)


class _Tokenizer:
    model_max_length = 64


class UNet2DConditionModel:
    """As much of one as a plan looks at."""

    def to_json_string(self) -> str:
        return json.dumps(UNET)

    def get_parameters(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(dtype="Float16", size=8)]

    def construct(self) -> None: ...

    def cells_and_names(self) -> list[Any]:
        return []


class StableDiffusionPipeline:
    def __init__(self) -> None:
        self.components = {"unet": UNet2DConditionModel(), "tokenizer": _Tokenizer()}


def test_a_live_pipelines_tokenizer_counts(tmp_path: Path) -> None:
    (plan,) = plan_live(StableDiffusionPipeline(), tmp_path, ShapeOptions(), (), None).plans
    assert plan.inputs[2].shape == (2, 64, 64)


def named(**lengths: int) -> dict[str, Any]:
    return {"sequence_lengths": tuple(lengths.items())}


def test_a_length_of_one_component(tmp_path: Path) -> None:
    folder = pipeline(tmp_path, SD)
    assert tokens(folder, **named(unet=231)) == {"unet": 231, "text_encoder": 77}
    assert tokens(folder, **named(unet=154, text_encoder=20)) == {"unet": 154, "text_encoder": 20}
    assert tokens(folder, sequence_length=30, **named(unet=154)) == {"unet": 154, "text_encoder": 30}
    with pytest.raises(
        UsageError, match=r"154 is more than the text encoder's 77 positions; .* --sequence-length unet="
    ):
        tokens(folder, **named(text_encoder=154))


def test_a_length_beyond_what_is_not_asked_for(tmp_path: Path) -> None:
    folder = pipeline(tmp_path, SD)
    (unet,) = plan_all(folder, "float16", ShapeOptions(sequence_length=154), ["unet"]).plans
    assert {one.name: one.shape for one in unet.inputs}["encoder_hidden_states"][1] == 154
    with pytest.raises(UsageError, match="154 is more than the text encoder's 77 positions"):
        plan_all(folder, "float16", ShapeOptions(sequence_length=154), ["text_encoder"])


def test_a_length_means_what_it_means_for_all(tmp_path: Path) -> None:
    folder = write_configs(tmp_path / "p", SMALL["sd3"])
    shapes = replace(SMALL["sd3"].shapes, sequence_length=None)
    for length in (20, 256):  # the second is what it has anyway
        whole = plan_all(folder, "float16", replace(shapes, sequence_length=length), ["transformer"]).plans
        own = plan_all(folder, "float16", replace(shapes, sequence_lengths=(("transformer", length),))).plans
        assert whole[0].inputs == own[0].inputs


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ({"unte": 154}, r"^--sequence-length unte=154: there is no component 'unte'; did you mean 'unet'"),
        (
            {"vae_decoder": 154},
            r"^--sequence-length vae_decoder=154: vae has no text of that length; drop it",
        ),
        ({"vae": 1}, r"^--sequence-length vae=1: vae has no text"),
        ({"vae_encoder": 3, "vae_decoder": 4}, r"gives vae two lengths \(vae_encoder=3, vae_decoder=4\); give one"),
        ({"unet": 0}, r"^sequence length of unet 0 is not a positive number"),
    ],
)
def test_a_length_that_does_nothing(tmp_path: Path, lengths: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tokens(pipeline(tmp_path, SD), **named(**lengths))


def test_a_length_of_a_call_that_is_given(tmp_path: Path) -> None:
    (tmp_path / "i.toml").write_text("[unet.inputs.sample]\nshape = [1, 4, 8, 8]\n")
    folder, given = pipeline(tmp_path / "p", SD), read_inputs(tmp_path / "i.toml")
    with pytest.raises(UsageError, match=r"^--sequence-length unet=5: --inputs gives all shapes of unet; drop one"):
        plan_all(folder, "float16", ShapeOptions(**named(unet=5)), (), given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["unet=0"], "'unet=0' is no length; give a number of tokens, or NAME=N for one component"),
        (["=5"], "'=5' is no length"),
        (["unet=1", "unet=2"], "--sequence-length of unet is given twice, 1 and 2; drop one"),
        (["1", "2"], "--sequence-length is given twice, 1 and 2; drop one"),
    ],
)
def test_lengths_on_the_command_line(tmp_path: Path, given: list[str], message: str) -> None:
    options = [word for one in given for word in ("--sequence-length", one)]
    done = inside("components", pipeline(tmp_path, SD), *options)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    done = inside("components", tmp_path, "--json", "--sequence-length", "20", "--sequence-length", "unet=154")
    parts = json.loads(done.stdout)["parts"]
    components = [plan for part in parts for plan in part["components"]]
    shapes = {spec["name"]: spec["shape"] for plan in components for spec in plan["inputs"]}
    assert (shapes["encoder_hidden_states"][1], shapes["input_ids"][1]) == (154, 20)
