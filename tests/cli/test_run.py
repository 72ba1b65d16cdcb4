"""`attnfuse run`: pictures of an output folder, what components were fed, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.pictures import running
from attnfuse.verify.numbers.data import data_files, read_sets
from attnfuse_runtime.text_to_image import TextToImage
from tests.support import film_models
from tests.support.console import inside, logged
from tests.support.painter import SIZE, Painted, spoil


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_picture_is_the_loops(painted: Painted, tmp_path: Path) -> None:
    given = ("--prompt", "a cat", "--negative-prompt", "rain", "--steps", "3", "--seed", "5", "--guidance-scale", "4")
    done = inside("run", painted.out, *given, "-o", tmp_path / "cat.png", "--size", f"{SIZE}x{SIZE}", "--json")
    assert done.returncode == 0, done.stderr
    loop = TextToImage.from_folder(painted.out, painted.out, "cpu")
    wanted = loop("a cat", "rain", steps=3, seed=5, guidance_scale=4.0).images[0]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "cat.png")), np.asarray(wanted))
    document = json.loads(done.stdout)
    assert (document["schema"], document["scheduler"]) == ("attnfuse.run/1", "PNDMScheduler")
    assert (document["size"], document["steps"], document["seed"]) == ([SIZE, SIZE], 4, 5)
    assert document["pictures"] == [str(tmp_path / "cat.png")]
    assert set(document["milliseconds"]) == {"tokenizer", "text_encoder", "unet", "scheduler", "vae_decoder"}
    assert [line for line in done.stderr.splitlines() if "step 4 of 4" in line]


def picture(path: Path, size: int = SIZE, *channels: int) -> Path:
    values = np.random.default_rng(size).integers(0, 256, (size, size, *channels), np.uint8)
    Image.fromarray(values).save(path)
    return path


def test_a_picture_of_a_picture(painted: Painted, tmp_path: Path) -> None:
    """The graphs are those of a text-to-image pipeline, with an encoder."""
    image, mask = picture(tmp_path / "photo.png", SIZE, 3), picture(tmp_path / "mask.png")
    given: list[str | Path] = ["--image", image, "--mask", mask, "--strength", "0.6", "--steps", "4", "--seed", "5"]
    output = ("-o", tmp_path / "cat.png", "--json", "--progress", "never")
    done = inside("run", painted.out, "--prompt", "a cat", *given, *output)
    assert done.returncode == 0, done.stderr
    loop = TextToImage.from_folder(painted.out, painted.out, "cpu")
    wanted = loop("a cat", image=Image.open(image), mask=Image.open(mask), strength=0.6, steps=4, seed=5).images[0]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "cat.png")), np.asarray(wanted))
    document = json.loads(done.stdout)
    assert (document["images"], document["masks"]) == ([str(image)], [str(mask)])
    assert (document["strength"], document["steps"], document["control_images"]) == (0.6, 3, [])
    assert "vae_encoder" in document["milliseconds"]


def test_pictures_that_do_not_fit(painted: Painted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photo = picture(Path("photo.png"), SIZE, 3)
    picture(Path("small.png"), 64, 3)
    Path("folder").mkdir()
    Path("text.png").write_text("a cat")
    Path("cut.png").write_bytes(photo.read_bytes()[:500])
    before = files(tmp_path)
    cases = {
        "--image small.png": f"the image is 64x64 pixels, and the pictures that are made of it {SIZE}x{SIZE}",
        "--image photo.png --mask small.png": "the mask is 64x64 pixels",
        "--image photo.png --strength 1.5": "1.5 is not in the range 0<=x<=1",
        "--image photo.png --strength 0": "strength is 0.0, of which 2 steps leave none",
        "--control-image photo.png --control-scale 0.5": "StableDiffusionPipeline takes no control_image",
        "--image none.png": "none.png cannot be read: No such file",
        "--image text.png": "text.png is no picture that Pillow reads",
        "--image cut.png": "cut.png cannot be read",
        "--image folder": "folder cannot be read: Is a directory",
        "--image cat.png": "cat.png is given as --image and as -o",
    }
    for given, said in cases.items():
        output = ("-o", "cat.png", "--steps", "2", "--progress", "never")
        done = inside("run", painted.out, "--prompt", "a cat", *output, *given.split())
        assert done.returncode == 2, given
        (line,) = (line for line in done.stderr.splitlines() if line.lower().startswith("error:"))
        assert said in line
        assert files(tmp_path) == before


def test_several_pictures_and_what_was_fed(painted: Painted, tmp_path: Path) -> None:
    record = tmp_path / "record"
    done = inside(
        *("run", painted.out, "--prompt", "a cat", "--prompt", "z" * 100, "--steps", "2", "--progress", "never"),
        *("-o", tmp_path / "two.png", "--record", record, "--log-file", tmp_path / "run.log"),
    )
    assert done.returncode == 0, done.stderr
    log = logged(tmp_path / "run.log")
    assert (log[0][:9], log[1].split(",")[0], log[2]) == ("versions:", f"run {painted.out}", "step 1 of 3")
    assert {"scheduler PNDMScheduler, 3 steps", "unet: 6 runs"} <= {*log}
    assert log[-1].startswith("took ")
    assert {"two_0.png", "two_1.png"} <= {*files(tmp_path)}
    assert "step 1" not in done.stderr
    assert f"warning: of '{'z' * 40}…{'z' * 18}' no text encoder saw 'zz" in done.stderr
    # As verification takes them: every set has the names, shapes and types of the graph.
    found = data_files(record, ["unet", "vae_decoder", "text_encoder"])
    assert {name: len(several) for name, several in found.items()} == {"unet": 6, "vae_decoder": 2, "text_encoder": 4}
    for name, several in found.items():
        path = painted.out / f"{name}_graph.mindir"
        assert len(read_sets(Model(codec.parse(codec.read_bytes(path), name)), several)) == len(several)
    before = found["unet"][0].read_bytes()
    again = inside(
        "run", painted.out, "--prompt", "a cat", "--steps", "2", "-o", tmp_path / "x.png", "--record", record
    )
    assert (again.returncode, found["unet"][0].read_bytes()) == (2, before)
    assert "exists already" in again.stderr


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (["--size", "64x64"], 2, f"was compiled for pictures of {SIZE}x{SIZE}, and --size asks for 64x64"),
        (["--size", "big"], 2, "'big' is no size"),
        (["--steps", "1001"], 2, "1001 steps were asked for"),
        (["--negative-prompt", "a", "--negative-prompt", "b"], 2, "--negative-prompt is given 2 times for 1 prompts"),
        (["--device", "unet=0"], 2, "--device is for --backend lite, and the backend cpu has no devices"),
        (["--backend", "lite", "--device", "one"], 2, "--device one is neither a number"),
        (["--backend", "lite", "--device", "3"], 3, "the backend 'lite' needs mindspore_lite"),
        (["--record", "inputs.npz"], 2, "there are several components: name a folder"),
    ],
)
def test_what_does_not_fit(
    painted: Painted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], code: int, said: str
) -> None:
    monkeypatch.setitem(sys.modules, "mindspore_lite", None)
    before = files(tmp_path)
    done = inside("run", painted.out, "--prompt", "a cat", "-o", tmp_path / "cat.png", "--progress", "never", *given)
    assert done.returncode == code, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.lower().startswith("error:"))
    assert said in line
    assert files(tmp_path) == before


def test_places_that_are_refused(painted: Painted, tmp_path: Path) -> None:
    for output, code, said in (
        (painted.out / "cat.png", 2, "would lie in or over"),
        (tmp_path / "cat.gif", 2, "ends in none of .png"),
        (tmp_path / "none" / "cat.png", 2, "cannot be written"),
    ):
        done = inside("run", painted.out, "--prompt", "a cat", "-o", output)
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    done = inside("run", painted.source, "--prompt", "a cat", "-o", tmp_path / "cat.png")
    assert (done.returncode, f"attnfuse compile {painted.source} -o OUT" in done.stderr) == (3, True), done.stderr


def test_pictures_of_no_numbers_are_not_written(painted: Painted, tmp_path: Path) -> None:
    spoil(painted.out / "unet_variables" / "data_0", slice(None), float("nan"))
    done = inside("run", painted.out, "--prompt", "a cat", "--steps", "1", "-o", tmp_path / "cat.png")
    assert (done.returncode, "the latents after step 1 are not finite" in done.stderr) == (3, True), done.stderr
    assert f"warning: {painted.out}/unet_variables/data_0: it is not what attnfuse wrote there.\n" in done.stderr
    assert files(tmp_path) == ["out", "pipeline"]


def test_a_place_of_one_of_several_pictures(painted: Painted, tmp_path: Path) -> None:
    """Found before the first is written."""
    (tmp_path / "cat_1.png").mkdir()
    done = inside("run", painted.out, "--prompt", "a", "--prompt", "b", "--steps", "1", "-o", tmp_path / "cat.png")
    assert (done.returncode, "cat_1.png is a folder; name a file" in done.stderr) == (2, True), done.stderr
    assert files(tmp_path) == ["cat_1.png", "out", "pipeline"]


def test_a_prompt_of_another_encoding(painted: Painted, tmp_path: Path) -> None:
    done = inside("run", painted.out, "--prompt", "caf\udce9", "--steps", "1", "-o", tmp_path / "cat.png")
    assert (done.returncode, "holds bytes that are no text in UTF-8" in done.stderr) == (2, True), done.stderr


def test_a_decoder_of_no_numbers(painted: Painted, tmp_path: Path) -> None:
    """As a VAE that overflows in float16 has it: a picture of them would be black."""
    spoil(painted.out / "vae_decoder_variables" / "data_0", slice(None), float("nan"))
    done = inside("run", painted.out, "--prompt", "a cat", "--steps", "1", "-o", tmp_path / "cat.png")
    assert (done.returncode, "are finite, but not the image of vae_decoder" in done.stderr) == (3, True), done.stderr
    path = painted.out / "vae" / "config.json"
    sound = path.read_text()
    for factor, message in (
        ("1e-42", "but not the latents of vae_decoder"),
        ("null", "scaling_factor is no number; copy it again from the pipeline."),
    ):
        path.write_text(sound.replace('"scaling_factor": 0.18215', f'"scaling_factor": {factor:<7}'))
        done = inside("run", painted.out, "--prompt", "a cat", "--steps", "1", "-o", tmp_path / "cat.png")
        assert (done.returncode, message in done.stderr) == (3, True), done.stderr
    assert files(tmp_path) == ["out", "pipeline"]


def test_without_the_runtime(painted: Painted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "attnfuse_runtime", None)
    for arguments in (("run", painted.out, "--prompt", "a", "-o", tmp_path / "a.png"), ("compare", painted.out)):
        done = inside(*arguments)
        assert done.returncode == 2
        assert "needs attnfuse_runtime, not installed here: pip install 'attnfuse[run]'" in done.stderr


@pytest.fixture
def filmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An output folder of Wan from pictures, whose graphs are small functions."""
    out, kind = tmp_path / "out", "wan_last"
    out.mkdir()
    film_models.write_pipeline(out, kind)
    document = film_models.manifest_of(kind)
    for name in document["outputs"]:
        (out / name).write_bytes(b"")
    (out / "manifest.json").write_text(json.dumps(document))
    monkeypatch.setattr(running, "backend", lambda name, devices: film_models.Models(kind))
    return out


