"""The loops that make films: mindone's own numbers, and arguments that do not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attnfuse.tracing.demo import write_json
from attnfuse_runtime import AttnfuseRuntimeError
from attnfuse_runtime.noise import Array
from attnfuse_runtime.text_to_video import TextToVideo
from tests.support import forks
from tests.support.console import attnfuse
from tests.support.film_loops import CASES
from tests.support.film_models import KINDS, Models, components, loop, write_pipeline
from tests.support.film_pipelines import write_small
from tests.support.loop_models import changed

HALF_A_LEVEL = 0.5 / 255
ROUNDINGS = 8 * float(np.finfo(np.float32).eps)
FIRST, LAST = (Image.new("RGB", (37, 23), colour) for colour in ("red", "blue"))


@pytest.mark.mindspore
def test_latents_and_frames_are_mindones() -> None:
    done = forks.script("-m", "tests.support.film_loops")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("prepared") == [True, True, True]
    assert found.keys() == {f"{kind}-{name}" for kind, cases in CASES.items() for name in cases}
    # Latents after each step; a frame of 8 bits is off by its own rounding.
    wrong = {name: apart for name, apart in found.items() if not apart["latents"] <= ROUNDINGS}
    wrong |= {name: apart for name, apart in found.items() if not apart["frames"] <= HALF_A_LEVEL + ROUNDINGS}
    assert wrong == {}


@pytest.mark.slow
@pytest.mark.mindspore
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("WanPipeline", ("--height", "32", "--width", "48", "--frames", "5", "--sequence-length", "12")),
        ("LTXPipeline", ("--height", "32", "--width", "64", "--frames", "9", "--sequence-length", "12")),
        ("QwenImagePipeline", ("--height", "32", "--width", "48", "--sequence-length", "200")),
    ],
)
def test_compiled_films_are_those_of_the_source(tmp_path: Path, name: str, sizes: tuple[str, ...]) -> None:
    """From a folder to a film by the command line, and held to the source's own graphs and to float64."""
    source, out = tmp_path / "source", tmp_path / "out"
    write_small(source, name, "transformer_2")
    done = forks.script("-m", "tests.support.small_weights", str(source))
    assert done.returncode == 0, done.stderr[-3000:]
    wanted = (word for part in ("text_encoder", "transformer", "vae_decoder") for word in ("--component", part))
    done = attnfuse("compile", source, "-o", out, "--dtype", "float32", "--no-flash", "*", *sizes, *wanted)
    assert done.returncode == 0, done.stderr
    asked = ("--prompt", "a CAT", "--negative-prompt", "rain", "--steps", "2")
    film = tmp_path / f"film.{'png' if name.startswith('Qwen') else 'webp'}"
    done = attnfuse("run", out, *asked, "-o", film)
    assert done.returncode == 0, done.stderr
    assert (Image.open(film).size, getattr(Image.open(film), "n_frames", 1) > 1) == (
        (int(sizes[3]), int(sizes[1])),
        not name.startswith("Qwen"),
    )
    length = sizes[sizes.index("--sequence-length") :]
    done = attnfuse("compare", out, "--against", source, *asked, *length)
    assert done.returncode == 0, done.stdout + done.stderr


def made(folder: Path, kind: str, runs: Models | None = None, **options: Any) -> TextToVideo:
    write_pipeline(folder, kind)
    return loop(folder, kind, components(kind, **options), runs)


def test_what_comes_with_a_film(tmp_path: Path) -> None:
    seen: list[tuple[int, float, Array]] = []
    told = made(tmp_path, "wan")("a very long prompt", steps=2, seed=1, callback=lambda *told: seen.append(told))
    (film,) = told.films
    assert [frame.size for frame in film] == [KINDS["wan"].size[::-1]] * KINDS["wan"].frames
    assert (told.images, told.frame_rate, told.cut) == (film, 16, ("g prompt",))
    assert [(number, time) for number, time, _ in seen] == [(0, 999.0), (1, 749.0)]
    np.testing.assert_array_equal(seen[-1][2], told.latents)
    assert list(told.milliseconds) == ["tokenizer", "text_encoder", "transformer", "scheduler", "vae_decoder"]


def test_the_same_seed_and_the_same_latents(tmp_path: Path) -> None:
    run = made(tmp_path, "ltx_image", whole=False)
    latents = [run("snow", image=FIRST, steps=2, seed=seed).latents for seed in (3, 3, 4)]
    np.testing.assert_array_equal(latents[0], latents[1])
    assert not np.array_equal(latents[0], latents[2])
    # Latents that are given hold the picture already, as in mindone.
    begun = np.random.default_rng(3).standard_normal(latents[0].shape).astype(np.float32)
    found = run("snow", image=FIRST, steps=2, latents=begun).latents
    tokens = KINDS["ltx_image"].latents[2] * KINDS["ltx_image"].latents[3]
    np.testing.assert_array_equal(found[:, :tokens], begun[:, :tokens])
    assert not np.array_equal(found[:, tokens:], begun[:, tokens:])


