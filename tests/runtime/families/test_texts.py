"""Texts in chunks, and weights of their words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attnfuse_runtime import AttnfuseRuntimeError
from attnfuse_runtime.families.texts import TextEncoder, weighted
from attnfuse_runtime.manifest import Manifest
from attnfuse_runtime.noise import Array
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.prompts import Prompt
from attnfuse_runtime.prompts import weighted as with_marks
from attnfuse_runtime.tokenizer import Tokenizer
from attnfuse_runtime.watching import Clock
from tests.support.loop_models import TOKENS, WIDTH, Models, clip, components, loop, write_pipeline

ROOM = TOKENS - 2


@pytest.fixture
def encoder(tmp_path: Path) -> TextEncoder:
    write_pipeline(tmp_path)
    pipeline = Pipeline(Manifest(tmp_path, "lite", "", components()), Models())
    return TextEncoder(pipeline, "text_encoder", Tokenizer.from_folder(tmp_path / "tokenizer"))


def ids(encoder: TextEncoder, text: str) -> Array:
    return encoder._tokenizer([text]).ids


def test_each_chunk_begins_and_ends_as_a_text(encoder: TextEncoder) -> None:
    text = "abcdefghijklmnopqrstuvwxyz0123456789"
    assert encoder.chunks([Prompt(text), Prompt("a")]) == 3
    found = encoder([Prompt(text), Prompt("a")], Clock(), 2)
    assert found.states is not None
    assert found.pooled is not None
    assert found.states.shape == (2, 2 * TOKENS, WIDTH)
    assert found.cut == (text[2 * ROOM :], "")
    # Letters but the last of a word are tokens by themselves.
    parts = encoder._tokenizer([text], chunks=2).ids.reshape(2, TOKENS)
    begin, *_, end = ids(encoder, "a" * ROOM)[0]
    assert parts[:, 0].tolist() == [begin] * 2
    assert parts[:, -1].tolist() == [end] * 2
    for row, chunks in ((0, parts), (1, np.concatenate([ids(encoder, "a"), ids(encoder, "")]))):
        states, pooled = clip(chunks, second=False)
        np.testing.assert_array_equal(found.states[row], states.reshape(-1, WIDTH))
        np.testing.assert_array_equal(found.pooled[row], pooled[0])


def test_a_token_has_the_weight_of_its_last_character(encoder: TextEncoder) -> None:
    prompt = with_marks("a (bc:2) Ü" + "(z:3)" * 10)
    tokens = encoder._tokenizer([prompt.text, "x"], chunks=2, weights=[prompt.weights, None])
    # Ü is two tokens of one character; what begins and ends a chunk, and fills it up, weighs 1.
    first = [1, 1, 2, 2, 1, 1, *[3] * 9, 1]
    assert tokens.weights.tolist() == [[*first, 1, 3, *[1] * 14], [1] * 32]


def test_weights_leave_the_mean(encoder: TextEncoder) -> None:
    plain, heavy = (encoder([make("a (b:1.5) c")], Clock()).states for make in (_unmarked, with_marks))
    assert plain is not None
    assert heavy is not None
    weights = np.ones((1, TOKENS, 1))
    weights[0, 2] = 1.5
    wanted = plain.astype(np.float64) * weights
    wanted *= plain.mean(dtype=np.float64) / wanted.mean()
    np.testing.assert_allclose(heavy, wanted, rtol=1e-5)
    light = encoder([with_marks("a b c")], Clock()).states
    assert light is not None
    np.testing.assert_array_equal(light, plain)


def _unmarked(text: str) -> Prompt:
    return Prompt(with_marks(text).text)


@pytest.mark.parametrize("weights", [[[1.0, -3.0]], [[1.0, -1.0]]])
def test_weights_that_leave_no_mean(weights: list[list[float]]) -> None:
    states = np.asarray([[[1.0], [1.0]]], np.float32)
    found = weighted(states, np.asarray(weights, np.float32))
    np.testing.assert_array_equal(found[0, :, 0], weights[0])


def test_marks_are_letters_unless_weights_are_asked_for(tmp_path: Path) -> None:
    write_pipeline(tmp_path)
    made = loop(tmp_path, components())
    latents = [
        made(text, steps=1, seed=1, weighted=asked).latents
        for text, asked in (("(a:1)", False), ("(a:1)", True), ("a", False), ("(a:2)", True))
    ]
    assert not np.array_equal(latents[0], latents[2])
    np.testing.assert_array_equal(latents[1], latents[2])
    assert not np.array_equal(latents[3], latents[2])


def test_a_room_that_is_no_whole_number_of_chunks(encoder: TextEncoder) -> None:
    assert encoder.chunks_of("unet", 3 * TOKENS) == 3
    for tokens in (TOKENS + 1, TOKENS - 1):
        with pytest.raises(AttnfuseRuntimeError, match=f"unet has room for {tokens} tokens of text_encoder, which"):
            encoder.chunks_of("unet", tokens)