def test_films_are_the_loops(filmed: Path, tmp_path: Path) -> None:
    pictures = [tmp_path / "first.png", tmp_path / "last.png"]
    for path, colour in zip(pictures, ("red", "blue"), strict=True):
        Image.new("RGB", (30, 20), colour).save(path)
    given = ("--prompt", "a cat", "--prompt", "snow", "--steps", "2", "--image", pictures[0], "--image", pictures[1])
    done = inside("run", filmed, *given, "-o", tmp_path / "film.webp", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["frames"], document["size"]) == (5, [32, 16])
    assert document["pictures"] == [str(tmp_path / f"film_{number}.webp") for number in (0, 1)]
    times = []
    with Image.open(tmp_path / "film_1.webp") as film:
        for frame in ImageSequence.Iterator(film):  # where frames are the same, one is shown longer
            frame.load()
            times.append(frame.info["duration"])
        assert (sum(times), film.size, film.format) == (round(5 * 1000 / 16), (32, 16), "WEBP")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "no image was given; give the picture that the film begins with"),
        (["--image", "first.png"], "transformer takes the first and the last picture, and 1 were given"),
        (["--image", "first.png"] * 3, "--image is given 3 times; a film begins with one"),
        (
            ["--mask", "first.png", "--strength", "0.5"],
            "--mask and --strength are for pictures, and the pipe",
        ),
        (["--control-image", "first.png"], "there are no ControlNets for films"),
        (["-o", "film.jpg"], "the film film.jpg ends in none of .webp, .png, .gif; name a file that does"),
    ],
)
def test_what_does_not_fit_films(
    filmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (30, 20)).save("first.png")
    before = files(tmp_path)
    done = inside("run", filmed, "--prompt", "a cat", "-o", "film.png", "--progress", "never", *given)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert files(tmp_path) == before