def test_the_second_transformer_takes_over_where_there_is_less_noise(tmp_path: Path) -> None:
    runs = Models("wan_two")
    made(tmp_path, "wan_two", runs)("snow", steps=3, seed=1, guidance_scale=1.0)
    names = [(name, int(given["timestep"][0])) for name, given in runs.fed if name.startswith("transformer")]
    assert [name for name, _ in names] == ["transformer"] + ["transformer_2"] * 2
    assert names[0][1] >= 900 > names[1][1]


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("wan", {"image": FIRST}, "image was given, which WanPipeline does not take; leave it out"),
        ("wan", {"guidance_scale_2": 2.0}, "the pipeline has one transformer"),
        ("wan", {"frames": 9}, "the frames is 9, and the graphs are for 5; compile for another"),
        ("wan", {"height": 32}, "the height is 32, and the graphs are for 16"),
        ("wan", {"decode_timestep": 0.1}, "the graph vae_decoder decodes without noise; leave it out"),
        ("wan", {"guidance_scale": float("inf")}, "guidance_scale is inf; give a number"),
        ("wan", {"true_cfg_scale": 2.0}, "there is no argument true_cfg_scale"),
        ("wan", {"latents": np.zeros((1, 4, 2, 2, 2))}, "the latents are [1, 4, 2, 2, 2], and the graph takes"),
        ("wan_image", {}, "no image was given; give the picture that the film begins with"),
        ("wan_image", {"image": "a.png"}, "an image is a str; give a picture of Pillow's"),
        ("wan_image", {"image": FIRST, "last_image": LAST}, "transformer takes the first picture alone, and 2 were"),
        ("wan_last", {"image": FIRST}, "transformer takes the first and the last picture, and 1 were given"),
        ("wan_image_apart", {"image": FIRST, "last_image": LAST}, "the pipeline has the first alone"),
        ("ltx_image", {}, "no image was given"),
        ("ltx_image", {"image": FIRST, "last_image": LAST}, "the pipeline has the first alone"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path: Path, kind: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(AttnfuseRuntimeError, match=r"^[^\n]*\.$") as raised:
        made(tmp_path, kind, whole=not kind.startswith("ltx"))("snow", **{"steps": 2, **given})
    assert said in str(raised.value)


def test_graphs_of_any_size(tmp_path: Path) -> None:
    graphs = components("wan")
    free = (1, 4, -1, -1, -1)
    opened = {"latents": free, "hidden_states": free, "sample": free, "video": (1, 3, -1, -1, -1)}
    for name in ("transformer", "vae_decoder"):
        inputs, outputs = (
            tuple(replace(one, shape=opened.get(one.name, one.shape)) for one in side)
            for side in (graphs[name].inputs, graphs[name].outputs)
        )
        graphs[name] = replace(graphs[name], inputs=inputs, outputs=outputs)
    write_pipeline(tmp_path, "wan")
    run = loop(tmp_path, "wan", graphs)
    found = run("snow", steps=1, frames=9, height=32, width=16)
    assert (len(found.images), found.images[0].size) == (9, (16, 32))
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"frames": 5, "height": 16}, "the graphs take films of any width"),
        ({"frames": 6, "height": 16, "width": 16}, "the frames is 6; give a multiple of 4, and one more"),
        ({"frames": 5, "height": 8, "width": 16}, "the height is 8; give a multiple of 16"),
    ]
    for given, said in wrong:
        with pytest.raises(AttnfuseRuntimeError, match=said):
            run("snow", **given)


def test_pipelines_and_folders_without_a_loop(tmp_path: Path) -> None:
    run = made(tmp_path, "wan_two")
    graphs = {**run.pipeline.manifest.components}
    del graphs["transformer_2"]
    with pytest.raises(AttnfuseRuntimeError, match="lacks transformer_2; compile"):
        loop(tmp_path, "wan_two", graphs)
    changed(tmp_path / "model_index.json", expand_timesteps=True)
    with pytest.raises(AttnfuseRuntimeError, match="the pipeline has expand_timesteps, and transformer was compiled"):
        TextToVideo(run.pipeline, tmp_path)
    changed(tmp_path / "model_index.json", expand_timesteps=False)
    changed(tmp_path / "vae/config.json", latents_mean=None)
    with pytest.raises(
        AttnfuseRuntimeError, match="latents_mean is None, and there is to be a number for each of its 4"
    ):
        run.__class__(run.pipeline, tmp_path)("snow", steps=1)
    write_json(tmp_path / "model_index.json", {"_class_name": "StableDiffusionPipeline"})
    with pytest.raises(AttnfuseRuntimeError, match="there is no loop for StableDiffusionPipeline, but for LTX"):
        TextToVideo(run.pipeline, tmp_path)
