"""The loops from prompt to picture: mindone's own numbers, and arguments and folders that do not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnfuse.tracing.demo import write_demo, write_json
from attnfuse_runtime import AttnfuseRuntimeError, noise
from attnfuse_runtime.manifest import Manifest, Tensor
from attnfuse_runtime.noise import Array
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.text_to_image import TextToImage
from tests.support import forks
from tests.support.console import attnfuse
from tests.support.loop_models import LATENTS, SIZE, Models, components, loop, write_pipeline
from tests.support.loops import CASES, TEXTS
from tests.support.picture_loops import CASES as WITH_PICTURES

HALF_A_LEVEL = 0.5 / 255
ROUNDINGS = 8 * float(np.finfo(np.float32).eps)


@pytest.mark.mindspore
def test_latents_pictures_and_tokens_are_mindones() -> None:
    done = forks.script("-m", "tests.support.loops")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("texts") == dict.fromkeys(TEXTS, True)
    assert found.keys() == {f"{kind}-{name}" for kind, cases in CASES.items() for name in cases} | {*WITH_PICTURES}
    # Latents after each step; a picture of 8 bits is off by its own rounding.
    wrong = {name: apart for name, apart in found.items() if not apart["latents"] <= ROUNDINGS}
    wrong |= {name: apart for name, apart in found.items() if not apart["pictures"] <= HALF_A_LEVEL + ROUNDINGS}
    assert wrong == {}


@pytest.mark.slow
@pytest.mark.mindspore
def test_a_prompt_of_150_tokens_on_the_demo_pipeline(tmp_path: Path) -> None:
    demo, out = tmp_path / "demo", tmp_path / "out"
    demo.mkdir()
    write_demo(demo)
    wanted = ("text_encoder", "unet", "vae_decoder", "vae_encoder")
    asked = [*(word for name in wanted for word in ("--component", name)), "--sequence-length", "unet=154"]
    done = attnfuse("compile", demo, *asked, "--dtype", "float32", "--no-flash", "*", "-o", out)
    assert done.returncode == 0, done.stderr
    done = forks.script("-m", "tests.support.demo_loops", str(demo), str(out))
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == {"long", "long-off", "off", "long-image", "long-mask"}
    for name, apart in found.items():
        # A scale of 7.5 adds up what the two halves are off by, 7.5 times the one and 6.5 times the other.
        allowed = ROUNDINGS * (1 if name.endswith(("off", "mask")) else 14)
        assert apart["latents"] <= allowed, name
        assert apart["pictures"] <= HALF_A_LEVEL + allowed, name
        if name.startswith("long"):
            assert apart["graphs off by"] <= 2 * apart["mindone off by"] + allowed, name
            assert apart["pictures of graphs"] <= 2 * HALF_A_LEVEL, name


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_pipeline(tmp_path)
    return tmp_path


def sd(source: Path, *left_out: str) -> TextToImage:
    return loop(source, {name: one for name, one in components().items() if name not in left_out})


def test_a_folder_of_graphs_that_holds_its_pipeline(source: Path) -> None:
    graphs = sd(source).pipeline
    found = TextToImage(graphs)("snow", steps=2, seed=1)
    np.testing.assert_array_equal(found.latents, sd(source)("snow", steps=2, seed=1).latents)
    (source / "model_index.json").unlink()
    with pytest.raises(AttnfuseRuntimeError, match=r"has graphs and no pipeline: it lacks model_index\.json; give"):
        TextToImage(graphs)


def test_what_comes_with_a_picture(source: Path) -> None:
    seen: list[tuple[int, float, Array]] = []
    found = sd(source)("a very long prompt", steps=3, seed=1, callback=lambda *told: seen.append(told))
    assert [(image.height, image.width) for image in found.images] == [SIZE]
    assert found.cut == ("t",)  # 14 letters stay, between the two tokens that every text has
    assert [(number, time) for number, time, _ in seen] == [(0, 667.0), (1, 334.0), (2, 334.0), (3, 1.0)]
    np.testing.assert_array_equal(seen[-1][2], found.latents)
    assert list(found.milliseconds) == ["tokenizer", "text_encoder", "unet", "scheduler", "vae_decoder"]
    assert all(value > 0 for value in found.milliseconds.values())


def test_a_bar_where_it_is_asked_for(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sd(source)("snow", steps=2)
    assert capsys.readouterr().err == ""  # no terminal
    sd(source)("snow", steps=2, progress=True)
    assert "3/3, " in capsys.readouterr().err


def test_the_same_seed_and_the_same_latents(source: Path) -> None:
    first = np.random.default_rng(3).standard_normal((1, *LATENTS)).astype(np.float32)
    runs = [
        sd(source)("snow", steps=2, **given).latents
        for given in ({"seed": 3}, {"generator": np.random.default_rng(3)}, {"latents": first}, {"seed": 4})
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_array_equal(runs[0], runs[2])
    assert not np.array_equal(runs[0], runs[3])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_noise_is_rounded_as_the_graphs_texts_are(source: Path, dtype: str) -> None:
    graphs, runs = components(), Models()
    unet = graphs["unet"]
    inputs = tuple(replace(one, dtype=dtype) if one.name[0] == "e" else one for one in unet.inputs)
    loop(source, {**graphs, "unet": replace(unet, inputs=inputs)}, runs)("snow", steps=1, seed=5)
    first = next(given["sample"] for name, given in runs.fed if name == "unet")
    np.testing.assert_array_equal(first[0], noise.randn(LATENTS, noise.generator(5), dtype).astype(np.float32))


def open_graphs() -> Any:
    """Graphs that take pictures and texts of any size."""
    graphs = components()

    def opened(tensor: Tensor) -> Tensor:
        kept = {"latents": 2, "sample": 2, "image": 2}.get(tensor.name, 1)
        sizes = {"encoder_hidden_states": (2, -1, tensor.shape[-1])}
        return replace(tensor, shape=sizes.get(tensor.name, (*tensor.shape[:kept], *[-1] * (len(tensor.shape) - kept))))

    for name in ("unet", "vae_decoder"):
        one = graphs[name]
        graphs[name] = replace(one, inputs=tuple(map(opened, one.inputs)), outputs=tuple(map(opened, one.outputs)))
    return graphs


def test_graphs_of_any_size(source: Path) -> None:
    fixed = sd(source)("snow", steps=2, seed=1)
    runs = Models()
    made = loop(source, open_graphs(), runs)
    np.testing.assert_array_equal(made("snow", steps=2, seed=1, height=16, width=8).latents, fixed.latents)
    runs.fed.clear()
    found = made("a very long prompt", steps=2, seed=1, height=8, width=12)
    assert (found.images[0].size, found.cut) == ((12, 8), ("",))
    assert {given["encoder_hidden_states"].shape for name, given in runs.fed if name == "unet"} == {(2, 32, 8)}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"width": 8}, "the graphs take pictures of any height"),
        ({"height": 8, "width": 7}, "the width is 7; give a multiple of 2"),
    ]
    for given, said in wrong:
        with pytest.raises(AttnfuseRuntimeError, match=said):
            made("snow", **given)


def test_the_size_of_graphs_that_have_one(source: Path) -> None:
    sd(source)("snow", steps=1, height=SIZE[0], width=SIZE[1])
    with pytest.raises(AttnfuseRuntimeError, match="the width is 16, and the graphs are for 8; compile for another"):
        sd(source)("snow", height=16, width=16)


def test_what_graphs_have_fixed(source: Path) -> None:
    graphs = components()
    graphs["text_encoder"] = replace(graphs["text_encoder"], fixed={"clip_skip": None, "lora_scale": None})
    graphs["unet"] = replace(graphs["unet"], fixed={"lora_scale": 1.0})
    made = loop(source, graphs)
    plain = made("snow", steps=1, seed=1).latents
    np.testing.assert_array_equal(made("snow", steps=1, seed=1, clip_skip=None).latents, plain)
    for given, said in (
        ({"clip_skip": 2}, "clip_skip is 2, and the graph text_encoder has it fixed to None"),
        ({"lora_scale": None}, "lora_scale is None, and the graph unet has it fixed to 1.0"),
        ({"scale": 2}, "there is no argument scale"),
    ):
        with pytest.raises(AttnfuseRuntimeError, match=said):
            made("snow", **given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seed": 1, "generator": np.random.default_rng(1)}, "a seed and a generator were given"),
        ({"latents": np.zeros((1, 4, 2, 2))}, "the latents are [1, 4, 2, 2], and the graph takes [1, 4, 8, 4]"),
        ({"negative_prompts": ["a", "b"]}, "2 negative prompts were given for 1 prompts"),
        ({"steps": 0}, "0 steps were asked for"),
        ({"eta": 0.5}, "PNDMScheduler has none"),
        ({"prompts": []}, "no prompt was given"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
        ({"true_cfg_scale": 2.0}, "true_cfg_scale was given, which Flux and Qwen-Image alone have"),
    ],
)
def test_arguments_that_do_not_fit(source: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(AttnfuseRuntimeError, match=r"^[^\n]*\.$") as raised:
        sd(source)(**{"prompts": "snow", "steps": 2, **given})
    assert said in str(raised.value)


def test_a_pipeline_without_a_loop(source: Path) -> None:
    write_json(source / "model_index.json", {"_class_name": "KandinskyPipeline"})
    with pytest.raises(AttnfuseRuntimeError, match="there is no loop for KandinskyPipeline, but for"):
        sd(source)


def test_a_graph_or_a_file_that_is_missing(source: Path) -> None:
    with pytest.raises(AttnfuseRuntimeError, match="lacks vae_decoder; compile"):
        sd(source, "vae_decoder")
    for content in ("[]", "[" * 100_000):
        (source / "vae/config.json").write_text(content)
        with pytest.raises(AttnfuseRuntimeError, match="is no JSON object"):
            sd(source)
    (source / "vae/config.json").unlink()
    with pytest.raises(AttnfuseRuntimeError, match="cannot be read: No such file"):
        sd(source)


def test_a_pipeline_without_a_text_encoder(source: Path) -> None:
    write_json(source / "model_index.json", {"_class_name": "StableDiffusionPipeline", "text_encoder": None})
    with pytest.raises(AttnfuseRuntimeError, match="the pipeline has no text_encoder"):
        TextToImage(Pipeline(Manifest(source, "lite", "", components()), Models()))
