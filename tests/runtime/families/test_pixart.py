"""PixArt: texts in lower case with their weights, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attnfuse_runtime import AttnfuseRuntimeError
from tests.support.picture_models import PictureModels, loop, pixart, write_pipeline


def test_texts_are_in_lower_case(tmp_path: Path) -> None:
    write_pipeline(tmp_path, "PixArtSigmaPipeline")
    runs = PictureModels()
    made = loop(tmp_path, pixart(), runs)
    found = [made(text, steps=2, seed=1, weighted=True).latents for text in ("  A (CAT:1.5) ", "a (cat:1.5)", "a cat")]
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[1], found[2])
    # İ is two letters in lower case, and each has its weight.
    found = [made(text, steps=2, seed=1, weighted=True).latents for text in ("(İ:1.5) b", "(i̇:1.5) b")]
    np.testing.assert_array_equal(found[0], found[1])


def test_what_does_not_fit(tmp_path: Path) -> None:
    write_pipeline(tmp_path, "PixArtAlphaPipeline")
    with pytest.raises(AttnfuseRuntimeError, match="1 step was asked for, which is a way of its own"):
        loop(tmp_path, pixart(sized=True))("snow", steps=1)
    graphs = pixart()
    one = graphs["text_encoder"]
    graphs["text_encoder"] = replace(one, inputs=(replace(one.inputs[0], shape=(1, 7)), *one.inputs[1:]))
    with pytest.raises(AttnfuseRuntimeError, match="transformer takes texts of 12 tokens and text_encoder gives 7"):
        loop(tmp_path, graphs)
