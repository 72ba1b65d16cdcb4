"""The loops from prompt to picture: mindone's own numbers, and arguments and folders that do not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnfuse.tracing.demo import SCHEDULER, write_json, write_tokenizer
from attnfuse_runtime import AttnfuseRuntimeError, noise
from attnfuse_runtime.manifest import Component, Manifest
from attnfuse_runtime.noise import Array
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.text_to_image import TextToImage
from tests.support import forks
from tests.support.loops import CASES, LATENTS, SIZE, TEXTS, TOKENS, Models, components

HALF_A_LEVEL = 0.5 / 255
ROUNDINGS = 8 * float(np.finfo(np.float32).eps)


@pytest.mark.mindspore
def test_latents_pictures_and_tokens_are_mindones() -> None:
    done = forks.script("-m", "tests.support.loops")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("texts") == dict.fromkeys(TEXTS, True)
    assert found.keys() == {f"{kind}-{name}" for kind in ("sd", "xl") for name in CASES}
    # Latents after each step; a picture of 8 bits is off by its own rounding.
    wrong = {name: apart for name, apart in found.items() if not apart["latents"] <= ROUNDINGS}
    wrong |= {name: apart for name, apart in found.items() if not apart["pictures"] <= HALF_A_LEVEL + ROUNDINGS}
    assert wrong == {}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in ("vae", "scheduler", "tokenizer"):
        (tmp_path / name).mkdir()
    write_json(tmp_path / "vae/config.json", {"scaling_factor": 0.5})
    write_json(tmp_path / "scheduler/scheduler_config.json", SCHEDULER)
    write_json(
        tmp_path / "model_index.json",
        {"_class_name": "StableDiffusionPipeline", "text_encoder": ["transformers", "CLIPTextModel"]},
    )
    write_tokenizer(tmp_path / "tokenizer", TOKENS)
    return tmp_path


def loop(source: Path, *left_out: str) -> TextToImage:
    found = {name: one for name, one in components(xl=False, rows=2, timestep="int64").items() if name not in left_out}
    return TextToImage(Pipeline(Manifest(source, "lite", "", found), Models()), source)


def test_a_folder_of_graphs_that_holds_its_pipeline(source: Path) -> None:
    graphs = loop(source).pipeline
    found = TextToImage(graphs)("snow", steps=2, seed=1)
    np.testing.assert_array_equal(found.latents, loop(source)("snow", steps=2, seed=1).latents)
    (source / "model_index.json").unlink()
    with pytest.raises(AttnfuseRuntimeError, match=r"has graphs and no pipeline: it lacks model_index\.json; give"):
        TextToImage(graphs)


def test_what_comes_with_a_picture(source: Path) -> None:
    seen: list[tuple[int, float, Array]] = []
    found = loop(source)("a very long prompt", steps=3, seed=1, callback=lambda *told: seen.append(told))
    assert [image.size for image in found.images] == [(2 * SIZE, 2 * SIZE)]
    assert found.cut == ("t",)  # 14 letters stay, between the two tokens that every text has
    assert [(number, time) for number, time, _ in seen] == [(0, 667.0), (1, 334.0), (2, 334.0), (3, 1.0)]
    np.testing.assert_array_equal(seen[-1][2], found.latents)
    assert list(found.milliseconds) == ["tokenizer", "text_encoder", "unet", "scheduler", "vae_decoder"]
    assert all(value > 0 for value in found.milliseconds.values())


def test_the_same_seed_and_the_same_latents(source: Path) -> None:
    first = np.random.default_rng(3).standard_normal((1, *LATENTS)).astype(np.float32)
    runs = [
        loop(source)("snow", steps=2, **given).latents
        for given in ({"seed": 3}, {"generator": np.random.default_rng(3)}, {"latents": first}, {"seed": 4})
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_array_equal(runs[0], runs[2])
    assert not np.array_equal(runs[0], runs[3])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_noise_is_rounded_as_the_graphs_texts_are(source: Path, dtype: str) -> None:
    made = loop(source)
    seen: list[Mapping[str, Array]] = []
    unet = made.pipeline["unet"].component
    inputs = tuple(replace(one, dtype=dtype) if one.name[0] == "e" else one for one in unet.inputs)

    class Watched(Models):
        def load(self, component: Component) -> Any:
            run = super().load(component)

            def watched(given: Mapping[str, Array]) -> list[Array]:
                seen.append(given)
                return run(given)

            return watched

    changed = {**made.pipeline.manifest.components, "unet": replace(unet, inputs=inputs)}
    TextToImage(Pipeline(Manifest(source, "lite", "", changed), Watched()), source)("snow", steps=1, seed=5)
    first = next(given["sample"] for given in seen if "sample" in given)
    np.testing.assert_array_equal(first[0], noise.randn(LATENTS, noise.generator(5), dtype).astype(np.float32))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seed": 1, "generator": np.random.default_rng(1)}, "a seed and a generator were given"),
        ({"latents": np.zeros((1, 4, 2, 2))}, "the latents are [1, 4, 2, 2], and the graph takes [1, 4, 8, 8]"),
        ({"negative_prompts": ["a", "b"]}, "2 negative prompts were given for 1 prompts"),
        ({"steps": 0}, "0 steps were asked for"),
        ({"eta": 0.5}, "PNDMScheduler has none"),
    ],
)
def test_arguments_that_do_not_fit(source: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(AttnfuseRuntimeError, match=r"^[^\n]*\.$") as raised:
        loop(source)("snow", **{"steps": 2, **given})
    assert said in str(raised.value)


def test_a_pipeline_without_a_loop(source: Path) -> None:
    write_json(source / "model_index.json", {"_class_name": "KandinskyPipeline"})
    with pytest.raises(AttnfuseRuntimeError, match="there is no loop for KandinskyPipeline, but for"):
        loop(source)


def test_a_graph_or_a_file_that_is_missing(source: Path) -> None:
    with pytest.raises(AttnfuseRuntimeError, match="lacks vae_decoder; compile"):
        loop(source, "vae_decoder")
    (source / "vae/config.json").write_text("[]")
    with pytest.raises(AttnfuseRuntimeError, match="is no JSON object"):
        loop(source)
    (source / "vae/config.json").unlink()
    with pytest.raises(AttnfuseRuntimeError, match="cannot be read: No such file"):
        loop(source)
