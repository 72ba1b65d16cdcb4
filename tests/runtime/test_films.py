"""Films as files, and the pictures that they are made of."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from attnfuse_runtime import AttnfuseRuntimeError
from attnfuse_runtime.films import FORMATS, ImageProcessor, encoded, films

RANDOM = np.random.default_rng(2)
VIDEO = RANDOM.uniform(-1, 1, (2, 3, 4, 16, 8)).astype(np.float32)
PICTURE = Image.fromarray(RANDOM.integers(0, 256, (23, 37, 3), np.uint8))
MEANS = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}


@pytest.mark.parametrize("ending", [one for one in FORMATS if one != ".gif"])
def test_a_film_is_read_as_it_was_written(ending: str) -> None:
    film = films(VIDEO)[1]
    read = Image.open(io.BytesIO(encoded(film, ending, 20)))
    assert len(film) == 4
    for number, frame in enumerate(film):
        read.seek(number)
        read.load()
        np.testing.assert_array_equal(np.asarray(read.convert("RGB")), np.asarray(frame))
        assert read.info["duration"] == 50


def test_frames_are_the_videos() -> None:
    levels = np.stack([np.stack([np.asarray(one) for one in film]) for film in films(VIDEO)]) / 255
    np.testing.assert_allclose(levels, VIDEO.transpose(0, 2, 3, 4, 1) / 2 + 0.5, atol=0.5 / 255 + 1e-6)


def test_what_is_no_processor_of_pictures() -> None:
    for config in ({}, {"size": 20, "crop_size": 20, **MEANS, "do_normalize": False}):
        with pytest.raises(
            AttnfuseRuntimeError, match=r"the image processor's preprocessor_config.json is none of CLIP's"
        ):
            ImageProcessor.of(config)
    with pytest.raises(AttnfuseRuntimeError, match="too small for the image encoder"):
        ImageProcessor.of({"size": 20, "crop_size": 24, **MEANS})(PICTURE)
